"""The daemon as a program: how it starts, what it refuses and with which sentence, how it ends."""

import ctypes
import os
import shutil
import signal
import socket
import struct
import subprocess

import pytest

from harness import Mount, append, build_path, is_alive, is_mounted, read, run, unmount, wait_for, xattr_int

USAGE, FAILED = 2, 111


def topicfs(*argv, code, **options):
    """Runs a daemon that must not get as far as mounting; returns its one sentence."""
    done = run(build_path("fs", "topicfs"), *argv, code=code, seconds=30, **options)
    assert done.stdout == b""
    text = done.stderr.decode()
    assert text.endswith("\n")
    return text


def one_sentence(text):
    lines = text.splitlines()
    assert len(lines) == 1 and lines[0].startswith("topicfs: ") and not lines[0].endswith("."), text
    return lines[0]


def listing(path):
    return sorted((str(each.relative_to(path)), each.stat().st_size, each.stat().st_mtime_ns)
                  for each in path.rglob("*"))


@pytest.mark.sanitize
def test_a_store_is_made_where_the_directory_is_missing_or_empty(idle):
    idle.start()
    append(idle.topic("t") / "0", b"x\n")
    assert (idle.store / "id").is_file() and (idle.store / "topics" / "t").is_dir()
    idle.stop()
    shutil.rmtree(idle.store)
    idle.store.mkdir()
    idle.start()
    assert os.listdir(idle.path) == []


def test_help_and_version():
    done = run(build_path("fs", "topicfs"), "--help")
    assert b"STORE" in done.stdout and b"MOUNTPOINT" in done.stdout
    assert run(build_path("fs", "topicfs"), "--version").stdout.startswith(b"topicfs ")


@pytest.mark.parametrize("argv", [[], ["store"], ["store", "mnt", "more"], ["-Z", "store", "mnt"],
                                  ["-o", "nonsense", "store", "mnt"], ["-o"]])
def test_a_wrong_command_line_is_usage(idle, argv):
    text = topicfs(*(idle.base / word if word in ("store", "mnt") else word for word in argv), code=USAGE)
    assert "usage" in text.lower() or "topicfs: " in text
    assert not idle.store.exists()
    assert not is_mounted(idle.path)


def test_a_second_daemon_on_the_same_store_is_refused(mnt):
    append(mnt.topic("t") / "0", b"x\n")
    second = mnt.base / "second"
    second.mkdir()
    before = listing(mnt.store)
    sentence = one_sentence(topicfs("-f", mnt.store, second, code=FAILED))
    assert str(mnt.store) in sentence
    assert not is_mounted(second)
    assert listing(mnt.store) == before
    append(mnt / "t" / "0", b"y\n")
    assert read(mnt / "t" / "0") == b"x\ny\n"


@pytest.mark.parametrize("foreground", [True, False])
def test_what_is_not_a_store_is_refused_and_left_alone(idle, foreground):
    idle.store.mkdir()
    (idle.store / "precious").write_text("data")
    (idle.store / "topics").mkdir()
    before = listing(idle.store)
    sentence = one_sentence(topicfs(*(["-f"] if foreground else []), idle.store, idle.path, code=FAILED))
    assert str(idle.store) in sentence and "store" in sentence.replace(str(idle.store), "")
    assert listing(idle.store) == before
    assert not is_mounted(idle.path)
    shutil.rmtree(idle.store)


def test_a_store_that_is_a_file_is_refused(idle):
    idle.store.write_text("data")
    assert str(idle.store) in one_sentence(topicfs("-f", idle.store, idle.path, code=FAILED))
    assert idle.store.read_text() == "data"
    idle.store.unlink()


def test_a_store_whose_parent_is_missing_is_refused(idle):
    store = idle.base / "no" / "such" / "store"
    assert str(store) in one_sentence(topicfs("-f", store, idle.path, code=FAILED))
    assert not (idle.base / "no").exists()


def test_a_store_of_a_newer_format_is_refused(mnt):
    append(mnt.topic("t") / "0", b"x\n")
    mnt.stop()
    index = next((mnt.store / "topics" / "t" / "0").glob("*.idx"))
    good = index.read_bytes()
    newer = good[:4] + struct.pack("<I", 2) + good[8:56]
    index.write_bytes(newer + struct.pack("<Q", xxh3(newer)) + good[64:])
    before = listing(mnt.store / "topics")
    process = mnt.launch()
    wait_for(lambda: process.poll() is not None or is_alive(mnt.path), "an answer")
    # It refuses, or shows the partition as damaged and read-only: never as if nothing were, and nothing is changed.
    assert "newer" in mnt.stderr()
    mnt.expected.append("newer")
    if process.poll() is None:
        with pytest.raises(OSError):
            append(mnt / "t" / "0", b"y\n")
        mnt.stop()
    else:
        assert process.returncode == FAILED
        mnt.process = None
    assert listing(mnt.store / "topics") == before
    index.write_bytes(good)
    mnt.start()
    assert read(mnt / "t" / "0") == b"x\n"


def xxh3(data):
    xxhash = ctypes.CDLL("libxxhash.so.0")
    xxhash.XXH3_64bits_withSeed.restype = ctypes.c_uint64
    xxhash.XXH3_64bits_withSeed.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
    return xxhash.XXH3_64bits_withSeed(data, len(data), 0)


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_mountpoint_that_is_none_is_refused_before_the_store_is_made(idle, kind):
    idle.path.rmdir()
    if kind == "file":
        idle.path.write_text("data")
    sentence = one_sentence(topicfs("-f", idle.store, idle.path, code=FAILED))
    assert str(idle.path) in sentence
    assert not idle.store.exists(), "a store was made for nothing"


@pytest.mark.parametrize("foreground", [True, False])
def test_a_busy_mountpoint_is_refused(mnt, foreground):
    """Another topicfs is mounted there: it goes on, and the second store stays as it was."""
    append(mnt.topic("t") / "0", b"x\n")
    store = mnt.base / "second"
    sentence = one_sentence(topicfs(*(["-f"] if foreground else []), store, mnt.path, code=FAILED))
    assert str(mnt.path) in sentence
    assert not store.exists() or os.listdir(store) == []
    assert read(mnt / "t" / "0") == b"x\n"
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        assert sum(line.split()[4] == str(mnt.path) for line in table) == 1


def test_the_store_as_its_own_mountpoint_is_refused(idle):
    idle.store.mkdir()
    one_sentence(topicfs("-f", idle.store, idle.store, code=FAILED))
    assert not is_mounted(idle.store)
    idle.store.rmdir()  # still empty


@pytest.mark.sanitize
def test_a_stale_mount_is_cleaned_up_with_a_message(mnt):
    append(mnt.topic("t") / "0", b"x\n")
    mnt.kill()
    assert is_mounted(mnt.path)
    with pytest.raises(OSError):
        os.listdir(mnt.path)
    mnt.start()
    said = mnt.said[-1].read_text()
    assert str(mnt.path) in said
    mnt.expected.append(str(mnt.path))
    assert read(mnt / "t" / "0") == b"x\n"
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        assert sum(line.split()[4] == str(mnt.path) for line in table) == 1


def test_a_stale_mount_that_is_held_open_is_cleaned_up_too(mnt):
    append(mnt.topic("t") / "0", b"x\n")
    holder = mnt.spawn("tail", "-f", mnt / "t" / "0", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    inside = mnt.spawn("sleep", 60, cwd=mnt / "t")
    mnt.crash()
    assert read(mnt / "t" / "0") == b"x\n"
    for child in (holder, inside):
        child.kill()


def background_pids(store):
    pids = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as words:
                if os.fsencode(store) in words.read().split(b"\0"):
                    pids.append(int(pid))
        except OSError:
            pass
    return pids


def gone(store):
    """Waits for the end of the daemon in the background: its lock on the store goes with it."""
    run("flock", "-w", 30, store / "LOCK", "true")


@pytest.mark.sanitize
def test_in_the_background_it_returns_once_mounted(idle):
    run(*idle.command(foreground=False), cwd="/")
    try:
        assert is_mounted(idle.path), "it returned before the mount was there"
        append(idle.topic("t") / "0", b"x\n")
        pids = background_pids(idle.store)
        assert len(pids) == 1
        assert os.getsid(pids[0]) == pids[0], "not in a session of its own"
        assert os.readlink(f"/proc/{pids[0]}/cwd") == "/"
        for fd in range(3):
            assert os.readlink(f"/proc/{pids[0]}/fd/{fd}") == "/dev/null"
    finally:
        unmount(idle.path)
        gone(idle.store)
    assert idle.log_bytes("t") == b"x\n"


def test_in_the_background_relative_paths_work(idle):
    run(build_path("fs", "topicfs"), "store", "mnt", cwd=idle.base)
    try:
        append(idle.topic("t") / "0", b"x\n")
    finally:
        unmount(idle.path)
        gone(idle.store)
    assert idle.log_bytes("t") == b"x\n"


def test_sigterm_in_the_background_loses_nothing(idle):
    run(*idle.command(foreground=False), cwd="/")
    fd = os.open(idle.topic("t") / "0", os.O_WRONLY | os.O_APPEND)
    os.write(fd, b"whole\nrest")
    for pid in background_pids(idle.store):
        os.kill(pid, signal.SIGTERM)
    gone(idle.store)
    with pytest.raises(OSError):
        os.close(fd)
    wait_for(lambda: not is_mounted(idle.path), "the unmount")
    assert idle.log_bytes("t") == b"whole\nrest\n"


MOUNT_T = """
mount --bind "$3" /usr/local/sbin  # in this namespace: mount(8) runs topicfs from the system's directories only
mount -t fuse.topicfs "$1" "$2" -o allow_other,nosuid
mkdir "$2"/t
echo x >> "$2"/t/0
grep " $2 " /proc/self/mountinfo
umount "$2"
flock -w 30 "$1"/LOCK true
mount -t fuse.topicfs "$1" "$2" -o ro
cat "$2"/t/0
mkdir "$2"/u || echo refused
umount "$2"
"""


def test_mount_t_fuse_topicfs(idle):
    done = run("unshare", "-m", "bash", "-ec", MOUNT_T, "bash", idle.store, idle.path, build_path("fs"))
    entry, *rest = done.stdout.decode().splitlines()
    assert " fuse.topicfs " in entry and "allow_other" in entry and "nosuid" in entry and "default_permissions" in entry
    assert rest == ["x", "refused"]
    assert b"Read-only file system" in done.stderr


def test_mount_options_that_fstab_brings_are_accepted(idle):
    idle.options = "rw,noatime,nodev,noexec,nosuid"
    idle.start()
    append(idle.topic("t") / "0", b"x\n")


@pytest.mark.sanitize
def test_readiness_is_told_to_systemd(idle):
    address = str(idle.base / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(address)
        server.settimeout(30)
        idle.environment["NOTIFY_SOCKET"] = address
        idle.launch()
        lines = server.recv(4096).decode().splitlines()
        while "READY=1" not in lines:
            lines = server.recv(4096).decode().splitlines()
        assert is_mounted(idle.path), "READY=1 before the mount"
        idle.topic("t")
        idle.process.send_signal(signal.SIGTERM)
        said = []
        while "STOPPING=1" not in said:
            said = server.recv(4096).decode().splitlines()
        idle.wait_exit()


def test_in_the_foreground_it_stays_with_its_terminal(idle):
    idle.start()
    assert background_pids(idle.store) == [idle.process.pid]


def test_ten_mounts_of_ten_stores_at_once():
    mounts = [Mount() for _ in range(10)]
    try:
        for number, mount in enumerate(mounts):
            mount.start()
            append(mount.topic("t") / "0", b"store %d\n" % number)
        for number, mount in enumerate(mounts):
            assert read(mount / "t" / "0") == b"store %d\n" % number
            mount.finish()
    finally:
        for mount in mounts:
            mount.clear()


def test_a_copied_store_is_a_store(mnt):
    """A backup is mounted, its history whole, and it goes on; the original does not notice."""
    topic = mnt.topic("t", partitions=2)
    append(topic / "0", b"line\n" * 10000)
    append(topic / "1", b"other\n")
    mnt.stop()
    copy = Mount()
    try:
        run("cp", "-a", mnt.store, copy.store)
        copy.expected.append("copy|copied|clone|moved|adopt|another|inode")
        copy.start()
        assert read(copy / "t" / "0") == b"line\n" * 10000
        append(copy / "t" / "0", b"in the copy\n")
        assert xattr_int(copy / "t" / "0", "records") == 10001
        copy.finish()
    finally:
        copy.clear()
    mnt.start()
    assert read(topic / "0") == b"line\n" * 10000


def test_a_backup_taken_while_producing_holds_all_that_was_fsynced(mnt):
    topic = mnt.topic("t", segment_bytes="256KiB")
    append(topic / "0", b"synced line\n" * 50000)
    run("sync", topic / "0")
    producer = mnt.spawn("bash", "-c", 'while :; do echo "a line more"; done >> "$1"', "bash", topic / "0")
    copy = Mount()
    try:
        done = run("rsync", "-a", "--exclude=control", f"{mnt.store}/", f"{copy.store}/", code=None)
        assert done.returncode in (0, 24), done.stderr
        producer.kill()
        producer.wait()
        copy.expected.append(".")
        copy.start()
        got = read(copy / "t" / "0")
        assert got.startswith(b"synced line\n" * 50000)
        rest = got[len(b"synced line\n") * 50000:]
        assert set(rest.split(b"\n")) <= {b"a line more", b""}
        assert got.endswith(b"\n")
        copy.finish()
    finally:
        copy.clear()


def test_start_does_not_depend_on_the_bytes_stored(mnt):
    """Start after SIGKILL reads what lies past the last entry, not the log."""
    import time
    topic = mnt.topic("t", segment_bytes="8MiB")
    with open(topic / "0", "ab", buffering=0) as log:
        for _ in range(200):
            log.write(b"x" * 99 + b"\n" + b"y" * 1_000_000 + b"\n")
    mnt.expected.append("stale|dead|left")
    mnt.kill()
    started = time.monotonic()
    mnt.start()
    assert time.monotonic() - started < 2
    assert os.stat(topic / "0").st_size == 200 * 1_000_101


def test_many_partitions_with_few_descriptors(idle):
    idle.prefix = ["prlimit", "--nofile=256:256"]
    idle.start()
    for name in "abc":
        topic = idle.topic(name, partitions=400)
    for number in range(0, 400, 3):
        for name in "abc":
            append(idle / name / str(number), b"%d\n" % number)
    for number in range(0, 400, 3):
        for name in "abc":
            assert read(idle / name / str(number)) == b"%d\n" % number
    with open(topic / "0", "ab", buffering=0) as log:
        log.write(b"open for long\n")
        for number in range(400):
            append(topic / str(number), b"again\n")
        log.write(b"still\n")
    assert read(topic / "0") == b"0\nopen for long\nagain\nstill\n"
    idle.crash()
    assert read(topic / "0") == b"0\nopen for long\nagain\nstill\n"
    assert read(idle / "a" / "399") == b"399\n"
