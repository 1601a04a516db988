# SPDX-License-Identifier: Apache-2.0
"""Roots in tars and layers, and a reader of what becomes of them: cpio(1) would need to be root."""
import io
import stat
import tarfile

from imagetools import build_usi, section, tool


def member(name, content=b"", type=tarfile.REGTYPE, mode=0o644, **more):
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime = type, mode, 1600000000
    for key, value in more.items():
        setattr(info, key, value)
    if type == tarfile.REGTYPE:
        info.size = len(content)
    return info, content


def folder(name, mode=0o755, **more):
    return member(name, type=tarfile.DIRTYPE, mode=mode, **more)


def symlink(name, target):
    return member(name, type=tarfile.SYMTYPE, mode=0o777, linkname=target)


def hardlink(name, target):
    return member(name, type=tarfile.LNKTYPE, linkname=target)


def pack(members, path, format=tarfile.PAX_FORMAT):
    with tarfile.open(path, "w", format=format) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return path


INIT = member("init", b"#!/bin/sh\n", mode=0o755)


def read_newc(data):
    """{path: (mode, uid, gid, nlink, mtime, rdev, content, inode)} of a newc archive."""
    found, at = {}, 0
    while True:
        assert data[at:at + 6] == b"070701"
        f = [int(data[at + 6 + 8 * i:at + 14 + 8 * i], 16) for i in range(13)]
        name = data[at + 110:at + 110 + f[11] - 1].decode()
        at = (at + 110 + f[11] + 3) & ~3
        content = data[at:at + f[6]]
        at = (at + f[6] + 3) & ~3
        if name == "TRAILER!!!":
            return found
        assert name not in found, name
        found[name] = dict(mode=f[1], uid=f[2], gid=f[3], links=f[4], mtime=f[5], rdev=(f[9], f[10]), content=content, inode=f[0])


def build(work, rootfs, keys, **kwargs):
    """The initrd of an image made from rootfs, and what was said."""
    done = build_usi(work, keys, rootfs, **kwargs)
    return read_newc(tool("zstd", "-q", "-d", "-c", section(work / "image.efi", ".initrd", work)).stdout), done.stderr.decode()


# Two layers, and what a root of both holds.
LOWER = [INIT, folder("usr"), folder("usr/lib"), symlink("lib", "usr/lib"), member("usr/lib/one", b"1", uid=7),
         member("usr/lib/two", b"2"), hardlink("usr/lib/same", "usr/lib/two"), folder("gone"), member("gone/file", b"x"),
         folder("opaque", 0o700), member("opaque/old", b"x"), folder("opaque/sub"), member("opaque/sub/old", b"x"),
         member("was-file", b"x"), folder("was-folder"), member("was-folder/in", b"x")]
UPPER = [member("lib/three", b"3"), member("usr/lib/two", b"22"), member("usr/lib/.wh.one"), member(".wh.gone"),
         folder("opaque", 0o711), member("opaque/new", b"n"), member("opaque/.wh..wh..opq"), folder("opaque/sub"),
         member("opaque/sub/new", b"n"), folder("was-file"), member("was-file/in", b"i"), member("was-folder", b"f"),
         member(".wh..wh.plnk"), folder("gone2"), member("gone2/.wh.nothing")]


def check_both_layers(found):
    assert sorted(found) == [".", "gone2", "init", "lib", "opaque", "opaque/new", "opaque/sub", "opaque/sub/new", "usr", "usr/lib",
                             "usr/lib/same", "usr/lib/three", "usr/lib/two", "was-file", "was-file/in", "was-folder"]
    assert found["usr/lib/two"]["content"] == b"22" and found["usr/lib/same"]["content"] == b"2"
    assert found["usr/lib/two"]["inode"] != found["usr/lib/same"]["inode"]
    assert stat.S_IMODE(found["opaque"]["mode"]) == 0o711
    assert stat.S_ISDIR(found["was-file"]["mode"]) and found["was-folder"]["content"] == b"f"
