# SPDX-License-Identifier: Apache-2.0
"""Real power cuts: QEMU is killed at a random moment of an operation; the node has to come back by itself with what it had, and
the operation, done again, has to end well.

Each operation has a machine that sleeps right before it. Of that a clone wakes, does it, and is cut; what the cut left is
started as a node would be. Every cut is one line of a file: a campaign can be ended at any time, and goes on where it was.
"""
import json
import random
import shutil
import time
from collections import defaultdict

from rig import INSTALL, Disk, Esp, MachineError, MachineTimeout, make_data_disk, mount_data_disk
from rig.facts import after_reset, at_rest, blessed, role, unlocked_by
from rig.workshop import INSTALL_TIMEOUT

TIMEOUT = 300
KEPT = {'/oem/kept': b'configuration\n', '/usr/local/kept': b'data\n'}
BOTH = {'oem': 'tpm2', 'persistent': 'tpm2'}
# From here on the machine's own disk is written to; before that the firmware only reads.
STARTED = r'systemd-boot|EFI stub|Linux version|tb-agent'
BEYOND = 1.1            # cuts fall between the begin of an operation and so many times its usual length
RESTARTED = 5           # one in so many is also restarted after the operation was done again


def must(condition, what):
    if not condition:
        raise MachineError(what)


def status(machine):
    return machine.run(['tb-agent', 'status', '--json'], check=True).json()


def settled(machine):
    """Until the boot is confirmed and everything that starts with it has."""
    machine.run(['systemctl', 'start', 'tb-agent-bless.service'], timeout=TIMEOUT, check=True)
    must(blessed(at_rest(machine)), 'the boot is not confirmed')


def keep(machine):
    for path, data in KEPT.items():
        machine.write(path, data)
    machine.run(['sync'], check=True)


def comes_back(machine, roles=('active', 'passive')):
    """An ordinary session, opened by nobody but the TPM, with the node's data."""
    now = status(machine)
    must(role(machine) in roles, f'role {role(machine)}: {now}')
    must(unlocked_by(now) == BOTH, f'unlocked by {unlocked_by(now)}')
    for path, data in KEPT.items():
        must(machine.read(path) == data, f'{path} is not what it was')
    return now


def with_image(machine, path):
    """The machine, booted, with a second disk that brings an image."""
    bring = make_data_disk(machine.dir / 'images.img', {'v2.efi': path})
    machine.disks.append(Disk(bring, serial='images', readonly=True))
    return machine.boot()


class Operation:
    """What is cut. name: in tables."""
    name = ''

    def __init__(self, workshop, place):
        self.workshop, self.place = workshop, place
        self.base = self.prepare()

    def prepare(self):
        """A machine that sleeps right before the operation."""
        raise NotImplementedError

    def begin(self, machine):
        """Starts it in the machine that has woken. Returns a job."""
        raise NotImplementedError

    def wait(self, machine, job, timeout):
        machine.finish(job, timeout).check()

    def look(self, machine):
        """After the cut and a boot."""
        comes_back(machine)

    def again(self, machine):
        """The same once more, to its end, after look()."""
        machine.finish(self.begin(machine), TIMEOUT).check()

    def restart(self, machine):
        """What came of it starts."""
        machine.reboot()
        comes_back(machine)
        settled(machine)


class Install(Operation):
    name = 'install'

    def prepare(self):
        return self.workshop.live()

    def begin(self, machine):
        words = [*INSTALL, '--target', machine.disk_node('target'), '--yes', '--json', '--no-recovery-key']
        return machine.begin(words, timeout=INSTALL_TIMEOUT)

    def look(self, machine):
        """The live session again. The table is written last: what has one is a whole node."""
        must(role(machine) == 'live', f'role {role(machine)}')
        node = machine.disk_node('target')
        table = machine.shell(f'sfdisk -d {node} > /dev/null 2>&1').rc == 0
        if table:
            for number in (2, 3):
                machine.run(['cryptsetup', 'isLuks', '--type', 'luks2', f'{node}{number}'], check=True)

    def restart(self, machine):
        machine.power_off()
        machine.disks = [machine.disk('target')]
        machine.boot()
        must(role(machine) == 'active' and unlocked_by(status(machine)) == BOTH, str(status(machine)))
        settled(machine)


class Upgrade(Operation):
    name = 'upgrade'
    options = ()

    def prepare(self):
        machine = with_image(self.workshop.booted().clone(self.place / 'base'), self.workshop.usi('v2', version=2))
        mount_data_disk(machine)
        keep(machine)
        settled(machine)
        return machine.sleep()

    def begin(self, machine):
        mount_data_disk(machine)
        return machine.begin(['tb-agent', 'upgrade', '--source', 'file:/run/images/v2.efi', '--json', *self.options], timeout=TIMEOUT)

    def again(self, machine):
        settled(machine)
        super().again(machine)

    def restart(self, machine):
        super().restart(machine)
        must(status(machine)['version'] == '2', 'the new image does not run')


class UpgradeOfRecovery(Upgrade):
    name = 'upgrade of recovery'
    options = ('--recovery',)

    def restart(self, machine):
        machine.run(['tb-agent', 'bootentry', 'once', 'recovery', '--json'], check=True)
        machine.reboot()
        now = status(machine)
        must(role(machine) == 'recovery' and now['version'] == '2', f'role {role(machine)}: {now}')


class FirstStart(Upgrade):
    """The boot of a new image, which counts and confirms; it is cut somewhere behind the firmware."""
    name = 'first start'

    def prepare(self):
        machine = super().prepare()
        machine.boot()
        machine.finish(super().begin(machine), TIMEOUT).check()
        machine.power_off()
        return machine

    def begin(self, machine):
        return None

    def wait(self, machine, job, timeout):
        begun = time.monotonic()
        machine.wait_ready(timeout)
        left = timeout - (time.monotonic() - begun)
        machine.finish(machine.begin(['systemctl', 'is-system-running', '--wait']), max(left, 0))

    def again(self, machine):
        settled(machine)


class Bless(Upgrade):
    """The confirmation of a new image, which does not confirm itself here."""
    name = 'bless'

    def prepare(self):
        image = self.workshop.usi('waiting', version=2, cmdline=' '.join(f'systemd.mask=tb-agent-{u}.service' for u in ('bless', 'trial')))
        machine = with_image(self.workshop.booted().clone(self.place / 'base'), image)
        keep(machine)
        settled(machine)
        machine.finish(super().begin(machine), TIMEOUT).check()
        machine.reboot()
        at_rest(machine)
        must(not status(machine)['blessed'], 'it confirmed itself')
        return machine.sleep()

    def begin(self, machine):
        return machine.begin(['tb-agent', 'bless', '--json'])

    def again(self, machine):
        machine.finish(self.begin(machine), TIMEOUT).check()
        now = status(machine)
        must(now['blessed'] and now['version'] == '2', f'the new image is not confirmed: {now}')

    def restart(self, machine):
        machine.reboot()
        comes_back(machine, ['active'])
        self.again(machine)


class Reset(Operation):
    name = 'reset'

    def prepare(self):
        machine = self.workshop.booted().clone(self.place / 'base')
        # Without an active image recovery starts, and a reset has the more to do.
        Esp(machine.raw_disk('target')).remove('EFI/kairos/usi-00000001.efi')
        machine.boot()
        must(role(machine) == 'recovery', f'role {role(machine)}')
        machine.shell('mkdir /run/old; mount /dev/mapper/persistent /run/old; '
                      'head -c 8M /dev/urandom > /run/old/old; umount /run/old; echo old > /oem/old; sync', check=True)
        return machine.sleep()

    def begin(self, machine):
        return machine.begin(['tb-agent', 'reset', '--yes', '--json', '--oem'], timeout=TIMEOUT)

    def look(self, machine):
        """What begins is completed by the boot; what was not begun has destroyed nothing."""
        if machine.run(['test', '-e', '/oem/old']).rc == 0:
            must(role(machine) == 'recovery' and unlocked_by(status(machine)) == BOTH, str(status(machine)))
            machine.finish(self.begin(machine), TIMEOUT).check()
            machine.reboot()

    def again(self, machine):
        after_reset(machine, 'old')

    def restart(self, machine):
        machine.reboot()
        must(role(machine) == 'active', f'role {role(machine)}')
        after_reset(machine, 'old')


class EnrollKey(Operation):
    """Another recovery key in place of the one there is."""
    name = 'enroll recovery-key'
    NEW, GIVEN = '/usr/local/new.key', '/run/given.key'
    argv = ('recovery-key', '--rotate', '--recovery-key-file', NEW)

    def prepare(self):
        machine, key = self.workshop.with_recovery_key()
        self.key = key.encode()
        machine = machine.clone(self.place / 'base').boot()
        keep(machine)
        settled(machine)
        return machine.sleep()

    def begin(self, machine, key=None):
        words = ['tb-agent', 'enroll', *self.argv, '--json', '--key-file', '-']
        return machine.begin(words, stdin=key or self.key, timeout=TIMEOUT)

    def opening(self, machine, key):
        """Which volumes a recovery key opens."""
        machine.write(self.GIVEN, key)
        return [n for n in (2, 3) if machine.run(['cryptsetup', 'open', '--test-passphrase', '--key-file', self.GIVEN,
                                                  f'/dev/vda{n}']).rc == 0]

    def again(self, machine):
        keys = [self.key]
        if machine.run(['test', '-s', self.NEW]).rc == 0:
            keys.append(machine.read(self.NEW))
        machine.run(['rm', '-f', self.NEW], check=True)
        good = [key for key in keys if self.opening(machine, key) == [2, 3]]
        must(good, 'no recovery key opens both volumes')
        machine.finish(self.begin(machine, good[0]), TIMEOUT).check()
        for volume in machine.run(['tb-agent', 'enroll', 'list', '--json'], check=True).json()['volumes']:
            states = sorted(way['state'] for way in volume['ways'])
            must(states == ['opens', 'recovery-key'] and not volume['unnamed_keyslots'], str(volume))


class EnrollTpm(EnrollKey):
    """Tokens that bind one more PCR, in place of those there are."""
    name = 'enroll tpm'
    argv = ('tpm', '--allow-software-tpm', '--bind-pcrs', '7,14')


OPERATIONS = {o.name: o for o in (Install, Upgrade, UpgradeOfRecovery, FirstStart, Bless, Reset, EnrollKey, EnrollTpm)}


class Campaign:
    """Cuts, noted in a file of JSON lines. One operation at a time: its machines lie in a folder of its own."""

    def __init__(self, workshop, folder, kernel, tell):
        """kernel: its release, for the notes."""
        self.workshop, self.folder, self.kernel, self.tell = workshop, folder, kernel, tell
        self.notes = folder / 'cuts.jsonl'
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, name, cuts, seed):
        place = self.folder / name.replace(' ', '-')
        shutil.rmtree(place, ignore_errors=True)
        operation, moments = OPERATIONS[name](self.workshop, place), random.Random(f'{name} {seed}')
        usual = self._rehearse(operation, place)
        self.tell(f'{name}: takes {usual:.1f} s')
        for n in range(cuts):
            note = {'operation': name, 'kernel': self.kernel, 'usual': round(usual, 2), 'moment': round(moments.uniform(0, usual * BEYOND), 3)}
            try:
                self._cut(operation, place / 'cut', note, n % RESTARTED == 0)
            except (MachineError, AssertionError) as e:
                note['bad'] = str(e)[-4000:]
            with open(self.notes, 'a', encoding='utf-8') as f:
                f.write(json.dumps(note) + '\n')
            self.tell(f'{n + 1} {note}')
            if 'bad' in note:
                # What was found bad stays, to be looked at.
                shutil.move(place / 'cut', place / f'bad-{seed}-{n}')
        shutil.rmtree(place / 'cut', ignore_errors=True)

    def _rehearse(self, operation, place):
        """Seconds that the operation takes when nobody cuts it."""
        with operation.base.clone(place / 'cut') as machine:
            begun = self._start(operation, machine)
            operation.wait(machine, operation.begin(machine), TIMEOUT)
            return time.monotonic() - begun

    @staticmethod
    def _start(operation, machine):
        """Wakes a machine that sleeps; of one that is off the operation is its start. Returns the moment of its begin."""
        asleep = machine.sleeping is not None
        machine.start()
        if not asleep:
            machine.expect(STARTED)
        return time.monotonic()

    def _cut(self, operation, place, note, restarted):
        with operation.base.clone(place) as machine:
            begun = self._start(operation, machine)
            job = operation.begin(machine)
            try:
                operation.wait(machine, job, max(note['moment'] - (time.monotonic() - begun), 0))
                note['late'] = True             # it had ended: the cut falls behind it
            except MachineTimeout:
                pass
            machine.power_cut()
            begun = time.monotonic()
            machine.boot()
            note['recovery'] = round(time.monotonic() - begun, 1)
            operation.look(machine)
            operation.again(machine)
            if restarted:
                operation.restart(machine)


def rows(notes):
    """One for each operation and kernel of a file of notes, in the order of OPERATIONS."""
    found = defaultdict(list)
    if notes.exists():
        for line in notes.read_text(encoding='utf-8').splitlines():
            note = json.loads(line)
            found[note['operation'], note['kernel']].append(note)
    order = list(OPERATIONS)
    return [{'operation': name, 'kernel': kernel, 'cuts': len(some), 'late': sum(n.get('late', False) for n in some),
             'bad': [n['bad'] for n in some if 'bad' in n],
             'worst_recovery_seconds': max((n['recovery'] for n in some if 'recovery' in n), default=0)}
            for (name, kernel), some in sorted(found.items(), key=lambda f: (f[0][1], order.index(f[0][0])))]
