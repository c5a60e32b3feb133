"""The calls that surprise: what programs do besides open, write and read, and what must not come of it."""

import ctypes
import errno
import mmap
import os
import signal
import subprocess
import threading
import time

import pytest

from harness import append, fails, libc, opened, read, run, sh

TEXT = b"".join(b"line %d\n" % number for number in range(20000))


@pytest.fixture
def topic(mnt):
    path = mnt.topic("t", partitions=2)
    append(path / "1", b"precious\n")
    (mnt.base / "file").write_bytes(TEXT)
    return path


# ---- programs that unlink first -------------------------------------------------------------------------------


@pytest.mark.sanitize
@pytest.mark.parametrize("script", ['mv "$2" "$1"', 'mv -f "$2" "$1"', 'install "$2" "$1"', 'install -m 600 "$2" "$1"',
                                    'cp --remove-destination "$2" "$1"', 'ln -f "$2" "$1"', 'ln -sf "$2" "$1"',
                                    'rm -f "$1"', 'unlink "$1"', 'shred -u -n 1 "$1"', 'truncate -s 0 "$1"',
                                    'truncate -s +5 "$1"', 'sed -i s/precious/gone/ "$1"', 'sort -o "$1" "$2"',
                                    'rsync "$2" "$1"',
                                    'perl -pi -e s/precious/gone/ "$1"', 'dd if="$2" of="$1" seek=1 bs=4 status=none',
                                    'dd if="$2" of="$1" conv=notrunc bs=4 count=1 status=none', 'mkfifo "$1"',
                                    'fallocate -p -l 4 "$1"', 'fallocate -z -l 4 "$1"', 'fallocate -c -l 4096 "$1"'])
def test_programs_that_would_cost_a_history_fail_and_say_so(mnt, topic, script):
    done = run("bash", "-c", script, "bash", topic / "1", mnt.base / "file", code=None)
    assert done.stderr != b""
    assert done.returncode != 0 or script.startswith("perl")  # which only warns
    assert read(topic / "1") == b"precious\n"
    assert sorted(os.listdir(topic)) == ["0", "1"]
    assert (mnt.base / "file").read_bytes() == TEXT, "the source is gone and not in the log"


@pytest.mark.parametrize("script", ['mv "$2" "$1"', 'install "$2" "$1"', 'cp --remove-destination "$2" "$1"'])
def test_the_same_programs_fill_an_empty_partition(mnt, topic, script):
    sh(script, topic / "0", mnt.base / "file")
    assert read(topic / "0") == TEXT
    assert sorted(os.listdir(topic)) == ["0", "1"]


def test_mv_and_install_with_delete_enable_replace_and_keep_the_old_in_the_trash(mnt, topic):
    append(topic / ".config", b"delete.enable=true\n")
    run("mv", mnt.base / "file", topic / "1")
    assert read(topic / "1") == TEXT
    kept = [path.read_bytes() for path in (mnt.store / "trash").rglob("*.log")]
    assert b"precious\n" in kept


def test_tar_x_over_an_existing_topic_keeps_the_history(mnt, topic):
    tree = mnt.base / "tree" / "t"
    tree.mkdir(parents=True)
    (tree / "0").write_bytes(b"from tar 0\n")
    (tree / "1").write_bytes(b"from tar 1\n")
    archive = mnt.base / "archive.tar"
    run("tar", "cf", archive, "-C", tree.parent, "t")
    done = run("tar", "xf", archive, "-C", mnt.path, code=2)
    assert b"t/1" in done.stderr
    assert read(topic / "1") == b"precious\n"
    assert read(topic / "0") == b"from tar 0\n"


@pytest.mark.sanitize
def test_cp_of_a_sparse_file_seeks_over_holes_and_is_refused_whole_or_copies_all(mnt, topic):
    """A hole cannot be appended: cp must fail, or write the NULs that the file has; never lose them silently."""
    sparse = mnt.base / "sparse"
    with open(sparse, "wb") as file:
        file.write(b"begin\n")
        file.seek(1 << 20)
        file.write(b"end\n")
    done = run("cp", sparse, topic / "0", code=None)
    got = read(topic / "0")
    if done.returncode == 0:
        assert got == sparse.read_bytes()
    else:
        assert b"not permitted" in done.stderr
        assert got.rstrip(b"\0\n") == b"begin", "something after the hole was joined to what is before"
    run("cp", "--sparse=never", sparse, mnt.topic("u") / "0")
    assert read(mnt / "u" / "0") == sparse.read_bytes()


def test_posix_fallocate_and_fallocate_leave_no_nul(mnt, topic):
    with opened(topic / "1", os.O_RDWR) as fd:
        with fails(errno.EPERM):
            os.posix_fallocate(fd, 0, 1 << 16)
        with fails(errno.EPERM):
            os.posix_fallocate(fd, 9, 1)
    assert read(topic / "1") == b"precious\n"


# ---- copies inside the kernel -----------------------------------------------------------------------------------


@pytest.mark.sanitize
@pytest.mark.parametrize("flags", [os.O_APPEND, os.O_TRUNC, 0])
def test_sendfile_into_a_partition(mnt, topic, flags):
    with open(mnt.base / "file", "rb") as source, opened(topic / "0", os.O_WRONLY | flags) as target:
        sent = 0
        try:
            while done := os.sendfile(target, source.fileno(), sent, len(TEXT) - sent):
                sent += done
        except OSError as error:  # the kernel refuses sendfile onto O_APPEND
            assert error.errno == errno.EINVAL and flags == os.O_APPEND
            assert sent == 0
    assert read(topic / "0") == TEXT[:sent]
    assert sent == len(TEXT) or flags == os.O_APPEND


def test_sendfile_out_of_a_partition(mnt, topic):
    append(topic / "0", TEXT)
    with opened(topic / "0", os.O_RDONLY) as source, open(mnt.base / "out", "wb") as target:
        sent = 0
        while done := os.sendfile(target.fileno(), source, sent, 1 << 20):
            sent += done
    assert (mnt.base / "out").read_bytes() == TEXT


@pytest.mark.sanitize
@pytest.mark.parametrize("source_is_partition", [True, False])
@pytest.mark.parametrize("flags", [0, os.O_TRUNC])
def test_copy_file_range_into_a_partition(mnt, topic, source_is_partition, flags):
    (topic / "2").touch()
    append(topic / "2", TEXT)
    source_path = topic / "2" if source_is_partition else mnt.base / "file"
    with opened(source_path, os.O_RDONLY) as source, opened(topic / "0", os.O_WRONLY | flags) as target:
        copied = 0
        try:
            while done := os.copy_file_range(source, target, len(TEXT) - copied):
                copied += done
        except OSError as error:
            assert error.errno in (errno.EXDEV, errno.EOPNOTSUPP, errno.EINVAL) and copied == 0
    assert read(topic / "0") == TEXT[:copied]


def test_cp_inside_the_mount_right_after_o_trunc_copies_everything(mnt, topic):
    """After an open with O_TRUNC the kernel thinks the file is empty until it asks again."""
    append(topic / "0", TEXT)
    with opened(topic / "0", os.O_WRONLY | os.O_TRUNC):
        run("cp", topic / "0", mnt.base / "copy")
        assert (mnt.base / "copy").read_bytes() == TEXT
        with opened(topic / "0", os.O_RDONLY) as reader, open(mnt.base / "out", "wb") as out:
            assert os.sendfile(out.fileno(), reader, 0, len(TEXT)) == len(TEXT)
            with mmap.mmap(reader, len(TEXT), mmap.MAP_PRIVATE, mmap.PROT_READ) as mapping:
                assert mapping[:] == TEXT
    assert (mnt.base / "out").read_bytes() == TEXT


@pytest.mark.sanitize
def test_splice_from_a_pipe_and_into_one(mnt, topic):
    reading, writing = os.pipe()
    feeder = threading.Thread(target=lambda: (os.write(writing, TEXT[:60000]), os.close(writing)))
    feeder.start()
    moved = 0
    with opened(topic / "0", os.O_WRONLY | os.O_TRUNC) as target:
        while done := os.splice(reading, target, 1 << 16):
            moved += done
    feeder.join()
    os.close(reading)
    assert moved == 60000
    assert read(topic / "0") == TEXT[:60000] + (b"" if TEXT[59999:60000] == b"\n" else b"\n")
    reading, writing = os.pipe()
    with opened(topic / "0", os.O_RDONLY) as source:
        done = os.splice(source, writing, 4096)
        assert os.read(reading, 1 << 16) == TEXT[:done] != b""
    os.close(reading)
    os.close(writing)


def test_writev_and_pwritev_are_one_append(topic):
    with opened(topic / "0") as fd:
        assert os.writev(fd, [b"a ", b"line ", b"in pieces\n", b"", b"and "]) == 21
        assert os.writev(fd, [b"another\n"]) == 8
    with opened(topic / "0", os.O_RDONLY) as fd:
        buffers = [bytearray(3), bytearray(100)]
        assert os.readv(fd, buffers) == 29
        assert bytes(buffers[0] + buffers[1][:26]) == b"a line in pieces\nand another\n"


# ---- mappings, direct and asynchronous I/O ------------------------------------------------------------------------


def test_map_private_reads_and_does_not_write_back(topic):
    append(topic / "0", TEXT)
    with opened(topic / "0", os.O_RDWR | os.O_APPEND) as fd:
        with mmap.mmap(fd, 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE) as mapping:
            assert mapping[:] == TEXT
            assert mapping.find(b"line 19999\n") == TEXT.find(b"line 19999\n")
            mapping[0:4] = b"LINE"
            assert mapping[:4] == b"LINE"
    assert read(topic / "0") == TEXT


def test_a_mapping_made_later_sees_what_was_appended(topic):
    for number in range(50):
        append(topic / "0", b"%06d\n" % number)
        with opened(topic / "0", os.O_RDONLY) as fd:
            with mmap.mmap(fd, 0, mmap.MAP_PRIVATE, mmap.PROT_READ) as mapping:
                assert mapping[-7:] == b"%06d\n" % number


def test_programs_that_map_their_input(mnt, topic):
    append(topic / "0", TEXT)
    for script in ('grep -c 777 "$1"', 'cmp "$1" "$2" && echo same', 'sort -n "$1" | md5sum', 'git hash-object "$1"'):
        if script.startswith("git") and run("bash", "-c", "command -v git", code=None).returncode:
            continue
        assert sh(script, topic / "0", mnt.base / "file") == sh(script, mnt.base / "file", mnt.base / "file")


@pytest.mark.parametrize("size", [512, 4096, 65536, 1 << 20])
def test_o_direct_reads_and_writes(topic, size):
    with mmap.mmap(-1, size) as memory:
        memory[:] = (b"d" * 511 + b"\n") * (size // 512)
        with opened(topic / "0", os.O_WRONLY | os.O_APPEND | os.O_DIRECT) as fd:
            assert os.write(fd, memory) == size
        wanted = memory[:]
        memory[:] = b"\0" * size
        with opened(topic / "0", os.O_RDONLY | os.O_DIRECT) as fd:
            assert os.readv(fd, [memory]) == size
        assert memory[:] == wanted == read(topic / "0")


class Aiocb(ctypes.Structure):
    """struct aiocb of glibc on a 64-bit machine."""
    _fields_ = [("fildes", ctypes.c_int), ("opcode", ctypes.c_int), ("reqprio", ctypes.c_int), ("buf", ctypes.c_void_p),
                ("nbytes", ctypes.c_size_t), ("sigevent", ctypes.c_char * 64), ("private", ctypes.c_char * 32),
                ("offset", ctypes.c_long), ("reserved", ctypes.c_char * 64)]


def test_posix_aio_readers_get_what_is_there(topic):
    data = TEXT * 20
    with opened(topic / "0") as fd:
        for at in range(0, len(data), 1 << 20):
            os.write(fd, data[at:at + (1 << 20)])
    with opened(topic / "0", os.O_RDONLY) as fd:
        size = 64 << 10
        requests = []
        for offset in range(0, len(data), 3 * size):
            buffer = ctypes.create_string_buffer(size)
            request = Aiocb(fildes=fd, buf=ctypes.addressof(buffer), nbytes=size, offset=offset)
            assert libc.aio_read(ctypes.byref(request)) == 0
            requests.append((offset, buffer, request))
        for offset, buffer, request in requests:
            pointers = (ctypes.c_void_p * 1)(ctypes.addressof(request))
            while libc.aio_error(ctypes.byref(request)) == errno.EINPROGRESS:
                libc.aio_suspend(pointers, 1, None)
            libc.aio_return.restype = ctypes.c_ssize_t
            got = libc.aio_return(ctypes.byref(request))
            assert buffer.raw[:got] == data[offset:offset + size]


SYS_io_setup, SYS_io_destroy, SYS_io_getevents, SYS_io_submit = 206, 207, 208, 209


class Iocb(ctypes.Structure):
    _fields_ = [("data", ctypes.c_uint64), ("key", ctypes.c_uint32), ("rw_flags", ctypes.c_uint32),
                ("opcode", ctypes.c_uint16), ("reqprio", ctypes.c_int16), ("fildes", ctypes.c_uint32),
                ("buf", ctypes.c_uint64), ("nbytes", ctypes.c_uint64), ("offset", ctypes.c_int64),
                ("reserved", ctypes.c_uint64), ("flags", ctypes.c_uint32), ("resfd", ctypes.c_uint32)]


@pytest.mark.parametrize("opcode", [0, 1], ids=["read", "write"])
def test_kernel_aio_of_8_mib_keeps_order(topic, opcode):
    """Asynchronous direct I/O would send its pieces in any order; lines must still be in order and whole."""
    size = 8 << 20
    lines = b"".join(b"%015d\n" % number for number in range(size // 16))
    if opcode == 0:
        with opened(topic / "0") as fd:
            assert os.write(fd, lines) == size
    context = ctypes.c_ulong(0)
    with mmap.mmap(-1, size) as memory:
        memory[:] = lines if opcode else b"\0" * size
        view = ctypes.c_char.from_buffer(memory)
        with opened(topic / "0", (os.O_RDWR | os.O_APPEND if opcode else os.O_RDONLY) | os.O_DIRECT) as fd:
            assert libc.syscall(SYS_io_setup, 1, ctypes.byref(context)) == 0
            request = Iocb(opcode=opcode, fildes=fd, buf=ctypes.addressof(view), nbytes=size)
            pointers = (ctypes.c_void_p * 1)(ctypes.addressof(request))
            assert libc.syscall(SYS_io_submit, context, 1, pointers) == 1
            event = (ctypes.c_int64 * 4)()
            assert libc.syscall(SYS_io_getevents, context, 1, 1, event, None) == 1
            assert event[2] == size
            libc.syscall(SYS_io_destroy, context)
        got = memory[:] if opcode == 0 else read(topic / "0")
        del view
    assert got == lines


# ---- signals, odd handles -----------------------------------------------------------------------------------------


def test_a_write_that_is_interrupted_by_a_timer_is_there_once(mnt, topic):
    """C's stdio style: on EINTR the whole buffer is written again. So EINTR must mean: nothing was appended."""
    program = """if True:
        import ctypes, errno, os, signal, sys
        libc = ctypes.CDLL(None, use_errno=True)
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.siginterrupt(signal.SIGALRM, True)
        signal.setitimer(signal.ITIMER_REAL, 0.0007, 0.0007)
        fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_DSYNC)
        interrupted = 0
        for number in range(600):
            line = b"%d %s\\n" % (number, b"x" * (number * 50))
            while (done := libc.write(fd, line, len(line))) != len(line):
                assert done == -1 and ctypes.get_errno() == errno.EINTR, (done, ctypes.get_errno())
                interrupted += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(interrupted)
    """
    done = run("/usr/bin/python3", "-c", program, topic / "0")
    assert int(done.stdout) >= 0
    assert [int(line.split()[0]) for line in read(topic / "0").splitlines()] == list(range(600))


def test_proc_self_fd_gives_a_buffer_of_its_own(topic):
    """Opening through /proc is a new open file description."""
    with opened(topic / "0") as fd:
        os.write(fd, b"mine ")
        append(f"/proc/self/fd/{fd}", b"apart\n")
        os.write(fd, b"again\n")
    assert read(topic / "0") == b"apart\nmine again\n"


def test_o_path_and_at_calls(mnt, topic):
    fd = os.open(topic, os.O_PATH | os.O_DIRECTORY)
    try:
        assert os.stat("1", dir_fd=fd).st_size == 9
        inner = os.open("1", os.O_RDONLY, dir_fd=fd)
        assert os.read(inner, 100) == b"precious\n"
        os.close(inner)
    finally:
        os.close(fd)
    assert run("realpath", topic / ".." / "t" / "1").stdout.strip() == os.fsencode(topic / "1")


def test_a_handle_passed_to_another_process_keeps_its_line(mnt, topic):
    """SCM_RIGHTS: the description, and with it the unfinished line, wanders."""
    import socket
    left, right = socket.socketpair()
    fd = os.open(topic / "0", os.O_WRONLY | os.O_APPEND)
    os.write(fd, b"begun here, ")
    child = os.fork()
    if child == 0:
        os.close(fd)
        _, fds, _, _ = socket.recv_fds(right, 1, 1)
        os.write(fds[0], b"ended there\n")
        os._exit(0)
    socket.send_fds(left, [b"x"], [fd])
    os.close(fd)
    assert os.waitpid(child, 0)[1] == 0
    left.close()
    right.close()
    assert read(topic / "0") == b"begun here, ended there\n"


def test_a_handle_kept_by_a_sleeping_child_delays_the_end_of_the_line(mnt, topic):
    """Not a bug: the last close counts, and the child still has the file."""
    fd = os.open(topic / "0", os.O_WRONLY | os.O_APPEND)
    child = subprocess.Popen(["sleep", "60"], pass_fds=[fd])
    os.write(fd, b"half")
    os.close(fd)
    assert read(topic / "0") == b""
    child.kill()
    child.wait()
    deadline = time.monotonic() + 10
    while read(topic / "0") != b"half\n":
        assert time.monotonic() < deadline


def test_a_reader_killed_in_the_middle_of_reads_harms_nobody(mnt, topic):
    append(topic / "0", TEXT)
    for _ in range(20):
        child = mnt.spawn("bash", "-c", 'while :; do cat "$1" > /dev/null; done', "bash", topic / "0",
                          start_new_session=True)
        append(topic / "0", b"more\n")
        os.killpg(child.pid, signal.SIGKILL)
        child.wait(5)
    assert read(topic / "0") == TEXT + b"more\n" * 20


def test_reading_and_writing_by_one_handle(topic):
    with opened(topic / "0", os.O_RDWR | os.O_APPEND) as fd:
        os.write(fd, b"one\n")
        assert os.pread(fd, 100, 0) == b"one\n"
        os.lseek(fd, 0, os.SEEK_SET)
        assert os.read(fd, 100) == b"one\n"
        os.write(fd, b"two\nhalf")
        os.lseek(fd, 0, os.SEEK_SET)
        assert os.read(fd, 100) == b"one\ntwo\n"
    assert read(topic / "0") == b"one\ntwo\nhalf\n"


def test_exec_from_the_mount(mnt):
    """A script in a log runs as on any disk: mode bits are honoured, and mapping for exec does not crash."""
    topic = mnt.topic("t")
    append(topic / "0", b"#!/bin/sh\necho ran\n")
    os.chmod(topic / "0", 0o755)
    assert run(topic / "0").stdout == b"ran\n"


def test_sync_and_syncfs_of_the_whole_mount(mnt, topic):
    append(topic / "0", TEXT)
    run("sync", "-f", topic / "0")
    run("sync", topic)
    run("sync", topic / "0", topic / "1")
    assert int(os.getxattr(topic / "0", "user.topicfs.durable")) == len(TEXT)


def test_a_segment_that_outgrows_what_was_expected_of_it(mnt):
    """Read while it was small and segment.bytes was small; both grow, and it is read again."""
    topic = mnt.topic("t", segment_bytes="1KiB")
    lines = [b"first\n"] + [bytes([97 + number]) * 999999 + b"\n" for number in range(8)]
    append(topic / "0", lines[0])
    assert read(topic / "0") == lines[0]
    append(topic / ".config", b"segment.bytes=1GiB\n")
    for line in lines[1:]:
        append(topic / "0", line)
    assert read(topic / "0") == b"".join(lines)
