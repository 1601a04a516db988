# SPDX-License-Identifier: Apache-2.0
"""Servers, images and nodes of the tests of sources. The machine's proxies and credentials stay out of them."""
import os

import pytest

from node import MEMORY, Node
from registry import Registry
from server import Authority
from tools import BOOT, BUILD, build_usi, digest_of, tb_image, tool

for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
             "REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "SSL_CERT_FILE"):
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

    def path(self, version=1, size=0, keys=None, product="demo"):
        key = (version, size, keys, product)
        if key not in self.made:
            work = self.folder / f"{version}-{size}-{len(self.made)}"
            (work / "root").mkdir(parents=True)
            (work / "root/init").write_text("#!/bin/sh\n")
            (work / "root/init").chmod(0o755)
            (work / "root/content").write_bytes(os.urandom(size))
            release = f'ID=demo\nIMAGE_ID={product}\nIMAGE_VERSION={version}\nPRETTY_NAME="Demo {version}"\n'
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


@pytest.fixture
def node(tmp_path, keys, images, loader):
    """A node that runs version 1."""
    folder = tmp_path / "node"
    folder.mkdir()
    return Node(folder, keys, images.get(1), loader)


class Judge:
    """Gives a source to the agent and judges everything that is true of any run: the exit code, bounded memory, no
    secret in what it says, and an ESP that is either upgraded to the very image or untouched on the boot path."""

    def __init__(self, program, node, authority):
        self.program, self.node, self.ca = program, node, ("--ca", authority.pem)
        self.fresh = node.copy(node.folder.with_name(node.folder.name + ".fresh"))
        self.secrets = ["secret-in-url"]

    def __call__(self, source, *options, rc, image=None, env=None, ca=True):
        """rc: exit code. image: what a success has to bring."""
        begun = self.begin(source, *options, env=env, ca=ca)
        return self.finish(begun, rc, image)

    def begin(self, source, *options, env=None, ca=True):
        # Each time from the same start: version 1 runs and is confirmed.
        self.node.become(self.fresh)
        self.before = self.node.files(), self.node.boot_path()
        begin = self.node.begin_verify if self.program == "verify" else self.node.begin_upgrade
        return begin(source, "--json", *(self.ca if ca else ()), *options, env=env)

    def finish(self, begun, rc, image=None):
        result = begun.wait()
        assert result.rc == rc, str(result)
        assert result.memory < MEMORY, str(result)
        for secret in self.secrets:
            assert secret not in result.out + result.err, str(result)
        if result.rc != 0:
            assert result.said["error"]["exit_code"] == result.rc and result.said["error"]["text"], str(result)
        files, boot_path = self.before
        if self.program == "upgrade" and result.rc == 0:
            self.node.check([image, self.node.role("recovery"), self.node.role("passive")])
            assert self.node.role("active") == image, str(result)
        elif result.rc == 5:
            # What was received stays for the next run, named by no entry.
            assert self.node.boot_path() == boot_path
        else:
            assert self.node.files() == files
        if self.program == "verify" and result.rc == 0:
            assert f"sha256:{result.said['sha256']}" == digest_of(image), str(result)
        return result


@pytest.fixture(params=["upgrade"])
def judge(request, node, authority):
    """Parametrize with indirect=True where verify has to be judged as well; both load in the same way."""
    return Judge(request.param, node, authority)


def pytest_collection_modifyitems(items):
    if os.environ.get("TB_FAST"):
        items[:] = [item for item in items if not item.get_closest_marker("slow")]


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes a minute; left out when TB_FAST is set")
