# SPDX-License-Identifier: Apache-2.0
"""What the firmware itself must refuse: the ground that everything else stands on. The images differ in their
signature alone, and their good twin is the image that all other tests boot."""
import pytest

from rig import Disk

REFUSED = r'Access Denied'
NOTHING_LEFT = r'No bootable option or device was found'


@pytest.fixture
def medium(workshop):
    unsigned = workshop.usi('unsigned', unsigned=True)
    make = {
        'good': lambda: unsigned_signed_by(workshop, unsigned, 'keys'),
        'unsigned': lambda: unsigned,
        'foreign': lambda: unsigned_signed_by(workshop, unsigned, 'foreign-keys'),
    }
    return lambda kind: workshop.hand_made_medium(make[kind]())


def unsigned_signed_by(workshop, image, keys):
    return workshop.sign(f'usi-twin-{keys}.efi', image, keys)


def boot(machines, image, **how):
    machine = machines(disks=[Disk(image, serial='live', readonly=True)])
    machine.boot(**how)
    return machine


def test_image_signed_by_our_key_starts(machines, medium):
    machine = boot(machines, medium('good'))
    assert machine.shell('cat /sys/firmware/efi/efivars/SecureBoot-*').out == b'\x06\0\0\0\x01'
    assert machine.shell('cat /sys/firmware/efi/efivars/SetupMode-*').out == b'\x06\0\0\0\0'


@pytest.mark.parametrize('kind', ['unsigned', 'foreign'])
def test_other_image_is_refused(machines, medium, kind):
    machine = boot(machines, medium(kind), expect=REFUSED)
    # Nothing else is started instead: the firmware comes to the end of what it could try.
    machine.expect(NOTHING_LEFT, timeout=60)
    assert machine.ready is None
