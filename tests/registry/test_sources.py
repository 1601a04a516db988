# SPDX-License-Identifier: Apache-2.0
"""Every kind of source that is as it should be, made by this project's tests and by skopeo."""
import json

import pytest
from tools import DOCKER, HERE, OCI, DockerRegistry, Layout, tar, tb_image, tool, tree

ARM = {"architecture": "arm64", "os": "linux"}
pytestmark = pytest.mark.parametrize("judge", ["verify", "upgrade"], indirect=True)

KINDS = [(types, how) for types in (OCI, DOCKER) for how in ("tar", "gzip", "zstd")]
KIND_NAMES = [f"{name}-{how}" for name in ("oci", "docker") for how in ("tar", "gzip", "zstd")]


@pytest.fixture
def image(images):
    return images.get(2)


@pytest.mark.parametrize("types, how", KINDS, ids=KIND_NAMES)
def test_image_of_one_layer(judge, registry, image, types, how):
    registry.put_image("a/demo", [(tar(tree(image)), how)], types=types)
    judge(f"oci:{registry.address}/a/demo", rc=0, image=image)


def test_artifact_with_the_raw_image(judge, registry, image):
    made = registry.put_artifact("a/demo", image, tag="v2")
    judge(f"oci:{registry.address}/a/demo:v2", rc=0, image=image)
    assert registry.sent("blob") <= len(image) + 2, "nothing but the image, once"
    assert len(registry.seen("manifest")) == 1
    judge(f"oci:{registry.address}/a/demo@{made['digest']}", rc=0, image=image)


def test_digest_decides_not_the_tag(judge, registry, image, images):
    made = registry.put_artifact("a/demo", image, tag="v2")
    registry.put_artifact("a/demo", images.get(3), tag="v2")
    judge(f"oci:{registry.address}/a/demo:v2@{made['digest']}", rc=0, image=image)


@pytest.mark.parametrize("types", [OCI, DOCKER], ids=["oci", "docker"])
def test_index_gives_this_platform(judge, registry, image, types):
    ours = registry.put_image("demo", [(tar(tree(image)), "gzip")], types=types)
    other = registry.put_image("demo", [(tar([("x", b"arm")]), "gzip")], types=types, platform=ARM)
    attestation = {"architecture": "unknown", "os": "unknown"}
    registry.put_index("demo", [(other, ARM), (ours, HERE), (other, attestation)], types=types)
    judge(f"oci:{registry.address}/demo", rc=0, image=image)


def test_index_in_an_index(judge, registry, image):
    ours = registry.put_image("demo", [(tar(tree(image)), "gzip")])
    inner = registry.put_index("demo", [(ours, HERE)], tag=None)
    registry.put_index("demo", [(inner, HERE)])
    judge(f"oci:{registry.address}/demo", rc=0, image=image)


def test_topmost_layer_that_has_the_image_counts(judge, registry, image, images):
    old = tar(tree(images.get(3)))
    other = tar([("etc", None), ("etc/other", b"nothing of ours")])
    registry.put_image("demo", [(old, "gzip"), (tar(tree(image)), "zstd"), (other, "gzip")])
    judge(f"oci:{registry.address}/demo", rc=0, image=image)


@pytest.mark.parametrize("hiding", ["EFI/kairos/.wh.norole.efi", "EFI/kairos/.wh..wh..opq", "EFI/.wh.kairos", ".wh.EFI"])
def test_whiteout(judge, registry, image, images, hiding):
    hidden = (tar(tree(images.get(3))), "gzip")
    registry.put_image("demo", [hidden, (tar([(hiding, b"")]), "gzip")])
    judge(f"oci:{registry.address}/demo", rc=6)
    registry.put_image("demo", [hidden, (tar([(hiding, b"")]), "gzip"), (tar(tree(image)), "gzip")])
    judge(f"oci:{registry.address}/demo", rc=0, image=image)
    # Whiteouts are about the layers below, not about their own.
    registry.put_image("demo", [hidden, (tar(tree(image, before=[(hiding, b"")])), "gzip")])
    judge(f"oci:{registry.address}/demo", rc=0, image=image)


@pytest.mark.parametrize("prefix", ["./", "/", "./././"])
def test_names_in_other_spellings(judge, registry, image, prefix):
    registry.put_image("demo", [(tar([(f"{prefix}efi/Kairos/NOROLE.EFI", image)]), "gzip")])
    judge(f"oci:{registry.address}/demo", rc=0, image=image)


def test_image_without_one_of_ours(judge, registry):
    registry.put_image("demo", [(tar([("etc/other", b"x")]), "gzip")])
    judge(f"oci:{registry.address}/demo", rc=6)


def test_wrong_platform(judge, registry, image):
    other = registry.put_image("demo", [(tar(tree(image)), "gzip")], platform=ARM)
    registry.put_index("demo", [(other, ARM)], tag="index")
    for tag in ("latest", "index"):
        result = judge(f"oci:{registry.address}/demo:{tag}", rc=6)
        assert "arm64" in result.said["error"]["text"]
    assert not any(r.path.endswith(other["digest"]) for r in registry.seen("blob"))


@pytest.mark.parametrize("name", ["image.efi", "image.tar", "image.tar.gz", "image.tar.zst"])
def test_plain_files_over_https(judge, registry, skopeo, tmp_path, image, name):
    if name == "image.efi":
        registry.files[name] = image
    else:
        registry.put_image("demo", [(tar(tree(image)), "gzip")])
        skopeo("copy", f"docker://{registry.address}/demo", f"oci-archive:{tmp_path / 'image.tar'}:x")
        if name != "image.tar":
            tool("gzip" if name.endswith("gz") else "zstd", "-q", tmp_path / "image.tar")
        registry.files[name] = (tmp_path / name).read_bytes()
    judge(f"{registry.url}/files/{name}", rc=0 if name in ("image.efi", "image.tar") else 6, image=image)


# skopeo cannot bring zstd into the old format of docker.
@pytest.mark.parametrize("transport, how", [("docker-archive", "gzip"), ("oci-archive", "gzip"), ("oci-archive", "zstd"),
                                            ("oci", "gzip"), ("oci", "zstd")])
def test_archives_and_layouts_of_skopeo(judge, registry, skopeo, tmp_path, image, images, transport, how):
    layers = [(tar(tree(images.get(3))), "gzip"), (tar(tree(image)), how), (tar([("etc/other", b"x")]), "gzip")]
    registry.put_image("demo", layers)
    out = tmp_path / "out"
    skopeo("copy", f"docker://{registry.address}/demo", f"{transport}:{out}:{'x/demo:' if transport[0] == 'd' else ''}tag")
    judge(f"{'dir' if transport == 'oci' else 'ocifile'}:{out}", rc=0, image=image)


def test_docker_archive_of_two_images(judge, tmp_path, image):
    """Which of them is meant cannot be told."""
    layer = tar(tree(image))
    manifest = [{"Config": "c.json", "RepoTags": [f"demo:{n}"], "Layers": ["layer.tar"]} for n in (1, 2)]
    (tmp_path / "two.tar").write_bytes(tar([("manifest.json", json.dumps(manifest).encode()), ("layer.tar", layer),
                                            ("c.json", json.dumps({**HERE}).encode())]))
    judge(f"ocifile:{tmp_path / 'two.tar'}", rc=6)


def test_empty_boot_loader_is_refused_as_any_other_that_is_none(judge, registry, tmp_path, image, loader):
    """In each kind of container, like a file of one byte: only where there is no such file, none comes along."""
    for content in (b"", b"x", loader):
        rc = 0 if content == loader else 6
        layer = tar(tree(image, loader=content))
        registry.put_image("demo", [(layer, "gzip")])
        judge(f"oci:{registry.address}/demo", rc=rc, image=image)
        manifest = [{"Config": "c.json", "RepoTags": ["demo:1"], "Layers": ["layer.tar"]}]
        (tmp_path / "archive.tar").write_bytes(tar([("manifest.json", json.dumps(manifest).encode()), ("layer.tar", layer),
                                                    ("c.json", json.dumps({**HERE}).encode())]))
        judge(f"ocifile:{tmp_path / 'archive.tar'}", rc=rc, image=image)
        for path, data in (("EFI/kairos/norole.efi", image), ("EFI/BOOT/BOOTX64.EFI", content)):
            (tmp_path / "tree" / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "tree" / path).write_bytes(data)
        judge(f"dir:{tmp_path / 'tree'}", rc=rc, image=image)


def test_folder_with_an_efi_tree(judge, tmp_path, image):
    (tmp_path / "tree/EFI/kairos").mkdir(parents=True)
    (tmp_path / "tree/EFI/kairos/norole.efi").write_bytes(image)
    judge(f"dir:{tmp_path / 'tree'}", rc=0, image=image)


def test_layout_with_a_raw_artifact(judge, tmp_path, image):
    layout = Layout(tmp_path / "layout")
    layout.put_artifact(image)
    judge(f"dir:{layout.folder}", rc=0, image=image)


@pytest.mark.parametrize("source", ["oci:", "oci:UPPER/Case", "oci:x/y@sha256:12", "http://", "ocifile:", "dir:", "file:",
                                    "ftp://x/y", "nothing", "https://user:hush-hush@localhost:1/x#y z"])
def test_names_that_are_none(judge, source):
    judge.secrets.append("hush-hush")
    judge(source, rc=2)


def test_files_that_are_not_there(judge, tmp_path):
    for source in ("file:{}/none", "ocifile:{}/none", "dir:{}/none"):
        judge(source.format(tmp_path), rc=2)


@pytest.mark.parametrize("tls", [True, False])
def test_real_registry(judge, certificate, tmp_path, image, loader, tls):
    with DockerRegistry(tmp_path / "registry", certificate if tls else None) as registry:
        where = f"localhost:{registry.port}"
        registry.push_artifact("a/demo", image, "raw")
        registry.push_image("a/demo", image, "tree", loader)
        options = () if tls else ("--insecure", where)
        if not tls:
            # A job that tries again and again would never get there.
            result = judge(f"oci:{where}/a/demo:raw", rc=6)
            assert "--insecure" in result.said["error"]["advice"], str(result)
        judge(f"oci:{where}/a/demo:raw", *options, rc=0, image=image)
        judge(f"oci:{where}/a/demo:tree", *options, rc=0, image=image)
        judge(f"oci:{where}/a/demo:other", *options, rc=6)


@pytest.mark.parametrize("how", ["oci", "oci-archive", "docker-archive", "artifact"])
def test_upgrade_images_of_our_own(judge, certificate, tmp_path, images, image, loader, how):
    """What tb-image makes is taken from where it lies, and from a registry that skopeo copied it to."""
    (tmp_path / "loader.efi").write_bytes(loader)
    options = ["--artifact"] if how == "artifact" else ["--format", how, "--loader", tmp_path / "loader.efi"]
    out = tmp_path / "out"
    tb_image("upgrade-image", "--usi", images.path(2), "--out", out, "--tag", "v2", "--name", "a/demo", *options)
    judge(f"{'ocifile' if how.endswith('archive') else 'dir'}:{out}", rc=0, image=image)
    transport = "oci" if how == "artifact" else how
    with DockerRegistry(tmp_path / "registry", certificate) as registry:
        tool("skopeo", "--insecure-policy", "--tmpdir", tmp_path, "copy", "-q", "--dest-tls-verify=false",
             *([] if how == "docker-archive" else ["--preserve-digests"]),
             f"{transport}:{out}" + (":a/demo:v2" if how == "docker-archive" else ":v2"),
             f"docker://localhost:{registry.port}/a/demo:v2")
        judge(f"oci:localhost:{registry.port}/a/demo:v2", rc=0, image=image)
