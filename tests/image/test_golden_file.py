# SPDX-License-Identifier: Apache-2.0
"""tb-agent install --image, by a user without any right, judged by tools that others wrote."""
import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest
from imagetools import BOOT, BUILD, build_usi, make_rootfs, tb_image, tool

MIB = 1 << 20
NOBODY = 65534
# No capability is left to it, and none can be had: what it does, a container without rights can do.
UNPRIVILEGED = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all",
                "--no-new-privs"] if os.geteuid() == 0 else ["setpriv", "--no-new-privs"]
CONFIG = "#cloud-config\nusers:\n- name: admin\n  passwd: in-clear\ninstall:\n  bind_mounts: [/var/lib/mine]\n"
USAGE, CONFIG_ERROR, SPACE, IO, INTERRUPTED, SIGNATURE = 2, 4, 7, 9, 11, 12


@pytest.fixture(scope="module")
def stage(tmp_path_factory, keys):
    """A folder that anybody can read, with a folder "out" that anybody can write to. The image is large enough to be
    interrupted in."""
    work = tmp_path_factory.mktemp("usi")
    root = make_rootfs(work / "root")
    (root / "usr/ballast").write_bytes(os.urandom(48 * MIB))
    build_usi(work, keys, root)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "source/EFI/kairos").mkdir(parents=True)
        (folder / "source/EFI/BOOT").mkdir(parents=True)
        shutil.copy(BUILD / "tb-agent", folder)
        shutil.copy(keys / "db.pem", folder)
        shutil.copy(work / "image.efi", folder / "source/EFI/kairos/norole.efi")
        tb_image("sign", "--keys", keys, "--out", folder / "source/EFI/BOOT/BOOTX64.EFI", BOOT)
        (folder / "config.yaml").write_text(CONFIG)
        tool("chmod", "-R", "a+rX", folder)
        (folder / "out").mkdir()
        (folder / "out").chmod(0o1777)
        yield folder


@pytest.fixture
def out(stage):
    """Where images go; empty after every test."""
    yield stage / "out"
    for name in (stage / "out").iterdir():
        name.unlink()


def argv(stage, out, *options, size="700M", db="db.pem"):
    words = [*UNPRIVILEGED, stage / "tb-agent", "install", "--image", out / "golden.img", "--source", f"dir:{stage}/source",
             "--esp-size", "300M", *(("--size", size) if size else ()), *(("--db", stage / db) if db else ()), *options]
    return [str(word) for word in words]


def golden(stage, out, *options, **how):
    """Exit code and document."""
    done = tool(*argv(stage, out, "--json", *options, **how), check=False)
    return done.returncode, json.loads(done.stdout)


def names(out):
    return sorted(p.name for p in out.iterdir())


def partitions(image):
    table = json.loads(tool("sfdisk", "--json", image).stdout)["partitiontable"]
    return table, {p["name"]: p for p in table["partitions"]}


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def made(stage, out):
    rc, said = golden(stage, out, "--config", stage / "config.yaml", "--allow-software-tpm")
    assert rc == 0, said
    return out / "golden.img", said


def test_table_is_that_of_a_node(made):
    image, said = made
    assert b"No errors detected" in tool("sfdisk", "--verify", image).stdout
    table, parts = partitions(image)
    assert table["label"] == "gpt" and list(parts) == ["efi", "oem", "persistent"]
    assert [(p["start"] % 2048, p["size"] % 2048) for p in parts.values()] == [(0, 0)] * 3
    assert [p["size"] // 2048 for p in parts.values()] == [300, 128, 700 - 300 - 128 - 2]
    assert [p["type"] for p in parts.values()] == ["C12A7328-F81F-11D2-BA4B-00A0C93EC93B"] + \
        ["0FC63DAF-8483-4772-8E79-3D69D8477DE4"] * 2
    assert [(p["name"], p["start"], p["size"], p["uuid"].upper()) for p in said["plan"]["partitions"]] == \
        [(p["name"], p["start"] * 512, p["size"] * 512, p["uuid"]) for p in parts.values()]
    assert said["plan"]["file"] == {"path": str(image), "size": 700 * MIB, "has_config": True}
    if shutil.which("sgdisk"):
        assert b"No problems found" in tool("sgdisk", "--verify", image).stdout


def test_file_is_sparse_private_and_alone(made, stage):
    image, _ = made
    st = image.stat()
    usi = (stage / "source/EFI/kairos/norole.efi").stat().st_size
    assert st.st_size == 700 * MIB and st.st_blocks * 512 < 2 * usi + 8 * MIB
    assert stat.S_IMODE(st.st_mode) == 0o600 and names(image.parent) == ["golden.img"]
    if os.geteuid() == 0:
        assert st.st_uid == NOBODY


def test_esp_by_dosfstools_and_mtools(made, stage, tmp_path):
    image, _ = made
    _, parts = partitions(image)
    esp = tmp_path / "esp.img"
    tool("dd", f"if={image}", f"of={esp}", "bs=1M", "skip=1", f"count={parts['efi']['size'] // 2048}", "conv=sparse")
    tool("fsck.fat", "-n", esp)
    known = tool("blkid", "-p", "-o", "export", esp).stdout.decode().split()
    assert {"TYPE=vfat", "VERSION=FAT32", "LABEL=COS_GRUB"} <= set(known)
    listed = tool("mdir", "-i", esp, "-/", "-b", "::").stdout.decode().split()
    files = {name[3:]: tool("mtype", "-i", esp, name).stdout for name in listed if not name.endswith("/")}
    usi, boot = ((stage / "source/EFI" / n).read_bytes() for n in ("kairos/norole.efi", "BOOT/BOOTX64.EFI"))
    assert sorted(files) == ["EFI/BOOT/BOOTX64.EFI", "EFI/kairos/usi-00000001.efi", "EFI/kairos/usi-00000002.efi",
                             "EFI/systemd/systemd-bootx64.efi", "loader/entries.srel", "loader/entries/active+3-0.conf",
                             "loader/entries/passive.conf", "loader/entries/recovery.conf", "loader/loader.conf"]
    assert files["EFI/kairos/usi-00000001.efi"] == files["EFI/kairos/usi-00000002.efi"] == usi
    assert files["EFI/BOOT/BOOTX64.EFI"] == files["EFI/systemd/systemd-bootx64.efi"] == boot
    for role, number in (("active+3-0", 1), ("passive", 1), ("recovery", 2)):
        text = files[f"loader/entries/{role}.conf"]
        assert len(text) == 512 and b"/EFI/kairos/usi-0000000%d.efi\n" % number in text and sha256(usi).encode() in text


def test_data_partitions_are_blank(made):
    image, _ = made
    _, parts = partitions(image)
    for name in ("oem", "persistent"):
        start = parts[name]["start"] * 512
        probed = tool("blkid", "-p", "-O", start, "-S", parts[name]["size"] * 512, image, check=False)
        assert (probed.returncode, probed.stdout) == (2, b""), "nothing that anybody knows"
        with open(image, "rb") as f:
            f.seek(start)
            mark = f.read(4096)
            rest = f.read(1 * MIB)
            f.seek(start + 16 * MIB)
            payload = f.read(16 * MIB)
        assert mark.startswith(b"tb-agent blank 1") and mark[64:64 + 37].rstrip(b"\0").decode() == name
        assert mark[-32:] == hashlib.sha256(mark[:-32]).digest()
        size = int.from_bytes(mark[24:32], "little")
        assert not any(payload) and not any(rest[size:]) and mark[32:64] == hashlib.sha256(rest[:size]).digest()
        assert (size > 0) == (name == "persistent")
    assert b'"tb-agent/mounts.json"' in rest[:size].replace(b"\\/", b"/")


def test_every_image_has_names_of_its_own(stage, out):
    tables = []
    for _ in range(2):
        rc, said = golden(stage, out, "--overwrite")
        assert rc == 0 and said["plan"]["file"]["has_config"] is False
        table, parts = partitions(out / "golden.img")
        tables.append({table["id"], *(p["uuid"] for p in parts.values())})
    assert len(tables[0] | tables[1]) == 8


def test_file_that_is_there_stays(stage, out):
    (out / "golden.img").write_text("mine")
    (out / "golden.img").chmod(0o666)
    rc, said = golden(stage, out)
    assert rc == USAGE and "exists" in said["error"]["text"] and "--overwrite" in said["error"]["advice"]
    assert (out / "golden.img").read_text() == "mine" and names(out) == ["golden.img"]


def test_no_device_and_no_folder(stage, out):
    for path in ("/dev/null", str(out)):
        done = tool(*[path if word == str(out / "golden.img") else word for word in argv(stage, out, "--overwrite")], check=False)
        assert done.returncode == USAGE and b"no regular file" in done.stderr
    done = tool(*["/proc/no/golden.img" if w == str(out / "golden.img") else w for w in argv(stage, out)], check=False)
    assert done.returncode == IO


@pytest.mark.parametrize("size, status, words", [
    ("500M", SPACE, ("300 MiB", "oem 128 MiB", "at least 128 MiB", "--size")),
    ("512K", USAGE, ("multiple of 1 MiB",)),
    (str(700 * MIB + 512), USAGE, ("multiple of 1 MiB",)),
    (None, USAGE, ("--size is missing",)),
])
def test_sizes(stage, out, size, status, words):
    rc, said = golden(stage, out, size=size)
    assert rc == status, said
    assert all(word in said["error"]["text"] + said["error"]["advice"] for word in words), said
    assert names(out) == []


def test_size_that_just_fits(stage, out):
    needed = 1 + 300 + 128 + 128 + 1
    assert golden(stage, out, "--dry-run", size=f"{needed}M")[0] == 0
    assert golden(stage, out, "--dry-run", size=f"{needed - 1}M")[0] == SPACE


@pytest.mark.parametrize("options, word", [
    (("--recovery-key-file", "key"), "recovery key"), (("--recovery-key",), "recovery key"),
    (("--enroll-keys", "."), "Secure Boot keys"), (("--partition", "data:64M"), "further partitions"),
    (("--pin-file", "key"), "PIN"), (("--bind-pcrs", "7+2"), "PCR 7"), (("--reboot",), "goes on"), (("--no-format",), "disks"),
    (("--force-release",), "nothing holds"), (("--tcti", "device:/dev/tpmrm0"), "TPM of each machine"), (("--target", "/dev/vda"), "exclude"),
])
def test_wishes_of_disks_are_refused(stage, out, options, word):
    rc, said = golden(stage, out, *options)
    assert rc == USAGE and word in said["error"]["text"] and names(out) == []


def test_images_are_verified_for_their_machines(stage, out, tmp_path_factory):
    rc, said = golden(stage, out, db=None)
    assert rc == USAGE and "--db" in said["error"]["text"]
    foreign = tmp_path_factory.mktemp("foreign") / "keys"
    tb_image("keys", foreign)
    shutil.copy(foreign / "db.pem", stage / "foreign.pem")
    (stage / "foreign.pem").chmod(0o644)
    rc, said = golden(stage, out, db="foreign.pem")
    assert rc == SIGNATURE and names(out) == []


def test_wrong_configuration(stage, out):
    for text, status in (("install:\n  oem-size: [\n", CONFIG_ERROR), ("install:\n  reboot: true\n", USAGE),
                         ("install:\n  hooks:\n    after: [/bin/true]\n", USAGE)):
        (stage / "wrong.yaml").write_text("#cloud-config\n" + text)
        (stage / "wrong.yaml").chmod(0o644)
        rc, said = golden(stage, out, "--config", stage / "wrong.yaml")
        assert rc == status and names(out) == [], said


def test_dry_run_writes_nothing(stage, out):
    rc, said = golden(stage, out, "--dry-run")
    assert (rc, said["dry_run"], said["installed"]) == (0, True, False) and names(out) == []
    text = tool(*argv(stage, out, "--dry-run")).stdout.decode()
    assert "nothing was changed" in text and "persistent" in text


def test_stopped_run_leaves_nothing(stage, out):
    there, here = os.pipe()
    run = subprocess.Popen(argv(stage, out, "--json", "--progress-fd", here), pass_fds=[here], stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL)
    os.close(here)
    with open(there, encoding="utf-8") as lines:
        next(line for line in lines if "active" in line)
        assert [name.startswith(".golden.img.") for name in names(out)] == [True]
        run.send_signal(signal.SIGTERM)
        lines.read()
    said = json.loads(run.communicate()[0])
    assert run.returncode == INTERRUPTED and said["error"]["class"] == "interrupted" and names(out) == []


def test_file_system_that_takes_no_such_file(stage, out):
    limited = ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh", "prlimit", f"--fsize={100 * MIB}"]
    done = tool(*limited, *argv(stage, out, "--json"), check=False)
    assert done.returncode in (SPACE, IO), done.stdout
    assert names(out) == []
