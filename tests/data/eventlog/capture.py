#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""capture.py MEDIUM VARS KEYS

Makes the files beside this script again: what firmware measured at two boots of one virtual machine, with an update of
dbx in between. MEDIUM is a bootable live medium, VARS the variable store of the firmware with the keys of the directory
KEYS enrolled. All three are left in the work directory by the demo (see README).
"""
import argparse
import struct
import sys
import tempfile
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / 'vm-tests'))

from rig import Disk, Machine  # noqa: E402
from rig.esp import run        # noqa: E402

GLOBAL = '8be4df61-93ca-11d2-aa0d-00e098032b8c'
SECURITY = 'd719b2cb-3d3a-4596-a3bc-dad00e67656f'
CERT_SHA256 = uuid.UUID('c1c41626-504c-4092-aca9-41f936934328')
VARIABLES = {'SecureBoot': GLOBAL, 'PK': GLOBAL, 'KEK': GLOBAL, 'db': SECURITY, 'dbx': SECURITY}
LOG = '/sys/kernel/security/tpm0/binary_bios_measurements'
# Non-volatile, boot services, runtime, time-based authentication, append.
APPEND = 0x67


def save(name, data):
    (HERE / name).write_bytes(data)


def capture(machine, suffix, variables):
    save(f'log{suffix}.bin', machine.run(['cat', LOG], check=True).out)
    script = 'for i in $(seq 0 23); do echo "$i $(cat /sys/class/tpm/tpm0/pcr-sha256/$i)"; done'
    save(f'pcrs{suffix}.txt', machine.shell(script, check=True).out.lower())
    for name in variables:
        guid = VARIABLES[name]
        path = f'/sys/firmware/efi/efivars/{name}-{guid}'
        value = machine.shell(f'if [ -e {path} ]; then cat {path}; fi').out[4:]
        save(f'{name}{suffix}.bin', value)


def dbx_update(keys, work):
    """One more revoked hash, signed by the KEK, as the operating system hands it to the firmware."""
    entry = uuid.UUID(int=0).bytes_le + bytes(range(32))
    header = CERT_SHA256.bytes_le + struct.pack('<III', 28 + len(entry), 0, len(entry))
    (work / 'dbx.esl').write_bytes(header + entry)
    run('sign-efi-sig-list', '-a', '-k', keys / 'KEK.key', '-c', keys / 'KEK.pem', 'dbx', work / 'dbx.esl',
        work / 'dbx.auth')
    return struct.pack('<I', APPEND) + (work / 'dbx.auth').read_bytes()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ('medium', 'vars', 'keys'):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        disks = [Disk(arguments.medium.resolve(), serial='live', readonly=True)]
        with Machine(work / 'machine', disks=disks, vars=arguments.vars) as machine:
            machine.boot()
            capture(machine, '', VARIABLES)
            path = f'/sys/firmware/efi/efivars/dbx-{SECURITY}'
            machine.shell(f'chattr -i {path} 2>/dev/null; cat > /tmp/dbx && dd if=/tmp/dbx of={path} bs=64k',
                          stdin=dbx_update(arguments.keys, work), check=True)
            machine.power_off()
            machine.boot()
            capture(machine, '-updated', ['dbx'])


main()
