"""DESIGN 2: what a record is, how lines are framed, what an error leaves behind."""

import errno
import os
import signal
import time

import pytest

from harness import SCALE, append, build_path, fails, opened, read, run, sh, wait_for, xattr_int

MIB = 1 << 20


@pytest.fixture
def log(mnt):
    return mnt.topic("t") / "0"


@pytest.mark.sanitize
def test_a_line_may_come_in_many_writes(log):
    with opened(log) as fd:
        for byte in b"one line\nand two":
            assert os.write(fd, bytes([byte])) == 1
        assert read(log) == b"one line\n"
        assert os.stat(log).st_size == 9
        os.write(fd, b"\n\nx")
        assert read(log) == b"one line\nand two\n\n"
    assert read(log) == b"one line\nand two\n\nx\n"
    assert xattr_int(log, "records") == 4


def test_the_last_close_appends_the_rest_with_a_newline(log):
    first = os.open(log, os.O_WRONLY | os.O_APPEND)
    second = os.dup(first)
    os.write(first, b"rest")
    os.close(first)
    assert read(log) == b"", "a close that is not the last one ended the line"
    os.write(second, b"ed")
    os.close(second)
    assert read(log) == b"rested\n"


def test_nothing_is_added_to_whole_lines_and_empty_writes(log):
    append(log, b"whole\n")
    with opened(log) as fd:
        assert os.write(fd, b"") == 0
    with opened(log):
        pass
    assert read(log) == b"whole\n"


def test_dup_and_fork_share_one_buffer(log):
    sh('exec 3>>"$1"; printf a >&3; (printf b >&3; bash -c "printf c >&3"); exec 4>&3; printf d >&4; exec 3>&-; '
       'printf "e\n" >&4; printf f >&4', log)
    assert read(log) == b"abcde\nf\n"


def test_open_files_of_one_process_do_not_share_a_buffer(log):
    with opened(log) as one, opened(log) as two:
        os.write(one, b"one")
        os.write(two, b"two")
        os.write(one, b" more\n")
        assert read(log) == b"one more\n"
        os.write(two, b" more\n")
    assert read(log) == b"one more\ntwo more\n"


def test_a_compound_command_with_one_redirection_is_one_open_file(log):
    sh('{ printf "a "; printf "b "; echo c; } >> "$1"; for i in 1 2 3; do printf "%s " $i; done >> "$1"', log)
    assert read(log) == b"a b c\n1 2 3 \n"


def test_bytes_of_every_value_survive(log):
    data = bytes(range(256)) * 100 + b"\n\n\n" + bytes(range(255, -1, -1)) + b"\n"
    append(log, data)
    assert read(log) == data


@pytest.mark.parametrize("size", [1, 2, 4095, 4096, 4097, 65535, 65536, 65537, 131072, 1044480, 1044481, MIB, MIB + 1,
                                  3 * MIB + 17])
def test_a_write_of_any_size_is_there_as_it_was(log, size):
    line = b"0123456789" * 10 + b"\n"
    data = (line * (size // len(line) + 1))[:size - 1] + b"\n"
    with opened(log) as fd:
        assert os.write(fd, data) == size
    assert read(log) == data


def test_the_longest_line_that_is_allowed_by_default(log):
    data = b"x" * (MIB - 1) + b"\n"
    append(log, data)
    with opened(log) as fd:
        for at in range(0, MIB, 1000):
            os.write(fd, data[at:at + 1000])
    assert read(log) == data + data


# ---- max.message.bytes ------------------------------------------------------------------------------------


@pytest.fixture
def short(mnt):
    """A partition whose lines have at most 100 bytes."""
    return mnt.topic("t", max_message_bytes=100) / "0"


@pytest.mark.sanitize
def test_a_line_over_max_message_bytes_is_refused_whole(short):
    with opened(short) as fd:
        assert os.write(fd, b"a" * 99 + b"\n") == 100
        with fails(errno.EMSGSIZE):
            os.write(fd, b"b" * 100 + b"\n")
    assert read(short) == b"a" * 99 + b"\n"


def test_lines_before_one_that_is_too_long_give_an_exact_short_count(short):
    with opened(short) as fd:
        assert os.write(fd, b"one\ntwo\n" + b"x" * 200) == 8
        with fails(errno.EMSGSIZE):
            os.write(fd, b"x" * 200)
    assert read(short) == b"one\ntwo\n"


def test_an_outgrown_line_is_dropped_up_to_its_newline(short):
    with opened(short) as fd:
        assert os.write(fd, b"a" * 60) == 60
        with fails(errno.EMSGSIZE):
            os.write(fd, b"a" * 60)
        assert os.write(fd, b"still the same line") == 19
        assert os.write(fd, b"its end\nnext\n") == 13
        assert os.write(fd, b"another\n") == 8
    assert read(short) == b"next\nanother\n"


def test_an_outgrown_line_is_not_ended_by_the_close(short):
    with opened(short) as fd:
        os.write(fd, b"a" * 60)
        with fails(errno.EMSGSIZE):
            os.write(fd, b"a" * 60)
    append(short, b"clean\n")
    assert read(short) == b"clean\n"


def test_other_handles_are_untouched_by_a_line_that_is_too_long(short):
    with opened(short) as good, opened(short) as bad:
        os.write(good, b"good ")
        with fails(errno.EMSGSIZE):
            os.write(bad, b"b" * 300)
        os.write(good, b"line\n")
        os.write(bad, b"rest of it\n")
    assert read(short) == b"good line\n"


def test_a_rest_of_exactly_the_limit_less_its_newline_is_ended_by_the_close(short):
    append(short, b"a" * 99)
    assert read(short) == b"a" * 99 + b"\n"


def test_a_rest_that_leaves_no_room_for_its_newline_is_refused(short):
    with opened(short) as fd, fails(errno.EMSGSIZE):
        os.write(fd, b"a" * 100)
    append(short, b"next\n")
    assert read(short) == b"next\n"


def test_a_changed_limit_holds_for_handles_that_are_open(mnt):
    topic = mnt.topic("t")
    with opened(topic / "0") as fd:
        os.write(fd, b"x" * 500 + b"\n")
        append(topic / ".config", b"max.message.bytes=100\n")
        with fails(errno.EMSGSIZE):
            os.write(fd, b"y" * 500 + b"\n")
        append(topic / ".config", b"max.message.bytes=1000\n")
    append(topic / "0", b"z" * 500 + b"\n")
    assert read(topic / "0") == b"x" * 500 + b"\n" + b"z" * 500 + b"\n"


def test_cat_of_lines_too_long_loses_only_those(short, tmp_path):
    """A shell pipeline that ignores nothing: one write a line, errors told each time."""
    source = tmp_path / "lines"
    source.write_bytes(b"".join((b"%d" % n) * n + b"\n" for n in range(1, 90)))
    with opened(short) as fd:
        for line in source.read_bytes().splitlines(keepends=True):
            if len(line) <= 100:
                assert os.write(fd, line) == len(line)
            else:
                with fails(errno.EMSGSIZE):
                    os.write(fd, line[:-1])
                assert os.write(fd, b"\n") == 1
    assert read(short) == b"".join(line for line in source.read_bytes().splitlines(keepends=True) if len(line) <= 100)


# ---- raw --------------------------------------------------------------------------------------------------


@pytest.fixture
def raw(mnt):
    return mnt.topic("t", message_format="raw") / "0"


@pytest.mark.sanitize
def test_raw_every_write_is_a_record_as_it_is(raw):
    with opened(raw) as fd:
        for record in (b"no newline", b"\n", b"two\nlines\n", b"\0\1\2"):
            assert os.write(fd, record) == len(record)
        assert read(raw) == b"no newline\ntwo\nlines\n\0\1\2"
        assert xattr_int(raw, "records") == 4
        assert xattr_int(raw, "pending") == 0
    assert read(raw) == b"no newline\ntwo\nlines\n\0\1\2"


def test_raw_records_survive_a_crash(mnt, raw):
    with opened(raw) as fd:
        for number in range(100):
            os.write(fd, b"record %d|" % number)
    mnt.crash()
    assert read(raw) == b"".join(b"record %d|" % number for number in range(100))
    assert xattr_int(raw, "records") == 100


@pytest.mark.parametrize("size, accepted", [(1044480, True), (1044481, False), (MIB, False), (2 * MIB, False),
                                            (5 * MIB + 3, False)])
@pytest.mark.parametrize("aligned", [True, False])
def test_raw_records_end_at_the_largest_request(mnt, raw, size, accepted, aligned):
    import mmap
    with mmap.mmap(-1, size + 4096) as memory, memoryview(memory) as view, opened(raw) as fd:
        start = 0 if aligned else 5
        memory[start:start + size] = b"r" * size
        with view[start:start + size] as record:
            if accepted:
                assert os.write(fd, record) == size
            else:
                with fails(errno.EMSGSIZE):
                    os.write(fd, record)
    assert os.stat(raw).st_size == (size if accepted else 0)
    assert xattr_int(raw, "records") == (1 if accepted else 0)


def test_raw_max_message_bytes(mnt):
    topic = mnt.topic("t", message_format="raw", max_message_bytes=10)
    with opened(topic / "0") as fd:
        assert os.write(fd, b"0123456789") == 10
        with fails(errno.EMSGSIZE):
            os.write(fd, b"01234567890")
        assert os.write(fd, b"x") == 1
    assert read(topic / "0") == b"0123456789x"


# ---- quota ------------------------------------------------------------------------------------------------


def test_quota_gives_edquot_in_write_and_nothing_of_that_write(mnt):
    topic = mnt.topic("t", quota_bytes=1000)
    with opened(topic / "0") as fd:
        assert os.write(fd, b"x" * 899 + b"\n") == 900
        with fails(errno.EDQUOT):
            os.write(fd, b"y" * 100 + b"\n")
        assert os.write(fd, b"z" * 99 + b"\n") == 100
        with fails(errno.EDQUOT):
            os.write(fd, b"\n")
    assert read(topic / "0") == b"x" * 899 + b"\n" + b"z" * 99 + b"\n"
    append(topic / ".config", b"quota.bytes=2000\n")
    append(topic / "0", b"more\n")
    assert read(topic / "0").endswith(b"z\nmore\n")


def test_quota_is_taken_when_a_rest_is_buffered(mnt):
    topic = mnt.topic("t", quota_bytes=20)
    with opened(topic / "0") as one, opened(topic / "0") as two:
        assert os.write(one, b"0123456789") == 10
        with fails(errno.EDQUOT):
            os.write(two, b"0123456789")
        assert os.write(two, b"01234567\n") == 9
    assert read(topic / "0") == b"01234567\n0123456789\n"


def test_quota_is_each_partitions_own(mnt):
    topic = mnt.topic("t", partitions=2, quota_bytes=10)
    append(topic / "0", b"012345678\n")
    append(topic / "1", b"012345678\n")
    with opened(topic / "1") as fd, fails(errno.EDQUOT):
        os.write(fd, b"\n")
    assert read(topic / "1") == b"012345678\n"


# ---- the last line is there when close has returned ---------------------------------------------------------


def test_printf_then_tail_shows_it_ten_thousand_times(mnt, log):
    rounds = int(10000 * min(SCALE, 1)) if SCALE < 1 else 10000
    shown = sh('for ((i = 0; i < $2; i++)); do printf "%s" "$i" >> "$1"; tail -n 1 "$1"; done', log, rounds,
               seconds=600).split(b"\n")
    assert shown == [b"%d" % number for number in range(rounds)] + [b""]
    assert read(log) == b"".join(b"%d\n" % number for number in range(rounds))


@pytest.mark.sanitize
def test_write_close_stat_read_never_misses_the_last_line(log):
    """The same race, more tightly: no fork between the close and the look."""
    size = 0
    for number in range(int(5000 * SCALE) + 500):
        fd = os.open(log, os.O_WRONLY | os.O_APPEND)
        os.write(fd, b"%d" % number)
        os.close(fd)
        size += len(b"%d\n" % number)
        if number % 3 == 0:
            assert os.stat(log).st_size == size
        elif number % 3 == 1:
            with opened(log, os.O_RDONLY) as reader:
                assert os.pread(reader, 100, size - len(b"%d\n" % number)) == b"%d\n" % number
        else:
            assert xattr_int(log, "end") == size


def test_a_reader_with_an_old_handle_sees_the_line_after_the_close(log):
    with opened(log, os.O_RDONLY) as reader:
        for number in range(2000):
            fd = os.open(log, os.O_WRONLY | os.O_APPEND)
            os.write(fd, b"line %d" % number)
            os.close(fd)
            assert os.read(reader, 1000) == b"line %d\n" % number


def test_many_shells_that_close_unfinished_lines(mnt, log):
    shells = [mnt.spawn("bash", "-c", 'for i in {1..200}; do printf "%s %s" "$2" "$i" >> "$1"; done', "bash", log, n)
              for n in range(8)]
    assert [shell.wait(120) for shell in shells] == [0] * 8
    mine = {n: [] for n in range(8)}
    for line in read(log).splitlines():
        shell, number = map(int, line.split())
        mine[shell].append(number)
    assert mine == {n: list(range(1, 201)) for n in range(8)}


# ---- many writers -----------------------------------------------------------------------------------------

BUFFERINGS = ["line", "torn", "100", "4096", "65536", "1048576"]


def writer(mnt, path, acks, number, *options):
    return mnt.spawn(build_path("tests", "mount", "lines"), "write", "-w", number, "-a", acks, *options, path,
                     stdout=-1)


def check(path, acks):
    """Every writer's lines whole, in order, once; returns the counts."""
    words = run(build_path("tests", "mount", "lines"), "check", "-a", acks, path, seconds=300).stdout.split()
    return {words[at].decode(): int(words[at + 1]) for at in range(0, len(words), 2)}


@pytest.mark.sanitize
def test_lines_of_many_writers_with_every_buffering_never_interleave(mnt, log):
    acks = mnt.base / "acks"
    writers = [writer(mnt, log, acks, number, "-n", 3000, "-c", BUFFERINGS[number % 6], "-m", 60000)
               for number in range(18)]
    assert [each.wait(120) for each in writers] == [0] * 18
    assert check(log, acks) == {"lines": 18 * 3000, "writers": 18, "fragments": 0}


def test_the_longest_lines_of_many_writers_never_interleave(mnt, log):
    acks = mnt.base / "acks"
    writers = [writer(mnt, log, acks, number, "-n", 200, "-c", BUFFERINGS[number % 6], "-m", 1000000)
               for number in range(6)]
    assert [each.wait(120) for each in writers] == [0] * 6
    assert check(log, acks) == {"lines": 6 * 200, "writers": 6, "fragments": 0}


def test_writers_killed_in_the_middle_leave_whole_lines_and_at_most_one_fragment_each(mnt, log):
    acks = mnt.base / "acks"
    writers = [writer(mnt, log, acks, number, "-c", BUFFERINGS[number % 6], "-m", 20000, "-r", 2000000)
               for number in range(12)]
    wait_for(lambda: os.stat(log).st_size > 3 * MIB, "some megabytes")
    for each in writers:
        each.send_signal(signal.SIGKILL)
        each.wait()
    counts = check(log, acks)
    assert counts["writers"] == 12 and 1 <= counts["fragments"] <= 12


def test_line_buffered_and_unbuffered_programs_of_this_machine(mnt, log):
    """Real programs with the buffering they happen to have."""
    scripts = {
        "bash": 'for i in {1..1000}; do echo "bash $i"; done >> "$1"',
        "awk": 'awk "BEGIN { for (i = 1; i <= 1000; i++) print \\"awk\\", i }" >> "$1"',
        "awk-u": 'stdbuf -oL awk "BEGIN { for (i = 1; i <= 1000; i++) print \\"awk-u\\", i }" >> "$1"',
        "sed": 'seq 1 1000 | sed -u "s/^/sed /" >> "$1"',
        "cat": 'seq 1 1000 | sed "s/^/cat /" | stdbuf -o0 cat >> "$1"',
        "dd": 'seq 1 1000 | sed "s/^/dd /" | dd bs=7 oflag=append conv=notrunc status=none of="$1"',
        "python": '/usr/bin/python3 -uc "for i in range(1, 1001): print(\'python\', i)" >> "$1"',
        "tee": 'seq 1 1000 | sed "s/^/tee /" | tee -a "$1" > /dev/null',
        "seq": 'seq -f "seq %.0f" 1 1000 > "$1"',
    }
    shells = [mnt.spawn("bash", "-c", script, "bash", log) for script in scripts.values()]
    assert [shell.wait(120) for shell in shells] == [0] * len(shells)
    mine = {name: [] for name in scripts}
    for line in read(log).decode().splitlines():
        name, number = line.split()
        mine[name].append(int(number))
    assert mine == {name: list(range(1, 1001)) for name in scripts}


def test_a_line_written_byte_by_byte_while_others_write(mnt, log):
    with opened(log) as slow:
        other = mnt.spawn("bash", "-c", 'for i in {1..300}; do echo "other $i"; done >> "$1"', "bash", log)
        for byte in b"slowly, slowly" * 40:
            os.write(slow, bytes([byte]))
        assert other.wait(60) == 0
        os.write(slow, b"\n")
    lines = read(log).splitlines()
    assert lines[-1] == b"slowly, slowly" * 40
    assert lines[:-1] == [b"other %d" % number for number in range(1, 301)]


def test_signals_during_writes_duplicate_nothing(mnt, log):
    """SIGALRM a thousand times a second, handled without SA_RESTART; a write that answers EINTR is written again."""
    program = """if True:
        import os, signal, sys
        alarms = 0
        def count(*_):
            global alarms
            alarms += 1
        signal.signal(signal.SIGALRM, count)
        signal.siginterrupt(signal.SIGALRM, True)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | int(sys.argv[3]))
        for number in range(int(sys.argv[4])):
            os.write(fd, b"%s %d\\n" % (sys.argv[2].encode(), number) * 3)
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(alarms)
    """
    started = time.monotonic()
    count = int(1500 * SCALE) + 500
    writers = [mnt.spawn("/usr/bin/python3", "-c", program, log, name, flag, count, stdout=-1)
               for name, flag in [("plain", 0), ("dsync", os.O_DSYNC), ("dsync2", os.O_DSYNC)]]
    for each in writers:
        alarms = int(each.communicate(timeout=300)[0])
        assert each.returncode == 0 and alarms > 10, f"{alarms} alarms in {time.monotonic() - started} s"
    mine = {"plain": [], "dsync": [], "dsync2": []}
    for line in read(log).decode().splitlines():
        name, number = line.split()
        mine[name].append(int(number))
    wanted = [number for number in range(count) for _ in range(3)]
    assert mine == {"plain": wanted, "dsync": wanted, "dsync2": wanted}


def test_a_killed_writer_of_durable_lines_dies_at_once(mnt, log):
    flag = os.O_DSYNC
    program = ("import os, sys; fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | %d)\n"
               "while True: os.write(fd, b'line\\n')" % flag)
    for _ in range(5):
        child = mnt.spawn("/usr/bin/python3", "-c", program, log)
        size = os.stat(log).st_size
        wait_for(lambda before=size: os.stat(log).st_size > before, "some lines")
        child.kill()
        child.wait(5)
    assert set(read(log).splitlines()) == {b"line"}


# ---- rolls ------------------------------------------------------------------------------------------------


def test_a_partition_of_many_segments_reads_as_one_file(mnt):
    topic = mnt.topic("t", segment_bytes="64KiB")
    data = b"".join(b"line %07d %s\n" % (number, b"x" * (number % 300)) for number in range(8000))
    for at in range(0, len(data), 50000):
        append_raw(topic / "0", data[at:at + 50000], at == 0)
    logs = sorted((mnt.store / "topics" / "t" / "0").glob("*.log"))
    assert len(logs) > 5, "the log did not roll"
    written = read(topic / "0")
    assert written.replace(b"\n", b"") == data.replace(b"\n", b"")
    assert all(log.read_bytes().endswith(b"\n") for log in logs if log.stat().st_size)
    with opened(topic / "0", os.O_RDONLY) as fd:
        assert os.pread(fd, len(written), 0) == written, "a read over a roll came back short"
        for size in (1000, 4096, 65536, 131072, 1 << 20):
            os.lseek(fd, 0, os.SEEK_SET)
            at = 0
            while piece := os.read(fd, size):
                assert piece == written[at:at + size], f"at {at}, {size} bytes"
                at += len(piece)
            assert at == len(written)
    mnt.restart()
    assert read(topic / "0") == written
    mnt.crash()
    assert read(topic / "0") == written


def append_raw(path, data, first):
    with opened(path, os.O_WRONLY | os.O_APPEND | (os.O_TRUNC if first else 0)) as fd:
        while data:
            data = data[os.write(fd, data):]
