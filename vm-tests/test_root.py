# SPDX-License-Identifier: Apache-2.0
"""The node seen from a container: its root is mounted at a folder, and nothing else of it is visible."""
import hashlib
import json

from rig import Disk
from rig.esp import make_data_disk

IMAGES = '/run/images'

# Another mount and process name space, with the node at /tmp/host. What the agent would find at the usual places is
# hidden, so that a path that is not below the root is noticed.
CONTAINER = '''
set -e
mkdir -p /tmp/host
mount --make-rprivate /
mount --rbind / /tmp/host
for hidden in /run /oem /usr/local /sys; do mount -t tmpfs none $hidden; done
mount -t proc none /proc
"$@"
'''


# A hook of the node: it runs in the node's root, where it sees what the container does not.
HOOK = b'''#!/bin/sh
[ -d /oem/tb-agent ] && echo "$TB_EVENT $TB_FROM_VERSION" >> /run/hooks-ran
'''


def contained(machine, *argv, within=()):
    return machine.run([*within, 'unshare', '--mount', '--pid', '--fork', 'sh', '-c', CONTAINER, 'sh', *argv], timeout=300)


def status_of(machine):
    return machine.run(['tb-agent', 'status', '--json'], check=True).json()


def upgrade(machine, workshop):
    """With the words of the manifests. Returns the digest of the image."""
    source = f'file:/tmp/host{IMAGES}/v2.efi'
    machine.run(['mkdir', '-p', IMAGES], check=True)
    machine.run(['mount', '-o', 'ro', machine.disk_node('images'), IMAGES], check=True)
    for event in ('before-upgrade', 'after-upgrade'):
        folder = f'/oem/tb-agent/hooks.d/{event}'
        machine.run(['mkdir', '-p', folder], check=True)
        machine.write(f'{folder}/10-note', HOOK)
        machine.run(['chmod', '755', f'{folder}/10-note'], check=True)
    words = ('tb-agent', 'upgrade', '--root', '/tmp/host', '--source', source, '--json')
    # Another run of the agent, which holds the lock of the node.
    done = contained(machine, *words, within=('flock', '/run/tb-agent/lock'))
    assert done.rc == 8, done
    assert machine.run(['test', '-e', '/run/hooks-ran']).rc != 0
    done = contained(machine, *words)
    said = json.loads(done.text)
    assert done.rc == 0 and (said['result'], said['hooks'], said['warning']) == ('upgraded', 2, None), done
    assert machine.read('/run/hooks-ran').decode().splitlines() == ['before-upgrade 1', 'after-upgrade 1']
    assert json.loads(machine.read('/oem/tb-agent-upgrade.json'))['operations'][-1]['to_version'] == '2'
    return hashlib.sha256(workshop.usi('v2', version=2).read_bytes()).hexdigest()


def test_agent_works_on_the_node_from_a_container(machines, workshop, booted):
    machine = machines(booted)
    machine.disks.append(Disk(make_data_disk(machine.dir / 'images.img', {'v2.efi': workshop.usi('v2', version=2)}),
                              serial='images', readonly=True))
    machine.boot()
    outside = machine.run(['tb-agent', 'status', '--json'], check=True).json()
    inside = contained(machine, 'tb-agent', 'status', '--root', '/tmp/host', '--json')
    assert inside.rc == 0, inside.text
    same = ('role', 'version', 'blessed', 'secure_boot', 'measured', 'entries', 'running', 'fallback', 'floor', 'next')
    inside = json.loads(inside.text)
    assert {key: inside[key] for key in same} == {key: outside[key] for key in same}

    # Without the root there is no node to be seen.
    assert contained(machine, 'tb-agent', 'status', '--json').rc == 10

    digest = upgrade(machine, workshop)

    # A variable of the firmware, and the lock of the node.
    done = contained(machine, 'tb-agent', 'bootentry', 'once', 'passive', '--root', '/tmp/host')
    assert done.rc == 0, done.text
    assert machine.run(['tb-agent', 'bootentry', 'list', '--json'], check=True).json()['once'] == 'passive.conf'
    machine.reboot()
    status = status_of(machine)
    assert (status['role'], status['fallback']) == ('passive', False)

    # Mounts of the agent are its own.
    assert ' vfat ' not in machine.read('/proc/mounts').decode()

    # What was installed from the container is what starts.
    machine.reboot()
    status = status_of(machine)
    assert (status['role'], status['version'], status['running']['sha256']) == ('active', '2', digest)
