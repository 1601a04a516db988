# SPDX-License-Identifier: Apache-2.0
"""A node made like new: from recovery, from active by way of the next boot, and across power cuts.

TB_RESET_CUTS says at how many moments of a reset the power is cut; the default keeps the run short, because what each cut
leaves is looked at by tests/integration/test_reset.c at every single step.
"""
import json
import os
import random
import struct
import time

import pytest

from rig import Esp
from rig.esp import run as host_run
from rig.facts import after_reset, has_reset_journal, node_facts, role

CUTS = int(os.environ.get('TB_RESET_CUTS', '3'))
MIB = 1 << 20
HEADER = 16 * MIB
BLOCK = 4096
RESET = ['tb-agent', 'reset', '--yes', '--json']
ONCE = '/sys/firmware/efi/efivars/LoaderEntryOneShot-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f'


@pytest.fixture(scope='module')
def worn(workshop, booted):
    """A node with data, asleep in its recovery session, because its active image got lost: a reset has to copy."""
    with booted.clone(workshop.work / 'worn') as machine:
        Esp(machine.raw_disk('target')).remove('EFI/kairos/usi-00000001.efi')
        machine.boot()
        assert role(machine) == 'recovery'
        # A person finds on the console, and at a login prompt, what failed and what to do.
        for said in (machine.console, machine.read('/run/issue.d/tb-agent.issue').decode()):
            assert 'This is the recovery system of this node. Its data is open.' in said
            assert 'active (version 1) names an image that is not there' in said and 'tb-agent reset' in said
        machine.shell('mkdir /run/old; mount /dev/mapper/persistent /run/old; '
                      'for i in 1 2 3 4; do head -c 8M /dev/urandom > /run/old/file$i; done; umount /run/old; '
                      'echo kept > /oem/file; sync', check=True)
        machine.sleep()
        machine.raw_disk('target')      # under its clones, of which the first will be made now
        yield machine


@pytest.fixture(scope='module')
def duration(worn):
    """[seconds] that a whole reset took: noted by the test that makes one."""
    return []


def partition(disk, name):
    """(offset, size) in bytes of a partition of a raw disk image."""
    table = json.loads(host_run('sfdisk', '-J', disk))['partitiontable']
    found = next(p for p in table['partitions'] if p['name'] == name)
    return found['start'] * 512, found['size'] * 512


def blocks(disk, name):
    """{offset: bytes} of the blocks of a partition that are not all zeros."""
    begin, size = partition(disk, name)
    found, zeros = {}, bytes(BLOCK)
    with open(disk, 'rb') as f:
        at = begin
        while at < begin + size:
            try:
                data = os.lseek(f.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            hole = min(os.lseek(f.fileno(), data, os.SEEK_HOLE), begin + size)
            for offset in range(data - data % BLOCK, hole, BLOCK):
                if offset >= begin:
                    block = os.pread(f.fileno(), BLOCK, offset)
                    if block != zeros:
                        found[offset - begin] = block
            at = hole
    return found


def luks_uuid(disk, name):
    begin, _ = partition(disk, name)
    with open(disk, 'rb') as f:
        head = os.pread(f.fileno(), BLOCK, begin)
    assert head[:6] == b'LUKS\xba\xbe'
    return head[168:208].rstrip(b'\0').decode()


def nothing_old_is_left(before, after, name):
    """On the raw disk: neither headers and key slots nor any cipher text of before. So neither a copy of the old header nor
    the old volume key finds anything to open."""
    old, new = blocks(before, name), blocks(after, name)
    assert sum(offset >= HEADER for offset in old) > 8 * 1024       # there was data
    same = [offset for offset, block in old.items() if new.get(offset) == block]
    assert same == []
    uuid = luks_uuid(before, name).encode()
    assert not any(uuid in block for block in new.values())


def is_clean(machine):
    return after_reset(machine, 'file1')


def test_from_recovery_and_again_from_active(machines, worn, duration):
    machine = machines(worn)
    before = worn.raw_disk('target')
    machine.boot()

    # Looked at and refused, nothing has changed.
    rc = machine.run(['tb-agent', 'reset', '--json'])
    assert rc.rc == 2 and '--yes' in rc.json()['error']['advice']
    plan = machine.run(['tb-agent', 'reset', '--dry-run', '--json'], check=True).json()
    assert plan['result'] == 'planned' and plan['kept'] == ['oem'] and plan['image']['copied'] is True
    assert [v['name'] for v in plan['erased']] == ['persistent']
    machine.shell('mkdir /run/held; mount /dev/mapper/persistent /run/held', check=True)
    rc = machine.run(RESET)
    assert rc.rc == 8 and 'in use' in rc.json()['error']['text']
    machine.shell('umount /run/held', check=True)
    assert not has_reset_journal(machine)

    begun = time.monotonic()
    said = machine.run([*RESET, '--recovery-key-file', '/run/recovery.key', '--certificate', '/run/certificate'],
                       timeout=300, check=True).json()
    duration.append(time.monotonic() - begun)
    assert said['result'] == 'reset' and said['kept'] == ['oem'] and said['recovery_key'] == 'file'
    assert said['image']['copied'] is True and said['resumed'] is False
    (erased,) = said['erased']
    assert erased['name'] == 'persistent' and erased['overwritten'] == HEADER and erased['verified'] is True
    assert erased['old_uuid'] == luks_uuid(before, 'persistent') != erased['new_uuid']
    assert erased['discarded'] is True and erased['reads_zero'] is True
    assert json.loads(machine.read('/run/certificate'))['erased'] == said['erased']
    opened = machine.run(['cryptsetup', 'open', '--test-passphrase', '--key-file', '/run/recovery.key', '/dev/vda3'])
    assert opened.rc == 0
    assert machine.read('/oem/file') == b'kept\n'
    machine.power_off()
    nothing_old_is_left(before, machine.raw_disk('target'), 'persistent')
    assert luks_uuid(before, 'oem') == luks_uuid(machine.raw_disk('target'), 'oem')

    # The new active image starts and is confirmed; the partition that was kept is as it was.
    machine.boot()
    assert node_facts(machine) == {'role': 'active', 'secure_boot': True, 'blessed': True,
                                   'encrypted': {'/oem': True, '/usr/local': True}}
    assert machine.read('/oem/file') == b'kept\n'
    status, certificate = is_clean(machine)
    assert certificate['id'] == said['id'] and certificate['erased'] == said['erased']

    # Here a reset is refused; forced, it is left to the next boot, and can be taken back until then.
    rc = machine.run(RESET)
    assert rc.rc == 10 and 'recovery' in rc.json()['error']['advice']
    rc = machine.run(['tb-agent', 'reset', '--cancel', '--json'])
    assert rc.rc == 10 and 'pending' in rc.json()['error']['text']
    assert machine.run([*RESET, '--force'], check=True).json()['result'] == 'pending'
    assert has_reset_journal(machine)
    assert machine.run(['tb-agent', 'status', '--json'], check=True).json()['reset_pending'] is True
    assert machine.run(['tb-agent', 'reset', '--cancel', '--json'], check=True).json()['result'] == 'cancelled'
    assert not has_reset_journal(machine)
    machine.run(['touch', '/usr/local/file1'], check=True)
    said = machine.run([*RESET, '--force', '--oem', '--all'], check=True).json()
    assert said['result'] == 'pending' and said['kept'] == [] and said['floor_cleared'] is True
    machine.reboot()
    assert role(machine) == 'active'
    status, certificate = is_clean(machine)
    assert certificate['resumed'] is True and certificate['id'] == said['id']
    assert [v['name'] for v in certificate['erased']] == ['oem', 'persistent']
    assert machine.run(['test', '-e', '/oem/file']).rc != 0
    assert status['floor']['version'] == '1'    # set up again by the confirmation


def test_by_its_boot_entry(machines, worn):
    """Nobody is asked where the configuration on the OEM partition says so, and nothing else does."""
    machine = machines(worn)
    machine.boot()
    once = ['tb-agent', 'bootentry', 'once', 'statereset', '--json']
    rc = machine.run(once)
    assert rc.rc == 10 and 'reset.unattended' in rc.json()['error']['advice'], rc.text
    machine.write('/oem/90_reset.yaml', b'#cloud-config\nreset:\n  unattended: true\n')
    rc = machine.run(['tb-agent', 'bootentry', 'prefer', 'statereset', '--json'])
    assert rc.rc == 2 and 'never preferred' in rc.json()['error']['text']
    assert machine.run(once, check=True).json()['entry'] == 'statereset.conf'
    machine.reboot(expect='its configuration allows it: it begins')
    machine.wait_exit(240)                  # QEMU ends where the machine restarts
    machine.boot()
    assert role(machine) == 'active' and machine.read('/oem/file') == b'kept\n'
    _, certificate = is_clean(machine)
    assert [v['name'] for v in certificate['erased']] == ['persistent'] and certificate['resumed'] is False

    # The entry is there, and somebody who can write variables starts it: that alone is a recovery session.
    machine.write('/oem/90_reset.yaml', b'#cloud-config\nreset:\n  unattended: false\n')
    machine.run(['touch', '/usr/local/file1'], check=True)
    machine.write('/run/once', struct.pack('<I', 7) + 'statereset.conf\0'.encode('utf-16le'))
    machine.shell(f'sync; cat /run/once > {ONCE}', check=True)
    machine.reboot()
    assert role(machine) == 'recovery' and 'no unattended reset: the configuration does not allow it' in machine.console
    machine.shell('mkdir /run/kept; mount /dev/mapper/persistent /run/kept; test -e /run/kept/file1', check=True)


@pytest.mark.parametrize('cut', range(CUTS))
def test_power_cut(machines, worn, duration, cut):
    """The plug is pulled at some moment of a reset; what starts next finishes it by itself."""
    machine = machines(worn)
    machine.boot()
    machine.begin([*RESET, '--oem'], timeout=300)
    seconds = (duration or [15])[0] * (cut + random.random()) / CUTS
    time.sleep(seconds)                         # the moment is the point
    machine.power_cut()
    machine.boot()
    status = machine.run(['tb-agent', 'status', '--json'], check=True).json()
    if machine.run(['test', '-e', '/oem/file']).rc == 0:
        # Cut before anything was noted: then nothing was destroyed either, and the operator asks again.
        assert role(machine) == 'recovery' and 'a reset of this node' not in machine.console
        assert all(p['unlocked_by'] == 'tpm2' for p in status['partitions'])
        machine.run([*RESET, '--oem'], timeout=300, check=True)
        machine.reboot()
    is_clean(machine)
    machine.power_off()
    for name in ('oem', 'persistent'):
        assert luks_uuid(machine.raw_disk('target'), name) != luks_uuid(worn.raw_disk('target'), name)
    nothing_old_is_left(worn.raw_disk('target'), machine.raw_disk('target'), 'persistent')
