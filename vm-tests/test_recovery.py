# SPDX-License-Identifier: Apache-2.0
"""A recovery key and partitions of the user: made by an installation, and all that opens the data when the disk comes into
a machine with another TPM."""
import json

from rig.facts import role
from rig.workshop import INSTALL, INSTALL_TIMEOUT

KEY_FILE = '/run/recovery.key'
ALPHABET = 'cbdefghijklnrtuv'
QUESTION = 'The data of this node is locked'
EXTRAS = ('--partition', 'data:64M:ext4:DATA', '--partition', 'scratch:32M:SCRATCH:plain')
OURS = ('oem', 'data', 'persistent')


def stranger(key):
    """A well-formed key that is another one."""
    return (ALPHABET[0] if key[0] != ALPHABET[0] else ALPHABET[1]) + key[1:]


def unlocked_by(machine):
    status = machine.run(['tb-agent', 'status', '--json'], check=True).json()
    return {p['name']: p['unlocked_by'] for p in status['partitions']}


def unlock(machine, key):
    done = machine.run(['tb-agent', 'unlock', '--key-file', '-', '--json'], stdin=key.encode())
    return done.rc, json.loads(done.out)


def install(machine):
    """From a running live session, which is then turned off. Returns the key."""
    node = machine.disk_node('target')
    options = [*INSTALL, '--target', node, '--yes', '--json', *EXTRAS, '--oem-size', '100M',
               '--persistent-size', '1G', '--allow-discards', '--recovery-key-file']
    # Nothing was destroyed where the key has no place to go.
    machine.write('/run/taken', b'a key of another node')
    refused = machine.run([*options, '/run/taken'], timeout=INSTALL_TIMEOUT)
    assert refused.rc == 2 and 'exists' in refused.json()['error']['text']
    assert machine.run(['cmp', '-n', str(64 << 20), node, '/dev/zero']).rc == 0
    assert machine.read('/run/taken') == b'a key of another node'

    done = machine.run([*options, KEY_FILE], timeout=INSTALL_TIMEOUT, check=True)
    said = done.json()
    assert said['recovery_key'] == 'file' and any('in the memory' in w for w in said['warnings'])
    assert [(p['name'], p['encrypted'], p['size']) for p in said['plan']['partitions']][1:] == [
        ('oem', True, 100 << 20), ('data', True, 64 << 20), ('scratch', False, 32 << 20), ('persistent', True, 1 << 30)]
    key = machine.read(KEY_FILE).decode()
    assert machine.run(['stat', '-c', '%a', KEY_FILE]).text.strip() == '600'
    assert len(key) == 71 and [len(g) for g in key.split('-')] == [8] * 8 and set(key) <= set(ALPHABET + '-')
    assert key.encode() not in done.out + done.err and key not in machine.console
    for number, encrypted in (('2', True), ('3', True), ('4', False), ('5', True)):
        opened = machine.run(['cryptsetup', 'open', '--test-passphrase', '--key-file', KEY_FILE, node + number])
        assert (opened.rc == 0) is encrypted
        if encrypted:
            header = machine.run(['cryptsetup', 'luksDump', '--dump-json-metadata', node + number], check=True).json()
            assert sorted(t['type'] for t in header['tokens'].values()) == ['systemd-recovery', 'systemd-tpm2']
            assert header['segments']['0']['sector_size'] == 512 and header['config']['flags'] == ['allow-discards']
    # The user's partition gets a second key, which opens nothing else.
    own = machine.shell(f'PASSWORD=$(cat {KEY_FILE}) systemd-cryptenroll --recovery-key {node}3', check=True).text.strip()
    machine.power_off()
    machine.disks = [machine.disk('target')]
    return key, own, said['plan']['partitions'][2]['start']


def exchanged(machine, start):
    """A plain file system takes the place of the encrypted partition, with its name, label and type. Then the old content
    comes back: through the disk, as the partition is not to be had."""
    machine.shell('dmsetup remove data; dd if=/dev/vda3 of=/usr/local/data.img bs=1M status=none; '
                  'mkfs.ext4 -q -F -L DATA /dev/vda3', check=True)
    machine.reboot()
    assert role(machine) == 'active'
    status = machine.run(['tb-agent', 'status', '--json'], check=True).json()
    problem, = status['problems']
    assert 'data: /dev/vda3 was encrypted when this node was installed' in problem
    assert next(p for p in status['partitions'] if p['name'] == 'data')['error'] == problem
    assert problem in machine.run(['tb-agent', 'status'], check=True).text
    machine.shell('udevadm settle; test ! -e /dev/vda3 && test -e /dev/vda4 && test ! -e /dev/mapper/data && '
                  '! blkid -L DATA', check=True)
    accepted, = status['overrides']
    assert accepted['verb'] == 'install' and '--allow-software-tpm' in accepted['text']
    machine.shell(f'dd if=/usr/local/data.img of=/dev/vda bs=1M seek={start >> 20} conv=fsync,notrunc status=none',
                  check=True)


def start_recovery(machine):
    machine.run(['tb-agent', 'bootentry', 'once', 'recovery'], check=True)
    machine.power_off()


def test_recovery_key_opens_the_disk_in_another_machine(machines, live_session):
    machine = machines(live_session).boot()
    key, own, start = install(machine)

    # At home the TPM opens all of it, and nobody is asked.
    machine.boot()
    assert role(machine) == 'active' and QUESTION not in machine.console
    assert unlocked_by(machine) == dict.fromkeys(OURS, 'tpm2')
    assert machine.run(['dmsetup', 'table'], check=True).text.count('allow_discards') == len(OURS)
    machine.shell('mkdir /run/data; mount /dev/mapper/data /run/data; echo kept > /run/data/file; umount /run/data; '
                  'echo kept > /oem/file; test ! -e /dev/mapper/scratch; blkid -s LABEL -o value /dev/vda4 | grep -qx SCRATCH',
                  check=True)
    rc, said = unlock(machine, key)
    assert rc == 10 and 'no recovery boot' in said['error']['text']
    exchanged(machine, start)
    start_recovery(machine)

    # Away from home: asked for on the console, wrong answers refused, without an echo.
    machine.reset_tpm()
    machine.boot(expect=QUESTION)
    machine.type('no key at all\r')
    machine.expect('this is not a recovery key')
    machine.type(stranger(key) + '\r')
    machine.expect('this is not the recovery key of the volume')
    machine.type(key.upper().replace('-', ' ') + '\r')
    machine.wait_ready()
    assert role(machine) == 'recovery'
    assert unlocked_by(machine) == dict.fromkeys(OURS, 'recovery-key')
    for said in (key, key.upper().replace('-', ' '), stranger(key), 'no key at all'):
        assert said[:17] not in machine.console
    assert machine.read('/oem/file') == b'kept\n'
    # Open, but not mounted: a reset must be able to replace it.
    assert machine.shell('test -e /dev/mapper/persistent; ! grep -q ^/dev/mapper/persistent /proc/mounts').rc == 0
    start_recovery(machine)

    # Nobody there: recovery comes up all the same, and the key opens the data later.
    machine.boot(timeout=500)
    assert QUESTION in machine.console
    assert role(machine) == 'recovery' and unlocked_by(machine) == dict.fromkeys(OURS)
    assert machine.run(['mountpoint', '-q', '/oem']).rc != 0
    rc, said = unlock(machine, stranger(key))
    assert rc == 10 and 'not the recovery key' in said['error']['text']
    rc, said = unlock(machine, 'no key at all')
    assert rc == 2
    assert machine.shell('ls /dev/mapper').text.split() == ['control']
    # The key of the user's partition opens that one alone.
    rc, said = unlock(machine, own)
    assert rc == 10 and 'oem: this is not the recovery key' in said['error']['text']
    assert sorted(machine.shell('ls /dev/mapper').text.split()) == ['control', 'data']
    rc, said = unlock(machine, key + '\n')
    assert rc == 0
    assert {p['name']: (p['opened_now'], p['mounted']) for p in said['partitions']} == {
        'oem': (True, '/oem'), 'persistent': (True, None), 'data': (False, None)}
    assert machine.read('/oem/file') == b'kept\n'
    assert machine.shell('mkdir /run/data; mount /dev/mapper/data /run/data; cat /run/data/file').out == b'kept\n'
    rc, said = unlock(machine, key)
    assert rc == 0 and not any(p['opened_now'] for p in said['partitions'])
