# SPDX-License-Identifier: Apache-2.0
"""The disks that a power cut could have left while a log was written, and how many of them are bad.

Of the writes between two flushes a disk may have done any, in any order, and of each only some sectors. Tried are every prefix
in the order of the log; where the writes are few every subset, else a sample; and torn writes. The sample is drawn with a fixed
seed: a second run finds the same.
"""
import random
from collections import Counter
from dataclasses import dataclass, field

ALL_SUBSETS = 6         # of so many writes every subset is tried
SHOWN = 5               # bad states that are kept, of each kind


@dataclass
class Count:
    states: int = 0
    bad: int = 0
    kinds: Counter = field(default_factory=Counter)         # of states: prefix, subset, torn
    broken: Counter = field(default_factory=Counter)        # invariants
    firsts: Counter = field(default_factory=Counter)        # what would start first
    shared: int = 0                                         # states with cross-linked files
    examples: list = field(default_factory=list)            # (kind, numbers of the writes on top, what is broken)

    def add(self, kind, verdict, writes):
        self.states += 1
        self.kinds[kind] += 1
        self.firsts[verdict.first] += 1
        self.shared += verdict.shared > 0
        if not verdict.good:
            self.bad += 1
            for text in verdict.broken:
                self.broken[text] += 1
                if self.broken[text] <= SHOWN:
                    self.examples.append((kind, list(writes), text))


class Explorer:
    """Walks through a log on one disk. samples: subsets, and torn states, tried of each longer epoch."""

    def __init__(self, disk, judge, samples=20, seed=1):
        self.disk, self.judge, self.samples = disk, judge, samples
        self.random = random.Random(seed)
        self.count = Count()

    def _try(self, kind, parts):
        """parts: [(write, first, count)] on top of what is settled."""
        mark = self.disk.mark()
        for write, first, count in parts:
            self.disk.put(write, first, count)
        self.count.add(kind, self.judge.verdict(), [(w.number, first, count) for w, first, count in parts])
        self.disk.back(mark)

    def _subsets(self, epoch):
        n = len(epoch)
        prefixes = {(1 << k) - 1 for k in range(n + 1)}
        if n <= ALL_SUBSETS:
            return [m for m in range(1 << n) if m not in prefixes]
        found = set()
        for _ in range(self.samples):
            share = self.random.random()
            found.add(sum(1 << k for k in range(n) if self.random.random() < share))
        return sorted(found - prefixes)

    def _torn(self, epoch):
        """A prefix, and of the next write only some sectors: its first ones, or all but some at random."""
        long = [k for k, w in enumerate(epoch) if w.count > 1]
        chosen = long if len(long) <= self.samples else sorted(self.random.sample(long, self.samples))
        for k in chosen:
            w, before = epoch[k], [(x, 0, x.count) for x in epoch[:k]]
            cut = self.random.randrange(1, w.count)
            yield [*before, (w, 0, cut)]
            yield [*before, (w, cut, w.count - cut)]

    def epoch(self, epoch):
        mark = self.disk.mark()
        for k, write in enumerate(epoch):
            self.disk.put(write)
            self.count.add('prefix', self.judge.verdict(), [(w.number, 0, w.count) for w in epoch[:k + 1]])
        self.disk.back(mark)
        for mask in self._subsets(epoch):
            self._try('subset', [(w, 0, w.count) for k, w in enumerate(epoch) if mask >> k & 1])
        for parts in self._torn(epoch):
            self._try('torn', parts)
        for write in epoch:
            self.disk.put(write)
        self.disk.settle()

    def run(self, log, start, end):
        for epoch in log.epochs(start, end):
            self.epoch(epoch)
        return self.count

