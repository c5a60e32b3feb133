"""quota.bytes refuses, quota.bytes.per.second slows."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

import numbered
from harness import append, fails, opened, read, run, wait_for, xattr_int
from segments import SOON, fill, sealed, trim, wait_sealed

LINE = b"x" * 999 + b"\n"

# Writes a line of 1000 bytes, then COUNT at a time, and prints how many were written and why it ended.
WRITER = """
import os, signal, sys
path, count = sys.argv[1], int(sys.argv[2])
signal.signal(signal.SIGUSR1, lambda *_: (_ for _ in ()).throw(InterruptedError(4, "told")))
fd, done = os.open(path, os.O_WRONLY | os.O_APPEND), 0
print("here", flush=True)
try:
    while True:
        done += os.write(fd, (b"x" * 999 + b"\\n") * (count if done else 1))
except OSError as error:
    print(done // 1000, error.errno, flush=True)
"""


def writer(mnt, path, count=10):
    child = mnt.spawn(sys.executable, "-c", WRITER, path, count, stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"here\n"
    return child


@pytest.mark.sanitize
def test_over_quota_bytes_is_edquot_with_nothing_appended(mnt):
    topic = mnt.topic("t", partitions=2, quota_bytes="10000")
    with opened(topic / "0") as fd:
        for _ in range(9):
            os.write(fd, LINE)
        for data in (LINE * 2, b"y" * 1000 + b"\n"):
            with fails(errno.EDQUOT):
                os.write(fd, data)
        assert os.write(fd, LINE) == 1000
        for data in (b"\n", b"rest"):
            with fails(errno.EDQUOT):
                os.write(fd, data)
    assert read(topic / "0") == LINE * 10
    append(topic / "1", LINE * 10)  # each partition has its own
    assert b"Disk quota exceeded" in run("bash", "-c", 'echo x >> "$1"', "-", topic / "0", code=1).stderr
    mnt.restart()
    with fails(errno.EDQUOT):
        append(topic / "0", b"x\n")
    append(topic / ".config", b"quota.bytes=10002\n")
    append(topic / "0", b"x\n")
    assert read(topic / "0") == LINE * 10 + b"x\n"


def test_a_trim_makes_room_under_the_quota_and_so_does_nothing_else(mnt):
    """quota.bytes counts the bytes of the log from the start on, sealed or not, trimmed ones no more."""
    topic = mnt.topic("t", **SOON, quota_bytes="300KiB")
    with pytest.raises(OSError) as refused:
        fill(topic / "0", 20000)
    assert refused.value.errno == errno.EDQUOT
    size = os.stat(topic / "0").st_size
    assert 280 << 10 < size <= 300 << 10
    wait_sealed(mnt)
    with fails(errno.EDQUOT):
        append(topic / "0", b"x" * 20000 + b"\n")
    first, count = numbered.check(read(topic / "0"))
    assert first == 0
    start = trim(topic, 0, size // 2)
    with pytest.raises(OSError) as refused:
        fill(topic / "0", 20000, count)
    assert refused.value.errno == errno.EDQUOT
    assert numbered.check(read(topic / "0"))[1] > count + 1000
    assert 280 << 10 < xattr_int(topic / "0", "end") - start <= 300 << 10 and sealed(mnt)


@pytest.mark.sanitize
def test_over_quota_bytes_per_second_is_slowed_not_refused(mnt):
    topic = mnt.topic("t", quota_bytes_per_second="500KiB")
    append(topic / "0", LINE * 1000)  # what may be saved up is used up
    started, before = time.monotonic(), xattr_int(topic / "0", "end")
    with opened(topic / "0") as fd:
        while time.monotonic() < started + 3:
            assert os.write(fd, LINE * 50) == 50000
    rate = (xattr_int(topic / "0", "end") - before) / (time.monotonic() - started)
    assert 250 << 10 < rate < 750 << 10, f"{rate / 1024:.0f} KiB/s"
    assert read(topic / "0") == LINE * (len(read(topic / "0")) // 1000)


def test_who_is_within_the_quota_does_not_wait(mnt):
    topic = mnt.topic("t", quota_bytes_per_second="1MiB")
    started = time.monotonic()
    for _ in range(100):
        append(topic / "0", LINE)
    assert time.monotonic() - started < 5
    append(topic / ".config", b"quota.bytes.per.second=-1\n")
    started = time.monotonic()
    for _ in range(40):
        append(topic / "0", LINE * 1000)
    assert time.monotonic() - started < 20


@pytest.mark.sanitize
def test_others_are_not_slowed_by_one_who_is(mnt):
    """Neither other partitions, nor readers of the same one, nor names: with more slowed writers than threads."""
    slow, other = mnt.topic("slow", partitions=20, quota_bytes_per_second="1KiB"), mnt.topic("other")
    for number in range(20):
        writer(mnt, slow / str(number))
    wait_for(lambda: all(os.stat(slow / str(number)).st_size for number in range(20)), "a line of each")
    started = time.monotonic()
    for number in range(50):
        append(other / "0", LINE)
        assert read(slow / str(number % 20)).startswith(LINE)
        os.stat(slow / str(number % 20))
        os.listdir(slow)
    assert time.monotonic() - started < 10
    assert all(child.poll() is None for child in mnt.children)
    # And the end of the daemon does not wait for them either.
    started = time.monotonic()
    mnt.terminate()
    assert time.monotonic() - started < 20
    mnt.end_children()
    mnt.start()


def test_a_signal_ends_the_wait_with_nothing_appended(mnt):
    topic = mnt.topic("t", quota_bytes_per_second="1KiB")
    child = writer(mnt, topic / "0", 100)

    def waits():
        with open(f"/proc/{child.pid}/wchan", encoding="ascii") as file:
            return "fuse" in file.read() or "request" in open(f"/proc/{child.pid}/stack", encoding="ascii").read()

    wait_for(lambda: os.stat(topic / "0").st_size > 0 and waits(), "a writer that is slowed")
    before = read(topic / "0")
    child.send_signal(signal.SIGUSR1)
    done, number = map(int, child.stdout.readline().split())
    assert number == errno.EINTR
    assert child.wait(10) == 0
    assert read(topic / "0") == before == LINE * done


def test_a_slowed_writer_can_be_killed_at_once(mnt):
    topic = mnt.topic("t", quota_bytes_per_second="1KiB")
    child = writer(mnt, topic / "0", 200)
    wait_for(lambda: os.stat(topic / "0").st_size > 0, "the first lines")
    started = time.monotonic()
    child.kill()
    child.wait(10)
    assert time.monotonic() - started < 5
    assert set(read(topic / "0").split(b"\n")) == {LINE[:-1], b""}
