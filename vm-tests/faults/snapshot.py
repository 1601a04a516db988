# SPDX-License-Identifier: Apache-2.0
"""What a disk was before an operation and is after it: the ground to judge the states between by."""
from dataclasses import dataclass

from . import gpt, loader, luks2
from .fat import Damaged, Fat

DATA = ('oem', 'persistent')


@dataclass(frozen=True)
class Snapshot:
    table: tuple            # gpt.Partition; () when there is no table
    volumes: dict           # {name: luks2.Volume} of the data partitions that have a header
    roles: dict             # {role: (text of its entry, digest of its image)}, of an ESP that can be read

    @property
    def guids(self):
        return frozenset(p.guid for p in self.table)

    def ranges(self):
        """[(first sector, behind the last, name)] of the data behind the headers."""
        found = []
        for p in self.table:
            if p.name in self.volumes:
                start = p.offset + self.volumes[p.name].data_offset
                found.append((start // 512, (p.offset + p.size) // 512, p.name))
        return found


def esp_of(table):
    return next((p for p in table if p.type == gpt.ESP), None)


def roles(fat, tree):
    """{role: (text, digest of the image)} of the entries that systemd-boot shows, whose counters are no part of them."""
    return {e.id: (fat.read(tree[loader.ENTRIES + e.name]), fat.digest(tree[e.image])) for e in loader.entries(fat, tree)}


def take(disk):
    table = tuple(gpt.read(disk) or ())
    volumes = {p.name: luks2.volume(disk, p.offset) for p in table if p.name in DATA}
    found, esp = {}, esp_of(table)
    if esp:
        try:
            fat = Fat(disk, esp.offset, esp.size)
            found = roles(fat, fat.tree())
        except (Damaged, ValueError):
            pass
    return Snapshot(table, {name: v for name, v in volumes.items() if v}, found)


def at(disk, log, numbers):
    """{number: Snapshot} of the disk when so many entries of the log are on it. disk: as it was before; it is used up."""
    found, done = {}, 0
    for number in sorted(set(numbers)):
        disk.settle(log.entries[done:number])
        found[number], done = take(disk), number
    return found
