# SPDX-License-Identifier: Apache-2.0
"""Real power cuts: QEMU is killed at a random moment of an operation; the node has to come back, and the operation, done again,
has to end well. One node lives through all of them."""
import hashlib
import random
import time
from dataclasses import dataclass, field

from rig import MachineError
from rig.facts import role

OPERATION_TIMEOUT = 300
KEPT = {'/oem/kept': b'configuration\n', '/usr/local/kept': b'data\n'}
# From here on the machine's own disk is written to; before that the firmware only reads.
STARTED = r'systemd-boot|EFI stub|Linux version|tb-agent'


@dataclass
class Tally:
    operation: str
    cuts: int = 0
    late: int = 0                   # of them after the operation had ended
    bad: list = field(default_factory=list)
    worst_recovery: float = 0.0     # seconds from power to a node that answers

    def row(self):
        return {'operation': self.operation, 'cuts': self.cuts, 'late': self.late, 'bad': self.bad,
                'worst_recovery_seconds': round(self.worst_recovery, 1)}


class Node:
    """images: {label: path} on the disk of the serial "images"; the node is upgraded to them in turn."""

    def __init__(self, machine, images, seed=1):
        self.machine, self.random = machine, random.Random(seed)
        self.labels, self.turn = list(images), 0
        self.digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in images.values()}
        self.seconds = {}

    def boot(self):
        start = time.monotonic()
        self.machine.boot()
        took = time.monotonic() - start
        self.machine.shell('mkdir -p /run/images && mount -o ro /dev/disk/by-label/tbdata /run/images', check=True)
        return took

    def prepare(self):
        self.boot()
        for path, data in KEPT.items():
            self.machine.write(path, data)
        self.machine.run(['sync'], check=True)

    def upgrade(self, label, *options):
        return ['tb-agent', 'upgrade', '--source', f'file:/run/images/{label}.efi', '--allow-downgrade', '--json', *options]

    def check(self):
        """The node runs a whole image in an ordinary role, and has its data."""
        status = self.machine.run(['tb-agent', 'status', '--json'], check=True).json()
        if role(self.machine) not in ('active', 'passive'):
            raise MachineError(f'role {role(self.machine)}: {status}')
        for path, data in KEPT.items():
            if self.machine.read(path) != data:
                raise MachineError(f'{path} is not what it was')

    def next_label(self):
        self.turn += 1
        return self.labels[self.turn % len(self.labels)]

    def confirmed(self):
        self.machine.shell('systemctl is-system-running --wait; systemctl start tb-agent-bless.service', check=True)

    def cut_upgrade(self, tally, *options):
        """The node runs and is confirmed. Cut; come back; again; start what came of it."""
        argv = self.upgrade(self.next_label(), *options)
        typical = self.seconds.get(tally.operation, 15.0)
        job, start = self.machine.begin(argv, timeout=OPERATION_TIMEOUT), time.monotonic()
        try:
            done = self.machine.finish(job, timeout=self.random.uniform(0, typical * 1.1))
            tally.late += 1
            done.check()
            self.seconds[tally.operation] = time.monotonic() - start
        except MachineError as e:
            if 'nothing in' not in str(e):
                raise
        self.machine.power_cut()
        tally.cuts += 1
        tally.worst_recovery = max(tally.worst_recovery, self.boot())
        self.check()
        self.confirmed()
        start = time.monotonic()
        self.machine.run(argv, timeout=OPERATION_TIMEOUT, check=True)
        self.seconds.setdefault(tally.operation, time.monotonic() - start)
        self.machine.power_off()

    def cut_boot(self, tally):
        """The first start of a new image, which counts and confirms, is cut somewhere behind the firmware."""
        typical = self.seconds.setdefault('start', 12.0)
        self.machine.start()
        self.machine.expect(STARTED)
        try:
            self.machine.wait_ready(timeout=self.random.uniform(0, typical * 1.3))
            tally.late += 1
        except MachineError as e:
            if 'nothing in' not in str(e):
                raise
        self.machine.power_cut()
        tally.cuts += 1
        tally.worst_recovery = max(tally.worst_recovery, self.boot())
        self.check()
        self.confirmed()


def campaign(node, rounds, tell):
    """Each round: an upgrade that is cut, its first start that is cut, and now and then an upgrade of recovery that is cut."""
    upgrade, start, recovery = Tally('upgrade'), Tally('first start'), Tally('upgrade of recovery')
    node.prepare()
    for n in range(rounds):
        for tally, what in ((upgrade, lambda: node.cut_upgrade(upgrade)), (start, lambda: node.cut_boot(start)),
                            (recovery, lambda: node.cut_upgrade(recovery, '--recovery'))):
            try:
                what()
            except MachineError as e:
                tally.bad.append(str(e)[-2000:])
                tell(f'{tally.operation}: {e}')
                return [t.row() for t in (upgrade, start, recovery)]
            if tally is recovery:
                node.boot()
                node.confirmed()
            tell(f'round {n + 1}: {tally.row()}')
    return [t.row() for t in (upgrade, start, recovery)]
