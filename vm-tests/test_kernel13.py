# SPDX-License-Identifier: Apache-2.0
"""The kernel of Debian 13 on a node that ran the one of Debian 12: compressed modules, and a newer dm-crypt, vfat and efivarfs.
All other tests run on it with TB_KERNEL=debian13. Without its packages this is skipped."""
import pytest

from rig import Disk, KernelUnreachable, make_data_disk, mount_data_disk
from rig.facts import node_facts

KERNEL = 'debian13'
GOOD = {'role': 'active', 'secure_boot': True, 'blessed': True, 'encrypted': {'/oem': True, '/usr/local': True}}
UPGRADE_TIMEOUT = 300


@pytest.fixture
def image(workshop):
    try:
        return workshop.usi('v2', version=2, kernel=KERNEL)
    except KernelUnreachable as e:
        pytest.skip(str(e))


def test_a_node_is_upgraded_to_the_kernel_of_debian_13(workshop, machines, running, image):
    machine = machines(running)
    machine.boot()
    assert machine.run(['uname', '-r'], check=True).text.strip() == workshop.release()
    machine.write('/usr/local/kept', b'data\n')
    machine.plug(Disk(make_data_disk(machine.dir / 'images.img', {'v2.efi': image}), serial='images', readonly=True))
    mount_data_disk(machine)
    machine.run(['tb-agent', 'upgrade', '--source', 'file:/run/images/v2.efi', '--json'], timeout=UPGRADE_TIMEOUT, check=True)
    machine.reboot()
    machine.shell('systemctl is-system-running --wait', check=True)
    assert machine.run(['uname', '-r'], check=True).text.strip() == workshop.release(KERNEL)
    assert node_facts(machine) == GOOD and machine.read('/usr/local/kept') == b'data\n'
    # What it loads is compressed, and it has to find more of it by itself when it is asked for.
    assert machine.shell('modinfo -F filename dm_crypt', check=True).text.endswith('.ko.xz\n')
    status = machine.run(['tb-agent', 'status', '--json'], check=True).json()
    assert status['problems'] == [] and status['firmware_entry']['state'] == 'present', status
    done = machine.run(['tb-agent', 'doctor', '--json'], timeout=120)
    assert done.rc == 0, done.text
