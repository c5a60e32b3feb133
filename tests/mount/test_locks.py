"""flock(2) and fcntl(2) locks: served by the daemon, one lock space a partition."""

import errno
import fcntl
import os
import signal
import struct
import time

import pytest

from harness import append, fails, opened, read, run, sh, wait_for

FLOCK, POSIX, OFD = "flock", "posix", "ofd"
F_OFD_SETLK, F_OFD_SETLKW = 37, 38

# Takes a lock, says so, holds it until its stdin ends.
HOLDER = """if True:
    import fcntl, os, struct, sys
    path, kind, how, start, length = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
    fd = os.open(path, os.O_RDWR | os.O_APPEND)
    if kind == "flock":
        fcntl.flock(fd, fcntl.LOCK_SH if how == "shared" else fcntl.LOCK_EX)
    elif kind == "posix":
        fcntl.lockf(fd, fcntl.LOCK_SH if how == "shared" else fcntl.LOCK_EX, length, start)
    else:
        fcntl.fcntl(fd, 38, struct.pack("hhqqi4x", fcntl.F_RDLCK if how == "shared" else fcntl.F_WRLCK, 0, start, length, 0))
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def log(mnt):
    path = mnt.topic("t") / "0"
    append(path, b"line\n" * 100)
    return path


def hold(mnt, path, kind, how="exclusive", start=0, length=0, wait=True):
    child = mnt.spawn("/usr/bin/python3", "-c", HOLDER, path, kind, how, start, length, stdin=-1, stdout=-1)
    if wait:
        assert child.stdout.readline() == b"locked\n"
    return child


def let_go(child):
    child.stdin.close()
    assert child.wait(30) == 0


def attempt(path, kind, how="exclusive", start=0, length=0):
    """Whether the lock could be had at once."""
    shared = how == "shared"
    with opened(path, os.O_RDWR | os.O_APPEND) as fd:
        try:
            if kind == FLOCK:
                fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            elif kind == POSIX:
                fcntl.lockf(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB, length, start)
            else:
                lock = struct.pack("hhqqi4x", fcntl.F_RDLCK if shared else fcntl.F_WRLCK, 0, start, length, 0)
                fcntl.fcntl(fd, F_OFD_SETLK, lock)
        except OSError as error:
            assert error.errno in (errno.EAGAIN, errno.EACCES), error
            return False
        return True


@pytest.mark.sanitize
@pytest.mark.parametrize("kind", [FLOCK, POSIX, OFD])
def test_an_exclusive_lock_excludes_and_ends_with_its_holder(mnt, log, kind):
    holder = hold(mnt, log, kind)
    assert not attempt(log, kind)
    assert not attempt(log, kind, "shared")
    let_go(holder)
    wait_for(lambda: attempt(log, kind), "the lock of a process that has ended")


@pytest.mark.parametrize("kind", [FLOCK, POSIX, OFD])
def test_shared_locks_share(mnt, log, kind):
    first, second = hold(mnt, log, kind, "shared"), hold(mnt, log, kind, "shared")
    assert attempt(log, kind, "shared")
    assert not attempt(log, kind)
    let_go(first)
    assert not attempt(log, kind)
    let_go(second)
    wait_for(lambda: attempt(log, kind), "the lock")


@pytest.mark.parametrize("kind", [FLOCK, POSIX, OFD])
def test_a_lock_is_released_when_its_holder_is_killed(mnt, log, kind):
    holder = hold(mnt, log, kind)
    assert not attempt(log, kind)
    holder.kill()
    wait_for(lambda: attempt(log, kind), "the lock of a killed process", 5)


@pytest.mark.sanitize
@pytest.mark.parametrize("kind", [FLOCK, POSIX, OFD])
def test_a_blocking_lock_waits_for_its_turn(mnt, log, kind):
    holder = hold(mnt, log, kind)
    waiters = [hold(mnt, log, kind, wait=False) for _ in range(3)]
    assert not attempt(log, kind)
    assert all(waiter.poll() is None for waiter in waiters)
    let_go(holder)
    # Each in its turn: the others' "locked" comes when one that has it lets go.
    for waiter in waiters:
        waiter.stdin.close()
    assert [waiter.wait(30) for waiter in waiters] == [0] * 3
    assert [waiter.stdout.read() for waiter in waiters] == [b"locked\n"] * 3
    wait_for(lambda: attempt(log, kind), "the lock after the last")


@pytest.mark.parametrize("kind", [FLOCK, POSIX])
def test_a_wait_for_a_lock_ends_at_a_signal(mnt, log, kind):
    hold(mnt, log, kind)

    class Alarm(Exception):
        pass

    def handler(*_):
        raise Alarm

    before = signal.signal(signal.SIGALRM, handler)
    try:
        with opened(log, os.O_RDWR | os.O_APPEND) as fd:
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            started = time.monotonic()
            with pytest.raises(Alarm):
                if kind == FLOCK:
                    fcntl.flock(fd, fcntl.LOCK_EX)
                else:
                    fcntl.lockf(fd, fcntl.LOCK_EX)
            assert time.monotonic() - started < 5
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not attempt(log, kind)


@pytest.mark.sanitize
@pytest.mark.parametrize("kind", [FLOCK, POSIX, OFD])
def test_a_waiter_that_is_killed_waits_no_more(mnt, log, kind):
    holder = hold(mnt, log, kind)
    waiter = hold(mnt, log, kind, wait=False)
    wait_for(lambda: "lock" in open(f"/proc/{waiter.pid}/wchan").read() or in_request(waiter.pid), "the waiter")
    waiter.kill()
    waiter.wait(5)
    let_go(holder)
    wait_for(lambda: attempt(log, kind), "a lock that a dead waiter must not have got")


def in_request(pid):
    with open(f"/proc/{pid}/wchan", encoding="utf-8") as name:
        return name.read() in ("request_wait_answer", "fuse_simple_request", "__fuse_simple_request")


@pytest.mark.parametrize("kind", [POSIX, OFD])
def test_ranges_that_do_not_meet_do_not_exclude(mnt, log, kind):
    hold(mnt, log, kind, start=10, length=10)
    assert attempt(log, kind, start=0, length=10)
    assert attempt(log, kind, start=20, length=0)
    assert not attempt(log, kind, start=19, length=1)
    assert not attempt(log, kind, start=0, length=0)
    assert not attempt(log, kind, start=15, length=1)


def test_getlk_tells_who_holds_it(mnt, log):
    holder = hold(mnt, log, POSIX, start=10, length=10)
    with opened(log, os.O_RDWR | os.O_APPEND) as fd:
        asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)
        kind, _, start, length, pid = struct.unpack("hhqqi4x", fcntl.fcntl(fd, fcntl.F_GETLK, asked))
        assert (kind, start, length, pid) == (fcntl.F_WRLCK, 10, 10, holder.pid)
        asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 30, 5, 0)
        assert struct.unpack("hhqqi4x", fcntl.fcntl(fd, fcntl.F_GETLK, asked))[0] == fcntl.F_UNLCK


def test_a_posix_lock_can_be_split_and_upgraded(mnt, log):
    with opened(log, os.O_RDWR | os.O_APPEND) as fd:
        fcntl.lockf(fd, fcntl.LOCK_EX, 100, 0)
        fcntl.lockf(fd, fcntl.LOCK_UN, 10, 40)
        inside = hold(mnt, log, POSIX, start=40, length=10)
        fcntl.lockf(fd, fcntl.LOCK_SH, 40, 0)
        shared = hold(mnt, log, POSIX, "shared", start=0, length=40)
        with fails(errno.EAGAIN, errno.EACCES):
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 40, 0)
        let_go(shared)
        wait_for(lambda: upgraded(fd), "the upgrade")
        let_go(inside)


def upgraded(fd):
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 40, 0)
        return True
    except OSError:
        return False


def test_any_close_drops_a_processs_posix_locks_but_not_its_flock(mnt, log):
    with opened(log, os.O_RDWR | os.O_APPEND) as fd:
        fcntl.flock(fd, fcntl.LOCK_EX)
        fcntl.lockf(fd, fcntl.LOCK_EX)
        os.close(os.open(log, os.O_RDONLY))
        other = hold(mnt, log, POSIX)
        assert not attempt(log, FLOCK)
        let_go(other)


def test_an_flock_belongs_to_the_open_file_and_lasts_through_dup(log):
    fd = os.open(log, os.O_RDWR | os.O_APPEND)
    fcntl.flock(fd, fcntl.LOCK_EX)
    second = os.dup(fd)
    os.close(fd)
    assert not attempt(log, FLOCK)
    os.close(second)
    wait_for(lambda: attempt(log, FLOCK), "the lock after the last close")


def test_locks_of_different_partitions_are_apart(mnt, log):
    (mnt / "t" / "1").touch()
    hold(mnt, log, FLOCK)
    assert attempt(mnt / "t" / "1", FLOCK)


@pytest.mark.parametrize("kind", [POSIX])
def test_a_deadlock_is_told_or_at_least_can_be_interrupted(mnt, log, kind):
    """Two processes, two locks, crosswise: EDEADLK or a wait; both die by SIGKILL."""
    first, second = hold(mnt, log, kind, start=0, length=1), hold(mnt, log, kind, start=1, length=1)
    blocked = hold(mnt, log, kind, start=0, length=2, wait=False)
    for child in (blocked, first, second):
        child.kill()
        child.wait(5)
    wait_for(lambda: attempt(log, kind), "all locks gone")


@pytest.mark.sanitize
def test_flock_1_guards_a_critical_section(mnt, log):
    """A read-modify-write of an ordinary file under flock(1) on a partition loses no update."""
    counter = mnt.base / "counter"
    counter.write_text("0\n")
    script = 'for i in {1..40}; do flock "$1" bash -c "read n < $2; echo \\$((n + 1)) > $2"; done'
    shells = [mnt.spawn("bash", "-c", script, "bash", log, counter) for _ in range(4)]
    assert [shell.wait(120) for shell in shells] == [0] * 4
    assert counter.read_text() == "160\n"


def test_flock_1_n_fails_while_it_is_held(mnt, log):
    holder = hold(mnt, log, FLOCK)
    run("flock", "-n", log, "true", code=1)
    run("flock", "-w", "0.2", log, "true", code=1)
    run("flock", "-n", "-s", log, "true", code=1)
    let_go(holder)
    wait_for(lambda: run("flock", "-n", log, "true", code=None).returncode == 0, "the lock")
    assert sh('flock "$1" echo inside', log) == b"inside\n"
    assert read(log) == b"line\n" * 100


def test_umount_while_somebody_waits_for_a_lock(mnt, log):
    hold(mnt, log, FLOCK)
    hold(mnt, log, FLOCK, wait=False)
    mnt.end_children()
    mnt.restart()
    assert attempt(log, FLOCK)
