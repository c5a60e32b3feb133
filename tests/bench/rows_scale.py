"""Rows about size: ten thousand partitions, and a hundred gibibytes of history."""
import json
import os
import shutil
import subprocess
import time

from sides import BUILD, MIB, Topicfs, Wrong, command, evict, program


def took_ms(*words, check=None):
    """How long a program takes, its output thrown away unless `check` wants to see it."""
    began = time.perf_counter_ns()
    got = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, check=True).stdout
    ms = (time.perf_counter_ns() - began) / 1e6
    if check and not check(got):
        raise Wrong(f"{' '.join(map(str, words))}: {got[:200]!r}")
    return ms


class Frugal(Topicfs):
    """A daemon that may open 1,024 files, which is what a service or a login gets unless told otherwise."""

    def words(self):
        return ["prlimit", "--nofile=1024:1024", *super().words()]


def many_rows(bench):
    many = 200 if bench.quick else 10_000
    label = f"{many} partitions"
    names = {what: f"{label}, {text}" for what, text in
             {"create": "made by one touch", "ls": "ls", "stat": "ls -l, each looked at", "add": "one more made",
              "memory": "memory (RssAnon) after that",
              "files": "files that the daemon has open (1,024 allowed)"}.items()}
    if not bench.wants(*names.values()):
        return
    (bench.place / "frugal").mkdir()
    side = Frugal(bench.place / "frugal")
    try:
        measure_many(bench, side, many, names)
    finally:
        side.close()
        shutil.rmtree(side.place)


def measure_many(bench, side, many, names):
    (side.mountpoint / ".config").write_text("partitions.max=100000\n", encoding="utf-8")
    last = {}

    def create():
        last["topic"] = side.mountpoint / bench.name()
        last["topic"].mkdir()
        last["count"] = many
        return took_ms("touch", last["topic"] / str(many - 1))

    def add():
        last["count"] += 1
        return took_ms("touch", last["topic"] / str(last["count"] - 1))

    def seen(got):
        return got.count(b"\n") >= last["count"]

    def alone(what, unit, measure, bound=None, repeat=None):
        bench.turns(names[what], unit, {"topicfs": measure}, lower=True, repeat=repeat,
                    target=[(None, bound)] if bound else None)

    if bench.wants(names["create"]):
        alone("create", "ms", create, repeat=1)
    else:
        create()
    alone("ls", "ms", lambda: took_ms("ls", last["topic"], check=seen))
    alone("stat", "ms", lambda: took_ms("ls", "-l", last["topic"], check=seen))
    alone("add", "ms", add)
    alone("memory", "KiB", side.rss_anon_kib, 10240 + many)
    alone("files", "files", side.open_files, 1024, repeat=1)


class History(Topicfs):
    """A store with a long past, made by the generator. It is mounted once it is there."""

    def __init__(self, place, total, segment_bytes):
        place.mkdir()
        self.made = json.loads(command(program("history"), "-n", total, "-s", segment_bytes, place / "store"))
        self.total = self.made["bytes"]
        super().__init__(place)
        self.partition = self.mountpoint / "history/0"
        size = self.partition.stat().st_size
        if size != self.total:
            raise Wrong(f"{self.partition}: {size} bytes of {self.total}")

    def files(self):
        return sorted((self.place / "topics/history/0").glob("*.zst"))

    def forget(self):
        """Leaves the store as a copy of it would be."""
        (self.place / "checkpoint").unlink(missing_ok=True)
        shutil.copy(self.place / "id", self.place / "id.copy")
        os.replace(self.place / "id.copy", self.place / "id")

    def evict(self):
        self.stop()
        for path in self.files():
            evict(path)
        self.start()


def history_rows(bench, total):
    if bench.quick:
        total = 64 * MIB
    size = f"{total >> 30} GiB" if total >= 1 << 30 else f"{total // MIB} MiB"
    name = f"history of {size}, sealed"
    if bench.only.pattern and "history" not in bench.only.pattern:
        return  # it takes a minute to make
    bench.say(f"making a store with {size} of history")
    side = History(bench.place / "history", total, (4 if bench.quick else 256) * MIB)
    try:
        measure_history(bench, side, name)
    finally:
        side.close()
        shutil.rmtree(side.place)


def measure_history(bench, side, name):
    middle = side.total // 2 // 100 * 100

    def alone(what, unit, measure, bound=None, repeat=None, lower=True):
        bench.turns(f"{name}, {what}", unit, {"topicfs": measure}, lower=lower, repeat=repeat,
                    target=[(None, bound)] if bound else None)

    def started(prepare):
        def measure():
            prepare()
            ms = side.start() / 1e6
            if side.partition.stat().st_size != side.total:
                raise Wrong("a start lost or added bytes")
            return ms
        return measure

    def copied():
        side.stop()
        side.forget()

    def listed():
        return took_ms("ls", "-l", side.mountpoint / "history/.segments/0",
                       check=lambda got: got.count(b".zst") == side.made["segments"])

    def line(foff, cold):
        def measure():
            if cold:
                side.evict()
            return took_ms("bash", "-c", f"tail -c +{foff + 1} {side.partition} | head -n 1",
                           check=lambda got: got.startswith(b"%012d " % (foff // 100)) and got.endswith(b"\n"))
        return measure

    def each_segment():
        began = time.perf_counter_ns()
        with open(side.partition, "rb", buffering=0) as log:
            for path in side.files():
                pos = int(path.stem)
                if not os.pread(log.fileno(), 4096, pos).startswith(b"%012d " % (pos // 100)):
                    raise Wrong(f"{side.partition}: not the bytes of {pos}")
        return (time.perf_counter_ns() - began) / 1e6

    def verify():
        ms = took_ms(BUILD / "tools/topicctl", "verify", side.place)
        return side.total / MIB / (ms / 1000)

    alone("start as a copied store", "ms", started(copied))
    alone("start after a clean end", "ms", started(side.stop), 50)
    alone("start after SIGKILL", "ms", started(side.kill), 50)
    alone("memory (RssAnon) after the start", "KiB", side.rss_anon_kib, 10240)
    alone("ls -l", "ms", lambda: took_ms("ls", "-l", side.mountpoint / "history"))
    alone("stat", "ms", lambda: took_ms("stat", side.partition))
    alone("du", "ms", lambda: took_ms("du", "-s", side.mountpoint))
    alone(".segments/ listed (ls -l)", "ms", listed)
    for what, foff in (("oldest line (tail -c +1 | head -n 1)", 0), ("a line in the middle", middle)):
        alone(f"{what}, from memory", "ms", line(foff, False))
        alone(f"{what}, from disk", "ms", line(foff, True))
    alone("a look into each of its segments", "ms", each_segment)
    alone("memory (RssAnon) after that", "KiB", side.rss_anon_kib)
    alone("files that the daemon has open after that", "files", side.open_files, repeat=1)
    alone("disk, of the log's bytes", "%", lambda: 100 * side.made["file_bytes"] / side.total, repeat=1)
    alone("making it", "MiB/s", lambda: side.total / MIB / (side.made["ns"] / 1e9), repeat=1, lower=False)
    if bench.wants(f"{name}, topicctl verify"):
        side.stop()
        alone("topicctl verify", "MiB/s", verify, repeat=1, lower=False)
        side.start()
