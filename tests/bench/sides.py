"""What is measured side by side: ext4 (or whatever the store lies on), a minimal FUSE filesystem, topicfs."""
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("TOPICFS_BUILD", CHECKOUT / "build-release")).resolve()
MIB = 1 << 20


class Wrong(Exception):
    """A measurement that did not measure what it says."""


def command(*words, cpu=None, **options):
    """Runs a program to its end, pinned to a CPU when one is given, and returns what it printed."""
    words = [str(word) for word in words]
    if cpu is not None:
        words = ["taskset", "-c", str(cpu)] + words
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=900, **options)
    if done.returncode:
        raise Wrong(f"{' '.join(words)}: exit status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def program(name):
    return BUILD / "tests/bench" / ("bench-" + name)


def until(condition, what, seconds=30):
    """Waits for a condition, with a deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Wrong(f"{what}: not within {seconds} s")
        time.sleep(0.002)


def evict(path):
    """Takes a file that no process has mapped out of the page cache."""
    command(program("consume"), "-e", path)


class Ext4:
    """The filesystem that the other two stand on, by itself."""

    def __init__(self, place):
        self.place = place / "files"
        self.place.mkdir()

    def pin(self, cpu):
        pass

    def fresh(self, name, _partitions=1):
        """Files for a new measurement: a function from a number to a path."""
        return lambda number, door="": self.place / f"{name}-{number}"

    def restart(self):
        pass

    def backing(self):
        return [path for path in self.place.rglob("*") if path.is_file()]

    def clear(self):
        for path in self.backing():
            path.unlink()

    def close(self):
        pass


class Mounted(Ext4):
    """A filesystem served by a daemon of ours. A subclass says how to start it."""

    def __init__(self, place):
        self.place = place / "store"
        self.mountpoint = place / "mnt"
        self.mountpoint.mkdir()
        self.daemon = None
        self.cpu = None
        self.start()

    def words(self):
        raise NotImplementedError

    def start(self):
        before = os.stat(self.mountpoint).st_dev
        began = time.perf_counter_ns()
        said = self.mountpoint.parent / "said"
        with open(said, "ab") as stderr:
            self.daemon = subprocess.Popen(self.words(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                           stderr=stderr)
        while os.stat(self.mountpoint).st_dev == before:
            if self.daemon.poll() is not None:
                raise Wrong(f"{self.words()[0]}: ended with {self.daemon.returncode} instead of mounting: "
                            + said.read_text(encoding="utf-8", errors="replace"))
            if time.perf_counter_ns() - began > 60e9:
                raise Wrong(f"{self.words()[0]}: did not mount within a minute")
            time.sleep(0.0002)
        took_ns = time.perf_counter_ns() - began
        if self.cpu is not None:
            self.pin(self.cpu)
        return took_ns

    def stop(self):
        command("fusermount3", "-u", self.mountpoint)
        self.daemon.wait(60)

    def restart(self):
        self.stop()
        self.start()

    def kill(self):
        """SIGKILL, and the dead mount cleared away."""
        self.daemon.send_signal(signal.SIGKILL)
        self.daemon.wait()
        command("fusermount3", "-u", self.mountpoint)

    def pin(self, cpu):
        self.cpu = cpu
        mask = cpu if cpu is not None else f"0-{os.cpu_count() - 1}"
        command("taskset", "-a", "-c", "-p", mask, self.daemon.pid)

    def close(self):
        if self.daemon and self.daemon.poll() is None:
            self.stop()


class Minimal(Mounted):
    def words(self):
        self.place.mkdir(exist_ok=True)
        return [program("minimal-fuse"), self.place, self.mountpoint, "-f"]

    def fresh(self, name, _partitions=1):
        return lambda number, door="": self.mountpoint / f"{name}-{number}"

    def clear(self):
        self.kill()
        super().clear()
        self.start()


class Topicfs(Mounted):
    def words(self):
        return [BUILD / "fs/topicfs", "-f", self.place, self.mountpoint]

    def fresh(self, name, partitions=1):
        topic = self.mountpoint / name
        topic.mkdir()
        if partitions > 1:
            (topic / str(partitions - 1)).touch()
        return lambda number, door="": topic / f"{number}{door}"

    def clear(self):
        self.kill()  # a clean end would write to the disk what is thrown away next
        shutil.rmtree(self.place)
        self.start()

    def open_files(self):
        return len(os.listdir(f"/proc/{self.daemon.pid}/fd"))

    def cpu_seconds(self):
        """What the daemon has used so far."""
        fields = Path(f"/proc/{self.daemon.pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_anon_kib(self):
        status = Path(f"/proc/{self.daemon.pid}/status").read_text(encoding="utf-8")
        return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1])
