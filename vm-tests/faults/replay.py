# SPDX-License-Identifier: Apache-2.0
"""All states of a record, judged: chapter by chapter, in several processes."""
import multiprocessing
import random
import time
from dataclasses import replace

from . import snapshot
from .disk import Disk
from .explore import Count, Explorer
from .judge import Judge
from .plain import plain_writes, secrets_written
from .repair import repaired
from .writelog import WriteLog


def _secrets(record, chapter, log, count):
    """What no state may show, whatever else is on it (I5)."""
    x = chapter.expectation
    sides = [s for s in (x.before, x.after) if s]
    ranges = sorted({r for s in sides for r in s.ranges()})
    count.sectors, plain = plain_writes(log, chapter.start, chapter.end, ranges)
    found = [f'{name} is on the disk' for name in secrets_written(log, chapter.start, chapter.end, record.secrets)]
    found += [f'{name}: plain data' for _, _, name in plain]
    for text in found:
        count.bad += 1
        count.bad_kinds['plain'] += 1
        count.broken['I5: ' + text] += 1
    count.examples += [('plain', [(number, sector, 1)], f'I5: {name}: plain data') for number, sector, name in plain[:3]]


def _repairs(record, index, log, expectation, most, count):
    """So many of the states that were kept, and none was bad, after a repair."""
    kept = [state for _, states in sorted(count.picks.items()) for state in states]
    chosen = random.Random(index).sample(kept, min(most, len(kept)))
    count.repaired, wrong = repaired(Disk(record.base), log, expectation, chosen, record.base.with_name(f'repaired-{index}'))
    count.bad_repaired = len(wrong)
    for text in wrong:
        count.broken['after fsck.vfat, ' + text] += 1


def _chapter(task):
    """(Count, seconds) of one chapter."""
    record, index, snapshots, samples, repairs = task
    chapter, begun = record.chapters[index], time.monotonic()
    disk, log = Disk(record.base), WriteLog(record.log)
    disk.settle(log.entries[:chapter.start])
    x = replace(chapter.expectation, before=snapshots[chapter.start], after=snapshots[chapter.end])
    chapter = replace(chapter, expectation=x)
    if chapter.start == chapter.end:
        return Count(), 0.0
    count = Explorer(disk, Judge(disk, x), samples).run(log, chapter.start, chapter.end)
    _secrets(record, chapter, log, count)
    if repairs:
        _repairs(record, index, log, x, repairs, count)
    return count, time.monotonic() - begun


def explore(record, samples, processes=1, only=None, repairs=0):
    """[(chapter, Count, seconds)] of everything on record that is to be judged. only: names of chapters. repairs: states of each
    that are judged again after a repair."""
    chosen = [i for i, c in enumerate(record.chapters) if c.expectation and (not only or c.name in only)]
    places = {n for i in chosen for n in (record.chapters[i].start, record.chapters[i].end)}
    snapshots = snapshot.at(Disk(record.base), WriteLog(record.log), places)
    tasks = [(record, i, snapshots, samples, repairs) for i in chosen]
    if processes == 1:
        results = [_chapter(task) for task in tasks]
    else:
        with multiprocessing.Pool(processes) as pool:
            results = pool.map(_chapter, tasks, chunksize=1)
    return [(record.chapters[i], count, seconds) for i, (count, seconds) in zip(chosen, results)]
