# SPDX-License-Identifier: Apache-2.0
"""One virtual machine: a directory with its disks' overlays, UEFI variables, TPM state and console log.

    with Machine(dir, disks=[Disk('disk.img', serial='target')], vars='vars.fd') as m:
        m.boot()                                  # until the guest tool reports ready
        m.run(['tb-agent', 'status', '--json']).json()
        m.power_cut()
        m.boot(expect=r'Access Denied')           # until the console says so

QEMU runs with -no-reboot: a reset of the guest ends it, and boot() is then a cold boot. A machine that was put to sleep goes
on where it stood at its next start(), and so does each of its clones: two seconds instead of a boot. Everything waits for events
(sockets, process ends); a wait that ends otherwise raises MachineError with the last lines of the console.
"""
import atexit
import base64
import ctypes
import fcntl
import functools
import json
import os
import re
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import weakref
from dataclasses import dataclass, replace
from pathlib import Path

from .esp import run as host_run
from .firmware import OVMF_CODE, OVMF_VARS

BOOT_TIMEOUT = 240
RUN_TIMEOUT = 120
WAKE_TIMEOUT = 60
CONTROLLERS = {'scsi': 'virtio-scsi-pci', 'usb': 'qemu-xhci'}
FULL_SPEED = 1 << 34        # bytes a second: of what is written to a file, not sent to anybody
# Where a boot ends that goes nowhere: waiting for the timeout would only cost minutes.
DEAD_END = re.compile(r'No bootable option or device was found|Kernel panic - not syncing')
ESCAPES = re.compile(r'\x1b(\[[0-9;=?]*[A-Za-z]|[()][0-9A-B]|[=>c])')
BAY = ('-device', 'virtio-scsi-pci,id=bay')      # QEMU arguments: where a disk can be plugged in while the machine runs
GUEST_FORWARD_ADDRESS = '10.0.2.100'

_live = weakref.WeakSet()
_prctl = ctypes.CDLL(None).prctl
PR_SET_PDEATHSIG = 1


@atexit.register
def _kill_all():
    for machine in list(_live):
        machine.power_cut()


def die_with_parent():
    # Even if this process is killed without a chance to clean up, no machine stays behind.
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class MachineError(Exception):
    """A machine did not do what was waited for."""


class MachineGone(MachineError):
    """The machine ended while something was waited for."""


class MachineTimeout(MachineError):
    """It did not do so in time, and is still running."""


@dataclass(frozen=True)
class Disk:
    """A disk of a machine. Disks are booted in the order in which they are listed."""
    path: Path
    serial: str
    bus: str = 'virtio'             # virtio, nvme, scsi, cdrom, usb (kernels for clouds have no USB)
    readonly: bool = False
    sector: int = 512
    options: str = ''               # more properties of the QEMU device
    log: Path | None = None         # every write is noted there (faults/writelog.py); goes on where an earlier boot ended

    @property
    def format(self):
        return 'qcow2' if str(self.path).endswith('.qcow2') else 'raw'


@dataclass(frozen=True)
class Result:
    """What a command in the guest left behind."""
    argv: list
    rc: int
    out: bytes
    err: bytes
    signal: int = 0
    timed_out: bool = False

    @property
    def text(self):
        return self.out.decode(errors='replace')

    def json(self):
        return json.loads(self.out)

    def check(self):
        if self.rc != 0:
            said = (self.out[-2000:] + self.err[-4000:]).decode(errors='replace')
            why = 'timed out' if self.timed_out else f'exit {self.rc}'
            raise MachineError(f'in the guest: {" ".join(self.argv)}: {why}\n{said}')
        return self


class Machine:
    def __init__(self, dir, disks=(), vars=None, tpm=True, memory=512, smp=1, forward=None, extra=()):
        """vars: variable store to start from (copied); without one the firmware is in setup mode, Secure Boot off.
        forward: {guest port: host port}; the guest then has a network that leads to these ports only.
        extra: more QEMU arguments."""
        self.dir = Path(dir).resolve()
        self.dir.mkdir(parents=True, exist_ok=True)
        self.disks = list(disks)
        self.tpm, self.memory, self.smp, self.forward, self.extra = tpm, memory, smp, forward or {}, list(extra)
        self.vars = self.dir / 'vars.fd'
        self.log = self.dir / 'console.log'
        if vars is not None or not self.vars.exists():
            shutil.copyfile(vars or OVMF_VARS, self.vars)
        if tpm and not (self.dir / 'tpm').exists():
            self.reset_tpm()
        self.sleeping = None        # the file with the state of a machine that sleeps
        self.changed = threading.Condition()
        self.qemu = self.swtpm = self.pump = None
        self._clear()

    def _clear(self):
        self.lines, self.rest = '', b''     # the console since the last boot: complete lines, and the unfinished one
        self.ready = None           # seconds of guest uptime at the ready message
        self.answers = {}
        self.qmp_answers = []
        self.qmp_greeting = False
        self.migration = None       # how far QEMU is with one
        self.ended = True
        self.next_id = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.power_cut()

    # The life of the machine ------------------------------------------------------------------------------------

    def boot(self, expect=None, timeout=BOOT_TIMEOUT):
        """Power on. Waits until the guest tool is ready, or until the console matches expect and returns the match."""
        self.start()
        if expect is not None:
            return self.expect(expect, timeout)
        return self.wait_ready(timeout)

    def wait_ready(self, timeout=BOOT_TIMEOUT, answers=None):
        """Until the guest tool of a started machine is ready. answers: {question on the console: what a person types}, each of
        which may be asked, once."""
        left = dict(answers or {})
        while True:
            def asked():
                return [question for question in left if question in self.console]
            self._wait(lambda: self.ready is not None or asked(), timeout, 'the guest to be ready', dead_end=True)
            if self.ready is not None:
                return self
            for question in asked():
                self.type(left.pop(question))

    def start(self):
        """Power on and wait for nothing. A machine that slept runs again, with the time of day set, when this returns."""
        if not self.ended:
            raise MachineError(f'{self.dir.name} is running')
        self._end_processes()
        self._clear()
        self.ended = False
        self.started = time.monotonic()
        self.sockets = Path(tempfile.mkdtemp(prefix='tb-vm-'))
        _live.add(self)
        try:
            if self.tpm:
                self._start_tpm()
            listeners = {name: self._listen(name) for name in ('console', 'control', 'qmp')}
            self.qemu = self._spawn(self._qemu_argv(), 'qemu.log')
            self._connect(listeners)
            if self.sleeping:
                self._wake()
        except BaseException:
            self.power_cut()
            raise

    def sleep(self, name='asleep'):
        """The running machine stands still, and all of it is kept: memory, TPM, variables, disks. It is off then. name: of
        the file in its directory."""
        kept = self.dir / name
        self.qmp('stop')
        self.qmp('migrate-set-parameters', **{'max-bandwidth': FULL_SPEED})
        self._migrate('migrate', f'exec:zstd -q -1 -f -o {kept}')
        self.power_cut()
        self.sleeping = kept
        return self

    def _wake(self):
        """Behind a start with the state that was kept."""
        self._migrate('migrate-incoming', f'exec:zstd -q -d -c {self.sleeping}')
        self.sleeping = None        # what starts after this is a boot
        self.ready = 0
        self.qmp('cont')
        self.run(['date', '-s', f'@{time.time():.3f}'], check=True)

    def _migrate(self, command, uri):
        self.qmp('migrate-set-capabilities', capabilities=[{'capability': 'events', 'state': True}])
        self.migration = None
        self.qmp(command, uri=uri)
        self._wait(lambda: self.migration in ('completed', 'failed'), WAKE_TIMEOUT, f'the end of QMP {command}')
        if self.migration != 'completed':
            raise MachineError(f'{self.dir.name}: QMP {command} failed\n{self.tail()}')

    def power_cut(self):
        """The plug is pulled: nothing in the guest gets a chance to finish."""
        if self.qemu is not None and self.qemu.poll() is None:
            self.qemu.kill()
        self._end_processes()

    def wait_exit(self, timeout=60):
        """Until the guest has powered off or reset."""
        self._wait(lambda: self.ended, timeout, 'the machine to end', gone_ok=True)
        self._end_processes()

    def power_off(self, timeout=90):
        self._leave(['systemctl', 'poweroff', '--no-block'], timeout)

    def reboot(self, timeout=BOOT_TIMEOUT, **boot):
        """An orderly restart from inside, up to ready or boot(expect=...)."""
        self.shut_down_to_restart()
        return self.boot(timeout=timeout, **boot)

    def shut_down_to_restart(self, timeout=90):
        """The first half of reboot(): the machine is off then."""
        self._leave(['systemctl', 'reboot', '--no-block'], timeout)

    def clone(self, dir, **changes):
        """A new machine that starts where this one stands: overlays over its disks, copies of the rest. This one must
        be off, and stay off as long as the clones live."""
        if not self.ended:
            raise MachineError(f'{self.dir.name} is running')
        dir = Path(dir).resolve()
        shutil.rmtree(dir, ignore_errors=True)
        dir.mkdir(parents=True)
        if self.tpm:
            shutil.copytree(self.dir / 'tpm', dir / 'tpm')
        disks = [d if d.readonly else replace(d, path=_overlay(d, dir)) for d in self.disks]
        settings = dict(disks=disks, vars=self.vars, tpm=self.tpm, memory=self.memory, smp=self.smp,
                        forward=self.forward, extra=self.extra)
        twin = Machine(dir, **{**settings, **changes})
        twin.sleeping = self.sleeping
        return twin

    def disk(self, serial):
        return next(d for d in self.disks if d.serial == serial)

    def raw_disk(self, serial):
        """The disk as a raw image, for host tools; an overlay is turned into one first. The machine must be off."""
        index = next(i for i, d in enumerate(self.disks) if d.serial == serial)
        if self.disks[index].format != 'raw':
            raw = self.dir / f'{serial}.img'
            host_run('qemu-img', 'convert', '-O', 'raw', self.disks[index].path, raw)
            os.unlink(self.disks[index].path)
            self.disks[index] = replace(self.disks[index], path=raw)
        return self.disks[index].path

    def reset_tpm(self):
        """Another TPM: fresh seeds, no memory."""
        state = self.dir / 'tpm'
        shutil.rmtree(state, ignore_errors=True)
        state.mkdir()
        host_run('swtpm_setup', '--tpm2', '--tpmstate', state, '--pcr-banks', 'sha256', '--overwrite')

    @property
    def console(self):
        """What the console said since the last boot, without terminal control sequences."""
        return self.lines + _plain(self.rest)

    # Talking to it -----------------------------------------------------------------------------------------------

    def run(self, argv, stdin=b'', timeout=RUN_TIMEOUT, check=False):
        """Run a command in the guest and wait for its end."""
        result = self.finish(self.begin(argv, stdin, timeout), timeout + 10)
        return result.check() if check else result

    def shell(self, script, **kwargs):
        return self.run(['sh', '-c', script], **kwargs)

    def begin(self, argv, stdin=b'', timeout=RUN_TIMEOUT):
        """Start a command in the guest; finish() waits for it. The guest runs one at a time."""
        argv = [str(a) for a in argv]
        self.next_id += 1
        request = {'id': self.next_id, 'argv': argv, 'timeout': timeout}
        if stdin:
            request['stdin'] = base64.b64encode(stdin).decode()
        try:
            self.control.sendall(json.dumps(request).encode() + b'\n')
        except OSError as e:
            raise MachineGone(f'{self.dir.name}: {e}\n{self.tail()}') from e
        return self.next_id, argv

    def finish(self, job, timeout=RUN_TIMEOUT):
        number, argv = job
        self._wait(lambda: number in self.answers, timeout, ' '.join(argv))
        a = self.answers.pop(number)
        out, err = (base64.b64decode(a.get(k, '')) for k in ('stdout', 'stderr'))
        return Result(argv, a['rc'], out, err, a.get('signal', 0), a.get('timeout', False))

    def read(self, path):
        return self.run(['cat', path], check=True).out

    def write(self, path, data):
        self.run(['dd', f'of={path}', 'bs=64k', 'conv=fsync', 'status=none'], stdin=data, check=True)

    def disk_node(self, serial):
        """The guest's device node of a disk."""
        listed = self.shell('udevadm settle; lsblk -ndo PATH,SERIAL', check=True).text.splitlines()
        nodes = [line.split()[0] for line in listed if line.split()[1:] == [serial]]
        if len(nodes) != 1:
            raise MachineError(f'disk {serial}: found {nodes} in the guest')
        return nodes[0]

    def plug(self, disk):
        """Attaches a disk to the running machine, which has to have a BAY. It stays there in later boots."""
        self.qmp('blockdev-add', **{'driver': disk.format, 'node-name': disk.serial, 'read-only': disk.readonly,
                                    'file': {'driver': 'file', 'filename': str(disk.path), 'read-only': disk.readonly}})
        self.qmp('device_add', driver='scsi-hd', bus='bay.0', drive=disk.serial, serial=disk.serial)
        self.disks.append(replace(disk, bus='scsi'))
        self.run(['udevadm', 'wait', '--timeout=30', f'/dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_{disk.serial}'], check=True)

    def network_up(self):
        """Gives the guest its address; forwarded ports are then at the address this returns."""
        self.shell('ip link set lo up; i=$(ls /sys/class/net | grep -v -w lo | head -n1); '
                   'ip address add 10.0.2.15/24 dev $i; ip link set $i up', check=True)
        return GUEST_FORWARD_ADDRESS

    def expect(self, pattern, timeout=RUN_TIMEOUT):
        """Until the console of this boot matches; returns the match."""
        regex = re.compile(pattern)
        self._wait(lambda: regex.search(self.console), timeout, f'the console to say {pattern!r}', dead_end=True)
        return regex.search(self.console)

    def type(self, text):
        """What a person types on the serial console."""
        try:
            self.keyboard.sendall(text.encode())
        except OSError as e:
            raise MachineGone(f'{self.dir.name}: {e}\n{self.tail()}') from e

    def qmp(self, command, **arguments):
        self._wait(lambda: self.qmp_greeting, 10, 'QMP')
        wanted = len(self.qmp_answers) + 1
        self.monitor.sendall(json.dumps({'execute': command, 'arguments': arguments}).encode() + b'\n')
        self._wait(lambda: len(self.qmp_answers) >= wanted, 30, f'QMP {command}')
        answer = self.qmp_answers[wanted - 1]
        if 'error' in answer:
            raise MachineError(f'QMP {command}: {answer["error"]}')
        return answer['return']

    def tail(self, lines=30):
        text = '\n'.join(self.console.rstrip().splitlines()[-lines:])
        said = (self.dir / 'qemu.log').read_text(errors='replace') if (self.dir / 'qemu.log').exists() else ''
        return f'--- {self.log}, last lines\n{text}\n' + (f'--- QEMU\n{said}' if said else '')

    # Underneath --------------------------------------------------------------------------------------------------

    def _leave(self, argv, timeout):
        try:
            self.run(argv, timeout=timeout)
        except MachineGone:
            pass
        self.wait_exit(timeout)

    def _wait(self, done, timeout, what, gone_ok=False, dead_end=False):
        with self.changed:
            ok = self.changed.wait_for(
                lambda: done() or self.ended or (dead_end and DEAD_END.search(self.console)), timeout)
            if done():
                return
        if self.ended and not gone_ok:
            raise MachineGone(f'{self.dir.name} ended while waiting for {what}\n{self.tail()}')
        said = f'{self.dir.name}: waiting for {what}: '
        if ok:
            raise MachineError(f'{said}dead end\n{self.tail()}')
        raise MachineTimeout(f'{said}nothing in {timeout} s\n{self.tail()}')

    def _spawn(self, argv, log, **kwargs):
        with open(self.dir / log, 'wb') as errors:
            return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors,
                                    preexec_fn=die_with_parent, **kwargs)

    def _listen(self, name):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.sockets / name))
        listener.listen(1)
        listener.settimeout(30)
        return listener

    def _start_tpm(self):
        # The socket is ours and already listening, so QEMU can connect whenever swtpm gets to it.
        listener = self._listen('tpm')
        listener.setblocking(True)
        fd = listener.fileno()
        self.swtpm = self._spawn(['swtpm', 'socket', '--tpm2', '--tpmstate', f'dir={self.dir}/tpm',
                                  '--ctrl', f'type=unixio,fd={fd}', '--terminate'], 'swtpm.log', pass_fds=[fd])
        listener.close()

    def _connect(self, listeners):
        connections = {}
        pid = os.pidfd_open(self.qemu.pid)
        waiting = selectors.DefaultSelector()
        waiting.register(pid, selectors.EVENT_READ)
        for name, listener in listeners.items():
            waiting.register(listener, selectors.EVENT_READ, name)
        while len(connections) < len(listeners):
            events = [key for key, _ in waiting.select(30)]
            if not events or any(key.fileobj == pid for key in events):
                os.close(pid)
                raise MachineGone(f'{self.dir.name}: QEMU does not start\n{self.tail()}')
            for key in events:
                connections[key.data] = key.fileobj.accept()[0]
                waiting.unregister(key.fileobj)
                key.fileobj.close()
        waiting.close()
        self.control, self.monitor, self.keyboard = (connections[name] for name in ('control', 'qmp', 'console'))
        self.pump = threading.Thread(target=self._pump, args=(connections, pid), daemon=True)
        self.pump.start()

    def _pump(self, connections, pid):
        """Reads everything the machine says, for as long as it lives: an unread console would stop the guest."""
        selector = selectors.DefaultSelector()
        selector.register(pid, selectors.EVENT_READ, 'end')
        for name, connection in connections.items():
            selector.register(connection, selectors.EVENT_READ, name)
        buffers = dict.fromkeys(connections, b'')
        with open(self.log, 'a', encoding='utf-8') as log:
            log.write(f'=== boot {time.strftime("%Y-%m-%d %H:%M:%S")}\n')
            alive = True
            while selector.get_map():
                events = selector.select(None if alive else 5)
                if not events:
                    break
                for key, _ in events:
                    if key.data == 'end':
                        alive = False
                        selector.unregister(pid)
                        continue
                    data = _receive(key.fileobj)
                    if not data:
                        selector.unregister(key.fileobj)
                    with self.changed:
                        buffers[key.data] = self._take(key.data, buffers[key.data] + data, log)
                        self.changed.notify_all()
            log.write(f'=== end after {time.monotonic() - self.started:.1f} s\n')
        os.close(pid)
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def _take(self, name, buffer, log):
        """Handles the complete lines of a stream and returns the rest."""
        *lines, rest = buffer.split(b'\n')
        for line in lines:
            if name == 'console':
                text = _plain(line)
                self.lines += text + '\n'
                if text:
                    log.write(f'{time.monotonic() - self.started:8.2f} {text}\n')
                    log.flush()
            elif line.strip():
                self._message(name, json.loads(line))
        if name == 'console':
            self.rest = rest
        return rest

    def _message(self, name, message):
        if name == 'control':
            if 'ready' in message:
                self.ready = message['uptime']
            elif 'id' in message:
                self.answers[message['id']] = message
        elif 'QMP' in message:
            self.monitor.sendall(b'{"execute":"qmp_capabilities"}\n')
        elif 'return' in message or 'error' in message:
            if self.qmp_greeting:
                self.qmp_answers.append(message)
            self.qmp_greeting = True
        elif message.get('event') == 'MIGRATION':
            self.migration = message['data']['status']

    def _end_processes(self):
        """After QEMU's end, by itself or not: collect everything that belonged to it."""
        if self.qemu is not None:
            self.qemu.wait()
        if self.pump is not None:
            self.pump.join()
        if self.swtpm is not None:
            try:
                # It ends by itself when QEMU hangs up, and has then written its state.
                self.swtpm.wait(10 if self.qemu is not None else 0)
            except subprocess.TimeoutExpired:
                self.swtpm.kill()
                self.swtpm.wait()
        if self.qemu is not None or self.swtpm is not None:
            shutil.rmtree(self.sockets, ignore_errors=True)
        for connection in (getattr(self, name, None) for name in ('control', 'monitor', 'keyboard')):
            if connection is not None:
                connection.close()
        self.qemu = self.swtpm = self.pump = None
        self.ended = True
        _live.discard(self)

    def _qemu_argv(self):
        s = self.sockets
        accelerator = _accelerator()
        # The guest's SHA-256 takes AVX where it is, and emulated it lasts twice as long as the code for older processors.
        cpu = 'max' if accelerator == 'kvm' else 'max,avx=off,avx2=off'
        argv = ['qemu-system-x86_64', '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot',
                '-machine', 'q35,smm=on', '-cpu', cpu, '-accel', accelerator,
                # More than one CPU makes every system management interrupt a rendezvous: slow on a busy host.
                '-smp', str(self.smp), '-m', str(self.memory),
                '-global', 'driver=cfi.pflash01,property=secure,value=on',
                '-drive', f'if=pflash,unit=0,format=raw,readonly=on,file={OVMF_CODE}',
                '-drive', f'if=pflash,unit=1,format=raw,file={self.vars}',
                '-chardev', f'socket,id=console,path={s}/console', '-serial', 'chardev:console',
                '-chardev', f'socket,id=qmp,path={s}/qmp', '-mon', 'chardev=qmp,mode=control',
                '-device', 'virtio-serial-pci',
                '-chardev', f'socket,id=control,path={s}/control',
                '-device', 'virtserialport,chardev=control,name=tbctl',
                '-object', 'rng-random,id=rng,filename=/dev/urandom', '-device', 'virtio-rng-pci,rng=rng']
        if self.tpm:
            argv += ['-chardev', f'socket,id=tpm,path={s}/tpm', '-tpmdev', 'emulator,id=tpm0,chardev=tpm',
                     '-device', 'tpm-crb,tpmdev=tpm0']
        for index, disk in enumerate(self.disks):
            argv += _disk_argv(index, disk)
        if self.forward:
            rules = ''.join(f',guestfwd=tcp:{GUEST_FORWARD_ADDRESS}:{guest}-cmd:socat STDIO TCP:127.0.0.1:{host}'
                            for guest, host in self.forward.items())
            argv += ['-netdev', f'user,id=net,restrict=on{rules}', '-device', 'virtio-net-pci,netdev=net,romfile=']
        if self.sleeping:
            argv += ['-incoming', 'defer']
        return argv + self.extra


@functools.cache
def _accelerator():
    """KVM where it can do what this firmware keeps its variables with, system management mode; nested KVM often cannot."""
    check_extension, smm = 0xae03, 117      # linux/kvm.h: KVM_CHECK_EXTENSION, KVM_CAP_X86_SMM
    try:
        with open('/dev/kvm', 'rb+', buffering=0) as kvm:
            return 'kvm' if fcntl.ioctl(kvm, check_extension, smm) > 0 else 'tcg'
    except OSError:
        return 'tcg'


def _plain(text):
    return ESCAPES.sub('', text.decode(errors='replace')).replace('\r', '').rstrip()


def _receive(connection):
    try:
        return connection.recv(1 << 16)
    except OSError:
        return b''


def _overlay(disk, dir):
    path = dir / f'{disk.serial}.qcow2'
    host_run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', Path(disk.path).resolve(), '-F', disk.format, path)
    return path


def _logged(index, disk):
    """A raw disk behind a filter that notes all it is told, in order."""
    append = disk.log.exists() and disk.log.stat().st_size > 0
    if not append:
        disk.log.write_bytes(b'')
    return ['-blockdev', f'driver=file,node-name=file{index},discard=unmap,filename={disk.path}',
            '-blockdev', f'driver=raw,node-name=raw{index},discard=unmap,file=file{index}',
            '-blockdev', f'driver=file,node-name=log{index},filename={disk.log}',
            '-blockdev', f'driver=blklogwrites,node-name=disk{index},discard=unmap,file=raw{index},log=log{index},'
                         f'log-append={"on" if append else "off"}']


def _disk_argv(index, disk):
    drive = f'if=none,id=disk{index},format={disk.format},discard=unmap,detect-zeroes=unmap,file={disk.path}'
    if disk.readonly:
        drive += ',readonly=on'
    device = {'virtio': 'virtio-blk-pci', 'nvme': 'nvme', 'scsi': 'scsi-hd', 'cdrom': 'scsi-cd', 'usb': 'usb-storage'}[disk.bus]
    controller = []
    if device.startswith(('scsi', 'usb')):
        name = device.partition('-')[0]
        controller = ['-device', f'{CONTROLLERS[name]},id={name}{index}']
        device += f',bus={name}{index}.0'
    device += f',drive=disk{index},serial={disk.serial},bootindex={index + 1}'
    if disk.sector != 512:
        device += f',logical_block_size={disk.sector},physical_block_size={disk.sector}'
    if disk.options:
        device += ',' + disk.options
    return controller + (_logged(index, disk) if disk.log else ['-drive', drive]) + ['-device', device]
