"""Backups while four writers produce, of the mount, of one instant, of the store, again and again; and their way back.

Whatever is acknowledged (fsync) before a backup begins is in it; all of it is whole lines, none missing between."""

import contextlib
import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest

import numbered
from harness import DISK, SCALE, Mount, append, opened, read, run, wait_for, xattr_int
from numbered import position
from segments import SOON, Trimmer, files, fill, grown, produce, raw, sealed, store_dir, topicctl, trim, wait_sealed

ROUNDS = max(3, int(5 * SCALE))
SEALING = {**SOON, "seal_linger_ms": "1h"}


@contextlib.contextmanager
def serving(store, *expected):
    """A mount of that store, a copy of another one; checked at the end."""
    mount = Mount(tempfile.mkdtemp(prefix="topicfs-test-", dir=DISK))
    mount.store = store
    mount.expected += [r"cop(y|ied)|moved|adopt|clone", *expected]
    try:
        mount.start()
        yield mount
        mount.finish()
    finally:
        mount.clear()


class Writers:
    """Four producers of numbered lines, each fsyncing what it wrote, to partitions of two topics."""

    def __init__(self, mnt, rate=3000, **keys):
        topics = [mnt.topic(name, partitions=2, **keys) for name in ("a", "b")]
        self.paths = [topic / str(number) for topic in topics for number in (0, 1)]
        self.acks = [mnt.base / f"acks{number}" for number in range(4)]
        self.rate = rate
        self.mnt = mnt
        self.children = []

    def go(self):
        for path, acks in zip(self.paths, self.acks):
            self.children.append(produce(self.mnt, path, rate=self.rate, batch=20, acks=acks,
                                         first=numbered.check(read(path))[1] if os.stat(path).st_size else 0))
        wait_for(lambda: all(count > 0 for count in self.durable()), "a line of everybody")
        return self

    def stop(self):
        for child in self.children:
            assert child.poll() is None, "a writer ended by itself"
            child.kill()
            child.wait()
        self.children = []

    def durable(self):
        return [numbered.acknowledged(acks) for acks in self.acks]

    def starts(self):
        return [xattr_int(path, "start") for path in self.paths]

    def check(self, root, durable, starts=(0, 0, 0, 0)):
        """The partitions below `root` hold what was durable, from no later than the starts on."""
        for path, count, start in zip(self.paths, durable, starts):
            name = f"{path.parent.name}/{path.name}"
            first, last = numbered.check(read(Path(root) / name), name)
            assert last >= count, f"{name}: {count} lines were durable before, {last} are there"
            assert position(first) <= start, f"{name} begins with line {first}"


def rsync(*argv, vanished=False):
    done = run("rsync", *argv, code=None, seconds=120)
    assert done.returncode in ((0, 24) if vanished else (0,)), done.stderr.decode()
    return done


def literal(done):
    """Bytes that rsync sent as data."""
    return int(re.search(rb"Literal data: ([\d,]+)", done.stdout)[1].replace(b",", b""))


# ---- (a) and (b): the mount ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["", ".at/now/"])
def test_a_backup_of_the_mount_in_a_loop(mnt, source):
    """Incrementally, across seals and trims."""
    writers = Writers(mnt, **SOON).go()
    copy = mnt.base / "copy"
    with Trimmer(writers.paths[0].parent, 0, keep=512 << 10):
        for _ in range(ROUNDS):
            durable = writers.durable()
            rsync("-a", f"{mnt.path}/{source}", f"{copy}/")
            writers.check(copy, durable, writers.starts())
            wait_for(lambda: min(now - then for now, then in zip(writers.durable(), durable)) > 1000, "more lines")
    assert sorted(os.listdir(copy)) == ["a", "b"] and sorted(os.listdir(copy / "a")) == ["0", "1"]
    writers.stop()
    rsync("-a", f"{mnt.path}/{source}", f"{copy}/")
    for path in writers.paths:
        assert (copy / path.parent.name / path.name).read_bytes() == read(path)
    assert rsync("-ai", f"{mnt.path}/{source}", f"{copy}/").stdout == b""


def test_a_backup_of_an_instant_is_of_one_instant(mnt):
    """A writer puts n into A, then n into B: no copy holds B's n without A's n."""
    a, b = mnt.topic("a", **SOON) / "0", mnt.topic("b", **SOON) / "0"
    produce(mnt, a, b, rate=4000, batch=1)
    grown(b, 10000)
    copy = mnt.base / "copy"
    for _ in range(ROUNDS):
        rsync("-a", f"{mnt.path}/.at/now/", f"{copy}/")
        in_a, in_b = (numbered.check((copy / topic / "0").read_bytes())[1] for topic in "ab")
        assert in_b <= in_a <= in_b + 1
        grown(b, xattr_int(b, "end") + 20000)


@pytest.mark.parametrize("source", ["", ".at/now/"])
def test_a_second_rsync_of_the_mount_moves_only_what_is_new(mnt, source):
    """By delta, which also knows again what a trim has shifted."""
    topic, copy = mnt.topic("t", **SOON), mnt.base / "copy"
    fill(topic / "0", 30000)
    whole = literal(rsync("-a", "--no-whole-file", "--stats", f"{mnt.path}/{source}", f"{copy}/"))
    assert whole == position(30000)
    append(topic / "0", numbered.lines(30000, 1000))
    moved = literal(rsync("-a", "--no-whole-file", "--stats", f"{mnt.path}/{source}", f"{copy}/"))
    assert moved <= len(numbered.lines(30000, 1000)) + 4096, moved
    start = trim(topic, 0, position(10000))
    append(topic / "0", numbered.lines(31000, 1000))
    moved = literal(rsync("-a", "--no-whole-file", "--stats", f"{mnt.path}/{source}", f"{copy}/"))
    assert moved <= len(numbered.lines(31000, 1000)) + 8192, moved
    assert (copy / "t" / "0").read_bytes() == numbered.lines(0, 32000)[start:]


def test_restore_into_an_empty_mount_topic_by_topic(mnt):
    """Twelve partitions, of which one holds nothing, from a backup of an instant; times are kept, so that a second
    rsync finds nothing to do."""
    topic, copy = mnt.topic("twelve", partitions=12, **SOON), mnt.base / "copy"
    for number in range(12):
        if number != 7:
            fill(topic / str(number), 500 * (number + 1))
    os.chmod(topic / "3", 0o640)
    wait_sealed(mnt, "twelve", 11)
    rsync("-a", f"{mnt.path}/.at/now/", f"{copy}/")
    with serving(mnt.base / "fresh", "new store") as fresh:
        rsync("-a", "--inplace", f"{copy}/twelve/", f"{fresh.path}/twelve/")
        assert sorted(map(int, os.listdir(fresh / "twelve"))) == list(range(12))
        for number in range(12):
            name = str(number)
            assert read(fresh / "twelve" / name) == read(topic / name)
            assert os.stat(fresh / "twelve" / name).st_mode == os.stat(topic / name).st_mode
            assert os.stat(fresh / "twelve" / name).st_mtime_ns == os.stat(copy / "twelve" / name).st_mtime_ns
        again = rsync("-ai", "--inplace", f"{copy}/twelve/", f"{fresh.path}/twelve/").stdout.decode().splitlines()
        assert [line for line in again if not line.startswith(".d..t")] == []
        append(fresh / "twelve" / "7", b"alive\n")


def test_restore_of_a_trimmed_partition_begins_at_zero(mnt):
    topic, copy = mnt.topic("t", **SOON), mnt.base / "copy"
    append(topic / "0", numbered.lines(0, 2000))
    append(topic / "0", numbered.lines(2000, 2000))
    trim(topic, 0, position(2000))
    rsync("-a", f"{mnt.path}/", f"{copy}/")
    with serving(mnt.base / "fresh", "new store") as fresh:
        rsync("-a", "--inplace", f"{copy}/t/", f"{fresh.path}/t/")
        assert xattr_int(fresh / "t" / "0", "start") == 0
        assert read(fresh / "t" / "0") == read(topic / "0")


# ---- (c): the store -----------------------------------------------------------------------------------------------


def examine(mnt, writers, copy, durable, starts):
    """A copy of the copy is verified and served: topicctl has nothing to say that is not true, and all that was durable
    is there."""
    served = mnt.base / "served"
    run("cp", "-a", copy, served)
    done = topicctl("verify", served, code=None)
    assert done.returncode == 0, done.stdout + done.stderr
    with serving(served, "torn|cut|beside|recover|index|unfinished") as fresh:
        writers.check(fresh.path, durable, starts)
        for path in writers.paths:
            name = fresh / path.parent.name / path.name
            first, last = numbered.check(read(name))
            assert xattr_int(name, "start") == position(first) and xattr_int(name, "end") == position(last)
            assert xattr_int(name, "records") == last - first
            append(name, numbered.lines(last, 5))
    shutil.rmtree(served)


def test_a_backup_of_the_store_in_a_loop_across_seals(mnt):
    writers, copy = Writers(mnt, **SEALING).go(), mnt.base / "copy"
    for turn in range(ROUNDS):
        durable = writers.durable()
        rsync("-a", f"{mnt.store}/", f"{copy}/", vanished=True)
        examine(mnt, writers, copy, durable, [0, 0, 0, 0])
        wait_for(lambda: min(now - then for now, then in zip(writers.durable(), durable)) > 2000, "more lines")
        if turn == 0:
            mnt.expected.append("stale|left")
            durable_then = writers.durable()
            mnt.kill()
            for child in writers.children:
                child.wait()
            writers.children = []
            mnt.start()
            writers.check(mnt.path, durable_then)
            writers.go()
    assert sum(len(files(copy / "topics" / topic / number, "zst")) for topic in "ab" for number in "01") > 4
    writers.stop()


def test_a_backup_of_the_store_in_a_loop_across_trims(mnt):
    """With --delete, so that what was trimmed leaves the copy, too."""
    writers, copy = Writers(mnt, **SEALING).go(), mnt.base / "copy"
    with Trimmer(writers.paths[0].parent, 0, keep=400 << 10, every=0.3), \
            Trimmer(writers.paths[3].parent, 1, keep=400 << 10, every=0.3):
        wait_for(lambda: min(writers.starts()[0], writers.starts()[3]) > 0, "trims")
        for _ in range(ROUNDS):
            durable = writers.durable()
            rsync("-a", "--delete", f"{mnt.store}/", f"{copy}/", vanished=True)
            examine(mnt, writers, copy, durable, writers.starts())
            wait_for(lambda: min(now - then for now, then in zip(writers.durable(), durable)) > 2000, "more lines")
    writers.stop()


def test_a_copy_of_the_store_made_before_and_while_raw_files_go(mnt):
    """A segment is sealed after rsync listed the directory: the raw file is there for it, as long as it lingers."""
    topic, copy = mnt.topic("t", **SEALING), mnt.base / "copy"
    fill(topic / "0", 5000)
    with opened(topic / "0", os.O_RDONLY) as fd:
        os.fsync(fd)
    listed = sorted(os.listdir(store_dir(mnt)))
    copy.mkdir()
    rsync("-a", "--exclude=topics", f"{mnt.store}/", f"{copy}/")
    (copy / "topics/t/0").mkdir(parents=True)
    wait_sealed(mnt, alone=False)
    for name in listed:  # as rsync would: those of its list, in its order, with what they hold by now
        if (store_dir(mnt) / name).exists():
            shutil.copy2(store_dir(mnt) / name, copy / "topics/t/0" / name)
    for name in ("topic.conf", "attr", "id"):
        if (mnt.store / "topics/t" / name).exists():
            shutil.copy2(mnt.store / "topics/t" / name, copy / "topics/t" / name)
    topicctl("verify", copy)
    with serving(copy, "recover|index") as fresh:
        assert numbered.check(read(fresh / "t/0")) == (0, 5000)


@pytest.mark.sanitize
def test_a_hole_between_segments_is_told_and_never_joined(mnt):
    topic, copy = mnt.topic("t", **SOON), mnt.base / "copy"
    fill(topic / "0", 8000)
    append(mnt.topic("whole") / "0", b"x\n")
    wait_sealed(mnt)
    rsync("-a", f"{mnt.store}/", f"{copy}/")
    segments = files(copy / "topics/t/0", "zst")
    gone = sorted(segments)[3]
    segments[gone].unlink()
    done = topicctl("verify", copy, code=1)
    assert re.search(rb"hole|missing|%d" % gone, done.stdout + done.stderr) and b"whole" not in done.stderr
    with serving(copy, "hole|missing|damage|segment|recover|index") as fresh:
        fresh.sound = False
        assert re.search("hole|missing", fresh.stderr()), fresh.stderr()
        assert b"t/0" in read(fresh / ".status")
        text = numbered.lines(0, 8000)
        with opened(fresh / "t/0", os.O_RDONLY) as fd:
            base = xattr_int(fd, "base")
            at, size = 0, os.fstat(fd).st_size
            while at < size:
                try:
                    got = os.pread(fd, 65536, at)
                except OSError as error:
                    assert error.errno == 5, error
                    at += 4096
                    continue
                assert got and got == text[base + at:base + at + len(got)], "joined"
                at += len(got)
        assert read(fresh / "whole/0") == b"x\n"
        append(fresh / "whole/0", b"y\n")


def test_a_second_rsync_of_the_store_moves_only_what_is_new(mnt):
    topic, copy = mnt.topic("t", **SOON), mnt.base / "copy"
    fill(topic / "0", 60000)
    wait_sealed(mnt)
    with opened(topic / "0", os.O_RDONLY) as fd:
        os.fsync(fd)
    rsync("-a", f"{mnt.store}/", f"{copy}/")
    fill(topic / "0", 6000, 60000)
    new = numbered.lines(60000, 6000)
    wait_for(lambda: len(raw(mnt)) == 1 and sealed(mnt)[-1] > position(60000), "sealing")
    with opened(topic / "0", os.O_RDONLY) as fd:
        os.fsync(fd)
    done = rsync("-a", "--no-whole-file", "--stats", f"{mnt.store}/", f"{copy}/")
    # The new bytes lie in the journal and in their segments, and there is the checkpoint.
    assert literal(done) < 2.5 * len(new) + 65536, f"{literal(done)} bytes for {len(new)} new ones"
    again = rsync("-ai", f"{mnt.store}/", f"{copy}/").stdout.decode().splitlines()
    assert [line for line in again if "topics/" in line and line.startswith(">f")] == []


# ---- moved and copied stores --------------------------------------------------------------------------------------


def store_id(mnt):
    return re.search(rb"[0-9a-f]{8}-[0-9a-f-]{27}", read(mnt / ".status"))[0]


def told(mount):
    return [line for line in mount.stderr().splitlines() if re.search("cop(y|ied)|moved|adopt", line)]


@pytest.mark.sanitize
@pytest.mark.parametrize("command", ["adopt", "clone"])
def test_a_copy_is_told_apart_until_somebody_says_what_it_is(mnt, command):
    append(mnt.topic("t") / "0", b"x\n")
    original = store_id(mnt)
    done = topicctl(command, mnt.store, code=None)
    assert done.returncode == 111, "a store in use"
    mnt.stop()
    copy = mnt.base / "copy"
    run("cp", "-a", mnt.store, copy)
    for _ in range(2):
        with serving(copy) as fresh:
            assert told(fresh) and "topicctl" in fresh.stderr()
            assert store_id(fresh) == original and read(fresh / "t/0").startswith(b"x\n")
    topicctl(command, copy)
    for _ in range(2):
        with serving(copy) as fresh:
            assert told(fresh) == []
            assert (store_id(fresh) == original) == (command == "adopt")
            append(fresh / "t/0", b"more\n")
    mnt.start()
    assert told(mnt) == [] and store_id(mnt) == original and read(mnt / "t/0") == b"x\n"


def test_adopt_and_clone_refuse_what_is_no_store(mnt):
    (mnt.base / "empty").mkdir()
    for command in ("adopt", "clone"):
        for path in (mnt.base / "empty", mnt.base / "none", mnt.path):
            assert topicctl(command, path, code=None).returncode in (1, 2, 111)
    assert os.listdir(mnt.base / "empty") == []


def test_a_store_moved_within_its_disk_is_the_same(mnt):
    append(mnt.topic("t") / "0", b"x\n")
    original = store_id(mnt)
    mnt.stop()
    os.rename(mnt.store, mnt.base / "elsewhere")
    mnt.store = mnt.base / "elsewhere"
    mnt.start()
    assert told(mnt) == [] and store_id(mnt) == original and read(mnt / "t/0") == b"x\n"
