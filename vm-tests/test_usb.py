# SPDX-License-Identifier: Apache-2.0
"""The installer medium as a USB stick: what most machines are installed from. With a kernel that drives USB."""
from rig.facts import node_facts, role

KERNEL = 'debian12-generic'


def test_stick_starts_and_installs(machines, workshop):
    machine = machines(usi=workshop.usi(kernel=KERNEL), bus='usb')
    machine.boot()
    assert role(machine) == 'live'
    assert machine.read('/proc/sys/kernel/osrelease').decode().strip() == workshop.release(KERNEL)
    medium = machine.shell('findmnt -no SOURCE /run/initramfs/live', check=True).text.strip()
    assert 'usb' in machine.shell('for d in /sys/block/sd*; do readlink -f $d; done', check=True).text, medium
    workshop.install(machine)
    machine.boot()
    assert node_facts(machine) == {'role': 'active', 'secure_boot': True, 'blessed': True,
                                   'encrypted': {'/oem': True, '/usr/local': True}}
