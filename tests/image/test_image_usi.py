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

from imagetools import (BOOT, BUILD, CMDLINE, OS_RELEASE, STUB, build_usi, extract, kernel_bytes, make_kernel,
                        section, tb_image, tool)

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
    assert section(tmp_path / "image.efi", ".linux", tmp_path).read_bytes() == kernel_bytes()
    assert section(tmp_path / "image.efi", ".cmdline", tmp_path).read_text() == CMDLINE
    assert section(tmp_path / "image.efi", ".osrel", tmp_path).read_text() == OS_RELEASE
    assert (section(tmp_path / "image.efi", ".pcrpkey", tmp_path).read_bytes()
            == (keys / "tpm2-pcr-public.pem").read_bytes())


def test_pcr11(tmp_path, keys, rootfs):
    done = build_usi(tmp_path, keys, rootfs, extra=["--json"])
    report = json.loads(done.stdout)
    data = (tmp_path / "image.efi").read_bytes()
    assert list(report) == ["schema", "verb", "out", "size", "sha256", "pcr11", "policy", "root_manifest", "profiles", "variants"]
    assert (report["schema"], report["verb"]) == (1, "usi")
    assert report["out"] == str(tmp_path / "image.efi")
    assert report["size"] == len(data)
    assert report["sha256"] == hashlib.sha256(data).hexdigest()
    assert list(report["pcr11"]) == ["enter-initrd"]
    assert report["pcr11"]["enter-initrd"] == measured(tmp_path, tmp_path / "image.efi")


@pytest.mark.parametrize("seed", range(6))
def test_pcr11_of_random_content(tmp_path, keys, rootfs, seed):
    r = random.Random(seed)
    kernel = tmp_path / "kernel"
    kernel.write_bytes(kernel_bytes() + r.randbytes(r.randrange(1, 700000)))
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
    (other / "root/init").symlink_to("/bin/init")
    (other / "root/etc").mkdir()
    (other / "root/etc/hostname").write_text("demo\n")
    (other / "root/bin").symlink_to("usr/bin")
    (other / "root/usr/bin").mkdir(parents=True)
    (other / "root/usr/bin/init").write_text("#!/bin/sh\n")
    (other / "root/usr/bin/init").chmod(0o755)
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
                           tmp_path / "other", BUILD / "tb-image", "usi", "--rootfs", rootfs, "--kernel",
                           make_kernel(tmp_path), "--cmdline", "x", "--os-release", tmp_path / "os-release", "--keys", keys, "--out",
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


@pytest.mark.parametrize("what", ["kernel text", "kernel machine", "os-release", "os-release empty",
                                  "cmdline newline", "cmdline empty",
                                  "cmdline long", "no keys", "foreign certificate", "foreign policy key",
                                  "garbage key", "ec key", "encrypted key", "no rootfs", "stub text", "no kernel",
                                  "stub is an image", "epoch"])
def test_bad_input_is_told_and_leaves_nothing(tmp_path, keys, rootfs, what):
    out = tmp_path / "out"
    out.mkdir()
    k = tmp_path / "keys"
    shutil.copytree(keys, k)
    words = dict(kernel=make_kernel(tmp_path), cmdline="quiet", os_release=OS_RELEASE, rootfs=rootfs, extra=[])
    kwargs = {}
    text = tmp_path / "text"
    text.write_text("text " * 100)
    if what == "kernel text":
        words["kernel"] = text
    elif what == "kernel machine":
        words["kernel"] = make_kernel(tmp_path, machine=0xaa64)
    elif what == "os-release":
        words["os_release"] = "IMAGE_ID=$(reboot)\n"
    elif what == "os-release empty":
        words["os_release"] = ""
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
    p = subprocess.Popen([BUILD / "tb-image", "usi", "--rootfs", rootfs, "--kernel", make_kernel(tmp_path),
                          "--cmdline", "x", "--os-release", tmp_path / "os-release", "--keys", keys, "--out", out / "image.efi",
                          "--compression-level", "19"])
    time.sleep(0.5)
    p.kill()
    assert p.wait() == -9
    assert os.listdir(out) == []


def built(folder, keys, rootfs, **kwargs):
    """Exit code and messages of a build that may fail; a failed one leaves nothing."""
    done = build_usi(folder, keys, rootfs, check=False, timeout=120, **kwargs)
    assert (folder / "image.efi").exists() == (done.returncode == 0)
    return done.returncode, done.stderr.decode(errors="replace")


def test_stub_has_to_be_systemd_stub(tmp_path, keys, rootfs):
    """A kernel or the boot loader would start as well, and measure nothing."""
    tool("objcopy", "--remove-section", ".sdmagic", STUB, tmp_path / "mute.efi")
    for stub in [BOOT, tmp_path / "mute.efi"]:
        code, text = built(tmp_path, keys, rootfs, extra=["--stub", stub])
        assert code == 6 and "does not say that it is systemd-stub" in text


@pytest.mark.parametrize("kernel", ["boot loader", "stub", "usi", "unmarked", "other mark"])
def test_kernel_has_to_be_a_kernel(tmp_path, keys, rootfs, kernel):
    path = tmp_path / "given"
    if kernel == "usi":
        build_usi(tmp_path, keys, rootfs)
        (tmp_path / "image.efi").rename(path)
    elif kernel == "unmarked":
        path.write_bytes(kernel_bytes(mark=False))
    elif kernel == "other mark":
        path.write_bytes(kernel_bytes(mark=False)[:0x38] + b"ARM\x64" + kernel_bytes(mark=False)[0x3c:])
    else:
        path = BOOT if kernel == "boot loader" else STUB
    code, text = built(tmp_path, keys, rootfs, kernel=path)
    assert code == 4 and "has no boot header of Linux" in text


@pytest.mark.parametrize("what, why", [
    ("none", "No such file"), ("plain", "not executable"), ("folder", "no regular file"), ("dangling", "No such file"),
    ("outside", "No such file"), ("device", "no regular file"), ("loop", "symbolic links")])
def test_init_has_to_be_there(tmp_path, keys, rootfs, what, why):
    init = rootfs / "init"
    init.unlink()
    (tmp_path / "program").write_text("#!/bin/sh\n")
    (tmp_path / "program").chmod(0o755)
    if what == "plain":
        init.write_text("x")
        init.chmod(0o644)
    elif what == "folder":
        init.mkdir()
    elif what == "dangling":
        init.symlink_to("sbin/init")
    elif what == "outside":
        init.symlink_to(tmp_path / "program")
    elif what == "device":
        os.mknod(init, stat.S_IFCHR | 0o755, os.makedev(1, 3))
    elif what == "loop":
        init.symlink_to("init")
    code, text = built(tmp_path, keys, rootfs)
    assert code == 4 and "no usable /init" in text and why in text, text


@pytest.mark.parametrize("target", ["usr/bin/init", "/usr/bin/init", "../../usr/bin/init", "/bin/init", "../bin/init"])
def test_init_may_be_a_link_inside(tmp_path, keys, rootfs, target):
    """A way above the root ends at the root, as it does when the image runs."""
    (rootfs / "init").unlink()
    (rootfs / "init").symlink_to(target)
    assert built(tmp_path, keys, rootfs)[0] == 0


@pytest.mark.parametrize("name", ["PK.key", "KEK.key", "db.key", "tpm2-pcr-private.pem"])
def test_private_keys_do_not_get_into_images(tmp_path, keys, rootfs, name):
    shutil.copytree(keys, tmp_path / "k")
    os.link(tmp_path / "k" / name, rootfs / "etc/linked")
    code, text = built(tmp_path, tmp_path / "k", rootfs)
    assert code == 4 and f"{name} as etc/linked" in text
    (rootfs / "etc/linked").unlink()
    shutil.copy(tmp_path / "k" / name, rootfs / "usr/copied")
    code, text = built(tmp_path, tmp_path / "k", rootfs)
    assert code == 4 and f"{name} as usr/copied" in text
    (rootfs / "usr/copied").unlink()
    (rootfs / "etc/public").write_bytes((tmp_path / "k/db.pem").read_bytes())
    assert built(tmp_path, tmp_path / "k", rootfs)[0] == 0


@pytest.mark.parametrize("where", ["root", "below", "policy"])
def test_key_directory_below_the_root(tmp_path, keys, rootfs, where):
    folder = rootfs if where == "root" else rootfs / "etc/keys"
    folder.mkdir(exist_ok=True)
    for p in keys.iterdir():
        shutil.copy(p, folder)
    code, text = built(tmp_path, keys if where == "policy" else folder, rootfs,
                       extra=["--policy-keys", folder] if where == "policy" else [])
    assert code == 4 and "the key directory" in text


@pytest.mark.parametrize("version, good", [
    ("7", True), ("1.2.3~rc1+k3s1", True), ("v1_0-2^x", True), ("9" * 127, True), ("9" * 128, False), ("'1 2'", False),
    ("1/2", False), ("1:2", False), ("ä", False), ("'1\t2'", False)])
def test_versions_that_nodes_can_keep(tmp_path, keys, rootfs, version, good):
    code, text = built(tmp_path, keys, rootfs, os_release=f"IMAGE_ID=x\nIMAGE_VERSION={version}\n")
    assert code == (0 if good else 4), text
    if good:
        assert not text
        done = tool(BUILD / "tb-agent", "verify", f"file:{tmp_path}/image.efi", "--json", check=False)
        proof = [p for p in json.loads(done.stdout)["proofs"] if p["proof"] == "format"]
        assert proof[0]["state"] == "passed"
    else:
        assert "IMAGE_VERSION" in text and "advice:" in text


@pytest.mark.parametrize("name, good", [("x" * 64, True), ("x" * 65, False), ("'a b'", False), ("ö", False)])
def test_names_that_nodes_can_keep(tmp_path, keys, rootfs, name, good):
    code, text = built(tmp_path, keys, rootfs, os_release=f"IMAGE_ID={name}\nIMAGE_VERSION=1\n")
    assert code == (0 if good else 4) and ("IMAGE_ID" in text) == (not good)


@pytest.mark.parametrize("option", ["--kernel", "--os-release", "--stub", "db.key", "db.pem", "tpm2-pcr-public.pem"])
def test_inputs_are_regular_files(tmp_path, keys, rootfs, option):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "os-release").write_text(OS_RELEASE)
    k = tmp_path / "k"
    shutil.copytree(keys, k)
    for bad, why in [(tmp_path / "fifo", "not a regular file"), (tmp_path, "Is a directory"), ("/dev/zero", "not a regular")]:
        words = {"--kernel": make_kernel(tmp_path), "--os-release": tmp_path / "os-release", "--stub": STUB}
        if option in words:
            words[option] = bad
        else:
            (k / option).unlink()
            (k / option).symlink_to(bad)
        done = tb_image("usi", "--rootfs", rootfs, "--cmdline", "x", "--keys", k, "--out", tmp_path / "image.efi",
                        *[w for pair in words.items() for w in pair], check=False, timeout=60)
        assert done.returncode == 4 and why in done.stderr.decode(), done.stderr


def test_large_os_release(tmp_path, keys, rootfs):
    code, text = built(tmp_path, keys, rootfs, os_release="# " + "x" * 70000 + "\n")
    assert code == 4 and "larger than what is accepted" in text


def test_unsigned_needs_only_the_policy_key(tmp_path, keys, rootfs):
    (tmp_path / "os-release").write_text(OS_RELEASE)
    words = ["usi", "--rootfs", rootfs, "--kernel", make_kernel(tmp_path), "--cmdline", CMDLINE, "--os-release",
             tmp_path / "os-release", "--out", tmp_path / "image.efi"]
    assert tb_image(*words, check=False).returncode == 2
    assert tb_image(*words, "--policy-keys", keys, check=False).returncode == 2
    assert tb_image(*words, "--unsigned", check=False).returncode == 2
    tb_image(*words, "--unsigned", "--policy-keys", keys)
    build_usi(tmp_path, keys, rootfs, out="other.efi", extra=["--unsigned"])
    tool("cmp", tmp_path / "image.efi", tmp_path / "other.efi")


def test_capabilities_that_get_lost_are_told(tmp_path, keys, rootfs):
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    try:
        os.setxattr(rootfs / "usr/bin/init", "security.capability", capability)
    except OSError:
        pytest.skip("no file capabilities here")
    code, text = built(tmp_path, keys, rootfs)
    assert text == "tb-image: warning: usr/bin/init has capabilities, which an initramfs cannot carry\n"
    (rootfs / "usr/second").write_text("x")
    os.setxattr(rootfs / "usr/second", "security.capability", capability)
    code, text = built(tmp_path, keys, rootfs, out="image.efi")
    assert "usr/bin/init and 1 more files have capabilities" in text


def test_closed_standard_streams(tmp_path, keys, rootfs):
    """Nothing that is printed gets into a file: without the streams the image is what it is with them."""
    build_usi(tmp_path, keys, rootfs)
    (tmp_path / "text").write_text("text")
    words = ["--rootfs", rootfs, "--kernel", tmp_path / "kernel", "--cmdline", CMDLINE, "--os-release",
             tmp_path / "os-release", "--keys", keys, "--out", tmp_path / "silent.efi"]
    silent = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", BUILD / "tb-image"]
    env = dict(os.environ, SOURCE_DATE_EPOCH="1700000000")
    assert tool(*silent, "usi", *words, env=env).returncode == 0
    tool("cmp", tmp_path / "image.efi", tmp_path / "silent.efi")
    assert tool(*silent, "sign", "--keys", keys, "--out", tmp_path / "x", tmp_path / "text", check=False).returncode == 6
    assert (tmp_path / "text").read_text() == "text" and not (tmp_path / "x").exists()
