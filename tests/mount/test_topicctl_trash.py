"""topicctl trash, restore and discard, on a mount and on a store directory alike."""

import os
import time

import pytest

from harness import NOBODY, as_user, build_path, ctl, ctl_json, run, said


@pytest.fixture(params=["online", "offline"])
def where(request, idle):
    """A mountpoint, or a store."""
    if request.param == "online":
        idle.start()
        return idle.path
    ctl("init", idle.store)
    return idle.store


def make(where, topic, *partitions):
    """A topic; each partition gets those bytes."""
    ctl("create", where, topic, "--partitions", len(partitions))
    for number, data in enumerate(partitions):
        ctl("produce", where, f"{topic}/{number}", "--sync", input=data)


def delete(where, target):
    ctl("delete", where, target, "--yes")


def trash(where):
    return ctl_json("trash", where)


def topics(where):
    return [each["topic"] for each in ctl_json("list", where)]


def consume(where, target):
    return ctl("consume", where, target).stdout


@pytest.mark.sanitize
def test_a_topic_comes_back_as_it_was(where):
    make(where, "orders", b"a\nb\n", b"c\n")
    ctl("config", where, "orders", "--set", "segment.bytes=1MiB")
    before = ctl_json("describe", where, "orders")
    begin = time.time_ns()
    assert trash(where) == []
    delete(where, "orders")
    (item,) = trash(where)
    assert (item["topic"], item["partition"]) == ("orders", None)
    assert begin - 10**9 <= item["removed_ns"] <= time.time_ns() and item["disk_bytes"] > 0
    assert topics(where) == []
    assert ctl("restore", where, item["item"]).stdout == b"orders\n"
    after = ctl_json("describe", where, "orders")
    for partition in [*before["partitions"], *after["partitions"]]:
        for changes in ["disk_bytes", "durable", "modified", "modified_ns"]:
            partition.pop(changes)
    assert after == before
    assert trash(where) == [] and consume(where, "orders") == b"a\nb\nc\n"
    ctl("produce", where, "orders/1", input=b"d\n")
    assert consume(where, "orders") == b"a\nb\nc\nd\n"


@pytest.mark.sanitize
def test_a_partition_comes_back_as_it_was(where):
    make(where, "orders", b"a\n", b"b\nc\n")
    delete(where, "orders/1")
    (item,) = trash(where)
    assert (item["topic"], item["partition"]) == ("orders", 1)
    assert [each["partition"] for each in ctl_json("describe", where, "orders")["partitions"]] == [0]
    assert ctl("restore", where, item["item"]).stdout == b"orders/1\n"
    assert trash(where) == [] and consume(where, "orders/1") == b"b\nc\n"
    ctl("produce", where, "orders/1", input=b"d\n")
    one = ctl_json("describe", where, "orders/1")["partitions"][0]
    assert (one["start"], one["end"], one["records"]) == (0, 6, 3)


def test_it_survives_a_restart(idle):
    idle.start()
    make(idle.path, "orders", b"a\n", b"b\n")
    delete(idle.path, "orders/1")
    delete(idle.path, "orders")
    idle.restart()
    assert [(each["topic"], each["partition"]) for each in trash(idle.path)] == [("orders", 1), ("orders", None)]
    ctl("restore", idle.path, "orders")
    ctl("restore", idle.path, "orders/1")
    idle.restart()
    assert consume(idle.path, "orders") == b"a\nb\n" and trash(idle.path) == []


def test_a_name_for_what_was_removed_last(where):
    for data in [b"first\n", b"second\n"]:
        make(where, "orders", data)
        delete(where, "orders")
    assert [each["topic"] for each in trash(where)] == ["orders", "orders"]
    ctl("restore", where, "orders")
    assert consume(where, "orders") == b"second\n"
    assert "orders: a topic of that name is there" in said(ctl("restore", where, "orders", code=1))
    delete(where, "orders")
    items = trash(where)
    assert items[0]["removed_ns"] < items[1]["removed_ns"]
    ctl("restore", where, items[0]["item"])
    assert consume(where, "orders") == b"first\n"


def test_partition_three_of_a_is_not_topic_a_three(where):
    make(where, "a", b"", b"", b"", b"partition\n")
    make(where, "a.3", b"topic\n")
    delete(where, "a/3")
    delete(where, "a.3")
    assert [(each["topic"], each["partition"]) for each in trash(where)] == [("a", 3), ("a.3", None)]
    ctl("restore", where, "a.3")
    ctl("restore", where, "a/3")
    assert consume(where, "a.3") == b"topic\n" and consume(where, "a/3") == b"partition\n"


def test_what_rm_removed_piece_by_piece(idle):
    """The partitions first, then the topic, as rm -r does it."""
    idle.start()
    make(idle.path, "orders", b"a\n", b"", b"c\n")
    ctl("config", idle.path, "orders", "--set", "delete.enable=true")
    run("rm", "-r", idle.path / "orders")
    assert [(each["topic"], each["partition"]) for each in trash(idle.path)] == [
        ("orders", 0), ("orders", 2), ("orders", None)]
    idle.restart()
    assert "its topic is not there" in said(ctl("restore", idle.path, "orders/2", code=1))
    done = ctl("restore", idle.path, "orders")
    assert done.stdout == b"orders\n" and "orders: partitions that were removed one by one" in said(done)
    assert ctl("restore", idle.path, "orders/0", "orders/2").stdout == b"orders/0\norders/2\n"
    assert consume(idle.path, "orders") == b"a\nc\n" and trash(idle.path) == []


def test_nothing_that_is_there_is_replaced(where):
    make(where, "orders", b"a\n", b"b\n")
    delete(where, "orders/1")
    ctl("create", where, "orders/1")
    ctl("produce", where, "orders/1", input=b"new\n")
    assert "orders/1: a partition of that number is there" in said(ctl("restore", where, "orders/1", code=1))
    assert consume(where, "orders/1") == b"new\n" and len(trash(where)) == 1
    one = ctl_json("describe", where, "orders/1")["partitions"][0]
    assert (one["start"], one["first_record"]) == (2, 1)


def test_a_partition_of_a_topic_that_is_another_one_now(where):
    make(where, "orders", b"a\n", b"b\n")
    delete(where, "orders/1")
    delete(where, "orders")
    assert "orders/1: its topic is not there" in said(ctl("restore", where, "orders/1", code=1))
    make(where, "orders", b"anew\n")
    assert "orders/1: its topic was made anew since" in said(ctl("restore", where, "orders/1", code=1))
    assert consume(where, "orders") == b"anew\n" and len(trash(where)) == 2


def test_discard(where):
    for name in ["a", "b", "c"]:
        make(where, name, b"data\n")
        delete(where, name)
    items = [each["item"] for each in trash(where)]
    assert "no such item" in said(ctl("discard", where, "a", code=1))
    ctl("discard", where, items[1])
    assert [each["item"] for each in trash(where)] == [items[0], items[2]]
    assert "no such item" in said(ctl("discard", where, items[1], code=1))
    assert "no such item" in said(ctl("restore", where, items[1], code=1))
    ctl("discard", where, "--all")
    assert trash(where) == []
    ctl("discard", where, "--all")


def test_as_a_table(where):
    make(where, "orders", b"a\n", b"b\n")
    delete(where, "orders/1")
    delete(where, "orders")
    lines = [line.split() for line in ctl("trash", where).stdout.decode().splitlines()]
    assert lines[0] == ["WHAT", "REMOVED", "DISK", "ITEM"]
    assert [line[0] for line in lines[1:]] == ["orders/1", "orders"]
    assert [line[3] for line in lines[1:]] == [each["item"] for each in trash(where)]


@pytest.mark.parametrize("item", ["none", "..", "../topics", ".", "", "x" * 600, "a/b"])
def test_what_is_not_in_the_trash(where, item):
    make(where, "orders", b"a\n")
    for command in ["restore", "discard"]:
        assert "no such item in the trash" in said(ctl(command, where, item, code=1))
    assert consume(where, "orders") == b"a\n"


def test_misuse(where):
    assert "wants WHERE and ITEM" in said(ctl("restore", where, code=2))
    assert "wants WHERE and ITEM" in said(ctl("discard", where, code=2))
    assert "WHERE alone" in said(ctl("discard", where, "--all", "x", code=2))
    assert "wants WHERE" in said(ctl("trash", code=2))


def test_permissions(idle):
    """The trash is the root directory's: who may make and remove topics there, may restore and discard."""
    idle.options = "allow_other"
    idle.start()
    make(idle.path, "orders", b"a\n")
    delete(idle.path, "orders")
    (item,) = trash(idle.path)
    topicctl = build_path("tools", "topicctl")
    for command in ["restore", "discard"]:
        assert "Permission denied" in said(run(*as_user(topicctl, command, idle.path, item["item"]), code=111))
    assert len(trash(idle.path)) == 1
    os.chmod(idle.path, 0o777)
    run(*as_user(topicctl, "restore", idle.path, item["item"], uid=NOBODY))
    assert consume(idle.path, "orders") == b"a\n"
