# SPDX-License-Identifier: Apache-2.0
"""What somebody with a hand on the disk, the firmware variables or a container might try. Each test says which line of
defence holds; the twin of all of them is the node that boots untouched in test_node.py."""
import re

from rig import Esp
from rig.esp import run
from rig.facts import entries, node_facts, role

BOOT_FAILED = r'boot failed: [^\n]*\n'     # the whole line: the console arrives in pieces
LOADER_GUID = '4a67b082-0a4c-41cf-b6c7-440b29bb8c4f'
FLOOR_INDEX = '0x01805442'


def fails_to_boot(machine):
    said = machine.boot(expect=BOOT_FAILED).group(0)
    machine.wait_exit()
    return said


def test_exchanged_partitions_are_noticed_inside_the_encryption(machines, running):
    """Names and labels outside of the encryption can be rewritten without a key; the label inside cannot."""
    machine = machines(running).boot()
    machine.run(['cryptsetup', 'config', '/dev/vda2', '--label', 'COS_PERSISTENT'], check=True)
    machine.run(['cryptsetup', 'config', '/dev/vda3', '--label', 'COS_OEM'], check=True)
    machine.power_off()
    disk = machine.raw_disk('target')
    run('sfdisk', '--part-label', disk, '2', 'persistent')
    run('sfdisk', '--part-label', disk, '3', 'oem')
    assert 'another one than' in fails_to_boot(machine)
    # The confirmed entry is on trial now: falling back works without any EFI variable.
    assert entries(machine) == ['active+1-0.conf', 'passive.conf', 'recovery.conf']


def test_damaged_oem_does_not_stop_recovery(machines, running):
    machine = machines(running).boot()
    machine.shell('umount /oem; dd if=/dev/urandom of=/dev/mapper/oem bs=1M count=8 conv=fsync status=none', check=True)
    selected = f'/sys/firmware/efi/efivars/LoaderEntryOneShot-{LOADER_GUID}'
    one_shot = b'\x07\0\0\0' + 'recovery.conf\0'.encode('utf-16-le')
    machine.write('/run/oneshot', one_shot)
    machine.shell(f'cat /run/oneshot > {selected}', check=True)
    machine.reboot()
    assert role(machine) == 'recovery'
    status = machine.run(['tb-agent', 'status', '--json'], check=True).json()
    assert any('oem' in problem for problem in status['problems'])
    assert machine.run(['mountpoint', '-q', '/oem']).rc != 0


def test_planted_loader_variable_is_removed_and_not_believed(machines, running):
    """A persistent variable under a name of the loader's: it survives power cycles and silences the loader itself. The
    firmware lets nobody replace those that the loader set in this boot, but a confirmed boot has no boot counter."""
    machine = machines(running).boot()
    counter = f'/sys/firmware/efi/efivars/LoaderBootCountPath-{LOADER_GUID}'
    stub = f'/sys/firmware/efi/efivars/StubPcrKernelImage-{LOADER_GUID}'
    assert machine.shell(f'chattr -i {stub}; rm {stub}').rc != 0
    machine.write('/run/planted', b'\x07\0\0\0' + '\\loader\\entries\\passive+1-0.conf\0'.encode('utf-16-le'))
    machine.shell(f'cat /run/planted > {counter}', check=True)
    machine.power_off()
    assert 'planted' in fails_to_boot(machine)
    machine.boot()
    assert node_facts(machine)['role'] == 'active'
    assert machine.run(['tb-agent', 'status', '--json'], check=True).json()['measured'] is True
    assert machine.run(['test', '-e', counter]).rc != 0
    machine.power_off()
    assert entries(machine) == ['active.conf', 'passive.conf', 'recovery.conf']


def test_first_process_of_a_container_is_not_the_boot_stage(machines, running):
    machine = machines(running).boot()
    said = machine.run(['unshare', '--pid', '--fork', '--mount-proc', 'tb-agent', '--version'], check=True)
    assert said.text.startswith('tb-agent ')
    done = machine.run(['unshare', '--pid', '--fork', '--mount-proc', '/init'])
    assert done.rc != 0
    # Nothing was touched: the policy words in PCR 11, the one-shot variable, the mounts.
    assert machine.run(['test', '-e', f'/sys/firmware/efi/efivars/LoaderEntryOneShot-{LOADER_GUID}']).rc != 0
    assert node_facts(machine)['encrypted'] == {'/oem': True, '/usr/local': True}


def test_status_and_bless_do_not_get_into_each_others_way(machines, installed):
    """A monitor that polls the status must not make a good boot lose its trial."""
    machine = machines(installed)
    machine.boot()
    script = '''
        (for i in $(seq 60); do tb-agent --log-level=warning status 2>&1 > /dev/null; done) &
        for i in $(seq 40); do tb-agent --log-level=warning bless 2>&1 > /dev/null; done
        wait'''
    assert machine.shell(script, timeout=300).text.splitlines() == []


def test_unconfirmed_boot_stays_on_trial(workshop, machines):
    """A health check that fails: the boot works, and is not confirmed. (Without the unit that starts it again at once.)"""
    machine = machines(usi=workshop.usi('sick', cmdline='tbdemo.unhealthy systemd.mask=tb-agent-trial.service'))
    machine.boot()
    workshop.install(machine)
    machine.boot()
    status = machine.run(['tb-agent', 'status', '--json'], check=True).json()
    assert status['blessed'] is False and status['tries_left'] == 2
    machine.power_off()
    assert entries(machine) == ['active+2-1.conf', 'passive.conf', 'recovery.conf']


def test_foreign_kernel_parameters_in_an_entry_are_ignored(machine):
    """The command line is part of the signed image: an entry cannot add to it."""
    disk = machine.raw_disk('target')
    esp = Esp(disk)
    text = esp.read('loader/entries/active.conf')
    esp.write('loader/entries/active.conf', re.sub(rb'\n#.*', b'\noptions init=/bin/sh rd.break tb.evil=1\n', text, count=1))
    machine.boot()
    assert 'tb.evil' not in machine.read('/proc/cmdline').decode()
    assert node_facts(machine)['role'] == 'active'


def test_version_floor_that_somebody_removed(machines, running):
    """The owner of the TPM may remove the index: it is missed, and comes back only by an explicit wish."""
    machine = machines(running).boot()

    def floor():
        return machine.run(['tb-agent', 'status', '--json'], check=True).json()['floor']
    assert (floor()['alarming'], floor()['version']) == (False, '1')
    machine.run(['tpm2_nvundefine', '-C', 'o', FLOOR_INDEX], check=True)
    missing = floor()
    assert missing['alarming'] is True and missing['version'] == '1'        # the encrypted partition remembers
    said = machine.run(['tb-agent', 'bless'], check=True)
    assert b'--repair-floor' in said.err or b'version floor' in said.err
    assert floor() == missing
    machine.run(['tb-agent', 'bless', '--repair-floor'], check=True)
    assert (floor()['alarming'], floor()['version']) == (False, '1')
