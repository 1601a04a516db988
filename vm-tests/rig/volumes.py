# SPDX-License-Identifier: Apache-2.0
"""Encrypted partitions inside raw disk images, in the hands of somebody who has the disk and no key: read, exchanged, altered.
No machine may be running on the image."""
import hashlib
import json
import os
import struct
from pathlib import Path

from .esp import run

MIB = 1 << 20
HEADER = 16 * MIB               # all before the data of a volume that the agent made
BINARY = 4096                   # the first part of each copy of a LUKS2 header; JSON follows
CHECKSUM = slice(448, 512)


class Volume:
    def __init__(self, image, name):
        table = json.loads(run('sfdisk', '-J', image))['partitiontable']
        found = next(p for p in table['partitions'] if p['name'] == name)
        self.image, self.name = Path(image), name
        self.start, self.size = (found[key] * table.get('sectorsize', 512) for key in ('start', 'size'))

    def read(self, size=HEADER, at=0):
        with open(self.image, 'rb') as f:
            return os.pread(f.fileno(), size, self.start + at)

    def write(self, data, at=0):
        assert at + len(data) <= self.size
        with open(self.image, 'r+b') as f:
            os.pwrite(f.fileno(), data, self.start + at)

    def wipe(self):
        """The signatures of what stands there, as an installer does it."""
        self.write(bytes(HEADER))

    def file(self, path):
        """The header as a file of the partition's size, for cryptsetup."""
        path = Path(path)
        path.write_bytes(self.read())
        os.truncate(path, self.size)
        return path

    def metadata(self):
        size, = struct.unpack_from('>Q', self.read(BINARY), 8)
        return json.loads(self.read(size - BINARY, BINARY).rstrip(b'\0'))

    def alter(self, change):
        """change(metadata) alters what the header says, and both copies are whole again: a checksum is no signature."""
        size, = struct.unpack_from('>Q', self.read(BINARY), 8)
        metadata = self.metadata()
        change(metadata)
        text = json.dumps(metadata, separators=(',', ':')).encode().ljust(size - BINARY, b'\0')
        assert len(text) == size - BINARY
        for at in (0, size):
            head = bytearray(self.read(BINARY, at))
            head[CHECKSUM] = bytes(64)
            head[CHECKSUM] = hashlib.sha256(head + text).digest().ljust(64, b'\0')
            self.write(bytes(head) + text, at)


def plain_file_system(path, label, files, size=64 * MIB):
    """The bytes of an ext4 file system with files {name: bytes}."""
    tree = Path(path).with_suffix('.tree')
    for name, data in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(data)
    run('mke2fs', '-q', '-F', '-t', 'ext4', '-L', label, '-d', tree, path, f'{size // 1024}k')
    return Path(path).read_bytes()


def volume_with_password(path, label, size, password=b'attacker'):
    """The header of a LUKS2 volume of somebody else's."""
    with open(path, 'wb') as f:
        f.truncate(size)
    run('cryptsetup', 'luksFormat', '-q', '--type', 'luks2', '--label', label, '--key-size', '512', '--pbkdf', 'pbkdf2',
        '--pbkdf-force-iterations', '1000', '--key-file', '-', path, input=password)
    with open(path, 'rb') as f:
        return f.read(HEADER)
