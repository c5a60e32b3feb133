"""Rows about a log that is raw: producing, reading, waiting, starting."""
import json
import os
import re
import subprocess
import time

from bench import SIDES
from report import plural
from sides import MIB, Mounted, Topicfs, Wrong, command, evict, program


def produce(bench, line_bytes, write_bytes, total, writers=1, sync=None, cpu=None, daemon_cpu=None):
    """Bytes a second, or lines a second when a write is a line."""
    if bench.quick:
        total = min(total, 64 * write_bytes)

    def measure(side, _name):
        side.pin(daemon_cpu)
        path = side.fresh(bench.name())(0)
        words = [program("produce"), "-l", line_bytes, "-w", write_bytes, "-j", writers, "-n", total // writers]
        got = json.loads(command(*words, *(["-s", sync] if sync else []), path, cpu=cpu))
        # A rest at the close gets its newline, so topicfs may hold a byte more for each writer.
        size = path.stat().st_size
        if not got["bytes"] <= size <= got["bytes"] + writers:
            raise Wrong(f"{path}: {size} bytes after {got['bytes']} were written")
        side.pin(None)
        return (got["lines"] if write_bytes == line_bytes else got["bytes"] / MIB) / (got["ns"] / 1e9)

    return measure


def durable(bench, writers, paths, door="", line_bytes=100):
    """Lines a second, each of them made durable before the next."""
    def measure(side, _name):
        path = side.fresh(bench.name(), paths)
        files = [path(number, door if isinstance(side, Topicfs) else "") for number in range(paths)]
        got = json.loads(command(program("produce"), "-l", line_bytes, "-j", writers, "-s", "each",
                                 "-t", 100 if bench.quick else 2000, *files))
        size = sum(path(number).stat().st_size for number in range(paths))
        if size != got["bytes"]:
            raise Wrong(f"{path(0)}: {size} bytes after {got['bytes']} were written")
        return got["lines"] / (got["ns"] / 1e9)

    return measure


def produce_rows(bench):
    half = [("ext4", 0.6)]
    for line_bytes in (100, 1024):
        for label, write_bytes, total in (("4 KiB", 4096, 64 * MIB), ("64 KiB", 65536, 256 * MIB),
                                          ("1 MiB", MIB, 256 * MIB)):
            for writers in (1, 4):
                bench.row(f"produce, {line_bytes}-byte lines, {label} writes, {plural(writers, 'writer')}", "MiB/s",
                          produce(bench, line_bytes, write_bytes, total, writers),
                          target=half if (line_bytes, label, writers) == (100, "64 KiB", 1) else None)
    bench.row("produce, 100-byte lines, 64 KiB writes, 1 writer, one CPU", "MiB/s",
              produce(bench, 100, 65536, 256 * MIB, 1, None, 0, 0), target=half)
    bench.row("produce, 100-byte lines, 65500-byte writes, 1 writer", "MiB/s",
              produce(bench, 100, 65500, 256 * MIB))
    bench.row("produce, 100-byte lines, 64 KiB writes, fdatasync at the end", "MiB/s",
              produce(bench, 100, 65536, 128 * MIB, sync="end"))


def line_rows(bench):
    near = [("minimal", 0.9)]
    last = os.cpu_count() - 1
    for label, cpu, daemon_cpu in (("one CPU", 0, 0), ("two CPUs", 0, last), ("unpinned", None, None)):
        bench.row(f"produce, 100 bytes, one write a line, 1 writer, {label}", "lines/s",
                  produce(bench, 100, 100, 10_000_000, 1, None, cpu, daemon_cpu), target=near)
    bench.row("produce, 1 KiB, one write a line, 1 writer, unpinned", "lines/s",
              produce(bench, 1024, 1024, 102_400_000))
    for line_bytes in (100, 1024):
        bench.row(f"produce, {line_bytes} bytes, one write a line, 4 writers, unpinned", "lines/s",
                  produce(bench, line_bytes, line_bytes, 100_000 * line_bytes, 4))


def durable_rows(bench):
    bench.row("durable, 1 writer, fdatasync a line", "lines/s", durable(bench, 1, 1), target=[("ext4", 1.2)])
    bench.row("durable, 1 writer, 1 KiB lines, fdatasync a line", "lines/s", durable(bench, 1, 1, "", 1024))
    bench.row("durable, 4 writers of one partition, fdatasync a line", "lines/s", durable(bench, 4, 1))
    bench.row("durable, 64 writers through 0@append, fdatasync a line", "lines/s", durable(bench, 64, 1, "@append"),
              target=[("ext4", 4)])
    bench.row("durable, 64 partitions, one writer each, fdatasync a line", "lines/s", durable(bench, 64, 64),
              target=[("ext4", 4)])


def read_rows(bench):
    total = 4 * MIB if bench.quick else 512 * MIB
    paths = {}

    def filled(side, name):
        if name not in paths:
            paths[name] = side.fresh(bench.name())(0)
            json.loads(command(program("produce"), "-w", 65500, "-s", "end", "-n", total, paths[name]))
        return paths[name]

    def cat(side, name):
        path = filled(side, name)
        with open(os.devnull, "wb") as sink:
            began = time.perf_counter_ns()
            subprocess.run(["cat", str(path)], stdout=sink, check=True)
            return path.stat().st_size / MIB / ((time.perf_counter_ns() - began) / 1e9)

    def by_buffer(buffer_bytes):
        def measure(side, name):
            path = filled(side, name)
            got = json.loads(command(program("consume"), "-b", buffer_bytes, path))
            if got["bytes"] != path.stat().st_size:
                raise Wrong(f"{path}: {got['bytes']} bytes read")
            return got["bytes"] / MIB / (got["ns"] / 1e9)
        return measure

    def cold(measure):
        def from_disk(side, name):
            filled(side, name)
            if isinstance(side, Mounted):
                side.stop()
            for file in side.backing():
                evict(file)
            if isinstance(side, Mounted):
                side.start()
            return measure(side, name)
        return from_disk

    names = [("cat, from memory", cat, [("ext4", 0.7), ("minimal", 1.0)]),
             ("4 KiB reads, from memory", by_buffer(4096), None),
             ("1 MiB reads, from memory", by_buffer(MIB), None),
             ("cat, from disk", cold(cat), [("ext4", 3.0)]),
             ("4 KiB reads, from disk", cold(by_buffer(4096)), None)]
    if not any(bench.only.search("read, " + name) for name, _, _ in names):
        return
    for name, measure, target in names:
        bench.row("read, " + name, "MiB/s", measure, target=target, keep=True)
    for side in bench.sides.values():
        side.clear()


def latency_rows(bench):
    lines = 50 if bench.quick else 2000
    names = {"p50": "line written to waiting reader, p50", "p99": "line written to waiting reader, p99"}
    if not any(bench.only.search(name) for name in names.values()):
        return
    values = {part: {side: [] for side in SIDES} for part in names}
    for turn in range(bench.repeat):
        for side in SIDES[turn % 3:] + SIDES[:turn % 3]:
            bench.say(f"latency: {turn + 1} of {bench.repeat}, {side}")
            path = bench.sides[side].fresh(bench.name())(0)
            path.touch()
            got = json.loads(command(program("latency"), "-m", "poll" if side == "topicfs" else "inotify", "-n", lines,
                                     path))
            for part in names:
                values[part][side].append(got[part + "_ns"] / 1000)
    for side in bench.sides.values():
        side.clear()
    for part, name in names.items():
        bench.add(name, "us", values[part], lower=True, target=[("ext4", 2.0)])


def start_rows(bench):
    """Starts after SIGKILL, and memory. There is nothing to compare with; the targets are absolute."""
    side = bench.sides["topicfs"]
    small, large = (MIB, 4 * MIB) if bench.quick else (16 * MIB, 1024 * MIB)
    many = 200 if bench.quick else 10_000

    def fresh(partitions):
        if partitions > 1024:
            (side.mountpoint / ".config").write_text(f"partitions.max={partitions}\n", encoding="utf-8")
        return side.fresh(bench.name(), partitions)

    def size_of(path, partitions):
        return sum(path(number).stat().st_size for number in range(partitions))

    def write(path, partitions, total):
        writers = min(partitions, 100)
        command(program("produce"), "-w", 65500, "-n", max(total // writers, 100), "-j", writers,
                *[path(number) for number in range(writers)])

    def killed(partitions, total):
        state = {}

        def measure(_side, _name):
            if not state:
                state["path"] = fresh(partitions)
                write(state["path"], partitions, total)
            # The last write is fresh, so there is a tail to be recovered.
            write(state["path"], partitions, MIB)
            before = size_of(state["path"], partitions)
            side.kill()
            took_ms = side.start() / 1e6
            if size_of(state["path"], partitions) != before:
                raise Wrong("a SIGKILL lost or added bytes")
            return took_ms
        return measure

    def memory(partitions):
        def measure(_side, _name):
            write(fresh(partitions), partitions, 100 * MIB if not bench.quick else MIB)
            got = side.rss_anon_kib()
            side.clear()
            return got
        return measure

    def idle(_side, _name):
        """KiB a partition that is there and was looked at, and nothing more."""
        before = side.rss_anon_kib()
        path = fresh(many)
        side.restart()
        size_of(path, many)
        got = max(side.rss_anon_kib() - before, 1) / many
        side.clear()
        return got

    def one(name, unit, measure, bound):
        bench.row(name, unit, measure, sides=("topicfs",), lower=True, target=[(None, bound)], keep=True)
        side.clear()

    one(f"start after SIGKILL, 1 partition, {small // MIB} MiB", "ms", killed(1, small), 50)
    one(f"start after SIGKILL, 1 partition, {large // MIB} MiB", "ms", killed(1, large), 50)
    one(f"start after SIGKILL, 100 partitions, {large // MIB} MiB", "ms", killed(100, large), 50)
    one(f"start after SIGKILL, {many} partitions, 100 of them written", "ms", killed(many, small), 1000)
    one("memory (RssAnon), 100 partitions, all written", "KiB", memory(100), 10240)
    one(f"memory (RssAnon), each of {many} idle partitions", "KiB", idle, 1)
