# SPDX-License-Identifier: Apache-2.0
"""The bill of materials of an image."""
import json

import pytest

from imagetools import build_usi, tool

DPKG = """Package: bash
Status: install ok installed
Architecture: amd64
Version: 5.2.15-2+b7
Description: shell
 Package: of another line
 .

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: libstdc++6
Status: install ok installed
Architecture: amd64
Version: 1:12.2.0-14~x
"""
APK = "C:Q1\nP:musl\nV:1.2.4-r2\nA:x86_64\n\nC:Q2\nP:busybox\nV:1.36\nA:x86_64\n\n"


def put(rootfs, name, text):
    (rootfs / name).parent.mkdir(parents=True, exist_ok=True)
    (rootfs / name).write_text(text)


def sbom(folder, keys, rootfs, name="a.json"):
    build_usi(folder, keys, rootfs, extra=["--sbom", folder / name])
    return json.loads((folder / name).read_text())


def test_packages_of_dpkg(tmp_path, keys, rootfs):
    put(rootfs, "var/lib/dpkg/status", DPKG)
    document = sbom(tmp_path, keys, rootfs)
    assert (document["bomFormat"], document["specVersion"], document["version"]) == ("CycloneDX", "1.5", 1)
    digest = tool("sha256sum", tmp_path / "image.efi").stdout.split()[0].decode()
    assert document["metadata"] == {"timestamp": "2023-11-14T22:13:20Z", "component": {
        "type": "operating-system", "name": "demo", "version": "7", "hashes": [{"alg": "SHA-256", "content": digest}]}}
    assert [(c["name"], c["version"], c["purl"]) for c in document["components"]] == [
        ("bash", "5.2.15-2+b7", "pkg:deb/demo/bash@5.2.15-2%2Bb7?arch=amd64"),
        ("libstdc++6", "1:12.2.0-14~x", "pkg:deb/demo/libstdc%2B%2B6@1:12.2.0-14~x?arch=amd64")]
    assert all(c["type"] == "library" and c["bom-ref"] == c["purl"] for c in document["components"])


@pytest.mark.parametrize("end", ["", "\n", "\n\n\n"])
def test_apk_and_distroless(tmp_path, keys, rootfs, end):
    put(rootfs, "lib/apk/db/installed", APK.rstrip("\n") + end)
    put(rootfs, "var/lib/dpkg/status.d/tzdata", "Package: tzdata\nVersion: 2024a\nArchitecture: all")
    put(rootfs, "var/lib/dpkg/status.d/tzdata.md5sums", "0123  usr/x\n")
    document = sbom(tmp_path, keys, rootfs)
    assert [c["purl"] for c in document["components"]] == [
        "pkg:apk/demo/musl@1.2.4-r2?arch=x86_64", "pkg:apk/demo/busybox@1.36?arch=x86_64", "pkg:deb/demo/tzdata@2024a?arch=all"]


def test_same_root_same_bytes_and_same_image(tmp_path, keys, rootfs):
    put(rootfs, "var/lib/dpkg/status", DPKG)
    sbom(tmp_path, keys, rootfs, "a.json")
    image = (tmp_path / "image.efi").read_bytes()
    sbom(tmp_path, keys, rootfs, "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    build_usi(tmp_path, keys, rootfs)
    assert (tmp_path / "image.efi").read_bytes() == image


def test_root_without_a_list(tmp_path, keys, rootfs):
    done = build_usi(tmp_path, keys, rootfs, extra=["--sbom", tmp_path / "a.json"], check=False)
    assert done.returncode == 4 and "no list of packages" in done.stderr.decode()
    assert not (tmp_path / "a.json").exists() and not (tmp_path / "image.efi").exists()
