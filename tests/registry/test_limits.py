# SPDX-License-Identifier: Apache-2.0
"""Places that are full, an ESP that cannot be written to, and clocks that are wrong by decades."""
import json
import subprocess
from contextlib import contextmanager

import misdeeds
import pytest
from node import Node
from tools import BUILD, tb_image, tool

MIB, PAGE = 1 << 20, 4096
SPACE, IO = 7, 9
DAYS = {"1970": 86400, "2040": 2208988800 + 10 * 86400}


@contextmanager
def mounted(folder, size):
    """A file system of that size, whose cluster is a page."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
    if done.returncode != 0:
        pytest.skip("nothing can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.fixture
def small(tmp_path, keys, images, loader):
    with mounted(tmp_path / "small/esp", "6m"):
        yield Node(tmp_path / "small", keys, images.get(1), loader)


@pytest.fixture
def source(images):
    return f"file:{images.path(2, size=1 * MIB)}"


def free(folder):
    out = tool("stat", "-f", "-c", "%a %S", folder).stdout.split()
    return int(out[0]) * int(out[1])


def leave(folder, size):
    """Takes all but so many bytes."""
    ballast = folder / "ballast"
    ballast.write_bytes(b"\0" * (free(folder) - size))
    assert free(folder) == size
    return ballast


def needed(node, source):
    """What an upgrade needs by its plan, and what it keeps free for entries."""
    plan = node.upgrade(source, "--dry-run", "--json").said["plan"]
    assert plan["bytes_freed"] == 0 and plan["bytes_needed"] % PAGE == 0
    return plan["bytes_needed"] + free(node.esp) - plan["bytes_available"]


def test_one_cluster_less_than_needed(small, source):
    ballast = leave(small.esp, needed(small, source) - PAGE)
    before = small.files()
    result = small.upgrade(source, "--json")
    assert result.rc == SPACE and result.said["error"]["advice"], str(result)
    assert small.files() == before
    ballast.unlink()
    assert small.upgrade(source).rc == 0


def test_exactly_what_is_needed(small, source, images):
    leave(small.esp, needed(small, source))
    result = small.upgrade(source, "--json")
    assert result.rc == 0, str(result)
    assert small.role("active") == images.get(2, size=1 * MIB) and small.role("passive") == images.get(1)


def test_esp_that_is_read_only(small, source):
    before = small.files()
    subprocess.run(["mount", "-o", "remount,ro", small.esp], check=True)
    try:
        result = small.upgrade(source, "--json")
    finally:
        subprocess.run(["mount", "-o", "remount,rw", small.esp], check=True)
    assert result.rc == IO and "ead-only" in result.said["error"]["text"], str(result)
    assert small.files() == before
    assert small.upgrade(source).rc == 0


@pytest.mark.parametrize("kind", ["file", "oci"])
def test_state_that_is_full(node, images, registry, authority, source, kind):
    """The memory of upgrades, and the spool of a transfer, are not what an upgrade depends on."""
    image = images.get(2, size=1 * MIB)
    if kind == "oci":
        registry.put_artifact("demo", image)
        source = f"oci:{registry.address}/demo"
    with mounted(node.state, "64k"):
        ballast = leave(node.state, 0)
        result = node.upgrade(source, "--ca", authority.pem, "--json")
        node.check([image, images.get(1)])
        assert result.rc in (0, SPACE), str(result)
        assert (result.rc == 0) == (image in node.images("active")), str(result)
        ballast.unlink()
        again = node.upgrade(source, "--ca", authority.pem, "--json", "--same-boot")
        assert again.rc == 0, str(again)
        assert node.role("active") == image and node.role("passive") == images.get(1)


# --- another day -----------------------------------------------------------------------------------------------------

@pytest.fixture(params=DAYS)
def day(request):
    """The environment of a program on another day."""
    return request.param, {"LD_PRELOAD": str(BUILD / "tests/clock.so"), "TB_CLOCK": str(DAYS[request.param])}


def times(document):
    """All that looks like a moment."""
    if isinstance(document, dict):
        for key, value in document.items():
            if isinstance(value, (dict, list)):
                yield from times(value)
            elif key in ("time", "began", "ended", "at") or key.endswith("_time"):
                yield value
    elif isinstance(document, list):
        for value in document:
            yield from times(value)


def test_upgrade_on_another_day(node, images, registry, servers, source, day):
    """Neither certificates of images nor the memory of upgrades ask for the day."""
    name, env = day
    result = node.upgrade(source, "--json", env=env)
    assert result.rc == 0, str(result)
    assert node.role("active") == images.get(2, size=1 * MIB)
    memory = [json.loads(path.read_text()) for path in node.state.rglob("*.json")]
    noted = [t for t in times(memory) if isinstance(t, int) and t > 0]
    assert noted and all(abs(t - DAYS[name]) < 3600 for t in noted), memory
    # The clock is put right, and the next upgrade comes.
    node.confirm()
    result = node.upgrade(f"file:{images.path(3)}", "--json")
    assert result.rc == 0, str(result)
    assert node.verify(source, env=env).rc == 0


def test_server_whose_certificate_is_not_valid_on_that_day(node, images, registry, authority, day):
    registry.put_artifact("demo", images.get(2))
    before = node.files()
    result = node.upgrade(f"oci:{registry.address}/demo", "--ca", authority.pem, "--attempts", "2", "--json", env=day[1])
    assert result.rc == 5 and "certificate" in result.said["error"]["text"], str(result)
    assert "clock" in result.said["error"]["advice"], str(result)
    assert node.files() == before


def test_waiting_as_told_on_another_day(node, images, servers, day):
    """Retry-After as a date is decades away from there: it is not waited for so long."""
    server = servers()
    server.put_artifact("demo", images.get(2))
    server.on("blob", misdeeds.retry_after_date(5, 503), times=1)
    result = node.upgrade(f"oci:{server.address}/demo", "--insecure", server.address, "--json", env=day[1])
    assert result.rc in (0, 5) and result.seconds < 100, str(result)


def test_keys_and_signatures_of_another_day(tmp_path, day):
    """What was made on that day is used today: firmware does not ask for the day."""
    tool(BUILD / "tb-image", "keys", tmp_path / "keys", env={"PATH": "/usr/bin:/bin", **day[1]})
    assert tb_image("sign", "--keys", tmp_path / "keys", "--out", tmp_path / "out.efi",
                    "/usr/lib/systemd/boot/efi/systemd-bootx64.efi").returncode == 0
    dates = tool("openssl", "x509", "-in", tmp_path / "keys/db.pem", "-noout", "-dates").stdout.decode()
    assert f" {day[0]} " in dates.splitlines()[0], dates
