# SPDX-License-Identifier: Apache-2.0
"""Reads FAT32 (Microsoft "FAT: General Overview of On-Disk Format", 1.03), as a firmware would: the first FAT counts."""
import hashlib
import struct
from dataclasses import dataclass

import numpy

END, MASK = 0x0ffffff8, 0x0fffffff
LONG, VOLUME, DIRECTORY = 0x0f, 0x08, 0x10
STATE = 65                      # byte of the boot sector; bit 0: not unmounted
DIR_LIMIT = 4096                # clusters of a directory


class Damaged(Exception):
    """What cannot be read."""


@dataclass(frozen=True)
class File:
    path: str
    size: int
    cluster: int
    directory: bool


class Fat:
    def __init__(self, disk, offset, size, digests=None):
        """digests: of files, as another Fat of the same disk found them out."""
        self.disk, self.offset = disk, offset
        boot = disk.read(offset, 512)
        (self.sector, per_cluster, reserved, fats) = struct.unpack_from('<HBHB', boot, 11)
        fat_sectors, = struct.unpack_from('<I', boot, 36)
        self.root, = struct.unpack_from('<I', boot, 44)
        if boot[510:] != b'\x55\xaa' or self.sector not in (512, 4096) or per_cluster == 0 or fats == 0 or fat_sectors == 0:
            raise Damaged('boot sector')
        self.cluster_size = self.sector * per_cluster
        self.fat_offset = offset + reserved * self.sector
        self.data_offset = self.fat_offset + fats * fat_sectors * self.sector
        self.last = (offset + size - self.data_offset) // self.cluster_size + 1
        count = min(fat_sectors * self.sector // 4, self.last + 1)
        # Follows what is written: it is a window into the disk's memory.
        self.table = numpy.frombuffer(disk.map, dtype='<u4', count=count, offset=self.fat_offset)
        self.digests = {} if digests is None else digests

    def place(self, cluster):
        return self.data_offset + (cluster - 2) * self.cluster_size

    def runs(self, first, need=None):
        """A chain as [(cluster, count)]: of so many clusters, without a look at what follows, as whoever reads a file does; or,
        without need, to its end. Damaged when it leads nowhere."""
        runs, total, c, most = [], 0, first, need or DIR_LIMIT
        while True:
            if not 2 <= c <= self.last:
                raise Damaged(f'chain from {first} leads to {c}')
            window = self.table[c:c + most - total] & MASK
            breaks = numpy.flatnonzero(window != numpy.arange(c + 1, c + 1 + len(window), dtype=numpy.uint32))
            n = int(breaks[0]) + 1 if len(breaks) > 0 else len(window)
            runs.append((c, n))
            total += n
            if need and total >= need:
                return runs
            if len(breaks) == 0:
                raise Damaged(f'chain from {first} is longer than {total} clusters')
            c = int(window[n - 1])
            if c >= END and not need:
                return runs

    def ranges(self, file):
        """Where the bytes of a file are: [(offset, size)] of the disk."""
        if file.size == 0:
            return []
        left, out = file.size, []
        for c, n in self.runs(file.cluster, -(-file.size // self.cluster_size)):
            size = min(left, n * self.cluster_size)
            out.append((self.place(c), size))
            left -= size
        return out

    def is_kept(self, file):
        """Whether the allocation table says so of all clusters of a file, and ends it there. What can be read today, from
        clusters that count as free, the next file may overwrite."""
        try:
            runs = self.runs(file.cluster, -(-file.size // self.cluster_size))
        except Damaged:
            return False
        return int(self.table[sum(runs[-1]) - 1] & MASK) >= END

    def read(self, file):
        return b''.join(self.disk.read(*r) for r in self.ranges(file))

    def digest(self, file):
        """SHA-256; None when it cannot be read."""
        try:
            ranges = self.ranges(file)
        except Damaged:
            return None
        key = (file.size, self.disk.identity(ranges))
        if key not in self.digests:
            h = hashlib.sha256()
            for r in ranges:
                h.update(self.disk.view[r[0]:r[0] + r[1]])
            self.digests[key] = h.hexdigest()
        return self.digests[key]

    def listing(self, cluster, path):
        """The files and directories of one directory."""
        raw = b''.join(self.disk.read(self.place(c), n * self.cluster_size) for c, n in self.runs(cluster))
        found, parts = [], []
        for at in range(0, len(raw), 32):
            e = raw[at:at + 32]
            if e[0] == 0:
                break
            if e[0] == 0xe5:
                parts = []
            elif e[11] & 0x3f == LONG:
                parts = _long_part(parts, e)
            else:
                name = _long_name(parts, e) or _short_name(e)
                parts = []
                if e[11] & VOLUME or name in ('.', '..'):
                    continue
                low, size = struct.unpack_from('<HI', e, 26)
                high, = struct.unpack_from('<H', e, 20)
                found.append(File(f'{path}/{name}', size, high << 16 | low, bool(e[11] & DIRECTORY)))
        return found

    def tree(self):
        """{path: File} of all files. Names differ in more than case: a second one of the same name is Damaged."""
        files, waiting, seen = {}, [(self.root, '')], set()
        while waiting:
            cluster, path = waiting.pop()
            if cluster in seen:
                raise Damaged(f'directory {path} is there twice')
            seen.add(cluster)
            for f in self.listing(cluster, path):
                if f.directory:
                    waiting.append((f.cluster, f.path))
                elif f.path.lower() in files:
                    raise Damaged(f'{f.path} is there twice')
                else:
                    files[f.path.lower()] = f
        return files

    def shared(self, files):
        """Pairs of paths of files with a cluster in common: deleting one would damage the other."""
        spans, pairs, reach = [], set(), (-1, '')
        for f in files:
            try:
                spans += [(c, c + n, f.path) for c, n in self.runs(f.cluster, -(-f.size // self.cluster_size))] if f.size else []
            except Damaged:
                continue
        for start, end, path in sorted(spans):
            if start < reach[0] and path != reach[1]:
                pairs.add(tuple(sorted((reach[1], path))))
            reach = max(reach, (end, path))
        return pairs


def _checksum(short):
    s = 0
    for x in short:
        s = ((s >> 1) | ((s & 1) << 7)) + x & 0xff
    return s


def _long_part(parts, e):
    number, checksum = e[0], e[13]
    text = e[1:11] + e[14:26] + e[28:32]
    if number & 0x40:
        return [(number & 0x3f, checksum, text)]
    if parts and parts[-1][0] == number + 1 and parts[-1][1] == checksum:
        return [*parts, (number, checksum, text)]
    return []


def _long_name(parts, e):
    if not parts or parts[-1][0] != 1 or parts[-1][1] != _checksum(e[:11]):
        return None
    text = b''.join(p[2] for p in reversed(parts)).decode('utf-16le', 'replace')
    return text.split('\0')[0].rstrip('\uffff')


def _short_name(e):
    base, extension = (e[:8].rstrip().decode('cp437'), e[8:11].rstrip().decode('cp437'))
    base, extension = (base.lower() if e[12] & 8 else base, extension.lower() if e[12] & 16 else extension)
    return f'{base}.{extension}' if extension else base
