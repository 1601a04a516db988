# SPDX-License-Identifier: Apache-2.0
"""tb-image measure: PCR 11 as systemd-measure has it, the others computed here a second time, from the specifications."""
import hashlib
import json
import struct

import pytest

from imagetools import BOOT, build_usi, make_rootfs, section, tb_image, tool

MEASURE = "/lib/systemd/systemd-measure"
SECTIONS = ["osrel", "cmdline", "pcrpkey", "linux", "initrd"]
GLOBAL = bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c")
SECURITY = bytes.fromhex("cbb219d73a3d9645a3bcdad00e67656f")


@pytest.fixture(scope="module")
def place(tmp_path_factory, keys):
    """An image, and a signed boot loader."""
    folder = tmp_path_factory.mktemp("measure")
    build_usi(folder, keys, make_rootfs(folder / "root"))
    tb_image("sign", "--keys", keys, "--out", folder / "boot.efi", BOOT)
    return folder


def measure(*argv):
    return json.loads(tb_image("measure", "--json", *argv).stdout)["pcrs"]


def test_usi_predicts_what_it_makes(tmp_path, keys, place):
    """The same values as of the finished image, for each variant."""
    said = json.loads(build_usi(tmp_path, keys, make_rootfs(tmp_path / "root"), extra=[
        "--measure", "--loader", place / "boot.efi", "--variant", "debug=+debug", "--json"]).stdout)
    words = ["--loader", place / "boot.efi", "--keys", keys]
    assert said["pcrs"] == measure(*words, tmp_path / "image.efi")
    assert said["variants"][0]["pcrs"] == measure(*words, tmp_path / "image-debug.efi")
    assert said["pcrs"]["7"] and said["pcrs"]["11"] != said["variants"][0]["pcrs"]["11"]
    shown = tb_image("measure", *words, tmp_path / "image.efi").stdout
    assert shown in build_usi(tmp_path, keys, tmp_path / "root", extra=["--measure", "--loader", place / "boot.efi"]).stdout


def test_usi_without_a_signature_has_no_pcr7(tmp_path, keys):
    said = json.loads(build_usi(tmp_path, keys, make_rootfs(tmp_path / "root"), extra=["--measure", "--unsigned", "--json"]).stdout)
    assert said["pcrs"]["7"] is None and said["pcrs"] == measure(tmp_path / "image.efi")


def test_usi_that_firmware_would_not_start(tmp_path, keys):
    """The boot loader has no signature by the keys: told before there is an image."""
    done = build_usi(tmp_path, keys, make_rootfs(tmp_path / "root"), extra=["--measure", "--loader", BOOT], check=False)
    assert done.returncode == 6 and not (tmp_path / "image.efi").exists()
    done = build_usi(tmp_path, keys, tmp_path / "root", extra=["--loader", BOOT], check=False)
    assert done.returncode == 2 and b"--measure" in done.stderr


def extend(*data, digests=()):
    value = bytes(32)
    for digest in [*(hashlib.sha256(d).digest() for d in data), *digests]:
        value = hashlib.sha256(value + digest).digest()
    return value.hex()


def authenticode(path):
    """Of an image whose sections lie in one piece from the headers to the certificate table."""
    data = path.read_bytes()
    pe = struct.unpack_from("<I", data, 0x3c)[0]
    checksum, directory = pe + 24 + 64, pe + 24 + 112 + 4 * 8
    end = struct.unpack_from("<I", data, directory)[0] or len(data)
    return hashlib.sha256(data[:checksum] + data[checksum + 4:directory] + data[directory + 8:end]).digest()


def test_pcr11_of_each_phase(place):
    words = [f"--{name}={section(place / 'image.efi', '.' + name, place)}" for name in SECTIONS]
    ours = measure(place / "image.efi")["11"]
    said = tool(MEASURE, "calculate", *words, "--bank=sha256", "--json=short", *(f"--phase={p}" for p in ours))
    assert {v.get("phase", ""): v["hash"] for v in json.loads(said.stdout)["sha256"]} == ours
    assert list(ours)[:2] == ["", "enter-initrd"] and "enter-initrd:leave-initrd:sysinit:ready" in ours


def test_pcr4_is_who_was_started(place):
    start = (b"Calling EFI Application from Boot Option", bytes(4))
    image = authenticode(place / "image.efi")
    assert measure(place / "image.efi")["4"] == extend(*start, digests=[image])
    assert measure("--loader", place / "boot.efi", place / "image.efi")["4"] == extend(
        *start, digests=[authenticode(place / "boot.efi"), image])


def variable(guid, name, data):
    return guid + struct.pack("<QQ", len(name), len(data)) + name.encode("utf-16-le") + data


def test_pcr7_is_the_keys_and_who_vouched(place, keys, tmp_path):
    lists = {name: (keys / f"{name}.esl").read_bytes() for name in ("PK", "KEK", "db")}
    events = [variable(GLOBAL, "SecureBoot", b"\1"), *(variable(GLOBAL, n, lists[n]) for n in ("PK", "KEK")),
              variable(SECURITY, "db", lists["db"]), variable(SECURITY, "dbx", b""), bytes(4),
              variable(SECURITY, "db", lists["db"][28:])]       # owner and certificate, once for both programs
    options = ["--loader", place / "boot.efi", "--keys", keys, place / "image.efi"]
    assert measure(*options)["7"] == extend(*events)
    assert measure(place / "image.efi")["7"] is None
    # Revocations count, and the keys of others vouch for nothing here.
    other = tmp_path / "other"
    tb_image("keys", other)
    for name, data in lists.items():
        (other / f"{name}.esl").write_bytes(data)
    (other / "dbx.esl").write_bytes((other / "KEK.esl").read_bytes())
    events[4] = variable(SECURITY, "dbx", lists["KEK"])
    options[3] = other
    assert measure(*options)["7"] == extend(*events)
    (other / "dbx.esl").write_bytes(lists["db"])
    assert tb_image("measure", *options, check=False).returncode == 6


def test_the_rest_is_zero(place):
    said = measure(place / "image.efi")
    assert said["12"] == said["13"] == "0" * 64 and list(said) == ["4", "7", "11", "12", "13"]
    text = tb_image("measure", place / "image.efi").stdout.decode()
    assert all(value in text for value in (said["4"], said["12"], *said["11"].values())) and "pcr7" not in text


@pytest.mark.parametrize("words, rc", [
    (["--profile", "1", "image.efi"], 4), (["--profile", "x", "image.efi"], 2), (["kernel"], 6), (["--keys", ".", "image.efi"], 4),
    (["--loader", "root/etc/hostname", "image.efi"], 6), (["nothing"], 4), ([], 2), (["--loader", "", "image.efi"], 2)])
def test_refused(place, words, rc):
    done = tb_image("measure", *words, check=False, cwd=place)
    assert done.returncode == rc and not done.stdout and b"error" in done.stderr
