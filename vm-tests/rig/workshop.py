# SPDX-License-Identifier: Apache-2.0
"""Everything between the built programs and a machine worth testing: keys, system images, media, installed machines.

Tests and demo share this. All results are kept in a work directory under the hash of what they were made from, so a
second run pays only for what changed.
"""
import fcntl
import hashlib
import inspect
import json
import os
import shutil
from pathlib import Path

from .esp import ToolFailed, make_live_medium, run
from .facts import at_rest
from .firmware import SYSTEMD_BOOT, enrolled_vars
from .machine import BAY, Disk, Machine

HERE = Path(__file__).resolve().parent
OS = HERE.parent / 'os'
UNITS = sorted(p for p in (HERE.parent.parent / 'agent').iterdir() if p.suffix in ('.service', '.timer'))
STUB = Path('/usr/lib/systemd/boot/efi/linuxx64.efi.stub')
CMDLINE = 'console=ttyS0 panic=5 systemd.gpt_auto=no systemd.show_status=0 quiet'
TARGET_SIZE = 16 << 30              # sparse: only what the guest writes takes room
INSTALL_TIMEOUT = 600
# Every TPM here is swtpm, which nobody gets without asking for it.
INSTALL = ['tb-agent', 'install', '--allow-software-tpm']
KERNELS = ('debian12', 'debian13', 'debian12-generic')      # of the demo OS; its root is Debian 12 under all
UNREACHABLE = 69                    # exit status of base-kernel


def digest(*parts):
    """Hash of files, of directory trees (names, links and content) and of anything printable."""
    h = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path) and part.is_dir():
            for path in sorted(part.rglob('*')):
                h.update(str(path.relative_to(part)).encode() + b'\0')
                if path.is_symlink():
                    h.update(os.readlink(path).encode())
                elif path.is_file():
                    h.update(path.read_bytes())
        elif isinstance(part, Path):
            h.update(part.read_bytes())
        else:
            h.update(repr(part).encode())
        h.update(b'\0')
    return h.hexdigest()


class KernelUnreachable(Exception):
    """The packages of a kernel cannot be downloaded."""


class Workshop:
    def __init__(self, build, work, kernel=None):
        """kernel: of the system images, one of KERNELS; $TB_KERNEL if it is not said, and debian12 without that. What is made for
        another kernel than debian12 is kept apart from the rest, keys and machines too."""
        self.kernel_name = kernel or os.environ.get('TB_KERNEL') or KERNELS[0]
        if self.kernel_name not in KERNELS:
            raise ValueError(f'kernel {self.kernel_name}: not one of {", ".join(KERNELS)}')
        self.build, self.work = Path(build).resolve(), Path(work).resolve()
        if self.kernel_name != KERNELS[0]:
            self.work /= self.kernel_name
        self.agent, self.guest, self.tb_image, self.root_stage = programs = [
            self.build / n for n in ('tb-agent', 'tb-guest', 'tb-image', 'tb-root')]
        for program in programs:
            if not program.exists():
                raise FileNotFoundError(f'{program} is not built')
        self.work.mkdir(parents=True, exist_ok=True)

    def _kept(self, name, key, make):
        """A file or directory of the work directory that make(path) produces, unless it is there for the same key. Of
        several processes that want it, one makes it and the others wait."""
        locks = self.work / 'locks'
        locks.mkdir(exist_ok=True)
        with open(locks / name, 'w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return self._keep(name, key, make)

    def _keep(self, name, key, make):
        path, mark = self.work / name, self.work / (name + '.key')
        if path.exists() and mark.exists() and mark.read_text() == key:
            return path
        mark.unlink(missing_ok=True)
        if path.is_dir():
            shutil.rmtree(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path)
        mark.write_text(key)
        return path

    # What a machine starts from ----------------------------------------------------------------------------------

    def keys(self, name='keys'):
        """A directory of Secure Boot keys and a policy key. Different names are strangers to each other."""
        return self._kept(name, 'tb-image keys', lambda path: run(self.tb_image, 'keys', path))

    def base(self):
        """The demo OS without kernel and without the programs under test: slow to make, and made once."""
        run(OS / 'base-root', self.build / 'os')
        return self.build / 'os'

    def kernel(self, name=None):
        """A folder with a kernel: vmlinuz, its modules, and its release; made when it is first asked for, and kept."""
        name = name or self.kernel_name
        path = self.build / 'os/kernels' / name
        try:
            run(OS / 'base-kernel', name, path)
        except ToolFailed as e:
            if e.rc == UNREACHABLE:
                raise KernelUnreachable(str(e)) from e
            raise
        return path

    def release(self, name=None):
        """What "uname -r" says on a machine with a kernel."""
        return (self.kernel(name) / 'release').read_text().strip()

    def sign(self, name, source, keys='keys'):
        """An EFI program, signed by the db key of keys."""
        keydir = self.keys(keys)
        return self._kept(name, digest(keydir, source),
                          lambda path: run(self.tb_image, 'sign', '--keys', keydir, '--out', path, source))

    def loader(self, keys='keys'):
        return self.sign(f'systemd-boot-{keys}.efi', SYSTEMD_BOOT, keys)

    def usi(self, label='v1', version=1, keys='keys', policy_keys=None, unsigned=False, cmdline='', root_format=None,
            furnish=None, kernel=None, stub=STUB, more=()):
        """A system image. label names the file; cmdline is added to the usual command line; furnish(root) adds to its root;
        kernel: another one than the workshop's, and the file is then named after it as well; more: further words of tb-image usi."""
        base, kerneldir, keydir = self.base(), self.kernel(kernel), self.keys(keys)
        options = ['--cmdline', f'{CMDLINE} {cmdline}'.strip(), '--keys', keydir, *more]
        if policy_keys:
            options += ['--policy-keys', self.keys(policy_keys)]
        if unsigned:
            options += ['--unsigned']
        if root_format not in (None, 'cpio'):
            options += ['--root-format', root_format]
        furniture = inspect.getsource(furnish) if furnish else ''
        key = digest(self.agent, self.guest, self.tb_image, self.root_stage, base / 'stamp', kerneldir / 'stamp', OS, *UNITS, stub,
                     keydir, options, version, furniture)

        def make(path):
            root = path.with_suffix('.root')
            run(OS / 'compose', '--version', version, base, kerneldir, self.agent, self.guest, root)
            # Who signs images signs system extensions as well.
            (root / 'usr/share/tb-agent').mkdir(parents=True, exist_ok=True)
            shutil.copyfile(keydir / 'db.pem', root / 'usr/share/tb-agent/extension.pem')
            if furnish:
                furnish(root)
            told = run(self.tb_image, 'usi', '--rootfs', root, '--kernel', kerneldir / 'vmlinuz', '--os-release',
                       root / 'usr/lib/os-release', '--stub', stub, *options, '--out', path, '--json')
            path.with_suffix('.json').write_bytes(told)
            shutil.rmtree(root)
        other = f'-{kernel}' if kernel not in (None, self.kernel_name) else ''
        return self._kept(f'usi-{label}{other}.efi', key, make)

    def usi_facts(self, label='v1'):
        """What tb-image said about an image when it made it, e.g. its predicted PCR 11."""
        return json.loads((self.work / f'usi-{label}.json').read_bytes())

    def live_medium(self, usi=None, loader=None, label='', options=()):
        """The installer medium: an ISO, for a CD drive as well as for a disk. label tells those with other options apart."""
        usi, loader = usi or self.usi(), loader or self.loader()
        words = ['--timeout', '0', *options]
        return self._kept(f'live{label}-{usi.stem}.iso', digest(usi, loader, self.tb_image, words),
                          lambda path: run(self.tb_image, 'iso', '--usi', usi, '--loader', loader, *words, '--out', path))

    def hand_made_medium(self, usi):
        """A medium with an image that tb-image would not put on one."""
        loader = self.loader()
        return self._kept(f'made-{usi.stem}.img', digest(usi, loader, Path(HERE / 'esp.py')),
                          lambda path: make_live_medium(path, loader, usi))

    def vars(self, keys='keys'):
        return enrolled_vars(self.keys(keys), self.work)

    # Machines ----------------------------------------------------------------------------------------------------

    def live_machine(self, dir, usi=None, bus='virtio', **settings):
        """A machine with the installer medium, as a disk or on another bus, and an empty disk "target", off."""
        shutil.rmtree(dir, ignore_errors=True)
        Path(dir).mkdir(parents=True)
        target = Path(dir) / 'target.img'
        with open(target, 'wb') as f:
            f.truncate(TARGET_SIZE)
        disks = [Disk(self.live_medium(usi), serial='live', bus=bus, readonly=True), Disk(target, serial='target')]
        return Machine(dir, **{'disks': disks, 'vars': self.vars(), **settings})

    def install(self, machine, *options):
        """Install from the running live session of machine, turn it off and take the medium out. Returns what
        tb-agent said."""
        node = machine.disk_node('target')
        said = machine.run([*INSTALL, '--target', node, '--yes', '--json', *options],
                           timeout=INSTALL_TIMEOUT, check=True)
        machine.power_off()
        machine.disks = [machine.disk('target')]
        return said

    def _node(self, name, make, *more):
        """A machine that is off and stays off, to be cloned; kept like every other result."""
        key = digest(self.usi(), self.loader(), self.vars(), Path(__file__), str(self.work), *more)
        path = self._kept(name, key, make)
        image = next(p for p in (path / 'target.qcow2', path / 'target.img') if p.exists())
        return Machine(path, disks=[Disk(image, serial='target')])

    def installed(self):
        """The demo OS installed, never started from its own disk."""
        def make(path):
            with self.live_machine(path) as machine:
                machine.boot()
                self.install(machine)
        return self._node('installed', make)

    def booted(self):
        """The installed machine after its first good boot."""
        def make(path):
            with self.installed().clone(path) as machine:
                machine.boot()
                machine.power_off()
        return self._node('booted', make)

    def with_recovery_key(self):
        """(machine, key): the demo OS installed with a recovery key, in its first session, confirmed and idle, but asleep."""
        def make(path):
            machine = self.live().clone(path).boot()
            node = machine.disk_node('target')
            machine.run([*INSTALL, '--target', node, '--yes', '--recovery-key-file', '/run/key'], timeout=INSTALL_TIMEOUT, check=True)
            (path / 'recovery.key').write_bytes(machine.read('/run/key'))
            machine.power_off()
            machine.disks = [machine.disk('target')]
            return at_rest(machine.boot())
        machine = self._asleep('with-recovery-key', make)
        return machine, (machine.dir / 'recovery.key').read_text().strip()

    def _asleep(self, name, make, *more):
        """A machine that sleeps; what was kept is read by the very QEMU that wrote it."""
        def made(path):
            with make(path) as machine:
                machine.sleep()
        machine = self._node(name, made, Path('/usr/bin/qemu-system-x86_64'), HERE / 'machine.py', *more)
        machine.sleeping = machine.dir / 'asleep'
        return machine

    def running(self):
        """The installed machine in an ordinary session, confirmed and idle, but asleep: a clone goes on there at once, as
        long as its disks are the same; plug() gives it more. Cold boots of it are as ever."""
        def make(path):
            return at_rest(self.booted().clone(path, extra=BAY).boot())
        machine = self._asleep('running', make)
        machine.extra = list(BAY)
        return machine

    def live(self):
        """The session of the installer medium, with an empty disk "target", asleep."""
        machine = self._asleep('live', lambda path: self.live_machine(path).boot())
        machine.disks.insert(0, Disk(self.live_medium(), serial='live', readonly=True))
        return machine
