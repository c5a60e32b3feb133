"""topicctl on sealed segments: describe, consume, dump and verify, and what it says of damaged ones."""

import os
import subprocess

import pytest

from harness import ctl, ctl_json, run, said, wait_for

# 3 MiB in two sealed segments of several frames each, and an active one.
LINES = [b"line %d %s\n" % (n, b"%x" % (n * 2654435761 % 2**32) * (n % 30)) for n in range(24000)]
DATA = b"".join(LINES)
FRAME = 256 << 10


def files(store, kind, partition=0):
    return sorted((store / "topics" / "orders" / str(partition)).glob(f"*.{kind}"))


def fill(idle, **keys):
    idle.start()
    idle.topic("orders", 2, segment_bytes="1MiB", flush_ms="100ms", **keys)
    ctl("produce", idle.path, "orders/0", "--sync=200", input=DATA)  # entries of 24 KB


@pytest.fixture
def sealed(idle):
    """A store that no daemon has open, whose orders/0 holds DATA in sealed segments and an active one."""
    fill(idle, seal_linger_ms=0)
    wait_for(lambda: len(files(idle.store, "zst")) >= 2 and len(files(idle.store, "log")) == 1, "the sealing")
    idle.online = ctl_json("describe", idle.path, "orders")
    idle.stop()
    return idle.store


@pytest.fixture
def damaged(sealed):
    """The same; the test damages it, and the daemon's end finds that no more."""
    yield sealed
    run("rm", "-r", sealed)


def consume(where, *options, **more):
    return ctl("consume", where, "orders/0", *options, **more)


def test_describe_tells_what_is_sealed(idle, sealed):
    one, two = ctl_json("describe", sealed, "orders")["partitions"]
    active = files(sealed, "log")[-1]
    assert one["segments"] == len(files(sealed, "zst")) + 1 and two["segments"] == 1
    assert one["sealed_bytes"] == int(active.stem) and two["sealed_bytes"] == 0
    on_disk = sum(path.stat().st_blocks * 512 for path in active.parent.iterdir() if path.suffix in (".zst", ".log", ".idx"))
    assert abs(one["disk_bytes"] - on_disk) <= 16384 and one["disk_bytes"] < len(DATA)
    for seen in idle.online["partitions"]:
        offline = [one, two][seen["partition"]]
        for key in ["start", "end", "records", "segments", "sealed_bytes", "chain", "first_record"]:
            assert seen[key] == offline[key], key
    listed = ctl_json("list", sealed)[0]
    assert listed["bytes"] == len(DATA) and listed["disk_bytes"] == one["disk_bytes"] + two["disk_bytes"]


def test_consume_reads_sealed_segments_like_the_rest(sealed):
    assert consume(sealed).stdout == DATA
    assert consume(sealed, "--from", "r100", "-n", 3).stdout == b"".join(LINES[100:103])
    assert consume(sealed, "--from=-20000", "-n", 1).stdout == LINES[4000]
    middle = len(b"".join(LINES[:5000]))
    assert consume(sealed, "--from", f"b{middle - 1}", "-n", 1).stdout == LINES[5000]


def test_zstdcat_needs_no_topicfs(sealed):
    text = run("zstdcat", *files(sealed, "zst")).stdout + files(sealed, "log")[-1].read_bytes()
    assert text == DATA


def test_dump_is_the_same_before_and_after(idle):
    fill(idle)
    wait_for(lambda: len(files(idle.store, "zst")) >= 2, "the sealing")
    idle.stop()
    plain = [files(idle.store, kind)[:-1] for kind in ("log", "idx")]
    before = ctl("dump", idle.store, "orders/0").stdout
    for path in plain[0] + plain[1]:
        path.unlink()
    after = ctl("dump", idle.store, "orders/0").stdout
    assert before.count(b"\n") > 100 and after == before


def test_verify_a_sound_one(sealed):
    found = ctl_json("verify", sealed)
    assert (found["records"], found["bytes"], found["damages"]) == (len(LINES), len(DATA), [])
    assert ctl("verify", sealed).stdout.decode().endswith("sound\n")


def flip(path, offset):
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


def test_a_damaged_frame_is_named_and_costs_itself_alone(damaged):
    first = files(damaged, "zst")[0]
    flip(first, 1000)
    lines = ctl("verify", damaged, code=1).stdout.decode().splitlines()
    assert lines[-1].endswith(" 1 damaged")
    assert [line for line in lines[:-1] if "orders/0" in line and first.stem in line and "frame" in line], lines
    assert ctl_json("verify", damaged, code=1)["damages"] == lines[:-1]
    done = consume(damaged, code=111)
    assert done.stdout == b"" and "topicctl: orders/0: " in said(done)
    place = FRAME + (64 << 10)  # past the entry that begins in the damaged frame
    behind = len(DATA) - len(DATA[place:].split(b"\n", 1)[1])
    assert consume(damaged, "--from", f"b{place + 1}").stdout == DATA[behind:]


@pytest.mark.parametrize("name, damage", [
    ("cut", lambda path: os.truncate(path, path.stat().st_size - 1)),
    ("half", lambda path: os.truncate(path, path.stat().st_size // 2)),
    ("empty", lambda path: os.truncate(path, 0)),
    ("another's", lambda path: path.write_bytes(files(path.parents[3], "zst")[1].read_bytes())),
    ("its index", lambda path: flip(path, path.stat().st_size - 200)),
    ("its end", lambda path: flip(path, path.stat().st_size - 2)),
])
def test_verify_names_a_damaged_file(damaged, name, damage):
    first = files(damaged, "zst")[0]
    damage(first)
    lines = ctl("verify", damaged, code=1).stdout.decode().splitlines()
    assert [line for line in lines[:-1] if "orders/0" in line and first.stem in line], lines
    assert not [line for line in lines[:-1] if line != line.strip() or line.endswith(".")]


def test_verify_tells_a_hole(damaged):
    gone = files(damaged, "zst")[1]
    gone.unlink()
    lines = ctl("verify", damaged, code=1).stdout.decode().splitlines()
    assert [line for line in lines[:-1] if str(int(gone.stem)) in line], lines


def test_a_copy_that_missed_the_oldest_begins_later(damaged):
    """As one that was made while the head was trimmed: shorter, and sound."""
    copy = damaged.parent / "copy"
    subprocess.run(["cp", "-r", damaged, copy], check=True)
    files(copy, "zst")[0].unlink()
    begin = int(files(copy, "zst")[0].stem)
    ctl("verify", copy)
    assert ctl("consume", copy, "orders/0").stdout == DATA[begin:]
    assert ctl_json("describe", copy, "orders")["partitions"][0]["start"] == begin


def test_trimming_offline_removes_sealed_segments(sealed):
    second = files(sealed, "zst")[1]
    ctl("trim", sealed, "orders/0", str(int(second.stem) + 5))
    assert files(sealed, "zst")[0] == second and consume(sealed).stdout == DATA[int(second.stem):]
    ctl("trim", sealed, "orders/0", "end")
    assert files(sealed, "zst") == [] and consume(sealed).stdout == b""
