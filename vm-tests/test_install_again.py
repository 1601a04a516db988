# SPDX-License-Identifier: Apache-2.0
"""Installations that are killed at every step and begun again, in one live session; the tests are one story, in this order."""
import pytest

from rig.workshop import INSTALL, INSTALL_TIMEOUT

# Each step of an installation, by the begin of its name, in order.
STEPS = ['clearing', 'making the EFI', 'writing the active', 'writing the recovery', 'writing boot entries',
         'encrypting and enrolling the partition oem', 'making the partition data',
         'encrypting and enrolling the partition persistent', 'writing the partition table', 'telling the firmware']
EXTRA = ('--partition', 'data:64M:ext4:DATA')
# Kills the installation as soon as it tells a step.
KILLER = '''#!/bin/bash
step=$1; shift
rm -f /run/progress; mkfifo /run/progress
"$@" --progress-fd 3 3> /run/progress > /run/out 2>&1 &
pid=$!
while read -r line; do
        case $line in *"\\"phase\\":\\"$step"*) kill -9 $pid; break;; esac
done < /run/progress
wait $pid 2> /dev/null
echo $?
'''


@pytest.fixture(scope='module')
def live(workshop):
    with workshop.live().clone(workshop.work / 'again') as machine:
        machine.boot()
        machine.write('/run/killer', KILLER.encode())
        machine.run(['chmod', '+x', '/run/killer'], check=True)
        yield machine


def install(live, *options, **kwargs):
    return live.run([*INSTALL, '--target', live.disk_node('target'), '--yes', '--json', '--no-recovery-key', *options],
                    timeout=INSTALL_TIMEOUT, **kwargs)


def kill_at(live, step, *options):
    done = live.run(['/run/killer', step, *INSTALL, '--target', live.disk_node('target'), '--yes', '--no-recovery-key',
                     *options], timeout=INSTALL_TIMEOUT, check=True)
    assert done.text.split() == ['137'], (step, done.text, live.read('/run/out'))


def volumes(live, numbers=(2, 3, 4)):
    return {n: live.run(['cryptsetup', 'luksUUID', f'{live.disk_node("target")}{n}'], check=True).text for n in numbers}


def bootable(live):
    """Whether firmware finds something to start: the table is there, and the boot loader on the ESP."""
    disk = live.disk_node('target')
    return live.shell(f'sfdisk -d {disk} > /dev/null 2>&1 && mkdir -p /run/look && mount -o ro {disk}1 /run/look && '
                      '{ test -s /run/look/EFI/BOOT/BOOTX64.EFI; r=$?; umount /run/look; exit $r; }').rc == 0


def test_killed_at_every_step_and_completed(live):
    for step in STEPS:
        kill_at(live, step, *EXTRA)
        # The table is the last thing of the disk: before it nothing starts.
        assert bootable(live) is (step == 'telling the firmware'), step
        done = install(live, *EXTRA)
        assert done.rc == 0 and done.json()['installed'] is True, (step, done)
        assert bootable(live), step
        volumes(live)


def test_a_plan_that_keeps_the_data(live):
    plan = install(live, '--no-format', '--dry-run', check=True).json()['plan']
    assert {p['name']: p['kept'] for p in plan['partitions']} == {
        'efi': False, 'oem': True, 'data': True, 'persistent': True}
    assert plan['no_format'] is True and [lost['name'] for lost in plan['lost']] == ['efi']
