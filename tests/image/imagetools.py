# SPDX-License-Identifier: Apache-2.0
"""Runs tb-image and, next to it, tools that were written by others and know the same formats."""
import contextlib
import os
import pathlib
import random
import signal
import struct
import subprocess

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("TB_BUILD", TOP / "build"))
STUB = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"
BOOT = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi"
EPOCH = "1700000000"

OS_RELEASE = 'ID=demo\nIMAGE_ID=demo\nIMAGE_VERSION=7\nPRETTY_NAME="Demo 7"\n'
CMDLINE = "console=ttyS0 quiet"


def tool(*argv, check=True, **kwargs):
    """Runs a program with captured output (bytes)."""
    done = subprocess.run([a if isinstance(a, bytes) else str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)
    if check:
        assert done.returncode == 0, (argv, done.stdout[-2000:], done.stderr[-2000:])
    return done


def tb_image(*argv, epoch=EPOCH, check=True, **kwargs):
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    if epoch is not None:
        env["SOURCE_DATE_EPOCH"] = epoch
    return tool(BUILD / "tb-image", *argv, check=check, env=env, **kwargs)


@contextlib.contextmanager
def started_swtpm(folder):
    """A TPM emulator with its state in the folder; gives the text of its TCTI."""
    (folder / "tpm").mkdir()
    # It wants two ports in a row, below those that the kernel gives to clients; others may take them meanwhile.
    for _ in range(20):
        port = random.randrange(10000, 30000)
        # It goes to the background when it listens.
        done = tool("swtpm", "socket", "--tpm2", "--daemon", "--pid", f"file={folder}/tpm.pid", "--tpmstate", f"dir={folder}/tpm",
                    "--server", f"type=tcp,port={port}", "--ctrl", f"type=tcp,port={port + 1}",
                    "--flags", "not-need-init,startup-clear", check=False)
        if done.returncode == 0:
            break
    assert done.returncode == 0, done.stderr
    yield f"swtpm:host=127.0.0.1,port={port}"
    os.kill(int((folder / "tpm.pid").read_text()), signal.SIGTERM)


def kernel_bytes(machine=0x8664, mark=True):
    """As much of a Linux kernel as tools look at: PE headers and the boot header of its machine."""
    data = bytearray(4096)
    data[:2] = b"MZ"
    struct.pack_into("<I", data, 0x3c, 0x240)
    data[0x240:0x246] = b"PE\0\0" + struct.pack("<H", machine)
    if mark and machine == 0x8664:
        data[0x202:0x208] = b"HdrS" + struct.pack("<H", 0x20f)
    elif mark:
        data[0x38:0x3c] = b"ARM\x64"
    return bytes(data)


def make_kernel(folder, **kwargs):
    (folder / "kernel").write_bytes(kernel_bytes(**kwargs))
    return folder / "kernel"


def make_rootfs(root):
    """The smallest one that is taken."""
    (root / "usr/bin").mkdir(parents=True)
    (root / "etc").mkdir()
    (root / "usr/bin/init").write_text("#!/bin/sh\n")
    (root / "usr/bin/init").chmod(0o755)
    (root / "etc/hostname").write_text("demo\n")
    (root / "bin").symlink_to("usr/bin")
    (root / "init").symlink_to("/bin/init")
    return root


def build_usi(folder, keys, rootfs, out="image.efi", kernel=None, cmdline=CMDLINE, os_release=OS_RELEASE,
              extra=(), **kwargs):
    (folder / "os-release").write_bytes(os_release if isinstance(os_release, bytes) else os_release.encode())
    return tb_image("usi", "--rootfs", rootfs, "--kernel", kernel or make_kernel(folder), "--cmdline", cmdline, "--os-release",
                    folder / "os-release", "--keys", keys, "--out", folder / out, *extra, **kwargs)


def section(image, name, folder):
    """Content of one PE section, as binutils see it."""
    out = folder / f"section{name}"
    tool("objcopy", "--dump-section", f"{name}={out}", image, folder / "objcopy-copy")
    return out


def extract(image, folder):
    """Unpacks the initrd of an image with zstd and cpio; returns the new root and the listing."""
    archive = folder / "initrd.cpio"
    tool("zstd", "-q", "-d", "-f", "-o", archive, section(image, ".initrd", folder))
    root = folder / "unpacked"
    root.mkdir()
    with open(archive, "rb") as f:
        tool("cpio", "-i", "-d", "-m", "--quiet", "--no-absolute-filenames", stdin=f, cwd=root)
    with open(archive, "rb") as f:
        names = tool("cpio", "-t", "--quiet", stdin=f).stdout.decode().splitlines()
    return root, names
