# SPDX-License-Identifier: Apache-2.0
"""The node seen from a container: its root is mounted at a folder, and nothing else of it is visible."""
import json

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


def contained(machine, *argv):
    return machine.run(['unshare', '--mount', '--pid', '--fork', 'sh', '-c', CONTAINER, 'sh', *argv])


def test_agent_works_on_the_node_from_a_container(machines, installed):
    machine = machines(installed)
    machine.boot()
    outside = machine.run(['tb-agent', 'status', '--json'], check=True).json()
    inside = contained(machine, 'tb-agent', 'status', '--root', '/tmp/host', '--json')
    assert inside.rc == 0, inside.text
    same = ('role', 'version', 'blessed', 'secure_boot', 'measured', 'entries', 'running', 'fallback', 'floor', 'next')
    inside = json.loads(inside.text)
    assert {key: inside[key] for key in same} == {key: outside[key] for key in same}

    # Without the root there is no node to be seen.
    assert contained(machine, 'tb-agent', 'status', '--json').rc == 10

    # A variable of the firmware, and the lock of the node.
    done = contained(machine, 'tb-agent', 'bootentry', 'once', 'passive', '--root', '/tmp/host')
    assert done.rc == 0, done.text
    assert machine.run(['tb-agent', 'bootentry', 'list', '--json'], check=True).json()['once'] == 'passive.conf'
    machine.reboot()
    status = machine.run(['tb-agent', 'status', '--json'], check=True).json()
    assert (status['role'], status['fallback']) == ('passive', False)

    # Mounts of the agent are its own.
    assert ' vfat ' not in machine.read('/proc/mounts').decode()
