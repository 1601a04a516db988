# SPDX-License-Identifier: Apache-2.0
"""Installations that are killed and begun again, on a disk that keeps its partitions, and what follows a complete one: hooks,
a restart, and a start that asks for a PIN. One live session does all the installing; the tests are one story, in this order."""
import json

import pytest

from rig.facts import entries, node_facts
from rig.machine import MachineGone
from rig.registry import DockerRegistry
from rig.workshop import INSTALL, INSTALL_TIMEOUT

REFUSED, USAGE = 10, 2
PORT = 5000
# Each step of an installation, by the begin of its name, in order.
STEPS = ['clearing', 'making the EFI', 'writing the active', 'writing the recovery', 'writing boot entries',
         'encrypting and enrolling the partition oem', 'making the partition data',
         'encrypting and enrolling the partition persistent', 'writing the partition table', 'telling the firmware']
EXTRA = ('--partition', 'data:64M:ext4:DATA')
PIN = 'open sesame'
QUESTION = 'opens with a PIN'
CONFIG = b'''#cloud-config
install:
  device: serial=target
  source: oci:10.0.2.100:5000/demo:1
  allow-insecure-registries: true
  no-format: false
  reboot: true
  recovery-key: none
  allow-software-tpm: true
  hooks:
    before: [/run/before]
    after: [/run/after]
bind-pcrs: [0, 7, 14]
'''
# Kills the installation as soon as it tells a step; with a second word, so many milliseconds later.
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
def registry(workshop):
    """The image that the live session runs, with its boot loader beside it; without TLS."""
    with DockerRegistry(workshop.work / 'again-registry') as registry:
        registry.push_image('demo', workshop.usi().read_bytes(), '1', loader=workshop.loader().read_bytes())
        yield registry


@pytest.fixture(scope='module')
def live(workshop, registry):
    # Memory for an image, beside the session.
    with workshop.live_machine(workshop.work / 'again', memory=1024, forward={PORT: registry.port}) as machine:
        machine.boot()
        machine.network_up()
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


def test_partitions_and_data_stay(live):
    before = volumes(live)
    table = live.run(['sfdisk', '-d', live.disk_node('target')], check=True).text
    plan = install(live, '--no-format', '--dry-run', check=True).json()['plan']
    assert {p['name']: p['kept'] for p in plan['partitions']} == {
        'efi': False, 'oem': True, 'data': True, 'persistent': True}
    assert plan['no_format'] is True and [lost['name'] for lost in plan['lost']] == ['efi']
    # The old system goes first, and the boot loader of the new one comes last.
    for step in ('writing the recovery', 'writing boot entries'):
        kill_at(live, step, '--no-format', *EXTRA)
        assert not bootable(live), step
    assert install(live, '--no-format', *EXTRA, check=True).json()['installed'] is True
    assert bootable(live) and volumes(live) == before
    assert live.run(['sfdisk', '-d', live.disk_node('target')], check=True).text == table


def test_what_is_not_ours_refuses(live):
    disk = live.disk_node('target')
    # All that is missing, at once.
    live.run(['sfdisk', '-q', '--part-label', disk, '2', 'other'], check=True)
    live.run(['sfdisk', '-q', '--part-type', disk, '4', 'EBD0A0A2-B9E5-4433-87C0-68B6B72699C7'], check=True)
    error = install(live, '--no-format').json()['error']
    assert error['exit_code'] == REFUSED and '"oem" is missing' in error['text']
    assert '"persistent" is not of the type 0FC63DAF' in error['text']
    live.run(['sfdisk', '-q', '--part-label', disk, '2', 'oem'], check=True)
    live.run(['sfdisk', '-q', '--part-type', disk, '4', '0FC63DAF-8483-4772-8E79-3D69D8477DE4'], check=True)
    # Somebody's file on the ESP, somebody's file system in the place of ours.
    live.shell(f'mount {disk}1 /run/look; mkdir /run/look/EFI/Other; umount /run/look', check=True)
    assert 'EFI/Other' in install(live, '--no-format').json()['error']['text']
    live.shell(f'mount {disk}1 /run/look; rmdir /run/look/EFI/Other; umount /run/look', check=True)
    live.shell(f'cp --sparse=never {disk}2 /run/oem 2> /dev/null || dd if={disk}2 of=/run/oem bs=1M status=none; '
               f'wipefs -qa {disk}2; mkfs.ext4 -q -L COS_OEM {disk}2', check=True)
    assert 'not encrypted' in install(live, '--no-format').json()['error']['text']
    # A password beside the token: no header of ours, and no installation that would trust it.
    live.shell(f'dd if=/run/oem of={disk}2 bs=1M conv=fsync status=none; rm /run/oem', check=True)
    live.shell(f'cryptsetup token remove --token-id 0 {disk}4', check=True)
    assert 'would not open with this image' in install(live, '--no-format').json()['error']['text']
    # What was given up is made anew, and the rest is kept.
    live.run(['wipefs', '-qa', f'{disk}4'], check=True)
    before = volumes(live, (2, 3))
    kill_at(live, 'encrypting and enrolling the partition persistent', '--no-format')
    done = install(live, '--no-format', check=True).json()
    assert {p['name']: p['kept'] for p in done['plan']['partitions']}['persistent'] is False
    assert volumes(live, (2, 3)) == before and bootable(live)


def test_an_image_from_elsewhere_is_proven_first(live):
    before = volumes(live)
    source = f'oci:10.0.2.100:{PORT}/demo'
    done = install(live, '--source', f'{source}:1', '--attempts', '1')
    assert done.rc != 0 and '--insecure 10.0.2.100' in (done.json()['error']['advice'] or done.text), done
    done = install(live, '--source', f'{source}:none', '--insecure', '10.0.2.100', '--attempts', '1')
    assert done.rc != 0 and volumes(live) == before
    plan = install(live, '--source', f'{source}:1', '--insecure', '10.0.2.100', '--dry-run', check=True).json()['plan']
    assert plan['insecure'] == ['10.0.2.100'] and plan['image']['source'] == f'{source}:1'
    proofs = {p['proof']: p['state'] for p in plan['proofs']}
    assert proofs['secure-boot'] == proofs['boot-loader'] == 'passed', proofs
    assert volumes(live) == before and bootable(live)


def test_somebody_at_a_terminal_chooses(live):
    target, medium = live.disk_node('target'), live.disk_node('live')
    name = target.rpartition('/')[2]
    asked = ['script', '-qec', ' '.join(INSTALL), '/dev/null']
    before = volumes(live)
    done = live.run(asked, stdin=f'{medium}\n1\nno\n'.encode(), timeout=INSTALL_TIMEOUT)
    assert done.rc == 11 and 'not confirmed' in done.text, done.text
    assert 'cannot be chosen: this session was started from it' in done.text
    assert f'1  {target}, 16 GiB, virtio, (no model), serial target' in done.text
    assert f'lost   {name}2' in done.text and volumes(live) == before
    done = live.run(asked, stdin=f'{name}\n{name}\n'.encode(), timeout=INSTALL_TIMEOUT)
    assert done.rc == 0 and 'installed; restart from this disk' in done.text, done.text
    assert 'The recovery key of this node' in done.text and bootable(live)
    # Nobody there: nothing is chosen for them.
    done = live.run([*INSTALL, '--json'])
    assert done.rc == USAGE and '--target is missing' in done.json()['error']['text']


def test_hooks_decide_and_a_complete_node_restarts(live):
    disk = live.disk_node('target')
    live.write('/run/node.yaml', CONFIG)
    live.write('/run/pin', PIN.encode() + b'\n')
    complete = [*INSTALL, '--config', '/run/node.yaml', '--pin-file', '/run/pin', '--yes', '--json']
    options = [*complete, '--source', 'dir:/run/initramfs/live']        # not loaded each time
    live.shell('printf "#!/bin/sh\\necho not today; exit 1\\n" > /run/before; '
               'printf "#!/bin/sh\\necho $TB_EVENT $TB_DISK $TB_RESULT > /run/after-ran; exit 0\\n" > /run/after; '
               'chmod +x /run/before /run/after', check=True)
    before = volumes(live, (2, 3))
    done = live.run(options, timeout=INSTALL_TIMEOUT)
    assert done.rc == REFUSED and 'not today' in done.json()['error']['text']
    assert volumes(live, (2, 3)) == before and bootable(live)
    live.shell('printf "#!/bin/sh\\nexit 0\\n" > /run/before', check=True)
    # A key in memory would go with the session.
    refused = live.run([*options, '--recovery-key-file', '/run/key'], timeout=INSTALL_TIMEOUT)
    assert refused.rc == USAGE and 'memory of this session' in refused.json()['error']['text']
    assert volumes(live, (2, 3)) == before
    # A hook that is told and fails: the node is complete, and nothing restarts.
    live.shell('mv /run/after /run/after.good; printf "#!/bin/sh\\nexit 7\\n" > /run/after; chmod +x /run/after', check=True)
    done = live.run(options, timeout=INSTALL_TIMEOUT)
    said = done.json()
    assert done.rc == REFUSED and said['installed'] is True and 'after-install' in said['error']['text']
    live.shell('mv /run/after.good /run/after', check=True)
    plan = live.run([*complete, '--dry-run'], timeout=INSTALL_TIMEOUT, check=True).json()['plan']
    assert plan['then'] == 'reboot' and plan['bind_pcrs'] == [0, 7, 14] and plan['pin'] is True
    assert plan['disk']['path'] == disk and plan['insecure'] == [f'10.0.2.100:{PORT}']
    assert plan['image']['source'] == f'oci:10.0.2.100:{PORT}/demo:1'
    # swtpm locks itself after three wrong PINs, as no TPM of a machine does.
    live.run(['tpm2_dictionarylockout', '--setup-parameters', '--max-tries=32', '--recovery-time=600',
              '--lockout-recovery-time=600'], check=True)
    try:
        done = live.run(complete, timeout=INSTALL_TIMEOUT, check=True)
        assert done.json()['installed'] is True and done.json()['hooks'] == 2
        assert PIN.encode() not in done.out + done.err
    except MachineGone:
        pass                            # the restart was faster than the answer
    live.wait_exit(120)
    live.disks = [live.disk('target')]


def test_no_pin_is_no_fault_of_the_image(live):
    before = entries(live)
    assert 'active+3-0.conf' in before
    live.boot(expect=QUESTION)
    live.type('\rwrong\r')
    live.expect('this is not the PIN')
    live.type('wrong again\r')
    live.expect('(?s)this is not the PIN.*this is not the PIN')
    live.type('and again\r')
    live.expect('switched off')
    live.wait_exit(60)
    assert entries(live) == before
    # The plug at the question: not a try either.
    live.boot(expect=QUESTION)
    live.power_cut()
    assert entries(live) == before


def test_the_pin_opens(live):
    live.boot(expect=QUESTION)
    live.type(PIN + '\r')
    live.wait_ready()
    assert live.console.count(QUESTION) == 1 and PIN not in live.console
    assert node_facts(live) == {'role': 'active', 'secure_boot': True, 'blessed': True,
                                'encrypted': {'/oem': True, '/usr/local': True}}
    token = json.loads(live.run(['cryptsetup', 'luksDump', '--dump-json-metadata', '/dev/vda2'], check=True).text)['tokens']['0']
    assert token['tpm2-pcrs'] == [0, 7, 14] and token['tpm2-pin'] is True and token['tpm2_pubkey_pcrs'] == [11]
    assert live.read('/oem/90_custom.yaml') == CONFIG
    live.power_off()
    assert entries(live) == ['active.conf', 'passive.conf', 'recovery.conf']
