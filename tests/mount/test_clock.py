"""The clock jumps, by libfaketime: what is kept for a day is not deleted for that.

CLOCK_BOOTTIME and CLOCK_MONOTONIC go on as they are (FAKETIME_DONT_FAKE_MONOTONIC): what jumps is the time of day. Its
waits on CLOCK_MONOTONIC return at once, without FAKETIME_FORCE_MONOTONIC_FIX=0."""

import contextlib
import os
import time
from pathlib import Path

import pytest

import numbered
from harness import Mount, append, lifetime, read, wait_for, xattr_int
from segments import SOON, fill, topicctl, wait_sealed

DAY = 86400


def library():
    return next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


def start_clocked(idle):
    """Starts a daemon whose clock is what set_clock says."""
    idle.clock = idle.base / "clock"
    set_clock(idle, 0)
    idle.environment.update(LD_PRELOAD=str(library()), FAKETIME_TIMESTAMP_FILE=str(idle.clock), FAKETIME_NO_CACHE="1",
                            FAKETIME_DONT_FAKE_MONOTONIC="1", FAKETIME_FORCE_MONOTONIC_FIX="0", NO_FAKE_STAT="1")
    return idle.start()


@pytest.fixture
def clocked(idle):
    return start_clocked(idle)


def set_clock(mnt, ahead):
    """The daemon's time of day from now on, in seconds ahead of everybody else's."""
    temporary = mnt.base / "clock.new"
    temporary.write_text(f"{ahead:+d}\n")
    os.replace(temporary, mnt.clock)


def kept(mnt):
    """A topic whose lines are to be kept for a day, and one that is to be empty: where retention has worked, it has
    looked at both."""
    topic = mnt.topic("keep", **SOON, retention_ms="1d", segment_ms="7d")
    fill(topic / "0", 5000)
    wait_sealed(mnt, "keep")
    mnt.topic("empty", **SOON, retention_bytes="0")
    return topic / "0"


def retention_works(mnt):
    """Waits until retention has been at work on all partitions after now. A change of any key makes it look."""
    append(mnt / "empty" / "0", numbered.lines(0, 1500))
    append(mnt / "empty" / "0", numbered.lines(0, 10))
    end = xattr_int(mnt / "empty" / "0", "end")

    def looked():
        append(mnt / "empty" / ".config", b"flush.ms=100ms\n")
        return xattr_int(mnt / "empty" / "0", "start") >= end - (64 << 10)

    wait_for(looked, "retention", 60)


def test_the_daemon_has_the_clock_that_it_is_given(clocked):
    """Else the tests below would prove nothing. A jump of records' times is capped at an hour while it runs."""
    clocked.expected.append("clock|ahead")
    log = clocked.topic("t") / "0"
    append(log, b"x\n")
    assert abs(os.stat(log).st_mtime - time.time()) < 30
    set_clock(clocked, 2 * DAY)
    append(log, b"y\n")
    assert 3500 < os.stat(log).st_mtime - time.time() < 3601
    clocked.restart()
    append(log, b"z\n")
    assert abs(os.stat(log).st_mtime - time.time() - 2 * DAY) < 30


def test_jumps_while_it_runs_delete_nothing(clocked):
    clocked.expected.append("clock|ahead")
    log = kept(clocked)
    retention_works(clocked)
    count = 5000
    for ahead in (2 * DAY, 400 * DAY, -2 * DAY, 0):
        set_clock(clocked, ahead)
        append(log, numbered.lines(count, 2000))
        count += 2000
        retention_works(clocked)
        retention_works(clocked)
        assert numbered.check(read(log)) == (0, count) and xattr_int(log, "start") == 0, f"{ahead} s ahead"


def other_boot(mnt):
    """A start in another boot as far as the store can tell: without its checkpoint nothing says what had passed."""
    mnt.stop()
    (mnt.store / "checkpoint").unlink()


def test_a_jump_before_a_start_deletes_nothing():
    """Four mounts side by side, as retention begins ten seconds after a start."""
    with contextlib.ExitStack() as stack:
        logs = []
        for end, ahead in ((Mount.stop, 2 * DAY), (Mount.kill, 2 * DAY), (Mount.stop, -2 * DAY), (other_boot, 2 * DAY)):
            mnt = start_clocked(stack.enter_context(lifetime()))
            mnt.expected.append("clock|ahead|stale|left|recover|checkpoint|index")
            logs.append((mnt, kept(mnt), f"{end.__name__}, {ahead} s ahead"))
            end(mnt)
            set_clock(mnt, ahead)
            mnt.start()
        for mnt, _, _ in logs:
            retention_works(mnt)
        for mnt, log, what in logs:
            assert numbered.check(read(log)) == (0, 5000) and xattr_int(log, "start") == 0, what
            append(log, numbered.lines(5000, 1000))
            retention_works(mnt)
            assert numbered.check(read(log)) == (0, 6000) and xattr_int(log, "start") == 0, what


def test_times_asked_for_stay_sane_after_a_jump(clocked):
    """A jump ahead and back again: records are still found by time, and verify has nothing to say."""
    clocked.expected.append("clock|ahead")
    log = clocked.topic("t") / "0"
    append(log, b"before\n")
    set_clock(clocked, 2 * DAY)
    append(log, b"meanwhile\n")
    set_clock(clocked, 0)
    append(log, b"after\n")
    assert topicctl("consume", clocked.path, "t/0", "--from", "-1h").stdout.endswith(b"after\n")
    clocked.restart()
    assert read(log) == b"before\nmeanwhile\nafter\n"
