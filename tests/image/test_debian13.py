# SPDX-License-Identifier: Apache-2.0
"""Tools and stub of Debian 13, which know more than those of Debian 12: ukify reads our images, systemd-measure 257 measures
what they say, and its stub takes profiles. Without the suite these tests are skipped."""
import json

import pytest

from debian13 import Debian13
from imagetools import BUILD, CMDLINE, OS_RELEASE, build_usi, make_rootfs, section, tb_image, tool

PACKAGES = ["systemd-ukify", "systemd-boot-efi", "systemd", "libsystemd-shared", "libc6", "libssl3t64", "libacl1", "libaudit1",
            "libblkid1", "libcap2", "libcap-ng0", "libcrypt1", "libmount1", "libpam0g", "libpcre2-8-0", "libseccomp2",
            "libselinux1"]
# Measured content, in the words of systemd-measure.
MEASURED = ["linux", "osrel", "cmdline", "initrd", "splash", "uname", "sbat", "pcrpkey", "profile"]
PROFILES = {"main": CMDLINE, "debug": f"{CMDLINE} systemd.log_level=debug", "reset": "rd.reset quiet"}


@pytest.fixture(scope="module")
def debian13(tmp_path_factory):
    return Debian13(tmp_path_factory.mktemp("debian13"), PACKAGES)


def ukify(debian13, image):
    """{section: [{size, sha256, text}]}, in the order of the file, as ukify has it."""
    text = tool("/usr/bin/python3", debian13.root / "usr/bin/ukify", "inspect", image).stdout.decode()
    found = []
    for line in text.splitlines():
        if line.startswith("."):
            found.append((line.rstrip(":"), {"text": ""}))
        elif line.startswith("    "):
            found[-1][1]["text"] += line[4:] + "\n"
        elif ": " in line:
            key, value = line.strip().split(": ", 1)
            found[-1][1][key] = value
    return found


def measure13(debian13, contents, folder):
    """PCR 11 of the phase paths that "tb-image inspect" knows, from {section: bytes}."""
    words = []
    for name, data in contents.items():
        (folder / f"part-{name}").write_bytes(data)
        words.append(f"--{name}={folder}/part-{name}")
    said = tool(*debian13.loader(debian13.libraries / "systemd"),
                debian13.root / "usr/lib/systemd/systemd-measure", "calculate", *words, "--bank=sha256", "--json=short",
                "--phase=enter-initrd", "--phase=enter-initrd:leave-initrd")
    return {v["phase"]: v["hash"] for v in json.loads(said.stdout)["sha256"]}


@pytest.fixture(scope="module")
def profiled(debian13, keys, tmp_path_factory):
    """An image with three profiles, and what tb-image said of it."""
    folder = tmp_path_factory.mktemp("profiled")
    said = build_usi(folder, keys, make_rootfs(folder / "root"), extra=[
        "--stub", debian13.root / "usr/lib/systemd/boot/efi/linuxx64.efi.stub", "--uname", "6.1.0-1-amd64", "--json", "--measure",
        "--profile", "debug:Debug boot=+systemd.log_level=debug", "--profile=reset=rd.reset quiet"])
    return folder / "image.efi", json.loads(said.stdout)


def test_ukify_reads_our_image(debian13, keys, rootfs, tmp_path):
    build_usi(tmp_path, keys, rootfs)
    found = dict(ukify(debian13, tmp_path / "image.efi"))
    assert list(found) == [".sbat", ".osrel", ".cmdline", ".pcrpkey", ".pcrsig", ".linux", ".initrd"]
    assert found[".osrel"]["text"] == OS_RELEASE and found[".cmdline"]["text"] == CMDLINE + "\n"
    for name, facts in found.items():
        data = section(tmp_path / "image.efi", name, tmp_path)
        assert facts["size"] == f"{data.stat().st_size} bytes"
        assert facts["sha256"] == tool("sha256sum", data).stdout.decode().split()[0]
    shown = tb_image("inspect", "--json", tmp_path / "image.efi").stdout
    key = json.loads(shown)["policies"][0]["key"]
    assert json.loads(found[".pcrsig"]["text"])["sha256"][0]["pkfp"] == key


def test_ukify_reads_our_profiles(debian13, profiled):
    names = [name for name, _ in ukify(debian13, profiled[0])]
    assert names == [".sbat", ".osrel", ".cmdline", ".pcrpkey", ".pcrsig", ".uname", ".linux", ".initrd", ".profile",
                     ".profile", ".cmdline", ".profile", ".cmdline"]
    texts = [facts["text"] for name, facts in ukify(debian13, profiled[0]) if name in (".profile", ".cmdline")]
    assert texts == [CMDLINE + "\n", "ID=main\n", 'ID=debug\nTITLE="Debug boot"\n', PROFILES["debug"] + "\n", "ID=reset\n",
                     PROFILES["reset"] + "\n"]


def test_each_profile_measures_as_systemd_257_says(debian13, profiled, keys, tmp_path):
    image, said = profiled
    shown = json.loads(tb_image("inspect", "--json", image).stdout)
    assert [(p["id"], p["cmdline"]) for p in shown["profiles"]] == list(PROFILES.items())
    base = {name: section(image, f".{name}", tmp_path).read_bytes() for name in MEASURED if name not in ("cmdline", "splash", "profile")}
    for number, (name, cmdline) in enumerate(PROFILES.items()):
        title = 'TITLE="Debug boot"\n' if name == "debug" else ""
        theirs = measure13(debian13, {**base, "cmdline": cmdline.encode(), "profile": f"ID={name}\n{title}".encode()}, tmp_path)
        ours = shown["profiles"][number]["pcr11"]
        assert {phase: ours[phase] for phase in theirs} == theirs
        assert said["profiles"][number]["id"] == name
        assert said["profiles"][number]["pcr11"]["enter-initrd"] == theirs["enter-initrd"]
        predicted = json.loads(tb_image("measure", "--json", "--keys", keys, "--profile", str(number), image).stdout)["pcrs"]
        assert said["profiles"][number]["pcrs"] == predicted
    assert said["pcr11"] == said["profiles"][0]["pcr11"]


def test_each_profile_is_signed_to_unlock_and_nothing_else(profiled, keys):
    image, said = profiled
    shown = json.loads(tb_image("inspect", "--json", image).stdout)["policies"]
    assert [(p["profile"], p["phase"], p["fits"]) for p in shown] == [(i, "enter-initrd", True) for i in range(3)]
    assert [p["policy"] for p in shown] == [p["policy"] for p in said["profiles"]]
    done = tool(BUILD / "tb-agent", "verify", "--json", f"file:{image}", "--db", keys / "db.pem", check=False)
    proofs = {p["proof"]: p for p in json.loads(done.stdout)["proofs"]}
    assert proofs["pcr-signature"]["state"] == proofs["phases"]["state"] == "passed"
    assert "each of its 3 profiles" in proofs["pcr-signature"]["text"]
