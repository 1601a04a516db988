# SPDX-License-Identifier: Apache-2.0
"""tb-image usi --root-format: the root is a file system in a file, with a small initramfs before it. The initramfs is read by
a small reader, the file systems by unsquashfs and by the tools of erofs."""
import os
import pathlib
import re
import shutil
import stat
import struct
import subprocess
import tarfile
import tempfile

import pytest

from imagetools import BUILD, CMDLINE, EPOCH, build_usi, make_kernel, section, tool
from test_image_roots import INIT, RELEASE, build, folder, hardlink, member, pack, read_newc, symlink

MODULES = "usr/lib/modules/6.1.0-test"
DEPENDENCIES = b"""kernel/drivers/block/loop.ko:
kernel/fs/squashfs/squashfs.ko.xz: kernel/lib/second.ko kernel/lib/first.ko
kernel/fs/erofs/erofs.ko: kernel/lib/first.ko
kernel/lib/second.ko: kernel/lib/first.ko
kernel/lib/first.ko:
kernel/lib/not-needed.ko:
"""
BUILTIN = b"kernel/fs/overlayfs/overlay.ko\n"
PROGRAM = b"\x7fELF tb-root"
CAPABILITY = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"


def module(path):
    return member(f"{MODULES}/kernel/{path}", path.encode())


KERNEL_FILES = [member(f"{MODULES}/modules.dep", DEPENDENCIES), member(f"{MODULES}/modules.builtin", BUILTIN),
                *[module(line.split(":")[0].removeprefix("kernel/")) for line in DEPENDENCIES.decode().splitlines()],
                member("usr/lib/tb-agent/tb-root", PROGRAM, mode=0o755)]


def with_attributes(info, content, **attributes):
    info.pax_headers = {f"SCHILY.xattr.{name.replace('__', '.')}": value for name, value in attributes.items()}
    return info, content


EVERYTHING = [folder("."), INIT, *RELEASE, *KERNEL_FILES, folder("etc", 0o750, uid=5, gid=6), member("etc/shadow", b"secret", mode=0o640, gid=42),
              member("suid", b"x" * 5000, mode=0o6755, uid=1000, gid=1001), hardlink("second", "suid"), member("big-ids", uid=3000000, gid=4000000),
              symlink("link", "/etc/shadow"), folder("tmp", 0o1777), member("null", type=tarfile.CHRTYPE, mode=0o666, devmajor=1, devminor=3),
              member("block", type=tarfile.BLKTYPE, mode=0o660, devmajor=7, devminor=3), member("fifo", type=tarfile.FIFOTYPE),
              member("n" * 200, b"long"), member("d/" + "e" * 150 + "/" + "f" * 120, b"deeper"), member("Größe 日本語", b"utf"),
              with_attributes(*member("ping", b"p", mode=0o755), security__capability=CAPABILITY, user__x="y")]


def initramfs(tmp_path, image):
    return read_newc(tool("zstd", "-q", "-d", "-c", section(image, ".initrd", tmp_path)).stdout)


def unpack(tmp_path, format, members=EVERYTHING):
    """The small initramfs, and the folder that holds what is in the root's file system."""
    source = pack(members, tmp_path / "root.tar")
    found, said = build(tmp_path, f"tar:{source}", tmp_path / "keys", extra=["--root-format", format])
    (tmp_path / "root.img").write_bytes(found[f"tb/root.{format}"]["content"])
    root = tmp_path / "out"
    if format == "squashfs":
        tool("unsquashfs", "-q", "-n", "-d", root, tmp_path / "root.img")
    else:
        tool("fsck.erofs", f"--extract={root}", "--preserve", tmp_path / "root.img")
    return found, root, said


def erofs_mode(image, path):
    """The mode in an inode on the disk: the tool says where, struct erofs_inode_compact what."""
    nid = int(re.search(r"NID: (\d+)", tool("dump.erofs", f"--path=/{path}", image).stdout.decode()).group(1))
    data = image.read_bytes()
    meta, = struct.unpack_from("<I", data, 1024 + 40)
    return struct.unpack_from("<H", data, meta * 4096 + nid * 32 + 4)[0]


@pytest.fixture(autouse=True)
def keys_beside(tmp_path, keys):
    shutil.copytree(keys, tmp_path / "keys")


@pytest.mark.parametrize("format", ["squashfs", "erofs"])
def test_everything_arrives(tmp_path, format):
    _, root, said = unpack(tmp_path, format)
    assert said == ""

    def facts(name):
        st = os.lstat(root / name)
        mode = stat.S_IMODE(st.st_mode)
        if format == "erofs":   # its tools lose the bits above the permissions
            mode = stat.S_IMODE(erofs_mode(tmp_path / "root.img", name))
        return stat.S_IFMT(st.st_mode), mode, st.st_uid, st.st_gid
    assert facts("etc") == (stat.S_IFDIR, 0o750, 5, 6) and facts("etc/shadow") == (stat.S_IFREG, 0o640, 0, 42)
    assert facts("suid") == facts("second") == (stat.S_IFREG, 0o6755, 1000, 1001) and (root / "second").read_bytes() == b"x" * 5000
    assert facts("big-ids")[2:] == (3000000, 4000000) and facts("tmp")[:2] == (stat.S_IFDIR, 0o1777)
    assert os.readlink(root / "link") == "/etc/shadow" and facts("fifo")[0] == stat.S_IFIFO
    assert facts("null")[:2] == (stat.S_IFCHR, 0o666) and os.lstat(root / "null").st_rdev == os.makedev(1, 3)
    assert facts("block")[:2] == (stat.S_IFBLK, 0o660) and os.lstat(root / "block").st_rdev == os.makedev(7, 3)
    assert (root / ("n" * 200)).read_bytes() == b"long" and (root / "d" / ("e" * 150) / ("f" * 120)).read_bytes() == b"deeper"
    assert (root / "Größe 日本語").read_bytes() == b"utf"
    assert os.lstat(root / "init").st_mtime == 1600000000 or format == "erofs"   # this tool gives all files one time
    # No time of the build, not even that of the top folder.
    assert all(os.lstat(path).st_mtime <= int(EPOCH) for path in (root, *root.rglob("*")))


def test_squashfs_keeps_links_and_attributes(tmp_path):
    _, root, _ = unpack(tmp_path, "squashfs")
    assert os.stat(root / "suid").st_ino == os.stat(root / "second").st_ino
    assert os.getxattr(root / "ping", "security.capability") == CAPABILITY.encode() and os.getxattr(root / "ping", "user.x") == b"y"


def test_erofs_keeps_links_and_attributes(tmp_path):
    unpack(tmp_path, "erofs")

    def told(path):
        return tool("dump.erofs", f"--path={path}", tmp_path / "root.img").stdout.decode()
    assert "Links: 2" in told("/suid") and "Xattr size: 0" in told("/suid")
    assert "Xattr size: 0" not in told("/ping")


def test_initramfs_has_what_it_needs_and_no_more(tmp_path):
    """A module stands behind those that it needs; what the kernel has built in does not stand there."""
    found, _, _ = unpack(tmp_path, "squashfs")
    names = [n for n in sorted(found) if stat.S_ISREG(found[n]["mode"])]
    assert names == ["init", "tb/modules/00.ko", "tb/modules/01.ko", "tb/modules/02.ko", "tb/modules/03.ko.xz", "tb/root.squashfs"]
    assert [found[n]["content"] for n in names[1:5]] == [b"drivers/block/loop.ko", b"lib/first.ko", b"lib/second.ko", b"fs/squashfs/squashfs.ko.xz"]
    assert found["init"]["content"] == PROGRAM and stat.S_IMODE(found["init"]["mode"]) == 0o755
    for place in ("dev", "tb/lower", "tb/upper", "tb/root"):
        assert stat.S_ISDIR(found[place]["mode"])


@pytest.mark.parametrize("format", ["squashfs", "erofs"])
def test_same_bytes_again(tmp_path, keys, format):
    source = pack(EVERYTHING, tmp_path / "root.tar")
    for out in ("a.efi", "b.efi"):
        build_usi(tmp_path, keys, f"tar:{source}", out=out, extra=["--root-format", format])
    assert (tmp_path / "a.efi").read_bytes() == (tmp_path / "b.efi").read_bytes()


def test_from_a_folder_with_attributes(tmp_path, keys, rootfs):
    for info, content in KERNEL_FILES:
        (rootfs / info.name).parent.mkdir(parents=True, exist_ok=True)
        (rootfs / info.name).write_bytes(content)
    os.setxattr(rootfs / "usr/bin/init", "security.capability", CAPABILITY.encode())
    # version 2: owner rw, user 1234 rw, group r, mask rw, others r
    acl = bytes.fromhex("02000000" "01000600ffffffff" "02000600d2040000" "04000400ffffffff" "10000600ffffffff" "20000400ffffffff")
    os.setxattr(rootfs / "etc/hostname", "system.posix_acl_access", acl)
    done = build_usi(tmp_path, keys, rootfs, extra=["--root-format", "squashfs"])
    assert "etc/hostname has an access control list" in done.stderr.decode()
    (tmp_path / "root.img").write_bytes(initramfs(tmp_path, tmp_path / "image.efi")["tb/root.squashfs"]["content"])
    tool("unsquashfs", "-q", "-n", "-d", tmp_path / "out", tmp_path / "root.img")
    assert os.getxattr(tmp_path / "out/usr/bin/init", "security.capability") == CAPABILITY.encode()
    done = build_usi(tmp_path, keys, rootfs, extra=["--root-format", "erofs"])
    assert done.stderr == b""
    (tmp_path / "root.img").write_bytes(initramfs(tmp_path, tmp_path / "image.efi")["tb/root.erofs"]["content"])
    assert "Xattr size: 0" not in tool("dump.erofs", "--path=/etc/hostname", tmp_path / "root.img").stdout.decode()
    assert sorted(p.name for p in tmp_path.iterdir() if ".root." in p.name) == [], "nothing is left behind"


def test_squashfs_as_an_ordinary_user_and_erofs_with_a_new_tool_only(tmp_path):
    source = pack(EVERYTHING, tmp_path / "root.tar")
    with tempfile.TemporaryDirectory() as name:
        place = pathlib.Path(name)
        shutil.copytree(tmp_path / "keys", place / "keys")
        for path in (BUILD / "tb-image", make_kernel(tmp_path), source):
            shutil.copy(path, place)
        for path in (place, *place.rglob("*")):
            os.chown(path, 65534, 65534)

        def as_nobody(format):
            return subprocess.run([place / "tb-image", "usi", "--rootfs", "tar:root.tar", "--kernel", "kernel", "--cmdline", CMDLINE, "--keys",
                                   "keys", "--out", "image.efi", "--root-format", format], cwd=place, user=65534, group=65534, extra_groups=[],
                                  env={"PATH": os.environ["PATH"], "TMPDIR": str(place), "SOURCE_DATE_EPOCH": EPOCH}, capture_output=True)
        done = as_nobody("squashfs")
        assert done.returncode == 0, done.stderr
        (tmp_path / "root.img").write_bytes(initramfs(tmp_path, place / "image.efi")["tb/root.squashfs"]["content"])
        listing = tool("unsquashfs", "-lln", tmp_path / "root.img").stdout.decode()
        assert "crw-rw-rw- 0/0" in listing and "-rwsr-sr-x 1000/1001" in listing
        if b"--tar" not in tool("mkfs.erofs", "--help", check=False).stderr:
            done = as_nobody("erofs")
            assert done.returncode == 10 and b"--root-format=squashfs" in done.stderr, done


@pytest.mark.parametrize("drop, text", [("tb-root", "no usr/lib/tb-agent/tb-root"), ("loop.ko", "lacks"), ("modules.dep", "no kernel modules")])
def test_root_without_what_it_needs(tmp_path, keys, drop, text):
    members = [m for m in EVERYTHING if not m[0].name.endswith(drop)]
    done = build_usi(tmp_path, keys, f"tar:{pack(members, tmp_path / 'r.tar')}", check=False, extra=["--root-format", "squashfs"])
    assert done.returncode == 4 and text in done.stderr.decode(), done.stderr
    assert not (tmp_path / "image.efi").exists()


def test_kernel_without_the_module(tmp_path, keys):
    other = member(f"{MODULES}/modules.dep", DEPENDENCIES.replace(b"squashfs", b"otherfs"))
    members = [m for m in EVERYTHING if not m[0].name.endswith("modules.dep")] + [other]
    done = build_usi(tmp_path, keys, f"tar:{pack(members, tmp_path / 'r.tar')}", check=False, extra=["--root-format", "squashfs"])
    assert done.returncode == 4 and 'no module "squashfs"' in done.stderr.decode()


def test_several_kernels(tmp_path, keys):
    second = [(tarfile.TarInfo(m[0].name.replace("6.1.0-test", "6.2")), m[1]) for m in KERNEL_FILES if m[0].name.startswith(MODULES)]
    for info, content in second:
        info.size = len(content)
    source = f"tar:{pack(EVERYTHING + second, tmp_path / 'r.tar')}"
    done = build_usi(tmp_path, keys, source, check=False, extra=["--root-format", "squashfs"])
    assert done.returncode == 4 and "several kernels" in done.stderr.decode() and "--uname" in done.stderr.decode()
    build_usi(tmp_path, keys, source, extra=["--root-format", "squashfs", "--uname", "6.2"])


def test_unknown_format(tmp_path, keys, rootfs):
    done = build_usi(tmp_path, keys, rootfs, check=False, extra=["--root-format", "ext4"])
    assert done.returncode == 2 and 'not "ext4"' in done.stderr.decode()


def test_program_of_the_initramfs_is_for_the_kernel_alone():
    done = tool(BUILD / "tb-root", check=False)
    assert done.returncode == 2 and b"nobody else" in done.stderr
    assert b"INTERP" not in tool("readelf", "-l", BUILD / "tb-root").stdout


def test_private_key_in_the_root(tmp_path, keys):
    members = EVERYTHING + [member("root/mine", (keys / "db.key").read_bytes())]
    done = build_usi(tmp_path, keys, f"tar:{pack(members, tmp_path / 'r.tar')}", check=False, extra=["--root-format", "squashfs"])
    assert done.returncode == 4 and "holds the private key" in done.stderr.decode()
