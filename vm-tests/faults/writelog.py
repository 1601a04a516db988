# SPDX-License-Identifier: Apache-2.0
"""The log of QEMU's block filter blklogwrites, in the format of Linux' dm-log-writes
(Documentation/admin-guide/device-mapper/log-writes.rst): a superblock, then one entry for each write, flush or discard,
each followed by its data."""
import mmap
import struct
from dataclasses import dataclass

MAGIC, VERSION = 0x6a736677736872, 1
FLUSH, DISCARD = 1, 4
SUPER, ENTRY = struct.Struct('<QQQI'), struct.Struct('<QQQQ')


@dataclass(frozen=True)
class Write:
    """sector and count in units of 512 bytes. data: None for a discard; empty for a flush alone."""
    number: int         # its place in the log
    sector: int
    count: int
    flags: int
    data: memoryview

    @property
    def is_flush(self):
        """Everything before it is durable once it has ended. A write with FUA says so of itself alone; it is taken for an
        ordinary one, which may get lost: the states are more, not fewer."""
        return bool(self.flags & FLUSH)


class WriteLog:
    """All entries of a log that was closed in an orderly way."""

    def __init__(self, path):
        with open(path, 'rb') as f:
            self.map = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        magic, version, self.count, size = SUPER.unpack_from(self.map)
        if magic != MAGIC or version != VERSION or size % 512 != 0 or not 512 <= size <= 4096:
            raise ValueError(f'{path}: not a write log')
        self.sector_size = size
        self.places = [size]            # of each entry in the file, and the end of the last one
        self.entries = list(self._read())

    def _read(self):
        at, view, scale = self.sector_size, memoryview(self.map), self.sector_size // 512
        for number in range(self.count):
            sector, count, flags, _ = ENTRY.unpack_from(self.map, at)
            at += self.sector_size
            data = view[at:at]
            if count > 0:
                if flags & DISCARD:
                    data = None
                else:
                    data = view[at:at + count * self.sector_size]
                    at += count * self.sector_size
            self.places.append(at)
            yield Write(number, sector * scale, count * scale, flags, data)

    def epochs(self, start=0, end=None):
        """Lists of writes between two flushes, in order. Within one, a disk may have done them in any order, or not at all,
        when the power fails; those of earlier ones are there."""
        epoch = []
        for write in self.entries[start:end]:
            if write.count > 0:
                epoch.append(write)
            if write.is_flush and epoch:
                yield epoch
                epoch = []
        if epoch:
            yield epoch


def entries_so_far(path, end=None):
    """How many entries a log has while it is being written: its superblock is behind. Or had, when it was end bytes long."""
    with open(path, 'rb') as f:
        head = f.read(SUPER.size)
        if len(head) < SUPER.size:
            return 0
        size = SUPER.unpack(head)[3]
        at, number = size, 0
        end = f.seek(0, 2) if end is None else end
        while at + size <= end:
            f.seek(at)
            _, count, flags, _ = ENTRY.unpack(f.read(ENTRY.size))
            at += size + (0 if flags & DISCARD else count * size)
            if at > end:
                break
            number += 1
        return number
