"""The daemon dies: by SIGKILL, by SIGTERM, by umount, under load and at rest."""

import contextlib
import os
import random
import signal

import pytest

from harness import SCALE, append, build_path, opened, read, run, wait_for, xattr_int

CHUNKS = ["line", "torn", "4096", "65536", "1048576"]


@pytest.fixture
def lines():
    return build_path("tests", "mount", "lines")


def start_writers(mnt, lines, acks, first, *, paths, chunks=None, options=()):
    chunks = chunks or CHUNKS
    return [mnt.spawn(lines, "write", "-w", first + number, "-a", acks, "-c", chunks[number % len(chunks)],
                      "-m", 20000, *options, paths[number % len(paths)], stdout=-1)
            for number in range(len(chunks) * len(paths))]


def accepted(acks, writers):
    """Whether each of these writers has had a write accepted."""
    counts = acks.read_bytes() if acks.exists() else b""
    return all(counts[24 * number:24 * number + 8].strip(b"\0") for number in writers)


def let_go(fd):
    """Closes a file of a daemon that is no more: close(2) tells so, and closes."""
    with contextlib.suppress(OSError):
        os.close(fd)


def check(lines, acks, path):
    words = run(lines, "check", "-a", acks, path, seconds=300).stdout.split()
    return {words[at].decode(): int(words[at + 1]) for at in range(0, len(words), 2)}


@pytest.mark.sanitize
def test_whole_lines_outlive_a_kill(mnt):
    topic = mnt.topic("t", partitions=3)
    for number in range(3):
        append(topic / str(number), b"line of %d\n" % number * 1000)
    mnt.crash()
    for number in range(3):
        assert read(topic / str(number)) == b"line of %d\n" % number * 1000
        assert xattr_int(topic / str(number), "records") == 1000
    append(topic / "1", b"after\n")
    assert read(topic / "1") == b"line of 1\n" * 1000 + b"after\n"


@pytest.mark.sanitize
def test_unfinished_lines_become_lines_of_their_own_exactly_once(mnt):
    topic = mnt.topic("t", partitions=2)
    fds = [os.open(topic / str(number % 2), os.O_WRONLY | os.O_APPEND) for number in range(10)]
    for number, fd in enumerate(fds):
        os.write(fd, b"whole %d\nhalf " % number)
        os.write(fd, b"%d" % number)
    mnt.expected.append("stale|dead|left")
    mnt.kill()
    for fd in fds:
        let_go(fd)
    mnt.start()
    for _ in range(3):
        for partition in range(2):
            got = read(topic / str(partition)).splitlines()
            numbers = range(partition, 10, 2)
            assert got[:5] == [b"whole %d" % number for number in numbers]
            assert sorted(got[5:]) == sorted(b"half %d" % number for number in numbers)
            assert xattr_int(topic / str(partition), "pending") == 0
        mnt.crash()


def test_an_ended_rest_is_not_ended_again(mnt):
    topic = mnt.topic("t")
    for number in range(50):
        append(topic / "0", b"rest %d" % number)
    mnt.crash()
    assert read(topic / "0") == b"".join(b"rest %d\n" % number for number in range(50))
    mnt.crash()
    assert read(topic / "0") == b"".join(b"rest %d\n" % number for number in range(50))


def test_a_dropped_rest_does_not_come_back(mnt):
    topic = mnt.topic("t", max_message_bytes=100)
    fd = os.open(topic / "0", os.O_WRONLY | os.O_APPEND)
    os.write(fd, b"x" * 90)
    try:
        os.write(fd, b"y" * 90)
        pytest.fail("a line of 180 bytes was taken")
    except OSError:
        pass
    mnt.crash()
    let_go(fd)
    assert read(topic / "0") == b""


def test_an_fsynced_rest_outlives_a_kill_once(mnt):
    topic = mnt.topic("t")
    fd = os.open(topic / "0", os.O_WRONLY | os.O_APPEND)
    os.write(fd, b"half a line")
    os.fsync(fd)
    os.write(fd, b" and more of it")
    mnt.crash()
    let_go(fd)
    assert read(topic / "0") == b"half a line and more of it\n"


def test_a_long_rest_outlives_a_kill(mnt):
    topic = mnt.topic("t")
    rest = b"".join(b"%06d " % number for number in range(100000))
    fd = os.open(topic / "0", os.O_WRONLY | os.O_APPEND)
    for at in range(0, len(rest), 9999):
        os.write(fd, rest[at:at + 9999])
    mnt.crash()
    let_go(fd)
    assert read(topic / "0") == rest + b"\n"


def test_old_handles_of_a_killed_daemon_fail_and_new_ones_work(mnt):
    topic = mnt.topic("t")
    append(topic / "0", b"before\n")
    writer, reader = os.open(topic / "0", os.O_WRONLY | os.O_APPEND), os.open(topic / "0", os.O_RDONLY)
    mnt.crash()
    for call in (lambda: os.write(writer, b"x\n"), lambda: os.read(reader, 10)):
        with pytest.raises(OSError):
            call()
    let_go(writer)
    let_go(reader)
    append(topic / "0", b"after\n")
    assert read(topic / "0") == b"before\nafter\n"


@pytest.mark.sanitize
def test_a_kill_under_load_loses_nothing_that_write_accepted(mnt, lines):
    topic = mnt.topic("t", partitions=2, segment_bytes="1MiB")
    acks = [mnt.base / "acks0", mnt.base / "acks1"]
    for partition in range(2):
        start_writers(mnt, lines, acks[partition], 0,
                      paths=[topic / str(partition), topic / f"{partition}@append"])
    wait_for(lambda: all(os.stat(topic / str(n)).st_size > 5 << 20 for n in range(2)), "some megabytes")
    wait_for(lambda: all(accepted(acks[n], range(10)) for n in range(2)), "a write of everybody")
    mnt.expected.append("stale|dead|left")
    mnt.kill()
    for child in mnt.children:
        child.wait(30)
    mnt.start()
    for partition in range(2):
        counts = check(lines, acks[partition], topic / str(partition))
        assert counts["writers"] == 10 and counts["lines"] > 1000
        before = read(topic / str(partition))
        mnt.crash()
        assert read(topic / str(partition)) == before


@pytest.mark.parametrize("end", ["SIGTERM", "umount", "SIGKILL"])
def test_a_loop_of_ends_under_load(mnt, lines, end):
    """Again and again, at moments that differ: writers of every kind, durable ones too, configuration changes,
    new topics. After each end everything accepted is there exactly once."""
    topic = mnt.topic("t", partitions=2, segment_bytes="256KiB")
    acks = [mnt.base / "acks0", mnt.base / "acks1"]
    chance = random.Random(7)
    mnt.expected.append("stale|dead|left")
    for round_number in range(max(3, int(8 * SCALE))):
        first = 100 * round_number
        for partition in range(2):
            path = topic / str(partition)
            start_writers(mnt, lines, acks[partition], first, paths=[path], options=["-r", 4000000])
            start_writers(mnt, lines, acks[partition], first + 50, paths=[topic / f"{partition}@append"],
                          chunks=["line", "torn"], options=["-s", "-r", 1000000])
        enough = os.stat(topic / "0").st_size + chance.randrange(1, 3 << 20)
        wait_for(lambda: os.stat(topic / "0").st_size > enough, "growth")
        everybody = [first + number for number in (0, 1, 2, 3, 4, 50, 51)]
        wait_for(lambda: all(accepted(each, everybody) for each in acks), "a write of everybody")
        end_daemon(mnt, end)
        mnt.start()
        for partition in range(2):
            check(lines, acks[partition], topic / str(partition))
    assert check(lines, acks[0], topic / "0")["writers"] == 7 * max(3, int(8 * SCALE))


def end_daemon(mnt, end):
    if end == "SIGKILL":
        mnt.kill()
        for child in mnt.children:
            child.wait(30)
    elif end == "SIGTERM":
        mnt.process.send_signal(signal.SIGTERM)
        for child in mnt.children:
            child.wait(30)
        mnt.wait_exit()
    else:
        run("umount", mnt.path, code=32)  # busy: the writers have it open
        for child in mnt.children:
            child.kill()
            child.wait(30)
        mnt.stop()
    mnt.end_children()


def test_sigterm_ends_unfinished_lines_and_answers_everybody(mnt):
    topic = mnt.topic("t")
    fd = os.open(topic / "0", os.O_WRONLY | os.O_APPEND)
    os.write(fd, b"whole\nunfinished")
    program = ("import fcntl, os, sys; fd = os.open(sys.argv[1], os.O_RDWR | os.O_APPEND)\n"
               "print('here', flush=True); fcntl.flock(fd, fcntl.LOCK_EX)")
    locked = mnt.spawn("flock", topic / "0", "sleep", 60)
    wait_for(lambda: run("flock", "-n", topic / "0", "true", code=None).returncode, "the lock")
    waiter = mnt.spawn("/usr/bin/python3", "-c", program, topic / "0", stdout=-1, stderr=-1)
    assert waiter.stdout.readline() == b"here\n"
    mnt.terminate()
    waiter.wait(10)  # answered, either way: it got the lock when its holder's file was ended, or an error
    locked.kill()
    let_go(fd)
    assert mnt.log_bytes("t") == b"whole\nunfinished\n"
    mnt.start()
    assert read(topic / "0") == b"whole\nunfinished\n"


def test_sigterm_leaves_no_mount_and_sigint_too(mnt):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        append(mnt.topic(f"t{number}") / "0", b"x\n")
        mnt.process.send_signal(number)
        mnt.wait_exit()
        assert os.listdir(mnt.path) == [], "still mounted"
        mnt.start()
        assert read(mnt / f"t{number}" / "0") == b"x\n"


def test_after_a_clean_end_everything_is_durable_and_nothing_is_recovered(mnt):
    topic = mnt.topic("t")
    append(topic / "0", b"x\n" * 1000)
    with opened(topic / "0") as fd:
        os.write(fd, b"rest")
    mnt.restart()
    assert xattr_int(topic / "0", "durable") == xattr_int(topic / "0", "end") == 2005
    assert "recover" not in mnt.said[-1].read_text()


def test_umount_is_refused_while_a_writer_is_busy_and_he_goes_on(mnt):
    topic = mnt.topic("t")
    with opened(topic / "0") as fd:
        os.write(fd, b"one\n")
        done = run("umount", mnt.path, code=32)
        assert b"busy" in done.stderr
        os.write(fd, b"two\n")
    mnt.restart()
    assert read(topic / "0") == b"one\ntwo\n"


def test_a_lazy_umount_lets_open_files_go_on_and_then_ends(mnt):
    topic = mnt.topic("t")
    fd = os.open(topic / "0", os.O_WRONLY | os.O_APPEND)
    os.write(fd, b"one\n")
    run("umount", "-l", mnt.path)
    os.write(fd, b"two\nrest")
    os.close(fd)
    mnt.wait_exit()
    mnt.start()
    assert read(topic / "0") == b"one\ntwo\nrest\n"


def test_topics_and_configuration_outlive_a_kill_at_once(mnt):
    """What mkdir, touch, rename, chmod and a close of .config acknowledged needs no fsync to outlive the daemon."""
    for number in range(30):
        topic = mnt.topic(f"t{number}", partitions=number % 5 + 1, max_message_bytes=1000 + number)
        os.chmod(topic, 0o700)
        os.rename(topic, mnt / f"r{number}")
    mnt.crash()
    assert sorted(os.listdir(mnt.path)) == sorted(f"r{number}" for number in range(30))
    for number in range(30):
        path = mnt / f"r{number}"
        assert sorted(os.listdir(path)) == [str(n) for n in range(number % 5 + 1)]
        assert f"max.message.bytes={1000 + number}".encode() in read(path / ".config")
        assert os.stat(path).st_mode & 0o777 == 0o700


def test_tail_f_of_a_killed_mount_ends_instead_of_hanging(mnt):
    topic = mnt.topic("t")
    append(topic / "0", b"x\n")
    tail = mnt.spawn("tail", "-f", topic / "0", stdout=-1, stderr=-1)
    assert tail.stdout.readline() == b"x\n"
    mnt.crash()
    tail.wait(20)


def test_a_kill_during_the_start_harms_nothing(mnt, lines):
    topic = mnt.topic("t", partitions=4, segment_bytes="64KiB")
    acks = [mnt.base / f"acks{number}" for number in range(4)]
    for number in range(4):
        start_writers(mnt, lines, acks[number], 0, paths=[topic / str(number)], options=["-r", 3000000])
    wait_for(lambda: all(os.stat(topic / str(n)).st_size > 1 << 20 for n in range(4)), "some megabytes")
    mnt.expected.append("stale|dead|left|recover")
    mnt.kill()
    for child in mnt.children:
        child.wait(30)
    chance = random.Random(11)
    for _ in range(int(20 * SCALE) + 5):
        daemon = mnt.launch()
        try:
            daemon.wait(chance.random() * 0.05)
        except Exception:  # still starting, as it should be
            pass
        mnt.kill()
    mnt.start()
    for number in range(4):
        assert check(lines, acks[number], topic / str(number))["writers"] == 5


@pytest.mark.sanitize
def test_a_torn_tail_of_the_log_is_cut_and_kept_beside_it(mnt):
    """What a power cut may leave: bytes in the .log that no entry knows and no newline ends."""
    topic = mnt.topic("t")
    append(topic / "0", b"whole\n" * 10)
    mnt.stop()
    log = sorted((mnt.store / "topics" / "t" / "0").glob("*.log"))[-1]
    with open(log, "ab") as file:
        file.write(b"torn line without an end")
    mnt.expected.append("torn|cut|beside|saved|unfinished|bytes")
    mnt.start()
    assert read(topic / "0") == b"whole\n" * 10
    append(topic / "0", b"next\n")
    assert read(topic / "0") == b"whole\n" * 10 + b"next\n"


def test_damage_in_the_middle_is_told_and_verify_finds_it(mnt):
    topic = mnt.topic("t", partitions=2)
    for _ in range(50):
        append(topic / "0", b"some line with enough bytes to be worth damaging\n" * 50)
    append(topic / "1", b"good\n")
    mnt.stop()
    log = sorted((mnt.store / "topics" / "t" / "0").glob("*.log"))[0]
    data = log.read_bytes()
    log.write_bytes(data[:5000] + bytes([data[5000] ^ 1]) + data[5001:])
    topicctl = build_path("tools", "topicctl")
    done = run(topicctl, "verify", mnt.store, code=1)
    said = (done.stdout + done.stderr).decode()
    assert f"t/0/{log.stem}" in said and "entry" in said and "t/1" not in said, said
    log.write_bytes(data)
    run(topicctl, "verify", mnt.store)
