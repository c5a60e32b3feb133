"""Full segments are compressed in the background, and nobody who reads or writes through the mount notices."""

import mmap
import os
import random
import struct
import threading
import time

import pytest

import numbered
from harness import SCALE, append, build_path, opened, read, run, sh, wait_for, xattr_int
from segments import SOON, files, produce, raw, sealed, store_dir, topicctl, wait_sealed, zstdcat

LINES = 12000
TEXT = numbered.lines(0, LINES)
PIECE = numbered.lines(0, 1000)  # nearly a segment of 64 KiB


@pytest.fixture
def log(mnt):
    """A partition with TEXT in sealed segments of up to four frames, raw files gone."""
    topic = mnt.topic("t", **{**SOON, "segment_bytes": "300KiB"})
    for at in range(0, LINES, 500):
        append(topic / "0", numbered.lines(at, 500))
    wait_sealed(mnt)
    return topic / "0"


@pytest.mark.sanitize
def test_full_segments_are_sealed_and_zstdcat_prints_the_partition(mnt):
    topic = mnt.topic("t", **SOON)
    for at in range(0, LINES, 100):
        append(topic / "0", numbered.lines(at, 100))
    wait_sealed(mnt)
    segments = files(store_dir(mnt), "zst")
    (active, last), = files(store_dir(mnt), "log").items()
    assert len(segments) >= 8 and active > max(segments)
    assert zstdcat(*segments.values()) + last.read_bytes() == TEXT
    for path in segments.values():
        run("zstd", "-qt", path)
    assert read(topic / "0") == TEXT
    assert xattr_int(topic / "0", "records") == LINES
    # Nothing of sealing stays behind, and it costs less than what it stands for.
    assert {path.suffix for path in store_dir(mnt).iterdir()} <= {".zst", ".log", ".idx"}
    status = os.stat(topic / "0")
    assert status.st_size == len(TEXT) and status.st_blocks * 512 < len(TEXT) / 2
    mnt.restart()
    assert read(topic / "0") == TEXT
    append(topic / "0", numbered.lines(LINES, 10))
    mnt.crash()
    assert numbered.check(read(topic / "0")) == (0, LINES + 10)
    assert xattr_int(topic / "0", "records") == LINES + 10


def test_by_default_raw_files_stay_an_hour_longer(mnt):
    topic = mnt.topic("t", segment_bytes="64KiB", flush_ms="100ms")
    append(topic / "0", numbered.lines(0, 6000))
    append(topic / "0", numbered.lines(6000, LINES - 6000))
    wait_sealed(mnt, alone=False)
    segments = files(store_dir(mnt), "zst")
    assert raw(mnt)[:-1] == list(segments)
    for pos, path in segments.items():
        assert zstdcat(path) == (store_dir(mnt) / f"{pos:020}.log").read_bytes()
    mnt.restart()
    assert raw(mnt)[:-1] == list(segments)
    assert read(topic / "0") == TEXT
    append(topic / ".config", b"seal.linger.ms=0\n")
    wait_sealed(mnt)
    assert read(topic / "0") == TEXT


def test_raw_files_linger_as_long_as_is_said_across_a_restart(mnt):
    topic = mnt.topic("t", segment_bytes="64KiB", flush_ms="100ms", seal_linger_ms="4s")
    append(topic / "0", PIECE)
    append(topic / "0", PIECE)
    wait_sealed(mnt, alone=False)
    mnt.crash()
    sealed_at = os.stat(files(store_dir(mnt), "zst")[0]).st_mtime
    gone = store_dir(mnt) / f"{0:020}.log"
    wait_for(lambda: not gone.exists(), "the raw file's end")
    assert time.time() - sealed_at > 3.9
    assert read(topic / "0") == PIECE * 2


@pytest.mark.sanitize
def test_a_read_of_any_offset_and_size_by_many_at_once(log):
    bad = []

    def look(seed):
        chance = random.Random(seed)
        with opened(log, os.O_RDONLY) as fd:
            for _ in range(int(150 * SCALE) + 1):
                at = chance.randrange(len(TEXT) + 1000)
                size = chance.choice((1, 100, 4096, 70000, 300000, 900000))
                got = os.pread(fd, size, at)
                if got != TEXT[at:at + size]:
                    bad.append((at, size, len(got)))

    threads = [threading.Thread(target=look, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bad == []


@pytest.mark.parametrize("size", [1, 777, 4096, 131072, 262144, 1 << 20])
def test_reading_on_in_pieces_of_one_size(log, size):
    """Across the frames' and the segments' ends, and at sizes that meet them and that do not."""
    begin = 255 << 10 if size == 1 else 0
    with opened(log, os.O_RDONLY) as fd:
        os.lseek(fd, begin, os.SEEK_SET)
        at = begin
        while piece := os.read(fd, size):
            assert piece == TEXT[at:at + size]
            at += len(piece)
            if size == 1 and at > begin + 3000:
                return
    assert at == len(TEXT)


def test_map_private_of_sealed_data(log):
    with opened(log, os.O_RDONLY) as fd, mmap.mmap(fd, 0, mmap.MAP_PRIVATE, mmap.PROT_READ) as mapped:
        assert mapped[:] == TEXT
        assert mapped.rfind(b"\n000000001 ") == TEXT.rfind(b"\n000000001 ")


@pytest.mark.parametrize("script", [
    'cat "$1"', 'grep -c fox "$1"', 'grep -n "^00000777" "$1"', 'wc "$1"', 'awk "{ s += NF } END { print s, NR }" "$1"',
    'tail -n 5000 "$1"', 'tail -c 400000 "$1"', 'head -c 280000 "$1"', 'sha256sum "$1"', 'tac "$1"', 'sort -r "$1"',
    'dd if="$1" bs=100000 skip=2 count=3 status=none', 'sed -n "9000,9010p" "$1"', 'cmp "$1" "$1" && echo same',
    'less "$1"', 'diff "$1" <(sed s/777/888/ "$1")', 'rsync -a "$1" "$2/copy" && cat "$2/copy"; rm "$2/copy"',
    'cp --sparse=always "$1" "$2/copy" && cat "$2/copy"; rm "$2/copy"',
    'tar -cf - -C "$(dirname "$1")" "${1##*/}" | tar -xO',
])
def test_programs_read_what_they_read_on_ext4(mnt, log, script):
    same = mnt.base / "0"
    same.write_bytes(TEXT)
    script = f"({script}) 2>&1 | sed 's#{log}#F#g; s#{same}#F#g' | sha256sum; exit ${{PIPESTATUS[0]}}"
    assert sh(script, log, mnt.base, code=None) == sh(script, same, mnt.base, code=None)


@pytest.mark.parametrize("keys", [{"compression_type": "none"}, {"compression_level": "1"},
                                  {"compression_level": "15"}])
def test_compression_as_configured(mnt, keys):
    topic = mnt.topic("t", **{**SOON, "segment_bytes": "512KiB"}, **keys)
    for at in range(0, LINES, 1000):
        append(topic / "0", numbered.lines(at, 1000))
    wait_sealed(mnt)
    segments = files(store_dir(mnt), "zst")
    bytes_there = raw(mnt)[0]
    assert zstdcat(*segments.values()) == TEXT[:bytes_there]
    size = sum(path.stat().st_size for path in segments.values())
    if "compression_type" in keys:
        assert bytes_there <= size < bytes_there * 1.1
    else:
        level = keys["compression_level"]
        whole = len(run("zstd", f"-{level}", "-c", input=TEXT[:bytes_there]).stdout)
        assert size < 1.4 * whole + 8192, f"{size} bytes; zstd -{level} of the whole makes {whole}"
    assert read(topic / "0") == TEXT


def test_another_level_is_taken_from_the_next_segment_on(mnt):
    topic = mnt.topic("t", **SOON, compression_type="none")
    for _ in range(4):
        append(topic / "0", PIECE)
    first = wait_sealed(mnt) and sealed(mnt)
    append(topic / ".config", b"compression.type=zstd\ncompression.level=3\n")
    for _ in range(4):
        append(topic / "0", PIECE)
    wait_for(lambda: len(sealed(mnt)) >= len(first) + 3, "more of them")
    paths = files(store_dir(mnt), "zst")
    assert all((paths[pos].stat().st_size > len(PIECE)) == (pos in first) for pos in paths)
    assert read(topic / "0") == PIECE * 8


@pytest.mark.parametrize("line", [b"", b"compression.type=gzip\n", b"compression.level=0\n", b"compression.level=20\n",
                                  b"cleanup.policy=compact\n", b"seal.linger.ms=-2\n"])
def test_keys_that_make_no_sense_are_refused(mnt, line):
    topic = mnt.topic("t")
    mnt.expected.append(r"\.config")
    if line:
        with pytest.raises(OSError) as refused:
            append(topic / ".config", line)
        assert refused.value.errno == 22
    append(topic / ".config", b"cleanup.policy=delete\ncompression.level=19\n")


def test_raw_records_are_sealed_as_they_are(mnt):
    """message.format=raw: newlines and NULs are bytes like others, and records keep their numbers."""
    topic = mnt.topic("t", **SOON, message_format="raw")
    chance = random.Random(3)
    records = [chance.randbytes(chance.randrange(1, 3000)) for _ in range(200)]
    with opened(topic / "0") as fd:
        for record in records:
            os.write(fd, record)
    wait_sealed(mnt)
    assert read(topic / "0") == b"".join(records)
    assert xattr_int(topic / "0", "records") == 200
    for number in (0, 1, 50, 121, 199):
        got = topicctl("consume", mnt.path, "t/0", "--from", f"r{number}", "--records", 1).stdout
        assert got == records[number]


def test_lines_longer_than_a_segment(mnt):
    topic = mnt.topic("t", **SOON)
    lines = [b"%d " % number + b"x" * (number * 40000) + b"\n" for number in range(12)]
    for line in lines:
        append(topic / "0", line)
    append(topic / "0", b"the last\n")
    wait_sealed(mnt)
    assert read(topic / "0") == b"".join(lines) + b"the last\n"


def test_records_are_found_in_sealed_segments(mnt, log):
    for number in (0, 1, 3000, 7777, LINES - 1):
        got = topicctl("consume", mnt.path, "t/0", "--from", f"r{number}", "--records", 1).stdout
        assert got == numbered.line(number)
        at = TEXT.index(numbered.line(number))
        assert topicctl("consume", mnt.path, "t/0", "--from", f"b{at}", "--records", 1).stdout == numbered.line(number)
    assert topicctl("consume", mnt.path, "t/0", "--from", "-100").stdout == numbered.lines(LINES - 100, 100)
    assert topicctl("consume", mnt.path, "t/0", "--from", "-1h").stdout == TEXT


@pytest.mark.sanitize
def test_readers_and_writers_go_on_while_segments_are_sealed(mnt):
    """What is read first of each byte is what every later read of it gives, raw or sealed, whoever reads."""
    lines, acks = build_path("tests", "mount", "lines"), mnt.base / "acks"
    topic = mnt.topic("t", **{**SOON, "segment_bytes": "256KiB"})
    append(topic / "0", b"")
    readers = mnt.spawn(lines, "read", "-a", acks, *(word for how in ("r:131072", "r:4096", "p:5000", "p:300000",
                        "o:131072", "s:0") for word in ("-t", how)), topic / "0", stdin=-1, stdout=-1, stderr=-1)
    writers = [mnt.spawn(lines, "write", "-w", number, "-a", acks, "-c", chunk, "-m", 10000, "-r", 1500000,
                         topic / "0") for number, chunk in enumerate(("line", "torn", "65536"))]
    wait_for(lambda: len(sealed(mnt)) >= 10 + 30 * SCALE, "many sealed segments", 60 * max(SCALE, 1))
    for writer in writers:
        assert writer.poll() is None
        writer.kill()
        writer.wait()
    out, errors = readers.communicate(timeout=60)
    assert readers.returncode == 0, errors.decode() + out.decode()
    wait_sealed(mnt)
    run(lines, "check", "-a", acks, topic / "0")


def check_torn(path):
    """A SIGKILL ends the daemon's write(2) at any page: of a batch that nobody was told of, lines may be there, and
    the beginning of one more. That is cut and kept, and it is all that may be."""
    number, torn = numbered.number_at(int(path.stem)), path.read_bytes()
    assert number is not None, f"{path.name}: no line begins there"
    assert torn and torn != numbered.line(number) and numbered.line(number).startswith(torn), f"{path.name}: {torn[:200]}"


@pytest.mark.parametrize("linger", ["0", "1h"])
def test_a_kill_while_sealing_costs_nothing(mnt, linger):
    """Killed at moments that differ, again and again; each start finds every line once, in whichever form."""
    topic = mnt.topic("t", **{**SOON, "seal_linger_ms": linger, "compression_level": "9"})
    acks, chance = mnt.base / "acks", random.Random(5)
    mnt.expected.append("seal|left over|removed")
    count = 0
    for _ in range(int(6 * SCALE) + 2):
        have = len(sealed(mnt))
        writer = produce(mnt, topic / "0", first=count, rate=40000, batch=100, acks=acks)
        wait_for(lambda: len(sealed(mnt)) > have + 1 and numbered.acknowledged(acks) > count, "sealing")
        time.sleep(chance.random() * 0.05)  # no condition: the moment is to differ
        durable = numbered.acknowledged(acks)
        mnt.kill()
        writer.wait()
        mnt.start()
        first, count = numbered.check(read(topic / "0"))
        assert first == 0 and count >= durable
        assert xattr_int(topic / "0", "records") == count
    wait_sealed(mnt, alone=linger == "0")
    for path in store_dir(mnt).iterdir():
        if path.suffix == ".cut":
            check_torn(path)
        else:
            assert path.suffix in (".zst", ".log", ".idx"), path.name
    assert numbered.check(read(topic / "0")) == (0, count)


def seek_table(path):
    """(foff, compressed, content) of each frame of data, by the file's own seek table."""
    data = path.read_bytes()
    frames, flags, magic = struct.unpack("<IBI", data[-9:])
    assert magic == 0x8F92EAB1
    width = 12 if flags & 0x80 else 8
    at, found = 0, []
    for number in range(frames):
        compressed, size = struct.unpack_from("<II", data, len(data) - 9 - (frames - number) * width)
        if size:
            found.append((at, compressed, size))
        at += compressed
    return found


@pytest.mark.sanitize
def test_a_corrupt_frame_is_eio_for_its_range_alone_and_is_named(mnt):
    topic = mnt.topic("t", **{**SOON, "segment_bytes": "800KiB"})
    text = numbered.lines(0, 40000)
    for at in range(0, 40000, 500):
        append(topic / "0", numbered.lines(at, 500))
    append(mnt.topic("whole") / "0", b"unharmed\n")
    wait_sealed(mnt)
    mnt.stop()
    pos, path = list(files(store_dir(mnt), "zst").items())[1]
    frames = seek_table(path)
    assert len(frames) == 4 and frames[0][2] == 256 << 10
    with open(path, "r+b") as file:  # in the middle of the second frame
        file.seek(frames[1][0] + frames[1][1] // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 0x10]))
    mnt.sound = False
    mnt.start()
    first, last = pos + frames[0][2], pos + frames[0][2] + frames[1][2]
    with opened(topic / "0", os.O_RDONLY) as fd:
        for at, size in ((0, first), (last, len(text) - last)):
            while size > 0:
                got = os.pread(fd, min(size, 65536), at)
                assert got and got == text[at:at + len(got)]
                at, size = at + len(got), size - len(got)
        assert os.pread(fd, 1000, first - 1000) == text[first - 1000:first]
        for at in (first, (first + last) // 2, last - 1):
            for _ in range(2):
                with pytest.raises(OSError) as refused:
                    os.pread(fd, 1, at)
                assert refused.value.errno == 5
        assert os.pread(fd, 1, last) == text[last:last + 1]
    done = run("cat", topic / "0", code=1)
    assert b"Input/output error" in done.stderr and done.stdout == text[:first]
    mnt.expected.append(path.stem)
    named = f"t/0/{path.name}"
    assert named in read(mnt / ".status").decode() or f"t/0: segment {pos}" in read(mnt / ".status").decode()
    told = [line for line in mnt.stderr().splitlines() if path.stem in line or f"segment {pos}" in line]
    assert len(told) == 1, mnt.stderr()
    # The rest goes on: writes, other topics, and a restart.
    append(topic / "0", b"goes on\n")
    assert read(mnt / "whole" / "0") == b"unharmed\n"
    mnt.stop()
    done = topicctl("verify", mnt.store, code=1)
    said = (done.stdout + done.stderr).decode()
    assert path.stem in said and "whole/0" not in said, said
    assert run("zstd", "-qt", path, code=1)
