# SPDX-License-Identifier: Apache-2.0
"""Reads a GUID partition table (UEFI 2.10, chapter 5)."""
import struct
import uuid
import zlib
from dataclasses import dataclass

ESP = uuid.UUID('C12A7328-F81F-11D2-BA4B-00A0C93EC93B')
HEADER = struct.Struct('<8sIIIIQQQQ16sQIII')


@dataclass(frozen=True)
class Partition:
    type: uuid.UUID
    guid: uuid.UUID
    offset: int         # bytes
    size: int
    name: str


def _table(disk, sector, at):
    raw = disk.read(at * sector, sector)
    (signature, _, size, crc, _, own, _, _, _, _, where, count, entry, entries_crc) = HEADER.unpack_from(raw)
    if signature != b'EFI PART' or not 92 <= size <= sector or own != at:
        return None
    if zlib.crc32(raw[:16] + bytes(4) + raw[20:size]) != crc or entry < 128 or count > 1024:
        return None
    entries = disk.read(where * sector, count * entry)
    if zlib.crc32(entries) != entries_crc:
        return None
    found = []
    for i in range(count):
        e = entries[i * entry:(i + 1) * entry]
        first, last = struct.unpack_from('<QQ', e, 32)
        if any(e[:16]):
            found.append(Partition(uuid.UUID(bytes_le=e[:16]), uuid.UUID(bytes_le=e[16:32]), first * sector,
                                   (last - first + 1) * sector, e[56:128].decode('utf-16le').rstrip('\0')))
    return found


def read(disk, sector=512):
    """The partitions by the first table, or by the second one when the first is damaged; None when both are."""
    return _table(disk, sector, 1) or _table(disk, sector, disk.size // sector - 1)
