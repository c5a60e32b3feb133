"""Trims while people read: DESIGN 1.2 to the letter. What is open goes on as it was, what is opened begins at the
oldest kept line, and nobody sees a NUL, a torn line, a repeat or a gap."""

import errno
import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import time

import pytest

import numbered
from harness import SCALE, append, build_path, fails, opened, read, read_fd, run, wait_for, xattr_int
from numbered import number_at, position
from segments import SOON, Trimmer, fill, produce, trim

SEGMENT = 64 << 10
TRIMMED = {**SOON, "segment_bytes": "64KiB"}


@pytest.fixture
def log(mnt):
    """A partition with 10000 numbered lines in about nine segments."""
    topic = mnt.topic("t", **TRIMMED)
    fill(topic / "0", 10000)
    return topic / "0"


def trim_half(log):
    """Trims to about the middle; returns the new start."""
    bounds = xattr_int(log, "start"), xattr_int(log, "end")
    start = trim(log.parent, int(log.name), sum(bounds) // 2)
    assert bounds[0] < start <= sum(bounds) // 2
    return start


@pytest.mark.sanitize
def test_a_trim_makes_a_new_generation_and_leaves_open_files_as_they_were(log):
    before = read(log)
    with opened(log, os.O_RDONLY) as old:
        status = os.stat(log)
        start = trim_half(log)
        # By name: the oldest kept line is the first, under the same inode number.
        assert read(log) == before[start:] and before[start - 1:start] == b"\n"
        assert xattr_int(log, "base") == xattr_int(log, "start") == start
        assert xattr_int(log, "end") == len(before)
        now = os.stat(log)
        assert now.st_ino == status.st_ino and now.st_size == len(before) - start
        # A trim changes ctime, not mtime.
        assert now.st_mtime_ns == status.st_mtime_ns and now.st_ctime_ns > status.st_ctime_ns
        # By the old handle: everything is where it was.
        assert os.fstat(old).st_size == len(before) and os.fstat(old).st_ino == status.st_ino
        assert xattr_int(old, "base") == 0
        assert read_fd(old) == before
        append(log, b"more\n")
        assert os.read(old, 100) == b"more\n" and os.read(old, 100) == b""
        assert os.fstat(old).st_size == len(before) + 5
        assert os.pread(old, 30, 0) == before[:30]
    assert read(log) == before[start:] + b"more\n"


def test_a_trim_ends_at_a_segment_and_past_the_end_is_refused(log):
    with fails(errno.EINVAL):
        trim(log.parent, 0, xattr_int(log, "end") + 1)
    with fails(errno.ENOENT):
        trim(log.parent, 7, 0)
    assert trim(log.parent, 0, 10) == 0 == xattr_int(log, "start")
    start = trim_half(log)
    assert trim(log.parent, 0, start) == trim(log.parent, 0, 0) == start
    records = int(read(log)[:9])
    assert xattr_int(log, "records") == 10000 - records


@pytest.mark.sanitize
def test_a_trim_of_everything_leaves_an_empty_file_that_goes_on(mnt, log):
    end = xattr_int(log, "end")
    with opened(log, os.O_RDONLY) as old:
        assert trim(log.parent, 0, end) == end
        assert os.stat(log).st_size == 0 and read(log) == b""
        assert xattr_int(log, "records") == 0
        assert numbered.check(read_fd(old)) == (0, 10000)
        fill(log, 200, 10000)
        assert numbered.check(read_fd(old)) == (10000, 10200)
    assert numbered.check(read(log)) == (10000, 10200)
    for turn in (mnt.restart, mnt.crash):
        turn()
        assert xattr_int(log, "start") == xattr_int(log, "base") == end
        assert numbered.check(read(log)) == (10000, 10200)


def test_the_start_outlives_kills_and_never_falls(mnt, log):
    count = 10000
    for _ in range(4):
        start = trim_half(log)
        first = int(read(log)[:9])
        mnt.crash()
        assert xattr_int(log, "start") == start
        assert numbered.check(read(log)) == (first, count)
        count = fill(log, 2000, count)


@pytest.mark.sanitize
def test_a_reader_paused_across_many_trims_reads_on(log):
    count = 10000
    with opened(log, os.O_RDONLY) as paused:
        got = [os.read(paused, 100000)]
        for _ in range(15):
            count = fill(log, 3000, count)
            trim_half(log)
        assert xattr_int(log, "start") > 30 * SEGMENT
        while piece := os.read(paused, 77777):
            got.append(piece)
    assert numbered.check(b"".join(got)) == (0, count)


def test_many_generations_at_once_each_with_its_own_zero(log):
    handles, count = [], 10000
    try:
        for _ in range(10):
            fd = os.open(log, os.O_RDONLY)
            handles.append((fd, xattr_int(fd, "base"), int(os.pread(fd, 9, 0))))
            count = fill(log, 1500, count)
            trim_half(log)
        assert len({base for _, base, _ in handles}) == 10
        end = xattr_int(log, "end")
        for fd, base, first in handles:
            assert os.fstat(fd).st_size == end - base
            assert numbered.check(read_fd(fd)) == (first, count)
            assert os.lseek(fd, 0, os.SEEK_END) == end - base
    finally:
        for fd, _, _ in handles:
            os.close(fd)


# ---- programs that follow -----------------------------------------------------------------------------------------


@pytest.mark.sanitize
@pytest.mark.parametrize("argv", [["tail", "-f", "-n", "+1", "-s", "0.02"], ["tail", "-F", "-n", "+1", "-s", "0.02"],
                                  ["tail", "-f", "-c", "+1"]])
def test_tail_goes_on_across_trims(mnt, log, argv):
    """-s 0.02 makes tail -F look its name up again ten times a second."""
    with open(mnt.base / "followed", "wb") as output, open(mnt.base / "complaints", "wb") as errors:
        mnt.spawn(*argv, log, stdout=output, stderr=errors)
    followed = mnt.base / "followed"
    wait_for(lambda: followed.stat().st_size >= xattr_int(log, "end"), "the beginning")
    produce(mnt, log, first=10000, rate=15000)
    with Trimmer(log.parent) as trimmer:
        wait_for(lambda: trimmer.count >= 8 + 10 * SCALE, "trims", 60 * max(SCALE, 1))
    mnt.children[-1].kill()
    mnt.children[-1].wait()
    end = xattr_int(log, "end")
    wait_for(lambda: followed.stat().st_size >= end, "the end")
    first, last = numbered.check(followed.read_bytes())
    assert first == 0 and numbered.check(read(log))[1] == last
    assert (mnt.base / "complaints").read_bytes() == b""


def test_less_F_on_a_terminal_goes_on_across_trims(mnt, log):
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="dumb", LESS="-S -d", LINES="30", COLUMNS="200")
        os.execvp("less", ["less", "+F", str(log)])
    shown, count = b"", 10000

    def until(number):
        nonlocal shown
        deadline = time.monotonic() + 30
        while b"\n%09d " % number not in shown.replace(b"\r", b"\n"):
            assert time.monotonic() < deadline, f"{number} is not shown; the last: {shown[-300:]}"
            if select.select([terminal], [], [], 0.1)[0]:
                shown += os.read(terminal, 65536)

    try:
        until(9999)
        for _ in range(6):
            trim_half(log)
            # A screenful at a time, so that each line is shown.
            for _ in range(15):
                append(log, numbered.lines(count, 10))
                count += 10
                until(count - 1)
            count = fill(log, 600, count)
            until(count - 1)
        os.write(terminal, b"\x03")
        os.write(terminal, b"1G")  # still the file that was opened: its first line is line 0
        until(0)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)
    assert b"\0" not in shown and b"^@" not in shown
    for got in re.findall(rb"[\r\n]((\d{9}) [a-z ,]*)(?=[\r\n])", shown):
        assert numbered.line(int(got[1])).startswith(got[0]), got[0]


# ---- programs started at every moment -----------------------------------------------------------------------------


STARTED = {
    "cat": ["cat"],
    "cat, small": ["dd", "bs=5000", "status=none"],
    "grep": ["grep", ""],
    "awk": ["awk", "{ print }"],
    "tail": ["tail", "-c", "+1"],
    "sed": ["sed", ""],
}


@pytest.mark.parametrize("name", STARTED)
def test_readers_started_at_every_moment(mnt, log, name):
    """Each reads whole numbered lines without a gap: from a line that was the oldest kept between just before its start
    and its end, to one that was not there yet at its start."""
    argv = STARTED[name]
    produce(mnt, log, first=10000, rate=20000)
    reads = 0
    with Trimmer(log.parent, keep=3 * SEGMENT, every=0.01) as trimmer:
        while reads < 10 * SCALE + 5 or trimmer.count < 10:
            start, end = xattr_int(log, "start"), xattr_int(log, "end")
            if argv[0] == "dd":
                done = run(*argv, f"if={log}")
            else:
                done = run(*argv, log)
            assert done.stderr == b""
            first, last = numbered.check(done.stdout, name)
            at = position(first)
            assert start <= at <= xattr_int(log, "start")
            assert at + len(done.stdout) >= end and position(last) == at + len(done.stdout)
            reads += 1
            assert reads < 1000


def test_wc_counts_the_lines_of_one_generation(mnt, log):
    produce(mnt, log, first=10000, rate=20000)
    with Trimmer(log.parent, keep=3 * SEGMENT, every=0.01) as trimmer:
        while trimmer.count < 10 + 10 * SCALE:
            start = xattr_int(log, "start")
            count, size, _ = run("wc", "-lc", log).stdout.split()
            firsts = [number_at(at) for at in range(start, xattr_int(log, "start") + 1) if number_at(at) is not None]
            assert any(position(first + int(count)) - position(first) == int(size) for first in firsts), (count, size)


@pytest.mark.sanitize
def test_many_readers_of_every_kind_across_trims_see_one_log(mnt):
    """What is read first of each byte, by logical position, is what every other handle of any generation gives."""
    lines, acks = build_path("tests", "mount", "lines"), mnt.base / "acks"
    topic = mnt.topic("t", **TRIMMED)
    append(topic / "0", b"")
    readers = mnt.spawn(lines, "read", "-a", acks, *(word for how in ("r:131072", "r:4096", "r:1", "p:5000", "p:200000",
                        "o:131072", "o:4096", "o:1", "s:0") for word in ("-t", how)), topic / "0",
                        stdin=-1, stdout=-1, stderr=-1)
    for number, chunk in enumerate(("line", "torn", "65536")):
        mnt.spawn(lines, "write", "-w", number, "-a", acks, "-c", chunk, "-m", 5000, "-r", 1000000, topic / "0")
    with Trimmer(topic, every=0.03) as trimmer:
        wait_for(lambda: trimmer.count > 10 + 30 * SCALE, "trims", 60 * max(SCALE, 1))
    for writer in mnt.children[1:]:
        assert writer.poll() is None
        writer.kill()
        writer.wait()
    out, errors = readers.communicate(timeout=60)
    assert readers.returncode == 0, errors.decode() + out.decode()


# ---- rsync --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--inplace", "--no-whole-file"]])
def test_rsync_across_trims(mnt, log, options):
    """A copy of each moment holds whole lines without a gap, whatever the copy before it held."""
    copy = mnt.base / "copy"
    run("rsync", "-a", f"{mnt.path}/", f"{copy}/")
    produce(mnt, log, first=10000, rate=10000)
    with Trimmer(log.parent, keep=4 * SEGMENT, every=0.1) as trimmer:
        while trimmer.count < 6 + 6 * SCALE:
            start, end = xattr_int(log, "start"), xattr_int(log, "end")
            run("rsync", "-a", *options, f"{mnt.path}/", f"{copy}/")
            data = (copy / "t" / "0").read_bytes()
            first, _ = numbered.check(data, "the copy")
            assert start <= position(first) <= xattr_int(log, "start")
            assert position(first) + len(data) >= end
    mnt.end_children()
    run("rsync", "-a", *options, f"{mnt.path}/", f"{copy}/")
    assert (copy / "t" / "0").read_bytes() == read(log)
    done = run("rsync", "-ai", *options, f"{mnt.path}/", f"{copy}/")
    assert done.stdout == b""


def test_rsync_append_verify_across_trims(mnt, log):
    """It leaves alone what became shorter, and appends to nothing that is not the same: a copy is always whole lines
    without a gap, and as soon as the file has outgrown the copy it is the file."""
    copy, count = mnt.base / "copy", 10000
    for _ in range(5):
        run("rsync", "-a", "--append-verify", f"{mnt.path}/", f"{copy}/")
        before = (copy / "t" / "0").read_bytes()
        trim_half(log)
        count = fill(log, 500, count)
        assert os.stat(log).st_size < len(before)
        run("rsync", "-a", "--append-verify", f"{mnt.path}/", f"{copy}/")
        assert (copy / "t" / "0").read_bytes() == before
        numbered.check(before)
        while os.stat(log).st_size <= len(before):
            count = fill(log, 3000, count)
        run("rsync", "-a", "--append-verify", f"{mnt.path}/", f"{copy}/")
        assert (copy / "t" / "0").read_bytes() == read(log)


# ---- the pin budget -----------------------------------------------------------------------------------------------


def read_or_stale(fd, size, at):
    try:
        return os.pread(fd, size, at)
    except OSError as error:
        assert error.errno == errno.ESTALE, error
        return None


def never_wrong(fd, text, base=0):
    """Every byte is what it was or ESTALE, the stale ones come first; returns how many bytes are."""
    stale = 0
    for at in range(0, len(text), 4096):
        got = read_or_stale(fd, 4096, at)
        if got is None:
            assert stale == at, "stale after what was not"
            stale = at + 4096
        else:
            assert got and text[at:at + len(got)] == got, f"wrong bytes at {at}"
    return stale


def test_what_is_over_pin_bytes_is_stale_and_never_wrong(mnt):
    topic = mnt.topic("t", **TRIMMED, pin_bytes="256KiB")
    log = topic / "0"
    count = fill(log, 20000)
    with opened(log, os.O_RDONLY) as old:
        assert trim(topic, 0, 200 << 10) > 100 << 10
        text = read(log)
        assert never_wrong(old, numbered.lines(0, count)) == 0  # within the budget
        start = trim(topic, 0, xattr_int(log, "end"))
        whole = numbered.lines(0, count)
        stale = wait_for(lambda: never_wrong(old, whole), "what is over the budget to go")
        assert start - (256 << 10) - SEGMENT <= stale <= start, (stale, start)
        with fails(errno.ESTALE):
            os.pread(old, 10, 0)
        # The file offset stays, and what is kept is read on, also what comes later.
        assert os.fstat(old).st_size == len(whole)
        fill(log, 200, count)
        assert os.pread(old, 1 << 20, len(whole)) == numbered.lines(count, 200)
        # Opened anew by its descriptor it is the same generation.
        done = run("cat", f"/proc/self/fd/{old}", pass_fds=[old], code=1)
        assert done.stdout == b"" and b"Stale file handle" in done.stderr
    assert text and numbered.check(read(log)) == (count, count + 200)


def test_what_is_pinned_longer_than_pin_ms_is_stale(mnt):
    topic = mnt.topic("t", **TRIMMED, pin_ms="3s")
    log = topic / "0"
    count = fill(log, 8000)
    whole = numbered.lines(0, count)
    with opened(log, os.O_RDONLY) as old:
        trim(topic, 0, 300 << 10)
        trimmed = time.monotonic()
        assert never_wrong(old, whole) == 0
        stale = wait_for(lambda: never_wrong(old, whole), "the pin's end")
        assert time.monotonic() - trimmed > 2.9
        assert stale <= 300 << 10
        assert os.pread(old, 1 << 20, xattr_int(log, "start"))[:100] == whole[xattr_int(log, "start"):][:100]


def test_a_reader_that_is_told_estale_gets_no_false_end(mnt):
    topic = mnt.topic("t", **TRIMMED, pin_bytes="0")
    log = topic / "0"
    fill(log, 8000)
    reader = mnt.spawn("/usr/bin/python3", "-c", "import os, sys\nfd = os.open(sys.argv[1], os.O_RDONLY)\n"
                       "print(len(os.read(fd, 1000)), flush=True); sys.stdin.read(1)\n"
                       "try: print(len(os.read(fd, 1000)))\nexcept OSError as error: print(error.errno)",
                       log, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert reader.stdout.readline() == b"1000\n"
    trim(topic, 0, xattr_int(log, "end"))
    with opened(log, os.O_RDONLY) as fd:
        wait_for(lambda: not list((mnt.store / "topics/t/0").glob(f"{0:020}.*")), "the segment's end")
        assert os.read(fd, 10) == b""
    reader.stdin.write(b"x")
    reader.stdin.close()
    assert reader.stdout.read() == b"%d\n" % errno.ESTALE


def test_without_open_files_trimmed_segments_go_at_once(mnt, log):
    start = trim_half(log)
    directory = mnt.store / "topics/t/0"
    wait_for(lambda: all(int(path.stem) >= start for path in directory.iterdir() if path.stem.isdigit()), "their end")


def test_a_released_handle_lets_go(mnt, log):
    directory = mnt.store / "topics/t/0"
    with opened(log, os.O_RDONLY):
        start = trim_half(log)
        append(log, b"x\n")
        assert min(int(path.stem) for path in directory.iterdir() if path.stem.isdigit()) == 0
    wait_for(lambda: min(int(path.stem) for path in directory.iterdir() if path.stem.isdigit()) == start, "their end")


# ---- names, watches, locks ----------------------------------------------------------------------------------------


def test_a_name_looked_up_right_after_a_trim_is_the_new_generation(log):
    """The kernel keeps names for a while; an open after the trim has returned must not meet the old one."""
    count = 10000
    directory = os.open(log.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for _ in range(int(30 * SCALE) + 5):
            start = trim_half(log)
            for how in ({}, {"dir_fd": directory}):
                fd = os.open("0" if how else log, os.O_RDONLY, **how)
                data = os.read(fd, 30)
                assert xattr_int(fd, "base") == start
                os.close(fd)
                assert position(int(data[:9])) == start
            assert os.stat("0", dir_fd=directory).st_size == xattr_int(log, "end") - start
            count = fill(log, 1000, count)
    finally:
        os.close(directory)


def test_st_ino_is_one_across_generations_and_restarts(mnt, log):
    inode = os.stat(log).st_ino
    for turn in (lambda: None, mnt.restart, mnt.crash):
        trim_half(log)
        turn()
        assert os.stat(log).st_ino == inode
        fill(log, 2000, 10000)


@pytest.mark.parametrize("flags", [os.O_WRONLY | os.O_APPEND, os.O_WRONLY, os.O_RDWR])
def test_writers_go_on_across_trims(log, flags):
    """Without O_APPEND a handle goes on where its own last write ended, in its own generation's offsets."""
    with opened(log, flags) as fd:
        if not flags & os.O_APPEND:
            os.lseek(fd, 0, os.SEEK_END)
        assert os.write(fd, numbered.lines(10000, 50)) > 0
        assert os.write(fd, numbered.line(10050)[:7]) == 7
        trim_half(log)
        assert os.write(fd, numbered.line(10050)[7:]) > 0
        for number in range(10051, 14000, 100):
            os.write(fd, numbered.lines(number, 100))
        if not flags & os.O_APPEND:
            size = os.fstat(fd).st_size
            assert os.lseek(fd, 0, os.SEEK_CUR) == size
            with fails(errno.EPERM):
                os.pwrite(fd, b"x\n", size - 10)
            os.ftruncate(fd, size)
        trim_half(log)
        os.write(fd, numbered.lines(14051, 1))
        os.fsync(fd)
    assert numbered.check(read(log))[1] == 14052


def test_rsync_append_into_a_partition_that_is_trimmed_meanwhile_is_told(mnt, log):
    """What rsync wants to append to no longer is what it looked at: told, not garbled."""
    local = mnt.base / "0"
    local.write_bytes(numbered.lines(0, 12000))
    run("rsync", "-a", "--append", local, f"{log.parent}/")
    assert numbered.check(read(log)) == (0, 12000)
    trim_half(log)
    before = read(log)
    run("rsync", "-a", "--inplace", "--no-whole-file", local, f"{log.parent}/", code=None)
    assert read(log)[:len(before)] == before


def test_inotify_on_the_directory_crosses_trims(mnt, log):
    output = mnt.base / "heard"
    with open(output, "wb") as stdout, open(mnt.base / "inotify", "wb") as errors:
        mnt.spawn("inotifywait", "-m", "-e", "modify", "--format", "%f", log.parent, stdout=stdout, stderr=errors)
    wait_for(lambda: b"established" in (mnt.base / "inotify").read_bytes(), "the watch")
    for number in range(4):
        heard = len(output.read_bytes())
        append(log, numbered.lines(10000 + number * 3000, 3000))
        wait_for(lambda: len(output.read_bytes()) > heard, "a change to be heard")
        trim_half(log)
    assert set(output.read_bytes().split()) == {b"0"}


def test_poll_crosses_trims(log):
    with opened(log, os.O_RDONLY) as fd:
        os.lseek(fd, 0, os.SEEK_END)
        assert os.read(fd, 1) == b""
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        count = 10000
        for _ in range(5):
            trim_half(log)
            while poll.poll(0):  # the end of file may be told once for a change that brought nothing
                assert os.read(fd, 1) == b""
            append(log, numbered.lines(count, 1500))
            assert poll.poll(10000) == [(fd, select.POLLIN)]
            assert numbered.check(read_fd(fd)) == (count, count + 1500)
            count += 1500


@pytest.mark.parametrize("kind", ["flock", "fcntl"])
def test_locks_hold_across_generations(mnt, log, kind):
    call = "fcntl.flock" if kind == "flock" else "fcntl.lockf"
    attempt = (f"import fcntl, sys; f = open(sys.argv[1], 'r+b', buffering=0)\n"
               f"try: {call}(f, fcntl.LOCK_EX | fcntl.LOCK_NB)\nexcept OSError: sys.exit(7)")
    lock = fcntl.flock if kind == "flock" else fcntl.lockf
    with opened(log, os.O_RDWR) as held:
        lock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for _ in range(3):
            trim_half(log)
            run("/usr/bin/python3", "-c", attempt, log, code=7)
            # By somebody else: with fcntl, a close of the file by its holder would give the lock back.
            run("bash", "-c", 'seq 20000 >> "$1"', "-", log)
        waiter = mnt.spawn("/usr/bin/python3", "-c", attempt.replace(" | fcntl.LOCK_NB", ""), log)
        assert waiter.poll() is None
        lock(held, fcntl.LOCK_UN)
        assert waiter.wait(20) == 0
        run("/usr/bin/python3", "-c", attempt, log)


def test_a_generation_that_nobody_has_open_costs_nothing(mnt, log):
    """A hundred generations of a partition, each looked at, and the daemon is no bigger for it."""
    def resident():
        return int(re.search(r"RssAnon:\s+(\d+)", open(f"/proc/{mnt.process.pid}/status", encoding="ascii").read())[1])

    count = 10000
    for number in range(100):
        count = fill(log, 600, count)
        trim(log.parent, 0, xattr_int(log, "end") - 3 * SEGMENT)
        read(log)
        if number == 30:
            before = resident()
    assert resident() < before + 4096


def test_fstat_by_an_old_handle_never_shrinks(mnt, log):
    produce(mnt, log, first=10000, rate=20000)
    with opened(log, os.O_RDONLY) as fd, Trimmer(log.parent, keep=2 * SEGMENT, every=0.01) as trimmer:
        size = 0
        while trimmer.count < 15:
            now = os.fstat(fd).st_size
            assert now >= size
            size = now
    assert size > 0
