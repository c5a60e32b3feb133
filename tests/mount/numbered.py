"""Numbered lines: whoever reads some knows what every byte of them must be, and whether one is missing.

As a program it is a producer: numbered.py [-f FIRST] [-r LINES_PER_SECOND] [-b LINES_PER_WRITE] [-s ACKS] FILE...
appends lines to each FILE in turn, the same number to each, until it is killed. With -s every write is followed by
fdatasync(2), and the number of lines that are durable in all files stands in ACKS, eight bytes, little-endian."""

import argparse
import bisect
import os
import struct
import time

PAD = b"the quick brown fox jumps over the lazy dog and goes on to jump over whatever lies in its way, again"


def line(number):
    return b"%09d %s\n" % (number, PAD[:number * 7919 % 97])


def lines(first, count):
    return b"".join(map(line, range(first, first + count)))


def check(data, what="it"):
    """The lines are whole, in order, none missing, none twice: returns the first number and the one after the last,
    (0, 0) of nothing."""
    if not data:
        return 0, 0
    assert b"\0" not in data, f"{what} holds a NUL at {data.index(0)}"
    assert data.endswith(b"\n"), f"{what} ends in a torn line: {data[-60:]}"
    head = data[:10]
    assert head[:9].isdigit() and head[9:] == b" ", f"{what} begins in a torn line: {data[:60]}"
    first = number = int(head[:9])
    at = 0
    # In blocks, as comparing is what takes the time; a block that differs is looked at line by line.
    while at < len(data):
        block = lines(number, 2000)
        if data.startswith(block, at):
            at += len(block)
            number += 2000
            continue
        for got in data[at:at + len(block)].splitlines(keepends=True)[:2000]:
            if at + len(got) > len(data):
                break
            assert got == line(number), f"{what}: {got[:60]} at byte {at} instead of {line(number)[:60]}"
            at += len(got)
            number += 1
    return first, number


_begins = [0]


def position(number):
    """The logical position of a line in a partition that never held anything else."""
    while len(_begins) <= number:
        _begins.append(_begins[-1] + len(line(len(_begins) - 1)))
    return _begins[number]


def number_at(pos):
    """The number of the line that begins at that position, None when none does."""
    while _begins[-1] < pos:
        position(len(_begins) + 1000)
    number = bisect.bisect_left(_begins, pos)
    return number if _begins[number] == pos else None


def acknowledged(acks):
    """How many lines are durable, by what a producer wrote there."""
    try:
        return struct.unpack("<q", acks.read_bytes())[0]
    except (FileNotFoundError, struct.error):
        return 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-f", "--first", type=int, default=0)
    parser.add_argument("-r", "--rate", type=float, default=20000)
    parser.add_argument("-b", "--batch", type=int, default=20)
    parser.add_argument("-s", "--sync")
    parser.add_argument("files", nargs="+")
    options = parser.parse_args()
    fds = [os.open(name, os.O_WRONLY | os.O_APPEND) for name in options.files]
    acks = os.open(options.sync, os.O_WRONLY | os.O_CREAT, 0o644) if options.sync else -1
    number = options.first
    started = time.monotonic()
    while True:
        data = lines(number, options.batch)
        for fd in fds:
            while True:
                try:
                    assert os.write(fd, data) == len(data)
                    break
                except OSError as error:
                    if error.errno != 28:  # a full disk is waited out
                        raise
                    time.sleep(0.01)
        number += options.batch
        if acks >= 0:
            for fd in fds:
                os.fdatasync(fd)
            os.pwrite(acks, struct.pack("<q", number), 0)
        pause = started + (number - options.first) / options.rate - time.monotonic()
        if pause > 0:
            time.sleep(pause)


if __name__ == "__main__":
    main()
