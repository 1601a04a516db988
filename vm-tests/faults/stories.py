# SPDX-License-Identifier: Apache-2.0
"""A node's life with every write to its disk on record: what runs in the machine, and what has to hold meanwhile."""
import hashlib
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from rig import Disk, Esp, make_data_disk
from rig.esp import run

from . import disk as disks
from .explore import Explorer
from .judge import LOADERS, Expectation, Judge
from .writelog import WriteLog, entries_so_far

OPERATION_TIMEOUT = 300


@dataclass(frozen=True)
class Chapter:
    """Entries [start, end) of the log, written by one operation."""
    name: str
    start: int
    end: int
    expectation: Expectation


def sha256(data):
    return hashlib.sha256(data if isinstance(data, bytes) else Path(data).read_bytes()).hexdigest()


class Recorder:
    """A clone of a machine whose disk is under the filter. with Recorder(...) as r: the machine is off at the end."""

    def __init__(self, workshop, place, images, base=None):
        """images: {label: path}; the machine runs v1."""
        self.place, self.images = Path(place), dict(images)
        shutil.rmtree(self.place, ignore_errors=True)
        machine = (base or workshop.booted()).clone(self.place / 'machine')
        disk = machine.raw_disk('target')
        self.base, self.log = self.place / 'base.img', self.place / 'writes.log'
        run('cp', '--sparse=always', disk, self.base)
        esp = Esp(self.base)
        self.loaders = frozenset(sha256(esp.read(path[1:])) for path in LOADERS)
        bring = make_data_disk(self.place / 'images.img', {f'{label}.efi': path for label, path in self.images.items()})
        machine.disks = [Disk(disk, serial='target', log=self.log), Disk(bring, serial='images', readonly=True)]
        self.machine, self.chapters = machine, []
        self.digests = {sha256(path): label for label, path in self.images.items()}

    def __enter__(self):
        self.machine.__enter__()
        return self

    def __exit__(self, *_):
        self.machine.power_cut()

    def boot(self):
        self.machine.boot()
        self.machine.run(['sh', '-c', 'mkdir -p /run/images && mount -o ro /dev/disk/by-label/tbdata /run/images'], check=True)

    def restart(self):
        self.machine.power_off()
        self.boot()

    def chapter(self, name, what, **expected):
        """what() happens under this name. expected: see Expectation."""
        start = entries_so_far(self.log) if self.log.exists() else 0
        what()
        if not self.machine.ended:
            self.machine.run(['sync'], check=True)
        expectation = Expectation(self.digests, loaders=self.loaders, **expected)
        self.chapters.append(Chapter(name, start, entries_so_far(self.log), expectation))

    def upgrade(self, label, *options, under=()):
        """under: a command that runs the agent, and may make it fail."""
        self.machine.run([*under, 'tb-agent', 'upgrade', '--source', f'file:/run/images/{label}.efi', '--json', *options],
                         timeout=OPERATION_TIMEOUT, check=not under)

    def end(self):
        """The machine is turned off, and the last chapter ends there."""
        self.machine.power_off()
        last = self.chapters[-1]
        self.chapters[-1] = replace(last, end=entries_so_far(self.log))


def upgrade_story(recorder):
    """The least that has to be safe: a new image, its first start, its confirmation."""
    r, labels = recorder, frozenset
    r.chapter('boot', r.boot, stay=labels({'v1'}), recovery=labels({'v1'}))
    r.chapter('upgrade', lambda: r.upgrade('v2'), stay=labels({'v1'}), recovery=labels({'v1'}))
    r.chapter('trial and bless', r.restart, stay=labels({'v1'}), recovery=labels({'v1'}))


def long_story(recorder):
    """Every way in which images move on the boot partition."""
    r, labels = recorder, frozenset
    upgrade_story(r)
    r.chapter('upgrade of recovery', lambda: r.upgrade('v2', '--recovery'), stay=labels({'v1', 'v2'}),
              recovery=labels({'v1', 'v2'}))
    r.chapter('upgrade, oldest removed', lambda: r.upgrade('v3'), stay=labels({'v2'}), recovery=labels({'v2'}))
    r.chapter('trial and bless', r.restart, stay=labels({'v2'}), recovery=labels({'v2'}))
    r.chapter('upgrade to the same', lambda: r.upgrade('v3'), stay=labels({'v2', 'v3'}), recovery=labels({'v2'}))


def explore(recorder, samples):
    """[(chapter, Count)] of everything on record."""
    disk, log, out = disks.Disk(recorder.base), WriteLog(recorder.log), []
    for chapter in recorder.chapters:
        explorer = Explorer(disk, Judge(disk, chapter.expectation), samples)
        out.append((chapter, explorer.run(log, chapter.start, chapter.end)))
    return out
