# SPDX-License-Identifier: Apache-2.0
"""A node that is installed by a configuration alone: what is asked for is what the node is, at every boot."""
import json

from rig.facts import node_facts
from rig.workshop import INSTALL_TIMEOUT

CONFIG = b'''#cloud-config
hostname: node7
install:
  device: size>=8G,bus=virtio,largest
  partitions: {oem: {size: 96}}
  extra-partitions:
  - {name: data, size: 64M, fs: ext4, label: DATA}
  encrypted_partitions: [DATA]
  bind_mounts: [/var/lib/mine]
  ephemeral_mounts: [/mnt]
  recovery-key: none
  allow-software-tpm: true
'''
BROKEN = b'''#cloud-config
install:
  devise: auto
  partitions: {oem: {size: many}}
'''


def test_node_of_a_configuration(machines, live_session):
    machine = machines(live_session).boot()
    machine.write('/run/broken.yaml', BROKEN)
    machine.write('/run/node.yaml', CONFIG)
    done = machine.run(['tb-agent', 'install', '--config', '/run/broken.yaml', '--yes', '--json'])
    assert done.rc == 4 and b'/run/broken.yaml:3:3' in done.err and b'"device"' in done.err, done
    # What the command line says counts more; nothing is written by looking.
    target = machine.disk_node('target')
    done = machine.run(['tb-agent', 'install', '--config', '-', '--target', target, '--oem-size', '200M', '--dry-run', '--json'],
                       stdin=CONFIG, check=True).json()
    sizes = {p['name']: p['size'] for p in done['plan']['partitions']}
    assert sizes['oem'] == 200 << 20 and sizes['data'] == 64 << 20
    assert machine.run(['cmp', '-n', str(64 << 20), target, '/dev/zero']).rc == 0
    done = machine.run(['tb-agent', 'install', '--config', '/run/node.yaml', '--yes', '--json'], timeout=INSTALL_TIMEOUT,
                       check=True).json()
    assert done['plan']['disk']['serial'] == 'target' and 'largest' in done['plan']['disk']['chosen']
    assert done['recovery_key'] == 'none'
    machine.power_off()
    machine.disks = [machine.disk('target')]
    machine.boot()
    assert node_facts(machine)['encrypted'] == {'/oem': True, '/usr/local': True}
    assert machine.read('/oem/90_custom.yaml') == CONFIG
    mode = machine.run(['stat', '-c', '%a', '/oem/90_custom.yaml', '/oem/tb-agent'], check=True).text.split()
    assert mode == ['600', '700']
    status = machine.run(['tb-agent', 'status', '--json'], check=True).json()
    assert status['problems'] == []
    assert {p['name']: p['unlocked_by'] for p in status['partitions']} == {name: 'tpm2' for name in ('oem', 'data', 'persistent')}
    mounts = machine.read('/proc/self/mountinfo').decode()
    assert '/.state/var-lib-mine.bind /var/lib/mine ' in mounts and ' /mnt ' in mounts
    values = machine.run(['tb-agent', 'config', 'show', '--use-default-dirs', '--json'], check=True).json()['values']
    device = next(v for v in values if v['key'] == 'install.device')
    assert (device['value'], device['file']) == ('size>=8G,bus=virtio,largest', '/oem/90_custom.yaml'), json.dumps(values)
