# SPDX-License-Identifier: Apache-2.0
"""The judge of crash states, on disks of nodes that other programs made. No machine is needed."""
import json
import os
import shutil
import struct
from dataclasses import replace

import pytest

from faults import plain, snapshot, table
from faults.disk import Disk
from faults.explore import Count
from faults.judge import INSTALL, RESET, Expectation, Judge
from faults.record import Chapter, Record, load, sha256
from faults.writelog import WriteLog
from rig import Esp
from rig.esp import ESP_TYPE, MIB, run
from rig.volumes import Volume
from test_faults_readers import IMAGE, LOADER, entry

ESP_SIZE, VOLUME_SIZE = 40, 17          # MiB
WAYS = ('systemd-tpm2', 'systemd-recovery')
LABELS = {'oem': 'COS_OEM', 'persistent': 'COS_PERSISTENT'}
PLACES = {'oem': 1 + ESP_SIZE, 'persistent': 1 + ESP_SIZE + VOLUME_SIZE}


def make_volume(path, label, uuid):
    with open(path, 'wb') as f:
        f.truncate(VOLUME_SIZE * MIB)
    fast = ('--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000')
    run('cryptsetup', 'luksFormat', '-q', '--type', 'luks2', '--uuid', uuid, '--label', label, *fast, '--key-file', '-', path,
        input=b'0')
    (path.parent / 'first').write_bytes(b'0')
    run('cryptsetup', 'luksAddKey', '-q', *fast, '--key-file', path.parent / 'first', path, '-', input=b'1')
    for slot, kind in enumerate(WAYS):
        token = {'type': kind, 'keyslots': [str(slot)], 'tpm2-blob': 'AA==', 'tpm2-pcrs': [7], 'tpm2-policy-hash': '00'}
        run('cryptsetup', 'token', 'import', '--disable-external-tokens', path, input=json.dumps(token).encode())
    return path.read_bytes()


@pytest.fixture(scope='module')
def template(tmp_path_factory):
    """The disk of a node, and volumes to put in the place of its own."""
    place = tmp_path_factory.mktemp('node')
    image = place / 'disk.img'
    with open(image, 'wb') as f:
        f.truncate((PLACES['persistent'] + VOLUME_SIZE + 1) * MIB)
    linux = '0FC63DAF-8483-4772-8E79-3D69D8477DE4'
    script = (f'label: gpt\nstart=1MiB, size={ESP_SIZE}MiB, type={ESP_TYPE}, name=efi\n'
              + ''.join(f'start={at}MiB, size={VOLUME_SIZE}MiB, type={linux}, name={name}\n' for name, at in PLACES.items()))
    run('sfdisk', '-q', image, input=script.encode())
    run('mkfs.vfat', '-F', '32', '-n', 'ESP', '--offset', '2048', image, ESP_SIZE * 1024)
    files = {'EFI/BOOT/BOOTX64.EFI': LOADER, 'EFI/kairos/usi-00000001.efi': IMAGE, 'EFI/kairos/usi-00000002.efi': IMAGE,
             'loader/entries/active.conf': entry('usi-00000001', 'sort-key a'),
             'loader/entries/recovery.conf': entry('usi-00000002', 'sort-key c')}
    for name, data in files.items():
        Esp(image).write(name, data)
    volumes = {}
    for n, name in enumerate(('oem', 'persistent', 'new oem', 'new persistent')):
        label = LABELS[name.split()[-1]]
        volumes[name] = make_volume(place / 'volume', label, f'00000000-0000-4000-8000-00000000000{n}')
        if n < 2:
            put(image, name, volumes[name])
    return image, volumes


def put(image, name, data, at=0):
    with open(image, 'r+b') as f:
        f.seek(PLACES[name] * MIB + at)
        f.write(data)


@pytest.fixture
def node(template, tmp_path):
    """(disk, volumes), the disk to be spoiled."""
    image = tmp_path / 'disk.img'
    shutil.copyfile(template[0], image)
    return image, template[1]


def expectation(before, after=None, **more):
    return Expectation({sha256(IMAGE): 'v1'}, frozenset({'v1'}), frozenset({sha256(LOADER)}), frozenset({'v1'}),
                       before=snapshot.take(Disk(before)) if before else None, after=snapshot.take(Disk(after or before)), **more)


def judged(image, x):
    verdict = Judge(Disk(image), x).verdict()
    return verdict.outcome, sorted(verdict.broken)


def without_way(image, name, *numbers):
    def change(metadata):
        for number in numbers:
            metadata['tokens'].pop(number)
    Volume(image, name).alter(change)


def copied(image, name):
    shutil.copyfile(image, image.with_name(name))
    return image.with_name(name)


def test_ways_into_the_data(node):
    image, _ = node
    x = expectation(image)
    assert judged(image, x) == ('node', [])
    spoiled = copied(image, 'spoiled')
    put(spoiled, 'oem', b'x', 32768 + 1000)
    assert judged(spoiled, x) == ('node', ['I5: oem lost a way in that stays']), 'a key slot that opens nothing'
    put(spoiled, 'oem', bytes(32768))
    assert judged(spoiled, x)[1] == ['I5: oem has no header with a key slot and a token']
    # An operation that exchanges the recovery key may lose the old one, once the new one is there.
    before, after = copied(image, 'before'), copied(image, 'after')
    Volume(after, 'oem').alter(lambda m: m['tokens']['1'].update(new=1))
    x = expectation(before, after)
    assert judged(before, x)[1] == judged(after, x)[1] == []
    without_way(before, 'oem', '1')
    assert judged(before, x)[1] == ['I5: oem has no whole way in of the kind systemd-recovery']
    without_way(after, 'oem', '0')
    assert judged(after, x)[1] == ['I5: oem lost a way in that stays']
    another = copied(image, 'another')
    put(another, 'oem', node[1]['new oem'])
    assert judged(another, x)[1] == ['I5: oem has the header of another volume']


def test_what_an_operation_does_not_change(node):
    """I3: of active and recovery one stays, as a boot entry and as an image."""
    image, _ = node
    x = expectation(image)
    Esp(image).write('loader/entries/recovery.conf', entry('usi-00000001', 'sort-key c'))
    assert judged(image, x)[1] == ['I3: recovery is not what it was and will be']
    assert judged(image, expectation(image))[1] == []
    x = replace(x, before=replace(x.before, roles={}))
    assert judged(image, x)[1] == [], 'it is changed by this operation'


def test_a_disk_that_is_installed(node):
    image, volumes = node
    old, empty, new = image, copied(image, 'empty'), copied(image, 'new')
    with open(empty, 'r+b') as f:
        f.truncate(0)
        f.truncate(image.stat().st_size)
    run('sfdisk', '--disk-id', new, '11111111-2222-4333-8444-555555555555')
    for n, name in enumerate(LABELS, 2):
        put(new, name, volumes['new ' + name])
        run('sfdisk', '--part-uuid', new, str(n), f'11111111-2222-4333-8444-00000000000{n}')
    fresh, over = expectation(None, new, kind=INSTALL), expectation(old, new, kind=INSTALL)
    assert judged(empty, fresh) == judged(empty, over) == ('nothing', [])
    assert judged(new, fresh) == judged(new, over) == ('new', [])
    assert judged(old, over) == ('old', [])
    assert judged(old, fresh)[1] == ['I4: the partition table is neither the old nor the new one']
    # The old node starts, and its data is gone: before that, its boot partition has to be.
    put(old, 'persistent', bytes(32768))
    assert judged(old, over) == ('old', ['I5: persistent has no header with a key slot and a token'])
    put(old, 'persistent', volumes['new persistent'])
    assert judged(old, over) == ('old', ['I4: persistent does not belong to the old node'])
    with open(old, 'r+b') as f:
        f.seek(MIB)
        f.write(bytes(512))
    assert judged(old, over) == ('nothing', [])
    # The new table is the last thing that is written: below it all is there.
    Esp(new).remove('EFI/BOOT/BOOTX64.EFI')
    assert judged(new, over) == ('new', ['I1: no complete boot loader'])


def test_a_node_that_is_reset(node):
    image, volumes = node
    new = copied(image, 'new')
    for name in LABELS:
        put(new, name, volumes['new ' + name])
    x = expectation(image, new, kind=RESET, erased=frozenset(LABELS))
    assert judged(image, x) == ('old', []) and judged(new, x) == ('new', [])
    lost = ['I4: data is neither the old nor the new, and no journal leads on']
    put(image, 'oem', volumes['new oem'])
    assert judged(image, x) == ('between', lost)
    put(image, 'oem', volumes['oem'])
    put(image, 'oem', b'x', 32768 + 1000)
    assert judged(image, x) == ('between', lost), 'a key slot is overwritten, and the header still says that it is there'
    journal = {'volumes': [{'name': name, 'uuid': x.before.volumes[name].uuid} for name in LABELS]}
    Esp(image).write('EFI/kairos/reset.json', json.dumps(journal).encode())
    assert judged(image, x) == ('pending', [])
    Esp(image).write('EFI/kairos/reset.json', json.dumps(journal).encode()[:-4])
    assert judged(image, x) == ('between', lost)
    journal['volumes'][0]['uuid'] = x.after.volumes['oem'].uuid
    Esp(image).write('EFI/kairos/reset.json', json.dumps(journal).encode())
    assert judged(image, x) == ('between', lost)
    assert judged(new, replace(x, erased=frozenset({'persistent'})))[1] == [], 'what is kept may be the old or the new'


def test_plain_data_is_seen(tmp_path):
    secret = b'cbdefghi-' * 8
    text = (b'what a file system says ' * 40)[:512]
    writes = [(100, os.urandom(1024) + bytes(512)), (103, os.urandom(512) + text), (9, secret[:64].ljust(512, b'.'))]
    log = tmp_path / 'log'
    with open(log, 'wb') as f:
        f.write(struct.pack('<QQQI', 0x6a736677736872, 1, len(writes), 512).ljust(512, b'\0'))
        for sector, data in writes:
            f.write(struct.pack('<QQQQ', sector, len(data) // 512, 0, 0).ljust(512, b'\0') + data)
    read = WriteLog(log)
    assert plain.plain_writes(read, 0, 3, [(100, 200, 'oem')]) == (5, [(1, 104, 'oem')])
    assert plain.plain_writes(read, 0, 3, [(101, 104, 'oem'), (150, 200, 'persistent')]) == (3, [])
    assert plain.secrets_written(read, 0, 3, {'key': secret[:64], 'other': secret}) == ['key']
    assert plain.secrets_written(read, 0, 2, {'key': secret[:64]}) == []


def test_records_are_kept(tmp_path):
    states = [(0, tmp_path / 'a'), (7, tmp_path / 'b')]
    Record(tmp_path, tmp_path / 'base', tmp_path / 'log', 'k', [Chapter('x', 0, 9, None)], {'key': b'k'}, states).save()
    record = load(tmp_path)
    assert record.chapters[0].name == 'x' and record.secrets == {'key': b'k'}
    assert [record.tpm_at(n).name for n in (0, 6, 7, 100)] == ['a', 'a', 'b', 'b']


def test_one_table():
    chapter, count = Chapter('upgrade', 0, 9, None), Count(states=5, repaired=2, bad_repaired=1)
    count.kinds.update(prefix=3, torn=2)
    count.bad_kinds.update(torn=1)
    rows = table.replayed(chapter, 'k1', count)
    rows += [*rows, *table.replayed(chapter, 'k2', count), table.row('upgrade', 'k1', 'cut', 10, 0, 20.04),
             table.row('upgrade', 'k1', 'cut', 5, 1, 31.26)]
    found = {(r['kernel'], r['fault']): (r['tried'], r['bad'], r['worst_recovery_seconds']) for r in table.merged(rows)}
    assert found == {('k1', 'prefix'): (6, 0, None), ('k1', 'torn'): (4, 2, None), ('k2', 'prefix'): (3, 0, None),
                     ('k2', 'torn'): (2, 1, None), ('k1', 'repaired'): (4, 2, None), ('k2', 'repaired'): (2, 1, None), ('k1', 'cut'): (15, 1, 31.3)}
    assert '15 replayed states, 3 of them bad; 15 real cuts' in table.text(table.merged(rows))
