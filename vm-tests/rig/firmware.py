# SPDX-License-Identifier: Apache-2.0
"""UEFI firmware: where it is, and variable stores that hold our own keys."""
import hashlib
import os
import shutil
import struct
import tempfile
from pathlib import Path

from .esp import make_esp_image, run

OVMF_CODE = Path('/usr/share/OVMF/OVMF_CODE_4M.secboot.fd')
OVMF_VARS = Path('/usr/share/OVMF/OVMF_VARS_4M.fd')
SYSTEMD_BOOT = Path('/usr/lib/systemd/boot/efi/systemd-bootx64.efi')
NAMES = ('PK', 'KEK', 'db')
# Non-volatile, boot service, runtime, time-based authenticated, append (UEFI 2.10, section 8.2.1).
APPEND = struct.pack('<I', 0x67)


def enrolled_vars(keys_dir, cache_dir):
    """A variable store with the keys of keys_dir enrolled and Secure Boot on. Made by systemd-boot's own enrolment, as
    on a real machine in setup mode; kept in cache_dir under the hash of the keys."""
    from .machine import Disk, Machine
    keys = {name: (Path(keys_dir) / f'{name}.auth').read_bytes() for name in NAMES}
    stamp = hashlib.sha256(b''.join(keys.values()) + OVMF_VARS.read_bytes() + SYSTEMD_BOOT.read_bytes()).hexdigest()
    result = Path(cache_dir) / f'vars-{stamp[:16]}.fd'
    if result.exists():
        return result
    Path(cache_dir).mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix='enroll-', dir=cache_dir))
    files = {f'loader/keys/auto/{name}.auth': data for name, data in keys.items()}
    files['EFI/BOOT/BOOTX64.EFI'] = SYSTEMD_BOOT
    files['loader/loader.conf'] = b'timeout 0\nsecure-boot-enroll force\n'
    image = make_esp_image(work / 'enroll.img', files)
    with Machine(work / 'machine', disks=[Disk(image, serial='enroll')], tpm=False, memory=256) as machine:
        machine.boot(expect=r'Enrolling secure boot keys')
        # The loader resets the machine when all keys are written; before that none of them counts.
        machine.wait_exit(timeout=60)
        os.replace(machine.vars, result)
    shutil.rmtree(work)
    return result


def append_to_database(machine, keys_dir, name, esl):
    """Adds a list to a key database of a running machine, as a vendor's signed update would."""
    auth = machine.dir / f'{name}.auth'
    run('sign-efi-sig-list', '-a', '-k', Path(keys_dir) / 'KEK.key', '-c', Path(keys_dir) / 'KEK.pem', name, esl, auth)
    variable = f'/sys/firmware/efi/efivars/{name}-d719b2cb-3d3a-4596-a3bc-dad00e67656f'
    machine.write('/run/update', APPEND + auth.read_bytes())
    machine.shell(f'[ ! -e {variable} ] || chattr -i {variable}; dd if=/run/update of={variable} bs=1M conv=notrunc '
                  'status=none', check=True)
