# SPDX-License-Identifier: Apache-2.0
"""tb-image upgrade-image, checked with skopeo, tar and the rules of the OCI image layout."""
import hashlib
import json
import os
import tarfile

import pytest

from imagetools import BOOT, BUILD, EPOCH, STUB, build_usi, make_rootfs, section, tb_image, tool

FORMATS = ["oci", "oci-archive", "docker-archive"]
TREE = ["EFI", "EFI/BOOT", "EFI/BOOT/BOOTX64.EFI", "loader", "loader/loader.conf", "loader/entries",
        "loader/entries/norole.conf", "EFI/kairos", "EFI/kairos/norole.efi"]


@pytest.fixture(scope="module")
def made(tmp_path_factory, keys):
    """A folder with image.efi and loader.efi, signed by keys."""
    folder = tmp_path_factory.mktemp("made")
    build_usi(folder, keys, make_rootfs(folder / "root"))
    tb_image("sign", "--keys", keys, "--out", folder / "loader.efi", BOOT)
    return folder


def upgrade_image(made, out, *options, **kwargs):
    return tb_image("upgrade-image", "--usi", made / "image.efi", "--out", out, *options, **kwargs)


def skopeo(*argv):
    return tool("skopeo", "--insecure-policy", *argv).stdout


def check_layout(folder):
    """The rules of the OCI image layout, for every blob and from the index down. Returns the only manifest."""
    assert json.loads((folder / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    for blob in (folder / "blobs/sha256").iterdir():
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    seen = set()

    def get(descriptor):
        algorithm, name = descriptor["digest"].split(":")
        data = (folder / "blobs" / algorithm / name).read_bytes()
        assert descriptor["size"] == len(data)
        seen.add(name)
        return data
    index = json.loads((folder / "index.json").read_bytes())
    assert index["schemaVersion"] == 2 and index["mediaType"] == "application/vnd.oci.image.index.v1+json"
    entry, = index["manifests"]
    manifest = json.loads(get(entry))
    assert manifest["schemaVersion"] == 2 and manifest["mediaType"] == entry["mediaType"]
    config, layer = json.loads(get(manifest["config"])), get(manifest["layers"][0])
    assert len(manifest["layers"]) == 1
    assert seen == {p.name for p in (folder / "blobs/sha256").iterdir()}, "a blob that nothing names"
    return entry, manifest, config, layer


def members(layer, folder):
    (folder / "layer.tar").write_bytes(layer)
    return tarfile.open(folder / "layer.tar")


def sha(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_layout(made, tmp_path):
    report = json.loads(upgrade_image(made, tmp_path / "out", "--loader", made / "loader.efi", "--json").stdout)
    entry, manifest, config, layer = check_layout(tmp_path / "out")
    image = made / "image.efi"
    told = {"org.opencontainers.image.title": "demo", "org.opencontainers.image.version": "7",
            "io.tb-agent.image.sha256": sha(image), "io.tb-agent.image.size": str(image.stat().st_size),
            "org.opencontainers.image.created": "2023-11-14T22:13:20Z"}
    assert manifest["annotations"] == told
    assert entry["annotations"] == {**told, "org.opencontainers.image.ref.name": "7"}
    assert entry["platform"] == {"architecture": "amd64", "os": "linux"}
    assert config["architecture"] == "amd64" and config["os"] == "linux"
    assert config["config"]["Labels"] == {k: told[k] for k in list(told)[:2]}
    assert config["rootfs"] == {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]}
    assert report == {"schema": 1, "verb": "upgrade-image", "out": str(tmp_path / "out"), "format": "oci", "artifact": False,
                      "tag": "7", "version": "7", "manifest": entry["digest"][7:], "layer": manifest["layers"][0]["digest"][7:],
                      "layer_size": len(layer), "image": sha(image)}


def test_tree(made, tmp_path):
    upgrade_image(made, tmp_path / "out", "--loader", made / "loader.efi")
    with members(check_layout(tmp_path / "out")[3], tmp_path) as tar:
        assert tar.getnames() == TREE
        for m in tar:
            assert (m.uid, m.gid, m.mtime, m.mode) == (0, 0, int(EPOCH), 0o755 if m.isdir() else 0o644)
        assert tar.extractfile("EFI/kairos/norole.efi").read() == (made / "image.efi").read_bytes()
        assert tar.extractfile("EFI/BOOT/BOOTX64.EFI").read() == (made / "loader.efi").read_bytes()
        assert tar.extractfile("loader/loader.conf").read() == b"timeout 5\nconsole-mode max\neditor no\n"
        assert tar.extractfile("loader/entries/norole.conf").read() == (
            b"title Demo 7\nsort-key norole-0\nversion 7\nefi /EFI/kairos/norole.efi\n")


def test_keys_and_title(made, tmp_path, keys):
    upgrade_image(made, tmp_path / "out", "--enroll-keys", keys, "--title", "Näme 1")
    with members(check_layout(tmp_path / "out")[3], tmp_path) as tar:
        for name in ("PK", "KEK", "db"):
            assert tar.extractfile(f"loader/keys/auto/{name}.auth").read() == (keys / f"{name}.auth").read_bytes()
        assert b"\nsecure-boot-enroll if-safe\n" in tar.extractfile("loader/loader.conf").read()
        assert tar.extractfile("loader/entries/norole.conf").read().startswith("title Näme 1\n".encode())
        assert not [n for n in tar.getnames() if n.endswith((".key", "private.pem"))]


def test_artifact(made, tmp_path):
    report = json.loads(upgrade_image(made, tmp_path / "out", "--artifact", "--json").stdout)
    entry, manifest, config, layer = check_layout(tmp_path / "out")
    assert layer == (made / "image.efi").read_bytes() and config == {}
    assert manifest["artifactType"] == manifest["layers"][0]["mediaType"] == "application/vnd.tb-agent.usi.v1"
    assert manifest["config"]["mediaType"] == "application/vnd.oci.empty.v1+json"
    assert manifest["annotations"]["io.tb-agent.image.sha256"] == report["layer"] == report["image"] == sha(made / "image.efi")


def test_newer_boot_loader_wants_another_key(made, tmp_path, keys):
    """The entry suits the boot loader beside it. Its version is in a section of its own."""
    text = section(made / "loader.efi", ".sdmagic", tmp_path)
    text.write_bytes(text.read_bytes().replace(b"systemd-boot 252", b"systemd-boot 258"))
    tool("objcopy", "--update-section", f".sdmagic={text}", BOOT, tmp_path / "newer.efi")
    tb_image("sign", "--keys", keys, "--out", tmp_path / "newer.efi", tmp_path / "newer.efi")
    upgrade_image(made, tmp_path / "out", "--loader", tmp_path / "newer.efi")
    with members(check_layout(tmp_path / "out")[3], tmp_path) as tar:
        assert b"\nuki /EFI/kairos/norole.efi\n" in tar.extractfile("loader/entries/norole.conf").read()


@pytest.mark.parametrize("how", FORMATS)
def test_skopeo_reads_and_copies(made, tmp_path, how):
    out = tmp_path / "out"
    upgrade_image(made, out, "--format", how, "--name", "team/demo", "--tag", "v7")
    source = f"{how}:{out}" + (":team/demo:v7" if how == "docker-archive" else ":v7")
    seen = json.loads(skopeo("inspect", source))
    assert seen["Labels"] == {"org.opencontainers.image.title": "demo", "org.opencontainers.image.version": "7"}
    assert (seen["Architecture"], seen["Os"], len(seen["Layers"])) == ("amd64", "linux", 1)
    skopeo("copy", "-q", source, f"dir:{tmp_path / 'copy'}")
    layer = tmp_path / "copy" / seen["Layers"][0][7:]
    with tarfile.open(layer) as tar:
        assert tar.extractfile("EFI/kairos/norole.efi").read() == (made / "image.efi").read_bytes()


def test_archive_is_the_layout(made, tmp_path):
    upgrade_image(made, tmp_path / "out")
    upgrade_image(made, tmp_path / "out.tar", "--format", "oci-archive")
    (tmp_path / "x").mkdir()
    tool("tar", "-xf", tmp_path / "out.tar", "-C", tmp_path / "x")
    tool("diff", "-r", tmp_path / "out", tmp_path / "x")


@pytest.mark.parametrize("options", [["--format", "oci-archive"], ["--format", "docker-archive", "--name", "x/y"],
                                     ["--format", "oci-archive", "--artifact"]])
def test_same_input_same_bytes(made, tmp_path, keys, options):
    """In another directory, from files of another age, under another umask."""
    if "--artifact" not in options:
        options = [*options, "--enroll-keys", keys, "--loader", made / "loader.efi"]
    upgrade_image(made, tmp_path / "a.tar", *options)
    (tmp_path / "else/where").mkdir(parents=True)
    (tmp_path / "else/image.efi").write_bytes((made / "image.efi").read_bytes())
    os.utime(tmp_path / "else/image.efi", (1, 1))
    tb_image("upgrade-image", "--usi", "../image.efi", "--out", "b.tar", *options, cwd=tmp_path / "else/where",
             preexec_fn=lambda: os.umask(0o077))
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "else/where/b.tar").read_bytes()


def test_version_as_tag(tmp_path, keys, rootfs):
    release = "ID=x\nIMAGE_ID=x\nIMAGE_VERSION=1.2~rc1+5\n"
    build_usi(tmp_path, keys, rootfs, os_release=release)
    assert json.loads(upgrade_image(tmp_path, tmp_path / "out", "--json").stdout)["tag"] == "1.2_rc1_5"


def refused(done, rc, text):
    assert done.returncode == rc and text in done.stderr.decode(), done.stderr
    return done


def test_unsigned_image_is_refused(tmp_path, keys, rootfs):
    build_usi(tmp_path, keys, rootfs, extra=["--unsigned"])
    refused(upgrade_image(tmp_path, tmp_path / "out", check=False), 4, "not signed")
    assert not (tmp_path / "out").exists()


def test_changed_image_is_refused(made, tmp_path):
    data = bytearray((made / "image.efi").read_bytes())
    at = data.index(b"console=ttyS0")
    data[at] ^= 1
    (tmp_path / "image.efi").write_bytes(data)
    refused(upgrade_image(tmp_path, tmp_path / "out", check=False), 4, "not signed")


def test_policy_of_another_image_is_refused(made, tmp_path, keys):
    """Signed again after a change: it would start, and not unlock."""
    data = (made / "image.efi").read_bytes().replace(b"console=ttyS0", b"console=ttyS1")
    (tmp_path / "image.efi").write_bytes(data)
    tb_image("sign", "--keys", keys, "--out", tmp_path / "image.efi", tmp_path / "image.efi")
    refused(upgrade_image(tmp_path, tmp_path / "out", check=False), 4, "PCR policy")


@pytest.mark.parametrize("loader, text", [(BOOT, "not signed"), (STUB, "not a systemd-boot"), ("/bin/true", "loader")])
def test_wrong_boot_loader(made, tmp_path, loader, text):
    refused(upgrade_image(made, tmp_path / "out", "--loader", loader, check=False), 4, text)


def test_keys_of_somebody_else(made, tmp_path):
    tb_image("keys", tmp_path / "keys")
    refused(upgrade_image(made, tmp_path / "out", "--enroll-keys", tmp_path / "keys", check=False), 4, "another key")


def test_output_that_is_there(made, tmp_path):
    upgrade_image(made, tmp_path / "out")
    before = sorted((tmp_path / "out").rglob("*"))
    refused(upgrade_image(made, tmp_path / "out", check=False), 4, "there already")
    refused(upgrade_image(made, tmp_path / "no/out", check=False), 4, "No such file")
    assert sorted((tmp_path / "out").rglob("*")) == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    upgrade_image(made, tmp_path / "a.tar", "--format", "oci-archive")
    upgrade_image(made, tmp_path / "a.tar", "--format", "oci-archive", "--tag", "again")


def test_full_disk_leaves_nothing(made, tmp_path):
    """The process may not write files above 64 KiB: as when there is no room."""
    done = tool("sh", "-c", 'ulimit -f 64; trap "" XFSZ; exec "$@"', "sh", BUILD / "tb-image",
                "upgrade-image", "--usi", made / "image.efi", "--out", tmp_path / "out", check=False)
    assert done.returncode in (7, 9)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options, text", [
    (["--format", "tar"], "--format is"), (["--tag", "a/b"], "--tag"), (["--tag", "-a"], "--tag"), (["--name", "Upper"], "--name"),
    (["--artifact", "--format", "docker-archive"], "--artifact"), (["--artifact", "--title", "x"], "--artifact")])
def test_usage(made, tmp_path, options, text):
    refused(upgrade_image(made, tmp_path / "out", *options, check=False), 2, text)


@pytest.mark.parametrize("title", [" x", "x ", "a\nb"])
def test_title_that_no_line_holds(made, tmp_path, title):
    refused(upgrade_image(made, tmp_path / "out", "--title", title, check=False), 4, "title")
