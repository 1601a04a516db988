# SPDX-License-Identifier: Apache-2.0
"""Several command lines: images beside the first, and what is refused. Profiles need a later stub: test_debian13.py."""
import json

import pytest

from imagetools import CMDLINE, build_usi, section, tb_image

VARIANTS = {"image.efi": CMDLINE, "image-debug.efi": f"{CMDLINE} debug", "image-a.b_c.efi": "other quiet"}


def test_variants_differ_in_their_command_line_alone(tmp_path, keys, rootfs):
    said = json.loads(build_usi(tmp_path, keys, rootfs, extra=[
        "--variant", "debug=+debug", "--variant=a.b_c=other quiet", "--json"]).stdout)
    assert sorted(p.name for p in tmp_path.glob("*.efi")) == sorted(VARIANTS)
    assert [v["name"] for v in said["variants"]] == ["debug", "a.b_c"] and said["profiles"] == []
    for told, (name, cmdline) in zip([said, *said["variants"]], VARIANTS.items()):
        image = tmp_path / name
        assert told["out"] == str(image)
        assert section(image, ".cmdline", tmp_path).read_text() == cmdline
        shown = json.loads(tb_image("inspect", "--json", image).stdout)
        assert shown["sha256"] == told["sha256"] and shown["size"] == told["size"]
        assert [(p["phase"], p["fits"], p["policy"]) for p in shown["policies"]] == [("enter-initrd", True, told["policy"])]
        assert shown["pcr11"]["enter-initrd"] == told["pcr11"]["enter-initrd"]
        assert shown["signatures"][0]["digest_fits"]
    assert len({told["pcr11"]["enter-initrd"] for told in (said, *said["variants"])}) == 3


def test_a_variant_is_the_image_that_is_built_alone(tmp_path, keys, rootfs):
    build_usi(tmp_path, keys, rootfs, extra=["--variant", "debug=+debug"])
    build_usi(tmp_path, keys, rootfs, out="alone", cmdline=f"{CMDLINE} debug")
    assert (tmp_path / "image-debug.efi").read_bytes() == (tmp_path / "alone").read_bytes()


def test_a_variant_that_cannot_be_written_leaves_none(tmp_path, keys, rootfs):
    (tmp_path / "image-x.efi").mkdir()
    done = build_usi(tmp_path, keys, rootfs, extra=["--variant", "x=y"], check=False)
    assert done.returncode == 4 and not (tmp_path / "image.efi").exists()


@pytest.mark.parametrize("words, rc, text", [
    (["--profile", "debug=+x"], 4, "profiles need systemd-stub 257 or later"),
    (["--profile", "a=b", "--variant", "a=b"], 2, "exclude each other"),
    (["--variant", "a"], 2, 'a "=" and a command line are missing'),
    (["--variant", "A=b"], 2, "lower-case letters"), (["--variant", "../x=b"], 2, "lower-case letters"),
    (["--variant", "a/b=c"], 2, "lower-case letters"), (["--variant", "=b"], 2, "lower-case letters"),
    (["--variant", "a:T=b"], 2, "lower-case letters"), (["--variant", "x" * 33 + "=b"], 2, "lower-case letters"),
    (["--variant", "a=b", "--variant", "a=c"], 2, "given twice"), (["--variant", "a="], 4, "is empty"),
    (["--variant", "a=b\nc"], 4, "control character"), (["--variant="], 2, "empty value"),
    (["--profile", "main=x"], 2, "is the profile of --cmdline"), (["--profile", 'a:"=x'], 2, "a title has"),
    (["--profile", "a:=x"], 2, "a title has"), (["--profile", "a:" + "t" * 65 + "=x"], 2, "a title has"),
    (["--variant", "a=" + "x" * 16385], 4, "longer than"),
    ([w for i in range(17) for w in ("--variant", f"v{i}=x")], 2, "more than 16 times"),
])
def test_refused(tmp_path, keys, rootfs, words, rc, text):
    done = build_usi(tmp_path, keys, rootfs, extra=words, check=False)
    assert done.returncode == rc and text in done.stderr.decode(), done.stderr
    assert not list(tmp_path.glob("*.efi"))
