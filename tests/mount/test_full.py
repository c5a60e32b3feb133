"""A full disk: ENOSPC in write(2), whole records only, and on it goes once there is space again."""

import contextlib
import errno
import os

import pytest

from harness import append, build_path, fails, is_mounted, opened, read, run, sh, unmount, wait_for


@pytest.fixture(autouse=True)
def space_at_the_end(small_disk):
    """The end of a test is not about a full disk, unless the test itself ends the daemon."""
    yield
    (small_disk.image.path / "ballast").unlink(missing_ok=True)


def fill_by_writing(path, line):
    """Appends a line again and again until the disk is full; returns how many were accepted."""
    count = 0
    with opened(path) as fd:
        while True:
            try:
                assert os.write(fd, line) == len(line)
            except OSError as error:
                assert error.errno == errno.ENOSPC, error
                return count
            count += 1
            assert count < 10_000_000


@pytest.mark.sanitize
def test_a_full_disk_is_told_in_write_and_the_log_holds_whole_records(small_disk):
    topic = small_disk.topic("t", partitions=2)
    append(topic / "1", b"other\n")
    small_disk.image.fill(leave=4 << 20)
    line = b"x" * 99_999 + b"\n"
    append(topic / "1", line * 10)
    count = fill_by_writing(topic / "0", line)
    assert count > 10
    assert read(topic / "0") == line * count
    assert read(topic / "1") == b"other\n" + line * 10
    assert small_disk.process.poll() is None
    # Still full, still whole, still readable; and every write is told.
    with opened(topic / "0") as fd:
        for _ in range(20):
            with fails(errno.ENOSPC):
                os.write(fd, line * 10)
    assert read(topic / "0") == line * count
    done = run("bash", "-c", 'cat "$2" "$2" >> "$1"', "bash", topic / "0", topic / "1", code=1)
    assert b"No space left" in done.stderr


@pytest.mark.sanitize
def test_after_space_is_freed_it_goes_on(small_disk):
    topic = small_disk.topic("t")
    ballast = small_disk.image.fill(leave=2 << 20)
    line = b"y" * 9_999 + b"\n"
    with opened(topic / "0") as fd:
        os.write(fd, b"unfinished ")
        count = fill_by_writing(topic / "0", line)
        ballast.unlink()
        os.write(fd, b"but now\n")
        os.fsync(fd)
    append(topic / "0", b"after\n")
    wanted = line * count + b"unfinished but now\nafter\n"
    assert read(topic / "0") == wanted
    small_disk.restart()
    assert read(topic / "0") == wanted
    append(topic / "0", b"last\n")
    assert read(topic / "0") == wanted + b"last\n"


def test_a_rest_that_was_accepted_is_appended_even_on_a_full_disk(small_disk):
    """Space is taken when the rest is buffered: the close that cannot answer need not."""
    topic = small_disk.topic("t", partitions=2)
    small_disk.image.fill(leave=2 << 20)
    rest = b"r" * 300_000
    fd = os.open(topic / "1", os.O_WRONLY | os.O_APPEND)
    assert os.write(fd, rest) == len(rest)
    fill_by_writing(topic / "0", b"x" * 65_535 + b"\n")
    fill_by_writing(topic / "0", b"x\n")
    os.close(fd)
    assert read(topic / "1") == rest + b"\n"


def test_a_kill_on_a_full_disk_loses_nothing(small_disk):
    topic = small_disk.topic("t", partitions=2)
    ballast = small_disk.image.fill(leave=2 << 20)
    fd = os.open(topic / "1", os.O_WRONLY | os.O_APPEND)
    os.write(fd, b"half")
    count = fill_by_writing(topic / "0", b"z" * 4_999 + b"\n")
    small_disk.expected.append(".")
    small_disk.crash()
    with contextlib.suppress(OSError):
        os.close(fd)
    assert read(topic / "0") == (b"z" * 4_999 + b"\n") * count
    assert read(topic / "1") in (b"half\n", b"")
    ballast.unlink()
    wait_for(lambda: read(topic / "1") == b"half\n", "the rest, once there is space")
    append(topic / "0", b"more\n")
    small_disk.restart()
    assert read(topic / "0") == (b"z" * 4_999 + b"\n") * count + b"more\n"
    assert read(topic / "1") == b"half\n"


def test_many_writers_on_a_filling_disk_keep_exact_counts(small_disk):
    topic = small_disk.topic("t")
    small_disk.image.fill(leave=8 << 20)
    lines, acks = build_path("tests", "mount", "lines"), small_disk.base / "acks"
    writers = [small_disk.spawn(lines, "write", "-w", number, "-a", acks, "-m", 50000, "-c", chunk, topic / "0",
                                stdout=-1)
               for number, chunk in enumerate(["line", "torn", "4096", "1048576", "100"])]
    for writer in writers:
        assert writer.communicate(timeout=120)[0] == b"ENOSPC\n"
        assert writer.returncode == 1
    counts = run(lines, "check", "-a", acks, topic / "0").stdout.split()
    assert counts[3] == b"5"


def test_mkdir_and_touch_and_config_on_a_full_disk_fail_cleanly(small_disk):
    topic = small_disk.topic("t")
    append(topic / "0", b"x\n")
    ballast = small_disk.image.fill()
    made = 0
    try:
        for made in range(5000):
            os.mkdir(small_disk / f"new{made}")
    except OSError as error:
        assert error.errno == errno.ENOSPC
    else:
        pytest.fail("the disk never was full")
    assert sorted(os.listdir(small_disk.path)) == sorted([f"new{n}" for n in range(made)] + ["t"])
    with fails(errno.ENOSPC):
        for number in range(1, 1000):
            (topic / str(number)).touch()
    before = read(topic / ".config")
    long_comment = b"max.message.bytes=1000\n#%s\n" % (b" long" * 100000)  # more than the blocks kept back for this
    small_disk.expected.append(r"\.config: No space left")
    with fails(errno.ENOSPC):
        append(topic / ".config", long_comment)
    assert read(topic / ".config") == before
    ballast.unlink()
    append(topic / ".config", long_comment)
    assert read(topic / ".config") == before + long_comment
    (topic / "999").touch()
    os.mkdir(small_disk / "afterwards")
    assert read(topic / "0") == b"x\n"
    append(topic / "999", b"y\n")
    assert read(topic / "999") == b"y\n"


def test_df_shows_the_stores_disk(small_disk):
    shown = run("df", "-k", "--output=size,avail", small_disk.path).stdout.split()
    disk = run("df", "-k", "--output=size,avail", small_disk.image.path).stdout.split()
    assert shown == disk


def test_echo_on_a_full_disk_says_so(small_disk):
    """The shell's echo reports what write(2) says; nothing waits for the close, which it ignores."""
    topic = small_disk.topic("t")
    small_disk.image.fill(leave=1 << 20)
    fill_by_writing(topic / "0", b"x" * 4_095 + b"\n")
    fill_by_writing(topic / "0", b"x\n")
    before = read(topic / "0")
    script = 'for i in {1..3000}; do echo "a line of some length, to be refused" || exit 7; done >> "$1" 2>/dev/null'
    assert sh(script + '; echo unreached', topic / "0", code=7) == b""
    assert read(topic / "0").startswith(before)
    assert set(read(topic / "0")[len(before):].split(b"\n")) <= {b"a line of some length, to be refused", b""}


@pytest.mark.parametrize("end", ["umount", "SIGTERM"])
def test_a_clean_end_on_a_full_disk_loses_nothing(small_disk, end):
    """The checkpoint may find no room, and the daemon then says so; the records are there all the same."""
    topic = small_disk.topic("t", partitions=2)
    append(topic / "1", b"other\n")
    ballast = small_disk.image.fill(leave=3 << 20)
    count = fill_by_writing(topic / "0", b"w" * 9_999 + b"\n")
    small_disk.expected.append("No space left")
    if end == "umount":
        unmount(small_disk.path)
    else:
        small_disk.process.terminate()
    small_disk.wait_exit(None)
    assert not is_mounted(small_disk.path)
    ballast.unlink()
    small_disk.start()
    assert read(topic / "0") == (b"w" * 9_999 + b"\n") * count
    assert read(topic / "1") == b"other\n"
    append(topic / "0", b"more\n")
    assert read(topic / "0").endswith(b"w\nmore\n")
