# SPDX-License-Identifier: Apache-2.0
"""Upgrades that need not, may not or cannot happen: nothing to do, only asking, no space, failing by half."""
import hashlib
import os
import subprocess

import misdeeds
import pytest
from node import Node
from tools import tar, tb_image, tree

MIB = 1 << 20

@pytest.fixture
def image(images):
    return images.get(2, size=4 * MIB)


@pytest.fixture(params=["raw", "zstd"])
def source(request, registry, image):
    if request.param == "raw":
        registry.put_artifact("demo", image)
    else:
        registry.put_image("demo", [(tar(tree(image)), "zstd")])
    return f"oci:{registry.address}/demo"


@pytest.fixture
def ca(authority):
    return ("--ca", authority.pem, "--json")


def stamps(node):
    return {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in node.esp.rglob("*")}


def test_second_run_asks_for_the_manifest_and_no_more(node, registry, source, ca):
    first = node.upgrade(source, *ca)
    assert first.rc == 0, str(first)
    before, downloaded = stamps(node), registry.sent("blob")
    again = node.upgrade(source, *ca)
    assert again.rc == 0, str(again)
    assert stamps(node) == before and registry.sent("blob") - downloaded < 1000


def test_digest_in_an_annotation_saves_the_download(node, registry, images, ca):
    """Without any memory of its own the node knows by it that it has this image."""
    image = images.get(1)
    annotations = {"io.tb-agent.image.sha256": hashlib.sha256(image).hexdigest()}
    registry.put_artifact("demo", image, annotations=annotations)
    before = stamps(node)
    result = node.upgrade(f"oci:{registry.address}/demo", *ca)
    assert result.rc == 0 and stamps(node) == before and not registry.sent("blob"), str(result)


def test_annotation_that_lies(node, registry, image, ca):
    registry.put_artifact("demo", image, annotations={"io.tb-agent.image.sha256": "0" * 64})
    before = node.files()
    assert node.upgrade(f"oci:{registry.address}/demo", *ca).rc == 6
    assert node.files() == before


@pytest.mark.parametrize("kind", ["file", "layer"])
def test_digest_that_only_loading_tells(node, registry, images, image, ca, kind):
    """What runs and is confirmed is not put on trial again, and what passive has is not given away for it."""
    if kind == "file":
        registry.files["image.efi"] = image
        source = f"{registry.url}/files/image.efi"
    else:
        registry.put_image("demo", [(tar(tree(image)), "zstd")])
        source = f"oci:{registry.address}/demo"
    assert node.upgrade(source, *ca).rc == 0
    node.confirm()
    for path in node.state.iterdir():
        path.unlink()
    before = node.files()
    for _ in range(2):
        again = node.upgrade(source, *ca)
        assert again.rc == 0 and again.said["result"] == "nothing", str(again)
        assert node.files() == before and node.role("passive") == images.get(1)


def test_check(node, registry, source, ca):
    before = stamps(node)
    assert node.upgrade(source, *ca, "--check").rc == 0
    assert stamps(node) == before
    assert registry.sent("blob") < 1 * MIB
    assert node.upgrade(source, *ca).rc == 0
    assert node.upgrade(source, *ca, "--check").rc == 3


@pytest.fixture
def local(images, keys, tmp_path):
    """A source that is a file: local(version, product)."""
    def make(version, product="demo"):
        return f"file:{images.path(version, product=product)}"
    return make


@pytest.fixture
def fifth(tmp_path, keys, images, loader):
    """A node that runs version 5."""
    (tmp_path / "fifth").mkdir()
    return Node(tmp_path / "fifth", keys, images.get(5), loader, version=5)


@pytest.mark.parametrize("floor", [(), ("--floor", "5")], ids=["no-floor", "floor"])
def test_check_of_an_older_version(fifth, local, images, floor):
    """What an upgrade would refuse every night, or lead back, is nothing to begin for."""
    for form in ("--json",), ():
        result = fifth.upgrade(local(4), "--check", *floor, *form)
        assert result.rc == 3 and ("older" in result.out if form else "nothing newer" in result.out), str(result)
    said = fifth.upgrade(local(4), "--check", "--json", *floor).said
    assert (said["result"], said["from"]["version"], said["to"]["version"]) == ("older", "5", "4")
    assert fifth.upgrade(local(4), "--check", *floor, "--allow-downgrade").rc == 0
    assert fifth.upgrade(local(4), "--check", "--all", "--json", *floor).said["recovery_pending"] is False
    assert fifth.upgrade(local(6), "--check", *floor).rc == 0
    assert fifth.upgrade(local(5), "--check", *floor).rc == 3
    assert fifth.upgrade(f"file:{images.path(5, size=1000)}", "--check", *floor).rc == 0, "another build"


def test_check_below_the_floor_only(fifth, local):
    """A node that fell back: newer than what runs, and refused all the same."""
    assert fifth.upgrade(local(6), "--check", "--floor", "7").rc == 3
    assert fifth.upgrade(local(6), "--recovery", "--check", "--floor", "7").rc == 3
    assert fifth.upgrade(local(4), "--recovery", "--check", "--floor", "3").rc == 0


@pytest.mark.parametrize("version, product", [("", "demo"), (6, "other")], ids=["no-version", "product"])
def test_check_refuses_as_the_upgrade_would(fifth, local, version, product):
    check, upgrade = (fifth.upgrade(local(version, product), "--json", "--floor", "5", *more) for more in (("--check",), ()))
    assert check.rc == upgrade.rc == 16, (str(check), str(upgrade))
    assert check.said["error"]["text"] in upgrade.said["error"]["text"]


@pytest.mark.parametrize("where", ["annotation", "label"])
def test_check_of_a_registry_that_names_versions(fifth, registry, images, ca, where):
    names = {"org.opencontainers.image.version": "4"}
    named = {"annotations": names} if where == "annotation" else {"labels": names}
    registry.put_image("demo", [(tar(tree(images.get(4))), "gzip")], **named)
    source = f"oci:{registry.address}/demo"
    assert fifth.upgrade(source, *ca, "--check", "--floor", "5").rc == 3
    names["org.opencontainers.image.version"] = "6"
    registry.put_image("demo", [(tar(tree(images.get(6))), "gzip")], **named)
    result = fifth.upgrade(source, *ca, "--check", "--floor", "5")
    assert result.rc == 0 and result.said["to"]["version"] == "6", str(result)


def test_check_says_when_the_version_is_not_known(fifth, registry, images, authority):
    registry.put_artifact("demo", images.get(4))
    source, ca = f"oci:{registry.address}/demo", ("--ca", authority.pem)
    result = fifth.upgrade(source, *ca, "--check", "--floor", "5")
    assert result.rc == 0 and "not known before it is loaded" in result.out, str(result)
    said = fifth.upgrade(source, *ca, "--check", "--floor", "5", "--json").said
    assert (said["result"], said["to"]["version"]) == ("available", None)


def test_dry_run(node, source, ca, image):
    before = stamps(node)
    result = node.upgrade(source, *ca, "--dry-run")
    assert result.rc == 0 and stamps(node) == before, str(result)
    assert result.said["dry_run"] is True


def test_recovery_only(node, source, ca, image, images):
    result = node.upgrade(source, *ca, "--recovery")
    assert result.rc == 0, str(result)
    assert node.role("recovery") == image
    assert node.role("active") == node.role("passive") == images.get(1)
    assert node.check([image, images.get(1)]) == []


def test_one_after_the_other(node, registry, images, ca):
    """Every upgrade makes the image before it the passive one, and keeps no third."""
    for version in (2, 3, 4):
        registry.put_artifact("demo", images.get(version))
        result = node.upgrade(f"oci:{registry.address}/demo", *ca)
        assert result.rc == 0, str(result)
        assert (node.role("active"), node.role("passive")) == (images.get(version), images.get(version - 1))
        assert node.check([images.get(v) for v in range(1, 5)]) == []
        node.confirm()


def test_unconfirmed_active_is_not_replaced(node, registry, images, ca):
    for version, rc in ((2, 0), (3, 8)):
        registry.put_artifact("demo", images.get(version))
        assert node.upgrade(f"oci:{registry.address}/demo", *ca).rc == rc
    assert node.upgrade(f"oci:{registry.address}/demo", *ca, "--force").rc == 0
    assert (node.role("active"), node.role("passive")) == (images.get(3), images.get(1))


def test_image_of_strangers(node, registry, images, ca, tmp_path):
    tb_image("keys", tmp_path / "strange")
    registry.put_artifact("demo", images.get(2, keys=tmp_path / "strange"))
    before = node.files()
    assert node.upgrade(f"oci:{registry.address}/demo", *ca).rc == 12
    assert node.files() == before


def test_rate_limit(node, source, ca):
    result = node.upgrade(source, *ca, "--limit-rate", "2M")
    assert result.rc == 0 and result.seconds > 1.5, str(result)


@pytest.fixture
def small(tmp_path, keys, images, loader):
    """A node whose ESP has room for what is there and little more."""
    (tmp_path / "small/esp").mkdir(parents=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", tmp_path / "small/esp"], capture_output=True)
    if done.returncode != 0:
        pytest.skip("nothing can be mounted here")
    try:
        yield Node(tmp_path / "small", keys, images.get(1), loader)
    finally:
        subprocess.run(["umount", tmp_path / "small/esp"], check=True)


@pytest.mark.parametrize("how", ["raw", "zstd"])
def test_no_space(small, registry, images, ca, how):
    """Where the size is known, nothing is loaded in vain but what the buffers between both ends hold."""
    image, buffers = images.get(2, size=24 * MIB), 0
    if how == "raw":
        registry.put_artifact("demo", image)
    else:
        registry.put_image("demo", [(tar(tree(image)), how)])
        buffers = 12 * MIB
    before = small.files()
    result = small.upgrade(f"oci:{registry.address}/demo", *ca)
    assert result.rc == 7, str(result)
    assert small.files() == before
    assert registry.sent("blob") <= buffers + 10000


def test_state_that_was_lost_or_damaged(node, registry, source, ca, image):
    """The memory of the agent is a convenience."""
    registry.on("blob", misdeeds.truncated(2 * MIB))
    assert node.upgrade(source, *ca, "--attempts", "1").rc == 5
    registry.forget()
    for path in node.state.iterdir():
        path.write_bytes(os.urandom(200))
    result = node.upgrade(source, *ca)
    assert result.rc in (0, 4), str(result)
    if result.rc == 4:
        for path in node.state.iterdir():
            path.unlink()
        assert node.upgrade(source, *ca).rc == 0
    assert node.role("active") == image


def test_partial_image_that_was_damaged(node, registry, image, ca):
    registry.put_artifact("demo", image)
    registry.on("blob", misdeeds.truncated(2 * MIB), times=1)
    registry.on("blob", misdeeds.status(503), skip=1)
    assert node.upgrade(f"oci:{registry.address}/demo", *ca, "--attempts", "1").rc == 5
    stray = node.check([image, node.role("active")])
    for path in stray:
        with open(node.esp / path, "r+b") as f:
            f.write(b"damage")
    registry.forget()
    assert node.upgrade(f"oci:{registry.address}/demo", *ca).rc == 0
    assert node.role("active") == image and node.check([image, node.role("passive")]) == []


def test_rest_of_another_upgrade_makes_room(node, registry, images, image, ca):
    registry.put_artifact("demo", image)
    registry.on("blob", misdeeds.truncated(2 * MIB), times=1)
    registry.on("blob", misdeeds.status(503), skip=1)
    assert node.upgrade(f"oci:{registry.address}/demo", *ca, "--attempts", "1").rc == 5
    registry.forget()
    other = images.get(3, size=4 * MIB)
    registry.put_artifact("demo", other)
    assert node.upgrade(f"oci:{registry.address}/demo", *ca).rc == 0
    assert node.role("active") == other and node.check([other, node.role("passive")]) == []
