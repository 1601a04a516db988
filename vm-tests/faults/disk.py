# SPDX-License-Identifier: Apache-2.0
"""A disk image in memory that writes are put on and taken off again. The file stays as it is.

Every sector knows the number of the write that it is from, so that what was judged once need not be judged again as long as
nothing was written to it. Of a disk that is mostly empty only what is not takes memory and time.
"""
import hashlib
import mmap
import os

import numpy

SECTOR = 512
CHUNK = 1 << 20     # what is known of more than a sector, is known of pieces of this size
MAP_NORESERVE = 0x4000      # mmap(2); Python does not name it before 3.13
CHUNK_SECTORS = CHUNK // SECTOR


class Disk:
    def __init__(self, path):
        with open(path, 'rb') as f:
            # A private copy, of which only what is written takes memory: the disk may be larger than that.
            self.map = mmap.mmap(f.fileno(), 0, flags=mmap.MAP_PRIVATE | MAP_NORESERVE,
                                 prot=mmap.PROT_READ | mmap.PROT_WRITE)
        self.size = len(self.map)
        self.view = memoryview(self.map)
        self.bytes = numpy.frombuffer(self.map, dtype=numpy.uint8)
        # 0: content that was there before the first write; write n of the log counts as n + 1.
        self.origin = numpy.zeros(self.size // SECTOR, dtype=numpy.int32)
        chunks = -(-self.size // CHUNK)
        self.used = numpy.zeros(chunks, dtype=bool)         # may hold something else than zeros; only ever grows
        self.stamps = numpy.zeros((chunks, 2), dtype=numpy.uint64)      # of the origins of a chunk's sectors,
        self.stale = numpy.ones(chunks, dtype=bool)         # where they are not out of date
        for start, end in data_of(path):
            self.used[start // CHUNK:-(-end // CHUNK)] = True
        self.undo = []

    def read(self, offset, size):
        return bytes(self.view[offset:offset + size])

    def put(self, write, first=0, count=None, lasting=False):
        """Some sectors of a write, or all of them. A discard leaves zeros. lasting: it is not taken off again; then there must be
        nothing below it that is."""
        count = write.count - first if count is None else count
        start, end = write.sector + first, write.sector + first + count
        if end > len(self.origin):
            raise ValueError(f'write {write.number} is outside of the disk')
        a, b = start * SECTOR, end * SECTOR
        spans = [(a, b)]
        if write.data is None:
            spans = [(max(x * CHUNK, a), min(y * CHUNK, b))
                     for x, y in _runs(numpy.flatnonzero(self.used[a // CHUNK:-(-b // CHUNK)]) + a // CHUNK)]
        else:
            self.used[a // CHUNK:-(-b // CHUNK)] = True
        c = slice(a // CHUNK, -(-b // CHUNK))
        if lasting:
            assert not self.undo
        else:
            self.undo.append((start, end, self.origin[start:end].copy(), [(x, y, self.bytes[x:y].copy()) for x, y in spans],
                              c, self.stamps[c].copy(), self.stale[c].copy()))
        self.stale[c] = True
        for x, y in spans:
            self.bytes[x:y] = 0 if write.data is None else \
                numpy.frombuffer(write.data, dtype=numpy.uint8)[first * SECTOR:(first + count) * SECTOR]
        self.origin[start:end] = write.number + 1

    def settle(self, writes):
        """Entries of a log, lasting; some of them may be nothing but flushes."""
        for write in writes:
            if write.count > 0:
                self.put(write, lasting=True)

    def mark(self):
        return len(self.undo)

    def back(self, mark):
        """Takes off what was put on since mark."""
        while len(self.undo) > mark:
            start, end, origin, spans, c, stamps, stale = self.undo.pop()
            self.origin[start:end], self.stamps[c], self.stale[c] = origin, stamps, stale
            for x, y, data in spans:
                self.bytes[x:y] = data

    def identity(self, ranges):
        """The same for the same content of these byte ranges [(offset, size)]: where it is from, not what it is."""
        h = hashlib.blake2b(digest_size=16)
        for offset, size in ranges:
            h.update(offset.to_bytes(8, 'little'))
            start, end = offset // SECTOR, -(-(offset + size) // SECTOR)
            first, last = -(-start // CHUNK_SECTORS), end // CHUNK_SECTORS
            if first >= last:
                h.update(self.origin[start:end].tobytes())
                continue
            for chunk in numpy.flatnonzero(self.stale[first:last]) + first:
                part = self.origin[chunk * CHUNK_SECTORS:(chunk + 1) * CHUNK_SECTORS]
                self.stamps[chunk] = numpy.frombuffer(hashlib.blake2b(part, digest_size=16).digest(), dtype=numpy.uint64)
            self.stale[first:last] = False
            h.update(self.origin[start:first * CHUNK_SECTORS].tobytes())
            h.update(self.stamps[first:last].tobytes())
            h.update(self.origin[last * CHUNK_SECTORS:end].tobytes())
        return h.digest()

    def save(self, path, start=0, end=None):
        """This state, or a part of it that begins with a chunk, as a new file, with holes where there is nothing."""
        end = self.size if end is None else end
        with open(path, 'wb') as f:
            f.truncate(end - start)
            for at in sorted(self.chunks(start, end)):
                piece = self.bytes[start + at:min(start + at + CHUNK, end)]
                if piece.any():
                    f.seek(at)
                    f.write(piece)

    def chunks(self, start, end):
        """Where chunks between begin that may hold something, counted from start, which is where one begins."""
        assert start % CHUNK == 0
        return {int(n) * CHUNK for n in numpy.flatnonzero(self.used[start // CHUNK:-(-end // CHUNK)])}


def data_of(path):
    """[(offset, end)] of what is not a hole of a file."""
    with open(path, 'rb') as f:
        at, size = 0, f.seek(0, os.SEEK_END)
        while at < size:
            try:
                at = os.lseek(f.fileno(), at, os.SEEK_DATA)
            except OSError:
                return
            end = os.lseek(f.fileno(), at, os.SEEK_HOLE)
            yield at, end
            at = end


def _runs(numbers):
    """[(first, behind the last)] of consecutive numbers."""
    if len(numbers) == 0:
        return []
    breaks = numpy.flatnonzero(numpy.diff(numbers) != 1)
    firsts = numpy.concatenate(([numbers[0]], numbers[breaks + 1]))
    lasts = numpy.concatenate((numbers[breaks], [numbers[-1]]))
    return [(int(a), int(b) + 1) for a, b in zip(firsts, lasts)]
