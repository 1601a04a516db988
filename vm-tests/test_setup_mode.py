# SPDX-License-Identifier: Apache-2.0
"""A machine whose firmware has no keys yet: the installation brings them, and the first boot of the node has Secure Boot on and
unlocks. And the firmware's own list of boot entries: a help that may get lost.

One live session installs two disks of a machine: "target", whose keys the agent enrols, and "second", left to
systemd-boot. Each then starts with a variable store as it would find it."""
import json
import shutil
import struct

import pytest

from rig import INSTALL, OVMF_VARS, Disk, Esp, Machine
from rig.facts import node_facts
from rig.workshop import INSTALL_TIMEOUT, TARGET_SIZE

GOOD = {'role': 'active', 'secure_boot': True, 'blessed': True, 'encrypted': {'/oem': True, '/usr/local': True}}
EFIVARS = '/sys/firmware/efi/efivars'
GLOBAL = '8be4df61-93ca-11d2-aa0d-00e098032b8c'
LOADER_PATH = '\\EFI\\systemd\\systemd-bootx64.efi'.encode('utf-16le')
FALLBACK = 'EFI/BOOT/BOOTX64.EFI'


class Story:
    """The two machines, both off after the live session, and what was said in it."""

    def __init__(self, workshop, directory):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        self.workshop = workshop
        live = workshop.live_machine(directory / 'agent', vars=OVMF_VARS)
        second = directory / 'second.img'
        with open(second, 'wb') as f:
            f.truncate(TARGET_SIZE)
        live.disks.append(Disk(second, serial='second'))
        self.by_agent = live
        self.untouched = directory / 'untouched.fd'
        with live:
            live.boot()
            self.bring_keys(live)
            self.refusals(live)
            self.second = self.install(live, 'second', '--enroll-keys', '/run/keys', '--enroll-keys-by', 'loader')
            self.first = self.install(live, 'target', '--enroll-keys', '/run/keys')
            self.modes = [live.read(f'{EFIVARS}/{name}-{GLOBAL}')[4] for name in ('SetupMode', 'SecureBoot')]
            live.power_off()
        target, second = live.disk('target'), live.disk('second')
        # The same TPM, and firmware that has not seen any of this.
        (directory / 'loader').mkdir()
        shutil.copytree(directory / 'agent/tpm', directory / 'loader/tpm')
        self.by_loader = Machine(directory / 'loader', disks=[second], vars=OVMF_VARS)
        self.by_agent.disks = [target]

    def bring_keys(self, machine):
        machine.shell('mkdir -p /run/keys /run/foreign', check=True)
        for name in ('PK', 'KEK', 'db'):
            machine.write(f'/run/keys/{name}.auth', (self.workshop.keys() / f'{name}.auth').read_bytes())
            machine.write(f'/run/foreign/{name}.auth',
                          (self.workshop.keys('foreign-keys') / f'{name}.auth').read_bytes())

    def try_install(self, machine, serial, *options, install=INSTALL):
        done = machine.run([*install, '--target', machine.disk_node(serial), '--yes', '--json', *options],
                           timeout=INSTALL_TIMEOUT)
        return done.rc, json.loads(done.out)

    def install(self, machine, serial, *options):
        rc, said = self.try_install(machine, serial, *options)
        assert rc == 0, said
        return said

    def refusals(self, machine):
        keys = ('--enroll-keys', '/run/keys')
        rc, said = self.try_install(machine, 'target')
        assert rc == 10 and '--enroll-keys' in said['error']['advice']
        rc, said = self.try_install(machine, 'target', *keys, install=['tb-agent', 'install'])
        assert rc == 10 and '--allow-software-tpm' in said['error']['advice']
        rc, said = self.try_install(machine, 'target', '--enroll-keys', '/run/foreign')
        assert rc == 12, said
        rc, said = self.try_install(machine, 'target', *keys, '--dry-run')
        assert rc == 0, said
        checks = {c['check']: c['state'] for c in said['plan']['preflight']}
        assert checks.pop('tpm-kind') == 'overridden' and set(checks.values()) == {'passed'}
        changes = said['plan']['keys']['changes']
        assert {(c['variable'], c['change']) for c in changes} == {(v, 'added') for v in ('db', 'KEK', 'PK')}
        assert said['keys'] == {'state': 'planned', 'reason': None} and said['firmware_entry'] is None
        assert machine.read(f'{EFIVARS}/SetupMode-{GLOBAL}')[4] == 1
        for serial in ('target', 'second'):
            assert machine.run(['cmp', '-n', str(64 << 20), machine.disk_node(serial), '/dev/zero']).rc == 0


@pytest.fixture(scope='module')
def story(workshop):
    directory = workshop.work / 'tests' / 'setup-mode'
    story = Story(workshop, directory)
    yield story
    for machine in (story.by_agent, story.by_loader):
        machine.power_cut()


def boot_order(machine):
    data = machine.read(f'{EFIVARS}/BootOrder-{GLOBAL}')[4:]
    return [f'Boot{n:04X}' for n in struct.unpack(f'<{len(data) // 2}H', data)]


def is_ours(machine, name):
    """Read with other eyes than the agent's: the entry names systemd-boot, on the partition this boot came from."""
    value = machine.read(f'{EFIVARS}/{name}-{GLOBAL}')
    uuid = machine.read(f'{EFIVARS}/LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f')[4:]
    parts = uuid.decode('utf-16le').rstrip('\0').split('-')
    guid = b''.join(bytes.fromhex(p)[::-1] for p in parts[:3]) + bytes.fromhex(parts[3] + parts[4])
    return LOADER_PATH in value and guid in value


def status(machine):
    return machine.run(['tb-agent', 'status', '--json'], check=True).json()


def test_keys_by_the_agent_and_the_boot_entry(story):
    assert story.first['keys'] == {'state': 'written', 'reason': None}
    assert story.first['firmware_entry']['state'] == 'written'
    assert story.modes == [0, 0]        # no longer in setup mode; nothing is enforced before the next boot
    machine = story.by_agent
    machine.boot()
    assert node_facts(machine) == GOOD
    first = boot_order(machine)[0]
    assert f'starting {first} "tbdemo" from HD(' in machine.console
    assert first == story.first['firmware_entry']['entry'] and is_ours(machine, first)
    said = status(machine)
    assert said['firmware_entry'] == {'state': 'present', 'entry': first, 'reason': None}
    assert said['tpm']['software'] is True
    # Nothing is written twice.
    again = machine.run(['tb-agent', 'bless', '--json'], check=True).json()
    assert again['firmware_entry']['state'] == 'present'

    # The firmware loses the entry: the node starts all the same, and makes it again.
    machine.shell(f'chattr -i {EFIVARS}/{first}-{GLOBAL}; rm {EFIVARS}/{first}-{GLOBAL}', check=True)
    assert status(machine)['firmware_entry']['state'] == 'missing'
    machine.reboot()
    assert '"tbdemo"' not in machine.console
    assert node_facts(machine) == GOOD
    said = status(machine)['firmware_entry']
    assert said['state'] == 'present' and boot_order(machine)[0] == said['entry'] and is_ours(machine, said['entry'])
    journal = machine.run(['journalctl', '-b', '-u', 'tb-agent-bless.service', '-o', 'cat']).text
    assert 'made again' in journal
    machine.power_off()
    assert Esp(machine.raw_disk('target')).exists(FALLBACK)


def test_keys_by_the_boot_loader(story):
    assert story.second['keys'] == {'state': 'left-to-loader', 'reason': None}
    machine = story.by_loader
    machine.boot(expect=r'Enrolling secure boot keys')
    machine.wait_exit(timeout=60)       # systemd-boot resets
    machine.boot()
    assert node_facts(machine) == GOOD
    # This firmware has never heard of the disk: it started by the fallback path, and was told.
    assert status(machine)['firmware_entry']['state'] == 'present'
    machine.power_off()
