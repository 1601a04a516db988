# SPDX-License-Identifier: Apache-2.0
"""The installer ISO in a CD drive, on firmware in setup mode: systemd-boot enrols the keys of the medium, and the next start of
it has Secure Boot on and a session that can install. (As a disk it starts in every other test.)"""
import pytest

from rig import INSTALL, OVMF_VARS, Disk, Machine
from rig.workshop import TARGET_SIZE

CONFIG = '#cloud-config\ninstall:\n  device: serial=target\n'
EFIVARS = '/sys/firmware/efi/efivars'


@pytest.fixture(scope='module')
def session(workshop, tmp_path_factory):
    """The live session, after the enrolment."""
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
        machine.boot()
        yield machine


def test_keys_are_enrolled(session):
    for name, value in (('SecureBoot', 1), ('SetupMode', 0)):
        assert session.shell(f'cat {EFIVARS}/{name}-*', check=True).out[4:] == bytes([value])


def test_medium_is_mounted(session):
    line, = [words for words in map(str.split, session.read('/proc/mounts').decode().splitlines())
             if words[1] == '/run/initramfs/live']
    assert line[0].startswith('/dev/loop') and line[2] == 'vfat' and 'ro' in line[3].split(',')
    text = session.run(['cat', '/run/initramfs/live/notes/Läsmich, bitte.txt'], check=True).text
    assert text == 'hello\n'


def test_session_offers_the_installation(session):
    """By the configuration on the medium, of the image on it."""
    said = session.run([*INSTALL, '--use-default-dirs', '--dry-run', '--json'], check=True).json()
    assert said['plan']['disk']['path'] == session.disk_node('target')


def test_drive_is_no_target(session):
    done = session.run([*INSTALL, '--target', '/dev/sr0', '--dry-run', '--json'])
    assert done.rc != 0
