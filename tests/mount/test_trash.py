"""What was deleted goes to the trash, can be looked at there, put back or removed for good."""

import errno
import json
import os
import time

import pytest

import numbered
from harness import append, as_user, build_path, fails, opened, read, run, sh, wait_for, xattr_int
from segments import SOON, files, fill, topicctl, wait_sealed, zstdcat

TEXT = numbered.lines(0, 5000)


def items(mnt):
    return json.loads(topicctl("trash", mnt.path, "--json").stdout)


def names(path):
    return sorted(os.listdir(path))


@pytest.fixture
def topic(mnt):
    """Three partitions: 0 empty, 1 with lines mostly sealed, 2 short; deletion allowed."""
    topic = mnt.topic("t", partitions=3, **SOON, delete_enable="true")
    fill(topic / "1", 5000)
    append(topic / "2", b"short\n")
    wait_sealed(mnt, partition=1)
    return topic


@pytest.mark.sanitize
def test_unlink_is_refused_by_default_and_allowed_by_the_key(mnt):
    topic = mnt.topic("t", partitions=2)
    append(topic / "0", b"x\n")
    for script in ('rm -f "$1"', 'rm -rf "$(dirname "$1")"', 'unlink "$1"'):
        assert b"not permitted" in run("bash", "-c", script, "-", topic / "0", code=1).stderr
    with fails(errno.ENOTEMPTY):
        os.rmdir(topic)
    assert read(topic / "0") == b"x\n" and items(mnt) == []
    (topic / "1").touch()
    append(topic / ".config", b"delete.enable=true\n")
    os.unlink(topic / "0")
    assert names(topic) == ["1"] and len(items(mnt)) == 1
    append(topic / "1", b"y\n")
    append(topic / ".config", b"delete.enable=false\n")
    with fails(errno.EPERM):
        os.unlink(topic / "1")


@pytest.mark.sanitize
def test_a_deleted_partition_is_restored_with_its_positions(mnt, topic):
    end = xattr_int(topic / "1", "end")
    run("rm", topic / "1")
    assert names(topic) == ["0", "2"]
    item, = items(mnt)
    assert (item["topic"], item["partition"]) == ("t", 1) and item["disk_bytes"] > 0
    assert abs(item["removed_ns"] / 1e9 - time.time()) < 60
    mnt.restart()
    assert items(mnt) == [item]
    topicctl("restore", mnt.path, item["item"])
    assert names(topic) == ["0", "1", "2"] and items(mnt) == []
    assert read(topic / "1") == TEXT
    assert (xattr_int(topic / "1", "start"), xattr_int(topic / "1", "end")) == (0, end)
    assert xattr_int(topic / "1", "records") == 5000
    append(topic / "1", numbered.lines(5000, 10))
    mnt.crash()
    assert numbered.check(read(topic / "1")) == (0, 5010)


def test_restore_over_something_new_is_refused(mnt, topic):
    run("rm", topic / "2")
    item, = items(mnt)
    (topic / "2").touch()
    assert xattr_int(topic / "2", "base") == 6
    done = topicctl("restore", mnt.path, item["item"], code=1)
    assert b"exist" in done.stderr or b"there" in done.stderr
    append(topic / "2", b"new\n")
    topicctl("restore", mnt.path, item["item"], code=1)
    assert read(topic / "2") == b"new\n" and items(mnt) == [item]
    topicctl("delete", mnt.path, "t/2", "--yes")
    assert len(items(mnt)) == 2
    topicctl("restore", mnt.path, "t/2")  # the one that was removed last
    assert read(topic / "2") == b"new\n" and xattr_int(topic / "2", "base") == 6


@pytest.mark.sanitize
def test_rm_r_takes_a_topic_and_all_of_it_can_be_had_back(mnt, topic):
    run("rm", "-r", topic)
    assert names(mnt.path) == []
    # rm(1) unlinks one after the other, so each partition that held records is an item of its own; then the topic.
    assert [item["partition"] for item in items(mnt)] == [1, 2, None]
    mnt.topic("t")
    append(mnt / "t" / "0", b"another topic of that name\n")
    for item in items(mnt):
        assert topicctl("restore", mnt.path, item["item"], code=None).returncode != 0
    assert read(mnt / "t" / "0") == b"another topic of that name\n"
    os.rename(mnt / "t", mnt / "other")
    for name in ("t", "t/1", "t/2"):
        topicctl("restore", mnt.path, name)
    assert read(topic / "1") == TEXT and read(topic / "2") == b"short\n" and items(mnt) == []
    assert b"delete.enable=true" in read(topic / ".config")


@pytest.mark.sanitize
def test_topicctl_delete_of_a_topic_and_its_way_back(mnt, topic):
    append(topic / ".config", b"delete.enable=false\nmax.message.bytes=5000\n")
    os.chmod(topic / "2", 0o640)
    config = read(topic / ".config")
    topicctl("delete", mnt.path, "t", "--yes")
    assert names(mnt.path) == []
    item, = items(mnt)
    assert (item["topic"], item["partition"]) == ("t", None)
    mnt.topic("t")
    topicctl("restore", mnt.path, "t", code=1)
    os.rmdir(mnt / "t")
    topicctl("restore", mnt.path, "t")
    assert names(topic) == ["0", "1", "2"] and read(topic / "1") == TEXT and read(topic / "2") == b"short\n"
    assert os.stat(topic / "2").st_mode & 0o777 == 0o640 and read(topic / ".config") == config
    mnt.restart()
    assert read(topic / "1") == TEXT and items(mnt) == []


def test_a_topic_with_dots_and_digits_is_not_taken_for_a_partition(mnt):
    for name, partitions in (("a", 5), ("a.3", 2), ("a.3.1", 1)):
        mnt.topic(name, partitions=partitions, delete_enable="true")
        append(mnt / name / str(partitions - 1), name.encode() + b"\n")
    append(mnt / "a" / "3", b"three\n")
    topicctl("delete", mnt.path, "a.3", "--yes")
    topicctl("delete", mnt.path, "a/3", "--yes")
    topicctl("delete", mnt.path, "a.3.1", "--yes")
    assert sorted((item["topic"], item["partition"]) for item in items(mnt)
                  if item["partition"] is None) == [("a.3", None), ("a.3.1", None)]
    mnt.restart()
    for name in ("a/3", "a.3.1", "a.3"):
        topicctl("restore", mnt.path, name)
    assert read(mnt / "a" / "3") == b"three\n" and read(mnt / "a.3" / "1") == b"a.3\n"
    assert read(mnt / "a.3.1" / "0") == b"a.3.1\n" and names(mnt.path) == ["a", "a.3", "a.3.1"]


def test_a_partition_is_not_restored_to_another_topic_of_that_name(mnt, topic):
    run("rm", topic / "2")
    item, = items(mnt)
    topicctl("delete", mnt.path, "t", "--yes")
    topicctl("restore", mnt.path, item["item"], code=1)
    mnt.topic("t", partitions=2)
    assert b"anew" in topicctl("restore", mnt.path, item["item"], code=None).stderr
    assert names(mnt / "t") == ["0", "1"]
    assert item in items(mnt)


@pytest.mark.sanitize
def test_positions_are_never_used_twice(mnt, topic):
    ends = [0]
    for turn in range(3):
        append(topic / "0", b"life %d\n" % turn)
        ends.append(xattr_int(topic / "0", "end"))
        run("rm", topic / "0")
        if turn == 1:
            mnt.crash()
        (topic / "0").touch()
        assert read(topic / "0") == b""
        for name in ("base", "start", "end"):
            assert xattr_int(topic / "0", name) == ends[-1]
    assert ends == [0, 7, 14, 21]
    mnt.restart()
    assert xattr_int(topic / "0", "end") == 21
    assert [item["partition"] for item in items(mnt)] == [0, 0, 0]


@pytest.mark.sanitize
def test_open_files_of_what_was_deleted(mnt, topic):
    """Reads go on while pinned, writes are ESTALE, unfinished lines are ended first."""
    with opened(topic / "1") as writer, opened(topic / "1", os.O_RDONLY) as reader, \
            opened(topic / "1@append") as door, opened(topic / "1", os.O_RDWR) as both:
        assert os.read(reader, 1000) == TEXT[:1000]
        os.write(writer, b"unfinished")
        run("rm", topic / "1")
        for fd in (writer, door):
            with fails(errno.ESTALE):
                os.write(fd, b"x\n")
        with fails(errno.ESTALE, errno.EPERM):
            os.write(both, b"x\n")
        data = b"".join(iter(lambda: os.read(reader, 65536), b""))
        assert TEXT[:1000] + data == TEXT + b"unfinished\n"
        assert os.fstat(reader).st_size == len(TEXT) + 11
        assert os.pread(both, 100, 5000) == TEXT[5000:5100]
        (topic / "1").touch()
        append(topic / "1", b"new\n")
        assert os.pread(reader, 100, 0) == TEXT[:100]
        with fails(errno.ESTALE):
            os.write(writer, b"still too late\n")
    assert read(topic / "1") == b"new\n"
    assert zstdcat_of(mnt, items(mnt)[0]["item"]) == TEXT + b"unfinished\n"


def test_a_tail_of_a_deleted_partition_does_not_hang_or_repeat(mnt, topic):
    tail = mnt.spawn("tail", "-F", "-s", "0.02", "-n", "+1", topic / "2", stdout=-1, stderr=-1)
    assert tail.stdout.readline() == b"short\n"
    run("rm", topic / "2")
    (topic / "2").touch()
    append(topic / "2", b"second life\n")
    assert tail.stdout.readline() == b"second life\n"


def zstdcat_of(mnt, item):
    """The bytes of a partition in the trash, as the mount shows them."""
    directory = mnt / ".trash" / item
    pieces = {**files(directory, "zst"), **files(directory, "log")}
    return b"".join(zstdcat(path) if path.suffix == ".zst" else read(path) for _, path in sorted(pieces.items()))


@pytest.mark.sanitize
def test_the_trash_is_a_directory_of_what_the_store_has(mnt, topic):
    run("rm", topic / "1")
    topicctl("delete", mnt.path, "t", "--yes")
    by_kind = {item["partition"]: item["item"] for item in items(mnt)}
    assert sorted(by_kind.values()) == names(mnt / ".trash")
    assert names(mnt.path) == []
    assert zstdcat_of(mnt, by_kind[1]) == TEXT
    for item in by_kind.values():
        theirs = mnt.store / "trash" / item
        wanted = sh('cd "$1" && find . -type f | sort | xargs sha256sum', theirs)
        assert sh('cd "$1" && find . -type f | sort | xargs sha256sum', mnt / ".trash" / item) == wanted
        run("rsync", "-a", "--mkpath", f"{mnt.path}/.trash/{item}/", f"{mnt.base}/copy/{item}/")
        assert sh('cd "$1" && find . -type f | sort | xargs sha256sum', mnt.base / "copy" / item) == wanted
    some = mnt / ".trash" / by_kind[None] / "2" / f"{0:020}.log"
    assert read(some) == b"short\n"
    for call in (lambda: append(some, b"x\n"), lambda: os.truncate(some, 0), lambda: os.mkdir(mnt / ".trash" / "x"),
                 lambda: os.rename(mnt / ".trash" / by_kind[1], mnt / "x"), lambda: os.chmod(some, 0o777),
                 lambda: os.close(os.open(mnt / ".trash" / "x", os.O_WRONLY | os.O_CREAT))):
        with fails(errno.EROFS, errno.EPERM, errno.EXDEV, errno.EBUSY, errno.EINVAL):
            call()
    for name in ("x", "..x", by_kind[1] + "x", by_kind[1] + "/x"):
        with fails(errno.ENOENT):
            os.stat(mnt / ".trash" / name)


@pytest.mark.parametrize("how", ["rm -r", "rmdir", "topicctl"])
def test_items_are_removed_for_good(mnt, topic, how):
    run("rm", topic / "1")
    topicctl("delete", mnt.path, "t", "--yes")
    first, second = (item["item"] for item in items(mnt))
    path = mnt / ".trash" / first
    if how == "rm -r":
        run("rm", "-r", path)
    elif how == "rmdir":
        os.rmdir(path)
    else:
        topicctl("discard", mnt.path, first)
    assert names(mnt / ".trash") == [second] and [item["item"] for item in items(mnt)] == [second]
    wait_for(lambda: names(mnt.store / "trash") == [second], "its end")
    topicctl("restore", mnt.path, first, code=1)
    topicctl("restore", mnt.path, second)
    assert names(mnt.path) == ["t"]


def test_what_has_been_long_enough_in_the_trash_goes(mnt):
    short = mnt.topic("short", delete_enable="true", trash_retention_ms="2s")
    never = mnt.topic("never", delete_enable="true", trash_retention_ms="0")
    ever = mnt.topic("ever", partitions=2, delete_enable="true", trash_retention_ms="-1")
    for topic in (short, never, ever):
        append(topic / "0", b"x\n")
    for topic in (short, ever):
        run("rm", topic / "0")
    gone_at = time.monotonic()
    assert sorted(item["topic"] for item in items(mnt)) == ["ever", "short"]
    run("rm", never / "0")
    wait_for(lambda: "never" not in {item["topic"] for item in items(mnt)}, "the end of what was not to stay")
    wait_for(lambda: "short" not in {item["topic"] for item in items(mnt)}, "the end of what was to stay 2 s")
    assert time.monotonic() - gone_at > 1.9
    assert [item["topic"] for item in items(mnt)] == ["ever"]
    wait_for(lambda: len(names(mnt.store / "trash")) == 1, "the files' end")
    mnt.restart()
    assert [item["topic"] for item in items(mnt)] == ["ever"]


def test_mv_install_and_tar_over_a_partition(mnt, topic):
    """By default refused, nothing lost; with the key the old is in the trash."""
    (mnt.base / "file").write_bytes(b"from outside\n")
    append(topic / ".config", b"delete.enable=false\n")
    for script in ('mv "$2" "$1"', 'install "$2" "$1"', 'tar -cf - -C "$(dirname "$2")" --transform s/file/1/ file | '
                   'tar -xf - -C "$(dirname "$1")"', 'cp --remove-destination "$2" "$1"'):
        assert run("bash", "-c", script, "-", topic / "1", mnt.base / "file", code=None).returncode != 0
        assert read(topic / "1") == TEXT and (mnt.base / "file").exists() and items(mnt) == []
    append(topic / ".config", b"delete.enable=true\n")
    run("install", mnt.base / "file", topic / "1")
    assert read(topic / "1") == b"from outside\n" and xattr_int(topic / "1", "base") == len(TEXT)
    assert len(items(mnt)) == 1 and zstdcat_of(mnt, items(mnt)[0]["item"]) == TEXT


def test_an_empty_partition_leaves_nothing_in_the_trash(mnt, topic):
    os.unlink(topic / "0")
    assert items(mnt) == []
    topicctl("restore", mnt.path, "t/0", code=1)


def test_who_may_not_administer_may_not_restore_or_discard(idle):
    idle.options = "allow_other"
    idle.start()
    append(idle.topic("t", delete_enable="true") / "0", b"x\n")
    run("rm", idle / "t" / "0")
    item, = items(idle)
    for command in ("restore", "discard"):
        done = run(*as_user(build_path("tools", "topicctl"), command, idle.path, item["item"]), code=None)
        assert done.returncode != 0 and b"ermission denied" in done.stderr, done.stderr
    assert run(*as_user("rmdir", idle / ".trash" / item["item"]), code=1).stderr
    assert items(idle) == [item]


def test_a_store_offline_knows_its_trash_too(mnt, topic):
    run("rm", topic / "1")
    item, = items(mnt)
    mnt.stop()
    assert [each["item"] for each in json.loads(topicctl("trash", mnt.store, "--json").stdout)] == [item["item"]]
    topicctl("restore", mnt.store, "t/1")
    mnt.start()
    assert read(topic / "1") == TEXT
