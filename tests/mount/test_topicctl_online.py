"""topicctl on a mount: the same commands through files, attributes and ioctls."""

import fcntl
import os
import signal
import stat
import struct
import subprocess

import pytest

from harness import NOBODY, append, as_user, build_path, ctl, ctl_json, fails, read, run, said, wait_for, xattr

LINES = b"".join(b"line %d %s\n" % (n, b"x" * (n * 7919 % 200)) for n in range(5000))
TFS_IOC_DELETE = 0x40047401
TFS_IOC_FIND = 0xC0207402
FIND_SEQ, FIND_POS, FIND_TIME = range(3)


def follow(mnt, *options):
    return mnt.spawn(build_path("tools", "topicctl"), "consume", mnt.path, *options, "--follow",
                     stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def names(path):
    return sorted(os.listdir(path))


@pytest.fixture
def orders(mnt):
    mnt.topic("orders", 2)
    append(mnt / "orders" / "0", LINES)
    return mnt


@pytest.mark.sanitize
def test_create_list_describe_delete(mnt):
    ctl("create", mnt.path, "b", "--partitions", 3, "--set", "segment.bytes=64KiB")
    ctl("create", mnt.path, "a")
    assert names(mnt.path) == ["a", "b"]
    assert names(mnt / "b") == ["0", "1", "2"]
    assert b"segment.bytes=64KiB\n" in read(mnt / "b" / ".config")
    append(mnt / "b" / "1", b"one\ntwo\n")
    topics = ctl_json("list", mnt.path)
    assert topics[1].pop("disk_bytes") > topics[0].pop("disk_bytes") >= 0
    assert topics == [{"topic": "a", "partitions": 1, "records": 0, "bytes": 0},
                      {"topic": "b", "partitions": 3, "records": 2, "bytes": 8}]
    topic = ctl_json("describe", mnt.path, "b")
    assert topic["config"]["segment.bytes"] == 65536
    one = topic["partitions"][1]
    assert (one["start"], one["end"], one["committed"], one["records"], one["first_record"]) == (0, 8, 8, 2, 0)
    assert one["disk_bytes"] >= 8
    ctl("create", mnt.path, "a/2")
    assert names(mnt / "a") == ["0", "1", "2"]
    ctl("delete", mnt.path, "b/1", "--yes")
    assert names(mnt / "b") == ["0", "2"]
    ctl("delete", mnt.path, "b", "--yes")
    assert names(mnt.path) == ["a"]
    assert [path.read_bytes() for path in mnt.store.glob("trash/**/*.log") if path.stat().st_size] == [b"one\ntwo\n"]


def test_create_with_fewer_partitions_than_the_root_says(mnt):
    append(mnt / ".config", b"partitions=4\n")
    ctl("create", mnt.path, "few", "--partitions", 2)
    ctl("create", mnt.path, "as-said")
    ctl("create", mnt.path, "many", "--partitions", 6)
    assert [len(names(mnt / topic)) for topic in ("few", "as-said", "many")] == [2, 4, 6]


@pytest.mark.parametrize("argv, code, sentence", [
    (["create", "WHERE", "orders"], 1, "already"),
    (["create", "WHERE", "orders/1"], 1, "already"),
    (["create", "WHERE", "none/1"], 1, "no such topic"),
    (["create", "WHERE", "orders/5000"], 2, "partitions.max"),
    (["create", "WHERE", "new", "--set", "segment.bytes=1"], 2, "out of range"),
    (["describe", "WHERE", "none"], 1, "no such topic"),
    (["describe", "WHERE", "orders/7"], 1, "no such partition"),
    (["delete", "WHERE", "none", "--yes"], 1, "no such topic"),
    (["delete", "WHERE", "orders/7", "--yes"], 1, "no such partition"),
    (["config", "WHERE", "none"], 1, "no such topic"),
    (["config", "WHERE", "orders", "--set", "nope=1"], 2, "nope: unknown key"),
    (["produce", "WHERE", "none"], 1, "no such topic"),
    (["produce", "WHERE", "orders"], 2, "say which"),
    (["produce", "WHERE", "orders/7"], 1, "no such partition"),
    (["consume", "WHERE", "none"], 1, "no such topic"),
    (["consume", "WHERE", "orders/7"], 1, "no such partition"),
    (["verify", "WHERE"], 2, "is a mountpoint"),
    (["dump", "WHERE", "orders/0"], 2, "is a mountpoint"),
    (["init", "WHERE"], 2, "is a mountpoint"),
])
def test_refusals(orders, argv, code, sentence):
    done = ctl(*[orders.path if word == "WHERE" else word for word in argv], code=code, input=b"x\n")
    assert sentence in said(done)
    assert names(orders.path) == ["orders"]
    assert names(orders / "orders") == ["0", "1"]


@pytest.mark.sanitize
def test_produce_and_consume(orders):
    assert ctl("consume", orders.path, "orders/0").stdout == LINES
    ctl("produce", orders.path, "orders/1", "--sync=1000", input=LINES + b"the end")
    assert read(orders / "orders" / "1") == LINES + b"the end\n"
    assert ctl("consume", orders.path, "orders").stdout == LINES + LINES + b"the end\n"
    assert int(xattr(orders / "orders" / "1", "durable")) == len(LINES) + 8


def test_produce_huge_and_too_long_lines(mnt):
    mnt.topic("t", max_message_bytes="8MiB")
    huge = b"h" * (5 << 20) + b"\n"
    ctl("produce", mnt.path, "t", input=b"a\n" + huge + b"b\n")
    assert read(mnt / "t" / "0") == b"a\n" + huge + b"b\n"
    done = ctl("produce", mnt.path, "t", input=b"c\n" + huge + huge[:-1] + huge + b"d\n", code=111)
    assert "record 3" in said(done)
    assert read(mnt / "t" / "0") == b"a\n" + huge + b"b\nc\n" + huge
    ctl("produce", mnt.path, "t", "--skip-too-long", input=b"e\n" + huge[:-1] + huge + b"f\n")
    assert read(mnt / "t" / "0").endswith(huge + b"e\nf\n")


@pytest.mark.sanitize
def test_produce_from_a_pipe_that_does_not_block(mnt):
    """Standard input may be set non-blocking by whoever else has it."""
    mnt.topic("t")
    source, sink = os.pipe()
    os.set_blocking(source, False)
    child = mnt.spawn(build_path("tools", "topicctl"), "produce", mnt.path, "t", stdin=source)
    os.close(source)
    os.write(sink, b"one\ntw")
    wait_for(lambda: read(mnt / "t" / "0") == b"one\n", "the first line")
    os.write(sink, b"o\nthr")
    wait_for(lambda: read(mnt / "t" / "0") == b"one\ntwo\n", "the second line")
    os.close(sink)
    assert child.wait(30) == 0
    assert read(mnt / "t" / "0") == b"one\ntwo\nthr\n"


def test_consume_into_a_slow_pipe_that_does_not_block(orders):
    source, sink = os.pipe()
    os.set_blocking(sink, False)
    child = orders.spawn(build_path("tools", "topicctl"), "consume", orders.path, "orders/0", stdout=sink)
    os.close(sink)
    pieces = []
    while piece := os.read(source, 1000):
        pieces.append(piece)
    os.close(source)
    assert child.wait(30) == 0
    assert b"".join(pieces) == LINES


@pytest.mark.sanitize
def test_produce_is_interrupted_between_lines(mnt):
    """Endless input and a SIGINT: whole lines only, all of them in order, and it says where it stopped."""
    mnt.topic("t", max_message_bytes="64KiB")
    source = mnt.spawn("seq", "1", "1000000000", stdout=subprocess.PIPE)
    child = mnt.spawn(build_path("tools", "topicctl"), "produce", mnt.path, "t", stdin=source.stdout,
                      stderr=subprocess.PIPE)
    wait_for(lambda: os.stat(mnt / "t" / "0").st_size > 1 << 20, "a MiB of lines")
    child.send_signal(signal.SIGINT)
    assert child.wait(30) == 111
    lines = read(mnt / "t" / "0").split(b"\n")
    assert lines.pop() == b""
    assert lines == [b"%d" % n for n in range(1, len(lines) + 1)]


def test_produce_stops_when_the_partition_is_full(mnt):
    mnt.topic("t", quota_bytes="100KiB")
    lines = [b"%d\n" % n for n in range(100000)]
    done = ctl("produce", mnt.path, "t", "--sync=1000", input=b"".join(lines), code=111)
    kept = read(mnt / "t" / "0")
    assert "Disk quota exceeded" in said(done) and f"after {len(kept.splitlines())} records" in said(done)
    assert 90 << 10 < len(kept) <= 100 << 10 and b"".join(lines).startswith(kept) and kept.endswith(b"\n")
    ctl("produce", mnt.path, "t", input=b"fits\n")
    assert read(mnt / "t" / "0").endswith(b"fits\n")


def test_produce_through_many_at_once(mnt):
    mnt.topic("t")
    children = [mnt.spawn("bash", "-c", 'seq "$3" "$4" | "$0" produce "$1" t --sync="$2"',
                          build_path("tools", "topicctl"), mnt.path, 500, n * 10000, n * 10000 + 9999)
                for n in range(8)]
    assert [child.wait(60) for child in children] == [0] * 8
    numbers = [int(line) for line in read(mnt / "t" / "0").split()]
    assert sorted(numbers) == list(range(80000))
    for n in range(8):
        own = [number for number in numbers if number // 10000 == n]
        assert own == sorted(own)


def test_raw_records(mnt):
    mnt.topic("t", message_format="raw")
    ctl("produce", mnt.path, "t", "--whole", input=b"a\nb\0c")
    ctl("produce", mnt.path, "t", input=b"d\ne\n")
    assert ctl("consume", mnt.path, "t").stdout == b"a\nb\0cd\ne\n"
    assert ctl("consume", mnt.path, "t", "--from", "r1", "-n", 1).stdout == b"d\n"
    assert ctl_json("list", mnt.path)[0]["records"] == 3


@pytest.mark.parametrize("options, first, last", [
    (["--from", "r123", "--to", "r130"], 123, 130), (["--from", "-100"], 4900, 5000),
    (["--from", "-100", "--to", "-90"], 4900, 4910), (["-n", "7"], 0, 7), (["--from", "end"], 5000, 5000),
    (["--from", "r99999"], 5000, 5000), (["--from", "-15m"], 0, 5000), (["--to", "-15m"], 0, 0),
    (["--from", "2199-01-01"], 5000, 5000)])
def test_consume_selects(orders, options, first, last):
    expected = b"".join(LINES.splitlines(keepends=True)[first:last])
    assert ctl("consume", orders.path, "orders/0", *options).stdout == expected


@pytest.mark.sanitize
def test_consume_follows(orders):
    child = follow(orders, "orders/0", "--from", "-1")
    last = LINES.splitlines(keepends=True)[-1]
    assert child.stdout.read(len(last)) == last
    append(orders / "orders" / "0", b"more\n")
    assert child.stdout.read(5) == b"more\n"
    append(orders / "orders" / "1", b"elsewhere\n")
    append(orders / "orders" / "0", b"again\n")
    assert child.stdout.read(6) == b"again\n"
    child.send_signal(signal.SIGINT)
    assert child.wait(30) == -signal.SIGINT
    assert child.stderr.read() == b""


def test_consume_follows_a_topic_and_stops_after_n_records(orders):
    child = follow(orders, "orders", "--from", "-1", "-n", 4)
    last = LINES.splitlines(keepends=True)[-1]
    assert child.stdout.read(len(last)) == last
    append(orders / "orders" / "1", b"one\n")
    assert child.stdout.read(4) == b"one\n"
    append(orders / "orders" / "0", b"two\n")
    assert child.stdout.read(4) == b"two\n"
    append(orders / "orders" / "1", b"three\nfour\n")
    assert child.stdout.read() == b"three\n"
    assert child.wait(30) == 0


def test_consume_follows_into_partitions_that_are_added(orders):
    child = follow(orders, "orders", "--from", "-1")
    last = LINES.splitlines(keepends=True)[-1]
    assert child.stdout.read(len(last)) == last
    (orders / "orders" / "3").touch()
    append(orders / "orders" / "3", b"three\n")
    assert child.stdout.read(6) == b"three\n"
    append(orders / "orders" / "2", b"two\n")
    assert child.stdout.read(4) == b"two\n"


@pytest.mark.parametrize("target", ["orders/0", "orders"])
def test_consume_ends_when_what_it_follows_is_deleted(orders, target):
    child = follow(orders, target, "--from", "-1")
    last = LINES.splitlines(keepends=True)[-1]
    assert child.stdout.read(len(last)) == last
    ctl("delete", orders.path, target, "--yes")
    assert child.wait(30) != 0
    assert b"deleted" in child.stderr.read()


def test_consume_waits_for_a_record_to_come(orders):
    child = follow(orders, "orders/0", "--from", "r5002", "-n", 1)
    append(orders / "orders" / "0", b"5000\n")
    append(orders / "orders" / "0", b"5001\n5002\n5003\n")
    assert child.stdout.read() == b"5002\n"
    assert child.wait(30) == 0


def test_config(orders):
    before = read(orders / "orders" / ".config")
    ctl("config", orders.path, "orders", "--set", "flush.ms=2s", "--set", "segment.bytes=1MiB")
    assert xattr(orders / "orders" / "0", "flush.ms") == "2s"
    assert ctl("config", orders.path, "orders", "--get", "flush.ms").stdout == b"2s\n"
    ctl("config", orders.path, "--set", "flush.ms=3s")
    assert b"flush.ms=3s" in read(orders / ".config")
    assert ctl_json("config", orders.path, "orders")["flush.ms"] == {"value": 2000, "from": "topic"}
    ctl("config", orders.path, "orders", "--unset", "flush.ms", "--unset", "segment.bytes")
    assert ctl_json("config", orders.path, "orders")["flush.ms"] == {"value": 3000, "from": "root"}
    assert xattr(orders / "orders" / "0", "flush.ms") == "3s"
    assert read(orders / "orders" / ".config").strip() == before.strip()


def test_config_edit(orders):
    editor = orders.base / "editor"
    editor.write_text("""#!/bin/sh\nprintf '# why\\nflush.ms=4s\\n' >> "$1"\n""")
    editor.chmod(0o755)
    env = dict(os.environ, EDITOR=str(editor), VISUAL="")
    ctl("config", orders.path, "orders", "--edit", env=env)
    assert read(orders / "orders" / ".config").endswith(b"# why\nflush.ms=4s\n")
    assert xattr(orders / "orders" / "0", "flush.ms") == "4s"
    # Somebody else's change in the meantime is not overwritten.
    editor.write_text(f"""#!/bin/sh\necho flush.ms=5s >> "$1"; echo flush.ms=6s >> {orders}/orders/.config\n""".replace(
        str(orders), str(orders.path)))
    done = ctl("config", orders.path, "orders", "--edit", env=dict(env, TMPDIR=str(orders.base)), code=111)
    assert "somebody else changed it" in said(done)
    assert xattr(orders / "orders" / "0", "flush.ms") == "6s"
    assert len(list(orders.base.glob("topicctl.*"))) == 1


def find(path, kind, value, flags=os.O_RDONLY):
    fd = os.open(path, flags)
    try:
        answer = fcntl.ioctl(fd, TFS_IOC_FIND, struct.pack("=IIqQQ", kind, 0, value, 0, 0))
        return struct.unpack("=IIqQQ", answer)[3:]
    finally:
        os.close(fd)


@pytest.mark.sanitize
def test_the_find_ioctl(orders):
    path = orders / "orders" / "0"
    lines = LINES.splitlines(keepends=True)
    at = len(b"".join(lines[:17]))
    assert find(path, FIND_SEQ, 17) == (at, 17)
    assert find(path, FIND_POS, at) == (at, 17)
    assert find(path, FIND_POS, at - 1) == (at, 17)
    assert find(path, FIND_SEQ, 5000) == find(path, FIND_SEQ, 1 << 62) == (len(LINES), 5000)
    assert find(path, FIND_TIME, 0) == (0, 0)
    assert find(path, FIND_TIME, os.stat(path).st_mtime_ns + 10**9) == (len(LINES), 5000)
    for kind, value in [(3, 0), (FIND_SEQ, -1), (FIND_POS, -1)]:
        with fails(22):
            find(path, kind, value)
    with fails(9):
        find(path, FIND_SEQ, 0, os.O_WRONLY)
    with fails(25):
        find(orders / "orders" / ".config", FIND_SEQ, 0)


@pytest.mark.parametrize("mnt", ["allow_other"], indirect=True)
def test_who_may_delete_consume_and_produce(orders):
    topicctl = build_path("tools", "topicctl")
    orders.path.chmod(0o755)
    os.chmod(orders / "orders" / "0", 0o622)
    os.chmod(orders / "orders" / "1", 0o644)
    denied = run(*as_user(topicctl, "delete", orders.path, "orders", "--yes"), code=None)
    assert denied.returncode == 111 and stat.S_ISDIR(os.stat(orders / "orders").st_mode), said(denied)
    assert run(*as_user(topicctl, "consume", orders.path, "orders/1")).returncode == 0
    assert "Permission denied" in said(run(*as_user(topicctl, "consume", orders.path, "orders/0"), code=111))
    run(*as_user(topicctl, "produce", orders.path, "orders/0"), input=b"from nobody\n")
    assert read(orders / "orders" / "0") == LINES + b"from nobody\n"
    assert "Permission denied" in said(run(*as_user(topicctl, "produce", orders.path, "orders/1"), input=b"x\n", code=111))
    os.chown(orders / "orders", NOBODY, NOBODY)
    run(*as_user(topicctl, "delete", orders.path, "orders", "--yes"))
    assert names(orders.path) == []


def test_the_store_of_a_mount(orders):
    """By its directory it can be looked at, not written."""
    done = ctl("consume", orders.store, "orders/0")
    assert done.stdout == LINES and "has this store open" in said(done)
    assert "use its mountpoint" in said(ctl("produce", orders.store, "orders/1", input=b"x\n", code=111))
    assert "stop it first" in said(ctl("verify", orders.store, code=111))


def test_a_mountpoint_whose_daemon_is_gone(orders):
    orders.kill()
    assert "daemon" in said(ctl("list", orders.path, code=111))
    orders.detach()
