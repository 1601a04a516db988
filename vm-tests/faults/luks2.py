# SPDX-License-Identifier: Apache-2.0
"""Reads LUKS2 headers (LUKS2 On-Disk Format Specification, 1.1)."""
import hashlib
import json
import struct

SIZES = [1 << n for n in range(14, 23)]


def _header(disk, offset, magic):
    raw = disk.read(offset, 4096)
    if raw[:6] != magic or struct.unpack_from('>H', raw, 6)[0] != 2:
        return None
    size, sequence = struct.unpack_from('>QQ', raw, 8)
    if size not in SIZES:
        return None
    whole = disk.read(offset, size)
    blank = whole[:448] + bytes(64) + whole[512:]
    name = raw[72:104].rstrip(b'\0').decode('ascii', 'replace')
    if name != 'sha256' or hashlib.sha256(blank).digest() != raw[448:480]:
        return None
    return {'size': size, 'sequence': sequence, 'uuid': raw[168:208].rstrip(b'\0').decode('ascii', 'replace'),
            'json': json.loads(whole[4096:].rstrip(b'\0'))}


def read(disk, offset):
    """The header that counts: the newer one of those that are whole; None when there is none."""
    first, seconds = _header(disk, offset, b'LUKS\xba\xbe'), []
    for size in ([first['size']] if first else SIZES):
        second = _header(disk, offset + size, b'SKUL\xba\xbe')
        if second and second['size'] == size:
            seconds.append(second)
    both = [h for h in [first, *seconds] if h]
    return max(both, key=lambda h: h['sequence']) if both else None
