# SPDX-License-Identifier: Apache-2.0
"""tb-image usi from a tar and from container images: what the layers say arrives in the initrd, whoever builds. The archives
are made by tar(1), Python and skopeo. Images in registries: tests/registry/test_roots.py."""
import json
import os
import pathlib
import shutil
import stat
import subprocess
import tarfile
import tempfile

import pytest

from imagetools import BUILD, CMDLINE, EPOCH, OS_RELEASE, STUB, build_usi, make_kernel, section, tb_image, tool
from roottools import INIT, LOWER, UPPER, build, check_both_layers, folder, hardlink, member, pack, read_newc, symlink

OCI = "application/vnd.oci.image."


RELEASE = [folder("usr"), folder("usr/lib"), member("usr/lib/os-release", OS_RELEASE.encode()), symlink("etc/os-release", "../usr/lib/os-release")]


def layout(path, layers, how="gzip"):
    """An OCI layout of tar files, made by skopeo from a docker-archive."""
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
    for layer in layers:
        config["rootfs"]["diff_ids"].append("sha256:" + tool("sha256sum", layer).stdout.decode().split()[0])
    work = path.parent / (path.name + ".docker.tar")
    manifest = [{"Config": "c.json", "RepoTags": ["x/y:z"], "Layers": [f"{i}.tar" for i in range(len(layers))]}]
    pack([member("manifest.json", json.dumps(manifest).encode()), member("c.json", json.dumps(config).encode())]
         + [member(f"{i}.tar", layer.read_bytes()) for i, layer in enumerate(layers)], work)
    if how != "docker":
        tool("skopeo", "--insecure-policy", "copy", "-q", "--dest-compress-format", how, f"docker-archive:{work}", f"oci:{path}:z")
    return work if how == "docker" else path


def test_everything_that_a_root_may_hold(tmp_path, keys):
    names = {"n" * 200: b"long", "d/" + "e" * 150 + "/" + "f" * 120: b"deeper", "Größe 日本語": b"utf"}
    members = [folder("."), INIT, folder("etc", 0o750, uid=5, gid=6), member("etc/shadow", b"secret", mode=0o640, gid=42),
               member("suid", b"x", mode=0o6755, uid=1000, gid=1001), member("big-ids", b"", uid=3000000, gid=4000000),
               hardlink("second", "suid"), symlink("link", "/etc/shadow"), folder("tmp", 0o1777),
               member("null", type=tarfile.CHRTYPE, mode=0o666, devmajor=1, devminor=3),
               member("loop", type=tarfile.BLKTYPE, mode=0o660, devmajor=7, devminor=300), member("fifo", type=tarfile.FIFOTYPE),
               *[member(n, c) for n, c in names.items()]]
    found, said = build(tmp_path, f"tar:{pack(members, tmp_path / 'root.tar')}", keys)
    assert said == ""

    def facts(name):
        e = found[name]
        return stat.S_IFMT(e["mode"]), stat.S_IMODE(e["mode"]), e["uid"], e["gid"]
    assert facts("etc") == (stat.S_IFDIR, 0o750, 5, 6)
    assert facts("etc/shadow") == (stat.S_IFREG, 0o640, 0, 42) and found["etc/shadow"]["content"] == b"secret"
    assert facts("suid") == facts("second") == (stat.S_IFREG, 0o6755, 1000, 1001)
    assert found["suid"]["inode"] == found["second"]["inode"] and found["suid"]["links"] == 2
    assert found["suid"]["content"] + found["second"]["content"] == b"x"
    assert facts("big-ids")[2:] == (3000000, 4000000)
    assert facts("link")[0] == stat.S_IFLNK and found["link"]["content"] == b"/etc/shadow"
    assert facts("tmp")[:2] == (stat.S_IFDIR, 0o1777)
    assert facts("null")[:2] == (stat.S_IFCHR, 0o666) and found["null"]["rdev"] == (1, 3)
    assert facts("loop")[:2] == (stat.S_IFBLK, 0o660) and found["loop"]["rdev"] == (7, 300)
    assert facts("fifo")[0] == stat.S_IFIFO
    for name, content in names.items():
        assert found[name]["content"] == content
    assert found["init"]["mtime"] == 1600000000


def test_tar_of_a_folder_gives_what_the_folder_gives(tmp_path, keys, rootfs):
    """Byte for byte the same image, with tar(1) between, and a sparse file in it."""
    with open(rootfs / "sparse", "wb") as f:
        f.truncate(5 << 20)
        f.seek(2 << 20)
        f.write(b"middle")
    (rootfs / "usr/hard").hardlink_to(rootfs / "etc/hostname")
    build_usi(tmp_path, keys, rootfs, out="folder.efi")
    for format in ("gnu", "posix"):
        tool("tar", "-S", f"--format={format}", "--xattrs", "-C", rootfs, "-cf", tmp_path / "root.tar", ".")
        build_usi(tmp_path, keys, f"tar:{tmp_path / 'root.tar'}", out="tar.efi")
        assert (tmp_path / "folder.efi").read_bytes() == (tmp_path / "tar.efi").read_bytes()
    for program in ("gzip", "xz", "zstd"):
        with open(tmp_path / "packed", "wb") as out:
            tool_out = subprocess.run([program, "-c", tmp_path / "root.tar"], stdout=out, check=True)
        assert tool_out.returncode == 0
        build_usi(tmp_path, keys, f"tar:{tmp_path / 'packed'}", out="tar.efi")
        assert (tmp_path / "folder.efi").read_bytes() == (tmp_path / "tar.efi").read_bytes()


@pytest.mark.parametrize("how", ["gzip", "zstd", "docker"])
def test_layers(tmp_path, keys, how):
    source = layout(tmp_path / "image", [pack(LOWER, tmp_path / "1.tar"), pack(UPPER, tmp_path / "2.tar")], how)
    found, said = build(tmp_path, f"{'ocifile' if how == 'docker' else 'dir'}:{source}", keys)
    assert said == ""
    check_both_layers(found)


def test_whiteouts_of_a_layer_are_not_about_itself(tmp_path, keys):
    """In whatever order they stand."""
    lower = pack([INIT, folder("d"), member("d/a", b"1"), member("d/b", b"1")], tmp_path / "1.tar")
    upper = pack([member("d/a", b"2"), member("d/.wh.a"), member("d/.wh.b"), member("d/b", b"2")], tmp_path / "2.tar")
    found, _ = build(tmp_path, f"dir:{layout(tmp_path / 'image', [lower, upper])}", keys)
    assert found["d/a"]["content"] == found["d/b"]["content"] == b"2"


def test_archives_of_skopeo(tmp_path, keys):
    first = layout(tmp_path / "image", [pack(LOWER, tmp_path / "1.tar"), pack(UPPER, tmp_path / "2.tar")])
    expected, _ = build(tmp_path, f"dir:{first}", keys)
    for kind in ("oci-archive", "docker-archive"):
        tool("skopeo", "--insecure-policy", "copy", "-q", f"oci:{first}:z", f"{kind}:{tmp_path / kind}:x/y:z")
        assert build(tmp_path, f"ocifile:{tmp_path / kind}", keys)[0] == expected


def test_in_a_plain_tar_a_whiteout_is_a_file(tmp_path, keys):
    found, _ = build(tmp_path, f"tar:{pack([INIT, member('.wh.x', b'1')], tmp_path / 'r.tar')}", keys)
    assert found[".wh.x"]["content"] == b"1"


def test_links_stay_in_the_root(tmp_path, keys):
    """What would leave the root by a link lands inside of it."""
    members = [INIT, folder("real"), symlink("away", "/../../real"), member("away/file", b"1"), symlink("a", "b"), symlink("b", "/real"),
               member("a/other", b"2")]
    found, _ = build(tmp_path, f"tar:{pack(members, tmp_path / 'r.tar')}", keys)
    assert found["real/file"]["content"] == b"1" and found["real/other"]["content"] == b"2"


def test_capabilities_are_missed(tmp_path, keys):
    info, _ = member("usr/ping", b"x")
    info.pax_headers = {"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00", "SCHILY.xattr.user.x": "y"}
    _, said = build(tmp_path, f"tar:{pack([INIT, (info, b'x')], tmp_path / 'r.tar')}", keys)
    assert "usr/ping has capabilities" in said


def test_ordinary_user_and_nothing_left(tmp_path, keys):
    """Devices and owners need no root. TMPDIR holds the content, without a name."""
    source = pack([INIT, *RELEASE, member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3), member("f", b"x", uid=5)],
                  tmp_path / "r.tar")
    with tempfile.TemporaryDirectory() as name:
        place = pathlib.Path(name)
        shutil.copytree(keys, place / "keys")
        for path in (BUILD / "tb-image", make_kernel(tmp_path), source):
            shutil.copy(path, place)
        (place / "tmp").mkdir()
        for path in (place, *place.rglob("*")):
            os.chown(path, 65534, 65534)
        tool(place / "tb-image", "usi", "--rootfs", "tar:r.tar", "--kernel", "kernel", "--cmdline", CMDLINE, "--keys", "keys", "--out",
             "image.efi", cwd=place, user=65534, group=65534, extra_groups=[],
             env={"PATH": os.environ["PATH"], "TMPDIR": str(place / "tmp"), "SOURCE_DATE_EPOCH": EPOCH})
        assert list((place / "tmp").iterdir()) == []
        data = tool("zstd", "-q", "-d", "-c", section(place / "image.efi", ".initrd", tmp_path)).stdout
    assert read_newc(data)["null"]["rdev"] == (1, 3) and read_newc(data)["f"]["uid"] == 5


def refused(tmp_path, keys, rootfs, text):
    done = build_usi(tmp_path, keys, rootfs, check=False)
    assert done.returncode == 4 and text in done.stderr.decode(), done.stderr
    assert not (tmp_path / "image.efi").exists()


@pytest.mark.parametrize("members, text", [
    ([member("etc/x", b"1")], "no usable /init"), ([INIT, member("../x", b"1"), member("a/..", b"")], "leads up"),
    ([INIT, symlink("a", "b"), symlink("b", "a"), member("a/x", b"1")], "too many links"),
    ([INIT, hardlink("x", "nothing")], "nothing in the root"), ([INIT, member("f", b"1"), member("f/x", b"1")], "a file where a folder"),
    ([member("init", b"x", mode=0o644)], "not executable"), ([symlink("init", "/nowhere")], "no usable /init")])
def test_roots_that_are_none(tmp_path, keys, members, text):
    refused(tmp_path, keys, f"tar:{pack(members, tmp_path / 'r.tar')}", text)


def test_private_key_in_a_layer(tmp_path, keys):
    members = [INIT, member("root/mine", (keys / "db.key").read_bytes())]
    refused(tmp_path, keys, f"tar:{pack(members, tmp_path / 'r.tar')}", "holds the private key")


def test_damaged_sources(tmp_path, keys):
    tar = pack([INIT, member("f", os.urandom(100000))], tmp_path / "r.tar")
    (tmp_path / "cut.tar").write_bytes(tar.read_bytes()[:50000])
    refused(tmp_path, keys, f"tar:{tmp_path / 'cut.tar'}", "not a good archive")
    (tmp_path / "noise").write_bytes(os.urandom(4096))
    refused(tmp_path, keys, f"tar:{tmp_path / 'noise'}", "not a good archive")
    refused(tmp_path, keys, f"tar:{tmp_path / 'none'}", "cannot read")
    image = layout(tmp_path / "image", [tar])
    blob = max((image / "blobs/sha256").iterdir(), key=lambda p: p.stat().st_size)
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    refused(tmp_path, keys, f"dir:{image}", "layer 1")
    refused(tmp_path, keys, f"dir:{tmp_path}", "no OCI layout")


def test_artifact_has_no_root(tmp_path, keys, rootfs):
    build_usi(tmp_path, keys, rootfs)
    tb_image("upgrade-image", "--usi", tmp_path / "image.efi", "--artifact", "--out", tmp_path / "image")
    (tmp_path / "image.efi").unlink()
    refused(tmp_path, keys, f"dir:{tmp_path / 'image'}", "no root in it")


# --- kernel and os-release of the root ---

def found_in(tmp_path, keys, members, *options, check=True):
    return tb_image("usi", "--rootfs", f"tar:{pack(members, tmp_path / 'r.tar')}", "--cmdline", CMDLINE, "--keys", keys, "--out",
                    tmp_path / "image.efi", *options, check=check)




@pytest.mark.parametrize("place", ["usr/lib/modules/6.1/vmlinuz", "boot/vmlinuz-6.1", "boot/vmlinuz"])
def test_kernel_and_release_of_the_root(tmp_path, keys, place):
    kernel = make_kernel(tmp_path).read_bytes()
    others = [symlink("vmlinuz", place), symlink("boot/vmlinuz-old", "x"), member("boot/vmlinuz", kernel)] if place[0] == "u" else []
    found_in(tmp_path, keys, [INIT, *RELEASE, *others, member(place, kernel)])
    assert section(tmp_path / "image.efi", ".linux", tmp_path).read_bytes() == kernel
    assert section(tmp_path / "image.efi", ".osrel", tmp_path).read_text() == OS_RELEASE


def test_release_below_etc_and_options_first(tmp_path, keys):
    kernel = make_kernel(tmp_path).read_bytes()
    found_in(tmp_path, keys, [INIT, member("etc/os-release", OS_RELEASE.encode()), member("boot/vmlinuz", b"bad")],
             "--kernel", tmp_path / "kernel")
    assert section(tmp_path / "image.efi", ".linux", tmp_path).read_bytes() == kernel
    assert section(tmp_path / "image.efi", ".osrel", tmp_path).read_text() == OS_RELEASE


def test_from_a_directory(tmp_path, keys, rootfs):
    (rootfs / "boot").mkdir()
    kernel = make_kernel(tmp_path).rename(rootfs / "boot/vmlinuz")
    (rootfs / "usr/lib").mkdir()
    (rootfs / "usr/lib/os-release").write_text(OS_RELEASE)
    tb_image("usi", "--rootfs", rootfs, "--cmdline", CMDLINE, "--keys", keys, "--out", tmp_path / "image.efi")
    assert section(tmp_path / "image.efi", ".linux", tmp_path).read_bytes() == kernel.read_bytes()


@pytest.mark.parametrize("more, text", [([], "no kernel in the root"), ([member("boot/vmlinuz-1", b"1"), member("boot/vmlinuz-2", b"2")],
                                                                        "several kernels in the root: boot/vmlinuz-1, boot/vmlinuz-2"),
                                        ([member("boot/vmlinuz", b"no kernel")], "kernel boot/vmlinuz")])
def test_no_kernel_to_be_had(tmp_path, keys, more, text):
    done = found_in(tmp_path, keys, [INIT, *RELEASE, *more], check=False)
    assert done.returncode == 4 and text in done.stderr.decode()


def test_no_release_to_be_had(tmp_path, keys):
    done = found_in(tmp_path, keys, [INIT, member("boot/vmlinuz", b"x")], check=False)
    assert done.returncode == 4 and "--os-release" in done.stderr.decode()


@pytest.mark.parametrize("place, release", [("usr/lib/modules/6.1.0-28/vmlinuz", "6.1.0-28"), ("boot/vmlinuz-6.2", "6.2"), ("boot/vmlinuz", None)])
def test_release_of_the_kernel(tmp_path, keys, place, release):
    kernel = member(place, make_kernel(tmp_path).read_bytes())

    def uname():
        headers = tool("objdump", "-h", tmp_path / "image.efi").stdout.decode()
        return section(tmp_path / "image.efi", ".uname", tmp_path).read_text() if " .uname " in headers else None
    found_in(tmp_path, keys, [INIT, *RELEASE, kernel])
    assert uname() is None, "this stub has no use for it"
    text = section(STUB, ".sdmagic", tmp_path)
    text.write_bytes(text.read_bytes().replace(b"systemd-stub 252", b"systemd-stub 254"))
    tool("objcopy", "--update-section", f".sdmagic={text}", STUB, tmp_path / "newer.stub")
    found_in(tmp_path, keys, [INIT, *RELEASE, kernel], "--stub", tmp_path / "newer.stub")
    assert uname() == release
    tool("sbverify", "--cert", keys / "db.pem", tmp_path / "image.efi")
    found_in(tmp_path, keys, [INIT, *RELEASE, kernel], "--uname", "1.2.3")
    assert uname() == "1.2.3"
    for wrong in ("a b", "x" * 200, "ü"):
        assert found_in(tmp_path, keys, [INIT, *RELEASE, kernel], "--uname", wrong, check=False).returncode == 4
