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
PICKED = 8              # states that are kept, of each kind and outcome, to be repaired or booted


@dataclass(frozen=True)
class State:
    """All writes before number settled, and parts of later ones: ((number, first sector, sectors), ...)."""
    kind: str
    outcome: str
    settled: int
    parts: tuple

    @property
    def last(self):
        return max((number for number, _, _ in self.parts), default=self.settled - 1)


@dataclass
class Count:
    states: int = 0
    bad: int = 0
    kinds: Counter = field(default_factory=Counter)         # of states: prefix, subset, torn
    bad_kinds: Counter = field(default_factory=Counter)
    broken: Counter = field(default_factory=Counter)        # invariants
    firsts: Counter = field(default_factory=Counter)        # what would start first
    outcomes: Counter = field(default_factory=Counter)      # what the disk is: see judge.py
    shared: int = 0                                         # states with cross-linked files
    sectors: int = 0                                        # of data partitions, looked at: none is plain
    examples: list = field(default_factory=list)            # (kind, numbers of the writes on top, what is broken)
    picks: dict = field(default_factory=dict)               # {(outcome, kind): [State]}
    repaired: int = 0                                       # of those, judged again after fsck.vfat
    bad_repaired: int = 0

    def add(self, kind, verdict, writes):
        self.states += 1
        self.kinds[kind] += 1
        self.firsts[verdict.first] += 1
        self.outcomes[verdict.outcome] += 1
        self.shared += verdict.shared > 0
        if not verdict.good:
            self.bad += 1
            self.bad_kinds[kind] += 1
            for text in verdict.broken:
                self.broken[text] += 1
                if self.broken[text] <= SHOWN:
                    self.examples.append((kind, list(writes), text))


class Explorer:
    """Walks through a log on one disk. samples: subsets, and torn states, tried of each longer epoch."""

    def __init__(self, disk, judge, samples=20, seed=1):
        self.disk, self.judge, self.samples = disk, judge, samples
        self.random, self.chance = random.Random(seed), random.Random(seed)
        self.count, self.seen = Count(), Counter()

    def _add(self, kind, parts, settled):
        verdict, parts = self.judge.verdict(), [(w.number, first, count) for w, first, count in parts]
        self.count.add(kind, verdict, parts)
        if verdict.good:
            self._pick(State(kind, verdict.outcome, settled, tuple(parts)))

    def _pick(self, state):
        """Of all states of a kind and outcome each has the same chance to be among the few that are kept."""
        key = state.outcome, state.kind
        kept = self.count.picks.setdefault(key, [])
        self.seen[key] += 1
        if len(kept) < PICKED:
            kept.append(state)
        elif (place := self.chance.randrange(self.seen[key])) < PICKED:
            kept[place] = state

    def _try(self, kind, parts, settled, below=()):
        """parts: [(write, first, count)] on top of what is there: what is settled, and below."""
        mark = self.disk.mark()
        for write, first, count in parts:
            self.disk.put(write, first, count)
        self._add(kind, [*below, *parts], settled)
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
        """{place of a write in its epoch: sectors that it is cut behind}."""
        long = [k for k, w in enumerate(epoch) if w.count > 1]
        chosen = long if len(long) <= self.samples else sorted(self.random.sample(long, self.samples))
        return {k: self.random.randrange(1, epoch[k].count) for k in chosen}

    def epoch(self, epoch):
        """All that may be left while these writes are on their way. In the end they are there."""
        settled, subsets, torn, below = epoch[0].number, self._subsets(epoch), self._torn(epoch), []
        for mask in subsets:
            self._try('subset', [(w, 0, w.count) for k, w in enumerate(epoch) if mask >> k & 1], settled)
        for k, write in enumerate(epoch):
            if k in torn:
                # What is before it is there, and of it only its first sectors, or its last ones.
                self._try('torn', [(write, 0, torn[k])], settled, below)
                self._try('torn', [(write, torn[k], write.count - torn[k])], settled, below)
            self.disk.put(write, lasting=True)
            below.append((write, 0, write.count))
            self._add('prefix', below, settled)

    def run(self, log, start, end):
        for epoch in log.epochs(start, end):
            self.epoch(epoch)
        return self.count


def make(disk, log, state, path):
    """The disk of a state as a file. disk: as it was before the log began; it is used up."""
    disk.settle(log.entries[:state.settled])
    for number, first, count in state.parts:
        disk.put(log.entries[number], first, count)
    disk.save(path)
