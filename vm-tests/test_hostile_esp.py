# SPDX-License-Identifier: Apache-2.0
"""Boot partitions as crashes leave them, under the node's own kernel and firmware: nothing that the node needs gets lost, it says the
truth, and it starts afterwards.

The damage is done from outside, while the node sleeps with its boot partition unmounted.
"""
import hashlib
import json
import shutil
import struct

import pytest

from faults.disk import Disk as DiskImage
from faults.fat import Fat
from rig import Disk, Esp, make_data_disk, mount_data_disk
from rig.esp import run as host_run
from rig.facts import esp_files, node_facts

GOOD = {'role': 'active', 'secure_boot': True, 'blessed': True, 'encrypted': {'/oem': True, '/usr/local': True}}
PROBLEMS = 10
STATE = 65                              # byte of the boot sector; bit 0: not unmounted
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

    def link(self, cluster, following):
        for n in range(self.copies):
            self._write(self.fat.fat_offset + n * self.copy_size + 4 * cluster, struct.pack('<I', following))

    def mark(self):
        """As not unmounted."""
        state = self.fat.disk.read(self.offset + STATE, 1)[0]
        self._write(self.offset + STATE, bytes([state | 1]))


@pytest.fixture(scope='module')
def images(workshop):
    """{label: digest}, and the disk that brings them."""
    files = {'v1': workshop.usi(), 'v2': workshop.usi('v2', version=2)}
    place = workshop.work / 'tests/hostile-images'
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    yield {label: hashlib.sha256(path.read_bytes()).hexdigest() for label, path in files.items()}, \
        make_data_disk(place / 'images.img', {'v2.efi': files['v2']})
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

    def found(self):
        """Exit status of the doctor, and {id: subject} of the problems that it found."""
        rc, said = self.tell('doctor')
        assert all(f.get('advice') for f in said['findings'] if f['severity'] == 'problem'), said
        return rc, {f['id']: f['subject'] for f in said['findings'] if f['severity'] == 'problem'}

    def roles(self):
        _, roles = esp_files(self.machine)
        labels = {digest: label for label, digest in self.digests.items()}
        return {role: labels.get(digest, 'damaged') for role, digest in roles.items()}

    def starts(self, version):
        """The node starts by itself with this version, confirms it, and has its data."""
        self.machine.reboot()
        self.machine.shell('systemctl is-system-running --wait', check=False)
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
