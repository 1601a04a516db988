# SPDX-License-Identifier: Apache-2.0
"""Private keys in a token (softhsm2), which tb-image gets to through OpenSSL: by its engine, as Debian 12 has it, and by the
provider of Debian 13, whose libraries tb-image then runs with."""
import json
import os
import re
import shutil

import pytest

from debian13 import Debian13
from imagetools import BOOT, BUILD, CMDLINE, EPOCH, OS_RELEASE, make_kernel, section, tool

LABELS = ["PK", "KEK", "db", "tpm2-pcr", "tpm2-pcr-later"]
PRIVATE = ["PK.key", "KEK.key", "db.key", "tpm2-pcr-private.pem", "tpm2-pcr-later-private.pem"]
PIN = "5678"


PROVIDER = ["pkcs11-provider", "softhsm2", "libsofthsm2", "libssl3t64", "libc6", "libstdc++6", "libgcc-s1", "libsqlite3-0", "zlib1g",
            "libzstd1"]


class Token:
    def __init__(self, folder, debian13=None):
        self.folder = folder
        (folder / "tokens").mkdir(parents=True)
        (folder / "conf").write_text(f"directories.tokendir = {folder}/tokens\nlog.level = ERROR\n")
        (folder / "pin").write_text(PIN)
        self.env = {"PATH": os.environ["PATH"], "LC_ALL": "C", "SOURCE_DATE_EPOCH": EPOCH, "SOFTHSM2_CONF": str(folder / "conf")}
        # Programs run as they are, or with the libraries of Debian 13 in front of the ordinary ones.
        self.loader, self.util, self.words = [], "softhsm2-util", []
        if debian13:
            module = debian13.libraries / "softhsm/libsofthsm2.so"
            self.loader = debian13.loader("/usr/lib/x86_64-linux-gnu")
            self.util, self.words = debian13.root / "usr/bin/softhsm2-util", ["--module", module]
            self.env |= {"OPENSSL_ENGINES": "/none", "OPENSSL_MODULES": str(debian13.libraries / "ossl-modules"),
                         "PKCS11_MODULE_PATH": str(module)}
        self.softhsm("--init-token", "--free", "--label", "build", "--so-pin", "1234")
        for number, label in enumerate(LABELS, 1):
            tool("openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", folder / "key")
            self.softhsm("--import", folder / "key", "--token", "build", "--label", label, "--id", f"0{number}")
            (folder / "key").unlink()
        self.uri = f"pkcs11:token=build?pin-source=file:{folder}/pin"

    def softhsm(self, *argv):
        tool(*self.loader, self.util, *self.words, *argv, "--pin", PIN, env=self.env)

    def tb_image(self, *argv, check=True, **more):
        return tool(*self.loader, BUILD / "tb-image", *argv, check=check, env={**self.env, **more}, stdin=-3)


@pytest.fixture(scope="module", params=["engine", "provider"])
def token(request, tmp_path_factory):
    provider = request.param == "provider"
    return Token(tmp_path_factory.mktemp("token"), Debian13(tmp_path_factory.mktemp("debian13"), PROVIDER) if provider else None)


@pytest.fixture(scope="module")
def token_keys(token, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "keys"
    token.tb_image("keys", "--pkcs11", token.uri, "--phases", "sysinit", out)
    return out


def test_no_private_key_is_a_file(token, token_keys):
    for path in token_keys.iterdir():
        assert b"PRIVATE KEY" not in path.read_bytes(), path
    for name, label in zip(PRIVATE, LABELS):
        assert (token_keys / name).read_text() == f"pkcs11:token=build;object={label};type=private?pin-source=file:{token.folder}/pin\n"
    for name in ("PK", "KEK", "db"):
        tool("openssl", "verify", "-partial_chain", "-trusted", token_keys / f"{name}.pem", token_keys / f"{name}.pem")


def test_token_signs_loader_and_image(token, token_keys, tmp_path, rootfs):
    token.tb_image("sign", "--keys", token_keys, "--out", tmp_path / "loader.efi", BOOT)
    (tmp_path / "os-release").write_text(OS_RELEASE)
    token.tb_image("usi", "--rootfs", rootfs, "--kernel", make_kernel(tmp_path), "--cmdline", CMDLINE, "--os-release",
                   tmp_path / "os-release", "--keys", token_keys, "--out", tmp_path / "image.efi")
    for name in ("loader.efi", "image.efi"):
        tool("sbverify", "--cert", token_keys / "db.pem", tmp_path / name)
    # Both signatures of the image fit, in the eyes of the check that stands before an upgrade image.
    token.tb_image("upgrade-image", "--usi", tmp_path / "image.efi", "--loader", tmp_path / "loader.efi", "--enroll-keys",
                   token_keys, "--out", tmp_path / "out")
    shown = token.tb_image("inspect", "--json", tmp_path / "image.efi").stdout
    assert [p["phase"] for p in json.loads(shown)["policies"]] == ["enter-initrd", "sysinit"]
    assert section(tmp_path / "image.efi", ".pcrpkey", tmp_path).read_bytes() == (token_keys / "tpm2-pcr-public.pem").read_bytes()


def test_variable_writes_are_signed_by_the_token(token_keys, tmp_path):
    """As firmware would check them: KEK's by PK, db's by KEK."""
    for name, owner in (("KEK", "PK"), ("db", "KEK")):
        data = (token_keys / f"{name}.auth").read_bytes()
        size = int.from_bytes(data[16:20], "little")
        vendor = "8be4df61-93ca-11d2-aa0d-00e098032b8c" if name == "KEK" else "d719b2cb-3d3a-4596-a3bc-dad00e67656f"
        parts = vendor.split("-")
        guid = b"".join(bytes.fromhex(p)[::-1] for p in parts[:3]) + bytes.fromhex(parts[3] + parts[4])
        (tmp_path / "p7").write_bytes(data[40:16 + size])
        (tmp_path / "signed").write_bytes(name.encode("utf-16le") + guid + (0x27).to_bytes(4, "little") + data[:16]
                                          + (token_keys / f"{name}.esl").read_bytes())
        # PKCS#7 without ContentInfo around it: tools want one.
        der = (tmp_path / "p7").read_bytes()
        if der[4:6] != b"\x06\x09":
            inner = b"\xa0\x82" + len(der).to_bytes(2, "big") + der
            oid = bytes.fromhex("06092a864886f70d010702")
            der = b"\x30\x82" + (len(oid) + len(inner)).to_bytes(2, "big") + oid + inner
        (tmp_path / "p7").write_bytes(der)
        tool("openssl", "smime", "-verify", "-inform", "DER", "-in", tmp_path / "p7", "-content", tmp_path / "signed", "-binary",
             "-noverify", "-certfile", token_keys / f"{owner}.pem", "-nointern", "-out", tmp_path / "x")


def refused(done, text):
    assert done.returncode == 4 and re.search(text, done.stderr.decode()), done.stderr


def test_no_way_in(token, token_keys, tmp_path):
    (tmp_path / "pin").write_text("0000")
    wrong = token.uri.replace(f"file:{token.folder}/pin", f"file:{tmp_path}/pin")
    for uri in (wrong, "pkcs11:token=build", "pkcs11:token=another?pin-source=file:x"):
        refused(token.tb_image("keys", "--pkcs11", uri, tmp_path / "keys", check=False), 'key "PK": no token gives this key')
        assert [p.name for p in tmp_path.iterdir()] == ["pin"]


def test_openssl_with_neither(token, token_keys, tmp_path):
    refused(token.tb_image("sign", "--keys", token_keys, "--out", tmp_path / "x", BOOT, check=False, OPENSSL_ENGINES="/none",
                           OPENSSL_MODULES="/none"),
            "OpenSSL knows no keys in tokens(.|\n)*pkcs11-provider or libengine-pkcs11-openssl")
    assert list(tmp_path.iterdir()) == []


def test_pin_in_a_key_directory(token, token_keys, tmp_path):
    shutil.copytree(token_keys, tmp_path / "keys")
    (tmp_path / "keys/db.key").write_text(f"pkcs11:token=build;object=db?pin-value={PIN}\n")
    done = token.tb_image("sign", "--keys", tmp_path / "keys", "--out", tmp_path / "x", BOOT, check=False)
    refused(done, "db.key: a PIN in the name of a key is no secret")
    assert PIN not in done.stderr.decode()


@pytest.mark.parametrize("words, text", [(["--pkcs11", "file:x"], "begins with"),
                                         (["--pkcs11", "pkcs11:token=build?module-name=x&pin-value=5678"], "pin-source=file:"), (["--pkcs11", "pkcs11:", "--bits", "2048"], "--bits")])
def test_usage(token, tmp_path, words, text):
    done = token.tb_image("keys", *words, tmp_path / "keys", check=False)
    assert done.returncode == 2 and text in done.stderr.decode()
