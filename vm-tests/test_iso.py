# SPDX-License-Identifier: Apache-2.0
"""The installer ISO in a CD drive, on firmware in setup mode: systemd-boot enrols the keys of the medium, the next start of it
has Secure Boot on and installs by itself, and the one after that, with the medium still in, does not do so again. One story.
(As a disk the medium starts in every other test.)"""
import re
from pathlib import Path

import pytest

from rig import INSTALL, OVMF_VARS, Disk, Machine
from rig.facts import node_facts
from rig.workshop import INSTALL_TIMEOUT, TARGET_SIZE

CONFIG = ('#cloud-config\ninstall:\n  device: serial=target\n  auto: true\n  poweroff: true\n'
          '  recovery-key: none\n  allow-software-tpm: true\n')
EFIVARS = '/sys/firmware/efi/efivars'
UNIT = 'tb-agent-install.service'


@pytest.fixture(scope='module')
def machine(workshop, tmp_path_factory):
    """After the enrolment, off."""
    place = tmp_path_factory.mktemp('iso')
    (place / 'install.yaml').write_text(CONFIG)
    (place / 'more/notes').mkdir(parents=True)
    (place / 'more/notes/Läsmich, bitte.txt').write_text('hello\n')
    iso = workshop.live_medium(label='-enrol', options=[
        '--enroll-keys', workshop.keys(), '--secure-boot-enroll', 'force', '--config', place / 'install.yaml', '--overlay', place / 'more'])
    with open(place / 'target.img', 'wb') as f:
        f.truncate(TARGET_SIZE)
    disks = [Disk(iso, serial='live', bus='cdrom', readonly=True), Disk(place / 'target.img', serial='target')]
    with Machine(place / 'machine', disks=disks, vars=OVMF_VARS) as machine:
        machine.boot(expect=r'Enrolling secure boot keys')
        machine.wait_exit()     # the loader resets the machine when all keys are written
        yield machine


@pytest.fixture(scope='module')
def installed(machine):
    """What the console said while the medium installed by itself; the machine is off by what the configuration says."""
    machine.start()
    machine.wait_exit(INSTALL_TIMEOUT)
    return machine.console


@pytest.fixture(scope='module')
def session(machine, installed):
    """The live session of the same medium, on the machine that it installed."""
    return machine.boot()


def test_it_installs_unattended_and_tells(installed):
    seen = [installed.index(text) for text in (
        'installing tb-agent demo OS 1 on /dev/vda (no model, serial target); what is on it is lost', 'clearing the disk',
        'writing the active image', 'encrypting and enrolling the partition persistent', 'The node is installed; powering off.')]
    assert seen == sorted(seen)
    assert 'FAILED' not in installed


def test_it_does_not_install_again(session):
    session.expect(r'Nothing was installed: /dev/vda: this medium has installed it already\s+take the medium out')
    state = session.shell(f'systemctl show -p Result,ExecMainStatus,ActiveState {UNIT}', check=True).text.split()
    assert sorted(state) == ['ActiveState=inactive', 'ExecMainStatus=3', 'Result=success']


@pytest.mark.parametrize('more, text', [
    ('install: {device: serial=nothing}', r'no disk fits the rule:\s+-   /dev/vda: .*: not serial=nothing'),
    ('install: {swap: 64}', r'/dev/vda: there is a node on it already\s+What can be done:\s+- take the medium out'),
])
def test_a_failure_stays_on_the_console(session, more, text):
    """What else the medium might say; neither another disk nor another node is taken for what was meant."""
    session.shell('mkdir -p /etc/kairos && cat > /etc/kairos/90.yaml', stdin=f'#cloud-config\n{more}\n'.encode(), check=True)
    assert session.run(['systemctl', 'restart', UNIT]).rc != 0
    session.expect(r'The unattended installation FAILED \(exit code 10\):\s+- ' + text)
    assert 'ExecMainStatus=10' in session.run(['systemctl', 'show', '-p', 'ExecMainStatus', UNIT], check=True).text
    assert b'FAILED' in session.read('/run/issue.d/tb-agent.issue')
    session.run(['rm', '/etc/kairos/90.yaml'], check=True)


def test_keys_are_enrolled(session):
    for name, value in (('SecureBoot', 1), ('SetupMode', 0)):
        assert session.shell(f'cat {EFIVARS}/{name}-*', check=True).out[4:] == bytes([value])
    # As another program reads them.
    session.write('/run/efi-readvar', Path('/usr/bin/efi-readvar').read_bytes())
    said = session.shell('cp /run/efi-readvar /tmp && chmod +x /tmp/efi-readvar && /tmp/efi-readvar', check=True).text
    for name in ('PK', 'KEK', 'db'):
        listed = said.partition(f'Variable {name}, length ')[2].partition('Variable ')[0]
        assert re.findall(r'CN=Trusted Boot (\w+)', listed) == [name] * 2, said      # subject and issuer


def test_medium_is_mounted(session):
    line, = [words for words in map(str.split, session.read('/proc/mounts').decode().splitlines())
             if words[1] == '/run/initramfs/live']
    assert line[0].startswith('/dev/loop') and line[2] == 'vfat' and 'ro' in line[3].split(',')
    text = session.run(['cat', '/run/initramfs/live/notes/Läsmich, bitte.txt'], check=True).text
    assert text == 'hello\n'


def test_session_offers_the_installation(session):
    """By the configuration on the medium, of the image on it: a person may install again."""
    said = session.run([*INSTALL, '--use-default-dirs', '--dry-run', '--json'], check=True).json()
    assert said['plan']['disk']['path'] == session.disk_node('target')


def test_drive_is_no_target(session):
    done = session.run([*INSTALL, '--target', '/dev/sr0', '--dry-run', '--json'])
    assert done.rc != 0


def test_without_the_medium_the_node_starts(session):
    session.power_off()
    session.disks = [session.disk('target')]
    session.boot()
    assert node_facts(session) == {'role': 'active', 'secure_boot': True, 'blessed': True,
                                   'encrypted': {'/oem': True, '/usr/local': True}}
    # The node keeps the configuration, and never follows it.
    refused = session.run(['tb-agent', 'install', '--unattended'])
    assert refused.rc == 10 and b'no live session' in refused.err
