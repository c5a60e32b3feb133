"""topicctl adopt and clone."""

import re
import shutil

import pytest

from harness import ctl, said


def make(where, topic, *partitions):
    """A topic; each partition gets those bytes."""
    ctl("create", where, topic, "--partitions", len(partitions))
    for number, data in enumerate(partitions):
        ctl("produce", where, f"{topic}/{number}", input=data)


def consume(where, target):
    return ctl("consume", where, target).stdout


def identity(store):
    return re.match(r"[0-9a-f-]{36}\n", (store / "id").read_text()).group()


def test_clone_and_adopt(idle):
    ctl("init", idle.store)
    make(idle.store, "orders", b"a\nb\n")
    copy, moved = idle.base / "copy", idle.base / "moved"
    shutil.copytree(idle.store, copy)
    shutil.copytree(idle.store, moved)
    assert "copy" in said(ctl("produce", copy, "orders", input=b"c\n")).lower()
    ctl("clone", copy)
    assert identity(copy) != identity(idle.store)
    ctl("adopt", moved)
    assert identity(moved) == identity(idle.store)
    for store in [copy, moved]:
        done = ctl("produce", store, "orders", input=b"d\n")
        assert said(done) == "", "the store is settled"
        ctl("verify", store)
    assert consume(copy, "orders") == b"a\nb\nc\nd\n" and consume(moved, "orders") == b"a\nb\nd\n"


@pytest.mark.parametrize("command", ["adopt", "clone"])
def test_what_cannot_be_settled(idle, command):
    idle.start()
    assert "is a mountpoint" in said(ctl(command, idle.path, code=2))
    done = ctl(command, idle.store, code=111)
    assert f"process {idle.process.pid} has this store open" in said(done)
    assert "missing" in said(ctl(command, idle.base / "missing", code=111))
    assert str(idle.base) in said(ctl(command, idle.base, code=111))
    assert "wants the directory" in said(ctl(command, code=2))
    assert idle.process.poll() is None
