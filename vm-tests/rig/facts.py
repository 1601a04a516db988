# SPDX-License-Identifier: Apache-2.0
"""What a running node is, found out without asking the agent: the ground to judge its own report by."""
import json
import re

from .esp import Esp

MOUNTS = ('/oem', '/usr/local')
TOKEN = 'systemd-tpm2'
START_TIMEOUT = 300


def role(machine):
    """active, passive, recovery or live, by the sentinel; None without one."""
    roles = [name[:-len('_mode')] for name in machine.run(['ls', '/run/cos']).text.split()
             if name in ('active_mode', 'passive_mode', 'recovery_mode', 'live_mode')]
    return roles[0] if len(roles) == 1 else None


def secure_boot(machine):
    value = machine.shell('cat /sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c').out
    return value[4:] == b'\x01'


def encrypted(machine, mount_point):
    """Whether a mount stands on dm-crypt over a LUKS2 header that has a token for the TPM. No other secret is in the
    machine, so a mount that passes was opened by the TPM."""
    source = machine.run(['mountpoint', '-d', mount_point]).text.strip()
    if not source[:1].isdigit():
        return False
    script = 'd=/sys/dev/block/$1; cat $d/dm/uuid; for s in $d/slaves/*; do echo ${s##*/}; done'
    lines = machine.run(['sh', '-c', script, 'sh', source]).text.split()
    if len(lines) != 2 or not lines[0].startswith('CRYPT-LUKS2-'):
        return False
    header = machine.run(['cryptsetup', 'luksDump', '--dump-json-metadata', '/dev/' + lines[1]])
    return header.rc == 0 and any(t['type'] == TOKEN for t in json.loads(header.out)['tokens'].values())


def blessed(machine):
    """Whether the confirmation of this boot ran and succeeded."""
    return machine.run(['systemctl', 'is-active', 'tb-agent-bless.service']).text.strip() == 'active'


def at_rest(machine):
    """Waits until everything that starts with the system has, and what that wrote is on the disk. Returns the machine."""
    machine.shell('systemctl is-system-running --wait; sync', check=True, timeout=START_TIMEOUT)
    return machine


def entries(machine, serial='target'):
    """The names of the boot entries on the disk of a machine that is off."""
    prefix = '/loader/entries/'
    names = Esp(machine.raw_disk(serial)).files()
    return sorted(name[len(prefix):] for name in names if name.startswith(prefix))


def esp_files(machine):
    """Of a running node: names and digests of all files on the ESP, and where the entries lead: {file: text}, {role: digest}."""
    script = ('m=$(mktemp -d); mount -o ro /dev/vda1 $m; cd $m; find . -type f -exec sha256sum {} +; '
              'echo; cd loader/entries; grep -H -e "^efi" -e "^# sha256" *; cd /; umount $m; rmdir $m')
    files, lines = machine.shell(script, check=True).text.split('\n\n')
    files = {path: digest for digest, path in (line.split('  ', 1) for line in files.splitlines())}
    images = {}
    for line in lines.splitlines():
        name, _, text = line.partition(':')
        if text.startswith('efi'):
            images[re.match('[a-z]+', name).group()] = files['.' + text.split()[1]]
    return files, images


def unlocked_by(status):
    """{partition: what opened it}, of the status of a node."""
    return {p['name']: p['unlocked_by'] for p in status['partitions']}


def has_reset_journal(machine):
    return machine.shell('m=$(mktemp -d); mount -o ro /dev/vda1 $m; ls $m/EFI/kairos; umount $m; rmdir $m',
                         check=True).text.split().count('reset.json') == 1


def after_reset(machine, lost):
    """Of a node that was reset, in whichever role it came up: opened by its TPM, nothing pending, one image for all, and the
    file named lost is not on its persistent partition any more. Returns its status and the certificate."""
    status = machine.run(['tb-agent', 'status', '--json'], check=True).json()
    assert unlocked_by(status) == {'oem': 'tpm2', 'persistent': 'tpm2'}, status
    assert not has_reset_journal(machine) and status['reset_pending'] is False, status
    images = esp_files(machine)[1]
    assert images['active'] == images['recovery'], images
    mounted = machine.shell('m=/usr/local; test -e /run/cos/recovery_mode && { m=/run/new; mkdir $m; '
                            'mount /dev/mapper/persistent $m; }; ls $m; cat $m/.tb-agent/reset.json', check=True).text
    files, brace, certificate = mounted.partition('{')
    assert lost not in files.split(), mounted
    return status, json.loads(brace + certificate)


def node_facts(machine):
    return {'role': role(machine), 'secure_boot': secure_boot(machine), 'blessed': blessed(machine),
            'encrypted': {mount: encrypted(machine, mount) for mount in MOUNTS}}
