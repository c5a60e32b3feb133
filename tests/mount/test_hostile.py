"""What nobody should do, and somebody will."""

import contextlib
import errno
import os
import signal
import stat
import subprocess
import threading

import pytest

from harness import (Mount, append, as_user, build_path, fails, is_alive, is_mounted, libc, opened, read, run, sh, unmount,
                     wait_for, xattr_int)

MIB = 1 << 20


# ---- how the daemon is started ----------------------------------------------------------------------------------


@pytest.mark.sanitize
def test_a_daemon_started_without_stdin_stdout_and_stderr_writes_no_message_into_the_store(idle):
    """With 0, 1 and 2 closed the first files it opens would get these numbers."""
    idle.prefix = ["bash", "-c", 'exec "$0" "$@" <&- >&- 2>&-']
    idle.start()
    topic = idle.topic("t")
    with opened(topic / ".config") as fd, fails(errno.EINVAL):
        os.write(fd, b"nonsense=1\n")  # the daemon says so on stderr
    append(topic / "0", b"x\n" * 1000)
    with opened(topic / "0") as fd:
        os.fsync(fd)
    assert read(topic / "0") == b"x\n" * 1000
    idle.restart()
    assert read(topic / "0") == b"x\n" * 1000


@pytest.mark.parametrize("name", ["with space", "com,ma", "back\\slash", "ünï", "quo'te\"s", "-dash", "a=b", "new\nline", "%s"])
def test_odd_paths_of_store_and_mountpoint(idle, name):
    idle.expected.append(".")  # with a newline in it, a message has two lines
    idle.store = idle.base / name
    idle.path = idle.base / f"m{name}"
    idle.path.mkdir()
    idle.launch()
    wait_for(lambda: idle.process.poll() is not None or os.path.ismount(idle.path), "the mount")
    append(idle.topic("t") / "0", b"x\n")
    idle.process.terminate()
    idle.wait_exit()
    idle.launch()
    wait_for(lambda: idle.process.poll() is not None or os.path.ismount(idle.path), "the mount")
    assert read(idle / "t" / "0") == b"x\n"
    # The next daemon cleans up after a kill, whatever the name.
    idle.expected.append("stale")
    idle.kill()
    idle.launch()
    wait_for(lambda: idle.process.poll() is not None or alive(idle.path), "the mount")
    assert read(idle / "t" / "0") == b"x\n"
    idle.process.terminate()
    idle.wait_exit()


def alive(path):
    with contextlib.suppress(OSError):
        return os.statvfs(path) and os.stat(path).st_dev != os.stat(path.parent).st_dev
    return False


def test_a_symlink_as_mountpoint_and_slashes_at_the_end(idle):
    link = idle.base / "link"
    link.symlink_to(idle.path)
    daemon = idle.spawn(build_path("fs", "topicfs"), "-f", f"{idle.store}/", f"{link}/")
    wait_for(lambda: daemon.poll() is not None or is_alive(idle.path), "the mount")
    append(idle.topic("t") / "0", b"x\n")
    unmount(idle.path)
    assert daemon.wait(30) == 0
    assert idle.log_bytes("t") == b"x\n"


def test_a_file_size_limit_of_the_daemon_does_not_kill_it(idle):
    idle.prefix = ["prlimit", f"--fsize={32 * MIB}"]
    idle.start()
    topic = idle.topic("t")
    line = b"x" * (MIB - 1) + b"\n"
    taken = 0
    with opened(topic / "0") as fd, pytest.raises(OSError):
        for _ in range(40):
            taken += os.write(fd, line)
    assert idle.process.poll() is None, "SIGXFSZ killed the daemon"
    assert read(topic / "0") == line * (taken // MIB)
    idle.expected.append(".")


def test_sigterm_again_and_again_and_early(idle):
    """At any moment of its start and end: it ends, no mount stays behind, the store is sound."""
    for delay in range(12):
        daemon = idle.launch()
        with contextlib.suppress(subprocess.TimeoutExpired):
            daemon.wait(delay * 0.003)
        for _ in range(5):
            daemon.send_signal(signal.SIGTERM)
        daemon.wait(20)
        idle.process = None
        wait_for(lambda: not is_mounted(idle.path), "no mount")
    idle.start()
    append(idle.topic("t") / "0", b"x\n")
    assert read(idle / "t" / "0") == b"x\n"


def test_a_stopped_daemon_goes_on_where_it_was(mnt):
    topic = mnt.topic("t")
    mnt.process.send_signal(signal.SIGSTOP)
    child = mnt.spawn("bash", "-c", 'echo waited >> "$1"; cat "$1"', "bash", topic / "0", stdout=-1)
    assert child.poll() is None
    mnt.process.send_signal(signal.SIGCONT)
    assert child.communicate(timeout=20)[0] == b"waited\n"


def test_a_client_killed_while_the_daemon_is_stopped(mnt):
    topic = mnt.topic("t")
    child = mnt.spawn("bash", "-c", 'while :; do echo line; done >> "$1"', "bash", topic / "0")
    wait_for(lambda: os.stat(topic / "0").st_size > 1000, "some lines")
    mnt.process.send_signal(signal.SIGSTOP)
    child.send_signal(signal.SIGKILL)
    mnt.process.send_signal(signal.SIGCONT)
    child.wait(20)
    assert set(read(topic / "0").splitlines()) == {b"line"}


# ---- many at once -----------------------------------------------------------------------------------------------


def outcomes(calls):
    """Runs the calls at once, each in a thread; returns errno or 0 for each."""
    results = [None] * len(calls)
    barrier = threading.Barrier(len(calls))

    def attempt(number):
        barrier.wait()
        try:
            calls[number]()
            results[number] = 0
        except OSError as error:
            results[number] = error.errno

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


@pytest.mark.sanitize
def test_one_of_many_makes_a_topic_or_a_partition(mnt):
    for number in range(20):
        got = outcomes([lambda: os.mkdir(mnt / f"t{number}")] * 8)
        assert sorted(got) == [0] + [errno.EEXIST] * 7
        create = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        got = outcomes([lambda: os.close(os.open(mnt / f"t{number}" / "5", create))] * 8)
        assert sorted(got) == [0] + [errno.EEXIST] * 7
        assert sorted(os.listdir(mnt / f"t{number}")) == list("012345")


def test_mkdir_rmdir_rename_and_writes_race(mnt):
    """Any outcome is right but a lost line: what was accepted by a topic that is still there is in it."""
    accepted = {}

    def churn(number):
        for turn in range(40):
            name = f"t{(number + turn) % 3}"
            with contextlib.suppress(OSError):
                os.mkdir(mnt / name)
            with contextlib.suppress(OSError):
                fd = os.open(mnt / name / "0", os.O_WRONLY | os.O_APPEND)
                try:
                    os.write(fd, b"%d %d\n" % (number, turn))
                    accepted[number, turn] = True
                finally:
                    os.close(fd)
            with contextlib.suppress(OSError):
                os.rmdir(mnt / name)
            with contextlib.suppress(OSError):
                os.rename(mnt / name, mnt / f"r{turn}-{number}")

    threads = [threading.Thread(target=churn, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    def lines():
        return sorted(line for topic in os.listdir(mnt.path) for line in read(mnt / topic / "0").splitlines())

    wanted = sorted(b"%d %d" % key for key in accepted)
    assert len(wanted) > 20
    assert lines() == wanted
    mnt.crash()
    assert lines() == wanted


def test_a_topic_removed_under_an_open_file(mnt):
    topic = mnt.topic("t")
    with opened(topic / "0") as writer, opened(topic / "0", os.O_RDONLY) as reader:
        topic.rmdir()
        with fails(errno.ESTALE):
            os.write(writer, b"x\n")
        with contextlib.suppress(OSError):
            assert os.read(reader, 10) == b""
        topic.mkdir()
        append(topic / "0", b"of the new topic\n")
        with fails(errno.ESTALE):
            os.write(writer, b"x\n")
    assert read(topic / "0") == b"of the new topic\n"


@pytest.mark.sanitize
def test_deleting_while_others_write_loses_nothing_and_uses_no_position_twice(mnt):
    topic = mnt.topic("t", partitions=2, delete_enable="true", segment_bytes="64KiB")
    script = """
        trap 'exit 0' TERM
        i=0
        while :; do
            if printf '%s %s\\n' "$2" "$i" 2> /dev/null >> "$1"; then i=$((i + 1)); fi
        done"""
    writers = [mnt.spawn("bash", "-c", script, "bash", topic / "1", number) for number in range(3)]
    end = 0
    for _ in range(15):
        wait_for(lambda: os.path.exists(topic / "1") and os.stat(topic / "1").st_size > 2000, "some lines")
        os.unlink(topic / "1")
        with contextlib.suppress(FileExistsError):
            (topic / "1").touch()
        base = xattr_int(topic / "1", "base")
        assert base > end, "a position was used twice"
        end = base
    for writer in writers:
        writer.terminate()
        writer.wait(10)
    kept = [path.read_bytes() for path in sorted((mnt.store / "trash").rglob("*.log"))]
    lines = b"".join([*kept, read(topic / "1")]).splitlines()
    for number in range(3):
        mine = [int(line.split()[1]) for line in lines if line.startswith(b"%d " % number)]
        assert len(mine) == len(set(mine)), "a line is there twice"
        assert sorted(mine) == list(range(max(mine) + 1)), "an accepted line is gone"


def test_thousands_of_open_files_with_unfinished_lines(mnt):
    topic = mnt.topic("t", partitions=4)
    script = """
        ulimit -n 8000
        exec /usr/bin/python3 -c '
import os, sys
fds = [os.open(sys.argv[1] + "/" + str(n % 4), os.O_WRONLY | os.O_APPEND) for n in range(5000)]
for n, fd in enumerate(fds): os.write(fd, b"half %d" % n)
print("open", flush=True); sys.stdin.read()' "$1" """
    child = mnt.spawn("bash", "-c", script, "bash", topic, stdin=-1, stdout=-1)
    assert child.stdout.readline() == b"open\n"
    assert sum(xattr_int(topic / str(n), "pending") for n in range(4)) == sum(len(b"half %d" % n) for n in range(5000))
    assert all(os.stat(topic / str(n)).st_size == 0 for n in range(4))
    child.kill()
    child.wait(30)
    wait_for(lambda: sum(xattr_int(topic / str(n), "records") for n in range(4)) == 5000, "the ends of all lines")
    lines = [line for n in range(4) for line in read(topic / str(n)).splitlines()]
    assert sorted(lines) == sorted(b"half %d" % n for n in range(5000))


def test_the_daemon_leaks_neither_descriptors_nor_memory(mnt):
    topic = mnt.topic("t", partitions=3)
    append(topic / "0", b"x" * 99 + b"\n")

    def use(rounds):
        for number in range(rounds):
            append(topic / str(number % 3), b"%d\n" % number)
            read(topic / str(number % 3))
            os.listdir(topic)
            read(topic / ".offsets")
            append(topic / "0@append", b"%d" % number)
            os.getxattr(topic / "0", "user.topicfs.end")
            with contextlib.suppress(OSError):
                os.stat(topic / "nothing")

    use(300)
    sh("echo 2 > /proc/sys/vm/drop_caches")
    files, memory = footprint(mnt.process.pid)
    use(3000)
    sh("echo 2 > /proc/sys/vm/drop_caches")
    wait_for(lambda: footprint(mnt.process.pid)[0] <= files + 2, "as few descriptors as before")
    assert footprint(mnt.process.pid)[1] <= memory + 2048, "kilobytes of anonymous memory, more than before"


def footprint(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        memory = [int(line.split()[1]) for line in status if line.startswith("RssAnon")][0]
    return len(os.listdir(f"/proc/{pid}/fd")), memory


# ---- odd calls --------------------------------------------------------------------------------------------------


def test_odd_opens_and_renames_are_refused(mnt):
    topic = mnt.topic("t", partitions=2)
    append(topic / "0", b"kept\n")
    other = mnt.topic("u")
    for path in (mnt.path, topic):
        with fails(errno.EOPNOTSUPP, errno.EISDIR, errno.EPERM):
            os.open(path, os.O_TMPFILE | os.O_WRONLY, 0o600)
    exchange, whiteout = 2, 4
    for flag in (exchange, whiteout):
        for old, new in ((topic, other), (topic / "0", topic / "1")):
            assert libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flag) == -1
    assert libc.renameat2(-100, os.fsencode(topic), -100, os.fsencode(other), 1) == -1
    with fails(errno.EPERM, errno.EINVAL, errno.EBUSY):
        os.rename(topic, topic / "inside")
    with fails(errno.EXDEV):
        os.rename(topic / "0", mnt.base / "outside")
    with fails(errno.EPERM, errno.EBUSY, errno.ENOTEMPTY):
        os.rmdir(mnt.path)
    assert read(topic / "0") == b"kept\n"
    assert sorted(os.listdir(mnt.path)) == ["t", "u"]


def test_the_doors_mode_cannot_take_the_partitions_readers_away(mnt):
    topic = mnt.topic("t")
    with contextlib.suppress(OSError):
        os.chmod(topic / "0@append", 0o222)
    assert stat.S_IMODE(os.stat(topic / "0").st_mode) == 0o644
    for name in (".config", ".offsets"):
        with fails(errno.EPERM):
            os.chmod(topic / name, 0o777)


def test_sync_of_hidden_files_and_directories(mnt):
    topic = mnt.topic("t")
    append(topic / "0", b"x\n")
    for path in (topic / ".config", topic / ".offsets", mnt / ".status", topic, mnt.path):
        run("sync", path)
    assert xattr_int(topic / "0", "durable") == 2


@pytest.mark.parametrize("size", [2 * MIB, 5 * MIB + 7])
def test_a_line_too_long_in_the_middle_of_a_very_large_write(mnt, size):
    """The kernel cuts the write; counts must be exact all the same, and the line dropped whole."""
    topic = mnt.topic("t", max_message_bytes="64KiB")
    good = b"g" * 999 + b"\n"
    before = good * (size // 2 // 1000)
    data = before + b"L" * 100_000 + b"\n" + good * 50
    done = 0
    refused = 0
    with opened(topic / "0") as fd:
        while done < len(data):
            try:
                done += os.write(fd, data[done:])
            except OSError as error:
                assert error.errno == errno.EMSGSIZE
                refused += 1
                assert refused < 3
                assert len(before) <= done <= len(before) + 64 * 1024, "not refused at the long line"
                done = data.index(b"\n", done) + 1  # what a careful program does: goes on behind that line
    assert refused >= 1
    assert read(topic / "0") == before + good * 50


def test_a_very_long_line_where_they_are_allowed(mnt):
    topic = mnt.topic("t", max_message_bytes="64MiB")
    line = b"".join(b"%07d " % number for number in range(5_000_000)) + b"\n"  # 40 MB
    with opened(topic / "0") as fd:
        for at in range(0, len(line), 3_000_000):
            piece = line[at:at + 3_000_000]
            assert os.write(fd, piece) == len(piece)
        append(topic / "0", b"another\n")
    assert read(topic / "0") == line + b"another\n"
    mnt.restart()
    assert read(topic / "0") == line + b"another\n"


def test_a_very_long_unfinished_line_survives_a_kill(mnt):
    topic = mnt.topic("t", max_message_bytes="64MiB")
    line = b"".join(b"%07d " % number for number in range(2_000_000))
    fd = os.open(topic / "0", os.O_WRONLY | os.O_APPEND)
    for at in range(0, len(line), 700_001):
        os.write(fd, line[at:at + 700_001])
    append(topic / "0", b"another\n")
    mnt.crash()
    with contextlib.suppress(OSError):
        os.close(fd)
    assert read(topic / "0") == b"another\n" + line + b"\n"


def test_lines_of_nothing_but_newlines_and_nuls(mnt):
    topic = mnt.topic("t")
    data = b"\n" * 100_000 + b"\0" * 1000 + b"\n" + b"\0\n" * 1000
    append(topic / "0", data)
    assert read(topic / "0") == data
    assert xattr_int(topic / "0", "records") == 101_001
    mnt.crash()
    assert read(topic / "0") == data
    assert xattr_int(topic / "0", "records") == 101_001


def test_the_format_changed_under_an_unfinished_line(mnt):
    topic = mnt.topic("t")
    with opened(topic / "0") as fd:
        os.write(fd, b"begun as a line")
        append(topic / ".config", b"message.format=raw\n")
        os.write(fd, b"raw record")
        append(topic / ".config", b"message.format=lines\n")
        os.write(fd, b"a line again\n")
    assert read(topic / "0") == b"begun as a line\nraw recorda line again\n"
    mnt.crash()
    assert read(topic / "0") == b"begun as a line\nraw recorda line again\n"


def test_readdir_goes_on_while_names_come_and_go(mnt):
    topic = mnt.topic("t", partitions=500)
    entries = os.scandir(topic)
    seen = [next(entries).name for _ in range(10)]
    for number in range(500, 600):
        (topic / str(number)).touch()
    for number in range(0, 500, 2):
        os.unlink(topic / str(number))
    seen += [entry.name for entry in entries]
    assert len(seen) == len(set(seen)), "a name twice"
    assert {str(number) for number in range(1, 500, 2)} <= set(seen), "a name that was there all the time is missing"


def test_two_writers_without_o_append_keep_their_own_offsets(mnt):
    topic = mnt.topic("t")
    with opened(topic / "0", os.O_WRONLY | os.O_TRUNC) as one, opened(topic / "0", os.O_WRONLY | os.O_TRUNC) as two:
        for number in range(200):
            os.write(one, b"one %d\n" % number)
            os.write(two, b"two %d\n" % number * 2)
    lines = read(topic / "0").splitlines()
    assert [line for line in lines if line.startswith(b"one")] == [b"one %d" % n for n in range(200)]
    assert [line for line in lines if line.startswith(b"two")] == [b"two %d" % n for n in range(200) for _ in "ab"]


def test_a_shell_that_appends_to_what_it_reads_ends(mnt):
    topic = mnt.topic("t", partitions=2)
    append(topic / "0", b"a\nb\nc\n")
    done = run("bash", "-c", 'cat "$1" >> "$1"', "bash", topic / "0", code=1)
    assert b"input file is output file" in done.stderr
    run("bash", "-c", 'tac "$1" >> "$2"; sort -r "$2" >> "$1"', "bash", topic / "0", topic / "1")
    assert read(topic / "0") == b"a\nb\nc\nc\nb\na\n"


def test_a_user_cannot_fill_the_logs_of_others_by_links_or_locks(idle):
    """A lock on somebody's partition needs the right to open it."""
    idle.options = "allow_other"
    idle.start()
    topic = idle.topic("t")
    os.chmod(topic / "0", 0o600)
    run(*as_user("flock", "-n", topic / "0", "true"), code=66)
    run(*as_user("ln", topic / "0", topic / "1"), code=1)
    run(*as_user("getfattr", "-n", "user.topicfs.end", topic / "0"), code=1)
    run(*as_user("setfattr", "-n", "user.topicfs.x", "-v", "1", topic / "0"), code=1)
    assert os.listdir(topic) == ["0"]


def test_two_stores_in_one_process_tree_do_not_meet():
    one, two = Mount(), Mount()
    try:
        one.start()
        two.start()
        one.topic("t")
        two.topic("t")
        sh('tail -n +1 -f --pid=$$ "$1" | head -n 3 | tee -a "$2" & for i in 1 2 3; do echo "line $i" >> "$1"; done; wait',
           one / "t" / "0", two / "t" / "0")
        assert read(one / "t" / "0") == read(two / "t" / "0") == b"line 1\nline 2\nline 3\n"
        one.finish()
        two.finish()
    finally:
        one.clear()
        two.clear()
