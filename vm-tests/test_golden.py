# SPDX-License-Identifier: Apache-2.0
"""A golden image: made by nobody without any right, copied to a larger disk, and a node after its first boot. One machine's
life in the order of the tests: two power cuts, the first whole boot, one more, and what somebody with a hand on its disk tries.
Then images that are sealed to the TPM of their machine while that is off, one with a PIN: by the log of the first machine, which
has the same firmware and keys."""
import base64
import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from rig import Disk, Machine
from rig.esp import run as host_run
from rig.facts import node_facts
from rig.machine import die_with_parent

MIB, GIB = 1 << 20, 1 << 30
HEADER = 16 * MIB
NOBODY = 65534
UNPRIVILEGED = ['setpriv', f'--reuid={NOBODY}', f'--regid={NOBODY}', '--clear-groups', '--bounding-set=-all', '--inh-caps=-all',
                '--no-new-privs']
CONFIG = b'#cloud-config\nusers:\n- name: admin\n  passwd: word-that-is-not-to-stay\ninstall:\n  bind_mounts: [/var/lib/mine]\n'
NODE = {'role': 'active', 'secure_boot': True, 'blessed': True, 'encrypted': {'/oem': True, '/usr/local': True}}


def table(path):
    return json.loads(host_run('sfdisk', '--json', path))['partitiontable']


def start_of(path, name):
    return next(p['start'] for p in table(path)['partitions'] if p['name'] == name) * 512


def content(path, at, size):
    with open(path, 'rb') as f:
        f.seek(at)
        return f.read(size)


def put(path, at, data):
    with open(path, 'r+b') as f:
        f.seek(at)
        f.write(data)


def is_luks(path, name):
    return content(path, start_of(path, name), 6) == b'LUKS\xba\xbe'


def is_blank(path, name):
    return content(path, start_of(path, name), 16) == b'tb-agent blank 1'


@pytest.fixture(scope='module')
def place(workshop):
    path = workshop.work / 'golden'
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    return path


@pytest.fixture(scope='module')
def bench(workshop):
    """A folder in which nobody can reach the programs and files."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for name, source in (('tb-agent', workshop.agent), ('db.pem', workshop.keys() / 'db.pem'),
                             ('source/EFI/kairos/norole.efi', workshop.usi('golden', cmdline='loglevel=7')),
                             ('source/EFI/BOOT/BOOTX64.EFI', workshop.loader())):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / name)
        (folder / 'config.yaml').write_bytes(CONFIG)
        (folder / 'out').mkdir()
        host_run('chmod', '-R', 'a+rX', folder)
        os.chown(folder / 'out', NOBODY, NOBODY)
        yield folder


def make_image(bench, image, *options):
    """An image, made by nobody; and what was said."""
    said = json.loads(host_run(*UNPRIVILEGED, bench / 'tb-agent', 'install', '--image', bench / 'out/golden.img', '--size', '1G',
                               '--esp-size', '400M', '--source', f'dir:{bench}/source', '--config', bench / 'config.yaml',
                               '--allow-software-tpm', '--json', *options))
    assert said['installed'] is True
    shutil.move(bench / 'out/golden.img', image)
    return said


@pytest.fixture(scope='module')
def golden(bench, place):
    make_image(bench, place / 'golden.img', '--db', bench / 'db.pem')
    return place / 'golden.img'


@pytest.fixture(scope='module')
def node(workshop, golden, place):
    """A machine with the image on a disk of twice its size."""
    disk = place / 'disk.img'
    host_run('cp', '--sparse=always', golden, disk)
    os.truncate(disk, 2 * GIB)
    with Machine(place / 'machine', disks=[Disk(disk, serial='target')], vars=workshop.vars()) as machine:
        yield machine


def disk_of(node):
    return node.disk('target').path


def status(node):
    return node.run(['tb-agent', 'status', '--json'], check=True).json()


def test_power_cut_while_oem_is_made(node):
    node.boot(expect='first boot: making the encrypted volume "oem"')
    node.power_cut()
    assert is_blank(disk_of(node), 'oem') and is_blank(disk_of(node), 'persistent')


def test_power_cut_between_the_volumes(node):
    node.boot(expect='first boot: making the encrypted volume "persistent"')
    node.power_cut()
    assert is_luks(disk_of(node), 'oem') and is_blank(disk_of(node), 'persistent')


def test_first_boot_makes_a_node(node, golden):
    node.boot()
    assert node_facts(node) == NODE
    said = status(node)
    assert said['problems'] == [] and said['fallback'] is False
    assert [(p['name'], p['encrypted'], p['unlocked_by']) for p in said['partitions']] == \
        [('oem', True, 'tpm2'), ('persistent', True, 'tpm2')]
    assert said['first_boot']['state'] == 'done' and said['first_boot']['config_sha256']
    report = node.run(['tb-agent', 'status', '--boot', '--json'], check=True).json()['boot']
    assert report['first_boot'] is True and report['problems'] == []
    # What the image brought, inside of the encryption; and a disk that is used to its end.
    assert node.read('/oem/90_custom.yaml') == CONFIG
    assert node.run(['mountpoint', '-q', '/var/lib/mine']).rc == 0
    assert int(node.read('/sys/class/block/vda3/size')) * 512 > GIB
    assert int(node.run(['stat', '-f', '-c', '%b', '/usr/local'], check=True).text) * 4096 > GIB
    node.write('/usr/local/kept', b'data of the owner\n')
    node.power_off()


def test_disk_has_nothing_of_the_image_left(node, golden):
    disk = disk_of(node)
    assert b'No errors detected' in host_run('sfdisk', '--verify', disk)
    before, after = table(golden), table(disk)
    assert after['lastlba'] > before['lastlba'] and after['id'] != before['id']
    same = {p['name']: p['uuid'] == q['uuid'] for p, q in zip(before['partitions'], after['partitions'])}
    assert same == {'efi': True, 'oem': False, 'persistent': False}
    start = start_of(disk, 'persistent')
    secret = base64.b64encode(CONFIG)[:32]
    assert secret in content(golden, start, HEADER) and secret not in content(disk, start, HEADER)
    for name, label in (('oem', 'COS_OEM'), ('persistent', 'COS_PERSISTENT')):
        header = node.dir / f'{name}.header'
        header.write_bytes(content(disk, start_of(disk, name), HEADER))
        said = host_run('cryptsetup', 'luksDump', header).decode()
        assert f'Label:         \t{label}' in said and 'systemd-tpm2' in said


def test_second_boot_is_that_of_any_node(node):
    node.boot()
    assert node_facts(node) == NODE
    said = status(node)
    assert said['problems'] == [] and {p['unlocked_by'] for p in said['partitions']} == {'tpm2'}
    assert 'first_boot' not in node.run(['tb-agent', 'status', '--boot', '--json'], check=True).json()['boot']
    assert node.read('/usr/local/kept') == b'data of the owner\n'
    (node.dir / 'log').write_bytes(node.read('/sys/kernel/security/tpm0/binary_bios_measurements'))
    node.power_off()


@pytest.fixture
def tampered(node, golden, request):
    """tampered(change) starts a copy of the node after change(disk), and gives what stands on the console in the end."""
    copy = node.dir / f'{request.node.name}.img'
    machines = []

    def run(change, expected):
        host_run('cp', '--sparse=always', disk_of(node), copy)
        change(copy)
        machine = node.clone(node.dir / 'tampered', disks=[Disk(copy, serial='target')])
        machines.append(machine)
        machine.boot(expect=expected)
        return copy
    yield run
    for machine in machines:
        machine.power_cut()
    copy.unlink(missing_ok=True)


def test_mark_over_a_volume_is_no_first_boot(node, golden, tampered):
    """Only the first sector is gone: the second copy of the header is there, and nothing is made over it."""
    def change(disk):
        at = start_of(disk, 'persistent')
        put(disk, at, content(golden, at, 4096))

    def digest(disk):
        return hashlib.sha256(content(disk, start_of(disk, 'persistent'), 64 * MIB)).digest()
    marked = []
    disk = tampered(lambda d: (change(d), marked.append(digest(d))), 'boot failed: .*has the header of an encrypted volume')
    assert digest(disk) == marked[0]


def test_wiped_data_does_not_come_back_empty(golden, tampered):
    """persistent wiped whole: the record inside of oem knows that this node had its first boot."""
    def change(disk):
        at = start_of(disk, 'persistent')
        put(disk, at, content(golden, at, HEADER))
    disk = tampered(change, 'boot failed: .*this node had its own')
    assert is_blank(disk, 'persistent')


def test_wiped_node_is_known_to_the_tpm(golden, tampered):
    """Both wiped, with a configuration of somebody else's: the old data must never be put back beside that."""
    def change(disk):
        for name in ('oem', 'persistent'):
            at = start_of(disk, name)
            put(disk, at, content(golden, at, HEADER))
    disk = tampered(change, 'boot failed: .*the TPM of this machine belongs to a node')
    assert is_blank(disk, 'oem') and is_blank(disk, 'persistent')


def listener(path):
    """A socket that anybody may connect to, from now on."""
    path.unlink(missing_ok=True)
    s = socket.socket(socket.AF_UNIX)
    s.bind(str(path))
    path.chmod(0o666)
    s.listen(1)
    return s


@contextlib.contextmanager
def awake(machine, bench):
    """The TPM of a machine that is off, for programs of this host: its TCTI. Its wrong tries are forgotten soon."""
    with listener(bench / 'tpm') as server, listener(bench / 'tpm.ctrl') as ctrl:
        swtpm = subprocess.Popen(['swtpm', 'socket', '--tpm2', '--tpmstate', f'dir={machine.dir}/tpm', '--server',
                                  f'type=unixio,fd={server.fileno()}', '--ctrl', f'type=unixio,fd={ctrl.fileno()}', '--flags',
                                  'not-need-init,startup-clear'], pass_fds=[server.fileno(), ctrl.fileno()], preexec_fn=die_with_parent)
    tcti = f'swtpm:path={bench}/tpm'
    try:
        host_run('tpm2_dictionarylockout', '-T', tcti, '--setup-parameters', '--max-tries=32', '--recovery-time=10',
                 '--lockout-recovery-time=10')
        yield tcti
        host_run('tpm2_shutdown', '-T', tcti, '--clear')
    finally:
        swtpm.terminate()
        swtpm.wait()


@pytest.fixture(scope='module')
def provisioned(workshop, bench, place):
    """provisioned(name, options...) is a machine that was never on, with an image on its disk that is sealed to its TPM."""
    with contextlib.ExitStack() as machines:
        def make(name, *options):
            disk = place / f'{name}.img'
            machine = machines.enter_context(Machine(place / name, disks=[Disk(disk, serial='target')], vars=workshop.vars()))
            with awake(machine, bench) as tcti:
                said = make_image(bench, disk, '--tcti', tcti, '--no-recovery-key', *options)
                host_run('tpm2_nvreadpublic', '-T', tcti, '0x01805443')
            os.truncate(disk, 2 * GIB)
            return machine, said['plan']
        yield make


@pytest.fixture(scope='module')
def sealed(provisioned, bench, place):
    shutil.copy(place / 'machine/log', bench / 'log')
    return provisioned('sealed', '--event-log', bench / 'log')


def test_node_that_was_sealed_from_afar_starts_by_itself(sealed):
    """It is no first boot, and what has no place in its image grows as on any node."""
    machine, _ = sealed
    assert is_luks(disk_of(machine), 'oem') and is_luks(disk_of(machine), 'persistent')
    machine.boot()
    assert node_facts(machine) == NODE
    said = status(machine)
    assert said['problems'] == [] and said['first_boot'] is None and {p['unlocked_by'] for p in said['partitions']} == {'tpm2'}
    assert 'first_boot' not in machine.run(['tb-agent', 'status', '--boot', '--json'], check=True).json()['boot']
    assert machine.read('/oem/90_custom.yaml') == CONFIG and machine.run(['mountpoint', '-q', '/var/lib/mine']).rc == 0
    assert json.loads(machine.read('/oem/tb-agent/install.json'))['made'] == 'image'
    assert int(machine.run(['stat', '-f', '-c', '%b', '/usr/local'], check=True).text) * 4096 > GIB
    machine.write('/usr/local/kept', b'data of the owner\n')
    machine.power_off()


def test_its_disk_is_closed_to_another_tpm(sealed):
    machine, _ = sealed
    other = machine.clone(machine.dir / 'other')
    other.reset_tpm()
    other.boot(expect='boot failed: .*sealed by another TPM')
    other.power_cut()


def test_pin_of_a_node(sealed, provisioned, bench):
    """Typed wrong once, then right; the TPM knows of the wrong one, and the boot counts as any."""
    (bench / 'pin').write_text('our 7 numbers\n')
    (bench / 'pin').chmod(0o644)
    machine, plan = provisioned('pin', '--pcr7', sealed[1]['pcr7'], '--db', bench / 'db.pem', '--pin-file', bench / 'pin')
    assert plan['pin'] is True
    machine.boot(expect='opens with a PIN.*it is not shown')
    machine.type('our 8 numbers\r')
    machine.expect(r'(?s)this is not the PIN.*locks itself after \d+ more.*it is not shown')
    machine.type('our 7 numbers\r')
    machine.wait_ready()
    assert 'our 7' not in machine.console and 'our 8' not in machine.console
    assert node_facts(machine) == NODE
    said = status(machine)
    assert said['problems'] == [] and {p['unlocked_by'] for p in said['partitions']} == {'tpm2'} and said['tpm']['in_lockout'] is False
    assert said['role'] == 'active' and said['fallback'] is False and said['blessed'] is True
    machine.power_off()
