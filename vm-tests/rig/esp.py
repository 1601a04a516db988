# SPDX-License-Identifier: Apache-2.0
"""EFI system partitions inside raw disk images: made, read and changed without mounting anything."""
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

ESP_TYPE = 'C12A7328-F81F-11D2-BA4B-00A0C93EC93B'
MIB = 1 << 20


class ToolFailed(RuntimeError):
    """A host tool ended with another exit status than 0."""

    def __init__(self, argv, rc, said):
        super().__init__(f'{" ".join(map(str, argv))}: exit {rc}\n{said}')
        self.rc = rc


def run(*argv, **kwargs):
    """A host tool; its words appear in the exception when it fails."""
    env = dict(os.environ, MTOOLS_SKIP_CHECK='1', LC_ALL='C')
    done = subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, **kwargs)
    if done.returncode != 0:
        said = (done.stderr + done.stdout)[-4000:].decode(errors='replace')
        raise ToolFailed(argv, done.returncode, said)
    return done.stdout


def make_esp_image(path, files, size=None):
    """A disk image with one FAT32 EFI system partition holding files: {name: bytes or Path}."""
    path = Path(path)
    content = sum(len(f) if isinstance(f, bytes) else Path(f).stat().st_size for f in files.values())
    # Under 33 MiB mkfs.vfat makes a FAT32 that some firmware takes for FAT16.
    size = size or max(64 * MIB, (content + content // 50 + 16 * MIB) // MIB * MIB)
    temporary = path.with_name(path.name + '.new')
    temporary.unlink(missing_ok=True)
    with open(temporary, 'wb') as f:
        f.truncate(size)
    run('sfdisk', '-q', temporary, input=f'label: gpt\nstart=2048, type={ESP_TYPE}, name=esp\n'.encode())
    run('mkfs.vfat', '-F', '32', '-n', 'ESP', '--offset', '2048', temporary, size // 1024 - 2048)
    esp = Esp(temporary)
    for name, data in files.items():
        esp.write(name, data)
    os.replace(temporary, path)
    return path


def make_live_medium(path, loader_efi, usi_efi, **kwargs):
    """The installer medium: systemd-boot and one image without a role."""
    entry = b'title tb-agent demo OS\nsort-key norole\nefi /EFI/kairos/norole.efi\n'
    return make_esp_image(path, {
        'EFI/BOOT/BOOTX64.EFI': loader_efi,
        'EFI/kairos/norole.efi': usi_efi,
        'loader/loader.conf': b'timeout 0\n',
        'loader/entries/norole.conf': entry,
    }, **kwargs)


class Esp:
    """The EFI system partition of a raw disk image. No machine may be running on the image."""

    def __init__(self, image):
        table = json.loads(run('sfdisk', '-J', image))['partitiontable']
        found = [p for p in table['partitions'] if p['type'].upper() == ESP_TYPE]
        if not found:
            raise RuntimeError(f'{image}: no EFI system partition')
        self.image = Path(image)
        self.offset = found[0]['start'] * table.get('sectorsize', 512)
        self.drive = f'{image}@@{self.offset}'

    def read(self, name):
        return run('mcopy', '-n', '-i', self.drive, '::/' + name, '-')

    def write(self, name, data):
        """Creates or replaces a file, and the directories above it."""
        parents = [str(p) for p in reversed(Path(name).parents) if str(p) != '.']
        for parent in parents:
            if not self.exists(parent):
                run('mmd', '-i', self.drive, '::/' + parent)
        if isinstance(data, bytes):
            run('mcopy', '-o', '-i', self.drive, '-', '::/' + name, input=data)
        else:
            run('mcopy', '-o', '-i', self.drive, data, '::/' + name)

    def remove(self, name):
        run('mdel', '-i', self.drive, '::/' + name)

    def exists(self, name):
        try:
            run('mdir', '-b', '-i', self.drive, '::/' + name)
            return True
        except RuntimeError:
            return False

    def files(self):
        """The names of all files, as '/EFI/BOOT/BOOTX64.EFI'."""
        lines = run('mdir', '-b', '-/', '-a', '-i', self.drive, '::/').decode().splitlines()
        return sorted(line[2:] for line in lines if line.startswith('::/') and not line.endswith('/'))


def make_data_disk(path, files):
    """An ext4 image holding files {name: bytes or Path}, to bring large files into a machine."""
    path = Path(path)
    with tempfile.TemporaryDirectory(dir=path.parent) as tree:
        for name, data in files.items():
            place = Path(tree) / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(data, bytes):
                place.write_bytes(data)
            else:
                shutil.copyfile(data, place)
        size = sum(p.stat().st_size for p in Path(tree).rglob('*') if p.is_file())
        path.unlink(missing_ok=True)
        run('mke2fs', '-q', '-F', '-t', 'ext4', '-O', '^has_journal', '-L', 'tbdata', '-d', tree, path,
            f'{size // 1024 * 11 // 10 + 4096}k')
    return path


def mount_data_disk(machine):
    """In a running machine that has one: at /run/images, unless it is there."""
    machine.shell('mkdir -p /run/images && { mountpoint -q /run/images || '
                  'mount -o ro /dev/disk/by-label/tbdata /run/images; }', check=True)
