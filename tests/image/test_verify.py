# SPDX-License-Identifier: Apache-2.0
"""tb-agent verify, offline, beside sbverify: the same files, the same verdict on what both judge."""
import json
import shutil
import subprocess

import pytest
from imagetools import BOOT, BUILD, STUB, build_usi, section, tb_image, tool


def verify(image, *options, key=None):
    """Exit code and document of tb-agent verify."""
    if key:
        options += ("--policy-key", key)
    done = tool(BUILD / "tb-agent", "verify", f"file:{image}", "--json", *options, check=False)
    return done.returncode, json.loads(done.stdout)


def state(said, proof):
    return next(p["state"] for p in said["proofs"] if p["proof"] == proof)


def sbverify(image, cert):
    return tool("sbverify", "--cert", cert, image, check=False).returncode == 0


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    folder = tmp_path_factory.mktemp("foreign") / "keys"
    tb_image("keys", folder)
    return folder


@pytest.fixture
def usi(tmp_path, keys, rootfs):
    build_usi(tmp_path, keys, rootfs)
    return tmp_path / "image.efi"


def flip(image, out, offset):
    data = bytearray(image.read_bytes())
    data[offset] ^= 1
    out.write_bytes(data)
    return out


def section_offset(image, name):
    for line in tool("objdump", "-h", image).stdout.decode().splitlines():
        words = line.split()
        if len(words) > 5 and words[1] == name:
            return int(words[5], 16)
    raise AssertionError(name)


def test_good_image_and_every_way_to_name_the_database(usi, keys):
    for db in ("db.pem", "db.der", "db.esl", "db.auth"):
        rc, said = verify(usi, "--db", keys / db, key=keys / "tpm2-pcr-public.pem")
        assert (rc, said["accepted"]) == (0, True)
        assert state(said, "secure-boot") == "passed" and state(said, "policy-key") == "passed"
    assert sbverify(usi, keys / "db.pem")


def test_database_of_another_machine(usi, keys, foreign):
    rc, said = verify(usi, "--db", foreign / "db.pem")
    assert rc == 12 and said["error"]["class"] == "refused-signature"
    assert not sbverify(usi, foreign / "db.pem")
    rc, said = verify(usi, "--db", foreign / "db.pem", "--db", keys / "db.pem")
    assert rc == 0, "several databases add up"


@pytest.mark.parametrize("where", [".linux", ".initrd", ".osrel", ".cmdline", ".pcrsig", ".pcrpkey", ".text", "header"])
def test_one_flipped_bit_anywhere(usi, tmp_path, keys, where):
    offset = 0x50 if where == "header" else section_offset(usi, where) + 20
    bad = flip(usi, tmp_path / "bad.efi", offset)
    rc, said = verify(bad, "--db", keys / "db.pem")
    assert rc != 0 and state(said, "secure-boot") == "failed"
    assert not sbverify(bad, keys / "db.pem")


def test_trailing_bytes_and_a_cut_tail(usi, tmp_path, keys):
    longer, shorter = tmp_path / "longer.efi", tmp_path / "shorter.efi"
    longer.write_bytes(usi.read_bytes() + bytes(16))
    shorter.write_bytes(usi.read_bytes()[:-8])
    for bad in (longer, shorter):
        assert verify(bad, "--db", keys / "db.pem")[0] != 0


def test_unsigned_and_twice_signed(tmp_path, keys, foreign, rootfs):
    build_usi(tmp_path, keys, rootfs, extra=["--unsigned"])
    unsigned, once, twice = tmp_path / "image.efi", tmp_path / "once.efi", tmp_path / "twice.efi"
    rc, said = verify(unsigned, "--db", keys / "db.pem")
    assert rc == 12 and not sbverify(unsigned, keys / "db.pem")
    tb_image("sign", "--keys", foreign, "--out", once, unsigned)
    tool("sbsign", "--key", keys / "db.key", "--cert", keys / "db.pem", "--output", twice, once)
    for folder in (keys, foreign):
        assert verify(twice, "--db", folder / "db.pem")[0] == 0
        assert sbverify(twice, folder / "db.pem")


def test_revoked_by_hash_and_by_certificate(usi, tmp_path, keys):
    esl = tmp_path / "hash.esl"
    tool("hash-to-efi-sig-list", usi, esl)
    for dbx in (esl, keys / "db.esl", keys / "db.pem"):
        rc, said = verify(usi, "--db", keys / "db.pem", "--dbx", dbx)
        assert rc == 13 and said["error"]["class"] == "refused-revoked"
    rc, _ = verify(usi, "--db", esl)
    assert rc == 0, "allowed by its hash alone"


def test_policy_key_of_another_fleet(usi, keys, foreign):
    rc, said = verify(usi, "--db", keys / "db.pem", key=foreign / "tpm2-pcr-public.pem")
    assert rc == 14 and said["error"]["class"] == "refused-policy-key"
    assert state(said, "pcr-signature") == "passed", "its own key did sign it"


def test_pcr_signature_by_another_key(tmp_path, keys, foreign, rootfs):
    """The signature of one image under the policy key of another: starts, and could not unlock."""
    build_usi(tmp_path, keys, rootfs, out="other.efi", cmdline="other")
    build_usi(tmp_path, keys, rootfs, extra=["--unsigned"])
    image = (tmp_path / "image.efi").read_bytes()
    own, other = (section(tmp_path / name, ".pcrsig", tmp_path).read_bytes() for name in ("image.efi", "other.efi"))
    assert len(own) == len(other) and own != other and image.count(own) == 1
    mixed = tmp_path / "mixed.efi"
    mixed.write_bytes(image.replace(own, other))
    tb_image("sign", "--keys", keys, "--out", tmp_path / "mixed-signed.efi", mixed)
    rc, said = verify(tmp_path / "mixed-signed.efi", "--db", keys / "db.pem", key=keys / "tpm2-pcr-public.pem")
    assert rc == 15 and said["error"]["class"] == "refused-pcr-signature"
    assert state(said, "secure-boot") == "passed"


def test_signature_made_by_systemd_is_the_same(tmp_path, keys, rootfs, usi, swtpm):
    """Debian's systemd-measure signs the sections of our image with our key: its document is ours."""
    parts = [f"--{name}={section(usi, '.' + name, tmp_path)}" for name in ("linux", "initrd", "osrel", "cmdline", "pcrpkey")]
    said = tool("/lib/systemd/systemd-measure", "sign", "--bank=sha256", "--phase=enter-initrd", f"--tpm2-device={swtpm}",
                f"--private-key={keys}/tpm2-pcr-private.pem", f"--public-key={keys}/tpm2-pcr-public.pem", *parts)
    ours = section(usi, ".pcrsig", tmp_path).read_bytes().rstrip(b"\0")
    assert json.loads(said.stdout) == json.loads(ours)
    assert state(verify(usi, "--db", keys / "db.pem")[1], "pcr-signature") == "passed"


def test_missing_database_is_a_refusal(usi, keys):
    """Where no firmware tells its keys, and nobody names them, nothing is proven."""
    rc, said = verify(usi)
    if rc != 0:
        assert rc in (10, 12) and state(said, "secure-boot") == "failed"


@pytest.mark.parametrize("options, rc", [
    ((), 2), (("file:/nonexistent",), 2), (("oops:/x",), 2), (("file:/x", "file:/y"), 2), (("--db",), 2),
    (("file:" + STUB, "--db", "/nonexistent"), 4), (("file:" + STUB, "--policy-key", "/nonexistent"), 4),
    (("--help",), 0)])
def test_words_on_the_command_line(options, rc):
    done = tool(BUILD / "tb-agent", "verify", *options, check=False)
    assert done.returncode == rc, done


@pytest.mark.parametrize("kind", ["file", "dir", "ocifile"])
def test_path_that_leads_nowhere(tmp_path, kind):
    """The image is not to blame, and trying again does not help."""
    plain = tmp_path / "plain"
    plain.write_bytes(b"x")
    wrong = {"file": tmp_path, "dir": plain, "ocifile": tmp_path}[kind]
    for path, why in ((tmp_path / "nowhere", "there is no such file or folder"), (plain / "x", "Not a directory"),
                      (wrong, "Not a directory" if kind == "dir" else "is no regular file")):
        done = tool(BUILD / "tb-agent", "verify", f"{kind}:{path}", "--json", check=False)
        error = json.loads(done.stdout)["error"]
        assert (done.returncode, error["class"]) == (2, "usage"), error
        assert error["text"] == f"source {path}: {why}" and error["advice"]


def test_programs_that_are_no_usi(tmp_path, keys):
    """Whole and signed, and nothing would be gained by getting them again."""
    kernel = tmp_path / "kernel"
    kernel.write_bytes(open(BOOT, "rb").read().replace(b".sdmagic", b".setup\0\0"))
    tb_image("sign", "--keys", keys, "--out", tmp_path / "signed.efi", BOOT)
    for image in (BOOT, STUB, kernel, tmp_path / "signed.efi"):
        rc, said = verify(image, "--db", keys / "db.pem")
        assert rc == 6 and "no USI" in said["error"]["text"], said
        assert "tb-image usi" in said["error"]["advice"] and "damaged" not in said["error"]["advice"]
    (tmp_path / "half.efi").write_bytes(open(BOOT, "rb").read()[:300])
    assert "damaged" in verify(tmp_path / "half.efi", "--db", keys / "db.pem")[1]["error"]["advice"]


def test_proofs_come_before_what_is_made_of_them(tmp_path, keys, usi):
    """Where both streams end in one pipe, a reader sees the proofs first."""
    done = subprocess.run([BUILD / "tb-agent", "verify", f"file:{usi}", "--db", keys / "KEK.pem"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    text = done.stdout.decode()
    assert done.returncode == 12
    assert 0 <= text.index("secure-boot ") < text.index("boot-loader ") < text.index("tb-agent verify: "), text


def test_real_boot_loader_is_judged_like_sbverify_does(tmp_path, keys, foreign):
    """A dir: source brings its boot loader, which has to give the same proof."""
    signed = tmp_path / "boot.efi"
    tb_image("sign", "--keys", keys, "--out", signed, BOOT)
    for folder, good in ((keys, True), (foreign, False)):
        rc, said = verify(signed, "--db", folder / "db.pem")
        assert rc == 6, "a boot loader is no USI"
        assert (state(said, "secure-boot") == "passed") == good == sbverify(signed, folder / "db.pem")


def test_tree_with_an_unsigned_boot_loader_is_refused(usi, tmp_path, keys):
    tree = tmp_path / "tree"
    (tree / "EFI/kairos").mkdir(parents=True)
    (tree / "EFI/BOOT").mkdir()
    shutil.copy(usi, tree / "EFI/kairos/norole.efi")
    shutil.copy(BOOT, tree / "EFI/BOOT/BOOTX64.EFI")

    def verify_tree():
        done = tool(BUILD / "tb-agent", "verify", f"dir:{tree}", "--json", "--db", keys / "db.pem", check=False)
        return done.returncode, json.loads(done.stdout)
    rc, said = verify_tree()
    assert rc == 12 and state(said, "boot-loader") == "failed"
    tb_image("sign", "--keys", keys, "--out", tree / "EFI/BOOT/SIGNED.EFI", BOOT)
    (tree / "EFI/BOOT/SIGNED.EFI").rename(tree / "EFI/BOOT/BOOTX64.EFI")
    rc, said = verify_tree()
    assert rc == 0 and state(said, "boot-loader") == "passed"
    # A file of that name is a boot loader that comes along, however little is in it.
    for content in (b"", b"x"):
        (tree / "EFI/BOOT/BOOTX64.EFI").write_bytes(content)
        rc, said = verify_tree()
        assert rc == 6 and state(said, "boot-loader") == "failed", content
    (tree / "EFI/BOOT/BOOTX64.EFI").unlink()
    rc, said = verify_tree()
    assert rc == 0 and state(said, "boot-loader") == "not-applicable"
