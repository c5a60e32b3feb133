"""Segments as the tests see them: in the store, sealed or not, and trimmed through the mount."""

import errno
import fcntl
import os
import struct
import sys
import threading
from pathlib import Path

import numbered
from harness import append, build_path, opened, run, wait_for, xattr_int

TFS_IOC_TRIM = 3 << 30 | 24 << 16 | ord("t") << 8 | 3

# Keys with which a segment is sealed, and its raw files go, as soon as it is full.
SOON = {"segment_bytes": "64KiB", "flush_ms": "100ms", "seal_linger_ms": "0"}


def files(directory, suffix):
    """The segments' files of that kind in a partition's directory, by position."""
    found = {}
    for name in os.listdir(directory):
        stem, dot, kind = name.partition(".")
        if kind == suffix and dot and stem.isdigit():
            found[int(stem)] = Path(directory) / name
    return dict(sorted(found.items()))


def zstdcat(*paths):
    return run("zstd", "-qdc", *paths).stdout


def store_dir(mnt, topic="t", partition=0):
    return mnt.store / "topics" / topic / str(partition)


def sealed(mnt, topic="t", partition=0):
    """Positions of the sealed segments."""
    return list(files(store_dir(mnt, topic, partition), "zst"))


def raw(mnt, topic="t", partition=0):
    return list(files(store_dir(mnt, topic, partition), "log"))


def wait_sealed(mnt, topic="t", partition=0, alone=True):
    """Waits until all segments but the active one are sealed, and no raw file of them is there any more."""
    def done():
        ours, theirs = sealed(mnt, topic, partition), raw(mnt, topic, partition)
        if alone:
            return len(theirs) <= 1 and ours
        return len(ours) >= len(theirs) - 1 and ours
    return wait_for(done, "sealing", 60)


def trim(topic, partition, pos):
    """Trims through the mount; returns the new start."""
    fd = os.open(topic, os.O_RDONLY | os.O_DIRECTORY)
    try:
        answer = fcntl.ioctl(fd, TFS_IOC_TRIM, struct.pack("=iIQQ", partition, 0, pos, 0))
        return struct.unpack("=iIQQ", answer)[3]
    finally:
        os.close(fd)


def topicctl(*argv, code=0, **options):
    return run(build_path("tools", "topicctl"), *argv, code=code, **options)


def produce(mnt, *paths, first=0, rate=20000, batch=20, acks=None):
    """A producer of numbered lines in the background."""
    argv = [sys.executable, Path(numbered.__file__), "-f", first, "-r", rate, "-b", batch]
    argv += ["-s", acks] if acks else []
    return mnt.spawn(*argv, *paths)


def fill(path, count, first=0):
    """Appends that many numbered lines, in pieces of a fraction of a segment; returns the number of the next."""
    for number in range(first, first + count, 200):
        append(path, numbered.lines(number, min(200, first + count - number)))
    return first + count


def fill_up(path, count, batch=500):
    """Appends numbered lines until the disk is full; returns the number of the next."""
    with opened(path) as fd:
        while True:
            data = numbered.lines(count, batch)
            try:
                assert os.write(fd, data) == len(data)
            except OSError as error:
                assert error.errno == errno.ENOSPC, error
                return count
            count += batch


def grown(path, size):
    """Waits until that much was ever appended."""
    return wait_for(lambda: xattr_int(path, "end") >= size, f"{size} bytes in {path}", 60)


class Trimmer:
    """Trims a partition again and again, to what lies `keep` bytes before its end, while a with block runs."""

    def __init__(self, topic, partition=0, keep=256 << 10, every=0.05):
        self.topic, self.partition, self.keep, self.every = topic, partition, keep, every
        self.starts = [xattr_int(topic / str(partition), "start")]
        self.error = None
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.work)

    def work(self):
        try:
            while not self.ended.wait(self.every):
                end = xattr_int(self.topic / str(self.partition), "end")
                start = trim(self.topic, self.partition, max(end - self.keep, 0))
                assert start >= self.starts[-1]
                if start > self.starts[-1]:
                    self.starts.append(start)
        except Exception as error:  # told at the end of the block
            self.error = error

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, value, trace):
        self.ended.set()
        self.thread.join()
        if self.error is not None and kind is None:
            raise self.error

    @property
    def count(self):
        return len(self.starts) - 1
