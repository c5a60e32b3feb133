"""A full disk, and one without inodes, while there are segments to seal and to trim."""

import errno
import os

import pytest

import numbered
from harness import append, read, wait_for, xattr_int
from segments import SOON, fill, fill_up, raw, sealed, topicctl, trim


@pytest.fixture(autouse=True)
def space_at_the_end(request):
    """The end of a test is not about a full disk."""
    mnt = request.getfixturevalue("few_inodes" if "few_inodes" in request.fixturenames else "small_disk")
    yield
    (mnt.image.path / "ballast").unlink(missing_ok=True)


@pytest.mark.sanitize
def test_sealing_waits_for_space_and_costs_producers_none(small_disk):
    """On a disk that is nearly full what is left belongs to the producers; with space again it is sealed."""
    small_disk.expected.append("seal|No space")
    topic = small_disk.topic("t", **{**SOON, "segment_bytes": "1MiB"})
    ballast = small_disk.image.fill(leave=8 << 20)
    count = fill_up(topic / "0", 0)
    assert numbered.check(read(topic / "0")) == (0, count)
    for _ in range(20):  # what maintenance gives back meanwhile is taken, too
        count = fill_up(topic / "0", count)
    assert small_disk.process.poll() is None
    assert numbered.check(read(topic / "0")) == (0, count)
    ballast.unlink()

    def done():
        append(topic / ".config", b"flush.ms=100ms\n")  # has maintenance look
        return sealed(small_disk) and len(raw(small_disk)) == 1

    wait_for(done, "sealing", 90)
    assert numbered.check(read(topic / "0")) == (0, count)
    count = fill(topic / "0", 5000, count)
    small_disk.restart()
    assert numbered.check(read(topic / "0")) == (0, count)


def test_a_kill_on_a_full_disk_after_a_trim(small_disk):
    small_disk.expected.append(".")
    topic = small_disk.topic("t", **{**SOON, "segment_bytes": "512KiB"})
    small_disk.image.fill(leave=10 << 20)
    count = fill_up(topic / "0", 0)
    start = trim(topic, 0, xattr_int(topic / "0", "end") // 2)
    small_disk.crash()
    assert xattr_int(topic / "0", "start") == start
    first, last = numbered.check(read(topic / "0"))
    assert numbered.position(first) == start and last == count
    (small_disk.image.path / "ballast").unlink()
    small_disk.crash()
    assert numbered.check(read(topic / "0")) == (first, count)


@pytest.mark.sanitize
def test_out_of_inodes_new_names_are_refused_and_old_partitions_go_on(few_inodes):
    """Making topics and partitions stops before the last inodes are gone, which segments are going to need."""
    mnt = few_inodes
    topic = mnt.topic("t", **SOON)
    count = fill(topic / "0", 2000)
    made = 0
    with pytest.raises(OSError) as refused:
        for made in range(5000):
            mnt.topic(f"x{made}", delete_enable="true")
    assert refused.value.errno == errno.ENOSPC
    assert made > 50
    with pytest.raises(OSError) as refused:
        for number in range(1, 1000):
            (topic / str(number)).touch()
    assert refused.value.errno == errno.ENOSPC
    assert sorted(os.listdir(mnt.path)) == sorted([f"x{number}" for number in range(made)] + ["t"])
    # A segment more needs two files, and one when it is sealed.
    for _ in range(2):
        count = fill(topic / "0", 1000, count)
    assert numbered.check(read(topic / "0")) == (0, count)
    # When all are gone: whole lines or ENOSPC, and on it goes when there are some again.
    taken = []
    try:
        while True:
            taken.append(mnt.image.path / f"taken{len(taken)}")
            taken[-1].touch()
    except OSError as error:
        assert error.errno == errno.ENOSPC
    mnt.expected.append("No space|seal")
    with pytest.raises(OSError) as refused:
        while True:
            append(topic / "0", numbered.lines(count, 100))
            count += 100
    assert refused.value.errno == errno.ENOSPC
    assert numbered.check(read(topic / "0")) == (0, count) and mnt.process.poll() is None
    for path in taken[:-1]:
        path.unlink()
    for number in range(20):
        os.rmdir(mnt / f"x{number}")
    count = fill(topic / "0", 2000, count)
    assert numbered.check(read(topic / "0")) == (0, count)
    assert mnt.topic("y") and topicctl("list", mnt.path)
