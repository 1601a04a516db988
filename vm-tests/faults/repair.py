# SPDX-License-Identifier: Apache-2.0
"""Some of the states of a record after the repair that the agent has done of a boot partition that was not unmounted: fsck.vfat
may take nothing from it that the invariants are about."""
import subprocess

from . import gpt
from .disk import CHUNK, SECTOR, data_of
from .fat import STATE, Damaged
from .judge import Judge
from .snapshot import esp_of
from .writelog import Write

FSCK = ('fsck.vfat', '-a')


def marked(disk):
    """The boot partition, if there is one that is to be repaired; else None."""
    esp = esp_of(gpt.read(disk) or ())
    return esp if esp and disk.read(esp.offset + STATE, 1)[0] & 1 else None


def repair(disk, esp, number, path):
    """Has it repaired, and puts on the disk what became different, as writes with the numbers from that on, at most one for a
    chunk. Damaged when it cannot be, which keeps the agent from it."""
    disk.save(path, esp.offset, esp.offset + esp.size)
    done = subprocess.run([*FSCK, path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode not in (0, 1):
        raise Damaged(f'{FSCK[0]} ended with {done.returncode}: {done.stdout[-500:]}')
    # What was a hole and still is one, is nothing that anybody has to read: the partition may be large.
    chunks = disk.chunks(esp.offset, esp.offset + esp.size)
    chunks.update(at for start, end in data_of(path) for at in range(start // CHUNK * CHUNK, end, CHUNK))
    with open(path, 'rb') as f:
        for at in sorted(chunks):
            f.seek(at)
            data = f.read(CHUNK)
            if data != disk.read(esp.offset + at, len(data)):
                disk.put(Write(number, (esp.offset + at) // SECTOR, len(data) // SECTOR, 0, memoryview(data)))
                number += 1
    if marked(disk):
        raise Damaged('it is marked still')


def repaired(disk, log, expectation, states, path):
    """(how many were repaired, [what is wrong with one that is bad now]). disk: as it was before the log began; it is used up.
    Files that share clusters are left out: of those the agent first takes away what is not needed."""
    judge, at, tried, wrong = None, 0, 0, []
    for state in sorted(states, key=lambda state: state.settled):
        disk.settle(log.entries[at:state.settled])
        at, mark = state.settled, disk.mark()
        # The operations before this one may have made the partition table.
        judge = judge or Judge(disk, expectation)
        for part in state.parts:
            disk.put(log.entries[part[0]], *part[1:])
        esp = marked(disk)
        if esp and judge.verdict().shared == 0:
            tried += 1
            try:
                # A number is one content: the judge remembers what it has seen by them.
                repair(disk, esp, len(log.entries) + tried * (esp.size // CHUNK + 1), path)
                broken = judge.verdict().broken
                wrong += ['; '.join(sorted(broken))] if broken else []
            except Damaged as e:
                wrong.append(str(e))
        disk.back(mark)
    path.unlink(missing_ok=True)
    return tried, wrong
