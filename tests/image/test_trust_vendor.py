# SPDX-License-Identifier: Apache-2.0
"""Signed binaries of the distribution against the certificates of those who signed them: Microsoft's from the firmware's variables,
Debian's from shim. Debian 12 signs no systemd-boot: systemd-boot-efi stands for what is not signed."""
import re
import struct
import uuid

import pytest

from imagetools import tool
from trusttools import Authority, fetch, probe, proof, sbverify, unreachable, verdict

X509 = uuid.UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072").bytes_le
SHA256 = uuid.UUID("c1c41626-504c-4092-aca9-41f936934328").bytes_le


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    # The kernel itself is in the package that this one always needs in its newest version.
    kernel = tool("apt-cache", "depends", "linux-image-amd64", check=False).stdout.decode()
    kernel = re.search(r"Depends: (linux-image-\S+)", kernel)
    if not kernel:
        unreachable("no package source knows linux-image-amd64")
    return fetch(tmp_path_factory.mktemp("packages"), "shim-signed", "shim-helpers-amd64-signed", "fwupd-amd64-signed",
                 "grub-efi-amd64-signed", "systemd-boot-efi", "ovmf", kernel.group(1))


@pytest.fixture(scope="module")
def debian(files):
    """Certificate of Debian's CA, and the signature lists of what Debian revoked: both are built into shim."""
    tool("objcopy", "--dump-section", f".vendor_cert={files / 'vendor_cert'}", files / "usr/lib/shim/shimx64.efi.signed",
         files / "copy.efi")
    data = (files / "vendor_cert").read_bytes()
    allow_size, deny_size, allow, deny = struct.unpack_from("<IIII", data)
    (files / "debian.der").write_bytes(data[allow:allow + allow_size])
    (files / "debian-dbx.esl").write_bytes(data[deny:deny + deny_size])
    tool("openssl", "x509", "-inform", "DER", "-in", files / "debian.der", "-out", files / "debian.pem")
    return files / "debian.pem", files / "debian-dbx.esl"


def lists_of(data, guid):
    """Every signature list of a type in a variable store, as it stands."""
    at = data.find(guid)
    while at >= 0:
        size, header, entry = struct.unpack_from("<III", data, at + 16)
        if header == 0 and entry > 16 and 28 < size < 65536 and (size - 28) % entry == 0:
            yield data[at:at + size]
        at = data.find(guid, at + 1)


@pytest.fixture(scope="module")
def microsoft(files):
    store = (files / "usr/share/OVMF/OVMF_VARS_4M.ms.fd").read_bytes()
    found = [x for x in lists_of(store, X509) if b"Microsoft" in x]
    assert found
    (files / "microsoft.esl").write_bytes(b"".join(found))
    return files / "microsoft.esl"


def debian_binaries(files):
    found = sorted([*files.glob("boot/vmlinuz-*"), *files.glob("usr/lib/shim/[fm]*x64.efi.signed"),
                    *files.glob("usr/lib/grub/x86_64-efi-signed/*.signed"), *files.glob("usr/libexec/fwupd/efi/*.signed")])
    names = [image.name for image in found]
    assert len(found) >= 6 and any(n.startswith("vmlinuz-") for n in names) and "fwupdx64.efi.signed" in names, names
    return found


def test_debian(files, debian, microsoft):
    cert, dbx = debian
    for image in debian_binaries(files):
        assert verdict(image, [cert]) == "allowed-by-signature", image
        assert sbverify(image, cert), image
        assert verdict(image, [cert], [dbx]) == "allowed-by-signature", image
        assert verdict(image, [microsoft]) == "denied-unknown-key", image
        assert verdict(image, [cert], [cert]) == "denied-revoked-certificate", image


def test_microsoft(files, debian, microsoft, tmp_path):
    """Only Microsoft signed shim. sbverify agrees about its bytes, but takes any certificate at all for an issuer of such a
    signature (see test_trust.py), so that about keys the firmware's rules have the word."""
    shim = files / "usr/lib/shim/shimx64.efi.signed"
    assert verdict(shim, [microsoft]) == "allowed-by-signature"
    assert verdict(shim, [microsoft], [debian[1]]) == "allowed-by-signature"
    assert verdict(shim, [debian[0]]) == "denied-unknown-key"
    Authority(tmp_path).make("nobody")
    assert sbverify(shim, debian[0]) and sbverify(shim, tmp_path / "nobody.pem")
    data = bytearray(shim.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "bad.efi").write_bytes(data)
    assert verdict(tmp_path / "bad.efi", [microsoft]) == "denied-tampered"
    assert not sbverify(tmp_path / "bad.efi", debian[0])


def test_systemd_boot_is_not_signed(files, debian, microsoft, tmp_path):
    for name in ("systemd-bootx64.efi", "linuxx64.efi.stub"):
        image = files / "usr/lib/systemd/boot/efi" / name
        assert verdict(image, [debian[0], microsoft]) == "denied-unsigned", name
        assert "not signed" in proof(image, [debian[0]])["text"]
        assert not sbverify(image, debian[0]), name


def test_tampered(files, debian, tmp_path):
    for image in debian_binaries(files):
        data = bytearray(image.read_bytes())
        data[len(data) // 2] ^= 1
        (tmp_path / "bad.efi").write_bytes(data)
        assert verdict(tmp_path / "bad.efi", [debian[0]]) == "denied-tampered", image
        assert not sbverify(tmp_path / "bad.efi", debian[0]), image


def test_digest_by_efitools(files, debian, tmp_path):
    """The digests of real layouts, by a third implementation. It cannot read all of them."""
    compared = 0
    for image in debian_binaries(files) + [files / "usr/lib/shim/shimx64.efi.signed"]:
        done = tool("hash-to-efi-sig-list", image, tmp_path / "hash.esl")
        if b"HASH IS" in done.stdout:
            assert verdict(image, [tmp_path / "hash.esl"]) == "allowed-by-hash", image
            assert verdict(image, [debian[0]], [tmp_path / "hash.esl"]) == "denied-revoked-image", image
            compared += 1
    assert compared >= 2


def test_revocation_list(files, debian, tmp_path):
    """A real dbx of some hundred entries, and what is left of it when a byte is missing."""
    data = debian[1].read_bytes()
    assert sum(len(x) for x in lists_of(data, SHA256)) > 1000
    (tmp_path / "cut.esl").write_bytes(data[:-1])
    done = probe(files / "usr/lib/shim/shimx64.efi.signed", [debian[0]], [tmp_path / "cut.esl"])
    assert done.returncode == 4 and b"cut.esl" in done.stdout
