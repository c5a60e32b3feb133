"""What leaves by itself: retention by time and by size; and by hand: topicctl trim."""

import json
import os
import time

import pytest

import numbered
from harness import append, opened, read, wait_for, xattr_int
from numbered import number_at, position
from segments import SOON, Trimmer, fill, grown, produce, raw, sealed, topicctl, wait_sealed

SEGMENT = 64 << 10


def segments(mnt, topic="t"):
    """First positions of all segments that have files."""
    return sorted(set(raw(mnt, topic)) | set(sealed(mnt, topic)))


@pytest.mark.sanitize
def test_retention_by_size_takes_the_oldest_segments_after_ten_seconds(mnt):
    """And retention by time; and a change of mind within ten seconds costs nothing. Together, as each takes these ten
    seconds."""
    text = numbered.lines(0, 12000)
    for name, keys in (("size", {"retention.bytes": "200KiB"}), ("time", {"retention.ms": "1s"}), ("not", {}),
                       ("changed", {"retention.bytes": "0"}), ("none", {"retention.bytes": "0"})):
        topic = mnt.topic(name, **SOON)
        fill(topic / "0", 12000)
        wait_sealed(mnt, name)
        with opened(topic / "0", os.O_RDONLY) as fd:
            os.fsync(fd)
        set_at = time.monotonic()
        for key, value in keys.items():
            append(topic / ".config", f"{key}={value}\n".encode())
        if name == "changed":
            append(topic / ".config", b"retention.bytes=-1\n")
        if name == "size":
            first_set_at = set_at
    wait_for(lambda: xattr_int(mnt / "size" / "0", "start") > 0, "retention by size")
    assert time.monotonic() - first_set_at > 9.5
    wait_for(lambda: xattr_int(mnt / "time" / "0", "start") == len(text), "retention by time")
    # By size: whole segments, and never less than was asked for.
    start = xattr_int(mnt / "size" / "0", "start")
    assert 200 << 10 <= len(text) - start < (200 << 10) + SEGMENT
    assert read(mnt / "size" / "0") == text[start:] and number_at(start)
    wait_for(lambda: segments(mnt, "size")[0] == start, "the files' end")
    # By time: all of it, the active segment too.
    assert read(mnt / "time" / "0") == b"" and xattr_int(mnt / "time" / "0", "records") == 0
    wait_for(lambda: xattr_int(mnt / "none" / "0", "start") > 0, "retention to nothing")
    for name in ("not", "changed"):
        assert read(mnt / name / "0") == text
    # On it goes, in the same numbers.
    fill(mnt / "size" / "0", 6000, 12000)
    wait_for(lambda: xattr_int(mnt / "size" / "0", "end") - xattr_int(mnt / "size" / "0", "start")
             < (200 << 10) + SEGMENT, "retention by size again")
    append(mnt / "time" / "0", numbered.lines(12000, 10))
    assert read(mnt / "time" / "0") == numbered.lines(12000, 10)
    assert json.loads(topicctl("trash", mnt.path, "--json").stdout) == []
    mnt.crash()
    assert numbered.check(read(mnt / "size" / "0"))[1] == 18000
    assert xattr_int(mnt / "time" / "0", "start") >= len(text)


def test_retention_under_load_keeps_readers_whole(mnt):
    """Configured from the beginning; a reader that began at the start reads every line."""
    topic = mnt.topic("t", **SOON, retention_bytes="128KiB")
    append(topic / "0", numbered.lines(0, 20))
    with opened(topic / "0", os.O_RDONLY) as fd:
        produce(mnt, topic / "0", first=20, rate=10000)
        wait_for(lambda: xattr_int(topic / "0", "start") > 10 * SEGMENT, "retention", 60)
        mnt.end_children()
        pieces = list(iter(lambda: os.read(fd, 1 << 20), b""))
    first, last = numbered.check(b"".join(pieces))
    assert first == 0 and position(last) == xattr_int(topic / "0", "end")
    assert number_at(xattr_int(topic / "0", "start")) == numbered.check(read(topic / "0"))[0]


@pytest.fixture
def log(mnt):
    topic = mnt.topic("t", **SOON)
    fill(topic / "0", 10000)
    wait_sealed(mnt)
    return topic / "0"


@pytest.mark.parametrize("place", ["r5000", "b250000", "250000", "-5000", "start", "end", "-1h", "r9999"])
def test_topicctl_trim_takes_whole_segments_before_a_place(mnt, log, place):
    at = {"r5000": position(5000), "b250000": 250000, "250000": 250000, "-5000": position(5000), "start": 0,
          "end": position(10000), "-1h": 0, "r9999": position(9999)}[place]
    begins = [*segments(mnt), position(10000)]
    wanted = max(pos for pos in begins if pos <= at)
    result, = json.loads(topicctl("trim", mnt.path, "t/0", place, "--json").stdout)
    assert result["start"] == wanted == xattr_int(log, "start") == xattr_int(log, "base")
    assert result["trimmed_bytes"] == wanted and result["trimmed_records"] == number_at(wanted)
    assert read(log) == numbered.lines(0, 10000)[wanted:]
    assert xattr_int(log, "records") == 10000 - number_at(wanted)
    assert read(log.parent / ".offsets").split()[:3] == [b"0", b"%d" % wanted, b"%d" % position(10000)]


@pytest.mark.parametrize("place", ["r10001", "b99999999", "2999-01-01", "nonsense", ""])
def test_topicctl_trim_refuses_what_is_still_to_come(mnt, log, place):
    assert topicctl("trim", mnt.path, "t/0", place, code=None).returncode in (1, 2)
    assert xattr_int(log, "start") == 0 and numbered.check(read(log)) == (0, 10000)


def test_topicctl_trim_of_a_topic_trims_each_partition(mnt, log):
    (log.parent / "2").touch()
    append(log.parent / "2", b"x\n" * 10)
    topicctl("trim", mnt.path, "t", "end")
    assert [xattr_int(log.parent / name, "start") for name in "012"] == [position(10000), 0, 20]
    mnt.stop()
    topicctl("produce", mnt.store, "t/2", input=b"y\n")
    topicctl("trim", mnt.store, "t/2", "end")
    mnt.start()
    assert xattr_int(log.parent / "2", "start") == 22


def test_a_kill_while_trimming_leaves_an_old_or_a_new_start(mnt, log):
    count = 10000
    for _ in range(4):
        writer = produce(mnt, log, first=count, rate=20000)
        grown(log, xattr_int(log, "end") + 200000)
        trimmer = Trimmer(log.parent, keep=2 * SEGMENT, every=0.001)
        trimmer.thread.start()
        wait_for(lambda: trimmer.count > 3, "trims")
        mnt.kill()
        trimmer.ended.set()
        trimmer.thread.join()
        writer.wait()
        mnt.start()
        start = xattr_int(log, "start")
        assert start >= trimmer.starts[-1] and number_at(start) is not None
        first, count = numbered.check(read(log))
        assert position(first) == start
        wait_for(lambda: min(segments(mnt)) >= start, "the files' end")
