# SPDX-License-Identifier: Apache-2.0
"""Which entry systemd-boot starts when nobody touches a key (systemd 252, src/boot/efi/boot.c; "Boot Loader Specification",
sorting; systemd.boot-assessment(7), counting)."""
import functools
import re
from dataclasses import dataclass

COUNTED = re.compile(r'^(.*?)\+(\d+)(?:-(\d+))?$')
ENTRIES = '/loader/entries/'


@dataclass(frozen=True)
class Entry:
    name: str           # of the file
    id: str             # without the counters
    left: int           # tries; -1: not counted
    done: int
    keys: dict

    @property
    def image(self):
        return (self.keys.get('efi') or self.keys.get('uki') or '').lower()


def _entry(name, text):
    stem = name[:-len('.conf')]
    counted = COUNTED.match(stem)
    id, left, done = (counted[1], int(counted[2]), int(counted[3] or 0)) if counted else (stem, -1, -1)
    keys = {}
    for line in text.decode('utf-8', 'replace').splitlines():
        key, _, value = line.strip().partition(' ')
        if key and not key.startswith('#'):
            keys.setdefault(key, value.strip())
    return Entry(name, id, left, done, keys)


def _version_parts(s):
    return re.findall(r'~|\^|-|\.|\d+|[A-Za-z]+', s)


def _weight(part):
    """The end of a version stands between "~" and everything else (uapi-group.org, version comparison)."""
    return {'~': 0, '': 1, '-': 2, '^': 3, '.': 4}.get(part, 5)


def compare_versions(a, b):
    pa, pb = _version_parts(a), _version_parts(b)
    for i in range(max(len(pa), len(pb))):
        x, y = (p[i] if i < len(p) else '' for p in (pa, pb))
        if x.isdigit() and y.isdigit():
            if int(x) != int(y):
                return -1 if int(x) < int(y) else 1
        elif _weight(x) != _weight(y):
            return -1 if _weight(x) < _weight(y) else 1
        elif x.isdigit() != y.isdigit():
            return -1 if y.isdigit() else 1
        elif x != y:
            return -1 if x < y else 1
    return 0


def _cmp(a, b):
    return (a > b) - (a < b)


def _compare(a, b):
    r = _cmp(a.left == 0, b.left == 0) or _cmp('sort-key' not in a.keys, 'sort-key' not in b.keys)
    if r == 0 and 'sort-key' in a.keys and 'sort-key' in b.keys:
        r = (_cmp(a.keys['sort-key'], b.keys['sort-key']) or
             _cmp(a.keys.get('machine-id', ''), b.keys.get('machine-id', '')) or
             compare_versions(b.keys.get('version', ''), a.keys.get('version', '')))
    r = r or compare_versions(b.id, a.id)
    if r or a.left < 0 or b.left < 0:
        return r
    return _cmp(b.left, a.left) or _cmp(a.done, b.done)


def entries(fat, tree):
    """All entries that systemd-boot shows, in its order. It leaves out those whose image does not exist."""
    found = []
    for path, file in tree.items():
        name = path[len(ENTRIES):]
        if path.startswith(ENTRIES) and '/' not in name and name.endswith('.conf'):
            entry = _entry(name, fat.read(file))
            if entry.image in tree:
                found.append(entry)
    return sorted(found, key=functools.cmp_to_key(_compare))
