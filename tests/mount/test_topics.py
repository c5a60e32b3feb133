"""Topics and partitions as directories and files: DESIGN 1.1, the rows from mkdir to link."""

import errno
import os
import stat

import pytest

from harness import append, fails, opened, read, run, sh, xattr_int


def names(path):
    return sorted(os.listdir(path))


@pytest.mark.sanitize
def test_mkdir_makes_a_topic_with_partition_0(mnt):
    (mnt / "orders").mkdir()
    assert names(mnt.path) == ["orders"]
    assert names(mnt / "orders") == ["0"]
    facts = os.stat(mnt / "orders" / "0")
    assert stat.S_ISREG(facts.st_mode) and facts.st_size == 0
    assert stat.S_ISDIR(os.stat(mnt / "orders").st_mode)
    assert (mnt.store / "topics" / "orders" / "topic.conf").is_file()


@pytest.mark.parametrize("name", ["a", "0", "A.b_c-9", "x" * 249, "-dash", "_", "a..b"])
def test_mkdir_accepts_every_name_the_rule_allows(mnt, name):
    os.mkdir(mnt.path / name)
    append(mnt.path / name / "0", b"kept\n")
    mnt.restart()
    assert names(mnt.path) == [name]
    assert read(mnt.path / name / "0") == b"kept\n"


@pytest.mark.parametrize("name, error", [
    ("a b", errno.EINVAL), ("ä", errno.EINVAL), ("a:b", errno.EINVAL), ("a@b", errno.EINVAL),
    ("a,b", errno.EINVAL), ("a\n", errno.EINVAL), ("a\\b", errno.EINVAL), ("a\x7f", errno.EINVAL),
    (".hidden", errno.EINVAL), ("..x", errno.EINVAL), ("@end", errno.EINVAL), ("a*", errno.EINVAL),
    ("x" * 250, errno.ENAMETOOLONG), ("x" * 255, errno.ENAMETOOLONG), ("x" * 1000, errno.ENAMETOOLONG),
    ("taken", errno.EEXIST), (".config", errno.EEXIST), (".status", errno.EEXIST),
])
def test_mkdir_refuses(mnt, name, error):
    (mnt / "taken").mkdir()
    with fails(error):
        os.mkdir(mnt.path / name)
    assert names(mnt.path) == ["taken"]


def test_mkdir_gives_as_many_partitions_as_the_root_config_says(mnt):
    append(mnt / ".config", b"partitions=3\n")
    (mnt / "three").mkdir()
    assert names(mnt / "three") == ["0", "1", "2"]
    mnt.restart()
    assert names(mnt / "three") == ["0", "1", "2"]
    (mnt / "again").mkdir()
    assert names(mnt / "again") == ["0", "1", "2"]


@pytest.mark.sanitize
def test_touch_adds_a_partition_and_every_missing_one_below(mnt):
    topic = mnt.topic("t")
    sh('touch "$1"/3', topic)
    assert names(topic) == ["0", "1", "2", "3"]
    append(topic / "2", b"in two\n")
    mnt.restart()
    assert names(topic) == ["0", "1", "2", "3"]
    assert read(topic / "2") == b"in two\n"


def test_touch_respects_partitions_max(mnt):
    topic = mnt.topic("t", partitions_max=4)
    (topic / "3").touch()
    with fails(errno.EINVAL):
        (topic / "4").touch()
    assert names(topic) == ["0", "1", "2", "3"]


def test_touch_makes_at_most_1024_partitions_by_default(mnt):
    topic = mnt.topic("t")
    with fails(errno.EINVAL):
        (topic / "1024").touch()
    assert names(topic) == ["0"]
    (topic / "1023").touch()
    assert sorted(map(int, os.listdir(topic))) == list(range(1024))
    append(topic / "777", b"one of many\n")
    assert read(topic / "777") == b"one of many\n"


@pytest.mark.parametrize("name", ["a.txt", ".0.Xa3f", "03", "-1", "+1", "1 ", "0x1", "1.0", "99999999999999999999",
                                  "18446744073709551616", "4294967296", "٣", ".config2"])
def test_creating_any_other_name_in_a_topic_is_refused(mnt, name):
    topic = mnt.topic("t")
    with fails(errno.EINVAL):
        os.close(os.open(topic / name, os.O_CREAT | os.O_WRONLY))
    with fails(errno.ENOENT):
        os.stat(topic / name)
    assert names(topic) == ["0"]


def test_creating_a_file_beside_the_topics_is_refused(mnt):
    with fails(errno.EINVAL, errno.EPERM):
        os.close(os.open(mnt / "file", os.O_CREAT | os.O_WRONLY))
    assert names(mnt.path) == []


def test_creating_exclusively_what_exists_is_refused(mnt):
    topic = mnt.topic("t")
    with fails(errno.EEXIST):
        os.open(topic / "0", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    fd = os.open(topic / "1", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.write(fd, b"new\n")
    os.close(fd)
    assert read(topic / "1") == b"new\n"


def test_a_created_partition_has_the_mode_and_owner_of_its_creator(mnt):
    topic = mnt.topic("t")
    os.umask(0o027)
    try:
        os.close(os.open(topic / "1", os.O_CREAT | os.O_WRONLY, 0o666))
    finally:
        os.umask(0o022)
    assert stat.S_IMODE(os.stat(topic / "1").st_mode) == 0o640


def test_names_that_do_not_exist_are_not_found(mnt):
    topic = mnt.topic("t")
    for name in ["1", "x", "00", "0@", "0@nonsense", "@", "@nonsense", "7@append", "x@append", "0@append.", ".nothing",
                 ".configs", "0@append@append"]:
        with fails(errno.ENOENT):
            os.stat(topic / name)
        with fails(errno.ENOENT):
            os.open(topic / name, os.O_RDONLY)
    for name in ["nope", ".nothing", "t@append", "0"]:
        with fails(errno.ENOENT):
            os.stat(mnt / name)


def test_rmdir_removes_a_topic_without_records(mnt):
    topic = mnt.topic("t", partitions=4)
    topic.rmdir()
    assert names(mnt.path) == []
    with fails(errno.ENOENT):
        os.stat(topic / "0")
    mnt.restart()
    assert names(mnt.path) == []


@pytest.mark.parametrize("partition", ["0", "2"])
def test_rmdir_refuses_a_topic_with_records(mnt, partition):
    topic = mnt.topic("t", partitions=3)
    append(topic / partition, b"precious\n")
    with fails(errno.ENOTEMPTY):
        topic.rmdir()
    assert read(topic / partition) == b"precious\n"


def test_rmdir_refuses_a_topic_with_an_unfinished_line(mnt):
    topic = mnt.topic("t")
    with opened(topic / "0") as fd:
        os.write(fd, b"not yet a line")
        with fails(errno.ENOTEMPTY):
            topic.rmdir()
    assert read(topic / "0") == b"not yet a line\n"


def test_a_topic_made_again_is_another_topic_and_empty(mnt):
    topic = mnt.topic("t", partitions=2, max_message_bytes="100")
    before = os.stat(topic / "0").st_ino
    topic.rmdir()
    topic.mkdir()
    assert names(topic) == ["0"]
    assert b"max.message.bytes" not in read(topic / ".config")
    assert os.stat(topic / "0").st_ino != before


def test_rm_r_cannot_take_a_history(mnt):
    topic = mnt.topic("t", partitions=2)
    append(topic / "0", b"precious\n")
    done = run("rm", "-rf", topic, code=1)
    assert b"Operation not permitted" in done.stderr or b"not empty" in done.stderr
    assert read(topic / "0") == b"precious\n"


def test_rename_of_a_topic_takes_everything_along(mnt):
    topic = mnt.topic("old", partitions=2, max_message_bytes="1000")
    append(topic / "1", b"one\n")
    inode = os.stat(topic / "1").st_ino
    with opened(topic / "1") as writer, opened(topic / "1", os.O_RDONLY) as reader:
        os.write(writer, b"half ")
        os.rename(topic, mnt / "new")
        os.write(writer, b"whole\n")
        assert os.read(reader, 100) == b"one\nhalf whole\n"
    assert names(mnt.path) == ["new"]
    with fails(errno.ENOENT):
        os.stat(topic)
    append(mnt / "new" / "1", b"two\n")
    mnt.restart()
    assert names(mnt.path) == ["new"]
    assert read(mnt / "new" / "1") == b"one\nhalf whole\ntwo\n"
    assert b"max.message.bytes=1000" in read(mnt / "new" / ".config")
    assert os.stat(mnt / "new" / "1").st_ino == inode


@pytest.mark.parametrize("name, error", [
    ("taken", errno.ENOTEMPTY), ("a b", errno.EINVAL), (".hidden", errno.EINVAL), ("x" * 250, errno.ENAMETOOLONG)])
def test_rename_of_a_topic_refuses(mnt, name, error):
    topic = mnt.topic("t")
    append(topic / "0", b"mine\n")
    append(mnt.topic("taken") / "0", b"other\n")
    with fails(error):
        os.rename(topic, mnt.path / name)
    assert read(topic / "0") == b"mine\n"
    assert read(mnt / "taken" / "0") == b"other\n"


def test_mv_renames_a_topic_but_not_into_another(mnt):
    append(mnt.topic("a") / "0", b"in a\n")
    mnt.topic("b")
    run("mv", mnt / "a", mnt / "c")
    done = run("mv", mnt / "c", mnt / "b", code=1)
    assert b"not permitted" in done.stderr
    assert names(mnt.path) == ["b", "c"]
    assert read(mnt / "c" / "0") == b"in a\n"


def test_calls_that_make_no_sense_in_a_topic_are_refused(mnt):
    topic = mnt.topic("t", partitions=2)
    append(topic / "0", b"kept\n")
    calls = {
        "rename": lambda: os.rename(topic / "0", topic / "2"),
        "rename over": lambda: os.rename(topic / "0", topic / "1"),
        "rename out": lambda: os.rename(topic / "0", mnt / "u"),
        "mkdir": lambda: os.mkdir(topic / "5"),
        "mkdir by name": lambda: os.mkdir(topic / "dir"),
        "link": lambda: os.link(topic / "0", topic / "2"),
        "symlink": lambda: os.symlink("0", topic / "2"),
        "symlink at the root": lambda: os.symlink("t", mnt / "u"),
        "mkfifo": lambda: os.mkfifo(topic / "2"),
        "mknod": lambda: os.mknod(topic / "2", stat.S_IFCHR | 0o600, os.makedev(1, 3)),
        "mkfifo at the root": lambda: os.mkfifo(mnt / "u"),
    }
    for name, call in calls.items():
        try:
            call()
        except OSError as error:
            assert error.errno == errno.EPERM, f"{name}: {error}"
        else:
            pytest.fail(f"{name} succeeded")
    assert names(topic) == ["0", "1"]
    assert names(mnt.path) == ["t"]
    assert read(topic / "0") == b"kept\n"


def test_unlink_refuses_a_partition_with_records(mnt):
    topic = mnt.topic("t", partitions=2)
    append(topic / "1", b"precious\n")
    with fails(errno.EPERM):
        os.unlink(topic / "1")
    assert read(topic / "1") == b"precious\n"


def test_unlink_refuses_a_partition_with_an_unfinished_line(mnt):
    topic = mnt.topic("t")
    with opened(topic / "0") as fd:
        os.write(fd, b"coming")
        with fails(errno.EPERM):
            os.unlink(topic / "0")
        os.write(fd, b" soon\n")
    assert read(topic / "0") == b"coming soon\n"


def test_unlink_removes_an_empty_partition_and_touch_brings_it_back(mnt):
    topic = mnt.topic("t", partitions=3)
    os.unlink(topic / "1")
    assert names(topic) == ["0", "2"]
    with fails(errno.ENOENT):
        os.stat(topic / "1")
    mnt.restart()
    assert names(topic) == ["0", "2"]
    (topic / "1").touch()
    append(topic / "1", b"back\n")
    assert names(topic) == ["0", "1", "2"]
    assert read(topic / "1") == b"back\n"


@pytest.mark.sanitize
def test_unlink_with_delete_enable_moves_to_the_trash_and_never_uses_a_position_twice(mnt):
    topic = mnt.topic("t", partitions=2, delete_enable="true")
    append(topic / "1", b"first life\n")
    end = xattr_int(topic / "1", "end")
    os.unlink(topic / "1")
    assert names(topic) == ["0"]
    trash = [path for path in (mnt.store / "trash").rglob("*.log") if b"first life\n" in path.read_bytes()]
    assert len(trash) == 1, "the deleted records are not in the trash"
    (topic / "1").touch()
    assert read(topic / "1") == b""
    assert xattr_int(topic / "1", "base") == xattr_int(topic / "1", "end") == end == len(b"first life\n")
    append(topic / "1", b"second life\n")
    mnt.restart()
    assert read(topic / "1") == b"second life\n"
    assert xattr_int(topic / "1", "base") == end
    assert os.stat(topic / "1").st_size == len(b"second life\n")


def test_open_handles_of_a_deleted_partition(mnt):
    topic = mnt.topic("t", delete_enable="true")
    append(topic / "0", b"before\n")
    with opened(topic / "0") as writer, opened(topic / "0", os.O_RDONLY) as reader:
        os.write(writer, b"unfinished")
        os.unlink(topic / "0")
        with fails(errno.ESTALE):
            os.write(writer, b"too late\n")
        assert os.read(reader, 100) == b"before\nunfinished\n", "unfinished lines are ended first, readers go on"
    (topic / "0").touch()
    assert read(topic / "0") == b""


def test_partitions_keep_apart(mnt):
    topic = mnt.topic("t", partitions=12)
    for number in range(12):
        append(topic / str(number), b"line of %d\n" % number * (number + 1))
    for number in range(12):
        assert read(topic / str(number)) == b"line of %d\n" % number * (number + 1)


def test_readdir_is_whole_for_many_topics(mnt):
    wanted = [f"topic-{number:04d}" for number in range(600)]
    for name in wanted:
        os.mkdir(mnt / name)
    assert names(mnt.path) == wanted
    done = run("find", mnt.path, "-type", "f")
    assert len(done.stdout.splitlines()) == 600
