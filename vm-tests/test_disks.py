# SPDX-License-Identifier: Apache-2.0
"""Which disk an installation goes to: rules, refusals, disks in use, and a second disk with the same labels."""
import hashlib
import re

import pytest

from rig import INSTALL, Disk
from rig.esp import ESP_TYPE, run as host_run
from rig.facts import node_facts

GIB = 1 << 30
REFUSED, BUSY, USAGE = 10, 8, 2


def sparse(path, size):
    with open(path, 'wb') as f:
        f.truncate(size)
    return path


def make_twin(path):
    """A disk with the names and labels of a node: small, so that every byte of it can be compared."""
    mib = 1 << 20
    sparse(path, 256 * mib)
    table = (f'label: gpt\nstart=2048, size={64 * 2048}, type={ESP_TYPE}, name=efi\n'
             f'size={64 * 2048}, name=oem\nname=persistent\n')
    host_run('sfdisk', '-q', path, input=table.encode())
    host_run('mkfs.vfat', '-F', '32', '-n', 'COS_GRUB', '--offset', '2048', path, 64 * 1024)
    for label, start, size in (('COS_OEM', 65, 64), ('COS_PERSISTENT', 129, 100)):
        host_run('mke2fs', '-q', '-F', '-t', 'ext4', '-L', label, '-E', f'offset={start * mib}', path, f'{size}M')
    return path


def digest(path):
    with open(path, 'rb') as f:
        return hashlib.file_digest(f, 'sha256').hexdigest() if hasattr(hashlib, 'file_digest') \
            else hashlib.sha256(f.read()).hexdigest()


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    return tmp_path_factory.mktemp('disks')


@pytest.fixture(scope='module')
def twin(place):
    """The disk and its digest before anything ran."""
    path = make_twin(place / 'twin.img')
    return Disk(path, serial='twin'), digest(path)


@pytest.fixture(scope='module')
def live(workshop, place, twin):
    """A live session on a machine with many disks. The last test turns it off."""
    disks = [Disk(workshop.live_medium(), serial='live', readonly=True),
             twin[0],
             Disk(sparse(place / 'fast.img', 16 * GIB), serial='fast', bus='nvme', sector=4096),
             Disk(sparse(place / 'one.img', 20 * GIB), serial='one'),
             Disk(sparse(place / 'two.img', 20 * GIB), serial='two'),
             Disk(sparse(place / 'stick.img', 40 * GIB), serial='stick', bus='scsi', options='removable=on'),
             Disk(sparse(place / 'locked.img', 40 * GIB), serial='locked', readonly=True)]
    with workshop.live_machine(workshop.work / 'disks', disks=disks) as machine:
        machine.boot()
        # SCSI buses are searched while the boot goes on.
        machine.run(['udevadm', 'wait', '--settle', '--timeout=60', '/dev/sda'], check=True)
        yield machine


def plan(live, target, *options):
    return live.run([*INSTALL, '--target', target, '--dry-run', '--json', *options])


def refused(live, target, status, *options):
    done = plan(live, target, *options)
    assert done.rc == status, done.text
    return done.json()['error']


# --- choosing ------------------------------------------------------------------------------------------------------

def test_a_rule_chooses(live):
    done = plan(live, 'bus=nvme,size>=10G,rotational=no,largest').check().json()
    disk = done['plan']['disk']
    assert disk['path'] == live.disk_node('fast')
    assert (disk['bus'], disk['serial'], disk['size'], disk['sector_size']) == ('nvme', 'fast', 16 * GIB, 4096)
    assert disk['removable'] is False and disk['rotational'] is False
    assert disk['chosen'].startswith('the only disk that fits the rule')
    assert live.run(['readlink', '-f', disk['stable_path']], check=True).text.strip() == disk['path']
    assert disk['stable_path'].startswith('/dev/disk/by-id/') and 'fast' in disk['stable_path']
    assert done['plan']['in_use'] == [] and done['installed'] is False
    # The world wide name leads there as well, and so does the link by name.
    assert plan(live, f'wwn={disk["wwn"]}').check().json()['plan']['disk']['path'] == disk['path']
    named = plan(live, disk['stable_path']).check().json()['plan']['disk']
    assert named['path'] == disk['path'] and named['chosen'] == 'named: ' + disk['stable_path']


def test_a_tie_lists_the_candidates(live):
    error = refused(live, 'auto', REFUSED)
    lines = error['text'].splitlines()[1:]
    assert [re.search(r'serial (\w+),', line).group(1) for line in sorted(lines)] == ['one', 'two']
    assert all('virtio' in line and '20 GiB' in line and '/dev/disk/by-id/virtio-' in line for line in lines)
    # The twin: one more term, and it is no tie.
    assert plan(live, 'largest,serial=tw?').check().json()['plan']['disk']['path'] == live.disk_node('two')


def test_no_match_tells_why_of_each(live):
    text = refused(live, 'bus=usb', REFUSED)['text']
    for serial, why in (('live', 'this session was started from it'), ('twin', 'at least'), ('fast', 'not bus=usb'),
                        ('stick', 'removable'), ('locked', 'read-only')):
        assert re.search(rf'serial {serial}, .*: .*{why}', text), text


def test_the_live_medium_is_never_taken(live):
    for target in (live.disk_node('live'), '/dev/disk/by-id/virtio-live'):
        assert 'started from it' in refused(live, target, REFUSED, '--force-release')['text']


def test_a_removable_disk_only_by_name(live):
    disk = plan(live, '/dev/sda').check().json()['plan']['disk']
    assert disk['removable'] is True and disk['bus'] == 'scsi' and disk['serial'] == 'stick'
    shown = live.run([*INSTALL, '--target', '/dev/sda', '--dry-run'], check=True).text
    assert 'REMOVABLE' in shown


def test_a_read_only_disk_is_refused(live):
    assert 'is read-only' in refused(live, live.disk_node('locked'), REFUSED)['text']


def test_a_mistake_names_the_term(live):
    error = refused(live, 'bus=nvme,size>=100X', USAGE)
    assert '"size>=100X"' in error['text'] and 'rotational=yes|no' in error['advice']


# --- in use, and installed -----------------------------------------------------------------------------------------

USE = '''set -e
sfdisk -q {disk} <<END
label: gpt
size=1G
size=512M
size=1G
END
udevadm settle
mkfs.ext4 -q {disk}p1; mkdir /tmp/held; mount {disk}p1 /tmp/held
mkswap {disk}p2; swapon {disk}p2
head -c 32 /dev/urandom > /tmp/key
cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 {disk}p3 /tmp/key
cryptsetup open --key-file /tmp/key {disk}p3 vault
dmsetup create volume --table "0 1048576 linear /dev/mapper/vault 0"
mkfs.ext4 -q /dev/mapper/volume; mkdir /tmp/deep; mount /dev/mapper/volume /tmp/deep
udevadm settle
'''
# Loop devices: tests/integration/test_disk_release.c. The demo OS has none.
USES = ['is mounted on /tmp/held', 'is swap in use', 'LUKS mapping vault', 'device-mapper mapping volume',
        'is mounted on /tmp/deep']


def test_a_disk_in_use_is_refused_and_planned(live):
    live.shell(USE.format(disk=live.disk_node('fast')), check=True)
    error = refused(live, 'bus=nvme', BUSY)
    assert all(use in error['text'] for use in USES) and '--force-release' in error['advice']
    told = plan(live, 'bus=nvme', '--force-release').check().json()['plan']['in_use']
    assert len(told) == len(USES) and all(any(use in line for line in told) for use in USES)
    # A plan releases nothing.
    live.shell('mountpoint -q /tmp/held && mountpoint -q /tmp/deep && grep -q nvme /proc/swaps', check=True)


def test_what_is_busy_stays_and_is_told(live):
    live.shell('cd /tmp/deep; sleep 1000 < /dev/null > /dev/null 2>&1 & echo $! > /tmp/sleeper', check=True)
    done = live.run([*INSTALL, '--target', 'bus=nvme', '--force-release', '--yes', '--json'])
    assert done.rc == BUSY
    text = done.json()['error']['text']
    assert re.search(r'\n  not released: \S+ is mounted on /tmp/deep .*: .*[Bb]usy', text), text
    assert re.search(r'\n  not released: \S+ is held by the LUKS mapping vault', text), text
    assert re.search(r'\n  released: \S+ is mounted on /tmp/held', text) and 'swap in use' in text
    live.shell('! mountpoint -q /tmp/held && mountpoint -q /tmp/deep && ! grep -q nvme /proc/swaps', check=True)
    live.shell('kill $(cat /tmp/sleeper); tail --pid=$(cat /tmp/sleeper) -f /dev/null', check=True)


def test_installed_on_nvme_with_4k_sectors_and_the_twin_untouched(live, twin):
    disk = live.disk_node('fast')
    live.shell(f'mount {disk}p1 /tmp/held && swapon {disk}p2', check=True)
    done = live.run([*INSTALL, '--target', 'bus=nvme', '--force-release', '--yes', '--json'], timeout=600,
                    check=True).json()
    assert done['installed'] is True and len(done['plan']['in_use']) == 5
    assert done['plan']['disk']['sector_size'] == 4096
    assert 'vault' not in live.run(['dmsetup', 'ls'], check=True).text
    live.power_off()
    assert digest(twin[0].path) == twin[1]
    live.disks = [live.disk('fast'), live.disk('twin')]
    live.boot()
    status = live.run(['tb-agent', 'status', '--json'], check=True).json()
    assert status['disk'] == live.disk_node('fast') and status['problems'] == []
    assert node_facts(live) == {'role': 'active', 'secure_boot': True, 'blessed': True,
                                'encrypted': {'/oem': True, '/usr/local': True}}
    live.power_off()
    assert digest(twin[0].path) == twin[1]
