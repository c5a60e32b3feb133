"""Rows about sealed segments: reading them, their bytes on disk, and what sealing costs a producer meanwhile."""
import datetime
import json
import os
import subprocess
import time

from sides import MIB, Wrong, command, evict, program, until


class Sealed:
    """A partition of which everything is sealed, and what it was made from."""

    def __init__(self, bench, total, segment_bytes, write="cat", partitions=1):
        self.side = bench.sides["topicfs"]
        self.name = bench.name()
        self.topic = self.side.mountpoint / self.name
        self.text = bench.place / (self.name + ".text")
        with open(self.text, "wb") as out:
            subprocess.run([program("text"), "-n", str(total)], stdout=out, check=True)
        self.total = self.text.stat().st_size
        self.topic.mkdir()
        self.set(f"segment.bytes={segment_bytes}\nseal.linger.ms=0\n")
        self.partitions = [self.topic / str(number) for number in range(partitions)]
        self.partitions[-1].touch()
        for partition in self.partitions:
            with open(partition, "ab") as out:
                subprocess.run({"cat": ["cat", self.text],
                                "4 KiB": ["dd", "bs=4096", "status=none", f"if={self.text}"],
                                "durable": [program("text"), "-d", "-n", str(total)]}[write], stdout=out, check=True)
                os.fsync(out.fileno())
        self.at = None

    def set(self, keys):
        with open(self.topic / ".config", "a", encoding="utf-8") as config:
            config.write(keys)

    def roll(self):
        """Has the active segments rolled, which makes everything ready to be sealed."""
        self.set("segment.ms=1s\n")

    def files(self, ending=".zst"):
        return sorted(path for number in range(len(self.partitions))
                      for path in (self.side.place / "topics" / self.name / str(number)).iterdir()
                      if path.name.endswith(ending))

    def sealed(self):
        """Whether no raw file with bytes in it is left, and nothing half done."""
        for path in self.files(".log") + self.files(".zst.new"):
            try:
                if path.name.endswith(".new") or path.stat().st_size > 0:
                    return False
            except FileNotFoundError:  # just removed
                pass
        return True

    def seal(self):
        self.roll()
        until(self.sealed, f"{self.topic}: sealed", 180)
        for partition in self.partitions:
            if partition.stat().st_size != self.total:
                raise Wrong(f"{partition}: {partition.stat().st_size} bytes, sealed, of {self.total}")
        return self

    def remove(self):
        self.side.clear()
        self.text.unlink()


def speed(path_or_paths, total, *words):
    """MiB/s of a program that reads files to /dev/null."""
    paths = path_or_paths if isinstance(path_or_paths, list) else [path_or_paths]
    with open(os.devnull, "wb") as sink:
        began = time.perf_counter_ns()
        subprocess.run([*(words or ["cat"]), *map(str, paths)], stdout=sink, check=True)
        return total / MIB / ((time.perf_counter_ns() - began) / 1e9)


def read_rows(bench):
    names = [f"read, sealed, {what}" for what in ("first time", "from disk", "4 KiB reads", ".at/ a second time",
                                                  ".segments/ a second time")]
    if not bench.wants(*names):
        return
    made = Sealed(bench, (8 if bench.quick else 1024) * MIB, (2 if bench.quick else 64) * MIB).seal()
    side, partition, files = made.side, made.partitions[0], made.files()
    stored = sum(path.stat().st_size for path in files)

    def first(cold=False, read=None):
        def measure():
            side.stop()  # and with it what it has decompressed
            for path in files:
                if cold:
                    evict(path)
                else:
                    path.read_bytes()
            side.start()
            return read() if read else speed(partition, made.total)
        return measure

    def zstdcat(cold=False):
        def measure():
            for path in files:
                if cold:
                    evict(path)
                else:
                    path.read_bytes()
            return speed(files, made.total, "zstdcat")
        return measure

    def small():
        got = json.loads(command(program("consume"), "-b", 4096, partition))
        return got["bytes"] / MIB / (got["ns"] / 1e9)

    def again(path_or_paths, total):
        def measure():
            speed(path_or_paths, total)
            return speed(path_or_paths, total)
        return measure

    near = [("zstdcat", 0.9)]
    bench.turns(names[0], "MiB/s", {"zstdcat": zstdcat(), "topicfs": first()}, target=near)
    bench.turns(names[1], "MiB/s", {"zstdcat": zstdcat(True), "topicfs": first(True)})
    bench.turns(names[2], "MiB/s", {"zstdcat": zstdcat(), "topicfs": first(read=small)})
    # An instant of its own name: .at/now is another one for each process.
    instant = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    past = side.mountpoint / ".at" / instant / made.name / "0"
    if past.stat().st_size != made.total:
        raise Wrong(f"{past}: {past.stat().st_size} bytes of {made.total}")
    cached = [("ext4", 0.95)]
    bench.turns(names[3], "MiB/s", {"ext4": again(made.text, made.total), "topicfs": again(past, made.total)},
                target=cached)
    inside = [made.topic / ".segments/0" / path.name for path in files]
    bench.turns(names[4], "MiB/s", {"ext4": again(files, stored), "topicfs": again(inside, stored)}, target=cached)
    made.remove()


def disk_rows(bench):
    """Bytes of the sealed files with their index, beside one zstd -3 of the whole: the same every time. And what the
    daemon spent on it."""
    for what, write, level, total in (("the default level", "cat", 1, 256 * MIB),
                                      ("the default level, written 4 KiB at a time", "4 KiB", 1, 256 * MIB),
                                      ("the default level, an fsync a line", "durable", 1, 8 * MIB),
                                      ("level 4", "cat", 4, 256 * MIB),
                                      ("level 4, an fsync a line", "durable", 4, 8 * MIB)):
        disk, cost = f"disk, sealed text, {what}", f"sealing, {what}, CPU time a GiB"
        if not bench.wants(disk, cost):
            continue
        total = min(total, MIB) if bench.quick else total
        # Larger than all of it, so that nothing is sealed before it is asked for.
        made = Sealed(bench, total, 1 << 34, write)
        if level != 1:
            made.set(f"compression.level={level}\n")
        before = made.side.cpu_seconds()
        made.seal()
        seconds = made.side.cpu_seconds() - before
        whole = bench.place / "whole.zst"
        command("zstd", "-q", "-f", "-3", made.text, "-o", whole)
        sizes = {"zstd -3": whole.stat().st_size / 1024,
                 "topicfs": sum(path.stat().st_size for path in made.files()) / 1024}
        bench.turns(disk, "KiB", {side: lambda size=size: size for side, size in sizes.items()}, lower=True,
                    target=[("zstd -3", 1.07)], repeat=1)
        if write == "cat":
            spent = max(seconds, 0.01) * (1 << 30) / made.total
            bench.turns(cost, "s", {"topicfs": lambda spent=spent: spent}, lower=True, repeat=1)
        whole.unlink()
        made.remove()


def producer_rows(bench):
    """A line every 200 µs, one write(2) each, alone and while two gibibytes are being sealed."""
    names = {part: f"append of a line while segments are sealed, {part}" for part in ("p50", "p99", "p99.9")}
    if not bench.wants(*names.values()):
        return
    quiet = "the same without"
    values = {part: {quiet: [], "topicfs": []} for part in names}
    size, lines = (256 * MIB, 500) if bench.quick else (512 * MIB, 10000)

    def append(path):
        got = json.loads(command(program("latency"), "-m", "append", "-i", 200, "-n", lines, path))
        return {"p50": got["p50_ns"], "p99": got["p99_ns"], "p99.9": got["p999_ns"]}

    for turn in range(bench.repeat):
        bench.say(f"append while sealing: {turn + 1} of {bench.repeat}")
        burst = Sealed(bench, size, 1 << 34, partitions=2 if bench.quick else 4)
        path = burst.side.fresh(bench.name())(0)
        command("sync", "-f", burst.side.place)  # nothing that lies about is written while the clock runs
        before = append(path)
        burst.roll()
        until(lambda made=burst: made.files(".zst.new"), f"{burst.topic}: sealing")
        during = append(path)
        if burst.sealed():
            raise Wrong("the sealing was over before the producer was")
        for part in names:
            values[part][quiet].append(before[part] / 1000)
            values[part]["topicfs"].append(during[part] / 1000)
        burst.remove()
    for part, name in names.items():
        bench.add(name, "us", values[part], lower=True)
