"""Hidden names: .config, .offsets, .status and 0@append. DESIGN 1.3."""

import errno
import os
import re
import time

import pytest

from harness import append, as_user, build_path, fails, opened, read, run, sh, wait_for, xattr, xattr_int

HIDDEN_IN_TOPIC = [".config", ".offsets", "0@append"]
HIDDEN_AT_ROOT = [".config", ".status"]


@pytest.fixture
def topic(mnt):
    return mnt.topic("t", partitions=3)


def keys(path):
    """The keys that are set, comments left out."""
    lines = [line.split("#")[0].strip() for line in read(path / ".config").decode().splitlines()]
    return dict(line.split("=", 1) for line in lines if "=" in line)


# ---- never listed -------------------------------------------------------------------------------------------


@pytest.mark.sanitize
def test_hidden_names_resolve_and_never_show(mnt, topic, tmp_path):
    append(topic / "0", b"shown\n")
    for name in HIDDEN_IN_TOPIC:
        os.stat(topic / name)
    for name in HIDDEN_AT_ROOT:
        os.stat(mnt / name)
    assert sorted(os.listdir(topic)) == ["0", "1", "2"]
    assert os.listdir(mnt.path) == ["t"]
    assert run("ls", "-A", topic).stdout.split() == [b"0", b"1", b"2"]
    assert run("ls", "-A", mnt.path).stdout.split() == [b"t"]
    found = run("find", mnt.path, "-mindepth", 1, "-printf", "%P\n").stdout.split()
    assert sorted(found) == [b"t", b"t/0", b"t/1", b"t/2"]
    assert sorted(sh('tar c -C "$1" . | tar t', mnt.path).split()) == [b"./", b"./t/", b"./t/0", b"./t/1", b"./t/2"]
    run("rsync", "-a", f"{mnt.path}/", tmp_path / "copy")
    assert sorted(path.name for path in (tmp_path / "copy" / "t").iterdir()) == ["0", "1", "2"]
    assert run("grep", "-r", "shown", mnt.path).stdout == b"%s:shown\n" % os.fsencode(topic / "0")


# ---- .config ------------------------------------------------------------------------------------------------


@pytest.mark.sanitize
def test_config_append_sets_keys_and_keeps_the_others(topic):
    sh('echo max.message.bytes=1000 >> "$1"; echo segment.bytes=1MiB >> "$1"', topic / ".config")
    assert keys(topic) == {"max.message.bytes": "1000", "segment.bytes": "1MiB"}
    sh('echo max.message.bytes=2000 >> "$1"', topic / ".config")
    assert keys(topic) == {"max.message.bytes": "2000", "segment.bytes": "1MiB"}
    assert xattr(topic / "0", "max.message.bytes") in ("2000", "2000B")


def test_config_truncating_write_replaces_the_whole(topic):
    sh('printf "max.message.bytes=1000\nsegment.bytes=1MiB\n" > "$1"', topic / ".config")
    sh('echo quota.bytes=5000 > "$1"', topic / ".config")
    assert keys(topic) == {"quota.bytes": "5000"}
    assert xattr(topic / "0", "max.message.bytes") == "1MiB"


def test_config_keeps_comments_and_order(mnt, topic):
    text = b"# why it is short\nmax.message.bytes=1000\n\n# and this\nsegment.bytes=1MiB\n"
    sh('printf "%s" "$2" > "$1"', topic / ".config", text)
    assert read(topic / ".config") == text
    append(topic / ".config", b"max.message.bytes=3000\n")
    assert read(topic / ".config") == text.replace(b"=1000", b"=3000")
    append(topic / ".config", b"# a new comment\nflush.ms=1s\n")
    assert read(topic / ".config").startswith(text.replace(b"=1000", b"=3000"))
    assert keys(topic)["flush.ms"] == "1s"
    before = read(topic / ".config")
    mnt.restart()
    assert read(topic / ".config") == before


@pytest.mark.parametrize("line", [
    b"nonsense=1\n", b"max.message.bytes=\n", b"max.message.bytes=abc\n", b"max.message.bytes=-5\n",
    b"max.message.bytes\n", b"=5\n", b"message.format=xml\n", b"delete.enable=perhaps\n", b"segment.bytes=1\n",
    b"max.message.bytes=10000000000000000000000\n", b"cleanup.policy=compact\n", b"quota.bytes=1000\nnonsense=1\n",
    b"nonsense=1\nquota.bytes=1000\n", b"max.message.bytes=5 apples\n", b"\0=1\n",
])
@pytest.mark.parametrize("how", ["append", "replace"])
def test_config_refuses_a_bad_line_and_changes_nothing(topic, line, how):
    append(topic / ".config", b"# mine\nsegment.bytes=1MiB\n")
    before = read(topic / ".config")
    flags = os.O_WRONLY | (os.O_APPEND if how == "append" else os.O_TRUNC)
    with opened(topic / ".config", flags) as fd, fails(errno.EINVAL):
        os.write(fd, line)
    assert read(topic / ".config") == before
    assert xattr(topic / "0", "quota.bytes") == "-1"


def test_config_a_handle_with_a_refused_write_changes_nothing_at_all(topic):
    """What a handle wrote takes effect as one, so half of a faulty script does not."""
    with opened(topic / ".config") as fd:
        os.write(fd, b"quota.bytes=1000\n")
        with fails(errno.EINVAL):
            os.write(fd, b"nonsense=1\n")
    assert keys(topic) == {}
    append(topic / ".config", b"quota.bytes=2000\n")
    assert keys(topic) == {"quota.bytes": "2000"}


def test_config_o_trunc_alone_changes_nothing(topic):
    append(topic / ".config", b"quota.bytes=1000\n")
    sh(': > "$1"', topic / ".config")
    assert keys(topic) == {"quota.bytes": "1000"}
    run("truncate", "-s", "0", topic / ".config", code=None)
    assert keys(topic) == {"quota.bytes": "1000"}


def test_config_takes_effect_as_one_before_close_returns(topic):
    with opened(topic / ".config") as fd:
        os.write(fd, b"quota.bytes=1000\n")
        os.write(fd, b"max.message.bytes=50\n")
        assert xattr(topic / "0", "quota.bytes") == "-1", "took effect before the close"
        assert xattr(topic / "0", "max.message.bytes") == "1MiB"
    with opened(topic / "0") as fd, fails(errno.EMSGSIZE):
        os.write(fd, b"x" * 60 + b"\n")
    assert keys(topic) == {"quota.bytes": "1000", "max.message.bytes": "50"}


def test_config_values_take_units(topic):
    for written, shown in [(b"64KiB", "64KiB"), (b"65536", "64KiB"), (b"1MiB", "1MiB"), (b"1GiB", "1GiB")]:
        append(topic / ".config", b"segment.bytes=%s\n" % written)
        assert xattr(topic / "0", "segment.bytes") == shown
    for written, shown in [(b"1s", "1s"), (b"60000", "1m"), (b"24h", "1d"), (b"7d", "7d")]:
        append(topic / ".config", b"segment.ms=%s\n" % written)
        assert xattr(topic / "0", "segment.ms") == shown


def test_config_of_the_root_is_inherited_until_a_topic_says_otherwise(mnt, topic):
    append(mnt / ".config", b"max.message.bytes=100\n")
    other = mnt.topic("u", max_message_bytes="200")
    for path, limit in [(topic, 100), (other, 200)]:
        with opened(path / "0") as fd:
            assert os.write(fd, b"x" * (limit - 1) + b"\n") == limit
            with fails(errno.EMSGSIZE):
                os.write(fd, b"x" * limit + b"\n")
    mnt.restart()
    assert xattr(topic / "0", "max.message.bytes") in ("100", "100B")
    assert keys(mnt.path) == {"max.message.bytes": "100"}


def test_config_in_one_topic_leaves_others_alone(mnt, topic):
    other = mnt.topic("u")
    append(topic / ".config", b"quota.bytes=10\n")
    assert xattr(other / "0", "quota.bytes") == "-1"
    append(other / "0", b"more than ten bytes\n")


def test_config_cannot_be_removed_or_renamed(mnt, topic):
    append(topic / ".config", b"quota.bytes=1000\n")
    for call in (lambda: os.unlink(topic / ".config"), lambda: os.rename(topic / ".config", topic / "5"),
                 lambda: os.unlink(topic / ".offsets"), lambda: os.unlink(mnt / ".status"),
                 lambda: os.unlink(topic / "0@append")):
        with fails(errno.EPERM):
            call()
    assert keys(topic) == {"quota.bytes": "1000"}


def test_config_of_a_hundred_writers_at_once_keeps_one_of_each(mnt, topic):
    shells = [mnt.spawn("bash", "-c", 'for i in {1..20}; do echo "$2=$((RANDOM + 100000))" >> "$1"; done', "bash",
                        topic / ".config", key)
              for key in ("quota.bytes", "segment.bytes", "max.message.bytes", "flush.bytes")]
    assert [shell.wait(60) for shell in shells] == [0] * 4
    assert sorted(keys(topic)) == ["flush.bytes", "max.message.bytes", "quota.bytes", "segment.bytes"]
    assert read(topic / ".config").count(b"\n") == 4


# ---- .offsets and .status -----------------------------------------------------------------------------------


@pytest.mark.sanitize
def test_offsets_has_a_line_a_partition(mnt, topic):
    append(topic / "0", b"a\nbb\n")
    append(topic / "2", b"x" * 99 + b"\n")
    lines = [line.split() for line in read(topic / ".offsets").decode().splitlines() if not line.startswith("#")]
    rows = {int(line[0]): [int(word) for word in line[1:]] for line in lines if line[0].isdigit()}
    assert rows == {0: [0, 5, 5, 2, 5], 1: [0, 0, 0, 0, 0], 2: [0, 100, 100, 1, 100]}
    mnt.restart()
    append(topic / "1", b"later\n")
    assert b"\n1 0 6 6 1 6\n" in b" ".join(read(topic / ".offsets").split(b"\t"))


def test_offsets_and_status_are_read_only(mnt, topic):
    for path in (topic / ".offsets", mnt / ".status"):
        with fails(errno.EACCES, errno.EPERM):
            os.open(path, os.O_WRONLY)
        with fails(errno.EACCES, errno.EPERM):
            os.open(path, os.O_RDWR | os.O_TRUNC)


def test_status_names_the_store_and_counts(mnt, topic):
    append(topic / "0", b"x\n")
    text = read(mnt / ".status").decode()
    assert str(mnt.store) in text or (mnt.store / "id").read_text().split()[0] in text
    numbers = {line.split()[0].rstrip(":"): line for line in text.splitlines() if line.strip()}
    assert any("topic" in name and "1" in line for name, line in numbers.items()), text
    assert any("partition" in name and "3" in line for name, line in numbers.items()), text


def test_tools_read_hidden_files_to_their_end(mnt, topic):
    for path in (topic / ".offsets", mnt / ".status", topic / ".config", mnt / ".config"):
        whole = read(path)
        assert run("cat", path).stdout == whole
        assert run("dd", f"if={path}", "bs=3", "status=none").stdout == whole
        assert run("tail", "-c", "+1", path).stdout == whole
        assert run("wc", "-c", path).stdout.split()[0] == b"%d" % len(whole)


# ---- 0@append -----------------------------------------------------------------------------------------------


@pytest.mark.sanitize
def test_append_door_appends(mnt, topic):
    sh('echo one >> "$1"; echo two > "$1"; printf three >> "$1"; echo four | tee "$1" > /dev/null',
       topic / "0@append")
    assert read(topic / "0") == b"one\ntwo\nthree\nfour\n"
    append(topic / "2@append", b"in two\n")
    assert read(topic / "2") == b"in two\n"


def test_append_door_cannot_be_read(topic):
    append(topic / "0", b"x\n")
    for flags in (os.O_RDONLY, os.O_RDWR):
        with fails(errno.EACCES, errno.EPERM):
            os.open(topic / "0@append", flags)
    run("cat", topic / "0@append", code=1)


def test_append_door_of_a_partition_that_is_missing(topic):
    with fails(errno.ENOENT):
        os.open(topic / "3@append", os.O_WRONLY)
    with fails(errno.ENOENT, errno.EINVAL):
        os.open(topic / "3@append", os.O_WRONLY | os.O_CREAT)
    assert sorted(os.listdir(topic)) == ["0", "1", "2"]


def test_append_door_gives_every_open_a_buffer_and_an_inode(topic):
    with opened(topic / "0@append") as one, opened(topic / "0@append") as two:
        os.write(one, b"one ")
        os.write(two, b"two ")
        os.write(one, b"more\n")
        os.write(two, b"more\n")
        assert os.fstat(one).st_ino != os.fstat(two).st_ino
    assert read(topic / "0") == b"one more\ntwo more\n"


def test_append_door_shares_syncs_among_many_durable_writers(mnt, topic):
    """Many processes wait side by side. If the door made them queue, as `0` must, this would take eight times as
    long as one of them takes alone; and each line is durable when its write has returned."""
    count = 150
    program = ("import os, sys\nfd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_DSYNC)\n"
               "for number in range(int(sys.argv[3])): os.write(fd, b'%s %d\\n' % (sys.argv[2].encode(), number))\n")

    def durable(path, writers):
        started = time.monotonic()
        children = [mnt.spawn("/usr/bin/python3", "-c", program, path, name, count) for name in range(writers)]
        assert [child.wait(120) for child in children] == [0] * writers
        return time.monotonic() - started

    durable(topic / "0@append", 16)
    mine = {}
    for line in read(topic / "0").split(b"\n")[:-1]:
        name, number = map(int, line.split())
        mine.setdefault(name, []).append(number)
    assert mine == {name: list(range(count)) for name in range(16)}
    assert xattr_int(topic / "0", "durable") == xattr_int(topic / "0", "end")
    syncs_before = syncs(mnt)
    durable(topic / "1@append", 16)
    assert syncs(mnt) - syncs_before < 16 * count * 0.6, "every writer had a sync of its own"


def syncs(mnt):
    """How many syncs of the journal there have been, by .status."""
    return int(re.search(r"(\d+) syncs", read(mnt / ".status").decode())[1])


def test_append_door_lines_and_plain_lines_never_interleave(mnt, topic):
    acks = mnt.base / "acks"
    lines = build_path("tests", "mount", "lines")
    writers = [mnt.spawn(lines, "write", "-w", number, "-a", acks, "-n", 1500, "-c", chunk, "-m", 30000,
                         topic / ("0@append" if number % 2 else "0"))
               for number, chunk in enumerate(["line", "torn", "4096", "1048576"] * 3)]
    assert [each.wait(120) for each in writers] == [0] * 12
    assert run(lines, "check", "-a", acks, topic / "0").stdout == b"lines 18000 writers 12 fragments 0\n"


def test_append_door_rest_is_ended_before_the_next_reader_looks(topic):
    for number in range(500):
        append(topic / "0@append", b"%d" % number)
        assert xattr_int(topic / "0", "records") == number + 1
    assert read(topic / "0") == b"".join(b"%d\n" % number for number in range(500))


def test_append_door_honours_the_partitions_mode(mnt):
    mnt.stop()
    mnt.options = "allow_other"
    mnt.start()
    topic = mnt.topic("t")
    os.chmod(topic / "0", 0o644)
    done = run(*as_user("bash", "-c", f'echo x >> "{topic}/0@append"'), code=1)
    assert b"Permission denied" in done.stderr
    os.chmod(topic / "0", 0o622)
    run(*as_user("bash", "-c", f'echo x >> "{topic}/0@append"'))
    assert read(topic / "0") == b"x\n"


def test_hidden_files_can_be_watched_for_growth_of_the_offsets(mnt, topic):
    append(topic / "1", b"x\n")
    wait_for(lambda: b"1 0 2 2 1 2" in b" ".join(read(topic / ".offsets").split()), "the new offsets")
