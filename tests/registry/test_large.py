# SPDX-License-Identifier: Apache-2.0
"""The largest images: sparse files around the sizes where 32 bits end, through the command."""
import base64
import hashlib
import json
import os
import struct
import uuid

import misdeeds
import pytest
from tools import tool

GIB = 1 << 30
MEMORY = 32 << 20
# Four digests of each byte, on a machine that is busy with other tests.
PATIENCE = 900
EFI_CERT_SHA256 = uuid.UUID("c1c41626-504c-4092-aca9-41f936934328").bytes_le


class Sparse:
    """An image whose initrd goes on with zeros to this size. Its measurement is signed by the policy key, and esl allows it by
    its Authenticode digest; both are computed here."""

    def __init__(self, folder, base, size, keys):
        self.path, self.esl, self.folder, self.keys = folder / "sparse.efi", folder / "sparse.esl", folder, keys
        data = bytearray(base)
        self.optional = struct.unpack_from("<I", data, 0x3c)[0] + 24
        n, = struct.unpack_from("<H", data, self.optional - 18)
        table = self.optional + struct.unpack_from("<H", data, self.optional - 4)[0]
        headers = {data[at:at + 8].rstrip(b"\0").decode(): at for at in range(table, table + 40 * n, 40)}
        _, address, _, start = struct.unpack_from("<IIII", data, headers[".initrd"] + 8)
        self.virtual = min(size - start, (1 << 32) - 1 - address)
        struct.pack_into("<I", data, headers[".initrd"] + 8, self.virtual)
        struct.pack_into("<I", data, headers[".initrd"] + 16, size - start)
        struct.pack_into("<I", data, self.optional + 56, (1 << 32) - 1)
        assert struct.unpack_from("<II", data, self.optional + 112 + 4 * 8) == (0, 0), "is not signed"

        def section(name):
            virtual, _, raw, offset = struct.unpack_from("<IIII", data, headers[name] + 8)
            return offset, bytes(data[offset:offset + min(virtual, raw)])
        self.write(data, size)
        pcr = bytes(32)
        for name in (".linux", ".osrel", ".cmdline", ".initrd", ".pcrpkey"):
            digest = self.hash_file(start, start + self.virtual) if name == ".initrd" else hashlib.sha256(section(name)[1]).digest()
            for event in (hashlib.sha256(name.encode() + b"\0").digest(), digest):
                pcr = hashlib.sha256(pcr + event).digest()
        pcr = hashlib.sha256(pcr + hashlib.sha256(b"enter-initrd").digest()).digest()
        offset, old = section(".pcrsig")
        new = self.signed(json.loads(old), pcr)
        assert len(new) == len(old)
        data[offset:offset + len(old)] = new
        self.write(data, size)
        digest = self.hash_file(0, size, without=((self.optional + 64, 4), (self.optional + 112 + 4 * 8, 8)))
        self.esl.write_bytes(EFI_CERT_SHA256 + struct.pack("<III", 28 + 48, 0, 48) + bytes(16) + digest)

    def write(self, data, size):
        with open(self.path, "wb") as f:
            f.write(data)
            f.truncate(size)
            f.seek(size - 3)
            f.write(b"end")

    def hash_file(self, start, end, without=()):
        h = hashlib.sha256()
        with open(self.path, "rb") as f:
            for at, skipped in [*without, (end, 0)]:
                f.seek(start)
                while start < at:
                    chunk = f.read(min(1 << 20, at - start))
                    h.update(chunk)
                    start += len(chunk)
                start += skipped
        return h.digest()

    def signed(self, document, pcr):
        policy = hashlib.sha256(bytes(32) + bytes.fromhex("0000017f" "00000001000b03000800") + hashlib.sha256(pcr).digest()).digest()
        (self.folder / "policy").write_bytes(policy)
        signature = tool("openssl", "dgst", "-sha256", "-sign", self.keys / "tpm2-pcr-private.pem", self.folder / "policy").stdout
        document["sha256"][0].update(pol=policy.hex(), sig=base64.b64encode(signature).decode())
        return json.dumps(document, separators=(",", ":")).encode()


@pytest.fixture
def base(images, tmp_path):
    """An ordinary image without a signature for the firmware."""
    (tmp_path / "base.efi").write_bytes(images.get(2))
    tool("sbattach", "--remove", tmp_path / "base.efi")
    return (tmp_path / "base.efi").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("size", [2 * GIB + 1, 4 * GIB - 1])
def test_large_images_are_verified_in_little_memory(node, keys, base, tmp_path, size):
    image = Sparse(tmp_path, base, size, keys)
    result = node.verify(f"file:{image.path}", "--json", "--db", image.esl, timeout=PATIENCE)
    assert result.rc == 0 and result.said["accepted"], str(result)
    states = {p["proof"]: p["state"] for p in result.said["proofs"]}
    assert all(states[p] == "passed" for p in ("format", "secure-boot", "policy-key", "pcr-signature")), states
    assert result.memory < MEMORY, str(result)
    if size > 2 * GIB + 1:
        return
    # The last byte counts.
    with open(image.path, "r+b") as f:
        f.seek(-1, os.SEEK_END)
        f.write(b"D")
    result = node.verify(f"file:{image.path}", "--json", "--db", image.esl, timeout=PATIENCE)
    assert result.rc == 12 and result.memory < MEMORY, str(result)


def test_four_gibibytes_are_too_many(node, tmp_path, images, registry, authority):
    path = tmp_path / "image.efi"
    path.write_bytes(images.get())
    os.truncate(path, 4 * GIB)
    result = node.verify(f"file:{path}", "--json")
    assert result.rc == 6 and result.memory < MEMORY, str(result)
    assert "4294967296 bytes, at most 4294967295 (4 GiB - 1" in result.said["error"]["text"], str(result)
    assert result.seconds < 5, "nothing has to be read for that"
    # The same from a server that says so.
    registry.files["image.efi"] = images.get()
    registry.on("files", misdeeds.range_total(4 * GIB))
    result = node.verify(f"{registry.url}/files/image.efi", "--json", "--ca", authority.pem)
    assert result.rc == 6 and "4294967296 bytes, at most 4294967295 (4 GiB - 1" in result.said["error"]["text"], str(result)
