# SPDX-License-Identifier: Apache-2.0
"""Some of the states of a record started for real: the node comes up by itself, has its data, and the operation, done again, ends
well (I4). Unless a story kept them, the firmware has lost its variables (I6); the TPM is as it was at that moment."""
import random
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from rig import Disk, Machine, MachineError, mount_data_disk
from rig.facts import at_rest, blessed, role
from rig.machine import MachineGone

from .disk import Disk as Content
from .explore import make
from .judge import INSTALL, RESET
from .record import OPERATION_TIMEOUT, TPM_STATE
from .writelog import WriteLog

RESTARTS = 3            # of a boot that completes a reset and then starts what that made
KINDS = ('subset', 'torn', 'prefix')


@dataclass
class Started:
    tried: int = 0
    bad: list = field(default_factory=list)
    worst: float = 0.0              # seconds from power to a node that answers


def choose(count, most, seed=1):
    """So many of the states that were picked: first one of each outcome, and of the kinds that are hardest first."""
    outcomes = sorted({outcome for outcome, _ in count.picks})
    chance, chosen = random.Random(seed), []
    for kind in KINDS:
        for outcome in chance.sample(outcomes, len(outcomes)):
            chosen += count.picks.get((outcome, kind), [])[:1]
    return chosen[:most]


class Node:
    """A machine on one state of a record's disk."""

    def __init__(self, workshop, record, chapter, state, place):
        self.record, self.chapter, self.state, self.place = record, chapter, state, Path(place)
        shutil.rmtree(self.place, ignore_errors=True)
        (self.place / 'machine/tpm').mkdir(parents=True)
        make(Content(record.base), WriteLog(record.log), state, self.place / 'target.img')
        shutil.copyfile(record.tpm_at(state.last + 1), self.place / 'machine/tpm' / TPM_STATE)
        self.live = Disk(workshop.live_medium(), serial='live', readonly=True)
        self.disks = [Disk(self.place / 'target.img', serial='target')]
        if (images := record.place / 'images.img').exists():
            self.disks.append(Disk(images, serial='images', readonly=True))
        self.machine = Machine(self.place / 'machine', disks=self.disks, vars=chapter.vars or workshop.vars())
        self.recovery = 0.0

    def boot(self):
        """Up, by itself."""
        begun = time.monotonic()
        for left in reversed(range(RESTARTS)):
            try:
                self.machine.start()
                self.machine.wait_ready(answers=dict(self.chapter.answers))
                break
            except MachineGone:
                if left == 0:
                    raise
        self.recovery = self.recovery or time.monotonic() - begun
        if any(d.serial == 'images' for d in self.machine.disks):
            mount_data_disk(self.machine)

    def restart(self):
        self.machine.power_off()
        self.boot()

    def status(self):
        status = self.machine.run(['tb-agent', 'status', '--json'], check=True).json()
        if any(not p['unlocked_by'] for p in status['partitions']) or status['reset_pending']:
            raise MachineError(f'no node that works: {status}')
        return status

    def look(self):
        """A node that works, with its data."""
        self.status()
        for path in self.chapter.kept:
            if role(self.machine) != 'recovery' or not path.startswith('/usr/local'):
                self.machine.run(['test', '-s', path], check=True)

    def again(self):
        """The operation once more. Of several keys one is right."""
        for path, data in self.chapter.files:
            self.machine.write(path, data)
        for key in self.chapter.keys or ('',):
            done = self.machine.run(self.chapter.again, stdin=key.encode(), timeout=OPERATION_TIMEOUT)
            if done.rc == 0:
                return
        done.check()

    def settled(self):
        if not blessed(at_rest(self.machine)):
            raise MachineError('the boot is not confirmed')

    def installs_again(self):
        """Nothing starts from this disk, and an installation makes a node of it."""
        self.machine.boot(expect='No bootable option or device was found')
        self.machine.power_cut()
        self.machine.disks = [self.live, *self.disks]
        self.machine.boot()
        self.again()
        self.machine.power_off()
        self.machine.disks = self.disks

    def is_erased(self):
        """Nothing of the old data is there."""
        for path in ('/oem/marker', '/usr/local/marker'):
            if ('oem' if path.startswith('/oem') else 'persistent') in self.chapter.expectation.erased:
                self.machine.run(['test', '!', '-e', path], check=True)

    def proves(self):
        """Raises MachineError when this state is one that a node does not come back from."""
        kind, outcome = self.chapter.expectation.kind, self.state.outcome
        if kind == INSTALL and outcome == 'nothing':
            self.installs_again()
        self.boot()
        self.look()
        if kind == RESET:
            if outcome == 'old':
                # A reset that never began. Asked for again, the next boot carries it out.
                self.machine.run(['tb-agent', 'reset', '--yes', '--force', '--json',
                                  *(['--oem'] if 'oem' in self.chapter.expectation.erased else [])], check=True)
                self.restart()
                self.status()
            self.is_erased()
        elif kind != INSTALL and self.chapter.again:
            self.settled()
            self.again()
            self.look()
        self.settled()


def start(workshop, record, chapter, states, place, tell=lambda text: None):
    """Starts each of these states of a chapter."""
    result = Started()
    for state in states:
        node = Node(workshop, record, chapter, state, place)
        result.tried += 1
        with node.machine:
            try:
                node.proves()
            except MachineError as e:
                result.bad.append(f'{state}: {str(e)[-3000:]}')
                tell(f'{chapter.name}: {state.kind} {state.outcome} settled {state.settled}: {e}')
                continue
        result.worst = max(result.worst, node.recovery)
        tell(f'{chapter.name}: {state.outcome} ({state.kind}, {state.settled} settled) up after {node.recovery:.0f} s')
        shutil.rmtree(node.place)
    return result
