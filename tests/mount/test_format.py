"""The files of a store, read by what topicfs-format(5) says and nothing else: a second implementation."""

import ctypes
import os
import re
import struct
import time
from pathlib import Path

from harness import append, build_path, opened, run

xxhash = ctypes.CDLL("libxxhash.so.0")
xxhash.XXH3_64bits_withSeed.restype = ctypes.c_uint64
xxhash.XXH3_64bits_withSeed.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]

SOURCE = Path(__file__).resolve().parents[2]
APPEND, REST, DROP, FILES = 1, 2, 3, 4
EPOCH, ROLL, LOSSY = 1, 2, 4


def digest(data, seed=0):
    return xxhash.XXH3_64bits_withSeed(bytes(data), len(data), seed)


def topic_id(topic):
    first = (topic / "topic.conf").read_text().splitlines()[0]
    assert first.startswith("id=") and len(first) == 35
    return bytes.fromhex(first[3:])


def decode_entries(data):
    fields = "pos seq time length records epoch flags producer producer_seq leader chain".split()
    return [dict(zip(fields, struct.unpack("<QQqIIIIQIIQ", data[at:at + 64])), head=data[at:at + 56])
            for at in range(0, len(data) - 63, 64)]


class Partition:
    """Reads and checks all segments of a partition; `entries`, `data`, and the chain at its end."""

    def __init__(self, topic, number):
        self.directory, self.topic_id = topic / str(number), topic_id(topic)
        self.pos = self.seq = self.time = 0
        self.chain = digest(self.topic_id + struct.pack("<I", number))
        self.entries, self.data, self.segments = [], b"", 0
        for log in sorted(self.directory.glob("*.log")):
            self.read_segment(log)

    def read_segment(self, log):
        data, index = log.read_bytes(), log.with_suffix(".idx").read_bytes()
        assert len(log.stem) == 20 and int(log.stem) == self.pos
        magic, version, identity, pos, seq, chain, time, check = struct.unpack("<4sI16sQQQqQ", index[:64])
        assert (magic, version, identity, check) == (b"TLIX", 1, self.topic_id, digest(index[:56]))
        assert (pos, seq, chain, time) == (self.pos, self.seq, self.chain, self.time)
        for entry in decode_entries(index[64:]):
            assert (entry["pos"], entry["seq"]) == (self.pos, self.seq) and entry["time"] >= self.time
            assert entry["flags"] & ~(EPOCH | ROLL | LOSSY) == 0
            assert (entry["length"] > 0 and entry["records"] > 0) or entry["flags"] & EPOCH
            covered = data[self.pos - pos:self.pos - pos + entry["length"]]
            assert len(covered) == entry["length"]
            assert entry["chain"] == digest(entry["head"], digest(covered, self.chain))
            self.pos, self.seq, self.time = self.pos + entry["length"], self.seq + entry["records"], entry["time"]
            self.chain = entry["chain"]
            self.entries.append(entry)
        assert self.pos == pos + len(data), "bytes past the last entry"
        self.data += data
        self.segments += 1


class Journal:
    """All records that are still there, by number."""

    def __init__(self, store, first=0):
        self.records = {}
        for path in sorted((store / "journal").iterdir()):
            assert path.name.isdigit() and len(path.name) >= 6
            self.read_file(path.read_bytes(), first)

    def read_file(self, data, first):
        magic, version, store_id, generation, number, check = struct.unpack("<4sI16sQQQ", data[:48])
        if generation == 0 or magic != b"TLJN":
            return  # a spare one
        self.store_id = store_id
        assert version == 1 and check == digest(data[:40])
        foff = 4096
        while foff + 48 <= len(data):
            check, record, mark, length, kind, partition, topic = struct.unpack("<QQIIII16s", data[foff:foff + 48])
            end = foff + 48 + length
            if mark != 0x524A4C54 or record != number or check != digest(data[foff + 8:end], generation):
                break
            if number >= first:
                self.records[number] = (kind, topic, partition, data[foff + 48:end])
            number += 1
            foff = (end + 7) // 8 * 8

    def of(self, kind, topic, partition=0):
        return [body for number, (k, t, p, body) in sorted(self.records.items())
                if (k, t, p) == (kind, topic, partition)]


def read_checkpoint(store):
    data = (store / "checkpoint").read_bytes()
    magic, version, store_id, boot, lsn, count, *clock = struct.unpack("<4sI16s64sQQqqq", data[:128])
    assert (magic, version) == (b"TLCP", 2) and len(data) == 128 + 88 * count + 8
    assert struct.unpack("<Q", data[-8:])[0] == digest(data[:-8])
    rows = [struct.unpack("<16sIIQQQQQQQQ", data[at:at + 88]) for at in range(128, len(data) - 8, 88)]
    assert rows == sorted(rows, key=lambda row: row[:2])
    return store_id, boot.rstrip(b"\0").decode(), lsn, clock, rows


def test_segments_and_chains(mnt):
    topic = mnt.topic("orders", 2, segment_bytes="64KiB")
    lines = [b"line %d %s\n" % (n, b"x" * (n % 300)) for n in range(3000)]
    with opened(topic / "1") as fd:
        for at in range(0, 3000, 10):
            assert os.write(fd, b"".join(lines[at:at + 10])) == len(b"".join(lines[at:at + 10]))
    append(topic / "1", b"unfinished")
    mnt.stop()
    found = Partition(mnt.store / "topics" / "orders", 1)
    assert found.data == b"".join(lines) + b"unfinished\n"
    assert (found.seq, found.segments > 5) == (3001, True)
    assert [entry["flags"] for entry in found.entries].count(ROLL) == found.segments - 1
    assert found.entries[-1]["producer_seq"] > 0, "the entry that ended an unfinished line names it"
    empty = Partition(mnt.store / "topics" / "orders", 0)
    assert (empty.data, empty.segments) == (b"", 1)
    mnt.start()


def test_raw_records_have_an_entry_each(mnt):
    topic = mnt.topic("raw", message_format="raw")
    records = [b"a", b"two\nlines\n", b"\0" * 10, b"z" * 70000]
    for record in records:
        append(topic / "0", record)
    mnt.stop()
    found = Partition(mnt.store / "topics" / "raw", 0)
    assert [(entry["length"], entry["records"]) for entry in found.entries] == [(len(r), 1) for r in records]
    mnt.start()


def test_the_checkpoint_of_a_clean_end(mnt):
    topic = mnt.topic("orders", 3)
    append(topic / "2", b"some\nlines\n")
    mnt.stop()
    store_id, boot, _, (time_ns, boot_ns, doubt_ns), rows = read_checkpoint(mnt.store)
    assert abs(time_ns - time.time_ns()) < 60e9 and doubt_ns == 0
    assert 0 <= time.clock_gettime_ns(time.CLOCK_BOOTTIME) - boot_ns < 60e9
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as current:
        assert boot == current.read().strip()
    assert [row[1] for row in rows] == [0, 1, 2]
    identity, _, failed, synced, end, segment, log_inode, index_inode, start, start_seq, segments = rows[2]
    log = mnt.store / "topics" / "orders" / "2" / ("0" * 20 + ".log")
    assert identity == topic_id(mnt.store / "topics" / "orders")
    assert (failed, synced, end, segment, start, start_seq) == (0, 11, 11, 0, 0, 0)
    assert segments == digest(struct.pack("<Q", 0)), "of the one segment there is"
    assert (log_inode, index_inode) == (log.stat().st_ino, log.with_suffix(".idx").stat().st_ino)
    assert Journal(mnt.store).store_id == store_id
    mnt.start()


def test_the_journal_holds_what_was_synced_and_unfinished_lines(mnt):
    topic = mnt.topic("orders", flush_ms="1h")
    with opened(topic / "0") as fd, opened(topic / "0") as other:
        os.write(fd, b"synced\n")
        os.fsync(fd)
        os.write(fd, b"unfinished ")
        os.write(fd, b"line")
        os.write(other, b"another")
        identity = topic_id(mnt.store / "topics" / "orders")
        journal = Journal(mnt.store)
        rests = [(struct.unpack("<QIIQ", body[:24]), body[24:]) for body in journal.of(REST, identity)]
        (first, first_data), (more, more_data), (second, second_data) = rests
        assert (first_data, more_data, second_data) == (b"unfinished ", b"line", b"another")
        assert first[:2] == more[:2] and first[0] == second[0] and first[1] != second[1]
        assert (first[2], more[2], second[2]) == (0, 11, 0) and first[3] == second[3] == 7
        body = journal.of(APPEND, identity)[-1]
        pos, count, zero = struct.unpack("<QII", body[:16])
        entries, data = decode_entries(body[16:16 + 64 * count]), body[16 + 64 * count:]
        assert (pos, count, zero, data) == (0, 1, 0, b"synced\n")
        assert entries[0]["chain"] == digest(entries[0]["head"], digest(data, digest(identity + bytes(4))))
        _, log_inode, index_inode = struct.unpack("<QQQ", journal.of(FILES, identity)[-1])
        log = mnt.store / "topics" / "orders" / "0" / ("0" * 20 + ".log")
        assert (log_inode, index_inode) == (log.stat().st_ino, log.with_suffix(".idx").stat().st_ino)


def manual(page):
    """The page as text, without overstriking."""
    text = run("mandoc", "-Tascii", SOURCE / "docs" / page).stdout.decode()
    return re.sub(".\b", "", text)


def test_the_manuals_know_every_command_option_and_key():
    pages = manual("topicctl.1"), manual("topicfs.1")
    for name in ["ENVIRONMENT", "FILES", "EXIT STATUS", "EXAMPLES"]:
        assert all(f"\n{name}\n" in page for page in pages), name
    topicctl = build_path("tools", "topicctl")
    commands = re.findall(r"^  (\w+) ", run(topicctl, "--help").stdout.decode(), re.MULTILINE)
    assert len(commands) == 16
    for command in commands:
        assert f"\n     {command}" in pages[0], command
        for option in re.findall(r"--[a-z-]+", run(topicctl, command, "--help").stdout.decode()):
            assert option in pages[0], f"{command} {option}"


def test_the_manual_knows_every_key_and_its_default(idle):
    topicctl = build_path("tools", "topicctl")
    run(topicctl, "init", idle.store)
    lines = run(topicctl, "config", idle.store).stdout.decode().splitlines()
    assert len(lines) == 21
    for line in lines:
        assert f"\n     {line.split('  #')[0]}\n" in manual("topicfs.1"), line
