"""Readers of every kind against writers of every kind: no NUL, no torn line, no byte that changes."""

import os

import pytest

from harness import SCALE, build_path, run, wait_for

SECONDS = 20 * SCALE

# How and with which buffer: r reads on, p preads anywhere, o opens anew each time, s asks for the size.
READERS = ["r:1", "r:2", "r:3", "r:7", "r:100", "r:512", "r:4095", "r:4096", "r:4097", "r:16384", "r:65536", "r:98304",
           "r:131072", "r:1048576", "r:3000000", "p:1", "p:13", "p:4096", "p:5000", "p:131072", "p:1048577", "o:1",
           "o:777", "o:4096", "o:262144", "s:0", "s:1"]
WRITERS = [("line", 200), ("line", 20000), ("torn", 2000), ("100", 3000), ("4096", 4096), ("4097", 60000),
           ("65536", 100), ("1048576", 1000), ("1048576", 900000), ("torn", 500000), ("1044480", 4000), ("2000000", 5000)]


def check_words(output):
    return output.decode().splitlines()[-1].split()


@pytest.mark.sanitize
@pytest.mark.parametrize("segment", ["256KiB", "256MiB"])
def test_readers_of_every_size_against_writers_of_every_size(mnt, segment):
    """Each writer at a rate of its own, through `0` and through `0@append`, some of them durable, over rolls or
    without any. Every byte that any reader sees is compared with what the others saw there, and in the end with
    what the line says it must be."""
    topic = mnt.topic("t", segment_bytes=segment)
    lines, acks = build_path("tests", "mount", "lines"), mnt.base / "acks"
    output = mnt.base / "readers"
    with open(output, "wb") as stdout:
        readers = mnt.spawn(lines, "read", "-a", acks, *(word for each in READERS for word in ("-t", each)), topic / "0",
                            stdin=-1, stdout=stdout, stderr=stdout)
    writers = []
    for number, (chunk, payload) in enumerate(WRITERS * 2):
        door = topic / ("0@append" if number >= len(WRITERS) else "0")
        options = ["-s"] if number % 5 == 0 else []
        writers.append(mnt.spawn(lines, "write", "-w", number, "-a", acks, "-c", chunk, "-m", payload, "-r", 200_000,
                                 *options, door, stdout=-1))
    half = SECONDS / 2
    try:
        readers.wait(half)
    except Exception:  # as it should be: they read until they are told
        pass
    assert readers.poll() is None, output.read_text(errors="replace")[-2000:]
    assert [each.poll() for each in writers] == [None] * len(writers)
    for each in writers:
        each.kill()
        each.wait(30)
    end = wait_for(lambda: os.stat(topic / "0").st_size, "the end")
    readers.stdin.close()
    readers.wait(120)
    assert readers.returncode == 0, output.read_text(errors="replace")[-2000:]
    words = check_words(output.read_bytes())
    assert words[0] == "lines" and int(words[1]) > 100 * SECONDS and int(words[3]) == len(writers)
    assert f"bytes {end}" in output.read_text().splitlines()
    assert run(lines, "check", "-a", acks, topic / "0").stdout.split()[1].decode() == words[1]
    if segment == "256KiB":
        assert len(list((mnt.store / "topics" / "t" / "0").glob("*.log"))) > 10


def test_the_reader_program_can_fail(mnt):
    """The checker itself: a changed byte, a lost line, a repeated line and a NUL are each found."""
    lines, acks = build_path("tests", "mount", "lines"), mnt.base / "acks"
    log = mnt.topic("t") / "0"
    run(lines, "write", "-w", 5, "-a", acks, "-n", 1000, "-c", "4096", "-m", 300, log)
    run(lines, "check", "-a", acks, log)
    good = log.read_bytes()
    some = good.splitlines(keepends=True)
    longest = max(some, key=len)
    damages = {
        "changed": good.replace(longest, longest[:-2] + (b"a" if longest[-2:-1] != b"a" else b"b") + b"\n"),
        "lost": b"".join(some[:500] + some[501:]),
        "repeated": b"".join(some[:500] + some[499:]),
        "nul": good.replace(longest, longest[:-3] + b"\0\0\n"),
        "swapped": b"".join(some[:500] + [some[501], some[500]] + some[502:]),
        "shortened": b"".join(some[:-1]),
        "torn": b"".join(some[:500]) + some[500][:30] + b"\n" + some[500][30:] + b"".join(some[501:]),
        "unended": good[:-1],
    }
    for name, data in damages.items():
        path = mnt.base / name
        path.write_bytes(data)
        done = run(lines, "check", "-a", acks, path, code=1)
        assert done.stderr != b"", name


def test_many_topics_many_partitions_many_writers(mnt):
    """Breadth instead of depth: 8 topics of 8 partitions, a writer each, all at once, then all of it compared."""
    lines = build_path("tests", "mount", "lines")
    writers = []
    for topic in range(8):
        path = mnt.topic(f"topic{topic}", partitions=8, segment_bytes="128KiB")
        for partition in range(8):
            acks = mnt.base / f"acks.{topic}.{partition}"
            writers.append(mnt.spawn(lines, "write", "-w", partition, "-a", acks, "-n", int(400 * SCALE) + 100, "-c",
                                     ["line", "torn", "4096", "65536"][partition % 4], "-m", 5000,
                                     path / str(partition)))
    assert [each.wait(120) for each in writers] == [0] * 64
    for topic in range(8):
        for partition in range(8):
            done = run(lines, "check", "-a", mnt.base / f"acks.{topic}.{partition}", mnt / f"topic{topic}" / str(partition))
            assert int(done.stdout.split()[1]) == int(400 * SCALE) + 100


def test_a_mount_under_metadata_and_data_load_at_once(mnt):
    """Topics come and go, are renamed and configured, while others write and read: nothing of it leaks over."""
    steady = mnt.topic("steady", segment_bytes="64KiB")
    lines, acks = build_path("tests", "mount", "lines"), mnt.base / "acks"
    writer = mnt.spawn(lines, "write", "-w", 1, "-a", acks, "-n", int(20000 * SCALE), "-c", "line", steady / "0")
    churn = mnt.spawn("bash", "-ec", """
        cd "$1"
        for i in {1..60}; do
            mkdir c$i; touch c$i/3; echo "line $i" >> c$i/2; echo quota.bytes=1000 >> c$i/.config
            mv c$i d$i; cat d$i/.offsets d$i/.config .status > /dev/null; ls -lR . > /dev/null
            mkdir e$i; rmdir e$i
        done""", "bash", mnt.path)
    assert writer.wait(120) == 0
    assert churn.wait(120) == 0
    run(lines, "check", "-a", acks, steady / "0")
    assert sorted(os.listdir(mnt.path)) == sorted([f"d{n}" for n in range(1, 61)] + ["steady"])
    for number in range(1, 61):
        assert (mnt / f"d{number}" / "2").read_bytes() == b"line %d\n" % number
