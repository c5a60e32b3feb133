"""mnt/.at/now/ and mnt/.at/TIME/: the whole tree as it is, or was, at one instant."""

import datetime
import errno
import mmap
import os
import time

import pytest

import numbered
from harness import SCALE, append, as_user, fails, opened, read, run, sh, wait_for, xattr_int
from segments import SOON, Trimmer, fill, grown, produce, trim, wait_sealed


def tree(root):
    return {(topic, partition): read(os.path.join(root, topic, partition))
            for topic in os.listdir(root) for partition in os.listdir(os.path.join(root, topic))}


def moment(seconds):
    """A time, in whole seconds, as a name."""
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def two(mnt):
    """Two topics, of two partitions and one, some of it sealed."""
    topic = mnt.topic("a", partitions=2, **SOON)
    fill(topic / "0", 6000)
    append(topic / "1", b"short\n")
    append(mnt.topic("b") / "0", b"b's\n")
    wait_sealed(mnt, "a")
    return mnt


@pytest.mark.sanitize
def test_now_shows_what_is_there_and_nothing_that_comes(two):
    wanted = {("a", "0"): numbered.lines(0, 6000), ("a", "1"): b"short\n", ("b", "0"): b"b's\n"}
    assert os.listdir(two / ".at") == ["now"]
    with opened(two / ".at" / "now", os.O_RDONLY | os.O_DIRECTORY) as instant:
        assert sorted(os.listdir(two / ".at" / "now")) == ["a", "b"]
        append(two / "a" / "0", b"later\n")
        append(two / "b" / "0", b"later too\n")
        (two / "a" / "2").touch()
        two.topic("c")
        here = f"/proc/self/fd/{instant}"
        assert sorted(os.listdir(here)) == ["a", "b"] and sorted(os.listdir(f"{here}/a")) == ["0", "1"]
        assert tree(here) == wanted
        assert os.stat(f"{here}/a/0").st_size == len(wanted["a", "0"])
    assert read(two / "a" / "0").endswith(b"later\n")


def test_a_process_stays_in_its_instant_and_another_has_its_own(two):
    """The instant is that of a process's first look, for as long as it uses it."""
    assert read(two / ".at/now/b/0") == b"b's\n"
    append(two / "b" / "0", b"more\n")
    assert read(two / ".at/now/b/0") == b"b's\n"
    assert run("cat", two / ".at/now/b/0").stdout == b"b's\nmore\n"
    assert read(two / ".at/now/b/0") == b"b's\n"


def test_whoever_works_in_a_directory_stays_there_with_all_his_children(two):
    script = ('cd "$1/.at/now" && cat b/0 && echo more >> "$1/b/0" && cat b/0 && /bin/cat a/1 && find . -type f | sort '
              '&& sha256sum */* > "$2" && sha256sum -c "$2" --quiet && echo fine; cat "$1/b/0"')
    assert sh(script, two.path, two.base / "sums") == b"b's\nb's\nshort\n./a/0\n./a/1\n./b/0\nfine\nb's\nmore\n"


@pytest.mark.parametrize("script", [
    'find . -type f | sort | xargs sha256sum', 'find . -type f -size +1k',
    'tar -cf - --sort=name --mtime=@0 . | sha256sum',
    'ls -la | sed 1d | awk "{ print \\$NF }"', 'ls -1R', 'stat -c "%s %A %F %h %Y %n" */*', 'du -b --apparent-size */*',
    'cat */* | sha256sum', 'wc */*', 'grep -c fox a/0', 'tail -n 3 a/0', 'sha256sum */*; sha256sum */*',
    'rm -rf "$2/x"; rsync -a . "$2/x" && cd "$2/x" && stat -c "%s %Y %n" */* && sha256sum */*',
    'rm -rf "$2/x"; cp -a . "$2/x" && cd "$2/x" && stat -c "%s %Y %n" */* && sha256sum */*', 'tac b/0', 'head -n 2 a/0',
])
def test_programs_find_real_directories(two, script):
    """What a program prints of .at/now is what it prints of a copy of the mount."""
    same = two.base / "same"
    run("rsync", "-a", f"{two.path}/", f"{same}/")
    wanted = sh(f'cd "$1" && {script}', same, two.base)
    assert sh(f'cd "$1" && {script}', two / ".at/now", two.base) == wanted
    assert sh(f'cd "$1" && {script}', two / ".at/now/", two.base) == wanted


@pytest.mark.sanitize
def test_nothing_can_be_written(two):
    now = two / ".at" / "now"
    for call in (lambda: append(now / "b/0", b"x\n"), lambda: os.close(os.open(now / "b/0", os.O_RDWR)),
                 lambda: os.truncate(now / "b/0", 0), lambda: os.unlink(now / "b/0"), lambda: os.rmdir(now / "b"),
                 lambda: os.mkdir(now / "x"), lambda: os.rename(now / "b", now / "x"),
                 lambda: os.chmod(now / "b/0", 0o777),
                 lambda: os.chown(now / "b/0", 1, 1), lambda: os.utime(now / "b/0"), lambda: os.mkdir(now / "b" / "x"),
                 lambda: os.close(os.open(now / "b/7", os.O_WRONLY | os.O_CREAT)), lambda: os.mkdir(two / ".at" / "x"),
                 lambda: os.symlink("x", now / "b" / "x"), lambda: os.link(now / "b/0", now / "b" / "x"),
                 lambda: os.mkfifo(now / "b" / "x"), lambda: os.rmdir(now)):
        with fails(errno.EROFS):
            call()
    assert read(now / "b/0") == b"b's\n"


def test_hidden_names_are_not_in_there(two):
    now = two / ".at" / "now"
    for name in (".config", ".status", ".at", "c", "a/2", "a/.config", "a/.segments", "a/0@append", "a/x"):
        with fails(errno.ENOENT):
            os.stat(now / name)


def test_files_can_be_mapped_shared_as_they_never_change(two):
    with opened(two / ".at/now/a/0", os.O_RDONLY) as fd, mmap.mmap(fd, 0, mmap.MAP_SHARED, mmap.PROT_READ) as mapped:
        append(two / "a" / "0", numbered.lines(6000, 2000))
        trim(two / "a", 0, xattr_int(two / "a/0", "end"))
        assert mapped[:] == numbered.lines(0, 6000)


def test_what_is_open_is_pinned_across_trims_of_everything(two):
    end = xattr_int(two / "a/0", "end")
    with opened(two / ".at" / "now", os.O_RDONLY | os.O_DIRECTORY) as instant:
        assert os.stat("a/0", dir_fd=instant).st_size == end
        for _ in range(5):
            trim(two / "a", 0, xattr_int(two / "a/0", "end"))
            append(two / "a/0", numbered.lines(6000, 2000))
        for _ in range(2):
            assert read(f"/proc/self/fd/{instant}/a/0") == numbered.lines(0, 6000)
    assert read(two / "a/0") == numbered.lines(6000, 2000)
    # Whoever comes later has an instant of his own, and the pinned segments go when nobody uses the first any more.
    assert run("cat", two / ".at/now/a/0").stdout == numbered.lines(6000, 2000)
    directory = two.store / "topics/a/0"
    wait_for(lambda: min(int(path.stem) for path in directory.iterdir() if path.stem.isdigit()) >= end, "their end", 60)


def test_an_unfinished_line_is_not_in_there(two):
    with opened(two / "b/0") as fd:
        os.write(fd, b"whole\nhalf")
        assert run("cat", two / ".at/now/b/0").stdout == b"b's\nwhole\n"
        os.write(fd, b" more\n")
    assert run("cat", two / ".at/now/b/0").stdout == b"b's\nwhole\nhalf more\n"


@pytest.mark.sanitize
def test_one_instant_across_partitions_under_load(mnt):
    """Who writes n to A and then n to B: no instant holds B's n without A's n, nor A's without B's before it."""
    a, b = mnt.topic("a", partitions=3, **SOON) / "2", mnt.topic("b", **SOON) / "0"
    produce(mnt, a, b, rate=8000, batch=1)
    grown(b, 1000)
    script = 'cd "$1/.at/now" && wc -l < b/0 && wc -l < a/2'
    seen = set()
    for _ in range(int(25 * SCALE) + 5):
        in_b, in_a = map(int, sh(script, mnt.path).split())
        assert in_b <= in_a <= in_b + 1
        seen.add(in_a)
    assert len(seen) > 5
    with opened(mnt / ".at" / "now", os.O_RDONLY | os.O_DIRECTORY) as fd:
        for root in (f"/proc/self/fd/{fd}", mnt / ".at/now"):
            cut = tree(root)
            assert numbered.check(cut["b", "0"])[1] <= numbered.check(cut["a", "2"])[1]


def test_times_in_the_past(mnt):
    topic = mnt.topic("t", partitions=2)
    for path in (topic / "0", topic / "1"):
        append(path, b"first\n")
        with opened(path) as fd:
            os.fsync(fd)
    between = int(time.time() + 1.2)  # whole seconds are what names can say, and entries last a tenth of one
    wait_for(lambda: time.time() > between + 0.2, "the time")
    for path in (topic / "0", topic / "1"):
        append(path, b"second\n")
    name = moment(between)
    cut = mnt / ".at" / name
    assert read(cut / "t/0") == read(cut / "t/1") == b"first\n"
    assert run("sh", "-c", 'cat "$1"/t/*', "-", cut).stdout == b"first\nfirst\n"
    assert os.listdir(mnt / ".at") == ["now"]
    status = os.stat(cut / "t/0")
    assert status.st_size == 6 and status.st_mtime < between
    for long_ago in ("2000-01-01", "2000-01-01T12:00:00Z", "-300d", "-5w"):
        assert read(mnt / ".at" / long_ago / "t/0") == b""
    mnt.restart()
    assert read(cut / "t/0") == read(cut / "t/1") == b"first\n"
    append(topic / "0", b"third\n")
    assert read(cut / "t/0") == b"first\n"


@pytest.mark.parametrize("name", ["then", "2026-13-01", "2026-11-22T25:00:00Z", "-15", "-m", "15m", "r5", "end",
                                  "start", "@5", "Now", "now2", "2026-11-22x", "2999-01-01"])
def test_names_that_are_no_time_are_not_found(two, name):
    """Nor is there an instant that is still to come."""
    with fails(errno.ENOENT):
        os.stat(two / ".at" / name)


def test_instants_of_the_past_hold_together_under_load(mnt):
    a, b = mnt.topic("a", **SOON) / "0", mnt.topic("b", **SOON) / "0"
    produce(mnt, a, b, rate=5000, batch=1)
    began = time.time()
    wait_for(lambda: time.time() > int(began) + 4.2, "the time")
    times = [int(began) + second for second in range(5)]
    mnt.end_children()
    before = (0, 0)
    for when in times:
        cut = mnt / ".at" / moment(when)
        in_a, in_b = (numbered.check(read(cut / topic / "0"))[1] for topic in "ab")
        # To the precision of an index entry, a tenth of a second of each.
        assert abs(in_a - in_b) <= 5000 * 0.2, f"{in_a} in a, {in_b} in b"
        assert in_a >= before[0] and in_b >= before[1]
        before = in_a, in_b
    assert min(before) > 5000


def test_sha256sum_twice_under_load_and_trims(mnt):
    log = mnt.topic("t", **SOON) / "0"
    produce(mnt, log, rate=20000)
    grown(log, 400000)
    with Trimmer(log.parent, every=0.02) as trimmer:
        for _ in range(int(6 * SCALE) + 2):
            count = trimmer.count
            script = 'cd "$1/.at/now" && sha256sum t/0 && read -r && sha256sum t/0 && cat t/0'
            once = mnt.spawn("bash", "-c", script, "-", mnt.path, stdin=-1, stdout=-1)
            sum_before = once.stdout.readline()
            wait_for(lambda: trimmer.count > count + 3, "trims")
            out, _ = once.communicate(b"\n", timeout=30)
            sum_after, _, data = out.partition(b"\n")
            assert sum_before.strip() == sum_after
            numbered.check(data)


def test_others_see_in_there_what_they_see_outside(idle):
    idle.options = "allow_other"
    idle.start()
    append(idle.topic("open") / "0", b"x\n")
    append(idle.topic("closed") / "0", b"y\n")
    append(idle.topic("dir") / "0", b"z\n")
    os.chmod(idle / "closed" / "0", 0o600)
    os.chmod(idle / "dir", 0o700)
    now = idle / ".at" / "now"
    assert run(*as_user("cat", now / "open/0")).stdout == b"x\n"
    for name in ("closed/0", "dir/0"):
        assert b"Permission denied" in run(*as_user("cat", now / name), code=1).stderr
    assert os.stat(now / "closed/0").st_mode & 0o777 == 0o600
