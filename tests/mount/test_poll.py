"""poll, select and epoll: POLLIN is unread data, or an end of file that this handle has not been told of since
the last growth."""

import os
import select
import signal
import time

import pytest

from harness import append, opened, read_fd, wait_for


@pytest.fixture
def log(mnt):
    return mnt.topic("t") / "0"


def ready(fd, milliseconds=0, wanted=select.POLLIN | select.POLLOUT):
    poll = select.poll()
    poll.register(fd, wanted)
    events = dict(poll.poll(milliseconds))
    return events.get(fd, 0)


@pytest.mark.sanitize
def test_poll_reports_data_then_the_end_once_then_waits(log):
    append(log, b"one\ntwo\n")
    with opened(log, os.O_RDONLY) as fd:
        assert ready(fd) & select.POLLIN
        assert os.read(fd, 4) == b"one\n"
        assert ready(fd) & select.POLLIN
        assert os.read(fd, 100) == b"two\n"
        assert ready(fd) & select.POLLIN, "the end has not been told"
        assert os.read(fd, 100) == b""
        assert not ready(fd) & select.POLLIN
        append(log, b"three\n")
        assert ready(fd, 5000) & select.POLLIN
        assert os.read(fd, 100) == b"three\n"
        assert ready(fd) & select.POLLIN
        assert os.read(fd, 100) == b""
        assert not ready(fd) & select.POLLIN


def test_an_empty_partition_tells_its_end_once(log):
    with opened(log, os.O_RDONLY) as fd:
        assert ready(fd) & select.POLLIN
        assert os.read(fd, 1) == b""
        assert not ready(fd) & select.POLLIN


def test_pollout_is_always_there(log):
    with opened(log) as fd:
        assert ready(fd) & select.POLLOUT
    with opened(log, os.O_RDWR | os.O_APPEND) as fd:
        os.write(fd, b"x")
        assert ready(fd) & select.POLLOUT


@pytest.mark.sanitize
@pytest.mark.parametrize("kind", ["poll", "select", "epoll", "epoll edge"])
def test_a_waiting_poll_is_woken_by_an_append(mnt, log, kind):
    append(log, b"old\n")
    with opened(log, os.O_RDONLY) as fd:
        assert read_fd(fd) == b"old\n"
        wait = waiter(kind, fd)
        for number in range(20):
            # Edge-triggered polls may report an old edge once.
            child = mnt.spawn("bash", "-c", 'read; echo "$2" >> "$1"', "bash", log, number, stdin=-1)
            if kind != "epoll edge":
                assert not wait(0), "readable before there is anything"
            child.stdin.close()
            deadline = time.monotonic() + 20
            got = b""
            while not got:
                assert wait(20), "the append woke nobody"
                assert time.monotonic() < deadline
                got = read_fd(fd)
            assert got == b"%d\n" % number
            assert child.wait(10) == 0


def waiter(kind, fd):
    if kind == "poll":
        return lambda seconds: ready(fd, seconds * 1000, select.POLLIN)
    if kind == "select":
        return lambda seconds: select.select([fd], [], [], seconds)[0]
    epoll = select.epoll()
    epoll.register(fd, select.EPOLLIN | (select.EPOLLET if kind == "epoll edge" else 0))
    return epoll.poll


def test_a_select_loop_as_on_ext4_reads_everything(mnt, log):
    """select, read until 0 or a full buffer, select again: hangs where POLLIN means unread data alone."""
    program = """if True:
        import os, select, sys
        fd = os.open(sys.argv[1], os.O_RDONLY)
        while True:
            select.select([fd], [], [])
            data = os.read(fd, 64)
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            if data.endswith(b"end\\n"):
                break
    """
    append(log, b"before\n")
    child = mnt.spawn("/usr/bin/python3", "-c", program, log, stdout=-1)
    assert child.stdout.readline() == b"before\n"
    for number in range(200):
        append(log, b"%d\n" % number * (number % 30))
    append(log, b"end\n")
    rest = child.communicate(timeout=30)[0]
    assert rest == b"".join(b"%d\n" % number * (number % 30) for number in range(200)) + b"end\n"


def test_one_epoll_over_many_partitions(mnt):
    topic = mnt.topic("many", partitions=40)
    epoll = select.epoll()
    fds = {}
    for number in range(40):
        fd = os.open(topic / str(number), os.O_RDONLY)
        assert os.read(fd, 1) == b""
        fds[fd] = number
        epoll.register(fd, select.EPOLLIN)
    assert epoll.poll(0) == []
    for number in (7, 39, 0, 7):
        append(topic / str(number), b"for %d\n" % number)
        events = epoll.poll(10)
        assert [fds[fd] for fd, _ in events] == [number]
        assert read_fd(events[0][0]) == b"for %d\n" % number
        assert epoll.poll(0) == []
    for fd in fds:
        os.close(fd)


def test_two_pollers_of_one_partition_are_both_woken(mnt, log):
    program = ("import os, select, sys; fd = os.open(sys.argv[1], os.O_RDONLY); os.read(fd, 1)\n"
               "print('waiting', flush=True); p = select.poll(); p.register(fd, select.POLLIN); p.poll()\n"
               "sys.stdout.buffer.write(os.read(fd, 100))")
    children = [mnt.spawn("/usr/bin/python3", "-c", program, log, stdout=-1) for _ in range(4)]
    for child in children:
        assert child.stdout.readline() == b"waiting\n"
    append(log, b"to all\n")
    assert [child.communicate(timeout=20)[0] for child in children] == [b"to all\n"] * 4


def test_an_unfinished_line_does_not_wake_anybody(log):
    with opened(log, os.O_RDONLY) as reader, opened(log) as writer:
        assert os.read(reader, 1) == b""
        os.write(writer, b"unfinished")
        assert not ready(reader, 50, select.POLLIN)
        os.write(writer, b"\n")
        assert ready(reader, 5000, select.POLLIN)
        assert os.read(reader, 100) == b"unfinished\n"


def test_a_waiting_poller_can_be_killed_and_costs_nothing(mnt, log):
    program = ("import os, select, sys; fd = os.open(sys.argv[1], os.O_RDONLY); os.read(fd, 1)\n"
               "print('waiting', flush=True); p = select.poll(); p.register(fd, select.POLLIN); p.poll()")
    child = mnt.spawn("/usr/bin/python3", "-c", program, log, stdout=-1)
    assert child.stdout.readline() == b"waiting\n"
    before = cpu_ticks(mnt.process.pid)
    waits = select.poll()
    waits.poll(500)
    assert cpu_ticks(mnt.process.pid) - before <= 5, "the daemon is busy while all it has is a sleeping poller"
    child.send_signal(signal.SIGKILL)
    child.wait(5)
    append(log, b"x\n")


def cpu_ticks(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def test_asyncio_and_selectors_style_readers(mnt, log):
    """Non-blocking readers: O_NONBLOCK changes nothing on a partition, the end is an end."""
    append(log, b"x\n")
    with opened(log, os.O_RDONLY | os.O_NONBLOCK) as fd:
        assert os.read(fd, 100) == b"x\n"
        assert os.read(fd, 100) == b""
        append(log, b"y\n")
        wait_for(lambda: ready(fd) & select.POLLIN, "POLLIN")
        assert os.read(fd, 100) == b"y\n"
