# SPDX-License-Identifier: Apache-2.0
"""The list of attacks on one installed node, each made from outside: on its raw disk, with its TPM in another system, at its boot
menu. Each has to end closed, and each test says which line of defence held, by the words of the one who refused. What held is
printed, left in attacks.txt of the build directory, and stands in README.md ("What was attacked"), which a test here compares.

The attacker has the machine and its disk, knows all that is public (the image, its signature, the policy key, the TPM's policy),
and can start other systems. He has neither the private keys nor a recovery key.
"""
import hashlib
import json
import re
import struct
import types
from pathlib import Path

import pytest

from rig import INSTALL, OVMF_VARS, Disk, Esp
from rig.esp import run as host_run
from rig.facts import entries, node_facts, role
from rig.firmware import append_to_database
from rig.volumes import MIB, Volume, plain_file_system, volume_with_password

README = Path(__file__).resolve().parent.parent / 'README.md'
# (name, number in the list, the attack, what held)
ATTACKS = (
    ('plain', 1, 'a plain file system in place of `oem` or `persistent`', 'what is no LUKS2 volume is not opened'),
    ('volume', 2, 'a LUKS2 volume with a password of the attacker\'s in their place',
     'the header: every key slot needs a token of ours'),
    ('sealed', 2, 'a volume that the attacker had this very TPM seal, in our form, with commands in its configuration',
     'the other volume: each of the two keeps a tag of both volume keys'),
    ('token', 3, 'a token of another kind, or one that the TPM opens for the attacker\'s own volume',
     'the header: kinds of tokens; the key slot: a foreign secret does not open it'),
    ('null', 4, 'a header that names the null cipher', 'the header: one cipher'),
    ('altered', 5, 'a header that was altered, with good checksums: the volume would end early',
     'the header: one segment, up to the end of the partition'),
    ('rollback', 6, 'an earlier header, that the TPM opens, put back', 'the volume key: it makes no file system of the data'),
    ('node', 7, 'the disk in another machine', 'the TPM: the secret was sealed by another one'),
    ('medium', 8, 'the installer of the same vendor, started on the machine', 'PCR 11: the closing word, before anything runs; the installer makes no `oem` beside data that it keeps'),
    ('replay', 9, 'Secure Boot off, another system, and all measurements replayed', 'PCR 7: cannot be taken back'),
    ('menu', 10, 'kernel parameters added in the menu', 'the image: its own parameters are the ones that count'),
    ('files', 11, 'addon and credential files beside the image, credentials from the firmware',
     'the boot stage: hands over without any; the stub takes no addon that nobody signed'),
    ('revoked', 12, 'an old image, that was revoked, put back', 'the firmware: dbx'),
)
SECRET = b'a secret of the owner of this node\n'
EVIL = b'#cloud-config\nruncmd:\n- cat /usr/local/secret > /dev/console\n- touch /run/evil\n'
BOOT_FAILED = r'boot failed: [^\n]*\n'
LOCKED = 'This is the recovery system of this node. Its data is LOCKED.'
SEALED = {'oem': ('COS_OEM', '7'), 'persistent': ('COS_PERSISTENT', '7'), 'twin': ('twin', '')}   # name: label, PCRs beside 11
SEALED_SIZE = 32 * MIB
# What an attacker can do who starts a system of the vendor's, or any other, on the machine: the TPM seals for everybody.
SEAL = '''
set -e
rm -f /run/systemd/tpm2-pcr-signature.json
printf temporary > /run/temporary
cryptsetup luksFormat -q --type luks2 --label $2 --key-size 512 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 \
    --key-file /run/temporary $1
PASSWORD=temporary systemd-cryptenroll --tpm2-device=auto --tpm2-public-key=/.extra/tpm2-pcr-public-key.pem \
    --tpm2-public-key-pcrs=11 --tpm2-pcrs=$3 $1
cryptsetup open --key-file /run/temporary $1 sealing
mke2fs -q -t ext4 -O ^has_journal -L $2 -d /run/evil /dev/mapper/sealing
cryptsetup close sealing
systemd-cryptenroll --wipe-slot=password $1
'''


def events(log):
    """[(PCR, SHA-256 digest)] of a crypto-agile event log (TCG PC Client Platform Firmware Profile, section 10)."""
    first, = struct.unpack_from('<I', log, 28)
    at, found = 32 + first, []
    while at < len(log):
        pcr, _, count = struct.unpack_from('<III', log, at)
        at += 12
        for _ in range(count):
            algorithm, = struct.unpack_from('<H', log, at)
            size = {4: 20, 0xb: 32, 0xc: 48, 0xd: 64, 0x12: 32}[algorithm]
            if algorithm == 0xb:
                found.append((pcr, log[at + 2:at + 2 + size].hex()))
            at += 2 + size
        at += 4 + struct.unpack_from('<I', log, at)[0]
    return found


def pcr(machine, index):
    return machine.read(f'/sys/class/tpm/tpm0/pcr-sha256/{index}').decode().strip().lower()


@pytest.fixture(scope='module')
def results(workshop):
    """What held, for who wants to read it: in the order of the list."""
    found = {}
    yield found
    with open(workshop.build / 'attacks.txt', 'w', encoding='utf-8') as f:
        for name, number, attack, by in ATTACKS:
            f.write(f'attack {number}, {attack}: ' + (f'held by {by}\n    {found[name]}\n' if name in found else 'not tried\n'))


@pytest.fixture
def held(results, record_property):
    """held(name, evidence): the attack ended closed, by the words of the one who refused."""
    def note(name, *evidence):
        number, by = next((number, by) for n, number, _, by in ATTACKS if n == name)
        results[name] = ' / '.join(' '.join(text.split()) for text in evidence)
        record_property(f'attack {number}', by)
        print(f'attack {number}: held by {by} ({results[name]})')
    return note


@pytest.fixture(scope='module')
def node(workshop, booted):
    """The node, off, with secrets on it; and what an attacker prepared before, with its TPM."""
    place = workshop.work / 'attacked'
    revoked = workshop.usi('revoked', version=3)
    with booted.clone(place) as machine:
        disks = {name: place / f'sealed-{name}.img' for name in SEALED}
        for name, path in disks.items():
            with open(path, 'wb') as f:
                f.truncate(SEALED_SIZE)
            machine.disks.append(Disk(path, serial=name))
        machine.boot()
        for folder in ('/oem', '/usr/local'):
            machine.write(f'{folder}/secret', SECRET)
        machine.run(['mkdir', '/run/evil'], check=True)
        machine.write('/run/evil/90_custom.yaml', EVIL)
        for name, (label, pcrs) in SEALED.items():
            machine.run(['sh', '-c', SEAL, 'sh', machine.disk_node(name), label, pcrs], check=True)
        log = machine.read('/sys/kernel/security/tpm0/binary_bios_measurements')
        made = types.SimpleNamespace(
            machine=machine, vars=booted.vars, revoked=revoked, pcr7=pcr(machine, 7), events=events(log),
            signature=machine.read('/.extra/tpm2-pcr-signature.json'))
        host_run('hash-to-efi-sig-list', revoked, place / 'dbx.esl')
        append_to_database(machine, workshop.keys(), 'dbx', place / 'dbx.esl')
        machine.power_off()
        machine.disks = [machine.disk('target')]
        made.sealed = {name: path.read_bytes() for name, path in disks.items()}
        yield made


@pytest.fixture
def attacked(machines, node):
    """attacked(change): a copy of the node, off, after change(disk)."""
    def make(change=lambda disk: None, **settings):
        machine = machines(node.machine, **{'vars': node.vars, **settings})
        change(machine.raw_disk('target'))
        return machine
    return make


def only_recovery(disk):
    """What starts is the recovery entry: it is the one that goes on, and tells about every volume."""
    esp = Esp(disk)
    for name in esp.files():
        if re.match(r'/loader/entries/(active|passive)', name):
            esp.remove(name.lstrip('/'))


def stays_closed(machine, **reasons):
    """The recovery entry starts and opens nothing, for these reasons. Returns them."""
    machine.boot()
    assert role(machine) == 'recovery' and LOCKED in machine.console
    said = {p['name']: p for p in machine.run(['tb-agent', 'status', '--json'], check=True).json()['partitions']}
    for name, reason in reasons.items():
        assert re.search(reason, said[name]['error']) and said[name]['unlocked_by'] is None, said
    assert any(said[name]['error'] in machine.console for name in reasons)      # the first one that failed
    assert machine.run(['ls', '/dev/mapper'], check=True).text.split() == ['control']
    for folder in ('/oem', '/usr/local'):
        assert machine.run(['test', '-e', f'{folder}/secret']).rc != 0
    assert machine.run(['test', '-e', '/run/evil']).rc != 0
    # Nothing that runs here could open more.
    assert machine.run(['tb-agent', 'status', '--boot', '--json'], check=True).json()['boot']['closed'] is True
    assert SECRET.decode() not in machine.console
    return [said[name]['error'] for name in reasons]


def does_not_start(machine, reason):
    """The boot stage gives up, and the entry that was confirmed is on trial again. Returns its words."""
    said = machine.boot(expect=BOOT_FAILED).group(0)
    machine.wait_exit()
    assert re.search(reason, said), said
    assert machine.ready is None
    assert entries(machine) == ['active+1-0.conf', 'passive.conf', 'recovery.conf']
    assert SECRET.decode() not in machine.console
    return said


# --- the disk ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('plain, foreign', [('oem', 'persistent'), ('persistent', 'oem')])
def test_plain_partition_and_foreign_volume(attacked, tmp_path, held, plain, foreign):
    labels = {'oem': 'COS_OEM', 'persistent': 'COS_PERSISTENT'}

    def change(disk):
        only_recovery(disk)
        volume = Volume(disk, plain)
        volume.wipe()
        volume.write(plain_file_system(tmp_path / 'plain', labels[plain], {'90_custom.yaml': EVIL}))
        volume = Volume(disk, foreign)
        volume.write(volume_with_password(tmp_path / 'foreign', labels[foreign], volume.size))
    said = stays_closed(attacked(change), **{plain: 'is not a LUKS2 volume', foreign: 'a key slot that no token names'})
    held('plain', said[0])
    held('volume', said[1])


@pytest.mark.parametrize('name', ['oem', 'persistent'])
def test_volume_that_this_tpm_sealed(attacked, node, held, name):
    """The TPM opens it, and its header is in our form: an attacker's oem would run his commands beside the owner's data."""
    machine = attacked(lambda disk: Volume(disk, name).write(node.sealed[name]))
    held('sealed', does_not_start(machine, 'oem and persistent do not belong together'))


def test_foreign_tokens(attacked, node, held):
    def change(disk):
        only_recovery(disk)
        oem, persistent = Volume(disk, 'oem'), Volume(disk, 'persistent')
        oem.alter(lambda m: m['tokens'].update({'1': {'type': 'luks2-keyring', 'keyslots': ['0'],
                                                      'key_description': 'attacker'}}))
        size, = struct.unpack_from('>Q', node.sealed['persistent'], 8)
        sealed = json.loads(node.sealed['persistent'][4096:size].rstrip(b'\0'))
        token, = sealed['tokens'].values()
        slot = next(iter(persistent.metadata()['keyslots']))
        persistent.alter(lambda m: m.update(tokens={'0': {**token, 'keyslots': [slot]}}))
    held('token', *stays_closed(attacked(change), oem='a token of unknown type', persistent='does not open key slot'))


def test_null_cipher_and_altered_header(attacked, held):
    def change(disk):
        only_recovery(disk)
        Volume(disk, 'oem').alter(lambda m: m['segments']['0'].update(encryption='cipher_null-ecb'))
        Volume(disk, 'persistent').alter(lambda m: m['segments']['0'].update(size=str(64 * MIB)))
    said = stays_closed(attacked(change), oem='the cipher is not aes-xts-plain64', persistent='the segment does not span the device')
    held('null', said[0])
    held('altered', said[1])


def test_earlier_header(attacked, node, held):
    """As it would come from a backup of before a reset: sealed by this TPM, with another volume key than the data of today."""
    before = []

    def change(disk):
        volume = Volume(disk, 'persistent')
        volume.write(node.sealed['persistent'][:16 * MIB])
        before.append(hashlib.sha256(volume.read(64 * MIB, 16 * MIB)).digest())
    machine = attacked(change)
    held('rollback', does_not_start(machine, 'persistent: no ext4 file system'))
    # Nobody made one over the data either: with its own header it is all there.
    assert hashlib.sha256(Volume(machine.raw_disk('target'), 'persistent').read(64 * MIB, 16 * MIB)).digest() == before[0]


# --- the machine ---------------------------------------------------------------------------------------------------

def test_disk_of_another_node(attacked, held):
    machine = attacked()
    machine.reset_tpm()
    held('node', does_not_start(machine, 'another TPM'))


def test_medium_of_the_same_vendor(attacked, workshop, node, held):
    """Signed by the same keys: PCR 7 is right, and PCR 11 was, as long as the boot stage of the image was alone."""
    machine = attacked()
    machine.disks.insert(0, Disk(workshop.live_medium(), serial='live', readonly=True))
    machine.boot()
    assert role(machine) == 'live' and pcr(machine, 7) == node.pcr7
    disk = machine.disk_node('target')
    assert machine.run(['tb-agent', 'unlock']).rc == 10
    done = attach(machine, disk + '2', '/.extra/tpm2-pcr-signature.json')
    assert done.rc != 0 and b"Couldn't find signature for this PCR" in done.err, done
    assert machine.run(['ls', '/dev/mapper'], check=True).text.split() == ['control']
    # The installer is a program of the vendor's, too: it would have this TPM open a new oem, with a configuration of his.
    machine.run(['wipefs', '--all', disk + '2'], check=True)
    plan = machine.run([*INSTALL, '--target', disk, '--no-format', '--dry-run'])
    assert plan.rc == 10 and b'beside a new "oem"' in plan.err, plan
    held('medium', done.err.decode().splitlines()[-1], plan.err.decode().splitlines()[0])


def attach(machine, device, signature):
    """systemd's own program."""
    return machine.run(['/lib/systemd/systemd-cryptsetup', 'attach', 'stolen', device, '-',
                        f'tpm2-device=auto,tpm2-signature={signature},headless=1'])


def test_secure_boot_off_and_measurements_replayed(attacked, workshop, node, held):
    """A system of the attacker's, here the user space of the demo OS without the boot stage: nothing measured it into PCR 11,
    so he can say all that the node's loader and stub said, and the word of its boot stage. The twin is a volume that the same
    TPM sealed to the signed PCR 11 alone: that one opens."""
    place = node.machine.dir
    host_run('objcopy', '-O', 'binary', '--only-section=.initrd', workshop.usi(), place / 'initrd')
    machine = attacked(vars=OVMF_VARS, memory=768, extra=[
        '-kernel', str(workshop.kernel() / 'vmlinuz'), '-initrd', str(place / 'initrd'), '-append',
        'console=ttyS0 rdinit=/usr/lib/systemd/systemd systemd.gpt_auto=no systemd.show_status=0 quiet'])
    twin = machine.dir / 'twin.img'
    twin.write_bytes(node.sealed['twin'])
    machine.disks.append(Disk(twin, serial='twin'))
    machine.boot()
    assert int(pcr(machine, 11), 16) == 0 and pcr(machine, 7) != node.pcr7
    said = [digest for index, digest in node.events if index == 11] + [hashlib.sha256(b'enter-initrd').hexdigest()]
    machine.run(['tpm2_pcrextend', *[f'11:sha256={digest}' for digest in said]], check=True)
    machine.write('/run/signature.json', node.signature)
    disk = machine.disk_node('target')
    opened = attach(machine, machine.disk_node('twin'), '/run/signature.json')
    assert opened.rc == 0 and machine.run(['cryptsetup', 'close', 'stolen']).rc == 0, opened

    machine.run(['tpm2_pcrextend', *[f'7:sha256={digest}' for index, digest in node.events if index == 7]], check=True)
    assert pcr(machine, 7) != node.pcr7
    refused = []
    for number in (2, 3):
        done = attach(machine, f'{disk}{number}', '/run/signature.json')
        assert done.rc != 0 and b"Couldn't find signature" not in done.err, done
        refused.append(done.err.decode().splitlines()[-1])
    assert machine.run(['ls', '/dev/mapper'], check=True).text.split() == ['control']
    held('replay', *refused)


# --- the boot ------------------------------------------------------------------------------------------------------

def test_menu_and_files_beside_the_image(attacked, workshop, tmp_path, held):
    """The node starts as ever, and none of it had any effect: a good end, and a closed one."""
    (tmp_path / 'cmdline').write_bytes(b'tb.evil=addon\0')
    host_run('objcopy', '--add-section', f'.cmdline={tmp_path}/cmdline', '--change-section-vma', '.cmdline=0x30000',
             '/usr/lib/systemd/boot/efi/linuxx64.efi.stub', tmp_path / 'addon')
    addon = (tmp_path / 'addon').read_bytes()

    def change(disk):
        esp = Esp(disk)
        esp.write('loader/loader.conf', b'timeout 60\neditor yes\n')
        for name in esp.files():
            if re.match(r'/EFI/kairos/usi-.*\.efi$', name):
                esp.write(f'{name[1:]}.extra.d/evil.addon.efi', addon)
                esp.write(f'{name[1:]}.extra.d/passwd.plaintext-password.root.cred', b'evil')
        esp.write('loader/addons/evil.addon.efi', addon)
        esp.write('loader/credentials/tmpfiles.extra.cred', b'f /run/evil\n')
    machine = attacked(change, extra=['-smbios', 'type=11,value=io.systemd.credential:tmpfiles.extra=f /run/evil',
                                      '-smbios', 'type=11,value=io.systemd.stub.kernel-cmdline-extra=tb.evil=smbios'])
    machine.boot(expect=r'Boot in \d+ s')
    machine.type('e')
    machine.type(' tb.evil=editor init=/bin/sh\r')
    machine.wait_ready()
    assert node_facts(machine) == {'role': 'active', 'secure_boot': True, 'blessed': True,
                                   'encrypted': {'/oem': True, '/usr/local': True}}
    cmdline = machine.read('/proc/cmdline').decode()
    assert 'evil' not in cmdline and 'init=' not in cmdline
    held('menu', f'the node runs with {cmdline}')
    assert machine.run(['ls', '/.extra/credentials', '/.extra/global_credentials']).text.count('.cred') == 2
    assert machine.run(['test', '-e', '/run/evil']).rc != 0
    assert machine.shell('ls -A /run/credentials/@system /run/credentials/@encrypted').text.split() == ['/run/credentials/@system:']
    assert b'\nroot:!*:' in b'\n' + machine.read('/etc/shadow')
    held('files', 'the stub of the image unpacked two credential files, and the system has none')


def test_revoked_image_put_back(attacked, node, held):
    """Signed by the right key, with a good signature for PCR 11; revoked by its digest."""
    def change(disk):
        esp = Esp(disk)
        esp.write('EFI/kairos/usi-00000009.efi', node.revoked)
        for name in esp.files():
            if name.startswith('/loader/entries/'):
                text = esp.read(name[1:])
                esp.write(name[1:], re.sub(rb'(?m)^efi .*$', b'efi /EFI/kairos/usi-00000009.efi', text))
    machine = attacked(change, vars=node.machine.vars)
    said = machine.boot(expect='[^\n]*Access Denied').group(0)
    machine.expect('No bootable option or device was found', timeout=60)
    assert machine.ready is None
    held('revoked', said)


def test_readme_tells_what_was_attacked():
    table = ''.join(f'| {number} | {attack} | {by} |\n' for _, number, attack, by in ATTACKS)
    assert sorted({number for _, number, _, _ in ATTACKS}) == list(range(1, 13))
    assert table in README.read_text(encoding='utf-8'), table
