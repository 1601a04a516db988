# SPDX-License-Identifier: Apache-2.0
"""Servers, images and nodes of the tests of sources. The machine's proxies and credentials stay out of them."""
import os

import pytest

from registry import Registry
from server import Authority
from tools import BOOT, build_usi, tb_image, tool

for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
             "REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_RUNTIME_DIR"):
    os.environ.pop(name, None)


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def certificate(authority):
    return authority.certificate()


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys") / "keys"
    tb_image("keys", folder)
    return folder


class Images:
    """System images of these keys, made once: get(version, size of random content in bytes)."""

    def __init__(self, folder, keys):
        self.folder, self.keys, self.made = folder, keys, {}

    def path(self, version=1, size=0, keys=None):
        key = (version, size, keys)
        if key not in self.made:
            work = self.folder / f"{version}-{size}-{len(self.made)}"
            (work / "root/usr/bin").mkdir(parents=True)
            (work / "root/usr/bin/init").write_text("#!/bin/sh\n")
            (work / "root/content").write_bytes(os.urandom(size))
            release = f'ID=demo\nIMAGE_ID=demo\nIMAGE_VERSION={version}\nPRETTY_NAME="Demo {version}"\n'
            build_usi(work, keys or self.keys, work / "root", os_release=release)
            self.made[key] = work / "image.efi"
        return self.made[key]

    def get(self, *args, **kwargs):
        return self.path(*args, **kwargs).read_bytes()


@pytest.fixture(scope="session")
def images(tmp_path_factory, keys):
    return Images(tmp_path_factory.mktemp("images"), keys)


@pytest.fixture(scope="session")
def loader(tmp_path_factory, keys):
    out = tmp_path_factory.mktemp("loader") / "systemd-boot.efi"
    tb_image("sign", "--keys", keys, "--out", out, BOOT)
    return out.read_bytes()


@pytest.fixture
def servers():
    """Makes servers that end with the test: servers(auth="bearer", ...)."""
    made = []

    def make(**options):
        made.append(Registry(**options))
        return made[-1]
    yield make
    for server in made:
        server.close()


@pytest.fixture
def registry(servers, certificate):
    """A registry over TLS that asks for nothing."""
    return servers(tls=certificate)


@pytest.fixture
def skopeo(tmp_path, authority):
    """Runs skopeo as a client that knows the authority; words of an image name may hold {} for nothing."""
    certs = tmp_path / "certs"
    certs.mkdir()
    (certs / "ca.crt").write_bytes(authority.pem.read_bytes())

    def run(verb, *argv, check=True):
        where = {"copy": ("--src-cert-dir", certs), "inspect": ("--cert-dir", certs)}[verb]
        return tool("skopeo", "--insecure-policy", "--tmpdir", tmp_path, verb, *where, *argv, check=check)
    return run
