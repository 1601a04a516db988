# SPDX-License-Identifier: Apache-2.0
"""What a node finds when it has booted: its folders, its identity, and all of its disk. One machine, four boots."""
import hashlib
import json
import os
import re

from rig.esp import run as host_run

MIB = 1 << 20
GROWTH = 256 * MIB
FILLING = 8 * MIB
STATE = '/usr/local/.state'


def mounts(machine):
    """Mount point -> (type, options, root inside its file system); of several on one point, the last."""
    found = {}
    for line in machine.read('/proc/self/mountinfo').decode().splitlines():
        left, right = (part.split() for part in line.split(' - '))
        found[left[4]] = (right[0], set(left[5].split(',')), left[3])
    return found


def boot_report(machine):
    report = machine.run(['tb-agent', 'status', '--boot', '--json'], check=True).json()['boot']
    print(json.dumps(report))       # where the time went, for who wants to know
    return report


def partition_size(machine, number):
    return int(machine.read(f'/sys/class/block/vda{number}/size')) * 512


def file_system_size(machine, path):
    return int(machine.run(['stat', '-f', '-c', '%b', path], check=True).text) * \
        int(machine.run(['stat', '-f', '-c', '%S', path], check=True).text)


def sha256(machine, path):
    return machine.run(['sha256sum', path], check=True).text.split()[0]


def expect_bound(machine, found, path, name):
    kind, options, root = found[path]
    assert (kind, root) == ('ext4', f'/.state/{name}.bind'), path
    assert {'nosuid', 'nodev', 'noatime'} <= options, path


def expect_defaults(machine):
    found = mounts(machine)
    for path, name in (('/home', 'home'), ('/root', 'root'), ('/etc/ssh', 'etc-ssh'), ('/var/log', 'var-log'),
                       ('/var/lib/rancher', 'var-lib-rancher')):
        expect_bound(machine, found, path, name)
    assert 'noexec' in found['/var/log'][1] and 'noexec' not in found['/home'][1]
    for path in ('/etc', '/opt', '/srv', '/var'):
        assert found[path][0] == 'overlay', path
    assert '/etc/systemd' not in found and '/usr/libexec' not in found
    return found


def test_folders_identity_and_growth(machine):
    # The first of them has been there since the first boot of all: it was filled from the image then.
    machine.boot()
    expect_defaults(machine)
    assert sha256(machine, f'{STATE}/root.bind/.profile') == sha256(machine, '/root/.profile')
    assert machine.run(['stat', '-c', '%a', '/root', f'{STATE}/root.bind'], check=True).text.split() == ['700', '700']
    assert not re.search(r'\.new$', machine.run(['ls', '-a', STATE], check=True).text, re.M)
    report = boot_report(machine)
    assert report['problems'] == [] and report['folders_filled'] == 0
    assert 'grown_partition' not in report and 'grown_file_system' not in report
    # Against the kernel before it, on the same machine in the same minute; seconds are for the benchmark.
    assert report['own_ms'] < report['started_ms'] / 2
    assert report['tpm_ms'] + report['disk_ms'] + report['own_ms'] == report['total_ms']
    # What the stage did not need has been started by the system, which loads modules as ever.
    assert machine.read('/proc/sys/kernel/modprobe') == b'/sbin/modprobe\n'
    # The volumes and their file systems use what the processor does best, not only what was there first.
    used = dict(re.findall(r'^driver +: (\S+)\n(?:.+\n)*?refcnt +: (\d+)$', machine.read('/proc/crypto').decode(), re.M))
    assert int(used['xts-aes-aesni']) > 2 and int(used['crc32c-intel']) > 2
    identity = machine.read('/etc/machine-id')
    assert re.fullmatch(rb'[0-9a-f]{32}\n', identity) and machine.read('/usr/local/etc/machine-id') == identity
    told = machine.shell('. /run/cos/cos-layout.env; echo "$RW_PATHS|$PERSISTENT_STATE_TARGET|$PERSISTENT_STATE_PATHS"',
                         check=True).text.strip().split('|')
    assert told[:2] == ['/etc /opt /srv /var', STATE] and '/var/lib/rancher' in told[2].split()
    said = machine.run(['tb-agent', 'status', '--boot'], check=True).text
    for word in ('unlock', 'folders', 'together', 'of it our own', 'TPM commands'):
        assert re.search(rf'^ *{word} +\d+', said, re.M), said
    machine.write('/root/.profile', b'the owner was here\n')
    machine.write('/var/lib/rancher/kept', b'data\n')
    machine.write('/opt/lost', b'program\n')
    machine.shell(f'dd if=/dev/urandom of=/usr/local/filling bs=1M count={FILLING // MIB} conv=fsync', check=True)
    filling = sha256(machine, '/usr/local/filling')
    machine.run(['mkdir', '-p', '/oem/tb-agent'], check=True)
    machine.write('/oem/tb-agent/mounts.json',
                  b'{"bind":["/data","/etc/systemd/network"],"ephemeral":["/scratch","/var/log/noise"]}\n')
    machine.write('/oem/tb-agent/swap.json', b'{"size":"64M"}\n')
    before = partition_size(machine, 3), file_system_size(machine, '/usr/local')
    machine.power_off()
    disk = machine.disk('target').path
    host_run('qemu-img', 'resize', disk, f'+{GROWTH}')

    # A larger disk, and wishes of the user.
    machine.boot()
    found = expect_defaults(machine)
    assert machine.read('/root/.profile') == b'the owner was here\n'
    assert machine.read('/var/lib/rancher/kept') == b'data\n'
    assert machine.run(['test', '-e', '/opt/lost']).rc != 0
    assert machine.read('/etc/machine-id') == identity
    expect_bound(machine, found, '/data', 'data')
    expect_bound(machine, found, '/etc/systemd/network', 'etc-systemd-network')
    assert found['/scratch'][0] == found['/var/log/noise'][0] == 'overlay'
    report = boot_report(machine)
    assert report['problems'] == [] and report['folders_filled'] == 2
    after = partition_size(machine, 3), file_system_size(machine, '/usr/local')
    assert after[0] == before[0] + GROWTH == report['grown_partition']
    assert before[1] + GROWTH * 9 // 10 < after[1] < after[0]
    assert report['grown_file_system'] > GROWTH
    assert sha256(machine, '/usr/local/filling') == filling
    # All of it can be written to.
    machine.shell(f'dd if=/dev/zero of=/usr/local/more bs=1M count={(after[1] - before[1]) // MIB - 16} conv=fsync; '
                  'rm /usr/local/more', check=True)
    machine.write('/data/kept', b'the user\'s\n')
    assert re.search(r'^/usr/local/\.swap\s+file\s+655\d\d\s', machine.read('/proc/swaps').decode(), re.M)

    machine.write('/oem/tb-agent/mounts.json', b'{"bind":["/data","/proc"]}\n')
    machine.write('/oem/tb-agent/swap.json', b'{"size":"lots"}\n')
    machine.write('/usr/local/etc/machine-id', b'uninitialized\n')
    machine.power_off()
    table = hashlib.sha256(partition_table(machine, disk)).digest()

    # Mistakes are told, and survived.
    machine.boot()
    found = expect_defaults(machine)
    assert '/data' in found and machine.read('/data/kept') == b'the user\'s\n'
    report = boot_report(machine)
    assert len(report['problems']) == 3
    for word in ('/proc', 'machine-id', 'swap'):
        assert any(word in p for p in report['problems']), word
    assert b'swap' not in machine.read('/proc/swaps').splitlines()[-1]
    assert 'grown_partition' not in report and 'grown_file_system' not in report
    assert machine.run(['tb-agent', 'status', '--json'], check=True).json()['problems'] == report['problems']
    assert '/proc' in machine.run(['tb-agent', 'status', '--boot'], check=True).text
    replaced = machine.read('/etc/machine-id')
    assert re.fullmatch(rb'[0-9a-f]{32}\n', replaced) and replaced != identity
    assert machine.read('/usr/local/etc/machine-id') == replaced
    machine.run(['tb-agent', 'bootentry', 'once', 'recovery'], check=True)
    machine.power_off()
    assert hashlib.sha256(partition_table(machine, disk)).digest() == table     # an ordinary boot does not write it

    # In recovery the same places take writes, and keep none.
    machine.boot()
    found = mounts(machine)
    for path in ('/etc', '/home', '/opt', '/root', '/srv', '/usr/local', '/var'):
        assert found[path][0] == 'overlay', path
    assert not any(root.startswith('/.state') for _, _, root in found.values())
    assert 'PERSISTENT_STATE' not in machine.read('/run/cos/cos-layout.env').decode()


def partition_table(machine, disk):
    """The first 17 KiB of the disk of a machine that is off: MBR, header, entries."""
    raw = machine.dir / 'table.img'
    host_run('qemu-img', 'dd', '-O', 'raw', 'bs=512', 'count=34', f'if={disk}', f'of={raw}')
    data = raw.read_bytes()
    os.unlink(raw)
    return data
