# SPDX-License-Identifier: Apache-2.0
"""tb-image sign, inspect, and what the program says about itself."""
import hashlib
import json
import os
import re
import stat
import subprocess

import pytest

from imagetools import BOOT, BUILD, STUB, TOP, build_usi, tb_image, tool

VERBS = ["keys", "usi", "sign", "upgrade-image", "iso", "measure", "inspect"]


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
    assert (report["schema"], report["verb"], report["kind"], report["machine"]) == (1, "inspect", "usi", "x86_64")
    assert report["pcr11"]["enter-initrd"] == built["pcr11"]["enter-initrd"]
    assert list(report["pcr11"])[:2] == ["", "enter-initrd"] and len(set(report["pcr11"].values())) == 8
    assert policy["policy"] == built["policy"]
    assert policy["fits"] is True
    assert report["signatures"] == [{"subject": "/CN=Trusted Boot db", "digest_fits": True}]
    assert [s["name"] for s in report["sections"]][-6:] == [".osrel", ".cmdline", ".pcrpkey", ".pcrsig", ".linux",
                                                           ".initrd"]
    text = tb_image("inspect", tmp_path / "image.efi").stdout.decode()
    assert "signed phase   enter-initrd (signature fits)" in text
    assert "(digest fits)" in text
    assert f"{report['pcr11']['']} (before the first phase)\n" in text
    assert f"{report['pcr11']['enter-initrd']} (enter-initrd)\n" in text


def test_inspect_tells_tampering(tmp_path, keys, rootfs):
    build_usi(tmp_path, keys, rootfs)
    data = (tmp_path / "image.efi").read_bytes()
    (tmp_path / "image.efi").write_bytes(data.replace(b"console=ttyS0 quiet", b"console=ttyS0 quieT"))
    report = json.loads(tb_image("inspect", "--json", tmp_path / "image.efi").stdout)
    assert report["policies"][0]["phase"] is None and report["policies"][0]["fits"] is False
    assert report["signatures"][0]["digest_fits"] is False
    text = tb_image("inspect", tmp_path / "image.efi").stdout.decode()
    assert "SIGNED POLICY" in text and "DIGEST DOES NOT FIT" in text


def test_inspect_of_a_boot_loader(tmp_path, keys):
    signed = tmp_path / "boot.efi"
    tb_image("sign", "--keys", keys, "--out", signed, BOOT)
    report = json.loads(tb_image("inspect", "--json", signed).stdout)
    assert list(report) == ["schema", "verb", "kind", "machine", "size", "sha256", "authenticode", "signatures", "sections"]
    assert (report["kind"], report["machine"], report["size"]) == ("pe", "x86_64", signed.stat().st_size)
    assert report["sha256"] == hashlib.sha256(signed.read_bytes()).hexdigest()
    assert report["signatures"] == [{"subject": "/CN=Trusted Boot db", "digest_fits": True}]
    text = tb_image("inspect", signed).stdout.decode()
    assert "no USI" in text and "machine        x86_64\n" in text and "/CN=Trusted Boot db (digest fits)" in text
    assert "pcr11" not in text
    data = bytearray(signed.read_bytes())
    data[5000] ^= 1
    signed.write_bytes(data)
    assert json.loads(tb_image("inspect", "--json", signed).stdout)["signatures"][0]["digest_fits"] is False
    assert "signed by      nobody" in tb_image("inspect", BOOT).stdout.decode()


def test_inspect_refuses_what_is_no_image(tmp_path):
    (tmp_path / "text").write_text("text" * 100)
    assert tb_image("inspect", tmp_path / "text", check=False).returncode == 6


def test_inspect_of_untrusted_text(tmp_path, keys, rootfs):
    """Whatever bytes stand in an image: terminals are not controlled, and JSON stays JSON."""
    build_usi(tmp_path, keys, rootfs)
    data = (tmp_path / "image.efi").read_bytes()
    assert data.count(b"console=ttyS0 quiet") == 1
    (tmp_path / "image.efi").write_bytes(data.replace(b"console=ttyS0 quiet", b"c=\x1b[2J\x07\xff\xfe\xc3( \xe2\x82\xac qui"))
    report = json.loads(tb_image("inspect", "--json", tmp_path / "image.efi").stdout.decode("utf-8"))
    assert report["cmdline"] == "c=\x1b[2J\x07\ufffd\ufffd\ufffd( \u20ac qui"
    text = tb_image("inspect", tmp_path / "image.efi").stdout
    assert b"\x1b" not in text and b"c=?[2J?" in text


@pytest.mark.parametrize("words, code, klass", [
    (["inspect", "--json", "/nonexistent"], 4, "config"), (["inspect", "/nonexistent", "--json"], 4, "config"),
    (["inspect", "--json", "/dev/null"], 4, "config"), (["inspect", "--bogus", "--json", "x"], 2, "usage"),
    (["inspect", "--json"], 2, "usage"), (["usi", "--json"], 2, "usage"), (["inspect", "--json", "/bin/sh"], 6, "refused")])
def test_failures_as_json(words, code, klass):
    done = tb_image(*words, check=False)
    assert done.returncode == code and done.stderr == b""
    report = json.loads(done.stdout)
    assert list(report) == ["schema", "verb", "error"]
    assert (report["schema"], report["verb"]) == (1, words[0])
    assert list(report["error"]) == ["class", "exit_code", "text", "advice"]
    assert (report["error"]["class"], report["error"]["exit_code"]) == (klass, code)
    assert report["error"]["text"]


def test_file_names_that_are_no_text():
    done = tb_image("inspect", "--json", b"/nonexistent/\xff\x1b", check=False)
    assert json.loads(done.stdout.decode("utf-8"))["error"]["text"].startswith("cannot read /nonexistent/\ufffd\x1b: ")
    done = tb_image("inspect", b"/nonexistent/\x1b[2J", check=False)
    assert b"/nonexistent/?[2J" in done.stderr


def test_output_replaces_only_files(tmp_path, keys):
    target = tmp_path / "target"
    target.write_text("kept")
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "dangling").symlink_to("none")
    os.mkfifo(tmp_path / "fifo")
    os.mknod(tmp_path / "full", stat.S_IFCHR | 0o666, os.makedev(1, 7))
    (tmp_path / "folder").mkdir()
    before = sorted((p.name, p.lstat().st_mode, p.lstat().st_ino) for p in tmp_path.iterdir())
    for name in ["link", "dangling", "fifo", "full", "folder", "folder/", "none/x"]:
        done = tb_image("sign", "--keys", keys, "--out", f"{tmp_path}/{name}", BOOT, check=False, timeout=60)
        assert done.returncode == 4 and b"cannot write" in done.stderr, (name, done.stderr)
    assert before == sorted((p.name, p.lstat().st_mode, p.lstat().st_ino) for p in tmp_path.iterdir())
    assert target.read_text() == "kept"


def test_permissions_of_the_output_stay(tmp_path, keys):
    image = tmp_path / "boot.efi"
    image.write_bytes(open(BOOT, "rb").read())
    image.chmod(0o600)
    tb_image("sign", "--keys", keys, "--out", image, image)
    assert stat.S_IMODE(image.stat().st_mode) == 0o600


def test_inputs_are_regular_files(tmp_path, keys):
    os.mkfifo(tmp_path / "fifo")
    for source, why in [(tmp_path / "fifo", b"not a regular file"), (tmp_path, b"Is a directory"),
                        ("/dev/zero", b"not a regular file")]:
        for words in [["sign", "--keys", keys, "--out", tmp_path / "out", source], ["inspect", source]]:
            done = tb_image(*words, check=False, timeout=60)
            assert done.returncode == 4 and why in done.stderr, (words, done.stderr)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [["sign", "--keys", "", "--out", "o", "i"], ["sign", "--keys", "k", "--out=", "i"],
                                   ["inspect", ""], ["sign", "--keys", "k", "--out", "o", ""]])
def test_empty_names(words, tmp_path):
    done = tb_image(*words, check=False, cwd=tmp_path)
    assert done.returncode == 2 and b"empty" in done.stderr


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
        for option in re.findall(r"--[a-z0-9-]+", tb_image(verb, "--help").stdout.decode()):
            assert f"*{option}*" in manual, (verb, option)


def test_fields_are_in_the_manual(tmp_path, keys, rootfs):
    manual = (TOP / "man/tb-image.1.scd").read_text().replace("\\", "")
    manual = manual[manual.index("# JSON"):manual.index("# ENVIRONMENT")]
    made = json.loads(build_usi(tmp_path, keys, rootfs, extra=["--json"]).stdout)
    shown = json.loads(tb_image("inspect", "--json", tmp_path / "image.efi").stdout)
    failed = json.loads(tb_image("inspect", "--json", "/nonexistent", check=False).stdout)
    inner = [failed["error"], shown["policies"][0], shown["signatures"][0], shown["sections"][0]]
    for key in {key for document in [made, shown, failed, *inner] for key in document}:
        assert f"_{key}_" in manual, key


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
