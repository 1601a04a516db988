# SPDX-License-Identifier: Apache-2.0
"""Verdicts about image files, from this project and from sbverify, and the material for them: certificates by openssl,
signature lists by efitools, real binaries from the distribution's packages."""
import json
import os
import re
import struct
import subprocess

import pytest

from imagetools import BUILD, tool

PROBE = BUILD / "tests/unit/test_trust"


def databases(db, dbx):
    return [word for f in db for word in ("--db", f)] + [word for f in dbx for word in ("--dbx", f)]


def probe(image, db=(), dbx=()):
    """The decision by the library alone, with its reasons."""
    return tool(PROBE, image, *databases(db, dbx), check=False)


def proof(image, db=(), dbx=()):
    """What tb-agent verify says about Secure Boot: {"state": ..., "class": ..., "text": ...}. Most files here are no USIs, and
    are asked for their signature all the same."""
    done = tool(BUILD / "tb-agent", "verify", "--json", f"file:{image}", *databases(db, dbx), check=False)
    said = json.loads(done.stdout)
    found = {p["proof"]: p for p in said["proofs"]}
    assert not said["accepted"] or found["secure-boot"]["state"] == "passed", said
    assert done.returncode == (0 if said["accepted"] else said["error"]["exit_code"]), said
    return found["secure-boot"]


def verdict(image, db=(), dbx=()):
    """The word for the decision about an image ("allowed-by-signature"), or "refused" when it is no image at all. The library
    and the command have to agree on it."""
    done = probe(image, db, dbx)
    text = done.stdout.decode()
    assert done.returncode in (0, 6), (image, text, done.stderr)
    said = proof(image, db, dbx)
    assert (said["state"] == "passed") == (done.returncode == 0), (image, text, said)
    found = re.search(r"^verdict: ([a-z-]+): (.*)$", text, re.M)
    if not found:
        error = re.search(r"^error: (.*)$", text, re.M)
        assert done.returncode == 6 and (said["class"], said["text"]) == ("refused-signature", error.group(1)), (image, text, said)
        return "refused"
    word, why = found.groups()
    assert why in said["text"], (image, text, said)
    assert (done.returncode == 0) == word.startswith("allowed-"), text
    if done.returncode != 0:
        assert said["class"] == ("refused-revoked" if word.startswith("denied-revoked-") else "refused-signature"), (image, said)
    return word


def sbverify(image, cert):
    return tool("sbverify", "--cert", cert, image, check=False).returncode == 0


def osslsign(ca, name, image, out, digest):
    """A signature over this digest of the image: sbsign knows SHA-256 only."""
    tool("osslsigncode", "sign", "-h", digest, "-key", ca.folder / f"{name}.key", "-certs", ca.pem(name), "-in", image, "-out", out)
    return out


def osslverify(image, cert):
    return tool("osslsigncode", "verify", "-CAfile", cert, "-in", image, check=False).returncode == 0


CA_CONFIG = """
[ca]
default_ca = me
[me]
new_certs_dir = .
database = index
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
[authority]
basicConstraints = critical,CA:TRUE
[end]
basicConstraints = critical,CA:FALSE
[code]
basicConstraints = critical,CA:FALSE
extendedKeyUsage = codeSigning
[server]
basicConstraints = critical,CA:FALSE
keyUsage = critical,keyAgreement
extendedKeyUsage = serverAuth
"""


def curve(name):
    """Words for a key on an elliptic curve."""
    return ("ec", "-pkeyopt", f"ec_paramgen_curve:{name}")


class Authority:
    """Makes keys and certificates in a folder: NAME.key, NAME.pem, NAME.esl."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "ca.cnf").write_text(CA_CONFIG)
        (folder / "index").write_text("")

    def make(self, name, issuer=None, extensions="end", key=("rsa:2048",), digest="sha256", start="20200101000000Z", end="20400101000000Z"):
        issuer = issuer or name
        tool("openssl", "req", "-newkey", *key, "-nodes", "-keyout", f"{name}.key", "-subj", f"/CN={name}", "-out",
             f"{name}.csr", cwd=self.folder)
        argv = ["-selfsign"] if issuer == name else ["-cert", f"{issuer}.pem"]
        tool("openssl", "ca", "-batch", "-config", "ca.cnf", "-notext", "-in", f"{name}.csr", "-out", f"{name}.pem",
             "-keyfile", f"{issuer}.key", "-md", digest, *argv, "-extensions", extensions, "-startdate", start, "-enddate", end,
             cwd=self.folder)
        tool("cert-to-efi-sig-list", f"{name}.pem", f"{name}.esl", cwd=self.folder)

    def pem(self, name):
        return self.folder / f"{name}.pem"

    def esl(self, name):
        return self.folder / f"{name}.esl"

    def sign(self, name, image, out, *more):
        argv = ["sbsign", "--key", self.folder / f"{name}.key", "--cert", self.pem(name), "--output", out]
        for chain in more:
            argv += ["--addcert", self.pem(chain)]
        tool(*argv, image)
        return out


def security_directory(data):
    """Offsets of the directory entry, of the certificate table, and its size."""
    at = struct.unpack_from("<I", data, 0x3C)[0] + 24 + 112 + 4 * 8
    return (at, *struct.unpack_from("<II", data, at))


def unreachable(why):
    """A test without its material: skipped, but not where everything has to run."""
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        pytest.fail(why)
    pytest.skip(why)


def fetch(folder, *packages):
    """Unpacks packages of the distribution into folder; without a package source the test cannot be made."""
    argv = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *packages]
    done = tool(*argv, check=False, cwd=folder, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        tool("apt-get", "-q", "update", check=False, stdin=subprocess.DEVNULL)
        done = tool(*argv, check=False, cwd=folder, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        unreachable(f"no package source has {', '.join(packages)}: {done.stderr.decode().strip()[-300:]}")
    for deb in folder.glob("*.deb"):
        # Thousands of kernel modules are of no use here.
        tool("sh", "-c", 'dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --exclude=./lib/modules', "sh", deb, folder)
        deb.unlink()
    return folder
