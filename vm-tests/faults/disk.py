# SPDX-License-Identifier: Apache-2.0
"""A disk image in memory that writes are put on and taken off again. The file stays as it is.

Every sector knows the number of the write that it is from, so that what was judged once need not be judged again as long as
nothing was written to it.
"""
import hashlib
import mmap

import numpy

SECTOR = 512
MAP_NORESERVE = 0x4000      # mmap(2); Python does not name it before 3.13
BASE = 0            # content that was there before the first write; write n of the log counts as n + 1


class Disk:
    def __init__(self, path):
        with open(path, 'rb') as f:
            # A private copy, of which only what is written takes memory: the disk may be larger than that.
            self.map = mmap.mmap(f.fileno(), 0, flags=mmap.MAP_PRIVATE | MAP_NORESERVE,
                                 prot=mmap.PROT_READ | mmap.PROT_WRITE)
        self.size = len(self.map)
        self.view = memoryview(self.map)
        self.bytes = numpy.frombuffer(self.map, dtype=numpy.uint8)
        self.origin = numpy.zeros(self.size // SECTOR, dtype=numpy.int32)
        self.undo = []

    def read(self, offset, size):
        return bytes(self.view[offset:offset + size])

    def put(self, write, first=0, count=None):
        """Some sectors of a write, or all of them. A discard leaves zeros."""
        count = write.count - first if count is None else count
        start, end = write.sector + first, write.sector + first + count
        if end > len(self.origin):
            raise ValueError(f'write {write.number} is outside of the disk')
        a, b = start * SECTOR, end * SECTOR
        self.undo.append((start, end, self.bytes[a:b].copy(), self.origin[start:end].copy()))
        if write.data is None:
            self.bytes[a:b] = 0
        else:
            self.bytes[a:b] = numpy.frombuffer(write.data, dtype=numpy.uint8)[first * SECTOR:(first + count) * SECTOR]
        self.origin[start:end] = write.number + 1

    def mark(self):
        return len(self.undo)

    def back(self, mark):
        """Takes off what was put on since mark."""
        while len(self.undo) > mark:
            start, end, data, origin = self.undo.pop()
            self.bytes[start * SECTOR:end * SECTOR] = data
            self.origin[start:end] = origin

    def settle(self):
        """What is there stays."""
        self.undo.clear()

    def identity(self, ranges):
        """The same for the same content of these byte ranges [(offset, size)]: where it is from, not what it is."""
        h = hashlib.blake2b(digest_size=16)
        for offset, size in ranges:
            h.update(offset.to_bytes(8, 'little'))
            h.update(self.origin[offset // SECTOR:-(-(offset + size) // SECTOR)].tobytes())
        return h.digest()

    def save(self, path, base):
        """This state as a file, a copy of base with what differs from it."""
        with open(path, 'r+b') as f:
            changed = numpy.flatnonzero(self.origin != BASE)
            for start, end in _runs(changed):
                f.seek(start * SECTOR)
                f.write(self.view[start * SECTOR:end * SECTOR])


def _runs(numbers):
    """[(first, behind the last)] of consecutive numbers."""
    if len(numbers) == 0:
        return []
    breaks = numpy.flatnonzero(numpy.diff(numbers) != 1)
    firsts = numpy.concatenate(([numbers[0]], numbers[breaks + 1]))
    lasts = numpy.concatenate((numbers[breaks], [numbers[-1]]))
    return [(int(a), int(b) + 1) for a, b in zip(firsts, lasts)]
