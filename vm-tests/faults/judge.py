# SPDX-License-Identifier: Apache-2.0
"""Is this disk one that a node comes back from? The invariants of the design, as seen by firmware and boot loader:

    I1  the entry that starts first names a complete image, and a boot loader is there to start it
    I2  the images that have to stay do, complete and with an entry, on clusters that nobody takes for free
    I3  the recovery entry names a complete image, in the same way
    I5  both data partitions have a header that counts, with a key slot and a token
"""
from dataclasses import dataclass, field

from . import gpt, loader, luks2
from .fat import Damaged, Fat

LOADERS = ('/efi/boot/bootx64.efi', '/efi/systemd/systemd-bootx64.efi')
DATA = ('oem', 'persistent')


@dataclass(frozen=True)
class Expectation:
    """What has to hold while an operation runs. Digests are hex."""
    images: dict                            # {digest: label} of all complete images
    stay: frozenset = frozenset()           # labels that have to be there, with an entry
    loaders: frozenset = frozenset()        # digests of complete boot loaders
    recovery: frozenset = frozenset()       # labels that the recovery entry may name
    data: bool = True


@dataclass
class Verdict:
    broken: set = field(default_factory=set)        # invariants, in words
    first: str = ''                                 # what starts first: role and image
    shared: int = 0                                 # pairs of files with common clusters: harmless as long as nobody deletes one

    @property
    def good(self):
        return not self.broken


class Judge:
    """Of one disk, whose content may change between two verdicts; its partition table may not."""

    def __init__(self, disk, expectation):
        self.disk, self.expectation = disk, expectation
        table = gpt.read(disk)
        if table is None:
            raise Damaged('partition table')
        self.partitions = {p.name.lower(): p for p in table}
        esp, = (p for p in table if p.type == gpt.ESP)
        self.fat = Fat(disk, esp.offset, esp.size)
        self.headers = {}

    def verdict(self):
        v = Verdict()
        if self.expectation.data:
            self._data(v)
        try:
            tree = self.fat.tree()
            self._boot(v, tree)
        except (Damaged, ValueError, UnicodeError) as e:
            v.broken.add(f'I1: ESP: {e}')
        return v

    def _boot(self, v, tree):
        x = self.expectation
        if not any(p in tree and self.fat.digest(tree[p]) in x.loaders for p in LOADERS):
            v.broken.add('I1: no complete boot loader')
        entries = loader.entries(self.fat, tree)
        labels = {e.name: x.images.get(self.fat.digest(tree[e.image])) for e in entries}
        if not entries:
            v.broken.add('I1: no entry can be started')
        elif not labels[entries[0].name]:
            v.broken.add(f'I1: {entries[0].id} starts first and its image is not complete')
        else:
            v.first = f'{entries[0].id} {labels[entries[0].name]}'
        kept = {e.name: labels[e.name] for e in entries
                if self.fat.is_kept(tree[loader.ENTRIES + e.name]) and self.fat.is_kept(tree[e.image])}
        for label in x.stay - set(kept.values()):
            v.broken.add(f'I2: image {label} is gone')
        if x.recovery and not any(e.id == 'recovery' and kept.get(e.name) in x.recovery for e in entries):
            v.broken.add('I3: recovery cannot be started')
        v.shared = len(self.fat.shared([f for p, f in tree.items() if p.startswith(('/efi/', '/loader/'))]))

    def _data(self, v):
        for name in DATA:
            p = self.partitions[name]
            key = (name, self.disk.identity([(p.offset, 32 << 10)]))
            if key not in self.headers:
                header = luks2.read(self.disk, p.offset)
                self.headers[key] = bool(header and header['json'].get('keyslots') and header['json'].get('tokens'))
            if not self.headers[key]:
                v.broken.add(f'I5: {name} has no header with a key slot and a token')
