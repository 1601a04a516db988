# SPDX-License-Identifier: Apache-2.0
"""On a node: an image is accepted or refused for the right reason, and nothing changes either way."""
import hashlib

import pytest

from rig import INSTALL, Esp
from rig.esp import make_data_disk, run
from rig.facts import esp_files
from rig.firmware import append_to_database
from rig.forge import alter_signature, patched, strip_signature

EXIT = {'accepted': 0, 'wrong-db': 12, 'revoked': 13, 'foreign-policy': 14, 'stripped': 15, 'altered': 15, 'old': 16,
        'truncated': 6}
CLASS = {0: None, 6: 'refused', 12: 'refused-signature', 13: 'refused-revoked', 14: 'refused-policy-key',
         15: 'refused-pcr-signature', 16: 'refused-version'}
FAILED = {12: 'secure-boot', 13: 'secure-boot', 14: 'policy-key', 15: 'pcr-signature', 16: 'version', 6: 'format'}
IMAGES = '/run/images'


@pytest.fixture(scope='module')
def images(workshop):
    """Every kind of image, by name. All but "wrong-db" are signed for this machine's firmware."""
    work = workshop.work
    unsigned = workshop.usi('unsigned-v2', version=2, unsigned=True)

    def signed(name, source, keys='keys'):
        return workshop.sign(f'usi-{name}.efi', source, keys)
    return {
        'accepted': signed('accepted', unsigned),
        'wrong-db': signed('wrong-db', unsigned, 'foreign-keys'),
        'revoked': workshop.usi('revoked', version=3),
        'foreign-policy': workshop.usi('foreign-policy-v2', version=2, policy_keys='foreign-keys'),
        'stripped': signed('stripped', patched(work / 'stripped.unsigned', unsigned, strip_signature)),
        'altered': signed('altered', patched(work / 'altered.unsigned', unsigned, alter_signature)),
        'old': workshop.usi('old', version='0.9'),
        'truncated': patched(work / 'truncated.efi', unsigned, lambda image: image[:len(image) // 2]),
    }


@pytest.fixture(scope='module')
def node(workshop, booted, images):
    """The installed, confirmed node (so its floor is version 1) with all images on a second disk. Not for changing: no image of a
    new kind is written to it."""
    disk = make_data_disk(workshop.work / 'images.img', {f'{name}.efi': path for name, path in images.items()})
    from rig import Disk
    with booted.clone(workshop.work / 'verifying') as machine:
        machine.disks.append(Disk(disk, serial='images', readonly=True))
        machine.boot()
        mount_images(machine)
        yield machine


def mount_images(machine):
    machine.run(['mkdir', '-p', IMAGES], check=True)
    machine.run(['mount', '-o', 'ro', machine.disk_node('images'), IMAGES], check=True)


def verify(machine, name, *options):
    done = machine.run(['tb-agent', 'verify', f'file:{IMAGES}/{name}.efi', '--json', *options])
    return done.rc, done.json()


def upgrade(machine, name, *options, within=()):
    done = machine.run([*within, 'tb-agent', 'upgrade', '--source', f'file:{IMAGES}/{name}.efi', '--json', *options], timeout=300)
    return done.rc, done.json()


def is_refused_by_upgrade(machine, name):
    """With the same class and proof as by verify, and nothing of it stays."""
    rc, said = upgrade(machine, name)
    assert rc == EXIT[name] and said['result'] == 'failed', said
    assert said['error']['class'] == CLASS[rc] and said['error']['exit_code'] == rc
    assert states(said)[FAILED[rc]] == 'failed'
    return True


def states(said):
    return {p['proof']: p['state'] for p in said['proofs']}


def append_dbx(workshop, machine, image):
    run('hash-to-efi-sig-list', image, workshop.work / 'dbx.esl')
    append_to_database(machine, workshop.keys(), 'dbx', workshop.work / 'dbx.esl')


def test_good_image_gives_every_proof(node, images):
    rc, said = verify(node, 'accepted')
    assert (rc, said['accepted']) == (0, True), said
    assert states(said) == {
        'format': 'passed', 'architecture': 'passed', 'secure-boot': 'passed', 'sbat': 'not-applicable',
        'policy-key': 'passed', 'pcr-signature': 'passed', 'phases': 'passed', 'pcr7': 'passed', 'version': 'passed',
        'boot-loader': 'not-applicable'}
    assert said['sha256'] == hashlib.sha256(images['accepted'].read_bytes()).hexdigest()


@pytest.mark.parametrize('name', ['wrong-db', 'foreign-policy', 'stripped', 'altered', 'old', 'truncated'])
def test_bad_image_is_refused_for_its_reason(node, name):
    rc, said = verify(node, name)
    assert rc == EXIT[name], said
    assert said['accepted'] is False and said['error']['class'] == CLASS[rc] and said['error']['exit_code'] == rc
    failed = [proof for proof, state in states(said).items() if state == 'failed']
    assert FAILED[rc] in failed
    if name != 'truncated':             # a good image but for one thing
        assert failed == [FAILED[rc]]
    assert said['error']['text'] and said['error']['advice']


def test_upgrade_to_a_bad_image_leaves_the_esp_as_it_is(node):
    before = esp_files(node)
    for name in ('wrong-db', 'foreign-policy', 'stripped', 'altered', 'old', 'truncated'):
        assert is_refused_by_upgrade(node, name)
    assert esp_files(node) == before


# A variable that says that Secure Boot is off, seen by one program.
INSECURE = '''
set -e
mount --make-rprivate /
printf '\\006\\000\\000\\000\\000' > /run/insecure
mount --bind /run/insecure /sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c
"$@"
'''


def test_nothing_is_upgraded_while_secure_boot_is_off(node):
    """Whatever an image proves: this machine would start anything."""
    before = esp_files(node)
    rc, said = upgrade(node, 'accepted', within=('unshare', '--mount', 'sh', '-c', INSECURE, 'sh'))
    assert rc == 10 and 'Secure Boot is off' in said['error']['text'] and said['error']['advice'], said
    assert esp_files(node) == before


def test_floor_says_both_versions_and_can_be_overridden(node):
    rc, said = verify(node, 'old')
    assert rc == 16 and '0.9' in said['error']['text'] and '"1"' in said['error']['text'].replace(' 1', ' "1"')
    rc, said = verify(node, 'old', '--allow-downgrade')
    assert rc == 0 and states(said)['version'] == 'overridden'


def test_status_shows_the_floor(node):
    floor = node.run(['tb-agent', 'status', '--json'], check=True).json()['floor']
    assert floor == {'finding': 'agree', 'alarming': False, 'version': '1', 'running_below': False}


def test_text_has_a_line_for_each_proof(node):
    done = node.run(['tb-agent', 'verify', f'file:{IMAGES}/wrong-db.efi'])
    assert done.rc == 12
    assert 'secure-boot' in done.text and 'failed' in done.text and 'passed' in done.text


def test_revoked_image_and_what_a_dbx_update_means(workshop, machines, booted, images, node):
    """In a machine of its own: the update stays in its firmware."""
    machine = machines(booted)
    machine.disks.append(node.disk('images'))
    machine.boot()
    mount_images(machine)
    assert verify(machine, 'revoked')[0] == 0           # the twin
    append_dbx(workshop, machine, images['revoked'])
    rc, said = verify(machine, 'revoked')
    assert rc == 13 and said['error']['class'] == 'refused-revoked', said
    before = esp_files(machine)
    assert is_refused_by_upgrade(machine, 'revoked') and esp_files(machine) == before
    rc, said = verify(machine, 'accepted')
    assert rc == 0 and states(said)['pcr7'] == 'warning'
    text = next(p['text'] for p in said['proofs'] if p['proof'] == 'pcr7')
    assert 'dbx' in text


def test_second_certificate_in_db_starts_the_image_and_would_lock_the_disk(workshop, machines, booted, node):
    """The firmware measures which entry of db vouched for an image. Another one changes PCR 7, which the disk is bound to:
    such an image starts, and cannot unlock."""
    machine = machines(booted)
    machine.disks.append(node.disk('images'))
    machine.boot()
    mount_images(machine)
    assert verify(machine, 'wrong-db')[0] == 12
    append_to_database(machine, workshop.keys(), 'db', workshop.keys('foreign-keys') / 'db.esl')
    rc, said = verify(machine, 'wrong-db')
    assert rc == 10 and states(said)['secure-boot'] == 'passed' and states(said)['pcr7'] == 'failed', said


def test_verifying_changes_nothing_on_the_esp(machines, booted, node):
    machine = machines(booted)
    machine.disks.append(node.disk('images'))

    def content():
        esp = Esp(machine.raw_disk('target'))
        with open(esp.image, 'rb') as f:
            f.seek(esp.offset)
            digest = hashlib.sha256()
            for _ in range((1 << 30) // (1 << 22)):     # tables, entries and all images lie in the first GiB
                digest.update(f.read(1 << 22))
        return esp.files(), digest.hexdigest()
    before = content()
    machine.boot()
    mount_images(machine)
    for name in ('accepted', 'wrong-db', 'stripped', 'old'):
        assert verify(machine, name)[0] == EXIT[name]
    machine.power_off()
    assert content() == before


def test_installing_a_refused_image_touches_no_byte_of_the_disk(workshop, machines, node):
    machine = machines()
    machine.disks.append(node.disk('images'))
    machine.boot()
    mount_images(machine)
    target = machine.disk_node('target')
    for name in ('wrong-db', 'stripped', 'truncated'):
        done = machine.run([*INSTALL, '--target', target, '--source', f'file:{IMAGES}/{name}.efi', '--yes', '--json'])
        assert done.rc == EXIT[name], done
        assert done.json()['error']['class'] == CLASS[done.rc]
    assert machine.run(['cmp', '-n', str(64 << 20), target, '/dev/zero']).rc == 0
