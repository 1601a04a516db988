# SPDX-License-Identifier: Apache-2.0
"""tb-image iso, checked with xorriso, sfdisk, fsck.fat and mtools. That it starts, vm-tests say."""
import json
import os
import pathlib
import re
import shutil
import tempfile

import pytest

from imagetools import BOOT, BUILD, build_usi, make_rootfs, section, tb_image, tool

NAMES = ["EFI/BOOT/BOOTX64.EFI", "EFI/kairos/norole.efi", "loader/entries/norole.conf", "loader/loader.conf"]


@pytest.fixture(scope="module")
def made(tmp_path_factory, keys):
    folder = tmp_path_factory.mktemp("made")
    build_usi(folder, keys, make_rootfs(folder / "root"))
    tb_image("sign", "--keys", keys, "--out", folder / "loader.efi", BOOT)
    return folder


def iso(made, out, *options, **kwargs):
    return tb_image("iso", "--usi", made / "image.efi", "--loader", made / "loader.efi", "--out", out, *options, **kwargs)


class Medium:
    """The EFI system partition of a medium, through other programs."""

    def __init__(self, path, folder):
        self.path, self.folder = path, folder
        table = json.loads(tool("sfdisk", "-J", path).stdout)["partitiontable"]
        self.table = table
        self.esp, = [p for p in table["partitions"] if p["type"] == "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"]
        self.drive = f"{path}@@{self.esp['start'] * 512}"

    def mtools(self, *argv):
        env = {**os.environ, "LC_ALL": "C.UTF-8", "MTOOLS_SKIP_CHECK": "1"}
        return tool(*argv[:1], "-i", self.drive, *argv[1:], env=env).stdout

    def names(self):
        lines = self.mtools("mdir", "-b", "-/", "-a", "::/").decode().splitlines()
        return sorted(line[3:] for line in lines if line.startswith("::/") and not line.endswith("/"))

    def read(self, name):
        return self.mtools("mcopy", "-n", f"::/{name}", "-")

    def check(self):
        cut = self.folder / "esp.img"
        tool("dd", f"if={self.path}", f"of={cut}", "bs=512", f"skip={self.esp['start']}", f"count={self.esp['size']}", "status=none")
        tool("fsck.fat", "-n", cut)


def test_files_and_file_system(made, tmp_path):
    report = json.loads(iso(made, tmp_path / "a.iso", "--json").stdout)
    assert report["size"] == (tmp_path / "a.iso").stat().st_size
    assert tool("sha256sum", tmp_path / "a.iso").stdout.split()[0].decode() == report["sha256"]
    medium = Medium(tmp_path / "a.iso", tmp_path)
    medium.check()
    assert medium.names() == NAMES
    assert medium.read("EFI/kairos/norole.efi") == (made / "image.efi").read_bytes()
    assert medium.read("EFI/BOOT/BOOTX64.EFI") == (made / "loader.efi").read_bytes()
    assert medium.read("loader/loader.conf") == b"timeout 5\nconsole-mode max\neditor no\n"
    assert b"title Demo 7\n" in medium.read("loader/entries/norole.conf")


def test_one_file_system_for_cd_and_stick(made, tmp_path):
    """The boot image of El Torito is the partition of the GPT, and lies inside the ISO."""
    iso(made, tmp_path / "a.iso", "--label", "MY_OS_7")
    said = tool("xorriso", "-indev", tmp_path / "a.iso", "-report_el_torito", "plain", "-pvd_info").stdout.decode()
    image = re.search(r"^El Torito boot img : +1 +UEFI +y +none +0x0000 +0x00 +0 +(\d+)$", said, re.M)
    esp = Medium(tmp_path / "a.iso", tmp_path).esp
    assert int(image.group(1)) * 4 == esp["start"]
    blocks = int(re.search(r"^El Torito img blks : +1 +(\d+)$", said, re.M).group(1))
    assert (blocks - 1) * 4 < esp["size"] <= blocks * 4
    assert re.search(r"^Volume Id +: MY_OS_7$", said, re.M)
    data = (tmp_path / "a.iso").read_bytes()
    volume = int.from_bytes(data[16 * 2048 + 80:16 * 2048 + 84], "little")
    assert volume * 4 >= esp["start"] + esp["size"], "firmware would cut the boot image"
    tool("sfdisk", "-V", tmp_path / "a.iso")


def test_keys_config_and_overlay(made, tmp_path, keys):
    overlay = tmp_path / "overlay"
    (overlay / "drivers/deep").mkdir(parents=True)
    (overlay / "empty").mkdir()
    (overlay / "drivers/deep/Größe 日本.bin").write_bytes(os.urandom(3 << 20))
    (overlay / "small").write_bytes(b"x")
    (tmp_path / "config").write_text("#cloud-config\n")
    iso(made, tmp_path / "a.iso", "--enroll-keys", keys, "--secure-boot-enroll", "force", "--overlay", overlay,
        "--config", tmp_path / "config", "--timeout", "0", "--title", "Installer")
    medium = Medium(tmp_path / "a.iso", tmp_path)
    medium.check()
    assert medium.names() == sorted(NAMES + ["install.yaml", "small", "drivers/deep/Größe 日本.bin"]
                                    + [f"loader/keys/auto/{n}.auth" for n in ("PK", "KEK", "db")])
    assert medium.read("drivers/deep/Größe 日本.bin") == (overlay / "drivers/deep/Größe 日本.bin").read_bytes()
    assert medium.read("install.yaml") == b"#cloud-config\n"
    for name in ("PK", "KEK", "db"):
        assert medium.read(f"loader/keys/auto/{name}.auth") == (keys / f"{name}.auth").read_bytes()
    assert medium.read("loader/loader.conf") == b"timeout 0\nconsole-mode max\neditor no\nsecure-boot-enroll force\n"
    assert b"title Installer\n" in medium.read("loader/entries/norole.conf")


def test_same_input_same_bytes(made, tmp_path, keys):
    """In another directory, from files of another age, made at another time by somebody else."""
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    for name in ("b", "a", "c"):
        (overlay / name).write_bytes(name.encode())
    options = ("--enroll-keys", keys, "--overlay", overlay)
    iso(made, tmp_path / "a.iso", *options)
    shutil.copytree(made, tmp_path / "else", symlinks=True)
    shutil.copytree(overlay, tmp_path / "else/overlay")
    os.utime(tmp_path / "else/image.efi", (1, 1))
    os.utime(tmp_path / "else/overlay/a", (2, 2))
    tb_image("iso", "--usi", "image.efi", "--loader", "loader.efi", "--out", "b.iso", "--enroll-keys", keys, "--overlay",
             "overlay", cwd=tmp_path / "else", preexec_fn=lambda: os.umask(0o077))
    assert (tmp_path / "a.iso").read_bytes() == (tmp_path / "else/b.iso").read_bytes()
    # And not because it is always the same.
    (overlay / "a").write_bytes(b"other")
    iso(made, tmp_path / "c.iso", *options)
    first, other = (Medium(tmp_path / n, tmp_path) for n in ("a.iso", "c.iso"))
    assert first.table["id"] != other.table["id"] and first.esp["uuid"] != other.esp["uuid"]


def test_ordinary_user(made, tmp_path):
    """No root, no mounts, and nothing left beside the result. In a folder that anybody may enter."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        for source in (BUILD / "tb-image", made / "image.efi", made / "loader.efi"):
            shutil.copy(source, folder)
        out = folder / "out"
        out.mkdir()
        os.chown(out, 65534, 65534)
        tool(folder / "tb-image", "iso", "--usi", folder / "image.efi", "--loader", folder / "loader.efi", "--out", out / "a.iso",
             user=65534, group=65534, extra_groups=[], cwd="/")
        assert [p.name for p in out.iterdir()] == ["a.iso"]
        Medium(out / "a.iso", tmp_path).check()


def test_enrolment_that_the_loader_knows(made, tmp_path, keys):
    """Debian 12's is 252: a word that it does not know would keep it from enrolling anything."""
    def conf(*options):
        iso(made, tmp_path / "a.iso", "--enroll-keys", keys, *options)
        return Medium(tmp_path / "a.iso", tmp_path).read("loader/loader.conf").splitlines()[-1]
    assert conf() == b"secure-boot-enroll manual"
    assert conf("--secure-boot-enroll", "force") == b"secure-boot-enroll force"
    refused(iso(made, tmp_path / "b.iso", "--enroll-keys", keys, "--secure-boot-enroll", "if-safe", check=False), 4, "begins with 253")
    text = section(made / "loader.efi", ".sdmagic", tmp_path)
    text.write_bytes(text.read_bytes().replace(b"systemd-boot 252", b"systemd-boot 253"))
    tool("objcopy", "--update-section", f".sdmagic={text}", BOOT, tmp_path / "newer.efi")
    tb_image("sign", "--keys", keys, "--out", tmp_path / "newer.efi", tmp_path / "newer.efi")
    tb_image("iso", "--usi", made / "image.efi", "--loader", tmp_path / "newer.efi", "--out", tmp_path / "c.iso", "--enroll-keys", keys)
    assert Medium(tmp_path / "c.iso", tmp_path).read("loader/loader.conf").endswith(b"\nsecure-boot-enroll if-safe\n")


def refused(done, rc, text):
    assert done.returncode == rc and text in done.stderr.decode(), done.stderr


def test_private_key_in_the_overlay(made, tmp_path, keys):
    (tmp_path / "overlay").mkdir()
    shutil.copy(keys / "db.key", tmp_path / "overlay/innocent")
    refused(iso(made, tmp_path / "a.iso", "--enroll-keys", keys, "--overlay", tmp_path / "overlay", check=False), 4, "innocent")
    assert not (tmp_path / "a.iso").exists()


@pytest.mark.parametrize("name, text", [("EFI/kairos/norole.efi", "twice"), ("efi/KAIROS/norole.EFI", "the same name"),
                                        ("a:b", "cannot hold")])
def test_overlay_that_does_not_fit(made, tmp_path, name, text):
    path = tmp_path / "overlay" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    refused(iso(made, tmp_path / "a.iso", "--overlay", tmp_path / "overlay", check=False), 4, text)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["overlay"]


def test_overlay_with_a_link(made, tmp_path):
    (tmp_path / "overlay").mkdir()
    (tmp_path / "overlay/link").symlink_to("/etc/passwd")
    refused(iso(made, tmp_path / "a.iso", "--overlay", tmp_path / "overlay", check=False), 4, "neither file nor folder")


def test_without_xorriso(made, tmp_path):
    done = tool("unshare", "--mount", "--propagation", "private", "sh", "-c",
                'mount -t tmpfs none "$(dirname "$(command -v xorriso)")" && exec "$@"', "sh", BUILD / "tb-image", "iso", "--usi",
                made / "image.efi", "--loader", made / "loader.efi", "--out", tmp_path / "a.iso", check=False)
    if b"unshare failed" in done.stderr or b"permission denied" in done.stderr:
        pytest.skip("this machine does not let tests mount")
    assert done.returncode == 10 and b"xorriso: program not found" in done.stderr and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options, text", [
    (["--label", "lower"], "--label"), (["--label", "A" * 33], "--label"), (["--secure-boot-enroll", "force"], "--enroll-keys"),
    (["--secure-boot-enroll", "maybe", "--enroll-keys", "x"], "if-safe"), (["--timeout", "x"], "--timeout")])
def test_usage(made, tmp_path, options, text):
    refused(iso(made, tmp_path / "a.iso", *options, check=False), 2, text)
