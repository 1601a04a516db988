# SPDX-License-Identifier: Apache-2.0
"""Verdicts about image files, from this project and from sbverify, and the material for them: certificates by openssl,
signature lists by efitools, real binaries from the distribution's packages."""
import re
import struct
import subprocess

import pytest

from imagetools import BUILD, tool

PROBE = BUILD / "tests/unit/test_trust"


def probe(image, db=(), dbx=()):
    argv = [PROBE, image]
    for f in db:
        argv += ["--db", f]
    for f in dbx:
        argv += ["--dbx", f]
    return tool(*argv, check=False)


def verdict(image, db=(), dbx=()):
    """The word for the decision about an image ("allowed-by-signature"), or "refused" when it is no image at all."""
    done = probe(image, db, dbx)
    text = done.stdout.decode()
    assert done.returncode in (0, 6), (image, text, done.stderr)
    found = re.search(r"^verdict: ([a-z-]+): ", text, re.M)
    if not found:
        assert done.returncode == 6 and re.search(r"^error: ", text, re.M), (image, text)
        return "refused"
    assert (done.returncode == 0) == found.group(1).startswith("allowed-"), text
    return found.group(1)


def sbverify(image, cert):
    return tool("sbverify", "--cert", cert, image, check=False).returncode == 0


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


class Authority:
    """Makes keys and certificates in a folder: NAME.key, NAME.pem, NAME.esl."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "ca.cnf").write_text(CA_CONFIG)
        (folder / "index").write_text("")

    def make(self, name, issuer=None, extensions="end", key=("rsa:2048",), start="20200101000000Z", end="20400101000000Z"):
        issuer = issuer or name
        tool("openssl", "req", "-newkey", *key, "-nodes", "-keyout", f"{name}.key", "-subj", f"/CN={name}", "-out",
             f"{name}.csr", cwd=self.folder)
        argv = ["-selfsign"] if issuer == name else ["-cert", f"{issuer}.pem"]
        tool("openssl", "ca", "-batch", "-config", "ca.cnf", "-notext", "-in", f"{name}.csr", "-out", f"{name}.pem",
             "-keyfile", f"{issuer}.key", *argv, "-extensions", extensions, "-startdate", start, "-enddate", end,
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


def fetch(folder, *packages):
    """Unpacks packages of the distribution into folder; skips the test when no package source can be reached."""
    argv = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *packages]
    done = tool(*argv, check=False, cwd=folder, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        tool("apt-get", "-q", "update", check=False, stdin=subprocess.DEVNULL)
        done = tool(*argv, check=False, cwd=folder, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        pytest.skip(f"no package source has {', '.join(packages)}: {done.stderr.decode().strip()[-300:]}")
    for deb in folder.glob("*.deb"):
        tool("dpkg-deb", "-x", deb, folder)
        deb.unlink()
    return folder
