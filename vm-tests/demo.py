#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The whole life of a trusted node, from nothing: keys, a signed system image, an installer medium, an installation,
and a boot that unlocks the disk by what was measured. Takes a virtual machine and a few minutes."""
import argparse
import shutil
import sys
import time

from rig import MachineError, Workshop
from rig.facts import entries, node_facts

EXPECTED = {'role': 'active', 'secure_boot': True, 'blessed': True, 'encrypted': {'/oem': True, '/usr/local': True}}


class Steps:
    """One line per step, with the seconds it took and the seconds since the beginning."""

    def __init__(self):
        self.start = time.monotonic()

    def __call__(self, text, function, *args, **kwargs):
        begin = time.monotonic()
        print(f'[{begin - self.start:6.1f} s] {text} ...', end='', flush=True)
        result = function(*args, **kwargs)
        print(f' {time.monotonic() - begin:.1f} s', flush=True)
        return result


def demo(workshop):
    step = Steps()
    step('making Secure Boot keys and a policy key', workshop.keys)
    step('building the demo OS root (the first time takes minutes)', workshop.base)
    usi = step('packing and signing the system image', workshop.usi)
    print(f'           {usi.name}: {usi.stat().st_size / 1e6:.0f} MB, one signed file that is the whole OS')
    medium = step('signing systemd-boot and making the installer ISO', workshop.live_medium)
    print(f'           {medium.name}: {medium.stat().st_size / 1e6:.0f} MB, for CD drives and USB sticks')
    step('enrolling the keys into the firmware, Secure Boot on', workshop.vars)
    with workshop.live_machine(workshop.work / 'node', bus='cdrom') as node:
        step('booting the ISO as a CD', node.boot)
        step('tb-agent install: partitions, encryption, TPM, images', workshop.install, node)
        step('booting the node from its own disk', node.boot)
        status = node.run(['tb-agent', 'status', '--json'], check=True)
        (workshop.work / 'status.json').write_bytes(status.out)
        claimed = status_facts(status.json())
        print('\n' + node.run(['tb-agent', 'status'], check=True).text)
        facts = step('looking at the node from outside the agent', node_facts, node)
        step('powering off', node.power_off)
        # A counter left in a name is a boot that nobody confirmed, whatever the unit said.
        facts['blessed'] &= not any('+' in name for name in entries(node))
    return report(facts, claimed)


def status_facts(status):
    """The agent's own report, in the words of node_facts."""
    mounts = {'oem': '/oem', 'persistent': '/usr/local'}
    return {'role': status['role'], 'secure_boot': status['secure_boot'], 'blessed': status['blessed'],
            'encrypted': {mounts.get(p['name'], p['name']): p['encrypted'] and p['unlocked_by'] == 'tpm2'
                          for p in status['partitions']}}


def report(facts, claimed):
    good = facts == EXPECTED and claimed == facts
    for name, expected in EXPECTED.items():
        mark = 'ok  ' if facts[name] == claimed[name] == expected else 'FAIL'
        said = '' if claimed[name] == facts[name] else f', but tb-agent says {claimed[name]}'
        print(f'           {mark} {name}: {facts[name]}{said}')
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--build', default='build', help='build directory (default: %(default)s)')
    arguments = parser.parse_args()
    needed = ('qemu-system-x86_64', 'swtpm', 'swtpm_setup', 'mmdebstrap', 'mcopy', 'sfdisk', 'mkfs.vfat', 'depmod', 'xorriso')
    missing = [tool for tool in needed if not shutil.which(tool)]
    if missing:
        print(f'demo: missing {", ".join(missing)}: install the packages of vm-tests/packages.txt', file=sys.stderr)
        return 1
    try:
        good = demo(Workshop(arguments.build, f'{arguments.build}/demo'))
    except (MachineError, RuntimeError, OSError, ValueError, KeyError) as e:
        print(f'\ndemo: {e}', file=sys.stderr)
        return 1
    print('demo: good' if good else 'demo: the node is not what it should be')
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())
