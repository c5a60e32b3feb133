"""The measurements of one run, and the order in which they are taken."""
import re
import statistics
import sys

from report import line
from sides import Ext4, Minimal, Topicfs, Wrong

SIDES = ("ext4", "minimal", "topicfs")


class Bench:
    """The three sides, and the rows measured so far."""

    def __init__(self, place, quick, repeat, only):
        self.place, self.quick, self.repeat, self.only = place, quick, 1 if quick else repeat, re.compile(only)
        self.rows = []
        self.serial = 0
        self.sides = {}
        for side, kind in zip(SIDES, (Ext4, Minimal, Topicfs)):
            (place / side).mkdir()
            self.sides[side] = kind(place / side)

    def close(self):
        for side in self.sides.values():
            side.close()

    def name(self):
        self.serial += 1
        return f"bench{self.serial}"

    def say(self, text):
        if sys.stderr.isatty():
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

    def row(self, name, unit, measure, sides=SIDES, lower=False, target=None, keep=False):
        """Measures one figure: measure(side, name of that side) returns a value. target: [(side, ratio), ...]"""
        if not self.only.search(name):
            return
        values = {side: [] for side in sides}
        for turn in range(self.repeat):
            order = list(sides[turn % len(sides):]) + list(sides[:turn % len(sides)])
            for side in order:
                self.say(f"{name}: {turn + 1} of {self.repeat}, {side}")
                value = measure(self.sides[side], side)
                if not value > 0:
                    raise Wrong(f"{name}: {side}: {value}")
                values[side].append(value)
                if not keep:
                    # What is removed is not written to the disk at the next one's cost. And in a virtual machine
                    # memory that was never used before is many times as slow as memory just given back.
                    self.sides[side].clear()
        self.add(name, unit, values, lower, target)

    def turns(self, name, unit, measures, lower=False, target=None, repeat=None):
        """As row(), of things that are no side of their own: measures is {"topicfs": function, REFERENCE: function}."""
        if not self.only.search(name):
            return
        values = {side: [] for side in measures}
        for turn in range(repeat or self.repeat):
            order = list(measures) if turn % 2 else list(reversed(measures))
            for side in order:
                self.say(f"{name}: {turn + 1} of {repeat or self.repeat}, {side}")
                value = measures[side]()
                if not value > 0:
                    raise Wrong(f"{name}: {side}: {value}")
                values[side].append(value)
        self.add(name, unit, values, lower, target)

    def wants(self, *names):
        """Whether any of these rows is to be measured: what they stand on takes time to make."""
        return any(self.only.search(name) for name in names)

    def add(self, name, unit, values, lower=False, target=None):
        medians = {side: statistics.median(got) for side, got in values.items()}
        row = {"name": name, "unit": unit, "better": "lower" if lower else "higher", "values": values,
               "medians": medians, "targets": []}
        for against, ratio in target or []:
            got = medians["topicfs"] / medians[against] if against else medians["topicfs"]
            row["targets"].append({"against": against, "bound": ratio, "measured": got,
                                   "met": got <= ratio if lower else got >= ratio})
        self.rows.append(row)
        self.say("")
        print(line(row), flush=True)
