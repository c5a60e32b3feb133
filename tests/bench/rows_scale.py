"""Rows about size: ten thousand partitions."""
import subprocess
import time

from sides import Wrong


def took_ms(*words, check=None):
    """How long a program takes, its output thrown away unless `check` wants to see it."""
    began = time.perf_counter_ns()
    got = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, check=True).stdout
    ms = (time.perf_counter_ns() - began) / 1e6
    if check and not check(got):
        raise Wrong(f"{' '.join(map(str, words))}: {got[:200]!r}")
    return ms


def many_rows(bench):
    many = 200 if bench.quick else 10_000
    label = f"{many} partitions"
    names = {what: f"{label}, {text}" for what, text in
             {"create": "made by one touch", "ls": "ls", "stat": "ls -l, each looked at", "add": "one more made",
              "memory": "memory (RssAnon) after that", "files": "files that the daemon has open"}.items()}
    if not bench.wants(*names.values()):
        return
    side = bench.sides["topicfs"]
    side.clear()
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
    alone("files", "files", side.open_files, repeat=1)
    side.clear()
