# SPDX-License-Identifier: Apache-2.0
"""The installer on the console of a live session: the medium as a USB stick would bring it, a configuration that does not install
by itself, and somebody who types. One story."""
import re
import shutil

import pytest

from rig import Disk, Machine
from rig.facts import node_facts
from rig.workshop import INSTALL_TIMEOUT, TARGET_SIZE

OFFER = r'Type "install" to install this system on a disk of this machine, or "quit" to leave:'
UNIT = 'tb-agent-installer.service'


@pytest.fixture(scope='module')
def machine(workshop):
    """In the live session."""
    place = workshop.work / 'tests' / 'attended'
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    (place / 'install.yaml').write_text('#cloud-config\ninstall: {allow-software-tpm: true}\n')
    iso = workshop.live_medium(label='-attended', options=['--config', place / 'install.yaml'])
    with open(place / 'target.img', 'wb') as f:
        f.truncate(TARGET_SIZE)
    disks = [Disk(iso, serial='live', readonly=True), Disk(place / 'target.img', serial='target')]
    with Machine(place / 'machine', disks=disks, vars=workshop.vars()) as machine:
        machine.boot(expect=OFFER)
        machine.wait_ready()
        yield machine


def asked(machine, text, pattern):
    """Types a line, and waits for what is said after it."""
    before = len(machine.console)
    machine.type(text + '\n')
    machine.expect(rf'(?s)^.{{{before}}}.*{pattern}')
    return machine.console[before:]


def test_it_waits_and_holds_nothing(machine):
    """Whoever installs in another way meanwhile is not in its way."""
    asked(machine, 'yes', OFFER)
    said = machine.run(['tb-agent', 'install', '--target', 'serial=target', '--use-default-dirs', '--dry-run', '--json'], check=True).json()
    assert said['plan']['disk']['path'] == machine.disk_node('target')
    assert machine.shell('systemctl is-system-running --wait', check=True).text.strip() == 'running'


def test_who_leaves_gets_the_login_prompts_back(machine):
    asked(machine, 'quit', 'nothing was changed')
    # The target of the prompts is masked in this system: what asks for it is seen to have run and ended.
    state = machine.shell(f'while [ "$(systemctl is-active {UNIT})" != inactive ]; do :; done; systemctl show -p Result,SubState {UNIT}')
    assert sorted(state.text.split()) == ['Result=success', 'SubState=dead']
    before = len(machine.console)
    machine.run(['systemctl', 'start', '--no-block', UNIT], check=True)
    machine.expect(rf'(?s)^.{{{before}}}.*{OFFER}')


def test_no_answer_changes_nothing(machine):
    said = asked(machine, 'install', 'Number or name of the disk to install on, or Enter to end:')
    live, target = machine.disk_node('live'), machine.disk_node('target')
    assert re.search(rf'1  {target}, .*serial target', said) and re.search(rf'-  {live}.*\s+cannot be chosen: ', said)
    # The offer comes again by itself.
    assert 'no disk was chosen, nothing was changed' in asked(machine, '', OFFER)
    asked(machine, 'install', 'Enter to end:')
    said = asked(machine, '1', r'Type "vd.*" or "yes" to go on:')
    assert 'a recovery key, shown at the end' in said and f'Everything on {target} will be lost' in said
    assert 'not confirmed, nothing was changed' in asked(machine, 'no', OFFER)
    assert machine.shell(f'head -c 1M {target} | tr -d "\\0" | wc -c', check=True).text.strip() == '0'


def test_person_installs(machine):
    target = machine.disk_node('target')
    asked(machine, 'install', 'Enter to end:')
    asked(machine, target.rpartition('/')[2], r'or "yes" to go on:')
    machine.type('yes\n')
    machine.expect(r'Press Enter when the recovery key is written down:', INSTALL_TIMEOUT)
    assert re.search(r'\b([cbdefghijklnrtuv]{8}-){7}[cbdefghijklnrtuv]{8}\b', machine.console), 'the key itself'
    assert 'The node is installed' in asked(machine, '', 'press Enter to restart:')
    machine.type('\n')
    machine.wait_exit()
    machine.disks = [machine.disk('target')]
    machine.boot()
    assert node_facts(machine) == {'role': 'active', 'secure_boot': True, 'blessed': True,
                                   'encrypted': {'/oem': True, '/usr/local': True}}
    # On a node nothing of it is offered.
    assert 'ActiveState=inactive' in machine.run(['systemctl', 'show', '-p', 'ActiveState', UNIT], check=True).text
