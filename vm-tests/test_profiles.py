# SPDX-License-Identifier: Apache-2.0
"""A node of an image with profiles, started by the systemd-stub of Debian 13 (which is downloaded; without it the test is skipped):
another profile opens the data too, and measures what was predicted."""
import hashlib
import json
import sys
from pathlib import Path

import pytest

from rig import Esp
from rig.esp import run
from rig.facts import node_facts

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'tests/image'))
from debian13 import Debian13  # noqa: E402

GOOD = {'role': 'active', 'secure_boot': True, 'blessed': True, 'encrypted': {'/oem': True, '/usr/local': True}}
ENTRY = 'loader/entries/active.conf'
CLOSED = 'enter-initrd:tb-agent-handover'


@pytest.fixture(scope='module')
def usi(workshop, tmp_path_factory):
    root = Debian13(tmp_path_factory.mktemp('debian13'), ['systemd-boot-efi']).root
    return workshop.usi('profiles', stub=root / 'usr/lib/systemd/boot/efi/linuxx64.efi.stub',
                        more=['--profile', 'debug:Debug=+tb.profile=debug'])


@pytest.fixture(scope='module')
def node(workshop, usi):
    """Installed and confirmed, off."""
    with workshop.live_machine(workshop.work / 'tests' / 'profiles', usi=usi) as machine:
        machine.boot()
        workshop.install(machine)
        machine.boot()
        assert node_facts(machine) == GOOD and 'tb.profile' not in machine.read('/proc/cmdline').decode()
        compare(workshop, usi, machine, 0)
        machine.power_off()
        yield machine


def measured(*texts):
    """A PCR that these texts were measured into, as UTF-16 with its end."""
    value = bytes(32)
    for text in texts:
        value = hashlib.sha256(value + hashlib.sha256(text.encode('utf-16le') + b'\0\0').digest()).digest()
    return value.hex()


def compare(workshop, usi, machine, profile, options=None):
    """The TPM has what "tb-image measure" says, also of the keys that this firmware is enrolled with. options: those of the
    boot entry, which the boot loader measures before it starts the image."""
    predicted = json.loads(run(workshop.tb_image, 'measure', '--json', '--loader', workshop.loader(), '--keys', workshop.keys(),
                               '--profile', profile, usi))['pcrs']
    place = '/sys/class/tpm/tpm0/pcr-sha256'
    if options:
        assert predicted['12'] == measured(str(profile))
        predicted['12'] = measured(options, str(profile))
    found = {n: machine.read(f'{place}/{n}').decode().strip().lower() for n in ('4', '7', '11', '12', '13')}
    assert found == {**predicted, '11': predicted['11'][CLOSED]}


def test_another_profile_opens_the_data(workshop, usi, node):
    esp = Esp(node.raw_disk('target'))
    text = esp.read(ENTRY).decode().rstrip('#\n') + '\noptions @1\n'
    esp.write(ENTRY, (text + '#' * (511 - len(text)) + '\n').encode())
    node.boot()
    assert 'tb.profile=debug' in node.read('/proc/cmdline').decode().split()
    assert node_facts(node) == GOOD
    compare(workshop, usi, node, 1, '@1')
