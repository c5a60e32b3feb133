"""A disk that fails: what fsync acknowledged is there, what it did not acknowledge is told, and nobody guesses."""

import errno
import os

import pytest

from harness import append, opened, read, unmount, wait_for, xattr_int

LINE = b"0123456789abcdef" * 4095 + b"fedcba987654321\n"  # 64 KiB
# What a loop device on a full disk gives to fsync is ENOSPC or EIO, by the kernel's version.
REFUSALS = (errno.EIO, errno.EROFS, errno.ENOSPC)


def produce_until_refused(log):
    """Appends and syncs until an error; returns how many lines were acknowledged, how many accepted, the errors."""
    acknowledged = accepted = 0
    with opened(log) as fd:
        try:
            while accepted < 20000:
                os.write(fd, LINE)
                accepted += 1
                if accepted % 16 == 0:
                    os.fsync(fd)
                    acknowledged = accepted
        except OSError as error:
            return acknowledged, accepted, error.errno
    pytest.fail("the disk never failed")


@pytest.mark.sanitize
def test_a_failed_fsync_makes_read_only_and_a_restart_goes_on_with_what_was_acknowledged(failing_disk):
    mnt = failing_disk
    mnt.expected.append(".")
    topic = mnt.topic("t", segment_bytes="4MiB", flush_bytes="1MiB")
    append(topic / "0", LINE * 10)
    with opened(topic / "0") as fd:
        os.fsync(fd)
    ballast = mnt.outer.fill(leave=3 << 20)
    acknowledged, accepted, error = produce_until_refused(topic / "0")
    assert error in REFUSALS, errno.errorcode[error]
    assert mnt.process.poll() is None, "the daemon ended"

    # Read-only from then on, and readable: what was accepted is still shown, whole.
    for _ in range(3):
        with opened(topic / "0") as fd:
            with pytest.raises(OSError) as refused:
                os.write(fd, b"more\n")
                os.fsync(fd)
        assert refused.value.errno in REFUSALS
    shown = read(topic / "0")
    assert shown[:len(LINE)] == LINE and len(shown) >= acknowledged * len(LINE)
    assert b"read-only" in read(mnt / ".status")

    # The disk is well again. (Its memory is kept: a loop device on a full disk loses what it has acknowledged, too.)
    unmount(mnt.path)
    mnt.wait_exit(None)
    ballast.unlink()
    mnt.start()
    kept = read(topic / "0")
    lines = len(os.path.commonprefix([kept, LINE * (10 + accepted)])) // len(LINE)
    assert lines >= 10 + acknowledged, f"only {lines} lines of {len(kept)} bytes are as they were acknowledged"
    assert len(kept) <= len(LINE) * (10 + accepted) + len(LINE)
    assert set(kept.split(b"\n")) == {LINE[:-1], b""}
    append(topic / "0", b"writes are taken again\n")
    with opened(topic / "0") as fd:
        os.fsync(fd)
    assert read(topic / "0") == kept + b"writes are taken again\n"
    assert xattr_int(topic / "0", "durable") == xattr_int(topic / "0", "end")


def test_a_failing_disk_stops_the_background_sync_too(failing_disk):
    """Nobody asks for durability: the failure of the background's sync must still stop the partition."""
    mnt = failing_disk
    mnt.expected.append(".")
    topic = mnt.topic("t", flush_ms="200", flush_bytes="1MiB", segment_bytes="4MiB")
    append(topic / "0", LINE)
    ballast = mnt.outer.fill(leave=1 << 20)

    def refused():
        try:
            append(topic / "0", LINE)
            return False
        except OSError as error:
            assert error.errno in REFUSALS, error
            return True

    wait_for(refused, "a refusal", 60)
    assert set(read(topic / "0").split(b"\n")) == {LINE[:-1], b""}
    unmount(mnt.path)
    mnt.wait_exit(None)
    ballast.unlink()
    mnt.start()
    append(topic / "0", b"again\n")
    assert read(topic / "0").endswith(b"\nagain\n")
