"""topic/.segments/P/: the sealed segments as the plain .zst files that they are."""

import errno
import mmap
import os
import shutil

import pytest

import numbered
from harness import append, as_user, fails, opened, read, run, sh, wait_for, xattr_int
from segments import SOON, Trimmer, files, fill, produce, raw, sealed, store_dir, trim, wait_sealed, zstdcat

REFUSED = (errno.EROFS, errno.EPERM, errno.EACCES)


@pytest.fixture
def log(mnt):
    """Partition 1 of 2, with 12000 lines, sealed but for its last segment."""
    topic = mnt.topic("t", partitions=2, **SOON)
    fill(topic / "1", 12000)
    wait_sealed(mnt, partition=1)
    return topic / "1"


@pytest.fixture
def segments(log):
    return log.parent / ".segments" / "1"


@pytest.mark.sanitize
def test_zstdcat_of_the_directory_prints_the_partition(mnt, log, segments):
    names = sorted(os.listdir(segments))
    assert names == [f"{pos:020}.zst" for pos in sealed(mnt, partition=1)] and len(names) > 8
    active = raw(mnt, partition=1)[0]
    assert sh('zstdcat "$1"/*.zst', segments) == read(log)[:active]
    for name in names:
        assert (segments / name).read_bytes() == (store_dir(mnt, partition=1) / name).read_bytes()
        assert int(name[:20]) == numbered.position(numbered.number_at(int(name[:20])))
        status, theirs = os.stat(segments / name), os.stat(store_dir(mnt, partition=1) / name)
        assert (status.st_size, status.st_mtime_ns) == (theirs.st_size, theirs.st_mtime_ns)
        assert status.st_mode & 0o777 == 0o444 and status.st_blocks > 0


def test_what_is_in_there_and_what_is_not(mnt, log):
    topic = log.parent
    assert sorted(os.listdir(topic)) == ["0", "1"]
    assert sorted(os.listdir(topic / ".segments")) == ["0", "1"]
    assert os.listdir(topic / ".segments" / "0") == []
    for name in ("2", "00", "x", "-1", ".zst"):
        with fails(errno.ENOENT):
            os.stat(topic / ".segments" / name)
    for name in ("0", "0.zst", f"{1:020}.zst", f"{0:020}.log", f"{0:020}.idx", f"{0:020}.zst.new", f"{0:019}.zst",
                 f"{raw(mnt, partition=1)[0]:020}.zst"):
        with fails(errno.ENOENT):
            os.stat(topic / ".segments" / "1" / name)


@pytest.mark.parametrize("script", [
    'find . -type f -name "*.zst" | sort | xargs sha256sum', 'tar -cf - --sort=name . | tar -xO | sha256sum',
    'ls -1', 'ls -l | sed 1d | awk "{ print \\$5, \\$NF }"', 'du -b --apparent-size *.zst', 'wc -c *.zst',
    'stat -c "%s %Y %n" *.zst', 'sha256sum *.zst; sha256sum *.zst', 'zstd -qt *.zst && echo sound',
    'rm -rf "$2/x"; rsync -a . "$2/x" && cd "$2/x" && sha256sum *.zst', 'cat *.zst | sha256sum',
    'rm -rf "$2/x"; cp -a . "$2/x" && cd "$2/x" && stat -c "%s %Y %n" *.zst', 'zstdcat *.zst | md5sum',
    'grep -c "" *.zst', 'dd if="$(ls | tail -1)" bs=1000 skip=3 status=none | md5sum', 'cmp * 2>&1 | head -c 20',
])
def test_programs_find_plain_files_in_a_real_directory(mnt, log, segments, script):
    """As in a plain directory with the same files."""
    same = mnt.base / "same"
    same.mkdir()
    for path in files(store_dir(mnt, partition=1), "zst").values():
        shutil.copy2(path, same)
    wanted = sh(f'cd "$1" && {script}', same, mnt.base)
    assert sh(f'cd "$1" && {script}', segments, mnt.base) == wanted != b""
    assert sh(f'cd "$1" && {script}', segments, mnt.base) == wanted


def test_a_second_rsync_moves_nothing_and_one_later_only_what_is_new(mnt, log, segments):
    copy = mnt.base / "copy"
    run("rsync", "-a", f"{segments}/", f"{copy}/")
    assert run("rsync", "-ai", f"{segments}/", f"{copy}/").stdout == b""
    before = set(os.listdir(copy))
    fill(log, 6000, 12000)
    wait_for(lambda: len(os.listdir(segments)) >= len(before) + 3, "new segments")
    moved = run("rsync", "-ai", f"{segments}/", f"{copy}/").stdout.decode().splitlines()
    assert {line.split()[-1] for line in moved if line.startswith(">f")} == set(os.listdir(copy)) - before
    first, last = numbered.check(zstdcat(*sorted(copy.iterdir())))
    assert first == 0 and last > 12000


def test_sealed_files_can_be_mapped_shared_and_read_anywhere(segments):
    path = segments / sorted(os.listdir(segments))[2]
    with opened(path, os.O_RDONLY) as fd:
        data = read(path)
        with mmap.mmap(fd, 0, mmap.MAP_SHARED, mmap.PROT_READ) as mapped:
            assert mapped[:] == data
        for at in (0, 1, 4095, 4096, len(data) - 1, len(data), len(data) + 1000):
            assert os.pread(fd, 5000, at) == data[at:at + 5000]


@pytest.mark.sanitize
def test_nothing_can_be_written(log, segments):
    path = segments / sorted(os.listdir(segments))[0]
    before = read(path)
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND, os.O_WRONLY | os.O_TRUNC):
        with fails(*REFUSED):
            os.close(os.open(path, flags))
    for call in (lambda: os.truncate(path, 0), lambda: os.chmod(path, 0o777), lambda: os.utime(path),
                 lambda: os.chown(path, 1, 1), lambda: os.rename(path, segments / "x"),
                 lambda: os.link(path, segments / "x"), lambda: os.mkdir(segments / "x"),
                 lambda: os.symlink("x", segments / "x"), lambda: os.mkfifo(segments / "x"),
                 lambda: os.mkdir(segments.parent / "5"), lambda: os.rmdir(segments), lambda: os.rmdir(segments.parent),
                 lambda: os.close(os.open(segments / "x", os.O_WRONLY | os.O_CREAT)),
                 lambda: os.rename(log, segments / "x"), lambda: os.rename(segments, log.parent.parent / "y")):
        with fails(*REFUSED, errno.EXDEV, errno.ENOTEMPTY, errno.EINVAL, errno.EBUSY):
            call()
    assert read(path) == before and numbered.check(read(log)) == (0, 12000)


@pytest.mark.sanitize
def test_unlinking_the_oldest_trims_and_others_are_busy(mnt, log, segments):
    names = sorted(os.listdir(segments))
    for name in names[1:]:
        with fails(errno.EBUSY):
            os.unlink(segments / name)
    text = read(log)
    with opened(segments / names[0], os.O_RDONLY) as fd, opened(log, os.O_RDONLY) as old:
        data = os.pread(fd, 1 << 20, 0)
        os.unlink(segments / names[0])
        # A file that is unlinked can be read by who has it open, and so can the partition's old generation.
        assert os.pread(fd, 1 << 20, 0) == data
        assert os.pread(old, 1000, 0) == text[:1000]
    assert sorted(os.listdir(segments)) == names[1:]
    with fails(errno.ENOENT):
        os.stat(segments / names[0])
    start = int(names[1][:20])
    assert xattr_int(log, "start") == start and read(log) == text[start:]
    wait_for(lambda: not (store_dir(mnt, partition=1) / names[0]).exists(), "the file's end")
    mnt.crash()
    assert sorted(os.listdir(segments)) == names[1:] and read(log) == text[start:]


def test_rm_of_several_takes_the_oldest_ones_in_order(log, segments):
    names = sorted(os.listdir(segments))
    run("rm", "-f", *(segments / name for name in names[:4]))
    assert sorted(os.listdir(segments)) == names[4:]
    assert xattr_int(log, "start") == int(names[4][:20])
    numbered.check(read(log))
    # All that is sealed may go; what is active stays.
    run("rm", "-f", *(segments / name for name in names[4:]))
    assert os.listdir(segments) == []
    assert numbered.check(read(log))[1] == 12000


def test_only_the_oldest_can_go_one_after_the_other(mnt):
    topic = mnt.topic("t", **SOON)
    for number in range(0, 5000, 100):
        append(topic / "0", numbered.lines(number, 100))
    wait_sealed(mnt)
    oldest, second = sorted(os.listdir(topic / ".segments" / "0"))[:2]
    with fails(errno.EBUSY):
        os.unlink(topic / ".segments" / "0" / second)
    os.unlink(topic / ".segments" / "0" / oldest)
    os.unlink(topic / ".segments" / "0" / second)


def test_an_open_file_is_kept_across_trims(mnt, log, segments):
    names = sorted(os.listdir(segments))
    with opened(segments / names[1], os.O_RDONLY) as fd:
        first = os.pread(fd, 100, 0)
        size = os.fstat(fd).st_size
        trim(log.parent, 1, xattr_int(log, "end"))
        wait_for(lambda: not sealed(mnt, partition=1), "the end of the files")
        rest = os.pread(fd, size, 0)
        assert rest[:100] == first and len(rest) == size
        numbered.check(run("zstd", "-dc", input=rest).stdout)
    assert os.listdir(segments) == []


def test_reading_all_segments_while_they_come_and_go(mnt, log, segments):
    """What zstdcat prints of the files that a listing named are lines without a gap, unless one went meanwhile."""
    produce(mnt, log, first=12000, rate=20000)
    whole = 0
    with Trimmer(log.parent, partition=1, keep=512 << 10) as trimmer:
        while trimmer.count < 10 or whole < 5:
            names = [segments / name for name in sorted(os.listdir(segments))]
            done = run("zstd", "-qdc", *names, code=None)
            if done.returncode == 0:
                numbered.check(done.stdout)
                whole += 1
            else:
                assert b"No such file" in done.stderr or b"can't stat" in done.stderr, done.stderr


def test_others_may_do_what_the_modes_say(idle):
    idle.options = "allow_other"
    idle.start()
    topic = idle.topic("t", **SOON)
    os.chmod(topic, 0o755)
    for number in range(0, 5000, 100):
        append(topic / "0", numbered.lines(number, 100))
    wait_sealed(idle)
    segments = topic / ".segments" / "0"
    oldest = segments / sorted(os.listdir(segments))[0]
    assert run(*as_user("cat", oldest)).stdout == read(oldest)
    assert b"Permission denied" in run(*as_user("rm", "-f", oldest), code=1).stderr
    os.chmod(topic / "0", 0o600)
    assert b"Permission denied" in run(*as_user("cat", oldest), code=1).stderr
    os.chmod(topic, 0o777)
    os.chmod(topic / "0", 0o644)
    run(*as_user("rm", "-f", oldest))
    assert xattr_int(topic / "0", "start") > 0
