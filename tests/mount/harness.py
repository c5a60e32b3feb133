"""A store, a mountpoint and the daemon between them, for tests on a real mount."""

import contextlib
import ctypes
import errno
import faulthandler
import json
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

SCALE = float(os.environ.get("TOPICFS_TEST_SCALE", "1"))
DISK = os.environ.get("TOPICFS_TEST_DIR", "/var/tmp")  # where stores are made: a disk, as tmpfs has no blocks
NOBODY = 65534
DEADLINE = 30

# What a daemon may say on stderr while all is well.
ORDINARY = re.compile(r"topicfs: .*(recovered|recovery|stale mount|new store|made a store|detached|\.config: refused)", re.I)

libc = ctypes.CDLL(None, use_errno=True)


def memory():
    """Where stores are made whose test is not about the disk: in memory, if there is a gibibyte of it."""
    there = os.path.isdir("/dev/shm") and shutil.disk_usage("/dev/shm").free >= 1 << 30
    return "/dev/shm" if there and "TOPICFS_TEST_DIR" not in os.environ else DISK


def build_path(*parts):
    build = os.environ.get("TOPICFS_BUILD")
    if not build:
        pytest.exit("TOPICFS_BUILD must name a meson build directory", 2)
    return Path(build).resolve().joinpath(*parts)


def wait_for(condition, what="the condition", seconds=DEADLINE):
    """Returns the first true value of `condition`, asked again and again until the deadline."""
    began = time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        passed = time.monotonic() - began
        if passed > seconds:
            pytest.fail(f"{what}: not within {seconds} s", pytrace=True)
        time.sleep(min(max(passed / 8, 0.0005), 0.02))  # what is soon is seen soon


def wait_end(process, seconds):
    """Waits for a process's end and returns its exit code, None when it still runs. Popen.wait() with a timeout asks
    twenty times a second."""
    if process.poll() is None:
        pidfd = os.pidfd_open(process.pid)
        try:
            ended = select.poll()
            ended.register(pidfd, select.POLLIN)
            if ended.poll(seconds * 1000):
                process.wait()
        finally:
            os.close(pidfd)
    return process.returncode


def run(*argv, code=0, seconds=60, **options):
    """Runs a program, checks its exit code (None: any), returns what subprocess.run does, output as bytes."""
    done = subprocess.run([as_word(word) for word in argv], capture_output=True, timeout=seconds, **options)
    if code is not None and done.returncode != code:
        pytest.fail(f"{' '.join(str(word) for word in argv)}: exit code {done.returncode}, not {code}\n"
                    f"{done.stdout.decode(errors='replace')}{done.stderr.decode(errors='replace')}")
    return done


def ctl(*argv, **options):
    """topicctl, as run() does it."""
    return run(build_path("tools", "topicctl"), *argv, **options)


def ctl_json(*argv, **options):
    return json.loads(ctl(*argv, "--json", **options).stdout)


def said(done):
    return done.stderr.decode()


def as_word(word):
    return word if isinstance(word, bytes) else str(word)


def sh(script, *args, **options):
    """Runs a bash script; $1... are the arguments. Returns its standard output."""
    return run("bash", "-c", script, "bash", *args, **options).stdout


def as_user(*argv, uid=NOBODY, gid=NOBODY):
    return ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", *argv]


@contextlib.contextmanager
def fails(*numbers):
    """The block must fail with an OSError of one of these numbers."""
    names = "/".join(errno.errorcode[number] for number in numbers)
    try:
        yield
    except OSError as error:
        assert error.errno in numbers, f"{errno.errorcode.get(error.errno, error.errno)} instead of {names}: {error}"
    else:
        pytest.fail(f"succeeded instead of {names}")


@contextlib.contextmanager
def opened(path, flags=os.O_WRONLY | os.O_APPEND, mode=0o666):
    fd = os.open(path, flags | os.O_CLOEXEC, mode)
    try:
        yield fd
    finally:
        os.close(fd)


def append(path, data):
    with opened(path) as fd:
        assert os.write(fd, data) == len(data)


def read(path):
    """All bytes of a file, by read(2) alone."""
    with opened(path, os.O_RDONLY) as fd:
        return read_fd(fd)


def read_fd(fd):
    pieces = []
    while piece := os.read(fd, 1 << 20):
        pieces.append(piece)
    return b"".join(pieces)


def xattr(path, name):
    return os.getxattr(path, f"user.topicfs.{name}").decode()


def xattr_int(path, name):
    return int(xattr(path, name))


def content(directory):
    """(start, bytes) of a partition as its files in the store say: raw where a segment is, else sealed."""
    paths = {}
    for path in sorted(directory.iterdir()):  # .log before .zst
        if path.stem.isdigit() and path.suffix in (".log", ".zst"):
            paths.setdefault(int(path.stem), path)
    start, end, pieces = min(paths, default=0), None, []
    for pos, path in sorted(paths.items()):
        piece = run("zstd", "-qdc", path).stdout if path.suffix == ".zst" else path.read_bytes()
        assert end in (None, pos), f"{path}: the segment before ends at {end}"
        end = pos + len(piece)
        pieces.append(piece)
    return start, b"".join(pieces)


class Mount:
    """One store and one mountpoint; at most one daemon at a time."""

    def __init__(self, base=None, options=""):
        self.base = Path(base or tempfile.mkdtemp(prefix="topicfs-test-", dir=DISK))
        self.base.chmod(0o755)
        self.store = self.base / "store"
        self.path = self.base / "mnt"
        self.path.mkdir()
        self.options = options
        self.process = None
        self.children = []
        self.said = []  # stderr files of all daemons
        self.heard = self.held = ""
        self.expected = []  # patterns of lines on stderr that the test provokes
        self.sound = True  # whether the store must verify at the end
        self.environment = dict(os.environ)
        self.prefix = []  # what the daemon is run by: setpriv, say

    # ---- the daemon --------------------------------------------------------------------------------

    def command(self, *, options=None, foreground=True):
        options = self.options if options is None else options
        argv = [*self.prefix, build_path("fs", "topicfs")]
        argv += ["-f"] if foreground else []
        argv += ["-o", options] if options else []
        return [str(word) for word in [*argv, self.store, self.path]]

    def launch(self, **options):
        """Starts the daemon and does not wait."""
        log = self.base / f"stderr.{len(self.said)}"
        self.said.append(log)
        with open(log, "wb") as stderr:
            self.process = subprocess.Popen(self.command(**options), stdin=subprocess.DEVNULL, stdout=stderr,
                                            stderr=stderr, env=self.environment, cwd="/")
        return self.process

    def start(self, **options):
        assert self.process is None
        self.launch(**options)
        wait_for(self.is_ready, "the mount", 60)
        return self

    def is_ready(self):
        if self.process.poll() is not None:
            code, self.process = self.process.returncode, None
            pytest.fail(f"the daemon ended with {code} instead of mounting:\n{self.stderr()}")
        return is_alive(self.path)

    def kill(self):
        """SIGKILL: what a crash of the daemon is to everybody else."""
        self.process.kill()
        assert wait_end(self.process, DEADLINE) is not None, "SIGKILL does not end the daemon"
        self.process = None

    def wait_exit(self, code=0):
        got = wait_end(self.process, 60)
        if got is None:
            self.process.kill()
            self.process.wait()
            self.process = None
            pytest.fail(f"the daemon does not end:\n{self.stderr()}")
        self.process = None
        assert code is None or got == code, f"the daemon ended with {got}:\n{self.stderr()}"

    def abort(self):
        """The watchdog's way out of a test that hangs; the test fails by what it then meets."""
        faulthandler.dump_traceback(all_threads=True)
        if self.process is not None:
            self.process.kill()

    def stop(self):
        """A clean unmount, as by umount(8), and the daemon's clean end."""
        unmount(self.path)
        self.wait_exit()

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)
        self.wait_exit()

    def restart(self):
        self.stop()
        return self.start()

    def crash(self):
        """SIGKILL and a new daemon; the stale mount is left for it to clean up."""
        self.expected.append(r"stale|no longer|not connected|left behind|dead")
        self.kill()
        return self.start()

    def stderr(self):
        """What all daemons of this test said; still known when its directory is gone."""
        if self.base.exists():
            self.heard = "".join(log.read_text(errors="replace") for log in self.said)
        return self.heard

    def files(self):
        """The store's files and their sizes; still known when its directory is gone."""
        if self.base.exists():
            lines = []
            for root, _, names in sorted(os.walk(self.store)):
                for name in sorted(names):
                    with contextlib.suppress(FileNotFoundError):
                        status = os.lstat(os.path.join(root, name))
                        lines.append(f"{status.st_size:12} {os.path.relpath(os.path.join(root, name), self.store)}\n")
            left_out = [f"... {len(lines) - 400} more ...\n"] if len(lines) > 400 else []
            self.held = "".join(lines[:200] + left_out + lines[200:][-200:])
        return self.held

    def odd_lines(self):
        allowed = [ORDINARY, *(re.compile(pattern, re.I) for pattern in self.expected)]
        return [line for line in self.stderr().splitlines() if not any(each.search(line) for each in allowed)]

    # ---- files -------------------------------------------------------------------------------------

    def __truediv__(self, name):
        return self.path / name

    def topic(self, name, partitions=1, **keys):
        """Makes a topic and sets keys of it (dots written as underscores)."""
        path = self.path / name
        path.mkdir()
        if partitions > 1:
            (path / str(partitions - 1)).touch()
        if keys:
            lines = "".join(f"{key.replace('_', '.')}={value}\n" for key, value in keys.items())
            append(path / ".config", lines.encode())
        return path

    def log_bytes(self, topic, partition=0):
        """The partition's bytes as they lie in the store."""
        return content(self.store / "topics" / topic / str(partition))[1]

    def spawn(self, *argv, **options):
        """A program in the background, killed at the end of the test if it still runs."""
        options.setdefault("stdin", subprocess.DEVNULL)
        child = subprocess.Popen([str(word) for word in argv], **options)
        self.children.append(child)
        return child

    # ---- the end of a test -------------------------------------------------------------------------

    def snapshot(self):
        """What the mount shows of each partition, where that is not too much to read, and the position it begins at."""
        shown = {}
        for topic in os.listdir(self.path):
            for partition in os.listdir(self.path / topic):
                path = self.path / topic / partition
                if os.stat(path).st_size <= 64 << 20 and os.access(path, os.R_OK):
                    with opened(path, os.O_RDONLY) as fd:
                        shown[topic, partition] = xattr_int(fd, "base"), read_fd(fd)
        return shown

    def finish(self):
        """Ends everything; the store must then hold what the mount showed, and verify as whole."""
        self.end_children()
        if self.process is not None and self.process.poll() is not None:
            code, self.process = self.process.returncode, None
            self.detach()
            pytest.fail(f"the daemon ended by itself with {code}:\n{self.stderr()}")
        if self.process is not None:
            shown = self.snapshot() if self.sound else {}
            self.stop()
            for (topic, partition), (base, data) in shown.items():
                start, kept = content(self.store / "topics" / topic / str(partition))
                gone = max(start - base, 0)  # trimmed since
                assert kept[max(base - start, 0):].startswith(data[gone:]), \
                    f"{topic}/{partition}: the log is not what the mount showed"
        if self.sound:
            self.verify()
        assert self.odd_lines() == [], "the daemon complained"

    def verify(self):
        topicctl = build_path("tools", "topicctl")
        if topicctl.exists() and self.store.exists():
            run(topicctl, "verify", self.store, seconds=300)

    def end_children(self):
        for child in self.children:
            if child.poll() is None:
                child.kill()
            assert wait_end(child, DEADLINE) is not None, f"SIGKILL does not end {child.args}"
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()
        self.children = []

    def detach(self):
        """Takes daemon and mount away, whatever state they are in."""
        self.end_children()
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        while is_mounted(self.path):
            subprocess.run(["umount", "-l", self.path], check=False)

    def clear(self):
        self.detach()
        self.stderr()
        self.files()
        remove(self.base)


@contextlib.contextmanager
def lifetime():
    """A Mount from its making to its checked end."""
    mount = Mount()
    # A test that hangs in a call on the mount can only be freed by the end of the daemon.
    watchdog = threading.Timer(120 * max(SCALE, 1), mount.abort)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield mount
        mount.finish()
    finally:
        watchdog.cancel()
        mount.clear()


removals = []


def remove(directory, most=4):
    """Removes a directory in the background: a disk takes its time to free blocks, and nobody waits for that."""
    removals.append(subprocess.Popen(["rm", "-rf", "--one-file-system", directory]))
    end_removals(most)


def end_removals(left=0):
    while len(removals) > left:
        removals.pop(0).wait()


def is_mounted(path):
    """Whether something is mounted there, alive or dead, without asking it."""
    wanted = str(path)
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        return any(line.split()[4] == wanted for line in table)


def is_alive(path):
    """Whether a mount is there and its daemon answers: statvfs(3) always asks it, stat(2) may not."""
    try:
        # A stale mount may be taken away in between, so what answers must be another filesystem.
        return is_mounted(path) and os.statvfs(path) is not None and os.stat(path).st_dev != os.stat(path.parent).st_dev
    except OSError:
        return False


def unmount(path):
    """Unmounts; EBUSY is given a moment, as the kernel closes files after their process has gone."""
    last = [None]

    def attempt():
        last[0] = subprocess.run(["umount", path], capture_output=True, check=False)
        return last[0].returncode == 0 or b"busy" not in last[0].stderr

    wait_for(attempt, "umount", 10)
    assert last[0].returncode == 0, last[0].stderr.decode()


class Image:
    """A small ext4 of its own, on a loop device; sparse, so it takes of its own disk only what is written."""

    def __init__(self, base, megabytes, name="disk", inodes=None):
        self.file = base / f"{name}.image"
        self.path = base / name
        self.path.mkdir()
        with open(self.file, "wb") as image:
            image.truncate(megabytes << 20)
        few = ["-N", inodes] if inodes else []
        run("mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", "-E", "lazy_itable_init=0", *few, self.file)
        self.mount()

    def mount(self):
        run("mount", "-o", "loop", self.file, self.path)

    def fill(self, leave=0):
        """Takes all free space but `leave` bytes with a file, which it returns."""
        path = self.path / "ballast"
        space = os.statvfs(self.path)
        with open(path, "ab") as ballast:
            slack = leave or 1 << 20  # the last blocks by writing: what a file system needs for itself is its secret
            os.posix_fallocate(ballast.fileno(), 0, max(space.f_bavail * space.f_bsize - slack, 1))
            chunk = 1 << 16
            while chunk >= 512 and not leave:
                try:
                    os.write(ballast.fileno(), b"\1" * chunk)
                except OSError as error:
                    assert error.errno == errno.ENOSPC
                    chunk //= 2
        return path

    def clear(self):
        while is_mounted(self.path):
            subprocess.run(["umount", "-l", self.path], check=False)


