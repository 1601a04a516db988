# SPDX-License-Identifier: Apache-2.0
"""tb-image usi, checked with sbsigntool, systemd-measure, binutils, zstd, cpio and openssl."""
import base64
import hashlib
import json
import os
import random
import re
import shutil
import socket
import stat
import subprocess
import time

import pytest

from imagetools import BUILD, CMDLINE, OS_RELEASE, STUB, build_usi, extract, section, tb_image, tool

MEASURE = "/lib/systemd/systemd-measure"
SECTIONS = [".osrel", ".cmdline", ".pcrpkey", ".pcrsig", ".linux", ".initrd"]


def measured(folder, image, phase="enter-initrd"):
    """PCR 11 by systemd-measure, from the sections that binutils find."""
    words = [f"--{name[1:]}={section(image, name, folder)}" for name in SECTIONS if name != ".pcrsig"]
    out = tool(MEASURE, "calculate", *words, f"--phase={phase}", "--bank=sha256").stdout.decode()
    return re.search(r"^11:sha256=([0-9a-f]{64})$", out, re.M).group(1)


def test_sections(tmp_path, keys, rootfs):
    build_usi(tmp_path, keys, rootfs)
    headers = tool("objdump", "-h", tmp_path / "image.efi").stdout.decode()
    found = re.findall(r"^ *\d+ (\.\S+) +([0-9a-f]{8})  ([0-9a-f]{16}) .*\n +(.*)$", headers, re.M)
    assert [f[0] for f in found][-6:] == SECTIONS
    stub = tool("objdump", "-h", STUB).stdout.decode()
    assert [f[0] for f in found][:-6] == re.findall(r"^ *\d+ (\.\S+) ", stub, re.M)
    for name, size, address, flags in found[-6:]:
        assert int(address, 16) % 4096 == 0
        assert "CODE" not in flags and "READONLY" in flags
        assert int(size, 16) == section(tmp_path / "image.efi", name, tmp_path).stat().st_size
    assert section(tmp_path / "image.efi", ".linux", tmp_path).read_bytes() == open(STUB, "rb").read()
    assert section(tmp_path / "image.efi", ".cmdline", tmp_path).read_text() == CMDLINE
    assert section(tmp_path / "image.efi", ".osrel", tmp_path).read_text() == OS_RELEASE
    assert (section(tmp_path / "image.efi", ".pcrpkey", tmp_path).read_bytes()
            == (keys / "tpm2-pcr-public.pem").read_bytes())


def test_pcr11(tmp_path, keys, rootfs):
    done = build_usi(tmp_path, keys, rootfs, extra=["--json"])
    report = json.loads(done.stdout)
    data = (tmp_path / "image.efi").read_bytes()
    assert list(report) == ["version", "out", "size", "sha256", "pcr11", "policy"]
    assert report["version"] == 1
    assert report["out"] == str(tmp_path / "image.efi")
    assert report["size"] == len(data)
    assert report["sha256"] == hashlib.sha256(data).hexdigest()
    assert list(report["pcr11"]) == ["enter-initrd"]
    assert report["pcr11"]["enter-initrd"] == measured(tmp_path, tmp_path / "image.efi")


@pytest.mark.parametrize("seed", range(6))
def test_pcr11_of_random_content(tmp_path, keys, rootfs, seed):
    r = random.Random(seed)
    kernel = tmp_path / "kernel"
    kernel.write_bytes(open(STUB, "rb").read() + r.randbytes(r.randrange(1, 700000)))
    (rootfs / "blob").write_bytes(r.randbytes(r.randrange(1, 700000)))
    cmdline = "".join(chr(r.randrange(0x20, 0x7f)) for _ in range(r.randrange(1, 4000)))
    release = f"IMAGE_ID=x\nIMAGE_VERSION={seed}\n" + "# " + "x" * r.randrange(2000) + "\n"
    done = build_usi(tmp_path, keys, rootfs, kernel=kernel, cmdline=cmdline, os_release=release, extra=["--json"])
    report = json.loads(done.stdout)
    assert report["pcr11"]["enter-initrd"] == measured(tmp_path, tmp_path / "image.efi")
    tool("sbverify", "--cert", keys / "db.pem", tmp_path / "image.efi")


def test_pcrsig(tmp_path, keys, rootfs):
    report = json.loads(build_usi(tmp_path, keys, rootfs, extra=["--json"]).stdout)
    text = section(tmp_path / "image.efi", ".pcrsig", tmp_path).read_text()
    document = json.loads(text)
    assert list(document) == ["sha256"]
    [element] = document["sha256"]     # exactly one phase is signed
    pcr = bytes.fromhex(report["pcr11"]["enter-initrd"])
    policy = hashlib.sha256(bytes(32) + bytes.fromhex("0000017f" "00000001000b03000800")
                            + hashlib.sha256(pcr).digest()).digest()
    pkcs1 = tool("openssl", "rsa", "-pubin", "-in", keys / "tpm2-pcr-public.pem", "-RSAPublicKey_out",
                 "-outform", "DER").stdout
    assert element["pcrs"] == [11]
    assert element["pkfp"] == hashlib.sha256(pkcs1).hexdigest()
    assert element["pol"] == policy.hex() == report["policy"]
    (tmp_path / "sig").write_bytes(base64.b64decode(element["sig"], validate=True))
    (tmp_path / "pol").write_bytes(policy)
    tool("openssl", "dgst", "-sha256", "-verify", keys / "tpm2-pcr-public.pem", "-signature", tmp_path / "sig",
         tmp_path / "pol")
    assert text == json.dumps(document, separators=(",", ":"))


def test_policy_keys_of_their_own(tmp_path, keys, rootfs):
    tb_image("keys", tmp_path / "other")
    build_usi(tmp_path, keys, rootfs, extra=["--policy-keys", tmp_path / "other"])
    tool("sbverify", "--cert", keys / "db.pem", tmp_path / "image.efi")
    assert (section(tmp_path / "image.efi", ".pcrpkey", tmp_path).read_bytes()
            == (tmp_path / "other/tpm2-pcr-public.pem").read_bytes())


def test_signature(tmp_path, keys, rootfs):
    tb_image("keys", tmp_path / "other")
    build_usi(tmp_path, keys, rootfs)
    done = tool("sbverify", "--cert", keys / "db.pem", tmp_path / "image.efi")
    assert b"gaps" not in done.stderr and b"warning" not in done.stderr
    assert tool("sbverify", "--cert", tmp_path / "other/db.pem", tmp_path / "image.efi", check=False).returncode != 0


def test_flipped_bytes_break_the_signature(tmp_path, keys, rootfs):
    build_usi(tmp_path, keys, rootfs)
    data = bytearray((tmp_path / "image.efi").read_bytes())
    headers = tool("objdump", "-h", tmp_path / "image.efi").stdout.decode()
    offsets = {m[0]: int(m[1], 16) for m in re.findall(r"^ *\d+ (\.\S+) +\S+  \S+  \S+  ([0-9a-f]{8}) ", headers, re.M)}
    places = [offsets[n] for n in SECTIONS] + [0x40, 0x3f0, offsets[".text"], offsets[".initrd"] + 100]
    for at in places:
        broken = bytearray(data)
        broken[at] ^= 0x01
        (tmp_path / "broken.efi").write_bytes(broken)
        done = tool("sbverify", "--cert", keys / "db.pem", tmp_path / "broken.efi", check=False)
        assert done.returncode != 0, hex(at)


def test_unsigned(tmp_path, keys, rootfs):
    build_usi(tmp_path, keys, rootfs, extra=["--unsigned"])
    assert tool("sbverify", "--cert", keys / "db.pem", tmp_path / "image.efi", check=False).returncode != 0
    # The policy is signed all the same, and sbsign agrees on the bytes that the signature covers.
    report = json.loads(tb_image("inspect", "--json", tmp_path / "image.efi").stdout)
    assert report["signatures"] == []
    assert report["policies"][0]["fits"] is True
    tool("sbsign", "--key", keys / "db.key", "--cert", keys / "db.pem", "--output", tmp_path / "sbsigned.efi",
         tmp_path / "image.efi")
    report = json.loads(tb_image("inspect", "--json", tmp_path / "sbsigned.efi").stdout)
    assert report["signatures"] == [{"subject": "/CN=Trusted Boot db", "digest_fits": True}]


def test_reproducible(tmp_path, keys, rootfs):
    """Another place, other inode numbers, another order of creation, later times."""
    build_usi(tmp_path, keys, rootfs)
    other = tmp_path / "elsewhere"
    (other / "root").mkdir(parents=True)
    (other / "root/etc").mkdir()
    (other / "root/etc/hostname").write_text("demo\n")
    (other / "root/bin").symlink_to("usr/bin")
    (other / "root/usr/bin").mkdir(parents=True)
    (other / "root/usr/bin/init").write_text("#!/bin/sh\n")
    for path in [*other.rglob("*")]:
        os.utime(path, (2e9, 2e9), follow_symlinks=False)
    shutil.copytree(keys, other / "keys")
    build_usi(other, other / "keys", other / "root", out="other-name.efi")
    tool("cmp", tmp_path / "image.efi", other / "other-name.efi")


def test_time_matters_only_by_the_variable(tmp_path, keys, rootfs):
    os.utime(rootfs / "etc/hostname", (1000000000, 1000000000))
    build_usi(tmp_path, keys, rootfs, out="a.efi")
    build_usi(tmp_path, keys, rootfs, out="b.efi", epoch=None)
    build_usi(tmp_path, keys, rootfs, out="c.efi", epoch="0")
    tool("cmp", tmp_path / "b.efi", tmp_path / "c.efi")
    assert tool("cmp", tmp_path / "a.efi", tmp_path / "b.efi", check=False).returncode == 1
    root, _ = extract(tmp_path / "a.efi", tmp_path)
    assert (root / "etc/hostname").stat().st_mtime == 1000000000    # older times are kept
    assert (root / "usr/bin/init").stat().st_mtime == 1700000000    # later ones clamped


def test_everything_survives(tmp_path, keys, rootfs):
    (rootfs / "usr/bin/su").write_bytes(b"\x7fELF" * 1000)
    os.chmod(rootfs / "usr/bin/su", 0o4755)
    os.chown(rootfs / "etc/hostname", 12, 34)
    os.chmod(rootfs / "etc", 0o2751)
    (rootfs / "tmp").mkdir()
    os.chmod(rootfs / "tmp", 0o1777)
    (rootfs / "empty").write_bytes(b"")
    (rootfs / "big").write_bytes(random.Random(1).randbytes(3 << 20))
    (rootfs / "name with\nnewline äö").write_text("x")
    (rootfs / "dangling").symlink_to("/no/where")
    os.link(rootfs / "big", rootfs / "usr/bin/big-too")
    os.link(rootfs / "big", rootfs / "a-first-name")
    (rootfs / "dev").mkdir()
    os.mknod(rootfs / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(rootfs / "dev/sda", stat.S_IFBLK | 0o660, os.makedev(8, 0))
    os.mkfifo(rootfs / "pipe", 0o622)
    os.chmod(rootfs / "pipe", 0o622)
    build_usi(tmp_path, keys, rootfs)
    root, _ = extract(tmp_path / "image.efi", tmp_path)

    def describe(top):
        facts = {}
        for folder, dirs, files in os.walk(top):
            for name in dirs + files + ["."]:
                path = os.path.join(folder, name)
                st = os.lstat(path)
                facts[os.path.relpath(path, top)] = (
                    oct(st.st_mode), st.st_uid, st.st_gid, st.st_rdev,
                    None if stat.S_ISDIR(st.st_mode) else st.st_nlink,
                    os.readlink(path) if stat.S_ISLNK(st.st_mode) else None,
                    hashlib.sha256(open(path, "rb").read()).hexdigest() if stat.S_ISREG(st.st_mode) else None)
        return facts

    assert describe(root) == describe(rootfs)
    assert (tmp_path / "initrd.cpio").stat().st_size < (4 << 20)     # the content of three names, once
    assert os.path.samefile(root / "big", root / "usr/bin/big-too")
    assert os.path.samefile(root / "big", root / "a-first-name")


def test_order_of_names(tmp_path, keys, rootfs):
    for name in ["z", "A", "a-b", "-", "a"]:
        (rootfs / name).mkdir()
    (rootfs / "a/b").write_text("x")
    build_usi(tmp_path, keys, rootfs)
    _, names = extract(tmp_path / "image.efi", tmp_path)
    assert names[0] == "."
    assert names[1:] == sorted(names[1:], key=os.fsencode)
    assert not [n for n in names if n.startswith("/") or ".." in n.split("/")]


def test_links_out_of_the_tree_stay_links(tmp_path, keys, rootfs):
    secret = tmp_path / "outside"
    secret.mkdir()
    (secret / "file").write_text("not for the image")
    (rootfs / "way-out").symlink_to(secret)
    (rootfs / "file-out").symlink_to("../outside/file")
    build_usi(tmp_path, keys, rootfs)
    root, names = extract(tmp_path / "image.efi", tmp_path)
    assert os.readlink(root / "way-out") == str(secret)
    assert not [n for n in names if n.startswith("way-out/")]


def test_mount_points_are_not_crossed(tmp_path, keys, rootfs):
    (rootfs / "proc").mkdir()
    (rootfs / "same").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").write_text("x")
    # A private mount namespace: nothing of this is left behind whatever happens.
    script = ('mount -t tmpfs none "$1/proc" && touch "$1/proc/inside" && mount --bind "$2" "$1/same" && shift 2 && '
              'exec "$@"')
    (tmp_path / "os-release").write_text(OS_RELEASE)
    done = subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", rootfs,
                           tmp_path / "other", BUILD / "tb-image", "usi", "--rootfs", rootfs, "--kernel", STUB,
                           "--cmdline", "x", "--os-release", tmp_path / "os-release", "--keys", keys, "--out",
                           tmp_path / "image.efi"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if b"unshare failed" in done.stderr or b"permission denied" in done.stderr:
        pytest.skip("no mount namespaces here")
    assert done.returncode == 0, done.stderr
    assert b"proc is a mount point" in done.stderr and b"same is a mount point" in done.stderr
    _, names = extract(tmp_path / "image.efi", tmp_path)
    assert "proc" in names and "same" in names
    assert not [n for n in names if n.startswith(("proc/", "same/"))]


def test_sockets_are_left_out(tmp_path, keys, rootfs):
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(rootfs / "sock"))
        done = build_usi(tmp_path, keys, rootfs)
    assert done.stderr == b"tb-image: warning: socket sock is left out\n"
    assert "sock" not in extract(tmp_path / "image.efi", tmp_path)[1]


def test_compression_levels(tmp_path, keys, rootfs):
    (rootfs / "text").write_bytes(b"".join(b"line %d\n" % (i * i % 997) for i in range(200000)))
    build_usi(tmp_path, keys, rootfs, out="1.efi", extra=["--compression-level", "1"])
    build_usi(tmp_path, keys, rootfs, out="19.efi", extra=["--compression-level=19"])
    assert (tmp_path / "19.efi").stat().st_size < (tmp_path / "1.efi").stat().st_size
    for name in ["1.efi", "19.efi"]:
        (tmp_path / name[:-4]).mkdir()
        root, _ = extract(tmp_path / name, tmp_path / name[:-4])
        assert (root / "text").read_bytes() == (rootfs / "text").read_bytes()


def test_missing_version_is_a_warning(tmp_path, keys, rootfs):
    done = build_usi(tmp_path, keys, rootfs, os_release="ID=x\n")
    assert b"warning" in done.stderr and b"IMAGE_VERSION" in done.stderr


def other_kernel(folder, machine):
    data = bytearray(open(STUB, "rb").read())
    at = int.from_bytes(data[0x3c:0x40], "little") + 4
    data[at:at + 2] = machine.to_bytes(2, "little")
    (folder / "kernel").write_bytes(data)
    return folder / "kernel"


@pytest.mark.parametrize("what", ["kernel text", "kernel machine", "os-release", "cmdline newline", "cmdline empty",
                                  "cmdline long", "no keys", "foreign certificate", "foreign policy key",
                                  "garbage key", "ec key", "encrypted key", "no rootfs", "stub text", "no kernel",
                                  "stub is an image", "epoch"])
def test_bad_input_is_told_and_leaves_nothing(tmp_path, keys, rootfs, what):
    out = tmp_path / "out"
    out.mkdir()
    k = tmp_path / "keys"
    shutil.copytree(keys, k)
    words = dict(kernel=STUB, cmdline="quiet", os_release=OS_RELEASE, rootfs=rootfs, extra=[])
    kwargs = {}
    text = tmp_path / "text"
    text.write_text("text " * 100)
    if what == "kernel text":
        words["kernel"] = text
    elif what == "kernel machine":
        words["kernel"] = other_kernel(tmp_path, 0xaa64)
    elif what == "os-release":
        words["os_release"] = "IMAGE_ID=$(reboot)\n"
    elif what == "cmdline newline":
        words["cmdline"] = "quiet\ninit=/bin/sh"
    elif what == "cmdline empty":
        words["cmdline"] = ""
    elif what == "cmdline long":
        words["cmdline"] = "x" * 16385
    elif what == "no keys":
        k = tmp_path / "nowhere"
    elif what == "foreign certificate":
        shutil.copy(k / "KEK.pem", k / "db.pem")
    elif what == "foreign policy key":
        tb_image("keys", tmp_path / "other")
        shutil.copy(tmp_path / "other/tpm2-pcr-public.pem", k)
    elif what == "garbage key":
        (k / "db.key").write_text("garbage")
    elif what == "ec key":
        tool("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", k / "db.key")
    elif what == "encrypted key":
        tool("openssl", "pkey", "-in", keys / "db.key", "-aes256", "-passout", "pass:x", "-out", k / "db.key")
    elif what == "no rootfs":
        words["rootfs"] = tmp_path / "nowhere"
    elif what == "stub text":
        words["extra"] = ["--stub", text]
    elif what == "no kernel":
        words["kernel"] = tmp_path / "nowhere"
    elif what == "stub is an image":
        build_usi(tmp_path, keys, rootfs, out="stub.efi")
        words["extra"] = ["--stub", tmp_path / "stub.efi"]
    elif what == "epoch":
        kwargs["epoch"] = "soon"
    (tmp_path / "work").mkdir()
    (tmp_path / "work/os-release").write_text(words.pop("os_release"))
    done = tb_image("usi", "--rootfs", words["rootfs"], "--kernel", words["kernel"], "--cmdline", words["cmdline"],
                    "--os-release", tmp_path / "work/os-release", "--keys", k, "--out", out / "image.efi",
                    *words["extra"], check=False, **kwargs)
    assert done.returncode == 4, done.stderr
    assert re.match(rb"tb-image: error: \S", done.stderr), done.stderr
    assert b"PRIVATE" not in done.stderr
    assert os.listdir(out) == []


def test_kept_until_replaced(tmp_path, keys, rootfs):
    """A failed build leaves the former image as it was."""
    build_usi(tmp_path, keys, rootfs)
    before = (tmp_path / "image.efi").read_bytes()
    done = build_usi(tmp_path, keys, rootfs, kernel=tmp_path / "os-release", check=False)
    assert done.returncode != 0
    assert (tmp_path / "image.efi").read_bytes() == before
    assert not [n for n in os.listdir(tmp_path) if n.startswith(".")]


def test_killed_build_leaves_nothing(tmp_path, keys, rootfs):
    (rootfs / "big").write_bytes(random.Random(1).randbytes(30 << 20))
    (tmp_path / "os-release").write_text(OS_RELEASE)
    out = tmp_path / "out"
    out.mkdir()
    p = subprocess.Popen([BUILD / "tb-image", "usi", "--rootfs", rootfs, "--kernel", STUB, "--cmdline", "x",
                          "--os-release", tmp_path / "os-release", "--keys", keys, "--out", out / "image.efi",
                          "--compression-level", "19"])
    time.sleep(0.5)
    p.kill()
    assert p.wait() == -9
    assert os.listdir(out) == []
