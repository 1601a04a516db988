# SPDX-License-Identifier: Apache-2.0
"""Boot partitions as crashes leave them, places that are full and clocks that are wrong, under the node's own kernel and firmware:
nothing that the node needs gets lost, it says the truth, and it starts afterwards.

The damage is done from outside, while the node sleeps with its boot partition unmounted.
"""
import hashlib
import json
import shutil
import struct

import numpy
import pytest

from faults.disk import Disk as DiskImage
from faults.fat import STATE, Fat
from rig import Disk, Esp, make_data_disk, mount_data_disk
from rig.esp import run as host_run
from rig.facts import at_rest, esp_files, node_facts

GOOD = {'role': 'active', 'secure_boot': True, 'blessed': True, 'encrypted': {'/oem': True, '/usr/local': True}}
SPACE, IO, PROBLEMS = 7, 9, 10
MIB = 1 << 20
KEPT_BACK = 8                           # clusters that an image may not take (upgrade/esp.c)
END, BAD = 0x0fffffff, 0x0ffffff7
OLD = '/efi/kairos/usi-00000001.efi'    # active and passive of a node as it was installed
RECOVERY = '/efi/kairos/usi-00000002.efi'
# Two rests of upgrades that were cut.
REST = ['/EFI/kairos/usi-00000003.efi', '/EFI/kairos/usi-00000004.efi']


class Damage:
    """What is done to the allocation table of the boot partition of a machine that is off."""

    def __init__(self, machine, files=None):
        """files: {path: bytes} that are put on it first."""
        self.path = machine.raw_disk('target')
        esp = Esp(self.path)
        for path, data in (files or {}).items():
            esp.write(path.strip('/'), data)
        table = json.loads(host_run('sfdisk', '-J', self.path))['partitiontable']['partitions']
        self.offset, size = esp.offset, next(p['size'] for p in table if p['start'] * 512 == esp.offset) * 512
        self.fat = Fat(DiskImage(self.path), self.offset, size)
        boot = self.fat.disk.read(self.offset, 512)
        self.copies, self.copy_size = boot[16], struct.unpack_from('<I', boot, 36)[0] * self.fat.sector
        self.tree = self.fat.tree()

    def _write(self, offset, data):
        with open(self.path, 'r+b') as f:
            f.seek(offset)
            f.write(data)

    def clusters(self, path):
        file = self.tree[path.lower()]
        runs = self.fat.runs(file.cluster, -(-file.size // self.fat.cluster_size))
        return [c for first, n in runs for c in range(first, first + n)]

    def link(self, cluster, following, copies=None):
        for n in range(self.copies if copies is None else copies):
            self._write(self.fat.fat_offset + n * self.copy_size + 4 * cluster, struct.pack('<I', following))

    def spoil(self, clusters):
        """Takes them from use: bad blocks."""
        table = self.fat.table.copy()
        table[clusters] = BAD
        for n in range(self.copies):
            self._write(self.fat.fat_offset + n * self.copy_size, table.tobytes())

    def free(self):
        """Clusters that are, first to last."""
        return [int(c) for c in numpy.flatnonzero(self.fat.table[:self.fat.last + 1] == 0) if c >= 2]

    def mark(self):
        """As not unmounted."""
        state = self.fat.disk.read(self.offset + STATE, 1)[0]
        self._write(self.offset + STATE, bytes([state | 1]))


@pytest.fixture(scope='module')
def images(workshop):
    """{label: digest}, and the disk that brings them."""
    files = {'v1': workshop.usi(), 'v2': workshop.usi('v2', version=2), 'v3': workshop.usi('v3', version=3)}
    place = workshop.work / 'tests/hostile-images'
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    yield {label: hashlib.sha256(path.read_bytes()).hexdigest() for label, path in files.items()}, \
        make_data_disk(place / 'images.img', {f'{label}.efi': path for label, path in files.items() if label != 'v1'})
    shutil.rmtree(place)


class Node:
    def __init__(self, machine, digests, bring):
        self.machine, self.digests, self.bring = machine, digests, Disk(bring, serial='images', readonly=True)

    def wake(self):
        self.machine.boot()
        self.machine.plug(self.bring)
        mount_data_disk(self.machine)
        return self

    def tell(self, *argv):
        """Exit status and document."""
        done = self.machine.run(['tb-agent', *argv, '--json'], timeout=300)
        return done.rc, done.json()

    def upgrade(self, label, *options):
        return self.tell('upgrade', '--source', f'file:/run/images/{label}.efi', *options)

    def found(self, severity='problem'):
        """Exit status of the doctor, and {id: subject} of what it found."""
        rc, said = self.tell('doctor')
        assert all(f.get('advice') for f in said['findings'] if f['severity'] == 'problem'), said
        return rc, {f['id']: f['subject'] for f in said['findings'] if f['severity'] == severity}

    def roles(self):
        _, roles = esp_files(self.machine)
        labels = {digest: label for label, digest in self.digests.items()}
        return {role: labels.get(digest, 'damaged') for role, digest in roles.items()}

    def free(self):
        """Bytes on the boot partition."""
        script = 'm=$(mktemp -d); mount -o ro /dev/vda1 $m; stat -f -c "%a %S" $m; umount $m; rmdir $m'
        n, size = self.machine.shell(script, check=True).text.split()
        return int(n) * int(size)

    def on_esp(self, script):
        return self.machine.shell(f'set -e; m=$(mktemp -d); mount /dev/vda1 $m; cd $m; {script}; cd /; umount $m; rmdir $m',
                                  check=True).text

    def starts(self, version):
        """The node starts by itself with this version, confirms it, and has its data."""
        self.machine.reboot()
        at_rest(self.machine)
        assert node_facts(self.machine) == GOOD
        assert f'IMAGE_VERSION={version}\n' in self.machine.read('/usr/lib/os-release').decode()


@pytest.fixture
def sleeping(machines, running, images):
    return Node(machines(running), *images)


def test_files_that_share_clusters(sleeping):
    """The rest of one cut upgrade runs into a boot entry, that of another into the image that runs. fsck.vfat cuts the file that
    it meets second: of the first pair the entry."""
    damage = Damage(sleeping.machine, {path: b'rest' * 16384 for path in REST})
    entry, = damage.clusters('/loader/entries/passive.conf')
    damage.link(damage.clusters(REST[0])[3], entry)
    damage.link(damage.clusters(REST[1])[3], damage.clusters(OLD)[100])
    damage.mark()
    node = sleeping.wake()
    rc, problems = node.found()
    assert rc == PROBLEMS and 'esp-cross-linked' in problems, problems
    rc, said = node.tell('status')
    assert rc == 0 and said['role'] == 'active'
    rc, said = node.upgrade('v2')
    assert rc == 0, said
    # The old image is the same, and so are all entries. What nobody needs is gone, and nothing is left to repair.
    assert node.roles() == {'active': 'v2', 'passive': 'v1', 'recovery': 'v1'}
    rc, problems = node.found()
    assert rc == 0, problems
    node.starts(2)
    assert node.roles() == {'active': 'v2', 'passive': 'v1', 'recovery': 'v1'}


def test_needed_files_that_share_clusters(sleeping):
    """Both images are the same here, and so both are whole, as long as nobody cuts one of them."""
    damage = Damage(sleeping.machine)
    damage.link(damage.clusters(RECOVERY)[99], damage.clusters(OLD)[100])
    damage.mark()
    node = sleeping.wake()
    rc, problems = node.found()
    assert rc == PROBLEMS and problems.get('esp-cross-linked', '').lower() in (OLD, RECOVERY), problems
    node.machine.run(['tb-agent', 'bless'], check=True)
    for _ in range(2):
        rc, said = node.upgrade('v2')
        assert rc == 0, said
        assert node.roles() == {'active': 'v2', 'passive': 'v1', 'recovery': 'v1'}


def test_lost_clusters_are_room_again(workshop, sleeping):
    """What a cut allocated and no file led to. fsck.vfat makes a file of it, which is nobody's."""
    damage = Damage(sleeping.machine)
    lost = damage.free()[-3 * MIB // damage.fat.cluster_size:]
    for cluster, following in zip(lost, [*lost[1:], END]):
        damage.link(cluster, following)
    damage.link(damage.free()[0], END, copies=1)        # and the tables differ
    damage.mark()
    node = sleeping.wake()
    before = node.free()
    rc, warnings = node.found('warning')
    assert {'esp-not-unmounted', 'esp-tables-differ'} <= set(warnings), warnings
    rc, said = node.upgrade('v2')
    assert rc == 0, said
    assert node.roles() == {'active': 'v2', 'passive': 'v1', 'recovery': 'v1'}
    assert before - node.free() < workshop.usi('v2', version=2).stat().st_size - 2 * MIB
    files, _ = esp_files(node.machine)
    assert not [path for path in files if path.upper().endswith('.REC')], files
    rc, problems = node.found()
    assert rc == 0 and not problems, problems


def test_a_file_system_that_turns_read_only(sleeping):
    """The rest of a cut upgrade ends in the middle, and nothing says that there was a cut: the kernel notices when the rest is to be
    deleted, and makes the file system read-only. It is marked by that, and the next run begins with a repair."""
    damage = Damage(sleeping.machine, {REST[0]: b'rest' * 65536})
    clusters = damage.clusters(REST[0])
    damage.link(clusters[len(clusters) // 2], 0)
    node = sleeping.wake()
    before = node.roles()
    rc, problems = node.found()
    assert rc == PROBLEMS and problems == {'esp-file-cut': REST[0]}, problems
    rc, said = node.upgrade('v2')
    assert rc == IO and 'Read-only file system' in said['error']['text'] and said['error']['advice'], said
    assert node.roles() == before
    rc, said = node.upgrade('v2')
    assert rc == 0, said
    assert node.roles() == {'active': 'v2', 'passive': 'v1', 'recovery': 'v1'}
    rc, problems = node.found()
    assert rc == 0, problems


def test_a_device_that_is_read_only(sleeping):
    node = sleeping.wake()
    before = esp_files(node.machine)
    node.machine.run(['blockdev', '--setro', '/dev/vda1'], check=True)
    rc, said = node.upgrade('v2')
    assert rc == IO and said['error']['advice'] and 'ead-only' in said['error']['text'], said
    rc, said = node.tell('status')
    assert rc == 0 and said['role'] == 'active', said
    rc, problems = node.found()
    assert rc == PROBLEMS and list(problems) == ['esp-read-only'], problems
    node.machine.run(['blockdev', '--setrw', '/dev/vda1'], check=True)
    assert esp_files(node.machine) == before
    rc, said = node.upgrade('v2')
    assert rc == 0, said


# --- full ----------------------------------------------------------------------------------------------------------

def test_a_cluster_too_few(workshop, sleeping):
    """And enough when one more is free."""
    damage = Damage(sleeping.machine, {'/ballast': b'x'})
    need = -(-workshop.usi('v2', version=2).stat().st_size // damage.fat.cluster_size) + KEPT_BACK
    damage.spoil(damage.free()[need - 1:])
    node = sleeping.wake()
    before = esp_files(node.machine)
    rc, said = node.upgrade('v2')
    assert rc == SPACE and said['error']['advice'], said
    assert esp_files(node.machine) == before
    rc, warnings = node.found('warning')
    assert rc == 0 and 'esp-full' in warnings, warnings
    node.on_esp('rm ballast')
    rc, said = node.upgrade('v2')
    assert rc == 0, said
    assert node.roles() == {'active': 'v2', 'passive': 'v1', 'recovery': 'v1'}


def fill_variables(machine):
    """Until the firmware, or the kernel for it, takes no more. How many there are."""
    script = '''
        cd /sys/firmware/efi/efivars; n=0
        for size in 4096 512 32 1; do
            while { printf '\\007\\000\\000\\000'; head -c $size /dev/zero; } > /run/value &&
                  dd if=/run/value of=Fill$n-8d4ef8a1-6f4d-4c54-9a35-1b1cd2b7b1d7 bs=8k status=none 2>/dev/null; do
                n=$((n + 1))
            done
        done
        echo $n'''
    return int(machine.shell(script, check=True).text)


def test_everything_is_full(sleeping):
    """Variables, configuration and data: nothing of that is what an upgrade and its confirmation depend on."""
    node = sleeping.wake()
    machine = node.machine
    assert fill_variables(machine) > 3
    machine.shell('for m in /usr/local /oem; do fallocate -l $(($(stat -f -c "%a * %S" $m) - 65536)) $m/ballast; '
                  'dd if=/dev/zero of=$m/more bs=4k status=none; done; sync')
    for place in ('/usr/local', '/oem'):
        assert machine.run(['dd', 'if=/dev/zero', f'of={place}/probe', 'bs=64k', 'count=1']).rc != 0
    rc, said = node.tell('status')
    assert rc == 0, said
    rc, said = node.upgrade('v2')
    assert rc == 0, said
    assert node.roles() == {'active': 'v2', 'passive': 'v1', 'recovery': 'v1'}
    node.starts(2)
    rc, problems = node.found()
    assert problems == {'full': '/usr/local'}, problems


# --- another day ---------------------------------------------------------------------------------------------------

def test_clocks_that_are_wrong(machines, booted, images):
    """The clock was never set; then it is set wrong by years."""
    machine = machines(booted, extra=['-rtc', 'base=1970-01-02T00:00:00'])
    node = Node(machine, *images)
    machine.disks.append(node.bring)
    machine.boot()
    mount_data_disk(machine)
    assert node_facts(machine) == GOOD
    # systemd does not believe the RTC.
    machine.run(['date', '-s', '1970-01-02'], check=True)
    rc, said = node.tell('status')
    assert rc == 0, said
    rc, problems = node.found()
    assert rc == 0, problems
    rc, said = node.upgrade('v2')
    assert rc == 0, said
    machine.extra = ['-rtc', 'base=2040-06-01T00:00:00']
    node.starts(2)
    assert machine.run(['date', '+%Y'], check=True).text == '2040\n'
    mount_data_disk(machine)
    rc, problems = node.found()
    assert rc == 0, problems
    rc, said = node.upgrade('v3')
    assert rc == 0, said
    assert node.roles() == {'active': 'v3', 'passive': 'v2', 'recovery': 'v1'}
