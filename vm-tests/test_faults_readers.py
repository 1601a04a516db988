# SPDX-License-Identifier: Apache-2.0
"""The readers that judge crash states, against images made by other programs. No machine is needed."""
import struct
import subprocess

import numpy
import pytest

from faults import fat, gpt, loader, luks2, repair
from faults.disk import Disk
from faults.explore import Explorer, State, make
from faults.judge import Expectation, Judge
from faults.record import sha256
from faults.writelog import Write, WriteLog, entries_so_far
from rig import Esp, make_esp_image
from rig.esp import MIB, run

IMAGE = bytes(range(256)) * 700             # some clusters, the last one not full
LOADER = b'a boot loader' * 1000
ENTRY = '/loader/entries/'


def entry(image, key='sort-key b', version='1'):
    return f'title x\n{key}\nversion {version}\nefi /EFI/kairos/{image}.efi\n'.encode()


@pytest.fixture
def esp(tmp_path):
    """A disk image with a boot partition as an installed node has it."""
    return make_esp_image(tmp_path / 'disk.img', {
        'EFI/BOOT/BOOTX64.EFI': LOADER, 'EFI/systemd/systemd-bootx64.efi': LOADER,
        'EFI/kairos/usi-00000001.efi': IMAGE, 'EFI/kairos/usi-00000002.efi': IMAGE[1:],
        'loader/entries/active+3-0.conf': entry('usi-00000002', 'sort-key a', '2'),
        'loader/entries/passive.conf': entry('usi-00000001', 'sort-key b'),
        'loader/entries/recovery.conf': entry('usi-00000001', 'sort-key c')})


def opened(image):
    disk = Disk(image)
    table = gpt.read(disk)
    return disk, fat.Fat(disk, table[0].offset, table[0].size)


def overwrite(image, offset, data):
    with open(image, 'r+b') as f:
        f.seek(offset)
        f.write(data)


def test_partition_table(esp):
    disk = Disk(esp)
    table = gpt.read(disk)
    assert [(p.name, p.type, p.offset) for p in table] == [('esp', gpt.ESP, MIB)]
    overwrite(esp, 512 + 60, b'x')
    assert gpt.read(Disk(esp)) == table, 'the second table'
    overwrite(esp, disk.size - 512 + 60, b'x')
    assert gpt.read(Disk(esp)) is None


def test_files(esp):
    _, volume = opened(esp)
    tree = volume.tree()
    assert sorted(f.path for f in tree.values()) == Esp(esp).files()
    for path, file in tree.items():
        assert volume.read(file) == Esp(esp).read(file.path[1:]), path
    assert volume.digest(tree['/efi/kairos/usi-00000002.efi']) == sha256(IMAGE[1:])
    assert volume.shared(tree.values()) == set()


def test_damaged_files(esp):
    _, volume = opened(esp)
    first, second = (volume.tree()[f'/efi/kairos/usi-0000000{n}.efi'] for n in (1, 2))
    middle = volume.fat_offset + 4 * (first.cluster + 3)
    overwrite(esp, middle, struct.pack('<I', second.cluster + 3))
    _, volume = opened(esp)
    assert volume.digest(first) != sha256(IMAGE) and volume.digest(second) == sha256(IMAGE[1:])
    assert volume.shared(volume.tree().values()) == {(first.path, second.path)}
    overwrite(esp, middle, bytes(4))
    _, volume = opened(esp)
    assert volume.digest(first) is None and volume.digest(second) == sha256(IMAGE[1:])
    overwrite(esp, volume.place(volume.root) + 32, b'\xe5')     # behind the label
    assert len(opened(esp)[1].tree()) < 7, 'a directory is gone'
    overwrite(esp, volume.offset + 510, b'xx')
    with pytest.raises(fat.Damaged):
        opened(esp)


def test_order_of_entries(esp):
    _, volume = opened(esp)
    names = [e.name for e in loader.entries(volume, volume.tree())]
    assert names == ['active+3-0.conf', 'passive.conf', 'recovery.conf']
    Esp(esp).write(ENTRY[1:] + 'active+0-3.conf', entry('usi-00000002', 'sort-key a', '3'))
    Esp(esp).write(ENTRY[1:] + 'nowhere.conf', entry('usi-00000003', 'sort-key 0'))
    Esp(esp).write(ENTRY[1:] + 'keyless.conf', entry('usi-00000001', 'machine-id 1'))
    Esp(esp).write(ENTRY[1:] + 'newer.conf', entry('usi-00000001', 'sort-key b', '1.10'))
    Esp(esp).write(ENTRY[1:] + 'older.conf', entry('usi-00000001', 'sort-key b', '1.9~rc1'))
    _, volume = opened(esp)
    names = [e.name for e in loader.entries(volume, volume.tree())]
    assert names == ['active+3-0.conf', 'newer.conf', 'older.conf', 'passive.conf', 'recovery.conf', 'keyless.conf',
                     'active+0-3.conf'], 'no tries left: last; no image: not at all'


@pytest.mark.parametrize('less, more', [('1', '2'), ('1.9', '1.10'), ('1~rc1', '1'), ('1', '1.1'), ('1-1', '1.1'), ('1', '1^p'),
                                        ('a', '1'), ('9', '00010')])
def test_versions(less, more):
    assert loader.compare_versions(less, more) < 0 < loader.compare_versions(more, less)
    assert loader.compare_versions(less, less) == 0


def test_encrypted_partition(tmp_path):
    image = tmp_path / 'luks.img'
    with open(image, 'wb') as f:
        f.truncate(32 * MIB)
    run('cryptsetup', 'luksFormat', '-q', '--type', 'luks2', '--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000', image,
        input=b'word')
    uuid = run('cryptsetup', 'luksUUID', image).decode().strip()
    header = luks2.read(Disk(image), 0)
    assert header['uuid'] == uuid and list(header['json']['keyslots']) == ['0']
    whole = luks2.volume(Disk(image), 0)
    assert (whole.uuid, whole.encryption, whole.data_offset, whole.ways) == (uuid, 'aes-xts-plain64', 16 * MIB, frozenset())
    run('cryptsetup', 'token', 'import', image, input=b'{"type": "systemd-recovery", "keyslots": ["0"]}')
    run('cryptsetup', 'token', 'import', image, input=b'{"type": "systemd-recovery", "keyslots": []}')
    (way,) = luks2.volume(Disk(image), 0).ways
    assert way.kind == luks2.RECOVERY
    overwrite(image, 4200, b'xxxx')
    assert luks2.read(Disk(image), 0)['uuid'] == uuid, 'the second header'
    assert luks2.volume(Disk(image), 0).ways == {way}
    overwrite(image, 32768 + 1000, b'x')
    assert luks2.volume(Disk(image), 0).ways != {way}, 'the key slot is not what it was'
    overwrite(image, header['size'] + 4200, b'xxxx')
    assert luks2.read(Disk(image), 0) is None


def labelled(**more):
    return Expectation({sha256(IMAGE): 'v1', sha256(IMAGE[1:]): 'v2'}, loaders=frozenset({sha256(LOADER)}), data=False, **more)


def broken(image, expectation):
    return sorted(text.partition(':')[0] for text in Judge(Disk(image), expectation).verdict().broken)


def test_verdicts(esp):
    everything = labelled(stay=frozenset({'v1', 'v2'}), recovery=frozenset({'v1'}))
    assert broken(esp, everything) == []
    assert Judge(Disk(esp), everything).verdict().first == 'active v2'
    assert broken(esp, labelled(recovery=frozenset({'v2'}))) == ['I3']
    assert broken(esp, labelled(stay=frozenset({'v3'}))) == ['I2']
    _, volume = opened(esp)
    tree = volume.tree()
    place = volume.fat_offset + 4 * tree['/loader/entries/recovery.conf'].cluster
    overwrite(esp, place, bytes(4))
    assert broken(esp, everything) == ['I3'], 'its text is there, on a cluster that is free'
    overwrite(esp, place, b'\xff\xff\xff\x0f')
    overwrite(esp, volume.place(tree['/efi/boot/bootx64.efi'].cluster), b'x')
    assert broken(esp, everything) == ['I6'], 'the other boot loader is whole, and only a variable leads to it'
    overwrite(esp, volume.place(tree['/efi/systemd/systemd-bootx64.efi'].cluster), b'x')
    assert broken(esp, everything) == ['I1']
    overwrite(esp, volume.place(tree['/efi/kairos/usi-00000002.efi'].cluster), b'x')
    assert broken(esp, everything) == ['I1', 'I1', 'I2']


def write(number, sector, data, flags=0):
    return Write(number, sector, len(data) // 512, flags, memoryview(data))


def logged(log, entries):
    """A log of writes [(sector, data, flags)]."""
    with open(log, 'wb') as f:
        f.write(struct.pack('<QQQI', 0x6a736677736872, 1, len(entries), 512).ljust(512, b'\0'))
        for sector, data, flags in entries:
            f.write(struct.pack('<QQQQ', sector, len(data) // 512, flags, 0).ljust(512, b'\0') + data)
    return WriteLog(log)


def test_log_is_read_and_explored(esp, tmp_path):
    """A log made here: an image gets a hole for as long as the second of two writes is missing."""
    disk, volume = opened(esp)
    start = volume.place(volume.tree()['/efi/kairos/usi-00000001.efi'].cluster) // 512
    hole, whole = bytes(1024), IMAGE[:1024]
    log = tmp_path / 'log'
    entries = [(start, hole, 0), (start, whole, 0), (0, b'', 1), (start + 100000, whole, 0)]
    read = logged(log, entries)
    assert entries_so_far(log) == 4
    assert [[w.number for w in epoch] for epoch in read.epochs()] == [[0, 1], [3]]
    judge = Judge(disk, labelled(stay=frozenset({'v1'})))
    count = Explorer(disk, judge, samples=4).run(read, 0, None)
    # First the hole alone; the second write alone is no harm; torn states of the first one, and of the second on top.
    assert count.kinds == {'prefix': 3, 'subset': 1, 'torn': 6}
    assert set(count.broken) == {'I2: image v1 is gone'} and count.bad == 1 + 2 + 2, vars(count)
    assert judge.verdict().good and disk.read(start * 512, 1024) == whole
    # Any of the good ones can be made again.
    kept = [state for states in count.picks.values() for state in states]
    assert len(kept) == 5 and {s.kind for s in kept} == {'prefix', 'subset', 'torn'}, kept
    (state,) = count.picks['node', 'subset']
    make(Disk(esp), read, state, tmp_path / 'state')
    assert state.parts == ((1, 0, 2),) and Disk(tmp_path / 'state').read(start * 512, 1024) == whole


def test_repairs_are_judged(esp, tmp_path, monkeypatch):
    """A cluster that nobody has, of a partition that was not unmounted, becomes a file, and nothing else happens. A repair that
    makes the partition empty is found out."""
    disk, volume = opened(esp)
    boot = bytearray(disk.read(volume.offset, 512))
    boot[fat.STATE] |= 1
    lost = 2 + int(numpy.flatnonzero(volume.table[2:] == 0)[0])
    at = volume.fat_offset + 4 * lost
    sector = bytearray(disk.read(at // 512 * 512, 512))
    sector[at % 512:at % 512 + 4] = b'\xff\xff\xff\x0f'
    log = logged(tmp_path / 'log', [(volume.offset // 512, bytes(boot), 0), (at // 512, bytes(sector), 0)])
    # The last one is not marked.
    states = [State('prefix', 'node', 2, ()), State('torn', 'node', 1, ()), State('subset', 'node', 0, ((1, 0, 1),))]
    everything = labelled(stay=frozenset({'v1', 'v2'}), recovery=frozenset({'v1'}))
    assert repair.repaired(Disk(esp), log, everything, states, tmp_path / 'part') == (2, [])
    for write in log.entries:
        disk.put(write)
    before = set(volume.tree())
    repair.repair(disk, repair.marked(disk), 2, tmp_path / 'part')
    assert set(volume.tree()) - before == {'/fsck0000.rec'} and repair.marked(disk) is None
    monkeypatch.setattr(repair, 'FSCK', ('mkfs.vfat', '-F', '32'))
    tried, wrong = repair.repaired(Disk(esp), log, everything, states, tmp_path / 'part')
    assert tried == len(wrong) == 2 and 'I1: no entry can be started' in wrong[0], wrong
    for program in ('true', 'false'):
        monkeypatch.setattr(repair, 'FSCK', (program,))
        assert repair.repaired(Disk(esp), log, everything, states, tmp_path / 'part')[1] == ['it is marked still'] * 2


def test_disk_remembers(tmp_path):
    image = tmp_path / 'disk'
    image.write_bytes(bytes(4096))
    disk = Disk(image)
    mark, before, start = disk.mark(), disk.identity([(0, 4096)]), disk.identity([(0, 1024)])
    disk.put(write(0, 1, b'\1' * 1024), 1)
    assert disk.read(0, 2048) == bytes(1024) + b'\1' * 512 + bytes(512)
    assert disk.identity([(0, 4096)]) != before and disk.identity([(0, 1024)]) == start
    disk.put(Write(1, 2, 1, 4, None))
    assert disk.read(1024, 512) == bytes(512), 'a discard leaves zeros'
    disk.back(mark)
    assert disk.read(0, 4096) == bytes(4096) and disk.identity([(0, 4096)]) == before
    with pytest.raises(ValueError):
        disk.put(write(2, 8, b'\1' * 512))
    assert subprocess.run(['cmp', image, '/dev/zero', '-n', '4096']).returncode == 0, 'the file stays as it is'


def test_mostly_empty_disk(tmp_path):
    """A discard of all of it takes no time, and a copy no room."""
    image, copy = tmp_path / 'disk', tmp_path / 'copy'
    with open(image, 'wb') as f:
        f.truncate(8 << 30)
        f.seek(5 << 30)
        f.write(b'\1' * 512)
    disk = Disk(image)
    disk.put(write(0, 8, b'\2' * 1024))
    mark = disk.mark()
    disk.put(Write(1, 0, (8 << 30) // 512, 4, None))
    assert disk.read(5 << 30, 512) == disk.read(4096, 512) == bytes(512)
    disk.back(mark)
    assert disk.read(5 << 30, 512) == b'\1' * 512 and disk.read(4096, 1024) == b'\2' * 1024
    disk.save(copy)
    assert copy.stat().st_size == 8 << 30 and copy.stat().st_blocks * 512 < 16 * MIB
    assert Disk(copy).read(5 << 30, 512) == b'\1' * 512 and Disk(copy).read(4096, 1024) == b'\2' * 1024
