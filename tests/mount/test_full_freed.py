"""A full disk is freed through the mount itself."""

import errno
import os

import pytest

import numbered
from harness import append, read, run, wait_for, xattr_int
from segments import SOON, fill, fill_up, sealed, trim, wait_sealed


@pytest.fixture(autouse=True)
def space_at_the_end(small_disk):
    """The end of a test is not about a full disk."""
    yield
    (small_disk.image.path / "ballast").unlink(missing_ok=True)


@pytest.mark.sanitize
@pytest.mark.parametrize("how", ["trim", "unlink", "delete"])
def test_a_full_disk_is_freed_through_the_mount(small_disk, how):
    small_disk.expected.append("seal|No space")
    topic = small_disk.topic("t", partitions=2, **{**SOON, "segment_bytes": "64KiB"})
    other = small_disk.topic("other", delete_enable="true", trash_retention_ms="0")
    fill(other / "0", 60000)
    count = fill(topic / "0", 30000)
    if how == "unlink":
        wait_sealed(small_disk)
    small_disk.image.fill(leave=20 << 20)
    count = fill_up(topic / "0", count)
    count = fill_up(topic / "0", count, batch=1)
    if how == "delete":
        run("rm", other / "0")
    elif how == "unlink":
        for pos in sealed(small_disk)[:20]:
            os.unlink(topic / ".segments/0" / f"{pos:020}.zst")
    else:
        assert trim(topic, 0, xattr_int(topic / "0", "end") // 2) > 0

    def taken():
        try:
            append(topic / "1", numbered.lines(0, 100))
            return True
        except OSError as error:
            assert error.errno == errno.ENOSPC
            return False

    wait_for(taken, "space", 60)
    assert numbered.check(read(topic / "0"))[1] == count
    assert numbered.check(read(topic / "1")) == (0, 100)
    start = xattr_int(topic / "0", "start")
    (small_disk.image.path / "ballast").unlink()
    small_disk.restart()
    assert xattr_int(topic / "0", "start") == start and numbered.check(read(topic / "0"))[1] == count
