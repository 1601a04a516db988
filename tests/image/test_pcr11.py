# SPDX-License-Identifier: Apache-2.0
"""PCR 11 of images that nobody chose: random sets of the sections that Debian's systemd-measure knows, put onto its stub by
objcopy, in random order and with random content. The seed is printed; TB_SEED repeats a run, TB_SETS says how many sets."""
import json
import os
import random

import pytest

from imagetools import BUILD, STUB, tb_image, tool

MEASURE = "/lib/systemd/systemd-measure"
OTHERS = ["osrel", "cmdline", "initrd", "splash", "dtb", "pcrpkey"]
SETS = int(os.environ.get("TB_SETS") or 40)


@pytest.fixture
def chance():
    seed = os.environ.get("TB_SEED") or str(random.SystemRandom().randrange(1 << 32))
    print(f"TB_SEED={seed}")
    return random.Random(seed)


def content(r, name, keys):
    if name == "osrel":
        return f"IMAGE_ID=x{r.randrange(1000)}\nIMAGE_VERSION={r.randrange(1000)}\n".encode() + b"#" * r.randrange(3000)
    if name == "cmdline":
        text = "".join(chr(r.randrange(0x20, 0x7f)) for _ in range(r.randrange(1, 3000)))
        return text.encode() + r.choice([b"", b"\n", b"\0", b"\n\0"])
    if name == "pcrpkey":
        return (keys / "tpm2-pcr-public.pem").read_bytes() + b"\n" * r.randrange(3)
    # Also such that end where pages and blocks of the file do, and beside.
    size = r.choice([1, 511, 512, 513, 4095, 4096, 4097, r.randrange(1, 300000)])
    return bytes(size) if r.random() < 0.1 else r.randbytes(size)


def make_image(folder, parts, addresses):
    """Puts sections onto the stub: {name: file}, one address for each."""
    words = []
    for (name, path), address in zip(parts.items(), addresses):
        words += ["--add-section", f".{name}={path}", "--change-section-vma", f".{name}={address:#x}"]
    tool("objcopy", *words, STUB, folder / "image.efi")
    return folder / "image.efi"


def draw(r, folder, keys, always=("linux",)):
    """A random set: {name: file with its content}, and an order."""
    names = [*always, *(name for name in OTHERS if name not in always and r.random() < 0.5)]
    parts = {}
    for name in r.sample(names, len(names)):
        parts[name] = folder / f"part-{name}"
        parts[name].write_bytes(content(r, name, keys))
    # objcopy writes sections in the order of their addresses.
    addresses = [0x1000000 * (i + 1) for i in range(len(parts) + 1)]
    return parts, r.sample(addresses, len(addresses))


def options(parts):
    return [f"--{name}={path}" for name, path in parts.items()]


def test_random_sets_measure_as_systemd_says(chance, tmp_path, keys):
    seen = set()
    for number in range(SETS):
        parts, addresses = draw(chance, tmp_path, keys)
        image = make_image(tmp_path, parts, addresses)
        ours = json.loads(tb_image("inspect", "--json", image).stdout)["pcr11"]
        said = tool(MEASURE, "calculate", *options(parts), "--bank=sha256", "--json=short", *(f"--phase={p}" for p in ours))
        theirs = {value.get("phase", ""): value["hash"] for value in json.loads(said.stdout)["sha256"]}
        assert len(theirs) > 4 and ours == theirs, (number, parts)
        seen.add(frozenset(parts))
    assert len(seen) > SETS // 4, "sets are of many kinds"


def test_random_sets_signed_by_systemd_are_accepted(chance, tmp_path, keys, swtpm):
    """What systemd-measure signs for such a set is what verify looks for; one byte of a section, and it is not."""
    for number in range(4):
        parts, addresses = draw(chance, tmp_path, keys, always=("linux", "pcrpkey"))
        said = tool(MEASURE, "sign", *options(parts), "--bank=sha256", "--phase=enter-initrd", f"--tpm2-device={swtpm}",
                    f"--private-key={keys}/tpm2-pcr-private.pem", f"--public-key={keys}/tpm2-pcr-public.pem")
        (tmp_path / "part-pcrsig").write_bytes(said.stdout)
        for change in (None, chance.choice([name for name in parts if name != "pcrpkey"])):
            if change:
                data = bytearray(parts[change].read_bytes())
                data[chance.randrange(len(data))] ^= 0x01
                parts[change].write_bytes(data)
            image = make_image(tmp_path, {**parts, "pcrsig": tmp_path / "part-pcrsig"}, addresses)
            done = tool(BUILD / "tb-agent", "verify", "--json", f"file:{image}", "--db", keys / "db.pem", check=False)
            states = {p["proof"]: p["state"] for p in json.loads(done.stdout)["proofs"]}
            assert states["secure-boot"] == "failed", "nobody signed it for firmware"
            # A changed os-release may be none any more, and then nothing is asked further.
            assert (states["pcr-signature"] == "passed") == (change is None), (number, change, parts, done.stdout)
