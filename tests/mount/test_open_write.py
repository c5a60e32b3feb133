"""open, write, truncate, fsync, read, mmap, stat, xattrs, ioctl, fallocate, statfs: the rest of DESIGN 1.1."""

import ctypes
import errno
import fcntl
import mmap
import os
import struct
import time

import pytest

from harness import append, fails, libc, opened, read, read_fd, run, sh, wait_for, xattr, xattr_int

W, RW, R = os.O_WRONLY, os.O_RDWR, os.O_RDONLY


@pytest.fixture
def log(mnt):
    """Partition 0 of a fresh topic."""
    return mnt.topic("t") / "0"


@pytest.mark.sanitize
@pytest.mark.parametrize("flags", [W | os.O_APPEND, W | os.O_TRUNC, W | os.O_APPEND | os.O_TRUNC, RW | os.O_APPEND,
                                   RW | os.O_TRUNC, W | os.O_CREAT, W | os.O_CREAT | os.O_TRUNC])
def test_every_way_of_opening_an_empty_partition_appends(log, flags):
    with opened(log, flags) as fd:
        assert os.write(fd, b"one\n") == 4
        assert os.write(fd, b"two\n") == 4
    assert read(log) == b"one\ntwo\n"


@pytest.mark.sanitize
@pytest.mark.parametrize("flags", [W | os.O_APPEND, W | os.O_TRUNC, W | os.O_APPEND | os.O_TRUNC,
                                   RW | os.O_APPEND, RW | os.O_TRUNC])
def test_o_trunc_never_truncates(log, flags):
    append(log, b"old\n")
    with opened(log, flags) as fd:
        os.write(fd, b"new\n")
        os.write(fd, b"newer\n")
    assert read(log) == b"old\nnew\nnewer\n"


def test_o_trunc_alone_changes_nothing(log):
    append(log, b"old\n")
    before = os.stat(log)
    sh(': > "$1"', log)
    after = os.stat(log)
    assert read(log) == b"old\n"
    assert (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


def test_shell_redirections_append(log):
    sh('echo one > "$1"; echo two > "$1"; echo three >> "$1"; echo four >| "$1"', log)
    assert read(log) == b"one\ntwo\nthree\nfour\n"


def test_open_truncate_refuse_makes_o_trunc_eperm(mnt):
    topic = mnt.topic("t", open_truncate="refuse")
    append(topic / "0", b"kept\n")
    with fails(errno.EPERM):
        os.open(topic / "0", W | os.O_TRUNC)
    with fails(errno.EPERM):
        os.open(topic / "0", RW | os.O_TRUNC | os.O_CREAT | os.O_APPEND)
    append(topic / "0", b"appended\n")
    assert read(topic / "0") == b"kept\nappended\n"


def test_a_write_at_the_size_last_given_appends(log):
    append(log, b"12345\n")
    with opened(log, RW) as fd:
        os.lseek(fd, 0, os.SEEK_END)
        assert os.write(fd, b"next\n") == 5
        assert os.pwrite(fd, b"then\n", 11) == 5
    assert read(log) == b"12345\nnext\nthen\n"


@pytest.mark.parametrize("offset", [0, 1, 5, 7, 1000, 1 << 40])
def test_an_overwrite_or_a_hole_is_refused(log, offset):
    append(log, b"12345\n")
    with opened(log, RW) as fd:
        assert os.fstat(fd).st_size == 6
        with fails(errno.EPERM):
            os.pwrite(fd, b"x\n", offset)
        assert os.pwrite(fd, b"good\n", 6) == 5, "the refused write spoilt the handle"
    assert read(log) == b"12345\ngood\n"


def test_a_truncating_handle_begins_at_0_and_goes_on_where_it_ended(log):
    append(log, b"old\n")
    with opened(log, W | os.O_TRUNC) as fd:
        assert os.pwrite(fd, b"at 0\n", 0) == 5
        append(log, b"somebody else\n")
        assert os.pwrite(fd, b"at 5\n", 5) == 5
        for wrong in (0, 5, 9, 11, 24):
            with fails(errno.EPERM):
                os.pwrite(fd, b"wrong\n", wrong)
        assert os.pwrite(fd, b"at 10\n", 10) == 6
    assert read(log) == b"old\nat 0\nsomebody else\nat 5\nat 10\n"


def test_buffered_bytes_count_in_a_handles_position(log):
    with opened(log, W | os.O_TRUNC) as fd:
        assert os.pwrite(fd, b"half", 0) == 4
        with fails(errno.EPERM):
            os.pwrite(fd, b" a line\n", 0)
        assert os.pwrite(fd, b" a line\n", 4) == 8
        assert os.pwrite(fd, b"x\n", 12) == 2
    assert read(log) == b"half a line\nx\n"


def test_with_o_append_the_offset_is_nobodys_business(log):
    append(log, b"old\n")
    with opened(log, RW | os.O_APPEND) as fd:
        os.lseek(fd, 0, os.SEEK_SET)
        os.write(fd, b"one\n")
        append(log, b"other\n")
        os.lseek(fd, 2, os.SEEK_SET)
        os.write(fd, b"two\n")
    assert read(log) == b"old\none\nother\ntwo\n"


def test_truncate_succeeds_at_the_size_and_nowhere_else(log):
    append(log, b"12345\n")
    os.truncate(log, 6)
    for size in (0, 5, 7, 1 << 30):
        with fails(errno.EPERM):
            os.truncate(log, size)
    with opened(log, RW) as fd:
        os.ftruncate(fd, 6)
        for size in (0, 5, 7):
            with fails(errno.EPERM):
                os.ftruncate(fd, size)
    assert read(log) == b"12345\n"


def test_ftruncate_succeeds_at_the_size_the_handle_sees(log):
    with opened(log, W) as fd:
        os.pwrite(fd, b"a line\nand a half", 0)
        os.ftruncate(fd, 17)
    assert read(log) == b"a line\nand a half\n"


@pytest.mark.sanitize
@pytest.mark.parametrize("durably", [
    lambda log: sh('sync "$1"', log),
    lambda log: sh('sync -d "$1"', log),
    lambda log: with_handle(log, os.fsync),
    lambda log: with_handle(log, os.fdatasync),
], ids=["sync", "sync -d", "fsync", "fdatasync"])
def test_fsync_returns_once_all_is_durable(log, durably):
    append(log, b"line\n" * 1000)
    durably(log)
    assert xattr_int(log, "durable") == xattr_int(log, "end") == 5000


def with_handle(log, call):
    with opened(log) as fd:
        call(fd)


@pytest.mark.parametrize("flag", [os.O_SYNC, os.O_DSYNC])
def test_a_synchronous_write_returns_once_it_is_durable(log, flag):
    with opened(log, W | os.O_APPEND | flag) as fd:
        for count in range(1, 21):
            os.write(fd, b"0123456789abcdef" * 8 + b"\n")
            assert xattr_int(log, "durable") == xattr_int(log, "end") == 129 * count


def test_fsync_keeps_an_unfinished_line_unfinished(log):
    with opened(log) as fd:
        os.write(fd, b"half")
        os.fsync(fd)
        assert read(log) == b""
        assert xattr_int(log, "pending") == 4
        os.write(fd, b" whole\n")
        assert xattr_int(log, "pending") == 0
    assert read(log) == b"half whole\n"


def test_read_gives_any_range_and_ends_at_the_end(log):
    data = b"".join(b"%07d\n" % number for number in range(20000))
    append(log, data)
    with opened(log, R) as fd:
        for offset, size in [(0, 1), (1, 7), (4095, 2), (65530, 100), (131072, 131072), (159990, 100), (159999, 5)]:
            assert os.pread(fd, size, offset) == data[offset:offset + size]
        assert os.pread(fd, 1 << 20, 0) == data
        assert os.pread(fd, 100, len(data)) == b""
        assert os.pread(fd, 100, len(data) + 12345) == b""
        assert os.pread(fd, 0, 0) == b""
        assert os.lseek(fd, 0, os.SEEK_END) == len(data)
        assert os.read(fd, 100) == b""
        append(log, b"more\n")
        assert os.read(fd, 100) == b"more\n"


def test_a_file_that_is_only_open_for_one_way_refuses_the_other(log):
    append(log, b"line\n")
    with opened(log, W | os.O_APPEND) as fd, fails(errno.EBADF):
        os.read(fd, 1)
    with opened(log, R) as fd, fails(errno.EBADF):
        os.write(fd, b"x\n")
    assert read(log) == b"line\n"


def test_shared_mappings_are_refused_and_private_ones_work(log):
    data = b"mapped line\n" * 2000
    append(log, data)
    with opened(log, RW | os.O_APPEND) as fd:
        for protection in (mmap.PROT_READ, mmap.PROT_READ | mmap.PROT_WRITE):
            with fails(errno.ENODEV):
                mmap.mmap(fd, len(data), mmap.MAP_SHARED, protection)
        with mmap.mmap(fd, len(data), mmap.MAP_PRIVATE, mmap.PROT_READ) as mapping:
            assert mapping[:] == data


def test_stat_tells_size_mtime_and_a_large_block_size(log):
    before = time.time_ns()
    append(log, b"x" * 99 + b"\n")
    facts = os.stat(log)
    assert facts.st_size == 100
    assert before - 20_000_000 <= facts.st_mtime_ns <= time.time_ns()
    assert facts.st_blksize >= 128 << 10
    assert facts.st_nlink == 1
    reading = read(log)
    assert os.stat(log).st_mtime_ns == facts.st_mtime_ns, "reading moved the mtime"
    append(log, reading)
    assert os.stat(log).st_mtime_ns > facts.st_mtime_ns


def test_stat_of_an_open_handle_follows_the_log(log):
    with opened(log, R) as fd:
        for count in range(1, 50):
            append(log, b"0123456789\n")
            assert os.fstat(fd).st_size == os.stat(log).st_size == 11 * count


def test_du_is_true(log):
    append(log, b"x" * 999 + b"\n")
    for _ in range(40):
        append(log, (b"y" * 99 + b"\n") * 10000)
    sh('sync "$1"', log)
    size = os.stat(log).st_size
    wait_for(lambda: size <= os.stat(log).st_blocks * 512 <= size * 1.2 + (1 << 20), "st_blocks near the size")
    kilobytes = int(run("du", "-k", log).stdout.split()[0])
    assert size / 1024 <= kilobytes <= size / 1024 * 1.2 + 1024


def test_inode_numbers_differ_and_last(mnt):
    topic = mnt.topic("t", partitions=12)
    other = mnt.topic("u", partitions=3)

    def inodes():
        return [os.stat(path).st_ino for path in
                [mnt.path, topic, other, *(topic / str(n) for n in range(12)), *(other / str(n) for n in range(3))]]

    before = inodes()
    assert len(set(before)) == len(before)
    listed = {entry.name: entry.inode() for entry in os.scandir(topic)}
    assert [listed[str(n)] for n in range(12)] == before[3:15], "readdir and stat disagree"
    mnt.restart()
    assert inodes() == before
    mnt.crash()
    assert inodes() == before


@pytest.mark.sanitize
def test_xattrs_tell_where_the_partition_stands(mnt):
    topic = mnt.topic("t", max_message_bytes="64KiB")
    append(topic / "0", b"a\nbb\nccc\n")
    with opened(topic / "0") as fd:
        os.write(fd, b"12345")
        os.fsync(fd)
        values = {name: xattr(topic / "0", name) for name in
                  "base start end committed durable pending records epoch leader chain".split()}
    assert {name: int(values[name]) for name in "base start end committed durable pending records".split()} == {
        "base": 0, "start": 0, "end": 9, "committed": 9, "durable": 9, "pending": 5, "records": 3}
    assert int(values["epoch"]) >= 0 and int(values["leader"]) >= 0
    int(values["chain"], 16)
    assert xattr(topic / "0", "max.message.bytes") == "64KiB"
    assert xattr(topic / "0", "message.format") == "lines"


def test_getfattr_lists_every_attribute_and_key(log):
    append(log, b"a\nb\n")
    text = run("getfattr", "-d", log).stdout.decode()
    shown = dict(line.split("=", 1) for line in text.splitlines() if line.startswith("user."))
    assert shown["user.topicfs.records"] == '"2"'
    assert shown["user.topicfs.end"] == '"4"'
    for name in ("base start committed durable pending epoch leader chain segment.bytes segment.ms max.message.bytes "
                 "message.format flush.ms flush.bytes quota.bytes open.truncate delete.enable").split():
        assert f"user.topicfs.{name}" in shown, name


def test_xattrs_that_are_not_there_and_cannot_be_set(log):
    for name in ("user.topicfs.nonsense", "user.other", "user.topicfs.", "user.topicfs.endx"):
        with fails(errno.ENODATA):
            os.getxattr(log, name)
    with fails(errno.EOPNOTSUPP, errno.ENODATA):
        os.getxattr(log, "security.capability")
    for name in ("user.mine", "user.topicfs.end", "user.topicfs.max.message.bytes"):
        with fails(errno.EOPNOTSUPP, errno.EPERM):
            os.setxattr(log, name, b"5")
    with fails(errno.EOPNOTSUPP, errno.EPERM, errno.ENODATA):
        os.removexattr(log, "user.topicfs.end")
    assert xattr_int(log, "end") == 0


def test_getxattr_into_a_buffer_that_is_too_small(log):
    append(log, b"x" * 99999 + b"\n")
    path = os.fsencode(log)
    assert libc.getxattr(path, b"user.topicfs.end", None, 0) == 6
    buffer = ctypes.create_string_buffer(3)
    assert libc.getxattr(path, b"user.topicfs.end", buffer, 3) == -1
    assert ctypes.get_errno() == errno.ERANGE
    assert libc.listxattr(path, buffer, 3) == -1
    assert ctypes.get_errno() == errno.ERANGE


def test_lsattr_shows_append_only(log):
    line = run("lsattr", log).stdout.decode()
    assert line.split()[0].strip("-") == "a"
    with opened(log, R) as fd:
        buffer = bytearray(8)
        fcntl.ioctl(fd, 0x80086601, buffer)  # FS_IOC_GETFLAGS
        assert struct.unpack_from("I", buffer)[0] == 0x20  # FS_APPEND_FL


def test_chattr_cannot_take_append_only_away(log):
    append(log, b"kept\n")
    run("chattr", "-a", log, code=1)
    run("chattr", "+i", log, code=1)
    append(log, b"still appendable\n")
    assert b"a" in run("lsattr", log).stdout.split()[0]


def test_unknown_ioctls_are_refused(log):
    with opened(log, R) as fd:
        with fails(errno.ENOTTY, errno.ENOSYS, errno.EINVAL):
            fcntl.ioctl(fd, 0x5401, bytearray(64))  # TCGETS
        assert not os.isatty(fd)


KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE, COLLAPSE_RANGE = 1, 2, 16, 8


def fallocate(fd, mode, offset, length):
    libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
    return 0 if libc.fallocate(fd, mode, offset, length) == 0 else ctypes.get_errno()


def test_fallocate_is_refused_and_keep_size_does_nothing(log):
    append(log, b"line\n")
    with opened(log, RW | os.O_APPEND) as fd:
        assert fallocate(fd, 0, 0, 1 << 20) == errno.EPERM
        assert fallocate(fd, 0, 0, 3) == errno.EPERM
        assert fallocate(fd, KEEP_SIZE, 0, 1 << 20) == 0
        for mode in (PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE, ZERO_RANGE | KEEP_SIZE, COLLAPSE_RANGE):
            assert fallocate(fd, mode, 0, 4096) in (errno.EPERM, errno.EOPNOTSUPP), mode
    assert read(log) == b"line\n"
    done = run("fallocate", "-l", "1M", log, code=1)
    assert b"not permitted" in done.stderr
    run("fallocate", "-n", "-l", "1M", log)
    assert read(log) == b"line\n"


def test_posix_fallocate_writes_no_nul(log):
    append(log, b"line\n")
    with opened(log, RW) as fd, fails(errno.EPERM):
        os.posix_fallocate(fd, 0, 100000)
    assert read(log) == b"line\n"


def test_statfs_is_that_of_the_stores_filesystem(mnt, log):
    mine, disk = os.statvfs(log), os.statvfs(mnt.store)
    assert (mine.f_bsize, mine.f_blocks, mine.f_files) == (disk.f_bsize, disk.f_blocks, disk.f_files)
    assert abs(mine.f_bavail - disk.f_bavail) * disk.f_bsize < 1 << 30
    assert mine.f_namemax >= 249
    assert str(mnt.path).encode() in run("df", mnt.path).stdout


def test_seek_data_and_hole_see_one_piece(log):
    append(log, b"0123456789\n")
    with opened(log, R) as fd:
        assert os.lseek(fd, 3, os.SEEK_DATA) == 3
        assert os.lseek(fd, 3, os.SEEK_HOLE) == 11
        with fails(errno.ENXIO):
            os.lseek(fd, 11, os.SEEK_DATA)
        assert read_fd(fd) == b""


def test_a_directory_cannot_be_opened_as_a_file_nor_the_other_way(mnt, log):
    with fails(errno.EISDIR):
        os.open(mnt / "t", W)
    with fails(errno.ENOTDIR):
        os.stat(log / "0")
    with fails(errno.ENOTDIR):
        os.mkdir(log / "x")
    with fails(errno.ENOTDIR):
        os.rmdir(log)
    with fails(errno.EISDIR, errno.EPERM):
        os.unlink(mnt / "t")


@pytest.mark.parametrize("mnt", ["default_permissions"], indirect=True)
def test_options_of_libfuse_are_accepted(mnt, log):
    append(log, b"x\n")
    assert read(log) == b"x\n"


def test_a_read_only_mount_shows_everything_and_changes_nothing(mnt):
    topic = mnt.topic("t")
    append(topic / "0", b"kept\n")
    mnt.stop()
    before = {path: path.read_bytes() for path in mnt.store.rglob("*") if path.is_file()}
    mnt.options = "ro"
    mnt.start()
    assert read(topic / "0") == b"kept\n"
    calls = [lambda: os.open(topic / "0", W | os.O_APPEND), lambda: os.mkdir(mnt / "u"),
             lambda: (topic / "1").touch(), lambda: os.rmdir(topic), lambda: os.chmod(topic / "0", 0o600),
             lambda: os.truncate(topic / "0", 5), lambda: os.utime(topic / "0"),
             lambda: os.open(topic / ".config", W | os.O_APPEND), lambda: os.rename(topic, mnt / "u")]
    for number, call in enumerate(calls):
        with fails(errno.EROFS):
            call()
            pytest.fail(f"call {number}")
    mnt.stop()
    after = {path: path.read_bytes() for path in mnt.store.rglob("*") if path.is_file()}
    assert before == after, "a read-only mount wrote into the store"
    mnt.options = ""
    mnt.start()
    append(topic / "0", b"again\n")
    assert read(topic / "0") == b"kept\nagain\n"
