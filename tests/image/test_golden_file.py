# SPDX-License-Identifier: Apache-2.0
"""tb-agent install --image, by a user without any right, judged by tools that others wrote."""
import base64
import hashlib
import json
import os
import shutil
import signal
import stat
import struct
import subprocess
import tempfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from imagetools import BOOT, BUILD, build_usi, make_rootfs, started_swtpm, tb_image, tool

MIB = 1 << 20
NOBODY = 65534
# No capability is left to it, and none can be had: what it does, a container without rights can do.
UNPRIVILEGED = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all",
                "--no-new-privs"] if os.geteuid() == 0 else ["setpriv", "--no-new-privs"]
CONFIG = "#cloud-config\nusers:\n- name: admin\n  passwd: in-clear\ninstall:\n  bind_mounts: [/var/lib/mine]\n"
USAGE, CONFIG_ERROR, SPACE, IO, PRECONDITION, INTERRUPTED, SIGNATURE = 2, 4, 7, 9, 10, 11, 12


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
    assert said["plan"]["file"] == {"path": str(image), "size": 700 * MIB, "has_config": True, "sealed": False}
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
    (("--force-release",), "nothing holds"), (("--pcr7", "ab" * 32), "with --tcti"), (("--event-log", "log"), "with --tcti"),
    (("--tcti", "device:/dev/tpmrm0"), "what PCR 7 will be"), (("--target", "/dev/vda"), "exclude"),
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


# --- sealed to a TPM that was named ------------------------------------------------------------------------------------

GLOBAL = bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c")
SECURITY = bytes.fromhex("cbb219d73a3d9645a3bcdad00e67656f")
SHIM = bytes.fromhex("50ab5d6046e00043abb63dd810dd8b23")
DRIVER_CONFIG, SEPARATOR, AUTHORITY = 0x80000001, 4, 0x800000e0
HEADER = 16 * MIB


def event(kind, data):
    return struct.pack("<IIIH", 7, kind, 1, 0xb) + hashlib.sha256(data).digest() + struct.pack("<I", len(data)) + data


def variable(guid, name, data):
    return guid + struct.pack("<QQ", len(name), len(data)) + name.encode("utf-16-le") + data


def event_log(db, vouched, secure_boot=1, shim=False, db_shown=None):
    """What firmware logs of a boot, and what PCR 7 is then."""
    head = b"Spec ID Event03\0" + struct.pack("<IBBBBIHHB", 0, 0, 2, 0, 2, 1, 0xb, 32, 0)
    events = [(DRIVER_CONFIG, variable(GLOBAL, "SecureBoot", bytes([secure_boot])))]
    events += [(DRIVER_CONFIG, variable(GLOBAL, name, name.encode())) for name in ("PK", "KEK")]
    events += [(DRIVER_CONFIG, variable(SECURITY, "db", db)), (DRIVER_CONFIG, variable(SECURITY, "dbx", b"")), (SEPARATOR, bytes(4))]
    events += [(AUTHORITY, variable(SECURITY, "db", entry)) for entry in vouched]
    events += [(AUTHORITY, variable(SHIM, "SbatLevel", b"sbat,1"))] if shim else []
    value = bytes(32)
    for _, data in events:
        value = hashlib.sha256(value + hashlib.sha256(data).digest()).digest()
    log = struct.pack("<II20sI", 0, 3, bytes(20), len(head)) + head + b"".join(event(*e) for e in events)
    return log.replace(db, db_shown) if db_shown else log, value.hex()


@pytest.fixture(scope="module")
def world(stage, keys, tmp_path_factory):
    """A TPM, and the log of a machine with our key and another one in its db, in a boot of what the other one vouches for."""
    foreign = tmp_path_factory.mktemp("other") / "keys"
    tb_image("keys", foreign)
    ours, other = ((k / "db.esl").read_bytes() for k in (keys, foreign))
    entry = {"ours": ours[28:], "other": other[28:]}
    logs = {"log": event_log(ours + other, [entry["other"]]),
            "log-same": event_log(ours + other, [entry["ours"]]),
            "log-off": event_log(ours + other, [], secure_boot=0),
            "log-shim": event_log(ours + other, [entry["other"]], shim=True),
            "log-foreign": event_log(other, [entry["other"]]),
            "log-lie": event_log(ours + other, [entry["ours"]], db_shown=ours + ours[:-1] + b"x" + other[len(ours):]),
            "log-cut": (event_log(ours, [])[0][:-3], "")}
    for name, (log, _) in logs.items():
        (stage / name).write_bytes(log)
    folder = tmp_path_factory.mktemp("tpm")
    with started_swtpm(folder) as tcti:
        yield {"tcti": tcti, "pcr7": logs["log-same"][1], "keys": keys}


def seal(stage, out, world, *options, log="log", db=None, size="500M"):
    how = ("--event-log", stage / log) if log else ()
    return golden(stage, out, "--tcti", world["tcti"], "--oem-size", "64M", "--allow-software-tpm", *how, *options, db=db, size=size)


@pytest.fixture(scope="module")
def sealed(stage, world, tmp_path_factory):
    """A finished node in a file: the image, what was said, the key that opens it, and its data in clear."""
    place = stage / "sealed"
    place.mkdir()
    place.chmod(0o1777)
    rc, said = seal(stage, place, world, "--config", stage / "config.yaml", "--recovery-key-file", place / "key", "--allow-discards")
    assert rc == 0, said
    work = tmp_path_factory.mktemp("clear")
    shutil.copy(place / "key", work / "key")
    volumes = {}
    for name, part in partitions(place / "golden.img")[1].items():
        if name != "efi":
            volumes[name] = decrypted(place / "golden.img", part, work / name, work / "key")
    return {"image": place / "golden.img", "said": said, "key": work / "key", "volumes": volumes}


def decrypted(image, part, work, key):
    """The header and the data of a volume in files of their own. The sectors that are holes stay holes."""
    start, size = part["start"] * 512, part["size"] * 512 - HEADER
    work.mkdir()
    with open(image, "rb") as f, open(work / "header", "wb") as header, open(work / "data", "wb") as data:
        f.seek(start)
        header.write(f.read(HEADER))
        header.flush()
        tool("cryptsetup", "luksDump", "-q", "--dump-volume-key", "--volume-key-file", work / "vk", "--key-file", key, work / "header")
        volume_key = (work / "vk").read_bytes()
        data.truncate(size)
        at, stop, written = start + HEADER, start + HEADER + size, 0
        while at < stop:
            try:
                at = os.lseek(f.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            end = min(os.lseek(f.fileno(), at, os.SEEK_HOLE), stop)
            for sector in range((at - start - HEADER) // 512, (end - start - HEADER) // 512):
                cipher = Cipher(algorithms.AES(volume_key), modes.XTS(struct.pack("<QQ", sector, 0))).decryptor()
                data.seek(sector * 512)
                data.write(cipher.update(os.pread(f.fileno(), 512, start + HEADER + sector * 512)))
                written += 512
            at = end
    return {"header": work / "header", "data": work / "data", "size": size, "written": written}


def test_sealed_plan_says_what_pcr7_will_be(sealed, world):
    """That of a boot in which our key vouches, not that of the boot in the log."""
    plan = sealed["said"]["plan"]
    assert (plan["pcr7"], plan["pcr7_from"]) == (world["pcr7"], "event-log") and plan["file"]["sealed"] is True
    assert sealed["said"]["recovery_key"] == "file" and plan["bind_pcrs"] == [7]
    checks = {c["check"]: c["state"] for c in plan["preflight"]}
    assert checks["tpm-kind"] == "overridden" and checks["secure-boot"] == "not-applicable" and checks["storage-key"] == "passed"


def test_sealed_volumes_by_cryptsetup(sealed):
    for name, volume in sealed["volumes"].items():
        dumped = tool("cryptsetup", "luksDump", volume["header"]).stdout.decode()
        assert f"Label:         \tCOS_{name.upper()}\n" in dumped and "Flags:       \tallow-discards" in dumped
        assert "systemd-tpm2" in dumped and "systemd-recovery" in dumped and "sector: 512 [bytes]" in dumped
        tool("cryptsetup", "open", "--test-passphrase", "--key-file", sealed["key"], volume["header"])


def test_sealed_data_is_a_file_system(sealed):
    for name, volume in sealed["volumes"].items():
        tool("e2fsck", "-f", "-n", volume["data"])
        shown = tool("dumpe2fs", "-h", volume["data"]).stdout.decode()
        assert f"COS_{name.upper()}" in shown and f"Block count:              {volume['size'] // 4096}\n" in shown
        assert "Filesystem state:         clean\n" in shown
    # Of oem every sector, so that it does not show how much there is; of persistent what is needed.
    assert sealed["volumes"]["oem"]["written"] == sealed["volumes"]["oem"]["size"]
    assert sealed["volumes"]["persistent"]["written"] < sealed["volumes"]["persistent"]["size"] // 4


def test_sealed_oem_has_the_files_of_an_installation(sealed):
    def debugfs(request):
        return tool("debugfs", "-R", request, sealed["volumes"]["oem"]["data"]).stdout
    assert debugfs("cat /90_custom.yaml") == CONFIG.encode()
    assert json.loads(debugfs("cat /tb-agent/mounts.json")) == {"bind": ["/var/lib/mine"], "ephemeral": []}
    record = json.loads(debugfs("cat /tb-agent/install.json"))
    assert (record["made"], record["version"], record["encrypted"]) == ("image", "7", []) and "tpm-kind" in record["machine_override"]
    for path, mode in (("/90_custom.yaml", "Mode:  0600"), ("/tb-agent", "Mode:  0700"), ("/tb-agent/install.json", "Mode:  0600")):
        shown = debugfs(f"stat {path}").decode()
        assert mode in shown and "User:     0   Group:     0" in shown


def test_sealed_file_shows_nothing_in_clear(sealed):
    with open(sealed["image"], "rb") as f:
        assert stat.S_IMODE(os.fstat(f.fileno()).st_mode) == 0o600
        for name, part in partitions(sealed["image"])[1].items():
            if name == "efi":
                continue
            f.seek(part["start"] * 512)
            stored = f.read(part["size"] * 512)
            for word in (CONFIG.encode()[14:], b"install.json", sealed["key"].read_bytes()[:20], b"lost+found"):
                assert word not in stored
    assert sorted(p.name for p in sealed["image"].parent.iterdir()) == ["golden.img", "key"]


def test_sealed_policy_is_that_of_the_tpm_and_the_key(sealed, world, tmp_path):
    """By a trial session of tpm2-tools in the same TPM, with the value of PCR 7 that was computed here."""
    tcti = ("-T", world["tcti"])
    (tmp_path / "pcr7").write_bytes(bytes.fromhex(world["pcr7"]))
    tool("tpm2_loadexternal", *tcti, "-C", "o", "-G", "rsa", "-u", world["keys"] / "tpm2-pcr-public.pem", "-a", "userwithauth|decrypt|sign",
         "-c", tmp_path / "key.ctx", "-n", tmp_path / "key.name")
    tool("tpm2_startauthsession", *tcti, "-S", tmp_path / "session")
    tool("tpm2_policyauthorize", *tcti, "-S", tmp_path / "session", "-n", tmp_path / "key.name")
    tool("tpm2_policypcr", *tcti, "-S", tmp_path / "session", "-l", "sha256:7", "-f", tmp_path / "pcr7", "-L", tmp_path / "policy")
    tool("tpm2_flushcontext", *tcti, tmp_path / "session")
    tool("tpm2_flushcontext", *tcti, "-t")
    tokens = []
    for volume in sealed["volumes"].values():
        token = json.loads(tool("cryptsetup", "token", "export", "--token-id", "0", volume["header"]).stdout)
        assert bytes.fromhex(token["tpm2-policy-hash"]) == (tmp_path / "policy").read_bytes()
        assert (token["tpm2-pcrs"], token["tpm2_pubkey_pcrs"]) == ([7], [11])
        tokens.append(token["tpm2-blob"])
        assert (tmp_path / "policy").read_bytes() in base64.b64decode(token["tpm2-blob"])
    assert tokens[0] != tokens[1]
    tool("tpm2_nvreadpublic", *tcti, "0x01805443")


def test_sealed_with_a_value_that_is_known(stage, out, world):
    rc, said = seal(stage, out, world, "--pcr7", "AB" * 32, "--dry-run", log=None, db="db.pem")
    assert rc == 0 and (said["plan"]["pcr7"], said["plan"]["pcr7_from"]) == ("ab" * 32, "given") and names(out) == []
    assert said["warnings"] and said["recovery_key"] == "none"


@pytest.mark.parametrize("options, how, status, word", [
    ((), {"log": None, "db": "db.pem"}, USAGE, "what PCR 7 will be"),
    (("--pcr7", "ab" * 32), {}, USAGE, "exclude"),
    (("--pcr7", "ab" * 31), {"log": None, "db": "db.pem"}, USAGE, "64 hexadecimal digits"),
    (("--pcr7", "00" * 32), {"log": None, "db": "db.pem"}, USAGE, "measured nothing"),
    (("--pcr7", "ab" * 32), {"log": None}, USAGE, "--db is missing"),
    ((), {"db": "db.pem"}, USAGE, "leave --db"),
    (("--bind-pcrs", "0+7"), {}, USAGE, "other PCRs than 7"),
    (("--partition", "data:64M"), {}, USAGE, "further partitions"),
    ((), {"log": "no-such"}, CONFIG_ERROR, "no-such"),
    ((), {"log": "log-off"}, PRECONDITION, "Secure Boot was not on"),
    ((), {"log": "log-shim"}, PRECONDITION, "shim"),
    ((), {"log": "log-lie"}, PRECONDITION, "as they were measured"),
    ((), {"log": "log-cut"}, PRECONDITION, "log-cut"),
    ((), {"log": "log-foreign"}, SIGNATURE, "db"),
])
def test_sealing_that_cannot_be_right_is_refused(stage, out, world, options, how, status, word):
    (out / "golden.img").write_text("mine")
    (out / "golden.img").chmod(0o666)
    rc, said = seal(stage, out, world, "--overwrite", *options, **how)
    assert (rc, word in said["error"]["text"]) == (status, True), said
    assert (out / "golden.img").read_text() == "mine" and names(out) == ["golden.img"]


def test_image_does_not_take_the_place_of_its_key(stage, out, world):
    rc, said = seal(stage, out, world, "--overwrite", "--recovery-key-file", out / "golden.img")
    assert rc == USAGE and "same file" in said["error"]["text"] and names(out) == []


def test_tpm_has_to_be_there_and_no_program(stage, out, world):
    rc, said = golden(stage, out, "--tcti", "swtpm:port=1", "--event-log", stage / "log", db=None)
    assert rc == PRECONDITION and "TPM" in said["error"]["text"]
    rc, said = golden(stage, out, "--tcti", world["tcti"], "--event-log", stage / "log", db=None)
    assert rc == PRECONDITION and "software TPM" in said["error"]["text"] and names(out) == []
