# SPDX-License-Identifier: Apache-2.0
"""A second policy key for phases after the one that unlocks: who signs what, and what a node makes of it."""
import json
import os
import shutil

import pytest

from imagetools import BUILD, build_usi, make_rootfs, section, tb_image, tool

PATHS = ["enter-initrd:leave-initrd", "enter-initrd:leave-initrd:sysinit"]


@pytest.fixture(scope="module")
def twokeys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("twokeys") / "keys"
    tb_image("keys", "--phases", ",".join(PATHS), folder)
    return folder


@pytest.fixture(scope="module")
def image(tmp_path_factory, twokeys):
    folder = tmp_path_factory.mktemp("later")
    build_usi(folder, twokeys, make_rootfs(folder / "root"))
    return folder / "image.efi"


def phases(image, *options):
    done = tool(BUILD / "tb-agent", "verify", "--json", f"file:{image}", *options, check=False)
    return next(p for p in json.loads(done.stdout)["proofs"] if p["proof"] == "phases")


def test_keys_are_a_pair_and_their_phases(twokeys, keys):
    public = tool("openssl", "pkey", "-in", twokeys / "tpm2-pcr-later-private.pem", "-pubout").stdout
    assert public == (twokeys / "tpm2-pcr-later-public.pem").read_bytes() != (twokeys / "tpm2-pcr-public.pem").read_bytes()
    assert (twokeys / "tpm2-pcr-later.phases").read_text() == "".join(path + "\n" for path in PATHS)
    assert os.stat(twokeys / "tpm2-pcr-later-private.pem").st_mode & 0o777 == 0o600
    assert not list(keys.glob("*later*")), "nobody has it unasked"


def test_each_key_signs_its_phases_as_systemd_measure_does(image, twokeys, tmp_path, swtpm):
    parts = [f"--{name}={section(image, '.' + name, tmp_path)}" for name in ("linux", "initrd", "osrel", "cmdline", "pcrpkey")]
    expected = []
    for key, paths in (("tpm2-pcr", ["enter-initrd"]), ("tpm2-pcr-later", PATHS)):
        said = tool("/lib/systemd/systemd-measure", "sign", "--bank=sha256", f"--tpm2-device={swtpm}", *(f"--phase={p}" for p in paths),
                    f"--private-key={twokeys}/{key}-private.pem", f"--public-key={twokeys}/{key}-public.pem", *parts)
        expected += json.loads(said.stdout)["sha256"]
    assert json.loads(section(image, ".pcrsig", tmp_path).read_bytes())["sha256"] == expected
    assert section(image, ".pcrpkey", tmp_path).read_bytes() == (twokeys / "tpm2-pcr-public.pem").read_bytes()
    shown = json.loads(tb_image("inspect", "--json", image).stdout)["policies"]
    assert [(p["phase"], p["fits"]) for p in shown] == [("enter-initrd", True), *((path, False) for path in PATHS)]
    assert tb_image("inspect", image).stdout.decode().count("by another key than its own") == 2


def test_a_node_takes_it_unless_its_disk_is_sealed_to_the_second_key(image, twokeys):
    options = ["--db", twokeys / "db.pem"]
    own = phases(image, *options, "--policy-key", twokeys / "tpm2-pcr-public.pem")
    assert own["state"] == phases(image, *options)["state"] == "passed" and "2 by keys that open nothing" in own["text"]
    # During a rotation a disk knows two keys, and then later phases would open it.
    assert phases(image, *options, "--policy-key", twokeys / "tpm2-pcr-later-public.pem")["state"] == "warning"


def test_the_key_that_unlocks_signs_nothing_else(twokeys, rootfs, tmp_path):
    same = tmp_path / "same"
    shutil.copytree(twokeys, same)
    for half in ("private", "public"):
        shutil.copy(same / f"tpm2-pcr-{half}.pem", same / f"tpm2-pcr-later-{half}.pem")
    done = build_usi(tmp_path, same, rootfs, check=False)
    assert done.returncode == 4 and b"is the key that unlocks" in done.stderr and not (tmp_path / "image.efi").exists()


def test_the_second_key_stays_out_of_the_root(twokeys, rootfs, tmp_path):
    shutil.copy(twokeys / "tpm2-pcr-later-private.pem", rootfs / "etc/oops.pem")
    done = build_usi(tmp_path, twokeys, rootfs, check=False)
    assert done.returncode == 4 and b"private key" in done.stderr


@pytest.mark.parametrize("paths, why", [
    ("enter-initrd", "only the key that unlocks signs it"), ("sysinit,sysinit", "is given twice"), ("a::b", "words of"), (":a", "words of"),
    ("a,", "words of"), ("A", "words of"), ("enter-initrd:tb-agent-handover", "close their policy"),
    (",".join(f"p{i}" for i in range(9)), "more than 8"), ("x" * 300, "too long")], ids=lambda text: text[:30])
def test_wrong_phases(tmp_path, paths, why):
    done = tb_image("keys", "--phases", paths, tmp_path / "keys", check=False)
    assert done.returncode == 4 and why in done.stderr.decode() and not (tmp_path / "keys").exists()
    if "," not in paths:
        tb_image("keys", "--phases", "sysinit", tmp_path / "keys")
        (tmp_path / "keys/tpm2-pcr-later.phases").write_text(paths + "\n")
        (tmp_path / "root").mkdir()
        done = build_usi(tmp_path, tmp_path / "keys", tmp_path / "root", check=False)
        assert done.returncode == 4 and why in done.stderr.decode()
