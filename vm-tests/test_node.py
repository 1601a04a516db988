# SPDX-License-Identifier: Apache-2.0
"""An installed node: what it is, what it keeps, and what it refuses. Every proof has a negative twin."""
import hashlib
import json
import re

import pytest

from rig import INSTALL, Esp
from rig.esp import run as host_run
from rig.facts import entries, node_facts, role
from rig.firmware import OVMF_VARS

CLOSING_WORD = b'tb-agent-handover'
DATA = {'oem': '/dev/vda2', 'persistent': '/dev/vda3'}
MOUNT = {'oem': '/oem', 'persistent': '/usr/local'}
# "boot failed" is what tb-agent boot says before it restarts the machine.
BOOT_FAILED = r'boot failed: [^\n]*\n'     # the whole line: the console arrives in pieces


@pytest.fixture(scope='module')
def node(workshop, booted):
    """One installed machine that has been confirmed, in its second boot. Tests here only look, or clean up."""
    with booted.clone(workshop.work / 'tests/node') as machine:
        machine.boot()
        yield machine


def extended(pcr, word):
    return hashlib.sha256(pcr + hashlib.sha256(word).digest()).digest()


def header(machine, device):
    return machine.run(['cryptsetup', 'luksDump', '--dump-json-metadata', device], check=True).json()


# --- what it is ----------------------------------------------------------------------------------------------------

def test_esp_of_a_fresh_node(workshop, installed):
    esp = Esp(installed.raw_disk('target'))
    entries = {name: esp.read(f'loader/entries/{name}.conf') for name in ('active+3-0', 'passive', 'recovery')}
    assert esp.files() == sorted([
        '/EFI/BOOT/BOOTX64.EFI', '/EFI/systemd/systemd-bootx64.efi', '/EFI/kairos/usi-00000001.efi',
        '/EFI/kairos/usi-00000002.efi', '/EFI/kairos/measured.json', '/loader/entries.srel', '/loader/loader.conf',
        *(f'/loader/entries/{name}.conf' for name in entries)])
    assert all(len(text) == 512 and text.endswith(b'\n') for text in entries.values())
    named = {name: re.search(rb'^efi +/(\S+)$', text, re.M).group(1).decode() for name, text in entries.items()}
    assert named['active+3-0'] == named['passive'] != named['recovery']
    image = workshop.usi().read_bytes()
    assert len(image) < 64 << 20
    for name, text in entries.items():
        assert esp.read(named[name]) == image
        assert hashlib.sha256(image).hexdigest().encode() in text
    assert b'default' not in esp.read('loader/loader.conf')


def test_status_tells_the_truth(node):
    status = node.run(['tb-agent', 'status', '--json'], check=True).json()
    facts = node_facts(node)
    assert facts == {'role': 'active', 'secure_boot': True, 'blessed': True,
                     'encrypted': {'/oem': True, '/usr/local': True}}
    assert status['schema'] == 1
    assert status['role'] == facts['role']
    assert status['secure_boot'] is True and status['setup_mode'] is False
    assert status['measured'] is True and status['closed'] is True and status['blessed'] is True
    assert status['disk'] == '/dev/vda'
    assert status['problems'] == []
    assert {p['name']: (p['device'], p['encrypted'], p['unlocked_by']) for p in status['partitions']} == {
        name: (device, True, 'tpm2') for name, device in DATA.items()}
    entries = {e['role']: e for e in status['entries']}
    assert sorted(entries) == ['active', 'passive', 'recovery']
    assert entries['active']['booted'] and not entries['passive']['booted']
    assert entries['active']['tries_left'] is None
    assert entries['active']['image'] == entries['passive']['image'] != entries['recovery']['image']


def test_doctor_finds_no_problem(node):
    done = node.run(['tb-agent', 'doctor', '--json'], timeout=120)
    said = done.json()
    wrong = [f for f in said['findings'] if f['severity'] in ('problem', 'warning')]
    # Nobody asked for a recovery key when this node was installed.
    assert done.rc == 0 and said['problems'] == 0, wrong
    assert {f['id'] for f in wrong} <= {'no-recovery-key'}, wrong
    fine = {(f['id'], f['subject']) for f in said['findings'] if f['severity'] == 'ok'}
    assert fine >= {('tpm', None), ('tpm-memory', None), ('secure-boot', None), ('log', None), ('events', None),
                    ('token-opens', 'oem'), ('token-opens', 'persistent'), ('boot-loader', None), ('next', 'active.conf'),
                    ('entry', 'active.conf'), ('entry', 'passive.conf'), ('entry', 'recovery.conf')}, said['findings']
    assert all(f['text'] and f['area'] for f in said['findings'])
    text = node.run(['tb-agent', 'doctor'], check=True, timeout=120).text
    assert '0 problems' in text and 'PCR 7 by value' in text


def test_blessing_again_changes_nothing(node):
    before = node.run(['tb-agent', 'status', '--json'], check=True).json()['entries']
    node.run(['tb-agent', 'bless'], check=True)
    assert node.run(['tb-agent', 'status', '--json'], check=True).json()['entries'] == before


def test_pcr11_is_what_was_predicted(workshop, node):
    seen = bytes.fromhex(node.read('/sys/class/tpm/tpm0/pcr-sha256/11').decode().strip())
    predicted = bytes.fromhex(workshop.usi_facts()['pcr11']['enter-initrd'])
    assert seen == extended(predicted, CLOSING_WORD)
    assert seen != predicted            # the twin: without the closing word it would be open still


def test_all_pcrs_are_what_was_predicted(workshop, node):
    """From files alone: boot loader, image and keys."""
    said = json.loads(host_run(workshop.tb_image, 'measure', '--json', '--loader', workshop.loader(), '--keys', workshop.keys(),
                               workshop.usi()))['pcrs']
    said['11'] = said['11'][f'enter-initrd:{CLOSING_WORD.decode()}']
    seen = {pcr: node.read(f'/sys/class/tpm/tpm0/pcr-sha256/{pcr}').decode().strip().lower() for pcr in said}
    assert seen == said


@pytest.mark.parametrize('name', DATA)
def test_partition_has_our_token_and_no_password(node, name):
    metadata = header(node, DATA[name])
    assert [t['type'] for t in metadata['tokens'].values()] == ['systemd-tpm2']
    token = next(iter(metadata['tokens'].values()))
    assert token['tpm2-pcrs'] == [7] and token['tpm2_pubkey_pcrs'] == [11]
    assert token['keyslots'] == list(metadata['keyslots']) and len(metadata['keyslots']) == 1
    assert [s['encryption'] for s in metadata['segments'].values()] == ['aes-xts-plain64']
    assert 'flags' not in metadata['config']        # no discards unless asked for
    # Nobody's password opens it; the twin is that the boot opened it by the TPM.
    guess = node.run(['cryptsetup', 'open', '--test-passphrase', DATA[name]], stdin=b'password\n')
    assert guess.rc != 0


def test_keys_differ_between_partitions(node):
    digests = [next(iter(header(node, d)['digests'].values()))['digest'] for d in DATA.values()]
    assert len(set(digests)) == len(digests)


# --- what it refuses -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize('path', ['/probe', '/usr/probe', '/usr/bin/probe', '/usr/lib/probe'])
def test_root_refuses_writes(node, path):
    refused = node.run(['touch', path])
    assert refused.rc != 0 and b'Read-only file system' in refused.err


@pytest.mark.parametrize('path', ['/etc/probe', '/var/probe', '/srv/probe', '/oem/probe', '/usr/local/probe'])
def test_other_places_take_writes(node, path):
    node.run(['touch', path], check=True)
    node.run(['rm', path], check=True)


def test_root_cannot_be_made_writable_by_a_remount_of_its_mount(node):
    node.run(['mount', '-o', 'remount,bind,rw', '/'])
    try:
        assert node.run(['touch', '/probe']).rc != 0     # the file system itself is read-only
    finally:
        node.run(['mount', '-o', 'remount,bind,ro', '/'], check=True)


def test_nothing_can_be_unsealed_after_the_hand_over(node):
    """The boot stage unsealed with the same TPM, token and signature a moment ago: that is the twin. What is missing now is
    a signature for the value that PCR 11 has since the closing word."""
    no_signature = b"Couldn't find signature for this PCR"
    signature = '/run/systemd/tpm2-pcr-signature.json'        # where the plugin looks
    assert node.read(signature) == node.read('/.extra/tpm2-pcr-signature.json')
    plugin = node.run(['cryptsetup', 'open', '--token-only', '--test-passphrase', DATA['oem']])
    assert plugin.rc != 0 and no_signature in plugin.err
    # A copy of the header, as the partition itself is in use.
    node.run(['dd', f'if={DATA["oem"]}', 'of=/run/copy', 'bs=1M', 'count=20', 'status=none'], check=True)
    attach = node.run(['/lib/systemd/systemd-cryptsetup', 'attach', 'probe', '/run/copy', '-',
                          f'tpm2-device=auto,tpm2-signature={signature},headless=1'])
    node.run(['rm', '/run/copy'], check=True)
    assert attach.rc != 0 and no_signature in attach.err, attach
    assert node.run(['test', '-e', '/dev/mapper/probe']).rc != 0


# --- what it keeps -------------------------------------------------------------------------------------------------

def test_data_survives_a_reboot_and_etc_does_not(machines, running):
    machine = machines(running).boot()
    for directory in ('/oem', '/usr/local', '/etc', '/var'):
        machine.write(f'{directory}/kept', b'a line of data\n')
    machine.reboot()
    for directory in ('/oem', '/usr/local'):
        assert machine.read(f'{directory}/kept') == b'a line of data\n'
    for directory in ('/etc', '/var'):
        assert machine.run(['test', '-e', f'{directory}/kept']).rc != 0
    assert role(machine) == 'active'


def test_data_survives_a_power_cut(machines, running):
    machine = machines(running).boot()
    machine.write('/oem/kept', b'synced\n')
    machine.power_cut()
    machine.boot()
    assert machine.read('/oem/kept') == b'synced\n'


# --- falling back --------------------------------------------------------------------------------------------------

def fails_to_boot(machine):
    """Boots, expects the boot stage to give up and to restart; returns what it said."""
    said = machine.boot(expect=BOOT_FAILED).group(0)
    machine.wait_exit()
    return said


def test_image_of_another_policy_key_cannot_unlock_and_passive_takes_over(workshop, machines, installed):
    """The image is signed for Secure Boot like the good one; only the key of its PCR policy is a stranger's."""
    machine = machines(installed)
    foreign = workshop.usi('foreign-policy', policy_keys='foreign-keys')
    esp = Esp(machine.raw_disk('target'))
    assert esp.exists('loader/entries/active+3-0.conf')
    text = esp.read('loader/entries/active+3-0.conf')
    esp.write('EFI/kairos/usi-00000003.efi', foreign)
    esp.write('loader/entries/active+3-0.conf', text.replace(b'usi-00000001.efi', b'usi-00000003.efi'))

    for counter in ('active+2-1.conf', 'active+1-2.conf', 'active+0-3.conf'):
        said = fails_to_boot(machine)
        assert 'signature' in said or 'policy key' in said
        assert esp.exists(f'loader/entries/{counter}')
    # The twin: the same disk, TPM and firmware with the image that was installed.
    machine.boot()
    facts = node_facts(machine)
    assert facts['role'] == 'passive' and all(facts['encrypted'].values())
    status = machine.run(['tb-agent', 'status', '--json'], check=True).json()
    assert [e['tries_left'] for e in status['entries'] if e['role'] == 'active'] == [0]


def test_without_secure_boot_the_same_disk_stays_locked(machines, booted):
    machine = machines(booted, vars=OVMF_VARS)
    said = fails_to_boot(machine)
    assert 'PCR' in said or 'Secure Boot' in said
    # Confirmed entries go on trial when they fail, so that falling back needs no EFI variable: active and passive get one
    # more try each, then recovery starts, which goes on without the data.
    for counters in (['active+0-1.conf', 'passive.conf'], ['active+0-1.conf', 'passive+1-0.conf'],
                     ['active+0-1.conf', 'passive+0-1.conf']):
        fails_to_boot(machine)
        assert entries(machine)[:2] == counters
    machine.boot()
    facts = node_facts(machine)
    assert facts == {'role': 'recovery', 'secure_boot': False, 'blessed': True,
                     'encrypted': {'/oem': False, '/usr/local': False}}
    status = machine.run(['tb-agent', 'status', '--json'], check=True).json()
    assert status['problems'] and all(p['unlocked_by'] is None for p in status['partitions'])
    # What was measured before is known from the ESP, and that a token is sealed to it proves it.
    done = machine.run(['tb-agent', 'doctor', '--json'], timeout=120)
    problems = [f for f in done.json()['findings'] if f['severity'] == 'problem']
    assert done.rc == 10 and {'secure-boot', 'not-opened', 'no-way-in'} <= {f['id'] for f in problems}, problems
    changed = [f['text'] for f in problems if (f['id'], f['subject']) == ('event-changed', 'PCR 7')]
    assert any('variable SecureBoot: changed; new: off; gone: on' in t and 'not protected, and a token is sealed' in t
               for t in changed), changed
    assert any('variable db: 0 certificates instead of' in t for t in changed), changed


# --- installing ----------------------------------------------------------------------------------------------------

def test_live_session_is_closed_and_installs_nothing_by_accident(machines, workshop, live_session):
    machine = machines(live_session).boot()
    assert role(machine) == 'live'
    seen = bytes.fromhex(machine.read('/sys/class/tpm/tpm0/pcr-sha256/11').decode().strip())
    assert seen == extended(bytes.fromhex(workshop.usi_facts()['pcr11']['enter-initrd']), CLOSING_WORD)
    target, live = machine.disk_node('target'), machine.disk_node('live')

    def install(*options):
        done = machine.run([*INSTALL, '--json', *options])
        return done.rc, json.loads(done.out) if done.out else None

    rc, said = install('--target', target)
    assert rc == 2 and said['error']['class'] == 'usage' and '--yes' in said['error']['advice']
    rc, said = install('--target', '/dev/nothing', '--yes')
    assert rc == 2
    rc, said = install('--target', live + '1', '--yes')
    assert rc == 2 and 'partition' in said['error']['text']
    rc, said = install('--target', live, '--yes')
    assert rc in (8, 10)                # mounted, and read-only
    rc, said = install('--target', target, '--yes', '--source', 'file:/usr/lib/os-release')
    assert rc == 6 and said['error']['class'] == 'refused'
    rc, said = install('--target', target, '--yes', '--source', 'file:/nowhere')
    assert rc == 2 and '/nowhere' in said['error']['text']
    rc, said = install('--target', target, '--dry-run')
    assert rc == 0 and said['dry_run'] is True and said['installed'] is False
    assert [p['name'] for p in said['plan']['partitions']] == ['efi', 'oem', 'persistent']
    # After all of that the target is as empty as it came.
    assert machine.run(['cmp', '-n', str(64 << 20), target, '/dev/zero']).rc == 0


def test_install_again_over_an_old_node(machines, workshop, booted):
    """A used disk becomes a new node: other UUIDs, other keys, and nothing of the old data."""
    old = machines(booted, name='old')
    machine = machines(name='again')
    machine.disks[1] = old.disks[0]
    machine.boot()
    workshop.install(machine)
    machine.boot()
    assert node_facts(machine)['encrypted'] == {'/oem': True, '/usr/local': True}
