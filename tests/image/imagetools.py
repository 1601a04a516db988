# SPDX-License-Identifier: Apache-2.0
"""Runs tb-image and, next to it, tools that were written by others and know the same formats."""
import os
import pathlib
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
    done = subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)
    if check:
        assert done.returncode == 0, (argv, done.stdout[-2000:], done.stderr[-2000:])
    return done


def tb_image(*argv, epoch=EPOCH, check=True, cwd=None):
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    if epoch is not None:
        env["SOURCE_DATE_EPOCH"] = epoch
    return tool(BUILD / "tb-image", *argv, check=check, env=env, cwd=cwd)


def build_usi(folder, keys, rootfs, out="image.efi", kernel=STUB, cmdline=CMDLINE, os_release=OS_RELEASE,
              extra=(), **kwargs):
    (folder / "os-release").write_bytes(os_release if isinstance(os_release, bytes) else os_release.encode())
    return tb_image("usi", "--rootfs", rootfs, "--kernel", kernel, "--cmdline", cmdline, "--os-release",
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
