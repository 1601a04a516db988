# SPDX-License-Identifier: Apache-2.0
"""Is this disk one that a node comes back from? The invariants of the design, as seen by firmware and boot loader:

    I1  the entry that starts first names a complete image, and a boot loader is there to start it
    I2  the images that have to stay do, complete and with an entry, on clusters that nobody takes for free
    I3  the recovery entry names a complete image, in the same way; of active and passive on one side and recovery on the other
        one is as it was
    I4  an operation that was interrupted can be done again: what is there is the old, the new, nothing at all, or a reset
        whose journal leads on
    I5  both data partitions have a header that counts, and ways in whose key slots are whole
    I6  firmware that lost all its variables finds the boot loader

What a disk can be depends on the operation:

    NODE        a node at every moment
    INSTALL     first what was there, then nothing that starts, then a node; a disk that bears the new table is one
    RESET       a node at every moment; and its data is the old, or the new, or a journal on the boot partition leads on
"""
import json
from dataclasses import dataclass, field

from . import gpt, loader, luks2
from .fat import Damaged, Fat
from .snapshot import DATA, Snapshot, esp_of

REMOVABLE = '/efi/boot/bootx64.efi'
LOADERS = (REMOVABLE, '/efi/systemd/systemd-bootx64.efi')
JOURNAL = '/efi/kairos/reset.json'
NODE, INSTALL, RESET = 'node', 'install', 'reset'
LABELS = {'oem': 'COS_OEM', 'persistent': 'COS_PERSISTENT'}


@dataclass(frozen=True)
class Expectation:
    """What has to hold while an operation runs. Digests are hex."""
    images: dict                            # {digest: label} of all complete images
    stay: frozenset = frozenset()           # labels that have to be there, with an entry
    loaders: frozenset = frozenset()        # digests of complete boot loaders
    recovery: frozenset = frozenset()       # labels that the recovery entry may name
    data: bool = True
    kind: str = NODE
    erased: frozenset = frozenset()         # data partitions that a reset makes anew
    before: Snapshot | None = None
    after: Snapshot | None = None


@dataclass
class Verdict:
    broken: set = field(default_factory=set)        # invariants, in words
    first: str = ''                                 # what starts first: role and image
    outcome: str = 'node'                           # nothing, old, new, pending: see _install(), _reset()
    shared: int = 0                                 # pairs of files with common clusters: harmless as long as nobody deletes one

    @property
    def good(self):
        return not self.broken


class Judge:
    """Of one disk, whose content may change between two verdicts; its partition table may only where an installation runs."""

    def __init__(self, disk, expectation):
        self.disk, self.expectation = disk, expectation
        self.digests, self.headers, self.fats, self.esps = {}, {}, {}, {}
        self.table = None
        if expectation.kind != INSTALL:
            self.table = gpt.read(disk)
            if self.table is None:
                raise Damaged('partition table')
        x = expectation
        # What an operation leaves as it was, is so all the time.
        self.same_roles = {} if x.kind == INSTALL or not (x.before and x.after) else {
            role: entry for role, entry in x.before.roles.items() if x.after.roles.get(role) == entry}

    def verdict(self):
        v = Verdict()
        if self.expectation.kind == INSTALL:
            self._install(v)
            return v
        tree = self._boot(v, self.table)
        if self.expectation.kind == RESET:
            self._reset(v, tree)
        elif self.expectation.data:
            self._data(v, self.table, DATA)
        return v

    # The boot partition ------------------------------------------------------------------------------------------

    def _fat(self, table):
        esp = esp_of(table)
        if esp is None:
            raise Damaged('no boot partition')
        key = esp.offset, self.disk.identity([(esp.offset, 512)])
        if key not in self.fats:
            self.fats[key] = Fat(self.disk, esp.offset, esp.size, self.digests)
        return self.fats[key]

    def _boot(self, v, table):
        """The tree of the boot partition; {} where it cannot be read."""
        esp = esp_of(table)
        key = esp and (esp.offset, self.disk.identity([(esp.offset, esp.size)]))
        if key not in self.esps:
            found, tree = Verdict(), {}
            try:
                fat = self._fat(table)
                tree = fat.tree()
                self._start(found, fat, tree)
            except (Damaged, ValueError) as e:
                found.broken.add(f'I1: ESP: {e}')
            self.esps[key] = found, tree
        found, tree = self.esps[key]
        v.broken |= found.broken
        v.first, v.shared = found.first, found.shared
        return tree

    def _start(self, v, fat, tree):
        x = self.expectation
        whole = [p for p in LOADERS if p in tree and fat.digest(tree[p]) in x.loaders]
        if not whole:
            v.broken.add('I1: no complete boot loader')
        elif REMOVABLE not in whole:
            v.broken.add('I6: only a variable leads to the boot loader')
        entries = loader.entries(fat, tree)
        labels = {e.name: x.images.get(fat.digest(tree[e.image])) for e in entries}
        if not entries:
            v.broken.add('I1: no entry can be started')
        elif not labels[entries[0].name]:
            v.broken.add(f'I1: {entries[0].id} starts first and its image is not complete')
        else:
            v.first = f'{entries[0].id} {labels[entries[0].name]}'
        kept = {e.name: labels[e.name] for e in entries
                if fat.is_kept(tree[loader.ENTRIES + e.name]) and fat.is_kept(tree[e.image])}
        for label in x.stay - set(kept.values()):
            v.broken.add(f'I2: image {label} is gone')
        if x.recovery and not any(e.id == 'recovery' and kept.get(e.name) in x.recovery for e in entries):
            v.broken.add('I3: recovery cannot be started')
        for role, entry in self.same_roles.items():
            if not any(e.id == role and e.name in kept and
                       (fat.read(tree[loader.ENTRIES + e.name]), fat.digest(tree[e.image])) == entry for e in entries):
                v.broken.add(f'I3: {role} is not what it was and will be')
        v.shared = len(fat.shared([f for p, f in tree.items() if p.startswith(('/efi/', '/loader/'))]))

    # The data ----------------------------------------------------------------------------------------------------

    def _volume(self, p):
        """The header that counts; None without one."""
        size = max((s.volumes[p.name].data_offset for s in (self.expectation.before, self.expectation.after)
                    if s and p.name in s.volumes), default=32 << 10)
        key = p.name, p.offset, self.disk.identity([(p.offset, size)])
        if key not in self.headers:
            try:
                self.headers[key] = luks2.volume(self.disk, p.offset)
            except (ValueError, KeyError, TypeError):
                self.headers[key] = None
        return self.headers[key]

    def _intact(self, name, volume):
        """What is wrong with a volume that has to open at every moment; None when nothing is."""
        snapshots = [s for s in (self.expectation.before, self.expectation.after) if s]
        if volume is None or not volume.ways:
            return 'has no header with a key slot and a token'
        if volume.label != LABELS[name] or not volume.encryption:
            return 'is no volume of a node'
        if not snapshots:
            return None
        known = [s.volumes[name] for s in snapshots if name in s.volumes and s.volumes[name].uuid == volume.uuid]
        if not known:
            return 'has the header of another volume'
        always = frozenset.intersection(*(k.ways for k in known))
        if not always <= volume.ways:
            return 'lost a way in that stays'
        good = volume.ways & frozenset.union(*(k.ways for k in known))
        for kind in set.intersection(*({way.kind for way in k.ways} for k in known)):
            if not any(way.kind == kind for way in good):
                return f'has no whole way in of the kind {kind}'
        return None

    def _data(self, v, table, names):
        partitions = {p.name: p for p in table}
        for name in names:
            wrong = self._intact(name, self._volume(partitions[name])) if name in partitions else 'is not there'
            if wrong:
                v.broken.add(f'I5: {name} {wrong}')

    # Operations --------------------------------------------------------------------------------------------------

    def _install(self, v):
        x = self.expectation
        table = gpt.read(self.disk)
        v.outcome = 'nothing'
        if table is None:
            return
        guids = frozenset(p.guid for p in table)
        new = guids == x.after.guids
        if not new and not (x.before and guids == x.before.guids):
            v.broken.add('I4: the partition table is neither the old nor the new one')
            return
        # The new table comes last. Below the old one, nothing starts or everything is as it was.
        if not new and not self._starts(table):
            return
        v.outcome = 'new' if new else 'old'
        self._boot(v, table)
        self._data(v, table, DATA)
        side = x.after if new else x.before
        partitions = {p.name: p for p in table}
        for name in DATA:
            volume = name in partitions and self._volume(partitions[name])
            if volume and volume != side.volumes.get(name):
                v.broken.add(f'I4: {name} does not belong to the {v.outcome} node')

    def _starts(self, table):
        """Whether firmware finds a boot loader, and that something to start."""
        try:
            fat = self._fat(table)
            tree = fat.tree()
            return (any(p in tree and fat.digest(tree[p]) in self.expectation.loaders for p in LOADERS)
                    and bool(loader.entries(fat, tree)))
        except (Damaged, ValueError):
            return False

    def _journal(self, tree):
        """Whether there is a whole journal that leads to all volumes that are erased."""
        file, before = tree.get(JOURNAL), self.expectation.before
        if file is None:
            return False
        try:
            text = json.loads(self._fat(self.table).read(file))
            named = {v['name']: v['uuid'].lower() for v in text['volumes']}
        except (Damaged, ValueError, KeyError, TypeError):
            return False
        return all(named.get(name) == before.volumes[name].uuid.lower() for name in self.expectation.erased)

    def _reset(self, v, tree):
        x = self.expectation
        self._data(v, self.table, [name for name in DATA if name not in x.erased])
        partitions = {p.name: p for p in self.table}
        stages = set()
        for name in x.erased:
            volume = self._volume(partitions[name])
            stages.add('old' if volume == x.before.volumes[name] else 'new' if volume == x.after.volumes[name] else 'between')
        v.outcome = stages.pop() if len(stages) == 1 else 'between'
        if self._journal(tree):
            v.outcome = 'pending'
        elif v.outcome == 'between':
            v.broken.add('I4: data is neither the old nor the new, and no journal leads on')
