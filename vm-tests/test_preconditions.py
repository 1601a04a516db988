# SPDX-License-Identifier: Apache-2.0
"""Machines that cannot be nodes, and what is left of one that could: no TPM, one without the SHA-256 bank, one that is locked
out, firmware that keeps no variables, a disk with a long past. What is refused is refused before the first write."""
import shutil
import struct

import pytest

from rig import INSTALL, Disk
from rig.esp import run as host_run
from rig.facts import entries, node_facts, role
from rig.workshop import INSTALL_TIMEOUT, TARGET_SIZE

REFUSED = 10
MIB = 1 << 20
GOOD = {'role': 'active', 'secure_boot': True, 'blessed': True, 'encrypted': {'/oem': True, '/usr/local': True}}
LOCK_OUT = ('tpm2_dictionarylockout -s -n 1 -t 100000 -l 100000; '
            'tpm2_nvdefine -C o -s 8 -a "authread|authwrite" -p right 0x1500020; '
            '! tpm2_nvread -C 0x1500020 -P wrong -s 8 0x1500020')


def refused(machine):
    """The error of an installation that wrote nothing."""
    node = machine.disk_node('target')
    done = machine.run([*INSTALL, '--target', node, '--yes', '--json'], timeout=INSTALL_TIMEOUT)
    assert done.rc == REFUSED, done
    assert machine.run(['cmp', '-n', str(64 * MIB), node, '/dev/zero']).rc == 0
    error = done.json()['error']
    assert error['class'] == 'precondition' and error['advice']
    told = machine.run([*INSTALL, '--target', node, '--dry-run'])
    assert told.rc == REFUSED and error['text'] in told.err.decode()
    return error


# --- the TPM -------------------------------------------------------------------------------------------------------

def test_without_a_tpm(workshop):
    with workshop.live_machine(workshop.work / 'tests/no-tpm', tpm=False) as machine:
        machine.boot()
        assert role(machine) == 'live'
        error = refused(machine)
        assert 'no TPM' in error['text'] and 'firmware setup' in error['advice']
        assert machine.run(['tb-agent', 'status', '--json'], check=True).json()['tpm'] is None


def test_without_the_sha256_bank(workshop):
    directory = workshop.work / 'tests/no-sha256'
    with workshop.live_machine(directory) as machine:
        shutil.rmtree(directory / 'tpm')
        (directory / 'tpm').mkdir()
        host_run('swtpm_setup', '--tpm2', '--tpmstate', directory / 'tpm', '--pcr-banks', 'sha384', '--overwrite')
        machine.boot()
        assert role(machine) == 'live'
        error = refused(machine)
        assert 'SHA-256' in error['text'] and 'bank' in error['advice']


# --- the disk ------------------------------------------------------------------------------------------------------

def lvm(f, at, size):
    """The label of a physical volume (LVM2, lib/format_text/layout.h): in the second sector."""
    header = struct.pack('<8sQII8s', b'LABELONE', 1, 0, 32, b'LVM2 001') + b'A' * 32 + struct.pack('<Q', size)
    f.seek(at + 512)
    f.write(header.ljust(512, b'\0'))


def zfs(f, at, size):
    """Uberblocks of the two labels at the start and the two at the end of a pool's member."""
    end = size // (256 << 10) * (256 << 10)
    for label in (0, 256 << 10, end - (512 << 10), end - (256 << 10)):
        for number in range(8):
            f.seek(at + label + (128 << 10) + number * 1024)
            f.write(struct.pack('<QQQQQ', 0x00bab10c, 5000, 1, 1, 1))


def md(f, at, size):
    """The superblock of an array's member, version 1.0: near the end."""
    sector = (size // 512 - 16) & ~7
    block = struct.pack('<IIII16sQ32s', 0xa92b4efc, 1, 0, 0, b'U' * 16, 0, b'old:array').ljust(256, b'\0')
    block = bytearray(block)
    struct.pack_into('<Q', block, 144, sector)     # super_offset
    value = sum(struct.unpack('<64I', block))
    struct.pack_into('<I', block, 216, ((value & 0xffffffff) + (value >> 32)) & 0xffffffff)
    f.seek(at + sector * 512)
    f.write(block)


def btrfs(f, at, size):
    f.seek(at + (64 << 10) + 64)
    f.write(b'_BHRfS_M')


# Where an installation puts its partitions on a disk of TARGET_SIZE: start and size.
PARTS = [(1 * MIB, 4128 * MIB), (4129 * MIB, 128 * MIB), (4257 * MIB, TARGET_SIZE - 4258 * MIB)]
OLD = {'LVM2_member': lvm, 'zfs_member': zfs, 'linux_raid_member': md}


def make_past(path, parts):
    """A disk that was many things: a pool, and partitions of many kinds where new ones will be."""
    with open(path, 'wb') as f:
        f.truncate(TARGET_SIZE)
    table = 'label: gpt\n' + ''.join(f'start={start // 512}, size={size // 512}\n' for start, size in parts)
    for write in OLD.values():
        with open(path, 'r+b') as f:
            write(f, 0, TARGET_SIZE)
    host_run('sfdisk', '-q', '--wipe', 'never', path, input=table.encode())
    with open(path, 'r+b') as f:
        for start, size in parts:
            for write in OLD.values():
                write(f, start, size)
            btrfs(f, start, size)
    volume = path.with_suffix('.luks')
    with open(volume, 'wb') as f:
        f.truncate(32 * MIB)
    host_run('cryptsetup', 'luksFormat', '-q', '--type', 'luks2', '--label', 'old', '--pbkdf', 'pbkdf2',
             '--pbkdf-force-iterations', '1000', '--key-file', '/dev/zero', '--keyfile-size', '32', volume)
    # Over what the last partition had: both headers.
    with open(path, 'r+b') as f, open(volume, 'rb') as header:
        f.seek(parts[-1][0])
        f.write(header.read(32 << 10))
    volume.unlink()


def signatures(machine, node):
    """What every probe finds on a device: {type}."""
    return set(machine.run(['wipefs', '--no-act', '--noheadings', '--output', 'TYPE', node], check=True).text.split())


@pytest.fixture(scope='module')
def node(workshop):
    """Installed in one live session on a disk with a past that cannot discard, with a TPM that was locked out before and
    firmware that takes no variable. Off."""
    directory = workshop.work / 'tests/past'
    with workshop.live_machine(directory) as machine:
        make_past(directory / 'target.img', PARTS)
        machine.disks[1] = Disk(directory / 'target.img', serial='target', options='discard=off')
        machine.boot()
        disk = machine.disk_node('target')
        machine.before = [signatures(machine, disk)] + [signatures(machine, f'{disk}{n}') for n in (1, 2, 3)]
        machine.shell(LOCK_OUT, check=True)
        done = machine.run([*INSTALL, '--target', disk, '--yes', '--json'], timeout=INSTALL_TIMEOUT)
        machine.locked_out = done.rc, done.json()['error']
        assert signatures(machine, disk) == machine.before[0]
        machine.shell('tpm2_dictionarylockout -c', check=True)
        machine.shell('mount -o remount,ro /sys/firmware/efi/efivars', check=True)
        machine.said = machine.run([*INSTALL, '--target', disk, '--yes', '--json'], timeout=INSTALL_TIMEOUT,
                                   check=True).json()
        machine.shell('udevadm settle', check=True)
        machine.after = [signatures(machine, disk)] + [signatures(machine, f'{disk}{n}') for n in (1, 2, 3)]
        machine.udev = [machine.run(['udevadm', 'info', '-q', 'property', '--property=ID_FS_TYPE', '--value', f'{disk}{n}']).text
                        for n in (1, 2, 3)]
        machine.power_off()
        machine.disks = [machine.disk('target')]
        yield machine


def test_a_locked_out_tpm_is_refused(node):
    rc, error = node.locked_out
    assert rc == REFUSED and 'locked out' in error['text'] and '--clear-lockout' in error['advice']


def test_nothing_is_left_of_a_disks_past(node):
    assert [(p['start'], p['size']) for p in node.said['plan']['partitions']] == PARTS
    assert 'zfs_member' in node.before[0] and set(OLD) | {'btrfs'} <= node.before[1]
    for found in node.before[1:]:
        assert 'zfs_member' in found and 'linux_raid_member' in found
    assert 'crypto_LUKS' in node.before[3]
    assert node.after == [{'gpt', 'PMBR'}, {'vfat'}, {'crypto_LUKS'}, {'crypto_LUKS'}]
    assert [text.strip() for text in node.udev] == ['vfat', 'crypto_LUKS', 'crypto_LUKS']
    assert {lost['type'] for lost in node.said['plan']['lost']} & set(OLD)


def test_firmware_that_takes_no_variable(node):
    assert node.said['installed'] is True
    entry = node.said['firmware_entry']
    assert entry['state'] == 'failed' and 'ead-only' in entry['reason']
    # It starts all the same, and once the firmware takes it, the entry is there.
    node.boot()
    assert node_facts(node) == GOOD
    assert node.run(['tb-agent', 'status', '--json'], check=True).json()['firmware_entry']['state'] == 'present'


def test_a_locked_out_tpm_opens_nothing(node):
    """The key above what is sealed counts for the lockout: that is how systemd makes it, and who else can open this. It is
    told, and over when the lockout is."""
    node.shell(LOCK_OUT.replace('tpm2_nvdefine', 'tpm2_nvundefine -C o 0x1500020; tpm2_nvdefine'), check=True)
    node.run(['tb-agent', 'bootentry', 'once', 'recovery'], check=True)
    node.reboot()
    assert role(node) == 'recovery'
    status = node.run(['tb-agent', 'status', '--json'], check=True).json()
    assert status['tpm']['in_lockout'] is True and status['closed'] is True
    assert any('dictionary attack lockout' in p for p in status['problems']), status['problems']
    assert 'clear the lockout' in node.console
    assert 'locked out' in node.run(['tb-agent', 'status'], check=True).text
    node.shell('tpm2_dictionarylockout -c', check=True)
    node.reboot()
    assert node_facts(node) == GOOD


def test_a_node_without_its_tpm(node):
    """The data stays locked, and both ends say why: the boot that falls back, and recovery, where a person can help."""
    node.run(['tb-agent', 'bootentry', 'once', 'recovery'], check=True)
    node.power_off()
    node.tpm = False
    node.boot()
    assert role(node) == 'recovery'
    status = node.run(['tb-agent', 'status', '--json'], check=True).json()
    assert status['tpm'] is None and status['closed'] is False
    assert any('no TPM' in p for p in status['problems']), status['problems']
    assert node.run(['mountpoint', '-q', '/oem']).rc != 0 and node.shell('ls /dev/mapper').text.split() == ['control']
    node.power_off()
    node.boot(expect='boot failed: no TPM')
    node.wait_exit(timeout=60)
    assert 'active+1-0.conf' in entries(node)     # on trial again: its counter will run out
