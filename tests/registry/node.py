# SPDX-License-Identifier: Apache-2.0
"""A node without a machine: a folder that stands for its ESP, a folder for its state, and the agent run against them."""
import hashlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tools import BUILD

# Every process of the agent stays under this, whatever a server sends.
MEMORY = 48 << 20
# Longer than any limit of the agent's own.
PATIENCE = 150


# The kernel counts the memory of whoever started a program as the program's own, up to the moment of exec: a small process
# starts it, and says on a descriptor what it used. It leads a process group, so that signals reach both.
LAUNCHER = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: None)
signal.signal(signal.SIGINT, lambda *_: None)
said, argv = int(sys.argv[1]), sys.argv[2:]
pid = os.posix_spawnp(argv[0], argv, os.environ, setsigdef=[signal.SIGTERM, signal.SIGINT, signal.SIGPIPE],
                      file_actions=[(os.POSIX_SPAWN_CLOSE, said)])
_, status, usage = os.wait4(pid, 0)
os.write(said, b"%d %d" % (usage.ru_maxrss * 1024, usage.ru_oublock * 512))
rc = os.waitstatus_to_exitcode(status)
os._exit(rc if rc >= 0 else 128 - rc)
"""


@dataclass
class Result:
    rc: int                     # negative: ended by that signal
    out: str
    err: str
    seconds: float
    memory: int                 # peak of the largest process
    written: int                # bytes that were made dirty on disks

    @property
    def said(self):
        return json.loads(self.out)

    def __str__(self):
        try:
            error = self.said["error"]
            return f"exit {self.rc} after {self.seconds:.1f} s, {self.memory >> 20} MiB: {error and error['text']}\n{self.err[-3000:]}"
        except (ValueError, KeyError, TypeError):
            pass
        return f"exit {self.rc} after {self.seconds:.1f} s, {self.memory >> 20} MiB\n{self.out[-3000:]}\n{self.err[-3000:]}"


class Run:
    """A program in a process group of its own, with nothing of this process' environment but env."""

    def __init__(self, argv, folder, env=None, measured=True):
        """measured: a launcher stands between, and signals go to the whole group."""
        self.out, self.err, self.used = (folder / f"{name}.{os.urandom(4).hex()}" for name in ("out", "err", "used"))
        self.start = time.monotonic()
        argv = [str(a) for a in argv]
        with open(self.out, "wb") as out, open(self.err, "wb") as err, open(self.used, "wb") as used:
            launcher = [sys.executable, "-I", "-S", "-c", LAUNCHER, str(used.fileno())] if measured else []
            self.process = subprocess.Popen(
                launcher + argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True,
                pass_fds=[used.fileno()] if measured else [],
                env={"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(folder / "home"), **(env or {})})
        self.pidfd = os.pidfd_open(self.process.pid)

    def kill(self, number=signal.SIGKILL):
        """The whole group, as a supervisor does."""
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def ended(self, timeout):
        """Whether it ends in that time."""
        return bool(select.select([self.pidfd], [], [], max(timeout, 0))[0])

    def wait(self, timeout=PATIENCE):
        if not self.ended(timeout):
            self.kill()
        self.process.wait()
        seconds = time.monotonic() - self.start
        os.close(self.pidfd)
        out, err, used = (path.read_text(errors="replace") for path in (self.out, self.err, self.used))
        for path in (self.out, self.err, self.used):
            path.unlink()
        memory, written = map(int, used.split() or (0, 0))
        result = Result(self.process.returncode, out, err, seconds, memory, written)
        assert seconds < timeout, f"no end: {result}"
        return result


# --- the ESP ---------------------------------------------------------------------------------------------------------

def entry(role, number, image, version):
    """A boot entry as the agent writes it."""
    text = (f"title Demo {version}\nsort-key {dict(active='tb1', passive='tb2', recovery='tb3')[role]}\nversion {version}\n"
            f"efi /EFI/kairos/usi-{number:08}.efi\n# sha256 {hashlib.sha256(image).hexdigest()}\n")
    return (text + "#" * (511 - len(text)) + "\n").encode()


class Node:
    """Installed: image number 1 is active (confirmed) and passive, number 2 recovery."""

    def __init__(self, folder, keys, image, loader, version=1):
        self.folder, self.keys = folder, keys
        self.esp, self.state, self.home = folder / "esp", folder / "state", folder / "home"
        for path in ("EFI/BOOT", "EFI/systemd", "EFI/kairos", "loader/entries"):
            (self.esp / path).mkdir(parents=True)
        self.state.mkdir(mode=0o700)
        self.home.mkdir()
        for path in ("EFI/BOOT/BOOTX64.EFI", "EFI/systemd/systemd-bootx64.efi"):
            (self.esp / path).write_bytes(loader)
        (self.esp / "loader/loader.conf").write_text("timeout menu-hidden\neditor no\n")
        (self.esp / "loader/entries.srel").write_text("type1\n")
        for number in (1, 2):
            (self.esp / f"EFI/kairos/usi-{number:08}.efi").write_bytes(image)
        for role, number in (("active", 1), ("passive", 1), ("recovery", 2)):
            (self.esp / f"loader/entries/{role}.conf").write_bytes(entry(role, number, image, version))

    # Looking at it

    def files(self):
        """Everything on the ESP: {path: (size, sha256)}."""
        return {str(p.relative_to(self.esp)): (p.stat().st_size, _sha256(p)) for p in sorted(self.esp.rglob("*")) if p.is_file()}

    def entries(self):
        """{file name: image file it names}"""
        found = {}
        for path in (self.esp / "loader/entries").iterdir():
            text = path.read_bytes()
            found[path.name] = re.search(rb"^(?:efi|uki) /EFI/kairos/(\S+)$", text, re.M).group(1).decode()
        return found

    def named(self):
        """The images that entries name."""
        return {f"EFI/kairos/{name}" for name in self.entries().values()}

    def boot_path(self):
        """What the firmware and the boot loader read: all but images that no entry names."""
        named = self.named()
        return {path: what for path, what in self.files().items() if not path.startswith("EFI/kairos/") or path in named}

    def images(self, role):
        """The bytes of the images that entries of a role name: more than one while they change."""
        names = {image for file, image in self.entries().items() if re.match(rf"{role}(\+\d-\d)?\.conf$", file)}
        return [(self.esp / "EFI/kairos" / name).read_bytes() for name in names]

    def role(self, role):
        """The image of a role, of which there is one now."""
        found = self.images(role)
        assert len(found) == 1, self.entries()
        return found[0]

    def check(self, good):
        """The invariants of the design: every entry is whole and names a complete image among good, every role that a
        node has is there, and at most one file that no entry names."""
        files, entries = self.files(), self.entries()
        digests = {hashlib.sha256(image).hexdigest() for image in good}
        for file, image in entries.items():
            text = (self.esp / "loader/entries" / file).read_bytes()
            assert len(text) == 512 and text.endswith(b"\n"), (file, text)
            size, digest = files[f"EFI/kairos/{image}"]
            assert digest in digests, f"{file} names {image}, of {size} bytes, which is no image of ours"
            assert digest.encode() in text, f"{file} has another digest than {image}"
        roles = {re.match(r"[a-z]+", file).group() for file in entries}
        assert {"passive", "recovery"} <= roles, entries
        for path in ("EFI/BOOT/BOOTX64.EFI", "EFI/systemd/systemd-bootx64.efi"):
            assert path in files
        stray = [p for p in files if p.startswith("EFI/kairos/") and p.removeprefix("EFI/kairos/") not in entries.values()]
        assert len(stray) <= 1, stray
        return stray

    def copy(self, folder):
        """Another node that stands where this one does."""
        other = object.__new__(Node)
        other.__dict__.update(self.__dict__, folder=folder, esp=folder / "esp", state=folder / "state", home=folder / "home")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.folder, folder)
        return other

    def confirm(self):
        """As after a boot of active that was blessed."""
        for path in (self.esp / "loader/entries").glob("active+*.conf"):
            path.rename(path.with_name("active.conf"))

    def become(self, other):
        """Has the ESP and the state of another node from now on."""
        for name in ("esp", "state", "state.run"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            if (other.folder / name).exists():
                shutil.copytree(other.folder / name, self.folder / name)

    # Running the agent

    def trust(self):
        return ("--db", self.keys / "db.pem", "--policy-key", self.keys / "tpm2-pcr-public.pem")

    def begin_verify(self, source, *options, **how):
        return Run([BUILD / "tb-agent", "verify", source, *self.trust(), *options], self.folder, **how)

    def verify(self, source, *options, env=None, timeout=PATIENCE):
        return self.begin_verify(source, *options, env=env).wait(timeout)

    def begin_upgrade(self, source, *options, **how):
        argv = [BUILD / "tests/upgrade-here", "--esp", self.esp, "--state", self.state, *self.trust(), "--source", source]
        return Run([*argv, *options], self.folder, **how)

    def upgrade(self, source, *options, env=None, timeout=PATIENCE):
        return self.begin_upgrade(source, *options, env=env).wait(timeout)


def _sha256(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
