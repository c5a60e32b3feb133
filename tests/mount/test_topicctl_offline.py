"""topicctl on a store directory that no daemon has open."""

import calendar
import os
import pty
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from harness import build_path, ctl, ctl_json, memory, run, said, wait_for

pytestmark = pytest.mark.sanitize

LINES = b"".join(b"line %d %s\n" % (n, b"x" * (n * 7919 % 200)) for n in range(5000))


@pytest.fixture
def store():
    """In memory, as no test here is about the disk: its fsyncs would be most of the time."""
    base = Path(tempfile.mkdtemp(prefix="topicfs-test-", dir=memory()))
    path = base / "store"
    ctl("init", path)
    yield path
    shutil.rmtree(base)


@pytest.fixture
def orders(store):
    """Two partitions of small segments; partition 0 holds LINES."""
    ctl("create", store, "orders", "--partitions", 2, "--set", "segment.bytes=64KiB")
    ctl("produce", store, "orders/0", "--sync=20", input=LINES)
    unseal(store)
    return store


def unseal(store):
    """Leaves the raw files alone: how much is sealed while topicctl has the store open is a matter of time, and what
    is there twice is not missing when one of the two is."""
    for path in store.glob("topics/*/*/*.zst"):
        path.unlink()


def consume(store, target, *options):
    return ctl("consume", store, target, *options).stdout


# ---- topics -----------------------------------------------------------------------------------------


def test_init_makes_a_store_once(store):
    identity = (store / "id").read_bytes()
    ctl("init", store)
    assert (store / "id").read_bytes() == identity
    assert ctl_json("list", store) == []
    (store.parent / "full").mkdir()
    (store.parent / "full" / "file").touch()
    assert "full" in said(ctl("init", store.parent / "full", code=111))
    assert os.listdir(store.parent / "full") == ["file"]


def test_create_and_list(store):
    ctl("create", store, "b")
    ctl("create", store, "a", "--partitions", 3)
    topics = ctl_json("list", store)
    disk = [topic.pop("disk_bytes") for topic in topics]
    assert topics == [{"topic": "a", "partitions": 3, "records": 0, "bytes": 0},
                      {"topic": "b", "partitions": 1, "records": 0, "bytes": 0}]
    ctl("produce", store, "b", input=b"one\ntwo\n")
    lines = ctl("list", store).stdout.decode().splitlines()
    assert [line.split()[:4] for line in lines] == [
        ["TOPIC", "PARTITIONS", "RECORDS", "BYTES"], ["a", "3", "0", "0"], ["b", "1", "2", "8"]]
    assert len({len(line) for line in lines}) == 1 and lines[0].endswith(" DISK")
    assert int(lines[2].split()[4]) > disk[1]


def test_create_takes_the_partitions_of_the_root_configuration(store):
    ctl("config", store, "--set", "partitions=4")
    ctl("create", store, "four")
    assert ctl_json("list", store)[0]["partitions"] == 4


def test_create_adds_partitions(store):
    ctl("create", store, "t")
    ctl("create", store, "t/3")
    assert [each["partition"] for each in ctl_json("describe", store, "t")["partitions"]] == [0, 1, 2, 3]
    assert "already" in said(ctl("create", store, "t/3", code=1))
    assert "partitions.max" in said(ctl("create", store, "t/5000", code=2))


@pytest.mark.parametrize("argv, code, sentence", [
    (["a b"], 2, "not a topic's name"),
    ([".a"], 2, "not a topic's name"),
    (["x" * 250], 2, "at most 249"),
    (["x" * 600], 2, "at most 249"),
    (["t/x"], 2, "not a partition's number"),
    (["t/01"], 2, "not a partition's number"),
    (["t/-1"], 2, "not a partition's number"),
    (["t/0/0"], 2, "not a partition's number"),
    (["taken"], 1, "already"),
    (["none/0"], 1, "no such topic"),
    (["new", "--partitions", "0"], 2, "number of partitions"),
    (["new", "--set", "segment.bytes=1"], 2, "segment.bytes: 1: out of range"),
    (["new", "--set", "segment.byte=1"], 2, "unknown key"),
    (["new", "--nonsense"], 2, "nonsense"),
    ([], 2, "wants WHERE and TOPIC"),
])
def test_create_refuses(store, argv, code, sentence):
    ctl("create", store, "taken")
    assert sentence in said(ctl("create", store, *argv, code=code))
    assert [each["topic"] for each in ctl_json("list", store)] == ["taken"]


def test_describe(orders):
    topic = ctl_json("describe", orders, "orders")
    assert topic["topic"] == "orders"
    assert topic["config"]["segment.bytes"] == 65536
    assert topic["config"]["message.format"] == "lines"
    assert topic["config"]["delete.enable"] is False
    first, second = topic["partitions"]
    assert (first["start"], first["end"], first["committed"], first["durable"]) == (0, *[len(LINES)] * 3)
    assert (first["first_record"], first["records"], first["pending"]) == (0, 5000, 0)
    assert first["disk_bytes"] >= len(LINES)
    assert abs(first["modified_ns"] / 1e9 - time.time()) < 300
    assert len(first["chain"]) == 16
    assert (second["end"], second["records"]) == (0, 0)
    assert ctl_json("describe", orders) == [topic]
    assert ctl_json("describe", orders, "orders/1")["partitions"] == [second]
    text = ctl("describe", orders, "orders").stdout.decode()
    assert "  segment.bytes=64KiB\n" in text and "  flush.ms=5s  # default\n" in text
    assert "no such topic" in said(ctl("describe", orders, "none", code=1))
    assert "no such partition" in said(ctl("describe", orders, "orders/2", code=1))


def test_delete_asks_nobody_in_a_pipe(orders):
    assert "--yes" in said(ctl("delete", orders, "orders", code=2, input=b"y\n"))
    ctl("delete", orders, "orders/1", "--yes")
    assert [each["partition"] for each in ctl_json("describe", orders, "orders")["partitions"]] == [0]
    ctl("delete", orders, "orders", "--yes")
    assert ctl_json("list", orders) == []
    assert "no such topic" in said(ctl("delete", orders, "orders", "--yes", code=1))
    trashed = b"".join(path.read_bytes() for path in sorted((orders / "trash").rglob("*.log")))
    assert trashed == LINES


def on_terminal(argv, answers, seconds=60, env=None):
    """Runs topicctl on a terminal; each answer is typed once its prompt was shown. Exit code and all that was shown."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(env or {})
        os.execv(build_path("tools", "topicctl"), ["topicctl", *map(str, argv)])
    shown, deadline = b"", time.monotonic() + seconds
    answers = list(answers)
    while True:
        assert time.monotonic() < deadline, shown
        try:
            piece = os.read(fd, 65536)
        except OSError:  # the child is gone
            break
        if not piece:
            break
        shown += piece
        if answers and answers[0][0] in shown:
            os.write(fd, answers.pop(0)[1])
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(fd)
    return code, shown.decode(errors="replace")


def test_delete_asks_on_a_terminal(orders):
    code, shown = on_terminal(["delete", orders, "orders"], [(b"[y/N]", b"n\n")])
    assert code == 1 and "2 partitions, 5000 records" in shown and "left as it is" in shown
    assert len(ctl_json("list", orders)) == 1
    code, shown = on_terminal(["delete", orders, "orders/0"], [(b"[y/N]", b"y\n")])
    assert code == 0 and "1 partition, 5000 records" in shown
    assert [each["partition"] for each in ctl_json("describe", orders, "orders")["partitions"]] == [1]


# ---- config -----------------------------------------------------------------------------------------


def test_config_sets_in_place(orders):
    ctl("config", orders, "orders", "--set", "flush.ms=2s", "--set", "quota.bytes=1GiB")
    before = ctl("config", orders, "orders", "--text").stdout.decode()
    assert "segment.bytes=64KiB" in before and "flush.ms=2s" in before
    ctl("config", orders, "orders", "--set", "segment.bytes=128K")
    after = ctl("config", orders, "orders", "--text").stdout.decode()
    assert after == before.replace("segment.bytes=64KiB", "segment.bytes=128K")
    assert ctl("config", orders, "orders", "--get", "segment.bytes", "--get", "flush.ms").stdout == b"128KiB\n2s\n"
    assert ctl_json("config", orders, "orders", "--get", "segment.bytes") == {"segment.bytes": 131072}


def test_config_inherits_and_says_from_where(orders):
    ctl("config", orders, "--set", "flush.ms=3s", "--set", "segment.bytes=1MiB")
    shown = ctl_json("config", orders, "orders")
    assert shown["flush.ms"] == {"value": 3000, "from": "root"}
    assert shown["segment.bytes"] == {"value": 65536, "from": "topic"}
    assert shown["open.truncate"] == {"value": "append", "from": "default"}
    ctl("config", orders, "orders", "--unset", "segment.bytes")
    assert ctl_json("config", orders, "orders")["segment.bytes"] == {"value": 1 << 20, "from": "root"}
    assert "segment.bytes=1MiB  # root\n" in ctl("config", orders, "orders").stdout.decode()


@pytest.mark.parametrize("argv, sentence", [
    (["--set", "segment.bytes=1"], "segment.bytes: 1: out of range (1KiB to 1TiB)"),
    (["--set", "nope=1"], "nope: unknown key"),
    (["--set", "segment.bytes"], "segment.bytes: not key=value"),
    (["--get", "nope"], "nope: unknown key"),
    (["--unset", "nope"], "nope: unknown key"),
    (["--get", "flush.ms", "--set", "flush.ms=1s"], "either get, or set and unset, or edit"),
])
def test_config_refuses_and_changes_nothing(orders, argv, sentence):
    before = ctl("config", orders, "orders", "--text").stdout
    assert sentence in said(ctl("config", orders, "orders", "--set", "flush.ms=9s", *argv, code=2))
    assert ctl("config", orders, "orders", "--text").stdout == before


def editor(path, script):
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return dict(os.environ, VISUAL="", EDITOR=str(path), TMPDIR=str(path.parent))


def test_config_edit(orders):
    env = editor(orders.parent / "editor", """printf '# mine\\nflush.ms=4s\\n' >> "$1" """)
    ctl("config", orders, "orders", "--edit", env=env)
    assert ctl("config", orders, "orders", "--text").stdout.endswith(b"# mine\nflush.ms=4s\n")
    assert list(orders.parent.glob("topicctl.*")) == []
    assert "unchanged" in said(ctl("config", orders, "orders", "--edit", env=editor(orders.parent / "editor", "true")))


def test_config_edit_is_checked_before_it_is_applied(orders):
    before = ctl("config", orders, "orders", "--text").stdout
    env = editor(orders.parent / "editor", """echo flush.ms=soon >> "$1" """)
    done = ctl("config", orders, "orders", "--edit", env=env, code=2)
    assert "flush.ms: soon: not a number" in said(done)
    kept = list(orders.parent.glob("topicctl.*"))
    assert len(kept) == 1 and str(kept[0]) in said(done)
    assert kept[0].read_bytes() == before + b"flush.ms=soon\n"
    assert ctl("config", orders, "orders", "--text").stdout == before
    # On a terminal the mistake can be mended.
    env = editor(orders.parent / "editor", """grep -q soon "$1" && sed -i s/soon/6s/ "$1" || echo flush.ms=soon >> "$1" """)
    code, shown = on_terminal(["config", orders, "orders", "--edit"], [(b"[Y/n]", b"\n")], env=env)
    assert code == 0, shown
    assert ctl("config", orders, "orders", "--get", "flush.ms").stdout == b"6s\n"


def test_config_edit_tells_a_failing_editor(orders):
    before = ctl("config", orders, "orders", "--text").stdout
    ctl("config", orders, "orders", "--edit", env=editor(orders.parent / "editor", "echo x >> $1; exit 3"), code=111)
    assert ctl("config", orders, "orders", "--text").stdout == before


# ---- produce and consume ----------------------------------------------------------------------------


def test_produce_and_consume_the_same_bytes(orders):
    assert consume(orders, "orders/0") == LINES
    assert consume(orders, "orders") == LINES
    ctl("produce", orders, "orders/1", "--sync=100", input=b"a\n\nno newline")
    assert consume(orders, "orders/1") == b"a\n\nno newline\n"
    assert consume(orders, "orders") == LINES + b"a\n\nno newline\n"
    assert ctl_json("list", orders)[0]["records"] == 5003
    ctl("verify", orders)


def test_produce_nothing(orders):
    ctl("produce", orders, "orders/1", input=b"")
    assert consume(orders, "orders/1") == b""


def test_produce_wants_a_partition_where_there_are_several(orders):
    assert "orders/0" in said(ctl("produce", orders, "orders", input=b"x\n", code=2))
    assert "no such partition" in said(ctl("produce", orders, "orders/7", input=b"x\n", code=1))
    assert "no such topic" in said(ctl("produce", orders, "none", input=b"x\n", code=1))


def test_produce_from_a_slow_pipe_that_cuts_lines(store):
    ctl("create", store, "t")
    child = subprocess.Popen([build_path("tools", "topicctl"), "produce", store, "t"], stdin=subprocess.PIPE)
    for piece in [b"on", b"e\ntw", b"o\n", b"\n", b"three"]:
        child.stdin.write(piece)
        child.stdin.flush()
    child.stdin.close()
    assert child.wait(60) == 0
    assert consume(store, "t") == b"one\ntwo\n\nthree\n"


def test_produce_a_huge_line(store):
    ctl("create", store, "t", "--set", "max.message.bytes=64MiB")
    huge = b"h" * (5 << 20) + b"\n"
    ctl("produce", store, "t", input=b"small\n" + huge + b"after\n")
    assert consume(store, "t") == b"small\n" + huge + b"after\n"
    assert ctl_json("list", store)[0]["records"] == 3


def test_produce_stops_at_a_line_that_is_too_long(store):
    ctl("create", store, "t", "--set", "max.message.bytes=10")
    done = ctl("produce", store, "t", input=b"one\ntwo\n" + b"y" * 10 + b"\nthree\n", code=111)
    assert "record 3" in said(done) and "max.message.bytes (10)" in said(done)
    assert consume(store, "t") == b"one\ntwo\n"


def test_produce_leaves_long_lines_out_when_told(store):
    ctl("create", store, "t", "--set", "max.message.bytes=10")
    lines = b"z" * (3 << 20) + b"\nkept\n123456789\n1234567890\n" + b"z" * (3 << 20) + b"\nalso\n" + b"y" * 11
    done = ctl("produce", store, "t", "--skip-too-long", input=lines)
    assert "4 records" in said(done)
    assert consume(store, "t") == b"kept\n123456789\nalso\n"


def test_produce_ends_with_whole_lines_when_interrupted(store):
    ctl("create", store, "t")
    child = subprocess.Popen([build_path("tools", "topicctl"), "produce", store, "t"], stdin=subprocess.PIPE,
                             stderr=subprocess.PIPE)
    child.stdin.write(b"one\ntwo\nunfin")
    child.stdin.flush()
    log = store / "topics" / "t" / "0"
    wait_for(lambda: any(path.read_bytes() == b"one\ntwo\n" for path in log.glob("*.log")), "two lines")
    child.send_signal(signal.SIGTERM)
    assert child.wait(60) == 111
    assert b"unfinished line was left out" in child.stderr.read()
    child.stdin.close()
    child.stderr.close()
    assert consume(store, "t") == b"one\ntwo\n"
    ctl("verify", store)


def test_produce_hears_a_signal_that_comes_before_it_reads_on(store):
    """It is sent within the write of the lines, by strace, and nothing more comes to be read."""
    ctl("create", store, "t")
    log = store / "topics" / "t" / "0" / f"{0:020}.log"
    leaks = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"  # which cannot be looked for under ptrace(2)
    child = subprocess.Popen(["strace", "-f", "-o", "/dev/null", "-P", log, "-e", "inject=pwrite64:signal=TERM",
                              build_path("tools", "topicctl"), "produce", store, "t"], stdin=subprocess.PIPE,
                             stderr=subprocess.PIPE, env={**os.environ, "ASAN_OPTIONS": leaks})
    try:
        child.stdin.write(b"one\ntwo\nunfin")
        child.stdin.flush()
        assert child.wait(60) == 111
        assert b"unfinished line was left out" in child.stderr.read()
    finally:
        child.kill()
        child.stdin.close()
        child.stderr.close()
        child.wait()
    assert consume(store, "t") == b"one\ntwo\n"


def test_raw_records(store):
    ctl("create", store, "t", "--set", "message.format=raw")
    ctl("produce", store, "t", input=b"one\ntwo\n")
    ctl("produce", store, "t", "--whole", input=b"a\nb\0c")
    assert consume(store, "t") == b"one\ntwo\na\nb\0c"
    assert consume(store, "t", "--from", "r1", "-n", 1) == b"two\n"
    assert consume(store, "t", "--from", "-1") == b"a\nb\0c"
    assert ctl_json("list", store)[0]["records"] == 3
    assert "longer" in said(ctl("produce", store, "t", "--whole", input=b"x" * 1044481, code=111))
    ctl("produce", store, "t", "--whole", input=b"x" * 1044480)
    assert len(consume(store, "t", "--from", "-1")) == 1044480
    ctl("create", store, "lines")
    assert "message.format=raw" in said(ctl("produce", store, "lines", "--whole", input=b"x", code=2))


def split():
    return LINES.splitlines(keepends=True)


@pytest.mark.parametrize("options, first, last", [
    (["--from", "start"], 0, 5000),
    (["--from", "end"], 5000, 5000),
    (["--from", "r123"], 123, 5000),
    (["--from", "r123", "--to", "r130"], 123, 130),
    (["--from", "r4999"], 4999, 5000),
    (["--from", "r5000"], 5000, 5000),
    (["--from", "r99999"], 5000, 5000),
    (["--from", "-100"], 4900, 5000),
    (["--from", "-100", "--to", "-90"], 4900, 4910),
    (["--from=-99999"], 0, 5000),
    (["--from", "-0"], 5000, 5000),
    (["--from", "r20", "--to", "r10"], 0, 0),
    (["-n", "7"], 0, 7),
    (["--from", "r10", "-n", "5"], 10, 15),
    (["--from", "r10", "--to", "r12", "-n", "5"], 10, 12),
    (["-n", "0"], 0, 0),
    (["--from", "-15m"], 0, 5000),
    (["--to", "-15m"], 0, 0),
    (["--from", "2020-01-01"], 0, 5000),
    (["--from", "2020-01-01T00:00:00.5+01:00", "--to", "2021-12-31T23:59:59Z"], 0, 0),
    (["--from", "2199-01-01"], 5000, 5000),
])
def test_consume_selects(orders, options, first, last):
    assert consume(orders, "orders/0", *options) == b"".join(split()[first:last])


def test_consume_selects_by_byte(orders):
    first = split()[0]
    assert consume(orders, "orders/0", "--from", "b0", "--to", f"b{len(first)}") == first
    assert consume(orders, "orders/0", "--from", "b1", "-n", 1) == split()[1]
    assert consume(orders, "orders/0", "--from", f"b{len(LINES) - 1}") == b""
    middle = len(LINES) // 2
    begin = LINES.index(b"\n", middle - 1) + 1
    assert consume(orders, "orders/0", "--from", f"b{middle}") == LINES[begin:]


def test_consume_selects_by_time(store):
    ctl("create", store, "t")
    ctl("produce", store, "t", input=b"early\n")
    moment = ctl_json("describe", store, "t")["partitions"][0]["modified_ns"] + 1
    wait_for(lambda: time.time_ns() > moment + 200_000_000, "a later time")
    ctl("produce", store, "t", input=b"late\n")
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment // 10**9)) + f".{moment % 10**9:09}Z"
    assert calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")) == moment // 10**9
    assert consume(store, "t", "--from", text) == b"late\n"
    assert consume(store, "t", "--to", text) == b"early\n"


@pytest.mark.parametrize("word", ["", "later", "r", "r-1", "b1x", "-", "-1y", "2026-13-01", "2026-02-30", "2026-1-1",
                                  "2026-01-01T25:00:00Z", "2026-01-01T10:00:00+1", "2026-01-01 10:00:00", "r1 "])
def test_consume_refuses_other_words(orders, word):
    assert "none of start, end" in said(ctl("consume", orders, "orders/0", f"--from={word}", code=2))


def test_consume_does_not_follow_a_store_that_cannot_grow(orders):
    assert "--follow wants a mountpoint" in said(ctl("consume", orders, "orders/0", "--follow", code=2))


def test_consume_into_a_pipe_that_closes(orders):
    ctl("create", orders, "big")
    ctl("produce", orders, "big", input=LINES * 4)
    done = run("bash", "-c", '"$0" consume "$1" big | head -n 1; echo "${PIPESTATUS[0]}"',
               build_path("tools", "topicctl"), orders)
    assert done.stdout == split()[0] + b"141\n" and done.stderr == b""


def test_consume_tells_a_full_disk():
    base = Path(tempfile.mkdtemp(prefix="topicfs-test-", dir=memory()))
    try:
        ctl("init", base / "store")
        ctl("create", base / "store", "t")
        ctl("produce", base / "store", "t", input=LINES)
        with open("/dev/full", "wb") as full:
            done = subprocess.run([build_path("tools", "topicctl"), "consume", base / "store", "t"], stdout=full,
                                  stderr=subprocess.PIPE, check=False)
            assert done.returncode == 111 and b"No space left" in done.stderr
            done = subprocess.run([build_path("tools", "topicctl"), "list", base / "store"], stdout=full,
                                  stderr=subprocess.PIPE, check=False)
            assert done.returncode == 111 and b"standard output" in done.stderr
    finally:
        shutil.rmtree(base)


# ---- verify and dump --------------------------------------------------------------------------------


def test_dump(orders):
    entries = ctl_json("dump", orders, "orders/0")
    position = sequence = 0
    for entry in entries:
        assert (entry["pos"], entry["seq"]) == (position, sequence)
        position += entry["length"]
        sequence += entry["records"]
    assert (position, sequence) == (len(LINES), 5000)
    assert entries[-1]["chain"] == ctl_json("describe", orders, "orders")["partitions"][0]["chain"]
    lines = ctl("dump", orders, "orders/0").stdout.decode().splitlines()
    assert lines[0] == "pos seq time length records epoch flags producer producer_seq leader chain"
    assert len(lines) == 1 + len(entries)
    assert ctl_json("dump", orders, "orders/1") == []
    assert "orders/0" in said(ctl("dump", orders, "orders", code=2))


def test_verify_a_sound_store(orders):
    found = ctl_json("verify", orders)
    assert (found["topics"], found["partitions"], found["records"], found["bytes"]) == (1, 2, 5000, len(LINES))
    assert found["segments"] >= 8
    assert found["damages"] == []
    assert ctl("verify", orders).stdout.decode().endswith("sound\n")
    assert ctl("verify", orders, "orders").stdout.decode().endswith("sound\n")
    assert "no such topic" in said(ctl("verify", orders, "none", code=1)).lower()
    assert "sto" in said(ctl("verify", orders.parent / "nostore", code=111))


def segments(store, kind, partition=0):
    return sorted((store / "topics" / "orders" / str(partition)).glob(f"*.{kind}"))


def flip(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 4
    path.write_bytes(data)


def cut(path, size):
    os.truncate(path, path.stat().st_size + size if size < 0 else size)


def swap(a, b):
    other = a.with_name("other")
    a.rename(other)
    b.rename(a)
    other.rename(b)


def remove(*paths):
    for path in paths:
        path.unlink()


# What is done to the store, and the file that the sentence must name.
DAMAGES = {
    "a bit of the first log": lambda s: (flip(segments(s, "log")[0], 1000), segments(s, "log")[0]),
    "the last byte of a full log": lambda s: (flip(segments(s, "log")[2], -1), segments(s, "log")[2]),
    "the last byte of the last log": lambda s: (flip(segments(s, "log")[-1], -1), segments(s, "log")[-1]),
    "an index entry's pos": lambda s: (flip(segments(s, "idx")[1], 64 + 64 * 3), segments(s, "idx")[1]),
    "an index entry's time": lambda s: (flip(segments(s, "idx")[1], 64 + 64 * 3 + 16), segments(s, "idx")[1]),
    "an index entry's records": lambda s: (flip(segments(s, "idx")[1], 64 + 64 * 3 + 28), segments(s, "idx")[1]),
    "an index entry's epoch": lambda s: (flip(segments(s, "idx")[1], 64 + 64 * 3 + 32), segments(s, "idx")[1]),
    "an index entry's producer": lambda s: (flip(segments(s, "idx")[1], 64 + 64 * 3 + 40), segments(s, "idx")[1]),
    "an index entry's chain": lambda s: (flip(segments(s, "idx")[1], 64 + 64 * 3 + 56), segments(s, "idx")[1]),
    "an index header's magic": lambda s: (flip(segments(s, "idx")[1], 0), segments(s, "idx")[1]),
    "an index header's seq": lambda s: (flip(segments(s, "idx")[1], 32), segments(s, "idx")[1]),
    "a cut log": lambda s: (cut(segments(s, "log")[1], 5000), segments(s, "log")[1]),
    "a cut last log": lambda s: (cut(segments(s, "log")[-1], -1), segments(s, "log")[-1]),
    "an empty log": lambda s: (cut(segments(s, "log")[1], 0), segments(s, "log")[1]),
    "a grown log": lambda s: (segments(s, "log")[1].open("ab").write(b"more\n"), segments(s, "log")[1]),
    "a cut index": lambda s: (cut(segments(s, "idx")[1], 64 + 64 * 3), segments(s, "idx")[1]),
    "an index cut within an entry": lambda s: (cut(segments(s, "idx")[1], -10), segments(s, "idx")[1]),
    "an empty index": lambda s: (cut(segments(s, "idx")[1], 0), segments(s, "idx")[1]),
    "a missing segment": lambda s: (remove(segments(s, "log")[2], segments(s, "idx")[2]), segments(s, "log")[2]),
    "a missing log": lambda s: (remove(segments(s, "log")[2]), segments(s, "idx")[1]),
    "a missing index": lambda s: (remove(segments(s, "idx")[2]), segments(s, "log")[2]),
    "swapped logs": lambda s: (swap(segments(s, "log")[1], segments(s, "log")[2]), segments(s, "log")[1]),
    "swapped indexes": lambda s: (swap(segments(s, "idx")[1], segments(s, "idx")[2]), segments(s, "idx")[1]),
    "swapped segments": lambda s: ((swap(segments(s, "idx")[1], segments(s, "idx")[2]),
                                    swap(segments(s, "log")[1], segments(s, "log")[2])), segments(s, "idx")[1]),
    "swapped partitions": lambda s: (swap(s / "topics" / "orders" / "0", s / "topics" / "orders" / "1"),
                                     s / "topics" / "orders" / "1"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_verify_finds(orders, name):
    ctl("produce", orders, "orders/1", input=b"some\nlines\n" * 10)
    unseal(orders)
    ctl("verify", orders)
    before = {path: path.read_bytes() for path in orders.rglob("*") if path.is_file()}
    named = DAMAGES[name](orders)[1]
    after = {path: path.read_bytes() for path in orders.rglob("*") if path.is_file()}
    assert after != before
    done = ctl("verify", orders, code=1)
    lines = done.stdout.decode().splitlines()
    assert lines[-1].endswith(" damaged") and len(lines) >= 2, done.stdout
    partition = f"orders/{named.parent.name}" if named.suffix else f"orders/{named.name}"
    assert any(partition in line for line in lines[:-1]), lines
    found = ctl_json("verify", orders, code=1)
    assert found["damages"] == lines[:-1]
    ctl("verify", orders, "orders", code=1)
    assert {path: path.read_bytes() for path in orders.rglob("*") if path.is_file()} == after


@pytest.mark.parametrize("name", ["a bit of the first log", "an index entry's chain", "a cut log", "an empty index"])
def test_verify_names_the_file_and_the_entry(orders, name):
    named = DAMAGES[name](orders)[1]
    lines = ctl("verify", orders, code=1).stdout.decode().splitlines()
    assert any(named.stem in line for line in lines[:-1]), lines


def test_verify_tells_a_torn_tail_and_damages_nothing(orders):
    last = segments(orders, "log")[-1]
    with last.open("ab") as log:
        log.write(b"whole\ntorn")
    found = ctl_json("verify", orders)
    assert (found["unindexed_bytes"], found["torn_bytes"], found["damages"]) == (6, 4, [])
    assert "no damage" in ctl("verify", orders).stdout.decode()


@pytest.mark.parametrize("name", ["a bit of the first log", "the last byte of a full log", "an index entry's pos",
                                  "an index header's seq", "a cut log", "a cut index", "a missing segment",
                                  "swapped logs"])
def test_verify_finds_without_a_checkpoint(orders, name):
    """As in a copy made by hand, whose checkpoint says nothing or is not there."""
    (orders / "checkpoint").unlink()
    ctl("verify", orders)
    DAMAGES[name](orders)
    ctl("verify", orders, code=1)


def test_verify_a_copy(orders):
    copy = orders.parent / "copy"
    shutil.copytree(orders, copy)
    assert ctl_json("verify", copy)["records"] == 5000
    flip(segments(copy, "log")[0], 1000)
    ctl("verify", copy, code=1)


def test_verify_leaves_other_topics_out(orders):
    ctl("create", orders, "other")
    flip(segments(orders, "log")[0], 10)
    assert ctl_json("verify", orders, "other")["damages"] == []
    ctl("verify", orders, code=1)


# ---- a store in use, and the command line -----------------------------------------------------------


@pytest.fixture
def held(orders):
    """Another process has the store open: topicctl itself, waiting for more input."""
    child = subprocess.Popen([build_path("tools", "topicctl"), "produce", orders, "orders/1"], stdin=subprocess.PIPE)
    child.stdin.write(b"held\n")
    child.stdin.flush()
    wait_for(lambda: any(path.stat().st_size == 5 for path in segments(orders, "log", 1)), "the other process")
    yield orders, child.pid
    child.stdin.close()
    assert child.wait(60) == 0


@pytest.mark.parametrize("argv", [
    ["produce", "STORE", "orders/0"], ["create", "STORE", "new"], ["delete", "STORE", "orders", "--yes"],
    ["config", "STORE", "orders", "--set", "flush.ms=1s"], ["verify", "STORE"]])
def test_a_store_in_use_is_not_written_and_not_verified(held, argv):
    store, pid = held
    done = ctl(*[store if word == "STORE" else word for word in argv], input=b"x\n", code=111)
    assert f"process {pid} has this store open" in said(done)


def test_a_store_in_use_can_be_looked_at(held):
    store, pid = held
    done = ctl("consume", store, "orders/0")
    assert done.stdout == LINES
    assert f"process {pid} has this store open" in said(done)
    assert consume(store, "orders/1") == b"held\n"
    assert [each["topic"] for each in ctl_json("list", store)] == ["orders"]


@pytest.mark.parametrize("command", ["list", "describe", "create", "delete", "config", "produce", "consume", "trim",
                                     "trash", "restore", "discard", "verify", "dump", "init", "adopt", "clone"])
def test_every_command_has_help(command):
    text = ctl(command, "--help").stdout.decode()
    assert text.startswith(f"usage: topicctl {command} ") and len(text.splitlines()) >= 3
    assert f"  {command} " in ctl("--help").stdout.decode()
    assert "usage: topicctl" in said(ctl(command, "--no-such-option", code=2))


def test_misuse():
    assert "no such command" in said(ctl("frobnicate", code=2))
    assert "usage" in said(ctl(code=2))
    assert ctl("--version").stdout.startswith(b"topicctl ")


def test_what_is_no_store(store):
    for where in [store.parent / "missing", store.parent, "/dev/null"]:
        assert str(where) in said(ctl("list", where, code=111))
    assert os.listdir(store.parent) == ["store"]


# ---- progress ---------------------------------------------------------------------------------------


def test_progress_on_a_terminal_and_silence_in_a_pipe(store):
    ctl("create", store, "t")
    script = """for i in 1 2 3 4 5; do printf 'a line of text\\n%.0s' $(seq 2000); sleep 0.5; done |
                "$1" produce "$2" t"""
    pid, fd = pty.fork()
    if pid == 0:
        os.execv("/bin/bash", ["bash", "-c", script, "bash", str(build_path("tools", "topicctl")), str(store)])
    shown = b""
    while True:
        try:
            piece = os.read(fd, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(fd)
    assert b"produce: " in shown and b"/s" in shown and shown.endswith(b"\r\x1b[K")
    done = run("bash", "-c", script, "bash", build_path("tools", "topicctl"), store)
    assert done.stderr == b"" and done.stdout == b""


def test_consume_tells_how_long_it_will_take(store):
    """Into a pipe whose reader takes two seconds; stderr is a terminal."""
    ctl("create", store, "t")
    data = LINES * 4
    ctl("produce", store, "t", input=data)
    master, slave = pty.openpty()
    child = subprocess.Popen([build_path("tools", "topicctl"), "consume", store, "t"], stdout=subprocess.PIPE,
                             stderr=slave)
    got, begin = b"", time.monotonic()
    while piece := child.stdout.read(65536):
        got += piece
        while len(got) < len(data) and time.monotonic() - begin < 2 * len(got) / len(data):
            time.sleep(0.01)  # the pace of the reader
    child.stdout.close()
    assert child.wait(60) == 0 and got == data
    os.set_blocking(master, False)
    shown = os.read(master, 65536)
    os.close(slave)
    os.close(master)
    assert b"consume: " in shown and b"%, " in shown and b"/s, 0:0" in shown and b" left" in shown, shown
    assert shown.endswith(b"\r\x1b[K")
