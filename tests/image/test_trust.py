# SPDX-License-Identifier: Apache-2.0
"""The decision of Secure Boot about files that other tools made, beside the opinion of sbverify. sbverify knows no db and no dbx:
it takes one certificate, and has nothing to say about revocation and image hashes. Both ignore validity periods."""
import struct

import pytest

from imagetools import BOOT, tb_image, tool
from trusttools import Authority, curve, osslsign, osslverify, probe, sbverify, security_directory, verdict

GOOD = "allowed-by-signature"
UNKNOWN = "denied-unknown-key"
TAMPERED = "denied-tampered"


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    ca = Authority(tmp_path_factory.mktemp("ca"))
    ca.make("root", extensions="authority")
    ca.make("middle", "root", extensions="authority")
    ca.make("leaf", "middle", extensions="code")
    ca.make("other", extensions="code")
    ca.make("expired", extensions="code", end="20210101000000Z")
    ca.make("server", extensions="server")
    ca.make("big", key=("rsa:4096",), digest="sha512")
    ca.make("ec-root", extensions="authority", key=curve("P-384"), digest="sha384")
    ca.make("ec-256", "ec-root", extensions="code", key=curve("P-256"), digest="sha384")
    ca.make("ec-384", "ec-root", extensions="code", key=curve("P-384"), digest="sha512")
    # Chains from one kind of key to the other.
    ca.make("ec-of-rsa", "middle", extensions="code", key=curve("P-256"))
    ca.make("rsa-of-ec", "ec-root", extensions="code", digest="sha384")
    return ca


@pytest.fixture(scope="module")
def signed(ca, tmp_path_factory):
    return ca.sign("leaf", BOOT, tmp_path_factory.mktemp("signed") / "leaf.efi", "middle")


# signer, certificates that go along, certificate of db, verdict, sbverify's opinion of the same certificate
MATRIX = [
    ("leaf", [], "leaf", GOOD, True),
    ("leaf", [], "middle", GOOD, True),
    ("leaf", ["middle"], "middle", GOOD, True),
    ("leaf", ["middle"], "root", GOOD, True),
    ("leaf", [], "root", UNKNOWN, False),
    ("leaf", [], "other", UNKNOWN, False),
    # sbverify believes every intermediate certificate that a signature brings along, whoever made it: then it takes any
    # certificate for the one it was asked about. Firmware does not.
    ("leaf", ["middle"], "other", UNKNOWN, True),
    ("other", [], "other", GOOD, True),
    ("other", [], "leaf", UNKNOWN, False),
    ("expired", [], "expired", GOOD, True),
    # A certificate for something else entirely: firmware does not look at purposes, sbverify does.
    ("server", [], "server", GOOD, False),
    ("big", [], "big", GOOD, True),
    ("ec-256", [], "ec-256", GOOD, True),
    ("ec-256", [], "ec-root", GOOD, True),
    ("ec-256", [], "ec-384", UNKNOWN, False),
    ("ec-384", [], "ec-384", GOOD, True),
    ("ec-384", [], "ec-root", GOOD, True),
    ("ec-384", [], "leaf", UNKNOWN, False),
    ("ec-of-rsa", ["middle"], "root", GOOD, True),
    ("ec-of-rsa", [], "ec-root", UNKNOWN, False),
    ("rsa-of-ec", [], "ec-root", GOOD, True),
]

# One for each kind of key.
SIGNERS = ["leaf", "big", "ec-256", "ec-384"]


@pytest.mark.parametrize("signer,more,anchor,expected,theirs", MATRIX)
def test_matrix(ca, tmp_path, signer, more, anchor, expected, theirs):
    image = ca.sign(signer, BOOT, tmp_path / "image.efi", *more)
    assert verdict(image, [ca.esl(anchor)]) == expected
    assert sbverify(image, ca.pem(anchor)) == theirs
    # The same certificate as a file of its own.
    assert verdict(image, [ca.pem(anchor)]) == expected


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("signer", SIGNERS)
def test_digests(ca, tmp_path, signer, digest):
    """Images signed over each digest that firmware takes. sbverify computes SHA-256 of the image and nothing else, and so refuses
    the others: osslsigncode, which signs them, is asked for its opinion too."""
    image = osslsign(ca, signer, BOOT, tmp_path / "image.efi", digest)
    anchor = {"leaf": "root", "big": "big"}.get(signer, "ec-root")
    db = [ca.esl(anchor), ca.esl("middle")]
    assert verdict(image, db) == GOOD
    assert sbverify(image, ca.pem(signer)) == (digest == "sha256")
    if anchor != "root":        # no intermediate goes along, and it knows none
        assert osslverify(image, ca.pem(anchor))
    assert verdict(image, [ca.esl("other")]) == UNKNOWN
    assert not osslverify(image, ca.pem("other"))
    data = bytearray(image.read_bytes())
    data[len(data) // 2] ^= 1
    image.write_bytes(data)
    assert verdict(image, db) == TAMPERED
    assert not osslverify(image, ca.pem(anchor)) and not sbverify(image, ca.pem(signer))


def test_digest_that_firmware_no_longer_takes(ca, tmp_path):
    image = osslsign(ca, "leaf", BOOT, tmp_path / "image.efi", "sha1")
    assert verdict(image, [ca.esl("leaf")]) == "denied-unsupported"
    assert not sbverify(image, ca.pem("leaf"))


def test_digests_side_by_side(ca, tmp_path):
    """A second signature with another digest and another kind of key, for machines of different ages."""
    first = osslsign(ca, "ec-384", BOOT, tmp_path / "1.efi", "sha384")
    both = ca.sign("leaf", first, tmp_path / "2.efi")
    for cert in ("ec-384", "ec-root", "leaf", "middle"):
        assert verdict(both, [ca.esl(cert)]) == GOOD
    assert verdict(both, [ca.esl("other")]) == UNKNOWN
    assert verdict(both, [ca.esl("leaf")], [ca.esl("ec-root")]) == "denied-revoked-certificate"


def test_unsigned(ca):
    assert verdict(BOOT, [ca.esl("leaf")]) == "denied-unsigned"
    assert not sbverify(BOOT, ca.pem("leaf"))


def test_own_signature(tmp_path, keys):
    tb_image("sign", "--keys", keys, "--out", tmp_path / "image.efi", BOOT)
    for form in ("esl", "auth", "pem", "der"):
        assert verdict(tmp_path / "image.efi", [keys / f"db.{form}"]) == GOOD
        assert verdict(tmp_path / "image.efi", [keys / f"KEK.{form}"]) == UNKNOWN
    assert verdict(tmp_path / "image.efi", [keys / "db.auth"], [keys / "db.auth"]) == "denied-revoked-certificate"


def test_several_signatures(ca, tmp_path, keys):
    first = ca.sign("other", BOOT, tmp_path / "1.efi")
    second = ca.sign("leaf", first, tmp_path / "2.efi")
    tb_image("sign", "--keys", keys, "--out", tmp_path / "3.efi", second)
    for cert in (ca.pem("other"), ca.pem("leaf"), keys / "db.pem"):
        assert verdict(tmp_path / "3.efi", [cert]) == GOOD
        assert sbverify(tmp_path / "3.efi", cert)
    assert verdict(tmp_path / "3.efi", [ca.pem("big")]) == UNKNOWN
    assert verdict(tmp_path / "3.efi", [keys / "db.pem"], [ca.esl("other")]) == "denied-revoked-certificate"


def spots(data):
    """A byte of each kind in a signed image: name and offset."""
    pe = struct.unpack_from("<I", data, 0x3C)[0]
    optional = pe + 24
    entry, table, size = security_directory(data)
    n_sections = struct.unpack_from("<H", data, pe + 6)[0]
    sections = optional + struct.unpack_from("<H", data, pe + 20)[0]
    found = [("DOS stub", 0x30), ("machine", pe + 4), ("time stamp", pe + 8), ("characteristics", pe + 22),
             ("entry point", optional + 16), ("image base", optional + 24), ("size of image", optional + 56),
             ("subsystem", optional + 68), ("before the checksum", optional + 63), ("after the checksum", optional + 68),
             ("directory before", entry - 1), ("directory after", entry + 8), ("padding of the headers", sections + 40 * n_sections)]
    for i in range(n_sections):
        header = sections + 40 * i
        name = data[header:header + 8].rstrip(b"\0").decode()
        raw_size, raw = struct.unpack_from("<II", data, header + 16)
        found += [(f"{name} name", header), (f"{name} address", header + 12), (f"{name} flags", header + 36),
                  (f"{name} first", raw), (f"{name} middle", raw + raw_size // 2), (f"{name} last", raw + raw_size - 1)]
    found += [("signature value", table + struct.unpack_from("<I", data, table)[0] - 16)]
    return found


def test_tampering(ca, signed, tmp_path):
    data = signed.read_bytes()
    bad = tmp_path / "bad.efi"
    for name, offset in spots(data):
        bad.write_bytes(data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1:])
        assert verdict(bad, [ca.esl("root")]) in (TAMPERED, "refused"), name
        assert not sbverify(bad, ca.pem("root")), name


def test_unsigned_fields(ca, signed, tmp_path):
    """The checksum counts for neither of the two."""
    data = bytearray(signed.read_bytes())
    at = struct.unpack_from("<I", data, 0x3C)[0] + 24 + 64
    data[at] ^= 1
    (tmp_path / "image.efi").write_bytes(data)
    assert verdict(tmp_path / "image.efi", [ca.esl("root")]) == GOOD
    assert sbverify(tmp_path / "image.efi", ca.pem("root"))


def test_certificate_table(ca, signed, tmp_path):
    data = signed.read_bytes()
    entry, table, size = security_directory(data)
    image = tmp_path / "image.efi"

    def put(content, new_size=size, new_table=table):
        content = bytearray(content)
        struct.pack_into("<II", content, entry, new_table, new_size)
        image.write_bytes(content)
        return verdict(image, [ca.esl("root")])

    assert put(data) == GOOD
    assert put(data[:table], 0, 0) == "denied-unsigned"
    assert put(data[:-8]) == "refused"                              # the file ends inside of the table
    assert put(data[:-8], size - 8) == "denied-malformed"           # the entry does not fit its table
    assert put(data + b"\0" * 8) == "refused"                       # an attachment behind the table
    assert put(data + b"\0" * 8, size + 8) == "denied-malformed"    # ... and inside of it
    assert put(data[:table] + data[table:] * 2, size * 2) == GOOD
    assert put(data[:table] + struct.pack("<IHH", 16, 0x0200, 0x0EF1) + b"x" * 8 + data[table:], size + 16) == GOOD


def test_another_image_with_this_signature(ca, signed, tmp_path):
    """A good signature, moved to an image that nobody signed."""
    data = signed.read_bytes()
    entry, table, size = security_directory(data)
    stolen = bytearray(data)
    stolen[table - 1] ^= 0x55
    (tmp_path / "image.efi").write_bytes(stolen)
    assert verdict(tmp_path / "image.efi", [ca.esl("root")]) == TAMPERED
    assert not sbverify(tmp_path / "image.efi", ca.pem("root"))


def test_hashes(ca, signed, tmp_path):
    # efitools hash as if the file were padded to eight bytes, which is what signing does and firmware does not.
    data = bytearray(open(BOOT, "rb").read())
    data += bytes(-len(data) % 8)
    image = tmp_path / "image.efi"
    image.write_bytes(data)
    tool("hash-to-efi-sig-list", image, tmp_path / "hash.esl")
    assert verdict(image, [tmp_path / "hash.esl"]) == "allowed-by-hash"
    assert verdict(signed, [tmp_path / "hash.esl"]) == "allowed-by-hash"
    assert verdict(signed, [ca.esl("root")], [tmp_path / "hash.esl"]) == "denied-revoked-image"
    assert verdict(image, [tmp_path / "hash.esl"], [tmp_path / "hash.esl"]) == "denied-revoked-image"
    data[-1] ^= 1
    (tmp_path / "other.efi").write_bytes(data)
    assert verdict(tmp_path / "other.efi", [tmp_path / "hash.esl"]) == "denied-unsigned"


@pytest.mark.parametrize("revoked", ["leaf", "middle", "root"])
def test_revoked(ca, signed, tmp_path, revoked):
    assert verdict(signed, [ca.esl("root")], [ca.esl(revoked)]) == "denied-revoked-certificate"
    for digest in ("256", "384", "512"):
        tool("cert-to-efi-hash-list", "-s", digest, ca.pem(revoked), tmp_path / "tbs.esl")
        assert verdict(signed, [ca.esl("root")], [tmp_path / "tbs.esl"]) == "denied-revoked-certificate"
    tool("cert-to-efi-hash-list", "-t", "2039-01-01 00:00:00", ca.pem(revoked), tmp_path / "later.esl")
    # Revoked from a day on that has not come: only a timestamp that firmware trusts would help.
    assert verdict(signed, [ca.esl("root")], [tmp_path / "later.esl"]) == "denied-revoked-certificate"
    assert verdict(signed, [ca.esl("root")], [ca.esl("other")]) == GOOD


def test_database_cut_short(ca, signed, tmp_path):
    (tmp_path / "cut.esl").write_bytes(ca.esl("root").read_bytes()[:-1])
    done = probe(signed, [tmp_path / "cut.esl"])
    assert done.returncode == 4 and b"cut.esl" in done.stdout
