# SPDX-License-Identifier: Apache-2.0
"""tb-image keys, checked with openssl, efitools and sbsigntool."""
import os
import re
import stat
import struct
import uuid

import pytest

from imagetools import BOOT, tb_image, tool

VARIABLES = ["PK", "KEK", "db"]
OWNER = {"PK": "PK", "KEK": "PK", "db": "KEK"}
FILES = sorted([f"{v}.{s}" for v in VARIABLES for s in ("key", "pem", "der", "esl", "auth")]
               + ["guid.txt", "tpm2-pcr-private.pem", "tpm2-pcr-public.pem"])


def test_files_and_modes(keys):
    assert sorted(os.listdir(keys)) == FILES
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    for path in keys.iterdir():
        secret = path.suffix == ".key" or "private" in path.name
        assert stat.S_IMODE(path.stat().st_mode) == (0o600 if secret else 0o644), path
        assert (b"PRIVATE KEY" in path.read_bytes()) == secret, path


@pytest.mark.parametrize("v", VARIABLES)
def test_certificate(keys, v):
    text = tool("openssl", "x509", "-in", keys / f"{v}.pem", "-noout", "-text").stdout.decode()
    assert f"Subject: CN = Trusted Boot {v}\n" in text
    assert "Public-Key: (2048 bit)" in text
    assert "sha256WithRSAEncryption" in text
    assert "CA:FALSE" in text
    assert ("Code Signing" in text) == (v == "db")
    tool("openssl", "verify", "-partial_chain", "-trusted", keys / f"{v}.pem", keys / f"{v}.pem")
    der = tool("openssl", "x509", "-in", keys / f"{v}.pem", "-outform", "DER").stdout
    assert der == (keys / f"{v}.der").read_bytes()
    public = tool("openssl", "x509", "-in", keys / f"{v}.pem", "-noout", "-pubkey").stdout
    assert public == tool("openssl", "pkey", "-in", keys / f"{v}.key", "-pubout").stdout
    tool("openssl", "rsa", "-in", keys / f"{v}.key", "-check", "-noout")


def test_policy_key(keys):
    public = tool("openssl", "pkey", "-in", keys / "tpm2-pcr-private.pem", "-pubout").stdout
    assert public == (keys / "tpm2-pcr-public.pem").read_bytes()


@pytest.mark.parametrize("v", VARIABLES)
def test_signature_list(keys, v, tmp_path):
    guid = (keys / "guid.txt").read_text().strip()
    assert uuid.UUID(guid).version == 4
    tool("cert-to-efi-sig-list", "-g", guid, keys / f"{v}.pem", tmp_path / "esl")
    assert (tmp_path / "esl").read_bytes() == (keys / f"{v}.esl").read_bytes()


@pytest.mark.parametrize("v", VARIABLES)
def test_authenticated_write(keys, v, tmp_path):
    """Byte for byte what efitools make of the same time, keys and list."""
    owner = OWNER[v]
    tool("sign-efi-sig-list", "-t", "2023-11-14 22:13:20", "-k", keys / f"{owner}.key", "-c",
         keys / f"{owner}.pem", v, keys / f"{v}.esl", tmp_path / "auth", env=dict(os.environ, TZ="UTC"))
    assert (tmp_path / "auth").read_bytes() == (keys / f"{v}.auth").read_bytes()


def parts_of_a_write(data):
    """EFI_VARIABLE_AUTHENTICATION_2: what stands before the signature without the time, and what follows it."""
    size, = struct.unpack_from("<I", data, 16)
    return data[20:40], data[16 + size:]


@pytest.mark.parametrize("v", VARIABLES)
def test_authenticated_write_beside_sbvarsign(keys, v, tmp_path):
    """It takes keys and list, and makes the same of them; only the time is its own."""
    tool("sbvarsign", "--key", keys / f"{OWNER[v]}.key", "--cert", keys / f"{OWNER[v]}.pem", "--output", tmp_path / "auth",
         v, keys / f"{v}.esl")
    ours, theirs = (parts_of_a_write(path.read_bytes()) for path in (keys / f"{v}.auth", tmp_path / "auth"))
    assert ours == theirs and ours[1] == (keys / f"{v}.esl").read_bytes()


def test_options(tmp_path):
    tb_image("keys", "--name", "Ünit Test", "--days", "10", "--bits", "3072", tmp_path / "k", epoch=None)
    text = tool("openssl", "x509", "-in", tmp_path / "k/db.pem", "-noout", "-text", "-nameopt",
                "utf8,-esc_msb").stdout.decode()
    assert "CN=Ünit Test db" in text.replace(" = ", "=")
    assert "(3072 bit)" in text
    tool("openssl", "x509", "-in", tmp_path / "k/db.pem", "-noout", "-checkend", str(9 * 86400 - 60))
    assert tool("openssl", "x509", "-in", tmp_path / "k/db.pem", "-noout", "-checkend", str(10 * 86400 + 60),
                check=False).returncode == 1
    assert "(3072 bit)" in tool("openssl", "pkey", "-pubin", "-in", tmp_path / "k/tpm2-pcr-public.pem", "-noout",
                                "-text").stdout.decode()


def test_never_overwrites(keys):
    before = {p.name: p.read_bytes() for p in keys.iterdir()}
    done = tb_image("keys", keys, check=False)
    assert done.returncode == 4
    assert re.search(rb"^tb-image: error: .* is in .* already\ntb-image: advice: ", done.stderr)
    assert {p.name: p.read_bytes() for p in keys.iterdir()} == before


def test_into_a_folder_with_other_things(tmp_path):
    (tmp_path / "notes").write_text("x")
    tb_image("keys", tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(FILES + ["notes"])


def test_failure_leaves_nothing(tmp_path):
    """The tenth file or so cannot be made: what was made before is removed, a foreign file is not."""
    (tmp_path / "KEK.esl").write_text("foreign")
    done = tb_image("keys", tmp_path, check=False)
    assert done.returncode == 4
    assert os.listdir(tmp_path) == ["KEK.esl"]
    assert (tmp_path / "KEK.esl").read_text() == "foreign"


def test_half_made_keys_are_not_used(keys, tmp_path):
    for p in keys.iterdir():
        (tmp_path / p.name).write_bytes(p.read_bytes())
    (tmp_path / "INCOMPLETE").write_text("")
    done = tb_image("sign", "--keys", tmp_path, "--out", tmp_path / "out", "/dev/null", check=False)
    assert done.returncode == 4
    assert b"incomplete" in done.stderr
    done = tb_image("keys", tmp_path, check=False)
    assert done.returncode == 4
    assert b"interrupted" in done.stderr and b"advice: remove the directory " in done.stderr


@pytest.mark.parametrize("words", [["--bits", "1024"], ["--bits", "2049"], ["--days", "0"], ["--days", "x"],
                                   ["--name"], ["a", "b"], [], ["--name", "", "k"], ["--name", "a\nb", "k"],
                                   ["--name=a\x7f", "k"], [""]])
def test_usage(tmp_path, words):
    done = tb_image("keys", *words, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(b"tb-image: error: ")
    assert os.listdir(tmp_path) == []


def test_name_that_is_too_long(tmp_path):
    done = tb_image("keys", "--name", "x" * 65, tmp_path / "k", check=False)
    assert done.returncode == 2
    assert not (tmp_path / "k").exists()


def test_keys_differ(keys, tmp_path):
    tb_image("keys", tmp_path / "k")
    for name in FILES:
        assert (tmp_path / "k" / name).read_bytes() != (keys / name).read_bytes(), name


def vendor(folder, name):
    """A stranger's certificate: (PEM, DER)."""
    tool("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", folder / "x.key",
         "-out", folder / f"{name}.pem")
    tool("openssl", "x509", "-in", folder / f"{name}.pem", "-outform", "DER", "-out", folder / f"{name}.der")
    return folder / f"{name}.pem", folder / f"{name}.der"


def certificates(esl, folder):
    """Subjects and owners in a signature list, as efitools see them."""
    folder.mkdir()
    said = tool("sig-list-to-certs", esl, folder / "cert").stdout.decode()
    subjects = [tool("openssl", "x509", "-inform", "DER", "-noout", "-subject", "-in", p).stdout.decode().strip()
                for p in sorted(folder.glob("cert-*.der"))]
    return subjects, said


def test_certificates_of_others(tmp_path, keys):
    """An export of a machine (here: other keys of ours), and files of vendors beside it."""
    source = tmp_path / "from"
    (source / "db").mkdir(parents=True)
    (source / "KEK.esl").write_bytes((keys / "KEK.esl").read_bytes())
    (source / "PK.esl").write_bytes((keys / "PK.esl").read_bytes())
    pem, _ = vendor(tmp_path, "one")
    _, der = vendor(tmp_path, "two")
    (source / "db/b.crt").write_bytes(pem.read_bytes())
    (source / "db/a").write_bytes(der.read_bytes())
    tool("hash-to-efi-sig-list", BOOT, source / "db/image.esl")
    out = tmp_path / "keys"
    said = tb_image("keys", "--name", "Mine", "--from", source, out).stdout.decode()
    assert "with 4 entries" in said
    assert certificates(out / "KEK.esl", tmp_path / "KEK")[0] == ["subject=CN = Mine KEK", "subject=CN = Trusted Boot KEK"]
    subjects, listing = certificates(out / "db.esl", tmp_path / "db")
    assert subjects == ["subject=CN = Mine db", "subject=CN = two", "subject=CN = one"]
    assert certificates(out / "PK.esl", tmp_path / "PK")[0] == ["subject=CN = Mine PK"]
    # The signed writes carry the same, and the owner of the exported one is still told.
    for name in ("KEK", "db"):
        assert (out / f"{name}.auth").read_bytes().endswith((out / f"{name}.esl").read_bytes())
    assert (out / "KEK.esl").read_bytes().endswith((keys / "KEK.esl").read_bytes())
    assert (out / "db.esl").read_bytes()[-32:] == (source / "db/image.esl").read_bytes()[-32:]


@pytest.mark.parametrize("content, text", [(None, "nothing for KEK or db"), (b"rubbish", "db.esl")])
def test_bad_certificates_of_others(tmp_path, content, text):
    (tmp_path / "from").mkdir()
    if content:
        (tmp_path / "from/db.esl").write_bytes(content)
    done = tb_image("keys", "--from", tmp_path / "from", tmp_path / "keys", check=False)
    assert done.returncode == 4 and text in done.stderr.decode()
    assert [p.name for p in tmp_path.iterdir()] == ["from"]
