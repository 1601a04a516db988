# SPDX-License-Identifier: Apache-2.0
"""What a run of the upgrade says and asks besides the image: hooks, progress, memory, the boot loader, recovery that follows."""
import hashlib
import json
import os
import re
import signal
import subprocess
import time

import misdeeds
import pytest
from node import Run
from tools import BOOT, BUILD, tb_image

MIB = 1 << 20

pytestmark = pytest.mark.skipif(not (BUILD / "tests/upgrade-here").exists(), reason="upgrade-here is not built")


def sha(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def image(images):
    return images.get(2, size=2 * MIB)


@pytest.fixture
def source(images, image):
    return f"file:{images.path(2, size=2 * MIB)}"


@pytest.fixture
def hooks(tmp_path):
    """Puts a hook there: hooks(event, name, shell text); it runs with the folder as $D."""
    folder = tmp_path / "hooks"

    def put(event, name, text):
        path = folder / event / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\nD={folder}\n{text}\n")
        path.chmod(0o755)
        return folder
    folder.mkdir()
    return put


def test_report(node, source, image, images):
    result = node.upgrade(source, "--json")
    said = result.said
    assert result.rc == 0 and (said["schema"], said["verb"], said["result"]) == (1, "upgrade", "upgraded"), str(result)
    assert said["from"] == {"version": "1", "sha256": sha(images.get(1))}
    assert said["to"] == {"version": "2", "sha256": sha(image)}
    assert said["bytes"]["esp"] == said["bytes"]["image"] == len(image) and said["reboot_needed"] is True
    again = node.upgrade(source, "--json").said
    assert again["result"] == "nothing" and again["bytes"]["esp"] == 0


def test_text_for_people(node, source, image):
    result = node.upgrade(source)
    assert result.rc == 0 and sha(image) in result.out and "restart the node" in result.out
    assert "download" in result.err and "\x1b" not in result.err
    assert "nothing to do" in node.upgrade(source).out


def test_progress_goes_to_the_descriptor(node, source, image, tmp_path):
    with open(tmp_path / "progress", "wb") as out:
        argv = [BUILD / "tests/upgrade-here", "--esp", node.esp, "--state", node.state, *node.trust(), "--source", source,
                "--json", "--progress-fd", out.fileno()]
        done = subprocess.run([str(a) for a in argv], pass_fds=[out.fileno()], stdout=subprocess.PIPE)
    assert done.returncode == 0
    lines = [json.loads(line) for line in (tmp_path / "progress").read_text().splitlines()]
    assert all(line["schema"] == 1 for line in lines)
    phases = list(dict.fromkeys(line["phase"] for line in lines))
    assert phases == ["resolve", "download", "verify", "switch"]
    last = [line for line in lines if line["phase"] == "download"][-1]
    assert last["done"] == len(image)


def test_hooks_see_the_upgrade(node, source, hooks, image, images):
    hooks("before-upgrade", "10-a", "env | grep ^TB_ | sort > $D/before")
    folder = hooks("after-upgrade", "10-a", "env | grep ^TB_ | sort > $D/after")
    result = node.upgrade(source, "--json", "--hooks", folder)
    assert result.rc == 0 and result.said["hooks"] == 2, str(result)
    before, after = (dict(line.split("=", 1) for line in (folder / name).read_text().splitlines())
                     for name in ("before", "after"))
    assert before["TB_EVENT"] == "before-upgrade" and before["TB_SOURCE"] == source
    assert (before["TB_FROM_VERSION"], before["TB_FROM_SHA256"]) == ("1", sha(images.get(1)))
    assert after["TB_RESULT"] == "upgraded" and (after["TB_TO_VERSION"], after["TB_TO_SHA256"]) == ("2", sha(image))
    (folder / "before").unlink()
    assert node.upgrade(source, "--hooks", folder).rc == 0
    assert not (folder / "before").exists(), "nothing is asked when there is nothing to do"


def test_hook_refuses(node, source, hooks):
    folder = hooks("before-upgrade", "10-no", "echo not on a Friday; exit 1")
    before = node.files()
    result = node.upgrade(source, "--json", "--hooks", folder)
    assert result.rc == 10 and "not on a Friday" in result.said["error"]["text"], str(result)
    assert node.files() == before


def test_failure_of_a_hook_behind_the_change_is_told(node, source, hooks, image):
    folder = hooks("after-upgrade", "10-no", "echo pager is down; exit 1")
    result = node.upgrade(source, "--json", "--hooks", folder)
    assert result.rc == 0 and "pager is down" in result.said["warning"], str(result)
    assert node.role("active") == image


def test_entry_of_an_unattended_reset(node, source, image, images):
    """It is there as long as the configuration allows it, leads where recovery's does, and keeps no image of before."""
    config, names = node.state / "90_reset.yaml", lambda: {n: i for n, i in node.entries().items()}
    assert node.upgrade(source).rc == 0 and "statereset.conf" not in names()
    config.write_text("#cloud-config\nreset:\n  unattended: true\n")
    assert node.upgrade(source).rc == 0                    # nothing else to do
    assert names()["statereset.conf"] == names()["recovery.conf"]
    node.confirm()
    old = names()["recovery.conf"]
    assert node.upgrade(source, "--recovery").rc == 0
    assert names()["statereset.conf"] == names()["recovery.conf"] != old and old not in node.files()
    assert node.role("recovery") == node.role("statereset") == image and node.check([image, images.get(1)]) == []
    config.write_text("#cloud-config\nreset: {}\n")
    assert node.upgrade(source).rc == 0 and "statereset.conf" not in names()


def memory(node):
    return json.loads((node.state / "tb-agent-upgrade.json").read_text())


def test_operations_are_remembered(node, source, image, images):
    assert node.upgrade(source).rc == 0
    last = memory(node)["operations"][-1]
    assert (last["verb"], last["target"], last["finished"], last["result"]) == ("upgrade", "active", True, "success")
    assert last["sha256"] == sha(image) and last["to_version"] == "2" and abs(last["time"] - time.time()) < 100
    node.confirm()
    strange = f"file:{BOOT}"
    assert node.upgrade(strange).rc == 6
    last = memory(node)["operations"][-1]
    assert last["finished"] is True and last["result"] == "refused" and last["text"]


def test_image_below_the_version_floor(node, source, image):
    before = node.files()
    result = node.upgrade(source, "--json", "--floor", "3")
    assert result.rc == 16 and result.said["error"]["class"] == "refused-version", str(result)
    assert "--allow-downgrade" in result.said["error"]["advice"] and proofs(result)["version"]["state"] == "failed"
    assert node.files() == before
    assert memory(node)["operations"][-1]["overridden"] == ""


def proofs(result):
    return {p["proof"]: p for p in result.said["proofs"]}


def test_accepted_downgrade_is_logged_reported_and_remembered(node, source, image):
    result = node.upgrade(source, "--json", "--floor", "3", "--allow-downgrade")
    assert result.rc == 0 and node.role("active") == image, str(result)
    version = proofs(result)["version"]
    assert version["state"] == "overridden" and "--allow-downgrade" in version["advice"], version
    assert version["text"] in result.err and "--allow-downgrade" in result.err, result.err
    last = memory(node)["operations"][-1]
    assert version["text"] in last["overridden"] and "--allow-downgrade" in last["overridden"], last
    assert (last["sha256"], last["to_version"]) == (sha(image), "2")


def test_downgrade_is_remembered_before_the_entry_leads_to_it(node, source, image, hooks):
    """A power cut after the switch: the next run has nothing to do, and could not tell any more."""
    folder = hooks("after-upgrade", "10-die", f"cp {node.state}/tb-agent-upgrade.json $D/then")
    assert node.upgrade(source, "--floor", "3", "--allow-downgrade", "--hooks", folder).rc == 0
    then = json.loads((folder / "then").read_text())["operations"][-1]
    assert then["finished"] is False and "--allow-downgrade" in then["overridden"], then


def test_warnings_of_the_proofs_are_told(node, source, image):
    """The image is accepted, and the disk would not unlock at the next boot: somebody should know before it."""
    assert {p["state"] for p in node.upgrade(source, "--json").said["proofs"]} == {"passed", "not-applicable"}
    result = node.upgrade(source, "--json", "--recovery", "--pcr7", "db was changed")
    assert result.rc == 0 and proofs(result)["pcr7"]["state"] == "warning", str(result)
    assert proofs(result)["pcr7"]["text"] == "db was changed" and "pcr7: db was changed" in result.err
    assert list(proofs(result)) == ["format", "architecture", "secure-boot", "sbat", "policy-key", "pcr-signature", "phases",
                                    "pcr7", "version", "boot-loader"]
    assert node.upgrade(source, "--json", "--recovery").said["proofs"] is None, "nothing to do, nothing to prove"


def test_image_that_failed_before_needs_force(node, source, image, registry, authority, images):
    state = memory_with_failure(node, image)
    before = node.files()
    registry.put_artifact("demo", image, annotations={"io.tb-agent.image.sha256": sha(image)})
    result = node.upgrade(f"oci:{registry.address}/demo", "--json", "--ca", authority.pem)
    assert result.rc == 10 and "died of boredom" in result.said["error"]["text"], str(result)
    assert "--force" in result.said["error"]["advice"] and not registry.sent("blob")
    assert node.files() == before
    # Where the digest is not known in advance it is found out, and nothing stays.
    assert node.upgrade(source).rc == 10 and node.files() == before
    assert node.upgrade(source, "--force").rc == 0 and node.role("active") == image
    assert state.name in os.listdir(node.state) and not memory(node).get("failed")


def memory_with_failure(node, image):
    """As after a trial that failed."""
    path = node.state / "tb-agent-upgrade.json"
    path.write_text(json.dumps({"schema": 1, "operations": [], "failed": [
        {"sha256": sha(image), "time": 1, "reason": "died of boredom"}]}))
    return path


def test_recovery_follows_what_was_confirmed(node, source, image, images):
    first = node.upgrade(source, "--all", "--json")
    assert first.rc == 0 and first.said["recovery_pending"] is True, str(first)
    assert node.role("recovery") == images.get(1)
    # Not confirmed yet: it stays pending.
    again = node.upgrade(source, "--all", "--json", "--running", "active+3-0.conf")
    assert again.rc == 0 and again.said["recovery_pending"] is True and node.role("recovery") == images.get(1), str(again)
    node.confirm()
    second = node.upgrade(source, "--all", "--json")
    assert second.rc == 0, str(second)
    assert (second.said["target"], second.said["copied"], second.said["bytes"]["network"]) == ("recovery", True, 0), str(second)
    assert node.role("recovery") == node.role("active") == image
    assert node.check([image, images.get(1)]) == []
    third = node.upgrade(source, "--all", "--json")
    assert third.rc == 0 and third.said["result"] == "nothing" and third.said["recovery_pending"] is False, str(third)


def test_running_from_passive_keeps_it(node, source, image, images):
    """Active is bad: it is what gets replaced."""
    assert node.upgrade(source).rc == 0
    entries = node.esp / "loader/entries"
    (entries / "active+3-0.conf").rename(entries / "active+0-3.conf")
    third = images.path(3)
    assert node.upgrade(f"file:{third}", "--running", "passive.conf").rc == 0
    assert node.role("active") == third.read_bytes() and node.role("passive") == images.get(1)


@pytest.fixture
def trees(tmp_path, keys, images):
    """A folder with an image and a boot loader that says it is of that version."""
    def make(version, image_version=2, signed=True):
        folder = tmp_path / f"tree-{version}"
        (folder / "EFI/kairos").mkdir(parents=True)
        (folder / "EFI/BOOT").mkdir()
        (folder / "EFI/kairos/norole.efi").write_bytes(images.get(image_version, size=2 * MIB))
        text = open(BOOT, "rb").read()
        start = text.index(b"#### LoaderInfo: systemd-boot ") + 30
        end = text.index(b" ####", start)
        assert len(version) <= end - start
        # The version stands between its marks; what is left of the old one is cut off by moving the end mark forward.
        text = text[:start] + version.encode() + b" ####" + b"\0" * (end - start - len(version)) + text[end + 5:]
        (tmp_path / "boot").write_bytes(text)
        out = folder / "EFI/BOOT/BOOTX64.EFI"
        if signed:
            tb_image("sign", "--keys", keys, "--out", out, tmp_path / "boot")
        else:
            out.write_bytes(text)
        return folder
    return make


COPIES = ("EFI/BOOT/BOOTX64.EFI", "EFI/systemd/systemd-bootx64.efi")


def test_newer_boot_loader_replaces_both_copies(node, trees):
    folder = trees("252.99")
    new = (folder / COPIES[0]).read_bytes()
    result = node.upgrade(f"dir:{folder}", "--json")
    assert result.rc == 0 and result.said["bootloader"] == "252.99", str(result)
    assert proofs(result)["boot-loader"]["state"] == "passed"
    assert all((node.esp / path).read_bytes() == new for path in COPIES)
    assert not [path for path in node.files() if path.upper().endswith(".TMP")]


def test_boot_loader_that_wants_other_entries_gets_them(node, trees):
    """From 258 on the tries of an entry with "efi" are not counted: an image that fails would be started for ever."""
    def keys():
        return {path.name: path.read_bytes().count(b"\nuki /EFI") for path in (node.esp / "loader/entries").iterdir()}
    assert set(keys().values()) == {0}
    result = node.upgrade(f"dir:{trees('258.1')}", "--json")
    assert result.rc == 0 and result.said["bootloader"] == "258.1", str(result)
    assert keys() == {"active+3-0.conf": 1, "passive.conf": 1, "recovery.conf": 1}
    assert all(path.stat().st_size == 512 for path in (node.esp / "loader/entries").iterdir())


def test_entries_suit_a_boot_loader_that_another_program_starts(node, trees, keys, tmp_path):
    """shim in the place of the firmware's default starts systemd-boot from somewhere else: that one is not replaced, and
    before 258 it would show no entry with "uki", whatever lies in EFI/systemd."""
    (tmp_path / "shim").write_bytes(open(BOOT, "rb").read().replace(b"LoaderInfo: systemd-boot", b"LoaderInfo: another-one!"))
    tb_image("sign", "--keys", keys, "--out", node.esp / COPIES[0], tmp_path / "shim")
    variables = wish_for(node)
    efivars = node.state.with_name(node.state.name + ".run") / "efivars"
    (efivars / "LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f").write_bytes(
        b"\6\0\0\0" + "systemd-boot 252.39\0".encode("utf-16-le"))
    assert "LoaderInfo" in variables()
    result = node.upgrade(f"dir:{trees('258.1')}", "--json")
    assert result.rc == 0 and result.said["bootloader"] == "258.1", str(result)
    for path in (node.esp / "loader/entries").iterdir():
        assert b"\nefi /EFI" in path.read_bytes(), path


def test_older_boot_loader_stays_where_it_is(node, trees):
    before = {path: node.files()[path] for path in COPIES}
    result = node.upgrade(f"dir:{trees('249')}", "--json")
    assert result.rc == 0 and result.said["bootloader"] is None, str(result)
    assert {path: node.files()[path] for path in COPIES} == before


def test_unsigned_boot_loader_refuses_the_source(node, trees):
    before = node.files()
    result = node.upgrade(f"dir:{trees('252.99', signed=False)}", "--json")
    assert result.rc == 12 and proofs(result)["boot-loader"]["state"] == "failed", str(result)
    assert node.files() == before


def wish_for(node, *names):
    """Wishes of somebody for the passive entry; returns what looks which variables there are."""
    efivars = node.state.with_name(node.state.name + ".run") / "efivars"
    efivars.mkdir(parents=True, exist_ok=True)
    for name in names:
        (efivars / f"{name}-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f").write_bytes(
            b"\7\0\0\0" + "passive.conf\0".encode("utf-16-le"))
    return lambda: sorted(path.name.split("-")[0] for path in efivars.iterdir())


def test_stale_wishes_are_cleared(node, source):
    variables = wish_for(node, "LoaderEntryDefault", "LoaderEntryOneShot")
    result = node.upgrade(source, "--json")
    assert result.rc == 0 and result.said["cleared_variables"] == 2, str(result)
    assert variables() == ["LoaderEntrySelected"]


@pytest.mark.parametrize("known", [True, False])
def test_wishes_that_a_killed_run_left_are_cleared(node, source, registry, image, authority, known):
    """Else the old image would be started for ever, and each run say that there is nothing to do but to start again."""
    if not known:
        registry.files["image.efi"] = image
        source = f"{registry.url}/files/image.efi"
    assert node.upgrade(source, "--ca", authority.pem).rc == 0
    path, killed = node.state / "tb-agent-upgrade.json", memory(node)
    killed["operations"][-1]["finished"] = False
    path.write_text(json.dumps(killed))
    variables = wish_for(node, "LoaderEntryDefault")
    options = ("--json", "--ca", authority.pem, "--running", "passive.conf")
    result = node.upgrade(source, *options)
    assert result.rc == 0 and result.said["result"] == "nothing" and result.said["cleared_variables"] == 1, str(result)
    assert variables() == ["LoaderEntrySelected"] and memory(node)["operations"][-1]["finished"] is True
    # What somebody wishes later is his business.
    wish_for(node, "LoaderEntryOneShot")
    assert node.upgrade(source, *options).rc == 0
    assert variables() == ["LoaderEntryOneShot", "LoaderEntrySelected"]


def test_restart_that_would_not_help(node, source):
    """Somebody holds the node at the passive entry: a job with --reboot must not restart it each time."""
    assert node.upgrade(source).rc == 0
    node.confirm()
    wish_for(node, "LoaderEntryDefault")
    result = node.upgrade(source, "--json", "--running", "passive.conf")
    assert result.said["result"] == "nothing" and result.said["reboot_needed"] is False, str(result)
    result = node.upgrade(source, "--json", "--running", "recovery.conf")
    assert result.said["reboot_needed"] is False, "both have the same image"


def test_stop_at_a_safe_point(node, registry, image, authority):
    registry.put_artifact("demo", image)
    registry.on("blob", misdeeds.paced(MIB))
    run = node.begin_upgrade(f"oci:{registry.address}/demo", "--json", "--ca", authority.pem)
    new = node.esp / "EFI/kairos/usi-00000003.efi"
    while not (new.exists() and new.stat().st_size > MIB // 2):
        assert not run.ended(0.02)
    boot_path = node.boot_path()
    run.kill(signal.SIGTERM)
    result = run.wait()
    assert result.rc == 11 and result.said["error"]["class"] == "interrupted", str(result)
    assert node.boot_path() == boot_path
    last = memory(node)["operations"][-1]
    assert last["finished"] is True and last["result"] == "interrupted"
    result = node.upgrade(f"oci:{registry.address}/demo", "--json", "--ca", authority.pem)
    assert result.rc == 0 and result.said["bytes"]["resumed"] > 0, str(result)
    # Besides the rest of the image only documents are loaded.
    assert 0 <= result.said["bytes"]["network"] + result.said["bytes"]["resumed"] - len(image) < 4096


@pytest.mark.parametrize("options, rc", [
    ((), 2), (("--source", "oops:x"), 2), (("--source", "file:/x", "--all", "--recovery"), 2),
    (("--source", "file:/x", "--progress-fd", "1"), 2), (("--source", "file:/x", "--wait", "soon"), 2),
    (("--source",), 2), (("--help",), 0), (("--source", "file:/x", "--root", "relative"), 2),
    (("--source", "file:/x", "--progress-fd", "0"), 2), (("--source", "file:/x", "--attempts", "0"), 2)])
def test_words_on_the_command_line(tmp_path, options, rc):
    assert Run([BUILD / "tb-agent", "upgrade", *options], tmp_path).wait().rc == rc


@pytest.mark.parametrize("options, advice", [
    (("--mirror", "a"), "HOST=URL"), (("--mirror", "a=b"), "HOST=URL"), (("--mirror", "=https://a"), "HOST=URL"),
    (("--mirror", "https://a=https://b"), "HOST=URL"), (("--mirror", "a=ftp://b"), "HOST=URL"),
    (("--mirror", "a=https://user:hush@b"), "HOST=URL"), (("--mirror", "a=http://b:5000"), "--insecure b"),
    (("--insecure", "http://x"), "HOST:PORT"), (("--insecure", "x/y"), "HOST:PORT"), (("--insecure", "x:"), "HOST:PORT"),
    (("--insecure", "x:port"), "HOST:PORT"), (("--insecure", "user@x"), "HOST:PORT"), (("--insecure", ":5000"), "HOST:PORT"),
    (("--progress-fd", "77"), "--progress-fd 3"), (("--attempts", "many"), None)])
@pytest.mark.parametrize("verb", ["upgrade", "verify"])
def test_words_that_would_never_match_are_wrong_words(tmp_path, verb, options, advice):
    """Whatever source is asked: a mirror that is never asked, or a host that stays protected, is found out too late."""
    if verb == "verify" and "--progress-fd" in options:
        pytest.skip("it has none")
    (tmp_path / "text").write_text("no image")
    source = ("--source", f"file:{tmp_path}/text") if verb == "upgrade" else (f"file:{tmp_path}/text",)
    result = Run([BUILD / "tb-agent", verb, *source, "--json", *options], tmp_path).wait()
    assert result.rc == 2, str(result)
    assert not advice or advice in result.said["error"]["advice"], str(result)
    assert "hush" not in result.out + result.err


@pytest.mark.parametrize("options", [
    ("--mirror", "a=https://b"), ("--mirror", "a:5000=https://b:5001/prefix"), ("--mirror", "[::1]:5000=https://[::1]:5001"),
    ("--mirror", "a=http://b:5000", "--insecure", "b"), ("--insecure", "b:5000"), ("--insecure", "::1"),
    ("--insecure", "[::1]:5000"), ("--insecure", "127.0.0.1:80"), ("--attempts", "1")])
def test_words_that_are_right(tmp_path, options):
    (tmp_path / "text").write_text("no image")
    assert Run([BUILD / "tb-agent", "verify", f"file:{tmp_path}/text", *options], tmp_path).wait().rc == 6


@pytest.fixture
def root(tmp_path):
    """The root of a node, as far as the agent looks before it needs the disk."""
    for folder in ("sys", "proc", "dev", "run/tb-agent"):
        (tmp_path / "root" / folder).mkdir(parents=True)
    (tmp_path / "root/run/tb-agent/boot.json").write_text('{"schema": 1, "role": "active"}')
    return tmp_path / "root"


def test_delay_ends_with_a_signal(tmp_path, root):
    """Before the lock: a run that waits for its turn keeps nobody from working."""
    run = Run([BUILD / "tb-agent", "upgrade", "--source", "file:/none", "--root", root, "--delay", "604800", "--json"], tmp_path)
    while "beginning in" not in run.err.read_text():
        assert not run.ended(0.02), run.wait()
    assert not (root / "run/tb-agent/lock").exists()
    run.kill(signal.SIGTERM)
    result = run.wait(20)
    assert result.rc == 11 and result.said["error"]["class"] == "interrupted", str(result)


def test_delay_is_over_at_some_time(tmp_path, root):
    argv = [BUILD / "tb-agent", "upgrade", "--source", "file:/none", "--root", root, "--delay", "2", "--json"]
    result = Run(argv, tmp_path).wait(60)
    seconds = int(re.search(r"beginning in (\d+) seconds", result.err).group(1))
    assert 0 <= seconds <= 2 and result.seconds >= seconds, str(result)
    assert (root / "run/tb-agent/lock").exists(), str(result)


def test_live_session_is_no_node(tmp_path, root):
    (root / "run/tb-agent/boot.json").write_text('{"schema": 1, "role": "live"}')
    result = Run([BUILD / "tb-agent", "upgrade", "--source", "file:/none", "--root", root, "--json"], tmp_path).wait()
    assert result.rc == 10 and "tb-agent install" in result.said["error"]["advice"], str(result)
