"""Sealed segments, read by what topicfs-format(5) says and nothing else: a second implementation."""

import os
import struct

import pytest

from harness import append, opened, run, wait_for
from test_format import decode_entries, digest, topic_id

FRAME = 262144


def unzstd(data):
    return run("zstd", "-qdc", input=data).stdout


class Reader:
    """Takes a file's bytes piece by piece."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def bytes(self, count):
        self.at += count
        assert self.at <= len(self.data)
        return self.data[self.at - count:self.at]

    def numbers(self, form):
        return struct.unpack("<" + form, self.bytes(struct.calcsize("<" + form)))

    def varint(self):
        value = shift = 0
        while True:
            byte, = self.bytes(1)
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def column(self, count):
        base, (width,) = self.varint(), self.bytes(1)
        values = [base] * count
        for which in range(width):
            plane = self.bytes(self.varint())
            if len(plane) != count:
                plane = unzstd(plane)
            assert len(plane) == count
            values = [(value + (byte << 8 * which)) % 2**64 for value, byte in zip(values, plane)]
        return values


class Sealed:
    """A sealed segment: its bytes, its entries (those whose chain is not kept have None), the header they stand on."""

    def __init__(self, path):
        self.file = path.read_bytes()
        self.read_seek_table()
        whole = self.file[self.index_foff:self.table_foff]
        assert struct.unpack("<II", whole[:8]) == (0x184D2A5A, len(whole) - 8)
        self.read_index(whole[8:])
        self.data = unzstd(self.file)
        assert len(self.data) == self.end - self.start
        assert len(self.frames) == (len(self.data) + FRAME - 1) // FRAME

    def read_seek_table(self):
        count, zero, magic = struct.unpack("<IBI", self.file[-9:])
        assert (zero, magic) == (0, 0x8F92EAB1)
        self.table_foff = len(self.file) - 9 - 8 * count - 8
        table = Reader(self.file[self.table_foff:])
        assert table.numbers("II") == (0x184D2A5E, 8 * count + 9)
        rows = [table.numbers("II") for _ in range(count)]
        assert sum(size for size, _ in rows) == self.table_foff and rows[-1][1] == 0
        assert all(content == FRAME for _, content in rows[:-2])
        self.index_foff = self.table_foff - rows[-1][0]
        self.frames = []
        foff = 0
        for size, content in rows[:-1]:
            self.frames.append((self.file[foff:foff + size], content))
            foff += size

    def read_index(self, index):
        reader = Reader(index)
        assert reader.numbers("4sI") == (b"TLSX", 1)
        self.header = reader.bytes(64)
        self.topic, self.start = struct.unpack("<16sQ", self.header[8:32])
        (self.end, seq, chain, time, epoch, leader, count, content, frames, groups,
         zero) = reader.numbers("QQQqIIQIIII")
        assert (content, frames, zero) == (FRAME, len(self.frames), 0)
        rows = [reader.numbers("QQQqIIIIIIQ") for _ in range(groups)]
        assert reader.numbers("Q") == (digest(index[:reader.at - 8]),)
        self.entries = []
        for row, after in zip(rows, [row[2] for row in rows[1:]] + [chain]):
            assert row[8] == sum(each[9] for each in rows[:rows.index(row)]) and row[7] == 0
            payload = reader.bytes(row[9])
            assert row[10] == digest(payload, row[2])
            self.read_group(row, Reader(payload), after)
        last = self.entries[-1]
        assert reader.at == len(index) and len(self.entries) == count
        assert (last["pos"] + last["length"], last["seq"] + last["records"]) == (self.end, seq)
        assert (last["time"], last["epoch"], last["leader"], last["chain"]) == (time, epoch, leader, chain)

    def read_group(self, row, payload, chain_after):
        pos, seq, _, time, _, _, count = row[:7]
        lengths, records, times, epochs, leaders, flags = (payload.column(count) for _ in range(6))
        producers = [payload.numbers("Q")[0] for _ in range(payload.varint())]
        which, numbers = payload.column(count), payload.column(count)
        group, number = [], 0
        for n in range(count):
            time, number = time + times[n], (number + numbers[n]) % 2**32
            group.append({"pos": pos, "seq": seq, "time": time, "length": lengths[n], "records": records[n],
                          "epoch": epochs[n], "flags": flags[n], "producer": producers[which[n]],
                          "producer_seq": number, "leader": leaders[n], "chain": None})
            pos, seq = pos + lengths[n], seq + records[n]
        for entry, after in zip(group, group[1:]):
            if self.frame_of(entry) != self.frame_of(after):
                entry["chain"], = payload.numbers("Q")
        assert payload.at == len(payload.data)
        group[-1]["chain"] = chain_after
        self.entries += group

    def frame_of(self, entry):
        end = entry["pos"] + entry["length"] - self.start
        return (end - 1) // FRAME if end else 0

    def check_chains(self, chain):
        """All of them, computed anew; the last one is returned."""
        for entry in self.entries:
            begin = entry["pos"] - self.start
            head = struct.pack("<QQqIIIIQII", *(entry[field] for field in (
                "pos", "seq", "time", "length", "records", "epoch", "flags", "producer", "producer_seq", "leader")))
            chain = digest(head, digest(self.data[begin:begin + entry["length"]], chain))
            assert entry["chain"] in (None, chain)
        return chain


def produce(log):
    """Text, unfinished lines, lines made durable one by one, large appends: entries of every kind."""
    words = [b"GET", b"POST", b"/index.html", b"/orders", b"200", b"404", b"user=17", b"10.0.0.7"]
    text = b"".join(b" ".join(words[(n * 7 + k * n) % 8] for k in range(9)) + b" %d\n" % n for n in range(30000))
    with opened(log) as fd:
        for at in range(0, len(text), 7000):
            assert os.write(fd, text[at:at + 7000]) == len(text[at:at + 7000])
    for n in range(20):
        append(log, b"unfinished %d" % n)
    with opened(log) as fd:
        for n in range(300):
            os.write(fd, b"durable %d\n" % n)
            os.fsync(fd)
        os.write(fd, b"z" * 500000 + b"\n")
        os.write(fd, text)


@pytest.mark.parametrize("kind", ["zstd", "none"])
def test_sealed_segments_by_the_book(mnt, kind):
    topic = mnt.topic("orders", segment_bytes="2MiB", flush_ms="100ms", compression_type=kind)
    produce(topic / "0")
    directory = mnt.store / "topics" / "orders" / "0"
    wait_for(lambda: len(list(directory.glob("*.zst"))) == len(list(directory.glob("*.log"))) - 1, "all to be sealed", 60)
    data, chain = b"", digest(topic_id(directory.parent) + struct.pack("<I", 0))
    paths = sorted(directory.glob("*.zst"))
    assert len(paths) >= 2
    for path in paths:
        sealed = Sealed(path)
        assert sealed.start == len(data) == int(path.stem)
        assert sealed.data == path.with_suffix(".log").read_bytes()
        index = path.with_suffix(".idx").read_bytes()
        assert sealed.header == index[:64]
        for mine, raw in zip(sealed.entries, decode_entries(index[64:]), strict=True):
            assert all(mine[field] == raw[field] or (field, mine[field]) == ("chain", None) for field in mine)
        chain = sealed.check_chains(chain)
        for frame, content in sealed.frames:
            assert len(unzstd(frame)) == content
        data += sealed.data
    assert (topic / "0").read_bytes()[:len(data)] == data
