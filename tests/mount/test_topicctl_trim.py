"""topicctl trim, on a mount and on a store directory alike."""

import os
import subprocess
import time

import pytest

from harness import NOBODY, append, as_user, build_path, ctl, ctl_json, read, run, said, wait_for

LINES = [b"line %d %s\n" % (n, b"x" * (n * 7919 % 200)) for n in range(5000)]
DATA = b"".join(LINES)


@pytest.fixture(params=["online", "offline"])
def where(request, idle):
    """A mountpoint, or a store: topic orders has two partitions of small segments, 0 holds LINES."""
    idle.online = request.param == "online"
    if idle.online:
        idle.start()
    else:
        ctl("init", idle.store)
    place = idle.path if idle.online else idle.store
    ctl("create", place, "orders", "--partitions", 2, "--set", "segment.bytes=64KiB")
    ctl("produce", place, "orders/0", "--sync=20", input=DATA)
    return place


def stands(where, number=0, topic="orders"):
    """Without what syncing and sealing change in the background."""
    partition = ctl_json("describe", where, topic)["partitions"][number]
    return {key: value for key, value in partition.items() if key not in ("durable", "sealed_bytes", "disk_bytes")}


def consume(where, target="orders/0", *options):
    return ctl("consume", where, target, *options).stdout


@pytest.mark.sanitize
@pytest.mark.parametrize("word", ["b200000", "200000", "r2500", "-2500"])
def test_whole_segments_before_a_place_go(where, word):
    before = stands(where)
    told = ctl("trim", where, "orders/0", word).stdout.decode()
    after = stands(where)
    start = after["start"]
    place = len(b"".join(LINES[:2500])) if "2500" in word else 200000
    assert place - (64 << 10) - 220 < start <= place and DATA[start - 1:start] == b"\n"
    assert consume(where) == DATA[start:]
    first = DATA[:start].count(b"\n")
    assert (after["first_record"], after["records"], after["end"]) == (first, 5000 - first, before["end"])
    assert after["chain"] == before["chain"] and 0 < after["segments"] < before["segments"]
    assert told == f"orders/0: {first} records, {start} bytes trimmed; it begins at r{first}, b{start} now\n"
    assert consume(where, "orders/0", "--from", "r0", "-n", 1) == LINES[first]
    assert b"nothing to trim" in ctl("trim", where, "orders/0", word).stdout
    assert stands(where) == after


def test_trimming_to_the_end_leaves_nothing_and_positions_go_on(where):
    assert b"5000 records" in ctl("trim", where, "orders/0", "end").stdout
    after = stands(where)
    assert (after["start"], after["end"], after["first_record"], after["records"]) == (len(DATA), len(DATA), 5000, 0)
    assert consume(where) == b""
    assert ctl("trim", where, "orders/0", "end").stdout == b"orders/0: holds no records\n"
    ctl("produce", where, "orders/0", input=b"more\n")
    after = stands(where)
    assert (after["start"], after["end"], after["first_record"]) == (len(DATA), len(DATA) + 5, 5000)
    assert consume(where) == b"more\n" == consume(where, "orders/0", "--from", "r5000")


@pytest.mark.parametrize("word", ["start", "0", "b0", "r0", "-5000", "-99999", "-15m", "2020-01-01", "2020-01-01T00:00:00Z"])
def test_nothing_before_it_nothing_to_trim(where, word):
    before = stands(where)
    assert ctl("trim", where, "orders/0", word).stdout.startswith(b"orders/0: nothing to trim: ")
    assert stands(where) == before


def test_trim_by_time(where):
    moment = stands(where)["modified_ns"] + 1
    wait_for(lambda: time.time_ns() > moment + 200_000_000, "a later time")
    ctl("produce", where, "orders/0", input=DATA)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment // 10**9)) + f".{moment % 10**9:09}Z"
    ctl("trim", where, "orders/0", text)
    start = stands(where)["start"]
    assert len(DATA) - (64 << 10) - 220 < start <= len(DATA)
    assert consume(where) == (DATA + DATA)[start:]


def test_all_partitions_of_a_topic(where):
    ctl("produce", where, "orders/1", input=b"few\n")
    found = ctl_json("trim", where, "orders", "end")
    assert [(each["partition"], each["trimmed_records"], each["trimmed_bytes"]) for each in found] == [
        (0, 5000, len(DATA)), (1, 1, 4)]
    assert found[1]["start"] == found[1]["end"] == 4 and found[1]["first_record"] == 1
    assert consume(where, "orders") == b""


@pytest.mark.parametrize("target, word, code, sentence", [
    ("orders/0", "b99999999", 2, "past the end"),
    ("orders/0", "99999999", 2, "past the end"),
    ("orders/0", "r5001", 2, "past the last record, r4999"),
    ("orders/0", "2199-01-01", 2, "still to come"),
    ("orders/0", "later", 2, "none of end, start"),
    ("orders/0", "-3y", 2, "none of end, start"),
    ("orders/0", "", 2, "none of end, start"),
    ("orders/7", "end", 1, "no such partition"),
    ("none/0", "end", 1, "no such topic"),
    ("none", "end", 1, "no such topic"),
    ("a b", "end", 2, "not a topic's name"),
])
def test_refusals_change_nothing(where, target, word, code, sentence):
    before = stands(where)
    assert sentence in said(ctl("trim", where, target, word, code=code))
    assert stands(where) == before and consume(where) == DATA


def test_wants_all_its_words(where):
    assert "wants WHERE" in said(ctl("trim", where, "orders/0", code=2))
    assert "wants WHERE" in said(ctl("trim", where, "-3d", code=2))
    assert "wants WHERE" in said(ctl("trim", where, "orders/0", "end", "end", code=2))


@pytest.mark.parametrize("where", ["online"], indirect=True)
def test_a_reader_goes_on_and_a_new_one_begins_later(where):
    with open(where / "orders" / "0", "rb", buffering=0) as reader:
        assert reader.read(10) == DATA[:10]
        ctl("trim", where, "orders/0", "-100")
        start = stands(where)["start"]
        assert start > 0 and read(where / "orders" / "0") == DATA[start:]
        append(where / "orders" / "0", b"more\n")
        rest = b"".join(iter(lambda: reader.read(100000), b""))
        assert rest == DATA[10:] + b"more\n"
    assert read(where / "orders" / "0") == DATA[start:] + b"more\n"


@pytest.mark.parametrize("where", ["online"], indirect=True)
def test_the_end_is_that_of_the_moment_however_much_is_written(where):
    """What is appended between the look and the trim must not keep what was there before."""
    script = 'while :; do echo "more and more" >> "$1/orders/0" || exit; done'
    with subprocess.Popen(["bash", "-c", script, "bash", where]) as writer:
        try:
            wait_for(lambda: os.stat(where / "orders" / "0").st_size > len(DATA), "the writer")
            for _ in range(10):
                end = stands(where)["end"]
                ctl("trim", where, "orders/0", "end")
                assert stands(where)["start"] >= end
        finally:
            writer.kill()
    assert set(read(where / "orders" / "0").splitlines()) <= {b"more and more"}


@pytest.mark.parametrize("where", ["online"], indirect=True)
def test_a_slow_consumer_is_told_that_it_was_trimmed(idle, where):
    """consume, into a pipe that nobody reads for a while, of more than it and the pipe hold."""
    ctl("config", where, "orders", "--set", "pin.bytes=0", "--set", "pin.ms=0")
    for _ in range(8):
        ctl("produce", where, "orders/0", input=DATA)
    child = idle.spawn(build_path("tools", "topicctl"), "consume", where, "orders/0", stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE)
    got = os.read(child.stdout.fileno(), 10)
    ctl("trim", where, "orders/0", "end")
    wait_for(lambda: not list((idle.store / "topics" / "orders" / "0").glob(f"{0:020}.*")), "the files' end")
    rest, message = child.communicate(timeout=60)
    got += rest
    assert child.returncode == 111 and message == b"topicctl: orders/0: trimmed while it was read\n"
    assert 0 < len(got) < len(DATA) * 9 and (DATA * 9).startswith(got)


@pytest.mark.parametrize("where", ["online"], indirect=True)
def test_wants_write_permission_on_the_topic(idle, where):
    idle.stop()
    idle.options = "allow_other"
    idle.start()
    done = run(*as_user(build_path("tools", "topicctl"), "trim", where, "orders/0", "end", uid=NOBODY), code=111)
    assert "Permission denied" in said(done)
    assert consume(where) == DATA
    os.chmod(where / "orders", 0o777)
    run(*as_user(build_path("tools", "topicctl"), "trim", where, "orders/0", "end", uid=NOBODY))
    assert consume(where) == b""


@pytest.mark.parametrize("where", ["online"], indirect=True)
def test_a_read_only_mount_is_not_trimmed(idle, where):
    idle.stop()
    idle.options = "ro"
    idle.start()
    assert "Read-only" in said(ctl("trim", where, "orders/0", "end", code=111))
    assert consume(where) == DATA


@pytest.mark.parametrize("where", ["online"], indirect=True)
def test_a_store_in_use_is_not_trimmed(idle, where):
    assert "has this store open" in said(ctl("trim", idle.store, "orders/0", "end", code=111))
    assert consume(where) == DATA
