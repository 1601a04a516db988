# SPDX-License-Identifier: Apache-2.0
"""An operation's writes on record, with all that is needed to judge them later, and to start a machine from any state."""
import hashlib
import pickle
import shutil
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

from rig import Disk, Esp, make_data_disk, mount_data_disk
from rig.esp import run

from .judge import LOADERS, Expectation
from .writelog import entries_so_far

TPM_STATE = 'tpm2-00.permall'
GLANCE = 0.01           # seconds between two looks at the TPM
FILE = 'record'
OPERATION_TIMEOUT = 600


@dataclass(frozen=True)
class Chapter:
    """Entries [start, end) of the log, written by one operation."""
    name: str
    start: int
    end: int
    expectation: Expectation | None         # None: nothing to judge, it prepares the next one
    again: tuple = ()                       # the operation's command line, to be run once more
    keys: tuple = ()                        # one of them is what it wants on standard input
    files: tuple = ()                       # (path, content) that it reads
    kept: tuple = ()                        # files of the node that are there whatever becomes of the operation
    vars: Path | None = None                # the firmware's variables for a boot of a state; None: it has lost them
    answers: tuple = ()                     # (question, answer) on the console of such a boot


@dataclass
class Record:
    """What is left when the machine is off."""
    place: Path
    base: Path
    log: Path
    kernel: str = ''
    chapters: list = field(default_factory=list)
    secrets: dict = field(default_factory=dict)     # {name: bytes} of what must never be on the disk
    tpm: list = field(default_factory=list)         # [(entries of the log so far, copy of the TPM's state)]

    def save(self):
        (self.place / FILE).write_bytes(pickle.dumps(self))

    def tpm_at(self, entry):
        """The TPM as it was when so many entries were written."""
        return [state for number, state in self.tpm if number <= entry][-1]


def load(place):
    """The record that an earlier run left there."""
    return pickle.loads((Path(place) / FILE).read_bytes())


def sha256(data):
    return hashlib.sha256(data if isinstance(data, bytes) else Path(data).read_bytes()).hexdigest()


class _TpmWatch:
    """Keeps every state of a TPM, with the size that the log had then. swtpm exchanges the file by a rename."""

    def __init__(self, machine, log, place):
        self.file, self.log, self.place = machine.dir / 'tpm' / TPM_STATE, log, place
        self.states, self.last, self.ended = [], None, threading.Event()
        place.mkdir(parents=True)
        self.look()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def look(self):
        try:
            size = self.log.stat().st_size if self.log.exists() else 0
            mark = self.file.stat()
            if (mark.st_ino, mark.st_mtime_ns) != self.last:
                copy = self.place / f'{len(self.states)}'
                shutil.copyfile(self.file, copy)
                self.states.append((size, copy))
                self.last = mark.st_ino, mark.st_mtime_ns
        except FileNotFoundError:
            pass                # between two states

    def _watch(self):
        while not self.ended.wait(GLANCE):
            self.look()

    def end(self):
        self.ended.set()
        self.thread.join()
        self.look()
        return [(entries_so_far(self.log, size), copy) for size, copy in self.states]


class Recorder:
    """A machine whose disk "target" is under the filter. with Recorder(...) as r: the machine is off at the end.

    Without live it is a clone of base; a machine that sleeps goes on where it stood. With live it is a new machine, whose disk is
    empty, with the installer medium."""

    def __init__(self, workshop, place, images, base=None, live=None):
        """images: {label: path}; the machine runs v1, and finds several of them on a disk of their own, unless it sleeps. live:
        size of the empty disk."""
        self.workshop, self.place, self.images = workshop, Path(place), dict(images)
        shutil.rmtree(self.place, ignore_errors=True)
        if live:
            machine = workshop.live_machine(self.place / 'machine')
            with open(machine.disk('target').path, 'r+b') as f:
                f.truncate(live)
        else:
            machine = (base or workshop.booted()).clone(self.place / 'machine')
        disk = machine.raw_disk('target')
        self.base, self.log = self.place / 'base.img', self.place / 'writes.log'
        run('cp', '--sparse=always', disk, self.base)
        self.loaders = frozenset({sha256(workshop.loader())} if live else
                                 {sha256(Esp(self.base).read(path[1:])) for path in LOADERS})
        target = Disk(disk, serial='target', log=self.log)
        machine.disks = [target if d.serial == 'target' else d for d in machine.disks]
        if len(self.images) > 1 and not machine.sleeping:
            bring = self.place / 'images.img'
            make_data_disk(bring, {f'{label}.efi': path for label, path in self.images.items()})
            machine.disks.append(Disk(bring, serial='images', readonly=True))
        self.machine, self.chapters, self.secrets, self.kernel = machine, [], {}, ''
        self.digests = {sha256(path): label for label, path in self.images.items()}
        self.watch = _TpmWatch(machine, self.log, self.place / 'tpm')

    def __enter__(self):
        self.machine.__enter__()
        return self

    def __exit__(self, *_):
        self.machine.power_cut()
        self.watch.ended.set()

    def boot(self, answers=None):
        self.machine.start()
        self.machine.wait_ready(answers=answers)
        self.kernel = self.machine.run(['uname', '-r'], check=True).text.strip()
        if any(d.serial == 'images' for d in self.machine.disks):
            mount_data_disk(self.machine)

    def restart(self, answers=None):
        self.machine.power_off()
        self.boot(answers)

    def without(self, serial):
        self.machine.disks = [d for d in self.machine.disks if d.serial != serial]

    def so_far(self):
        return entries_so_far(self.log) if self.log.exists() else 0

    def keep_vars(self):
        """A copy of the firmware's variables as they are now."""
        kept = self.place / f'vars{len(self.chapters)}.fd'
        shutil.copyfile(self.machine.vars, kept)
        return kept

    def write(self, files):
        for path, data in files:
            self.machine.write(path, data)

    def chapter(self, name, what, judged=True, **more):
        """what() happens under this name. more: see Chapter and Expectation."""
        start = self.so_far()
        what()
        if not self.machine.ended:
            self.machine.run(['sync'], check=True)
        own = {k: more.pop(k) for k in ('again', 'keys', 'files', 'kept', 'vars', 'answers') if k in more}
        expectation = Expectation(self.digests, loaders=self.loaders, **more) if judged else None
        self.chapters.append(Chapter(name, start, self.so_far(), expectation, **own))

    def upgrade_command(self, label, *options):
        return ('tb-agent', 'upgrade', '--source', f'file:/run/images/{label}.efi', '--json', *options)

    def operation(self, name, argv, under=(), keys=(), files=(), **more):
        """A chapter of one command. under: a command that runs it, and may make it fail."""
        self.write(files)
        self.chapter(name, lambda: self.command(argv, under, keys), again=argv, keys=keys, files=files, **more)

    def command(self, argv, under=(), keys=()):
        return self.machine.run([*under, *argv], stdin=keys[0].encode() if keys else b'', timeout=OPERATION_TIMEOUT,
                                check=not under)

    def keep_secret(self, name, data):
        """What must not be found on the disk, from the first chapter on."""
        self.secrets[name] = data if isinstance(data, bytes) else data.encode()

    def end(self):
        """The machine is turned off, and the last chapter ends there. Returns the record."""
        if not self.machine.ended:
            self.machine.power_off()
        last = self.chapters[-1]
        self.chapters[-1] = replace(last, end=self.so_far())
        record = Record(self.place, self.base, self.log, self.kernel, self.chapters, self.secrets, self.watch.end())
        record.save()
        return record
