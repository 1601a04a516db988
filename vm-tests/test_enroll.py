# SPDX-License-Identifier: Apache-2.0
"""The ways into a node's data, changed one after the other: another TPM, another policy key, other Secure Boot keys, another
recovery key. The tests are one story, in this order, on one machine."""
import re
import shutil
import struct

import pytest

from rig import Disk
from rig.esp import make_data_disk, run
from rig.facts import blessed, role
from rig.workshop import INSTALL, INSTALL_TIMEOUT

QUESTION = 'The data of this node is locked'
KEY_FILE = '/run/recovery.key'
TPM = ('tpm', '--allow-software-tpm')
LOADER = '4a67b082-0a4c-41cf-b6c7-440b29bb8c4f'
SECURITY = 'd719b2cb-3d3a-4596-a3bc-dad00e67656f'
EFIVARS = '/sys/firmware/efi/efivars'
PRECONDITION, REVOKED, POLICY_KEY = 10, 13, 14


class Story:
    """The machine, its keys, and which chapters ended well: a later one makes no sense without the earlier ones."""

    def __init__(self, workshop, machine):
        self.workshop, self.machine, self.good, self.key = workshop, machine, True, None

    def enroll(self, *argv, key=None):
        argv = ['tb-agent', 'enroll', *argv, '--json', *(['--key-file', '-'] if key else [])]
        done = self.machine.run(argv, stdin=(key or '').encode(), timeout=120)
        return done.rc, done.json()

    def ways(self, said=None):
        """State of each way of a volume, which is the same on all: as an action told it at its end, or asked for."""
        rc, said = (0, said) if said else self.enroll('list')
        assert rc == 0, said
        states = [sorted(w['state'] for w in v['ways']) for v in said['volumes']]
        assert [v['name'] for v in said['volumes']] == ['oem', 'persistent'] and states[0] == states[1], said
        return states[0]

    def unlocked_by(self):
        status = self.machine.run(['tb-agent', 'status', '--json'], check=True).json()
        return {p['name']: p['unlocked_by'] for p in status['partitions']}

    def starts_alone(self, expected='active'):
        assert role(self.machine) == expected and QUESTION not in self.machine.console
        assert self.unlocked_by() == {'oem': 'tpm2', 'persistent': 'tpm2'}
        return True

    def once_recovery(self):
        """By the variable itself: a live session has no node."""
        value = struct.pack('<I', 7) + 'recovery.conf\0'.encode('utf-16le')
        self.machine.write('/run/once', value)
        self.machine.shell(f'cat /run/once > {EFIVARS}/LoaderEntryOneShot-{LOADER}', check=True)

    def doctor(self):
        """Problems that it finds: {(id, subject): text}."""
        done = self.machine.run(['tb-agent', 'doctor', '--json'], timeout=120)
        said = done.json()
        problems = {(f['id'], f['subject']): f['text'] for f in said['findings'] if f['severity'] == 'problem'}
        assert done.rc == (10 if problems else 0) and len(problems) <= said['problems'], said
        return problems

    def opens_by_key(self):
        """Started by somebody who asked for recovery."""
        self.machine.boot(expect=QUESTION)
        self.machine.type(self.key + '\r')
        self.machine.wait_ready()
        assert role(self.machine) == 'recovery'
        assert self.unlocked_by() == {'oem': 'recovery-key', 'persistent': 'recovery-key'}

    def signed_append(self, variable, esl):
        """A signed write that adds to a key variable, and where it is in the guest."""
        keys, auth = self.workshop.keys(), self.machine.dir / f'{variable}.auth'
        run('sign-efi-sig-list', '-a', '-k', keys / 'KEK.key', '-c', keys / 'KEK.pem', variable, esl, auth)
        self.machine.write(f'/run/{variable}.auth', auth.read_bytes())
        return f'{variable}+=/run/{variable}.auth'


@pytest.fixture(scope='module')
def node(workshop):
    v2 = workshop.usi('policy-v2', version=2, policy_keys='foreign-keys')
    images = make_data_disk(workshop.work / 'enroll-images.img', {'v1.efi': workshop.usi(), 'v2.efi': v2})
    place = workshop.work / 'tests/enroll-story'
    shutil.rmtree(place, ignore_errors=True)
    with workshop.live_machine(place) as machine:
        machine.disks.append(Disk(images, serial='images', readonly=True))
        yield Story(workshop, machine)


@pytest.fixture
def story(node, request):
    if not node.good:
        pytest.skip('an earlier chapter went wrong')
    node.good = False
    yield node
    node.good = not getattr(request.node, 'failed', False)


def test_another_tpm(story):
    machine = story.machine
    machine.boot()
    target = machine.disk_node('target')
    machine.run([*INSTALL, '--target', target, '--yes', '--json', '--recovery-key-file', KEY_FILE], timeout=INSTALL_TIMEOUT,
                check=True)
    story.key = machine.read(KEY_FILE).decode()
    story.once_recovery()
    machine.power_off()
    machine.disks = [d for d in machine.disks if d.serial != 'live']

    machine.reset_tpm()
    story.opens_by_key()
    problems = story.doctor()
    assert ('tpm-other', None) in problems and ('no-way-in', 'oem') in problems, problems
    assert not any(kind == 'event-changed' for kind, _ in problems), problems
    # Without the right to, nothing changes.
    rc, said = story.enroll(*TPM, key='c' * 64)
    assert rc == PRECONDITION and 'not the recovery key' in said['error']['text'], said
    rc, said = story.enroll('tpm', key=story.key)
    assert rc == PRECONDITION and 'software TPM' in said['error']['text'], said
    rc, said = story.enroll(*TPM, '--dry-run')
    assert rc == 0 and [c['change'] for c in said['changes']] == ['added'] * 2
    assert story.ways(said) == ['other-tpm', 'recovery-key']

    rc, said = story.enroll(*TPM, key=story.key)
    assert rc == 0 and [(c['volume'], c['change']) for c in said['changes']] == [('oem', 'added'), ('persistent', 'added')], said
    assert story.ways(said) == ['opens', 'other-tpm', 'recovery-key']
    # The old one stays until the TPM has opened a boot by the new one.
    rc, said = story.enroll('finish')
    assert rc == PRECONDITION and 'not opened by the TPM' in said['error']['text'], said

    machine.reboot()
    assert story.starts_alone()
    rc, said = story.enroll('finish')
    assert rc == 0 and [c['change'] for c in said['changes']] == ['removed'] * 2, said
    assert story.ways(said) == ['opens', 'recovery-key']


def test_another_recovery_key(story):
    machine = story.machine
    rc, said = story.enroll('recovery-key', '--rotate', '--recovery-key-file', KEY_FILE, key=story.key)
    assert rc == 0 and said['recovery_key'] == 'file', said
    assert [c['change'] for c in said['changes']] == ['added'] * 2 + ['removed'] * 2
    old, story.key = story.key, machine.read(KEY_FILE).decode()
    assert story.ways(said) == ['opens', 'recovery-key'] and story.key != old
    for number in ('2', '3'):
        for text, rc in ((story.key, 0), (old, 2)):
            machine.write('/run/key', text.encode())
            assert machine.run(['cryptsetup', 'open', '--test-passphrase', '--key-file', '/run/key',
                                machine.disk_node('target') + number]).rc == rc


def upgrade(machine, name, *options):
    done = machine.run(['tb-agent', 'upgrade', '--source', f'file:/run/images/{name}.efi', '--json', *options], timeout=300)
    return done.rc, done.json()


def test_another_policy_key(story):
    machine = story.machine
    assert blessed(machine)
    machine.shell(f'mkdir -p /run/images; mount -o ro {machine.disk_node("images")} /run/images', check=True)
    for name, keys in (('old', 'keys'), ('new', 'foreign-keys')):
        machine.write(f'/run/{name}.pem', (story.workshop.keys(keys) / 'tpm2-pcr-public.pem').read_bytes())
    rc, said = upgrade(machine, 'v2')
    assert rc == POLICY_KEY, said
    rc, said = story.enroll(*TPM, '--policy-key', '/run/new.pem', key=story.key)
    assert rc == 0 and len(said['changes']) == 2, said
    rc, said = story.enroll(*TPM, '--policy-key', '/run/new.pem')      # nothing to add: nobody is asked for a key
    assert rc == 0 and said['changes'] == [], said
    assert story.ways(said) == ['opens', 'other-key', 'recovery-key']
    rc, said = upgrade(machine, 'v2')
    assert rc == 0, said
    rc, said = story.enroll('drop', '--policy-key', '/run/old.pem')
    assert rc == PRECONDITION and 'passive' in said['error']['text'], said

    machine.reboot()
    assert story.starts_alone()
    assert b'IMAGE_VERSION=2' in machine.read('/usr/lib/os-release')
    # Passive and recovery still need the old key.
    rc, said = story.enroll('finish')
    assert rc == 0 and said['changes'] == [], said
    assert story.ways(said) == ['opens', 'opens', 'recovery-key']
    machine.write('/run/old.pem', (story.workshop.keys() / 'tpm2-pcr-public.pem').read_bytes())
    rc, said = story.enroll('drop', '--policy-key', '/run/old.pem')
    assert rc == PRECONDITION and '--force' in said['error']['advice'], said
    rc, said = story.enroll('drop', '--policy-key', '/run/old.pem', '--force')
    assert rc == 0 and [c['change'] for c in said['changes']] == ['removed'] * 2 and said['warnings'], said
    assert story.ways(said) == ['opens', 'recovery-key']
    machine.shell(f'mkdir -p /run/images; mount -o ro {machine.disk_node("images")} /run/images', check=True)
    rc, said = upgrade(machine, 'v1', '--allow-downgrade')
    assert rc == POLICY_KEY, said

    # A PIN comes and goes. That what is sealed then opens is what the next chapter's start shows.
    machine.write('/run/pin', b'open sesame\n')
    rc, said = story.enroll('pin', '--allow-software-tpm', '--pin-file', '/run/pin', key=story.key)
    assert rc == 0 and [c['change'] for c in said['changes']] == ['added'] * 2 + ['removed'] * 2, said
    assert all(w['pin'] == (w['kind'] == 'tpm2') for v in said['volumes'] for w in v['ways']), said
    rc, said = story.enroll('pin', '--allow-software-tpm', '--remove', key=story.key)
    assert rc == 0 and story.ways(said) == ['opens', 'recovery-key'], said
    assert not any(w['pin'] for v in said['volumes'] for w in v['ways']), said


def secureboot(story, *changes, key=None, options=()):
    argv = ['tb-agent', 'secureboot', 'update', *changes, '--allow-software-tpm', '--json', *options]
    done = story.machine.run(argv + (['--key-file', '-'] if key else []), stdin=(key or '').encode(), timeout=120)
    return done.rc, done.json()


def test_other_secure_boot_keys_foreseen(story):
    machine, workshop = story.machine, story.workshop
    # A change that would kill what is installed is refused: the running image, and the one to fall back on.
    for image, roles in (('policy-v2', 'active'), ('v1', 'passive, recovery')):
        run('hash-to-efi-sig-list', workshop.work / f'usi-{image}.efi', machine.dir / 'dbx.esl')
        rc, said = secureboot(story, story.signed_append('dbx', machine.dir / 'dbx.esl'), key=story.key)
        assert rc == REVOKED and all(r in said['error']['text'] for r in roles.split(', ')), said
    rc, said = secureboot(story, story.signed_append('dbx', machine.dir / 'dbx.esl'), key=story.key,
                          options=['--force', '--dry-run'])
    assert rc == 0 and said['key_changes'][0]['variable'] == 'dbx' and said['written'] == [], said

    change = story.signed_append('db', workshop.keys('foreign-keys') / 'db.esl')
    rc, said = secureboot(story, change)
    assert rc == 2 and '--key-file' in said['error']['advice'], said
    rc, said = story.enroll(*TPM, '--next', change, key=story.key)
    assert rc == 0 and len(said['changes']) == 2 and any('another policy key' in w for w in said['warnings']), said
    # All is ready: no key is needed any more.
    rc, said = secureboot(story, change)
    assert rc == 0 and said['written'] == ['db'] and said['changes'] == [], said
    assert [(c['variable'], c['change']) for c in said['key_changes']] == [('db', 'added')]
    # From now on the next boot is the one with the new keys.
    assert story.ways() == ['opens', 'other-state', 'recovery-key']
    rc, said = story.enroll('finish')
    assert rc == PRECONDITION and 'does not open the next one' in said['error']['text'], said

    machine.reboot()
    assert story.starts_alone()
    rc, said = story.enroll('finish')
    assert rc == 0 and [c['change'] for c in said['changes']] == ['removed'] * 2, said
    assert story.ways(said) == ['opens', 'recovery-key']


def test_other_secure_boot_keys_not_foreseen(story):
    machine = story.machine
    run('hash-to-efi-sig-list', story.workshop.kernel() / 'vmlinuz', machine.dir / 'dbx.esl')
    rc, said = secureboot(story, story.signed_append('dbx', machine.dir / 'dbx.esl'), options=['--no-enroll'])
    assert rc == 0 and said['written'] == ['dbx'] and said['warnings'], said
    assert story.ways() == ['other-state', 'recovery-key']
    machine.run(['tb-agent', 'bootentry', 'once', 'recovery'], check=True)
    machine.power_off()
    story.opens_by_key()
    problems = story.doctor()
    assert 'variable dbx: 1 hash instead of 0' in problems['event-changed', 'PCR 7'], problems
    assert ('no-way-in', 'persistent') in problems and ('tpm-other', None) not in problems, problems
    # Recovery is of the old policy key. Whose the other one is, a person has to say.
    rc, said = story.enroll(*TPM, key=story.key)
    assert rc == POLICY_KEY and '--policy-key' in said['error']['advice'], said
    key = re.search(r'SHA-256 ([0-9a-f]{64})', said['error']['text']).group(1)
    rc, said = story.enroll(*TPM, '--policy-key', key, key=story.key)
    assert rc == 0 and len(said['changes']) == 4, said
    machine.reboot()
    assert story.starts_alone()
    rc, said = story.enroll('finish')
    assert rc == 0 and [c['change'] for c in said['changes']] == ['removed'] * 2, said
    assert story.ways(said) == ['opens', 'opens', 'recovery-key']
    # A key of nobody here, and the last one: the TPM has just shown that it opens the data.
    rc, said = story.enroll('drop', '--recovery-key', key='c' * 64)
    assert rc == PRECONDITION and 'no recovery key of this node' in said['error']['text'], said
    rc, said = story.enroll('drop', '--recovery-key', key=story.key)
    assert rc == 0 and story.ways(said) == ['opens', 'opens'], said
