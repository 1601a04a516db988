# SPDX-License-Identifier: Apache-2.0
"""tb-image usi from container images in registries: the layers arrive as from a file (tests/image/test_image_roots.py), over
everything that the agent's client can do and nothing that it cannot."""
import json
import os
import shutil
import socket
import stat
import subprocess
import tempfile
from pathlib import Path

import misdeeds
import pytest
from imagetools import BUILD, CMDLINE, EPOCH, OS_RELEASE, make_kernel, section
from logins import write_login
from roottools import INIT, LOWER, UPPER, check_both_layers, folder, member, pack, read_newc
from tools import DOCKER, HERE, OCI, DockerRegistry, digest_of, tool

ARM = {"architecture": "arm64", "os": "linux"}
PASSWORD = "correct horse"


class Builder:
    """tb-image, run as a release pipeline does, with none of this machine's logins."""

    def __init__(self, folder, keys, authority):
        self.folder, self.keys, self.authority = folder, keys, authority
        (folder / "os-release").write_text(OS_RELEASE)
        make_kernel(folder)
        (folder / "home").mkdir()

    def __call__(self, source, *options, rc=0, ca=True, env=None, **more):
        done = subprocess.run(
            [BUILD / "tb-image", "usi", "--rootfs", source, "--kernel", self.folder / "kernel", "--cmdline", CMDLINE, "--os-release",
             self.folder / "os-release", "--keys", self.keys, "--out", self.folder / "image.efi", "--json", "--attempts", "2",
             *(["--ca", self.authority.pem] if ca else []), *options], capture_output=True, timeout=120, **more,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(self.folder / "home"), "SOURCE_DATE_EPOCH": EPOCH, **(env or {})})
        said = done.stdout.decode() + done.stderr.decode()
        assert done.returncode == rc, said
        assert PASSWORD not in said
        if rc != 0:
            assert not (self.folder / "image.efi").exists()
        return json.loads(done.stdout)

    def root(self):
        """What the image holds; the image is gone then."""
        data = tool("zstd", "-q", "-d", "-c", section(self.folder / "image.efi", ".initrd", self.folder)).stdout
        (self.folder / "image.efi").unlink()
        return read_newc(data)


@pytest.fixture
def build(tmp_path, keys, authority):
    place = tmp_path / "build"
    place.mkdir()
    return Builder(place, keys, authority)


def test_ordinary_user(build, registry, layers, keys, authority):
    """Neither root nor a container engine."""
    registry.put_image("root", [(layer, "gzip") for layer in layers])
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        shutil.copytree(keys, place / "keys")
        for path in (BUILD / "tb-image", build.folder / "kernel", build.folder / "os-release", authority.pem):
            shutil.copy(path, place)
        for path in (place, *place.rglob("*")):
            os.chown(path, 65534, 65534)
        tool(place / "tb-image", "usi", "--rootfs", f"oci:{registry.address}/root", "--kernel", "kernel", "--cmdline", CMDLINE,
             "--os-release", "os-release", "--keys", "keys", "--out", "image.efi", "--ca", authority.pem.name, cwd=place, user=65534,
             group=65534, extra_groups=[], env={"PATH": os.environ["PATH"], "HOME": name, "SOURCE_DATE_EPOCH": EPOCH})
        (place / "image.efi").rename(build.folder / "image.efi")
    check_both_layers(build.root())


@pytest.fixture
def layers(tmp_path):
    return [pack(members, tmp_path / f"{i}.tar").read_bytes() for i, members in enumerate((LOWER, UPPER))]


@pytest.mark.parametrize("how", ["tar", "gzip", "zstd"])
@pytest.mark.parametrize("types", [OCI, DOCKER], ids=["oci", "docker"])
def test_layers_with_whiteouts(build, registry, layers, types, how):
    made = registry.put_image("team/root", [(layers[0], how), (layers[1], "gzip")], tag="v1", types=types)
    said = build(f"oci:{registry.address}/team/root:v1")
    assert said["root_manifest"] == made["digest"]
    check_both_layers(build.root())


def test_same_image_as_from_a_file(build, layers, tmp_path):
    """A registry of others, filled by skopeo: the same bytes come out, whichever way the layers took."""
    with DockerRegistry(tmp_path / "registry") as theirs:
        layout = theirs.layout()
        layout.put_image([(layers[0], "gzip"), (layers[1], "zstd")], "v1")
        digest = theirs.push(layout, "team/root", "v1")
        first = build(f"dir:{layout.folder}")
        said = build(f"oci:127.0.0.1:{theirs.port}/team/root:v1@{digest}", "--insecure", f"127.0.0.1:{theirs.port}")
    assert said == first and said["root_manifest"] == digest
    check_both_layers(build.root())


def test_owners_modes_devices_and_attributes(build, registry, tmp_path):
    """What a cpio holds; attributes are missed by name, and kept where the format has room for them."""
    info, content = member("usr/ping", b"x", mode=0o4755, uid=1000, gid=4000000)
    info.pax_headers = {"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00"}
    device = member("null", type=b"3", mode=0o666, devmajor=1, devminor=3)
    registry.put_image("root", [(pack([INIT, folder("usr", 0o750, uid=5), (info, content), device], tmp_path / "r").read_bytes(), "zstd")])
    build(f"oci:{registry.address}/root")
    found = build.root()
    assert (found["usr/ping"]["uid"], found["usr/ping"]["gid"]) == (1000, 4000000) and found["null"]["rdev"] == (1, 3)
    assert stat.S_IMODE(found["usr/ping"]["mode"]) == 0o4755 and stat.S_IMODE(found["usr"]["mode"]) == 0o750


def test_index_gives_this_platform(build, registry, layers):
    ours = registry.put_image("root", [(layer, "gzip") for layer in layers])
    other = registry.put_image("root", [(layers[1], "gzip")], platform=ARM)
    index = registry.put_index("root", [(other, ARM), (ours, HERE)], tag="both")
    assert build(f"oci:{registry.address}/root:both")["root_manifest"] == index["digest"]
    check_both_layers(build.root())
    registry.put_index("root", [(other, ARM)], tag="arm")
    assert "arm64" in build(f"oci:{registry.address}/root:arm", rc=6)["error"]["text"]


def test_digest_decides(build, registry, layers):
    made = registry.put_image("root", [(layer, "gzip") for layer in layers], tag="v1")
    registry.put_image("root", [(layers[1], "gzip")], tag="v1")
    build(f"oci:{registry.address}/root:v1@{made['digest']}")
    check_both_layers(build.root())
    registry.manifests["root", made["digest"]] = registry.manifests["root", "v1"]
    build(f"oci:{registry.address}/root:v1@{made['digest']}", rc=6)


@pytest.mark.parametrize("misdeed, rc", [(misdeeds.altered(), 6), (misdeeds.shortened(), 6), (misdeeds.lengthened(), 6)],
                         ids=["altered", "shortened", "lengthened"])
def test_layer_that_is_another(build, registry, layers, misdeed, rc):
    """Plain tars, of which no program notices that they are others."""
    registry.put_image("root", [(layer, "tar") for layer in layers])
    registry.on(digest_of(layers[1]), misdeed)
    assert build(f"oci:{registry.address}/root", rc=rc)["error"]["text"].startswith(f"oci:{registry.address}/root: layer 2: ")


def test_connection_that_drops(build, registry, layers):
    content = os.urandom(1 << 20)
    big = pack([INIT, member("random", content)], build.folder / "big.tar").read_bytes()
    registry.put_image("root", [(big, "tar")])
    registry.on(digest_of(big), misdeeds.truncated(500000), times=1)
    build(f"oci:{registry.address}/root")
    assert build.root()["random"]["content"] == content
    assert registry.sent("blob") < len(big) + 100000, "what was there was not loaded again"


def test_login(build, servers, certificate, layers, tmp_path):
    private = servers(tls=certificate, auth="bearer", users={"ci": PASSWORD})
    private.put_image("team/root", [(layer, "gzip") for layer in layers])
    source = f"oci:{private.address}/team/root"
    assert "--auth" in str(build(source, rc=6)["error"])
    logins = write_login(tmp_path / "auth.json", private.address, "ci", PASSWORD)
    build(source, "--auth", logins)
    check_both_layers(build.root())
    build(source, env={"REGISTRY_AUTH_FILE": str(logins)})
    check_both_layers(build.root())
    build(source, "--auth", write_login(tmp_path / "wrong.json", private.address, "ci", "wrong"), rc=6)


def test_authorities(build, registry, servers, layers):
    registry.put_image("root", [(layer, "gzip") for layer in layers])
    build(f"oci:{registry.address}/root", ca=False, rc=6)
    build(f"oci:{registry.address}/root", "--ca", build.folder / "none", ca=False, rc=4)
    plain = servers()
    plain.put_image("root", [(layer, "gzip") for layer in layers])
    build(f"oci:{plain.address}/root", rc=5)
    build(f"oci:{plain.address}/root", "--insecure", plain.address)
    check_both_layers(build.root())


def test_lying_mirror(build, servers, certificate, registry, layers):
    """Nothing of what it gave is in the root."""
    lies = pack([INIT, member("backdoor", b"x" * 4096)], build.folder / "lies.tar").read_bytes()
    registry.put_image("root", [(layer, "tar") for layer in layers])
    mirror = servers(tls=certificate)
    mirror.manifests.update(registry.manifests)
    mirror.blobs = {d: lies + bytes(len(b) - len(lies)) if len(b) > len(lies) else b for d, b in registry.blobs.items()}
    build(f"oci:{registry.address}/root", "--mirror", f"{registry.address}={mirror.url}")
    check_both_layers(build.root())
    assert mirror.sent("blob")


def test_nobody_there(build):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))        # nobody listens, and nobody else can
        error = build(f"oci:localhost:{bound.getsockname()[1]}/root", rc=5)["error"]
    assert error["class"] == "source-unreachable" and "run the command again" in error["advice"]


def test_what_has_no_root(build, registry, layers):
    registry.put_artifact("artifact", b"MZ" + bytes(4096))
    assert "no layers of files" in build(f"oci:{registry.address}/artifact", rc=6)["error"]["text"]
    made = registry.put_image("strange", [(layer, "gzip") for layer in layers])
    manifest = json.loads(registry.manifests["strange", made["digest"]][1])
    manifest["layers"][0]["mediaType"] = "application/vnd.example.layer"
    registry.put_manifest("strange", manifest, OCI["manifest"], "latest")
    assert "layer 1 is of a kind" in build(f"oci:{registry.address}/strange", rc=6)["error"]["text"]
    assert build(f"oci:{registry.address}/nothing", rc=6)["error"]["text"].startswith(f"oci:{registry.address}/nothing")


@pytest.mark.parametrize("words", [["oci:localhost/UPPER"], ["oci:localhost/x@sha256:12"], ["oci:x/y", "--mirror", "nonsense"],
                                   ["oci:x/y", "--attempts", "0"]])
def test_usage(build, words):
    build(*words, rc=2)


def test_keys_are_no_business_of_the_child(build, registry, layers, keys):
    """The process that speaks with the registry is a copy of this one: there must be no private key to copy."""
    (build.folder / "broken").mkdir()
    for path in keys.iterdir():
        if path.name != "db.key":
            (build.folder / "broken" / path.name).write_bytes(path.read_bytes())
    registry.put_image("root", [(layer, "gzip") for layer in layers])
    build.keys = build.folder / "broken"
    assert "db.key" in build(f"oci:{registry.address}/root", rc=4)["error"]["text"]
    assert registry.sent("blob") > 0, "the root was there before the keys were looked for"
