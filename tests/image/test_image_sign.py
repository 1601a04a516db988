# SPDX-License-Identifier: Apache-2.0
"""tb-image sign, inspect, and what the program says about itself."""
import json
import re
import subprocess

import pytest

from imagetools import BOOT, BUILD, STUB, TOP, build_usi, tb_image, tool

VERBS = ["keys", "usi", "sign", "inspect"]


@pytest.mark.parametrize("image", [BOOT, STUB])
def test_sign(tmp_path, keys, image):
    tb_image("sign", "--keys", keys, "--out", tmp_path / "signed.efi", image)
    tool("sbverify", "--cert", keys / "db.pem", tmp_path / "signed.efi")
    tb_image("sign", "--keys", keys, "--out", tmp_path / "again.efi", image)
    tool("cmp", tmp_path / "signed.efi", tmp_path / "again.efi")
    # Without its signature it is the input again, as sbsigntool sees it.
    tool("sbattach", "--remove", tmp_path / "again.efi")
    tool("sbsign", "--key", keys / "db.key", "--cert", keys / "db.pem", "--output", tmp_path / "theirs.efi",
         tmp_path / "again.efi")
    tool("sbverify", "--cert", keys / "db.pem", tmp_path / "theirs.efi")


def test_second_signature(tmp_path, keys):
    tb_image("keys", tmp_path / "other")
    tb_image("sign", "--keys", keys, "--out", tmp_path / "one.efi", BOOT)
    tb_image("sign", "--keys", tmp_path / "other", "--out", tmp_path / "two.efi", tmp_path / "one.efi")
    tool("sbverify", "--cert", keys / "db.pem", tmp_path / "two.efi")
    tool("sbverify", "--cert", tmp_path / "other/db.pem", tmp_path / "two.efi")


def test_sign_after_sbsign(tmp_path, keys):
    tb_image("keys", tmp_path / "other")
    tool("sbsign", "--key", keys / "db.key", "--cert", keys / "db.pem", "--output", tmp_path / "one.efi", STUB)
    tb_image("sign", "--keys", tmp_path / "other", "--out", tmp_path / "two.efi", tmp_path / "one.efi")
    for folder in [keys, tmp_path / "other"]:
        tool("sbverify", "--cert", folder / "db.pem", tmp_path / "two.efi")


def test_flipped_byte(tmp_path, keys):
    tb_image("sign", "--keys", keys, "--out", tmp_path / "signed.efi", BOOT)
    data = bytearray((tmp_path / "signed.efi").read_bytes())
    data[5000] ^= 1
    (tmp_path / "signed.efi").write_bytes(data)
    assert tool("sbverify", "--cert", keys / "db.pem", tmp_path / "signed.efi", check=False).returncode != 0


def test_sign_in_place(tmp_path, keys):
    (tmp_path / "boot.efi").write_bytes(open(BOOT, "rb").read())
    tb_image("sign", "--keys", keys, "--out", tmp_path / "boot.efi", tmp_path / "boot.efi")
    tool("sbverify", "--cert", keys / "db.pem", tmp_path / "boot.efi")


def test_sign_refuses_what_is_no_image(tmp_path, keys):
    (tmp_path / "in").write_text("text" * 100)
    done = tb_image("sign", "--keys", keys, "--out", tmp_path / "out", tmp_path / "in", check=False)
    assert done.returncode == 6
    assert not (tmp_path / "out").exists()
    assert tb_image("sign", "--keys", keys, "--out", tmp_path / "out", tmp_path / "none",
                    check=False).returncode == 4


def test_inspect(tmp_path, keys, rootfs):
    built = json.loads(build_usi(tmp_path, keys, rootfs, extra=["--json"]).stdout)
    report = json.loads(tb_image("inspect", "--json", tmp_path / "image.efi").stdout)
    assert (report["image_id"], report["image_version"], report["pretty_name"]) == ("demo", "7", "Demo 7")
    assert report["stub_version"] == 252
    assert report["size"] == built["size"] and report["sha256"] == built["sha256"]
    [policy] = report["policies"]
    assert policy["phase"] == "enter-initrd"
    assert policy["pcr11"] == built["pcr11"]["enter-initrd"]
    assert policy["policy"] == built["policy"]
    assert policy["fits"] is True
    assert report["signatures"] == [{"subject": "/CN=Trusted Boot db", "digest_fits": True}]
    assert [s["name"] for s in report["sections"]][-6:] == [".osrel", ".cmdline", ".pcrpkey", ".pcrsig", ".linux",
                                                           ".initrd"]
    text = tb_image("inspect", tmp_path / "image.efi").stdout.decode()
    assert "signed phase   enter-initrd (signature fits)" in text
    assert "(digest fits)" in text


def test_inspect_tells_tampering(tmp_path, keys, rootfs):
    build_usi(tmp_path, keys, rootfs)
    data = (tmp_path / "image.efi").read_bytes()
    (tmp_path / "image.efi").write_bytes(data.replace(b"console=ttyS0 quiet", b"console=ttyS0 quieT"))
    report = json.loads(tb_image("inspect", "--json", tmp_path / "image.efi").stdout)
    assert report["policies"][0]["phase"] is None and report["policies"][0]["fits"] is False
    assert report["signatures"][0]["digest_fits"] is False
    text = tb_image("inspect", tmp_path / "image.efi").stdout.decode()
    assert "SIGNED POLICY" in text and "DIGEST DOES NOT FIT" in text


def test_inspect_refuses_other_images(keys):
    done = tb_image("inspect", BOOT, check=False)
    assert done.returncode == 6
    assert b".linux" in done.stderr


def test_help_and_version():
    text = tb_image("--help").stdout.decode()
    for verb in VERBS:
        assert re.search(rf"^  {verb} ", text, re.M)
        mine = tb_image(verb, "--help").stdout.decode()
        assert mine.startswith(f"Usage: tb-image {verb}")
    assert re.fullmatch(rb"tb-image \d+\.\d+\.\d+\n", tb_image("--version").stdout)


def test_options_are_in_the_manual():
    manual = (TOP / "man/tb-image.1.scd").read_text().replace("\\", "")
    for verb in VERBS:
        for option in re.findall(r"--[a-z-]+", tb_image(verb, "--help").stdout.decode()):
            assert f"*{option}*" in manual, (verb, option)


@pytest.mark.parametrize("words", [[], ["bogus"], ["sign"], ["sign", "--bogus"], ["usi"], ["inspect"],
                                   ["inspect", "a", "b"], ["usi", "--compression-level", "20"]])
def test_usage_errors(words):
    done = tb_image(*words, check=False)
    assert done.returncode == 2
    assert done.stdout == b""
    assert re.fullmatch(rb"tb-image: error: .*\ntb-image: advice: see \"tb-image.*--help\"\n", done.stderr)


def test_full_output_device():
    with open("/dev/full", "wb") as full:
        done = subprocess.run([BUILD / "tb-image", "--help"], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 7
