# SPDX-License-Identifier: Apache-2.0
"""What an upgrade over the loopback device costs: seconds, memory, bytes from the network, bytes written to disk. Beside it,
on the same payload in the same run: what the machine can do at best (curl, sha256sum, dd), RAUC and casync."""
import http.server
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / 'tests/registry'))
from node import Node                                                                   # noqa: E402
from tools import BOOT, DockerRegistry, build_usi, digest_of, tb_image, tool            # noqa: E402

MIB = 1 << 20
SIZE = 512 * MIB
PIECES = 64                     # files of the system in an image; the next version changes some of them
CHANGED = 5
ROUNDS = 3                      # of the quick ones: the best counts, machines are noisy in one direction only


class Payload:
    """Two versions of a system image of about SIZE bytes that do not compress, and an old, small one to start from."""

    def __init__(self, folder):
        self.folder, self.keys = folder, folder / 'keys'
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        tb_image('keys', self.keys)
        tb_image('sign', '--keys', self.keys, '--out', folder / 'boot.efi', BOOT)
        root = folder / 'root'
        root.mkdir()
        (root / 'init').write_text('#!/bin/sh\n')
        (root / 'init').chmod(0o755)
        self.small = self.make(1, root)
        for number in range(PIECES):
            (root / f'piece{number:02}').write_bytes(os.urandom(SIZE // PIECES))
        self.old = self.make(2, root)
        for number in range(0, PIECES, PIECES // CHANGED):
            (root / f'piece{number:02}').write_bytes(os.urandom(SIZE // PIECES))
        self.new = self.make(3, root)
        shutil.rmtree(root)

    def make(self, version, root):
        release = f'ID=demo\nIMAGE_ID=demo\nIMAGE_VERSION={version}\nPRETTY_NAME="Demo {version}"\n'
        build_usi(self.folder, self.keys, root, out=f'v{version}.efi', os_release=release)
        return self.folder / f'v{version}.efi'


class Watcher(threading.Thread):
    """Peak over time of the resident memory of a process and all below it; pages that two of them share count twice."""

    def __init__(self, pid, but=()):
        super().__init__(daemon=True)
        self.pid, self.but, self.peak = pid, but, 0
        self.done = threading.Event()
        self.start()

    def run(self):
        while not self.done.wait(0.01):
            self.peak = max(self.peak, sum(self.resident(pid) for pid in self.family()))

    def family(self):
        found, waiting = [], [self.pid]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            try:
                for task in os.listdir(f'/proc/{pid}/task'):
                    waiting += map(int, Path(f'/proc/{pid}/task/{task}/children').read_text().split())
            except OSError:
                pass
        return found

    def resident(self, pid):
        try:
            if Path(f'/proc/{pid}/comm').read_text().strip() in self.but:
                return 0
            return int(Path(f'/proc/{pid}/statm').read_text().split()[1]) * 4096
        except OSError:
            return 0

    def end(self):
        self.done.set()
        self.join()
        return self.peak


def measured(argv, folder, env=None, but=()):
    """Seconds, peak memory, and bytes written to disk by a command and everything it starts."""
    os.sync()
    start = time.monotonic()
    with open(folder / 'said', 'wb') as said:
        process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
                                   cwd=folder, env={**os.environ, **(env or {})})
        watcher = Watcher(process.pid, but)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f'{argv}: exit {process.returncode}\n{(folder / "said").read_text()[-3000:]}')
    return {'seconds': round(seconds, 2), 'peak_bytes': watcher.end(), 'written_bytes': usage.ru_oublock * 512}


class FileServer:
    """A folder over plain http; counts what it sends."""

    def __init__(self, folder):
        server = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'
            disable_nagle_algorithm = True      # thousands of small files

            def __init__(self, *args):
                super().__init__(*args, directory=str(folder))

            def copyfile(self, source, out):
                size = os.fstat(source.fileno()).st_size
                out.flush()
                sent = 0
                while sent < size:
                    sent += os.sendfile(self.connection.fileno(), source.fileno(), sent, size - sent)
                server.sent += sent

            def log_message(self, *_):
                pass
        self.sent = 0
        self.http = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.url = f'http://127.0.0.1:{self.http.server_port}'
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def counted(self, function, *args, **kwargs):
        before = self.sent
        return {**function(*args, **kwargs), 'network_bytes': self.sent - before}

    def close(self):
        self.http.shutdown()


def put(out, name, figures):
    out.update({f'upgrade.{name}.{key}': value for key, value in figures.items()})


def best(function):
    """The fastest of several rounds, with the largest of the other figures."""
    rounds = [function() for _ in range(ROUNDS)]
    return {key: (min if key == 'seconds' else max)(r[key] for r in rounds) for key in rounds[0]}


# --- the four --------------------------------------------------------------------------------------------------------

def limit(payload, server, folder):
    """Every byte over the network and through one hash, and every byte to the disk: one after the other, and at once."""
    url, out = f'{server.url}/{payload.new.name}', folder / 'copy'
    hashed = measured(['sh', '-c', f'curl -sSf {url} | sha256sum'], folder)
    copied = measured(['dd', f'if={payload.new}', f'of={out}', 'bs=1M', 'conv=fsync', 'status=none'], folder)
    out.unlink()
    script = (f'curl -sSf {url} | tee digest.pipe | dd of={out} bs=1M iflag=fullblock conv=fsync status=none & '
              'sha256sum digest.pipe; wait')
    tool('mkfifo', folder / 'digest.pipe')
    together = measured(['bash', '-c', script], folder)
    out.unlink()
    (folder / 'digest.pipe').unlink()
    return {'seconds': round(hashed['seconds'] + copied['seconds'], 2), 'hash_seconds': hashed['seconds'],
            'copy_seconds': copied['seconds'], 'pipeline_seconds': together['seconds']}


def agent(payload, registry, folder, tag):
    """The node runs the small image and goes to the large one, from a real registry."""
    place = folder / 'node'
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    node = Node(place, payload.keys, payload.small.read_bytes(), (payload.folder / 'boot.efi').read_bytes())
    before = sum(size for size, _ in node.files().values())
    os.sync()
    run = node.begin_upgrade(f'oci:127.0.0.1:{registry.port}/demo:{tag}', '--insecure', f'127.0.0.1:{registry.port}', '--json')
    watcher = Watcher(run.process.pid, but=('python3', 'sh'))
    result = run.wait()
    peak = watcher.end()
    if result.rc != 0:
        raise RuntimeError(str(result))
    size = payload.new.stat().st_size
    grown = sum(n for n, _ in node.files().values()) - before
    if payload.new.read_bytes() != node.role('active'):
        raise RuntimeError('active is not the new image')
    again = node.upgrade(f'oci:127.0.0.1:{registry.port}/demo:{tag}', '--insecure', f'127.0.0.1:{registry.port}')
    if again.rc != 0:
        raise RuntimeError(str(again))
    shutil.rmtree(place)
    return {'seconds': round(result.seconds, 2), 'peak_bytes': peak, 'written_bytes': result.written,
            'esp_grown_bytes': grown, 'image_bytes': size, 'nothing_to_do_seconds': round(again.seconds, 2)}


def received(payload, registry, out):
    """What the registry, which has ended, sent in one round on the average: everything that is no upload."""
    raw = digest_of(payload.new.read_bytes())
    sent = {'raw': 0, 'zstd': 0}
    for method, path, _, size in registry.requests():
        if method == 'GET' and '/blobs/sha256:' in path:
            sent['raw' if raw in path else 'zstd'] += size
    for tag, size in sent.items():
        out[f'upgrade.{tag}.network_bytes'] = size // ROUNDS


def rauc(payload, server, folder):
    """A bundle of the plain format, from http into a file that stands for the slot, by its service."""
    place = folder / 'rauc'
    (place / 'content').mkdir(parents=True)
    (place / 'mnt').mkdir()
    tool('openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', place / 'key.pem', '-out', place / 'cert.pem',
         '-days', '3650', '-subj', '/CN=bench')
    os.link(payload.new, place / 'content/image.img')
    (place / 'content/manifest.raucm').write_text(
        '[update]\ncompatible=demo\nversion=3\n[bundle]\nformat=plain\n[image.rootfs]\nfilename=image.img\n')
    made = measured(['rauc', '--cert', place / 'cert.pem', '--key', place / 'key.pem', 'bundle', place / 'content',
                     place / 'demo.raucb'], folder)
    slots = ''
    for number, name in enumerate('AB'):
        with open(place / f'slot{number}', 'wb') as f:
            f.truncate(SIZE + 64 * MIB)
        slots += f'[slot.rootfs.{number}]\ndevice={place}/slot{number}\ntype=raw\nbootname={name}\n'
    (place / 'system.conf').write_text(
        f'[system]\ncompatible=demo\nbootloader=noop\nmax-bundle-download-size={2 * SIZE}\n'
        f'statusfile={place}/status\nmountprefix={place}/mnt\n[keyring]\npath={place}/cert.pem\n{slots}')
    os.rename(place / 'demo.raucb', payload.folder / 'demo.raucb')
    # A bus of its own, which takes the place of the machine's.
    script = ('export DBUS_STARTER_BUS_TYPE=session\n'
              f'rauc -c {place}/system.conf --override-boot-slot=A service & service=$!\n'
              'until busctl --address="$DBUS_SESSION_BUS_ADDRESS" status de.pengutronix.rauc >/dev/null 2>&1; do\n'
              'kill -0 $service || exit 1; done\n'
              f'rauc install {server.url}/demo.raucb; rc=$?; kill $service; wait $service; exit $rc\n')
    done = server.counted(measured, ['dbus-run-session', '--', 'bash', '-c', script], folder,
                          env={'TMPDIR': str(place)},
                          but=('dbus-daemon', 'dbus-run-sessio', 'bash', 'busctl'))
    tool('cmp', '-n', payload.new.stat().st_size, payload.new, place / 'slot1')
    shutil.rmtree(place)
    (payload.folder / 'demo.raucb').unlink()
    return {**done, 'make_seconds': made['seconds']}


def casync(payload, server, folder):
    """Chunks over http: from nothing, and with the previous version on this disk as seed."""
    made = measured(['casync', 'make', f'--store={payload.folder}/store', payload.folder / 'new.caibx', payload.new], folder)
    figures = {'make_seconds': made['seconds']}
    for name, options in (('fresh', []), ('seed', [f'--seed={payload.old}'])):
        out = folder / 'copy'
        done = server.counted(measured, ['casync', 'extract', f'--store={server.url}/store', *options,
                                         f'{server.url}/new.caibx', out], folder)
        tool('cmp', payload.new, out)
        out.unlink()
        figures.update({f'{name}_{key}': value for key, value in done.items()})
    shutil.rmtree(payload.folder / 'store')
    return figures


# --- what it may cost ------------------------------------------------------------------------------------------------

TIME_RATIO = 1.3                # of the limit in the same run; of what is written as it comes
PEAK_BYTES = 48 * MIB           # over all processes
EXCESS = 1.01                   # bytes over the network and on the ESP, of the image
ENTRIES = 16 * 1024             # and what entries take beside it


def judge(out):
    """The targets: [(name, figure, most, whether it is met)]. A compressed transfer has no target for its time: it is also
    kept on the persistent partition while it lasts, so that a run that was killed can continue it (written_bytes)."""
    rows = [('upgrade.raw: times the limit', round(out['upgrade.raw.seconds'] / out['upgrade.limit.seconds'], 2), TIME_RATIO)]
    for tag in ('raw', 'zstd'):
        figures = {key.rpartition('.')[2]: value for key, value in out.items() if key.startswith(f'upgrade.{tag}.')}
        image = figures['image_bytes']
        rows += [(f'upgrade.{tag}: peak MiB', round(figures['peak_bytes'] / MIB, 1), PEAK_BYTES / MIB),
                 (f'upgrade.{tag}: network bytes of the image', round(figures['network_bytes'] / image, 4), EXCESS),
                 (f'upgrade.{tag}: ESP bytes of the image', round((figures['esp_grown_bytes'] - ENTRIES) / image, 4), EXCESS)]
    # Nothing but the image and its entry: where nothing is kept beside it, every byte that is written counts.
    rows.append(('upgrade.raw: all bytes written of the image',
                 round((out['upgrade.raw.written_bytes'] - ENTRIES) / out['upgrade.raw.image_bytes'], 4), EXCESS))
    return [(name, figure, most, figure <= most) for name, figure, most in rows]


def bench_upgrade(work, out):
    folder = Path(work)
    payload = Payload(folder / 'payload')
    server = FileServer(payload.folder)
    try:
        with DockerRegistry(folder / 'registry') as registry:
            registry.push_artifact('demo', payload.new, 'raw')
            registry.push_image('demo', payload.new.read_bytes(), 'zstd')
            put(out, 'limit', best(lambda: limit(payload, server, folder)))
            for tag in ('raw', 'zstd'):
                put(out, tag, best(lambda: agent(payload, registry, folder, tag)))
        received(payload, registry, out)
        put(out, 'rauc', rauc(payload, server, folder))
        put(out, 'casync', casync(payload, server, folder))
    finally:
        server.close()
        shutil.rmtree(folder, ignore_errors=True)
