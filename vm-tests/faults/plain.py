# SPDX-License-Identifier: Apache-2.0
"""What must never be on the disk (I5), looked for in every write of an operation. What no write has, no state has."""
import numpy

SECTOR = 512
# Of 512 random bytes about 221 are different ones, give or take 5. Text, tables and file systems have far fewer.
LEAST = 160
PIECE = 1 << 12         # sectors judged at once


def secrets_written(log, start, end, secrets):
    """Names of the secrets ({name: bytes}) that entries [start, end) hold."""
    a, b = log.places[start], log.places[end]
    return sorted(name for name, text in secrets.items() if log.map.find(text, a, b) >= 0)


def plain_sectors(data):
    """Indexes of the sectors that are neither all zeros nor as good as random."""
    found = []
    rows = numpy.frombuffer(data, dtype=numpy.uint8).reshape(-1, SECTOR)
    for at in range(0, len(rows), PIECE):
        piece = rows[at:at + PIECE].astype(numpy.int64)
        cells = piece + 256 * numpy.arange(len(piece))[:, None]
        different = (numpy.bincount(cells.ravel(), minlength=256 * len(piece)).reshape(-1, 256) != 0).sum(axis=1)
        bad = (different < LEAST) & piece.any(axis=1)
        found += [at + int(i) for i in numpy.flatnonzero(bad)]
    return found


def plain_writes(log, start, end, ranges):
    """(sectors that were looked at, [(number of a write, sector of the disk, name of the partition)]) of entries
    [start, end): what got plain into ranges [(first sector, behind the last, name)]."""
    looked, found = 0, []
    for write in log.entries[start:end]:
        if write.count == 0 or write.data is None:
            continue
        for first, last, name in ranges:
            a, b = max(first, write.sector), min(last, write.sector + write.count)
            if a >= b:
                continue
            looked += b - a
            part = write.data[(a - write.sector) * SECTOR:(b - write.sector) * SECTOR]
            found += [(write.number, a + i, name) for i in plain_sectors(part)]
    return looked, found
