# SPDX-License-Identifier: Apache-2.0
"""The picture of an image, and what systemd-stub would not show."""
import struct

import pytest

from imagetools import build_usi, section, tool
from test_image_usi import MEASURE


def bmp(width=4, height=3, depth=24, compression=0, planes=1, magic=b"BM", cut=0, info=40):
    row = (width * depth + 31) // 32 * 4
    pixels = bytes(range(256)) * (row * height // 256 + 1)
    data = struct.pack("<2sIHHI", magic, 54 + row * height, 0, 0, 54)
    data += struct.pack("<IiiHHIIiiII", info, width, height, planes, depth, compression, 0, 0, 0, 0, 0) + pixels[:row * height]
    return data[:len(data) - cut]


def build(folder, keys, rootfs, picture, **kwargs):
    (folder / "splash.bmp").write_bytes(picture)
    return build_usi(folder, keys, rootfs, extra=["--splash", folder / "splash.bmp"], **kwargs)


@pytest.mark.parametrize("depth", [1, 4, 8, 16, 24, 32])
def test_picture_is_in_the_image_and_measured(tmp_path, keys, rootfs, depth):
    picture = bmp(depth=depth)
    said = build(tmp_path, keys, rootfs, picture).stdout.decode()
    image = tmp_path / "image.efi"
    assert section(image, ".splash", tmp_path).read_bytes() == picture
    words = [f"--{n[1:]}={section(image, n, tmp_path)}" for n in (".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".pcrpkey")]
    measured = tool(MEASURE, "calculate", *words, "--phase=enter-initrd", "--bank=sha256").stdout.decode()
    assert measured.strip().splitlines()[-1].split("=")[1] in said


@pytest.mark.parametrize("picture, text", [
    (b"", "no BMP"), (b"\x89PNG" + bytes(100), "no BMP"), (bmp(magic=b"BA"), "no BMP"), (bmp(depth=2), "does not know"),
    (bmp(planes=2), "does not know"), (bmp(info=12), "does not know"), (bmp(compression=1, depth=8), "compressed"), (bmp(cut=1), "cut off"),
    (bmp(height=-3, depth=24)[:54], "no size"), (bmp(width=0), "no size")])
def test_picture_that_would_not_show(tmp_path, keys, rootfs, picture, text):
    done = build(tmp_path, keys, rootfs, picture, check=False)
    assert done.returncode == 4 and text in done.stderr.decode(), done.stderr
    assert not (tmp_path / "image.efi").exists()
