# SPDX-License-Identifier: Apache-2.0
"""Reads LUKS2 headers (LUKS2 On-Disk Format Specification, 1.1)."""
import hashlib
import json
import struct
from dataclasses import dataclass

SIZES = [1 << n for n in range(14, 23)]
TPM, RECOVERY = 'systemd-tpm2', 'systemd-recovery'


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
            'label': raw[24:72].rstrip(b'\0').decode('ascii', 'replace'), 'json': json.loads(whole[4096:].rstrip(b'\0'))}


def read(disk, offset):
    """The header that counts: the newer one of those that are whole; None when there is none."""
    first, seconds = _header(disk, offset, b'LUKS\xba\xbe'), []
    for size in ([first['size']] if first else SIZES):
        second = _header(disk, offset + size, b'SKUL\xba\xbe')
        if second and second['size'] == size:
            seconds.append(second)
    both = [h for h in [first, *seconds] if h]
    return max(both, key=lambda h: h['sequence']) if both else None


@dataclass(frozen=True)
class Way:
    """A token, and the key slot that it opens."""
    kind: str           # of the token
    token: str          # its text without the number of the slot: the same as long as it is the same secret
    material: str       # SHA-256 of what the key slot is made of: its parameters, and its area on the disk


@dataclass(frozen=True)
class Volume:
    uuid: str
    label: str
    ways: frozenset
    data_offset: int
    encryption: str     # "" when the header names none

    def of(self, kind):
        return {way for way in self.ways if way.kind == kind}


def _material(disk, offset, slot):
    area = slot['area']
    h = hashlib.sha256(json.dumps(slot, sort_keys=True).encode())
    h.update(disk.read(offset + int(area['offset']), int(area['size'])))
    return h.hexdigest()


def volume(disk, offset):
    """What the header says that counts; None when there is none. Only tokens whose key slots are there are ways in."""
    header = read(disk, offset)
    if header is None:
        return None
    text, ways = header['json'], set()
    segment = text.get('segments', {}).get('0', {})
    assigned = {number for digest in text.get('digests', {}).values() for number in digest['keyslots']}
    for token in text.get('tokens', {}).values():
        for number in token['keyslots']:
            slot = text['keyslots'].get(number)
            if slot and number in assigned:
                bare = json.dumps({k: v for k, v in token.items() if k != 'keyslots'}, sort_keys=True)
                ways.add(Way(token['type'], bare, _material(disk, offset, slot)))
    return Volume(header['uuid'], header['label'], frozenset(ways), int(segment.get('offset', 0)),
                  segment.get('encryption', '') if segment.get('type') == 'crypt' else '')
