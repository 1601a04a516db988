# SPDX-License-Identifier: Apache-2.0
"""tb-agent as it is typed: words, exit codes and output where there is no node."""
import json
import os
import subprocess

import pytest
from imagetools import BUILD, STUB, build_usi, tb_image, tool

AGENT = BUILD / "tb-agent"
ON_A_NODE = os.path.exists("/run/tb-agent/boot.json")


def agent(*argv):
    return tool(AGENT, *argv, check=False)


@pytest.mark.parametrize("argv", [
    ("install", "--target", "/dev/x", "--ye"), ("install", "--dry", "--target", "/dev/x"),
    ("install", "--target", "/dev/x", "--target", "/dev/y"), ("install", "--target="), ("install", "--target", ""),
    ("install", "--target", "/dev/x", "--recovery-key", "--recovery-key-file", "/x"),
    ("install", "--target", "/dev/x", "--recovery-key", "--no-recovery-key"),
    ("install", "--target", "/dev/x", "--partition", "oem:1G"), ("install", "--target", "/dev/x", "--partition", "data"),
    ("install", "--target", "/dev/x", "--partition", "data:1G", "--partition", "data:2G:OTHER"),
    ("install", "--offer"), ("install", "--offer", "--dry-run"), ("install", "--offer", "--unattended"),
    ("install", "--target", "/dev/x", "--oem-size", "none"), ("unlock", "word"), ("unlock", "--key-file"),
    ("enroll",), ("enroll", "nothing"), ("enroll", "list", "word"), ("enroll", "finish", "--key-file", "-"), ("enroll", "drop"),
    ("enroll", "drop", "--recovery-key"), ("enroll", "drop", "--recovery-key", "--key-file", "-", "--policy-key", "/x"),
    ("enroll", "tpm", "--rotate"), ("enroll", "recovery-key", "--policy-key", "/x"), ("enroll", "list", "--force"),
    ("enroll", "finish", "--next", "db=/x"), ("secureboot",), ("secureboot", "update"), ("secureboot", "list", "db=/x"),
    ("secureboot", "nothing", "db=/x"),
    ("extension",), ("extension", "nothing"), ("extension", "install"), ("extension", "list", "word"), ("extension", "enable"),
    ("extension", "enable", "x", "--confext"),
    ("reset", "word"), ("reset", "--oem=1"), ("reset", "--reboot", "--poweroff"), ("reset", "--partition"), ("reset", "--ye"),
    ("reset", "--recovery-key", "--no-recovery-key"), ("reset", "--recovery-key-file", "-"),
    ("install",), ("status", "--json=1"), ("status", "word"), ("verify", "--unknown", "file:/x"), ("nonsense",), ()])
def test_wrong_words(argv):
    done = agent(*argv)
    assert done.returncode == 2, done
    assert done.stderr and not done.stdout


def test_failure_is_json_wherever_the_wish_stands():
    done = agent("install", "--nonsense", "--json")
    said = json.loads(done.stdout)
    assert done.returncode == 2 and said["error"]["class"] == "usage" and said["error"]["exit_code"] == 2


def test_messages_as_json_lines():
    done = agent("--log-format", "json", "verify", "file:/nowhere", "--db", "/nowhere")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.returncode != 0 and lines[0]["level"] == "error" and "/nowhere" in lines[0]["message"]
    assert agent("--log-format=json", "--log-level=error", "verify", "file:/nowhere", "--db", "/nowhere").stderr.count(b"\n") == 1


@pytest.mark.parametrize("argv", [
    ("--log-format", "xml", "status"), ("--log-format",), ("--log-level=loud", "status"), ("--log-level", "debug"),
    ("--log-nothing", "status"), ("status", "--log-format", "json")])
def test_wrong_words_before_the_verb(argv):
    done = agent(*argv)
    assert done.returncode == 2 and done.stderr and not done.stdout


@pytest.mark.parametrize("argv", [("--help",), ("-h",), ("--version",), ("verify", "-h"), ("install", "--help")])
def test_help_is_success_when_somebody_can_read_it(argv):
    assert agent(*argv).returncode == 0
    with open("/dev/full", "w") as full:
        assert subprocess.run([AGENT, *argv], stdout=full, stderr=subprocess.DEVNULL).returncode == 7


@pytest.mark.skipif(ON_A_NODE, reason="this system is a node")
@pytest.mark.parametrize("verb", ["bless", "status", "unlock"])
def test_there_is_nothing_to_tell_where_there_is_no_node(verb):
    done = agent(verb, "--json")
    error = json.loads(done.stdout)["error"]
    assert done.returncode == 10 and error["class"] == "precondition" and error["advice"]


@pytest.mark.parametrize("argv", [("bootentry",), ("enroll",), ("secureboot",), ("enroll", "list"), ("verify",), ("verify", "https://localhost:1/x", "--attempts", "1"),
                                  ("verify", "oci:no-such-host.invalid/x", "--attempts", "1")])
def test_failure_ends_with_what_to_do_next(argv):
    assert json.loads(agent(*argv, "--json").stdout)["error"]["advice"]


def test_first_process_is_nothing_to_be_typed():
    done = agent("boot", "--json")
    assert done.returncode == 2 and done.stderr.count(b"\n") == 1


@pytest.mark.skipif(ON_A_NODE, reason="this system is a node")
def test_verify_does_not_promise_what_it_cannot_know(tmp_path, keys, rootfs):
    build_usi(tmp_path, keys, rootfs)
    image = f"file:{tmp_path / 'image.efi'}"
    done = agent("verify", image, "--db", keys / "db.pem", "--dbx", keys / "KEK.esl")
    last = done.stdout.decode().splitlines()[-1]
    assert done.returncode == 0 and "as far as it can be known here" in last and "policy-key" in last
    done = agent("verify", image, "--db", keys / "db.pem", "--policy-key", keys / "tpm2-pcr-public.pem")
    assert "it is the key that was given" in done.stdout.decode()
    assert "policy-key" not in done.stdout.decode().splitlines()[-1]


@pytest.mark.parametrize("tcti", ["nonsense", "device:/dev/null", "swtpm:port=1"])
def test_tpm_that_was_asked_for_has_to_answer(tmp_path, keys, rootfs, tcti):
    build_usi(tmp_path, keys, rootfs)
    done = agent("verify", f"file:{tmp_path / 'image.efi'}", "--db", keys / "db.pem", "--tcti", tcti)
    assert done.returncode in (9, 10), done
    if tcti == "nonsense":
        assert b"device:/dev/tpmrm0" in done.stderr


def test_sources_that_are_no_files(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (fifo, tmp_path, "/dev/null"):
        assert agent("verify", f"file:{path}").returncode == 2, path
    assert agent("verify", f"file:{STUB}", "--db", fifo).returncode == 4


def test_tree_without_a_boot_loader_is_an_upgrade_all_the_same(tmp_path, keys, rootfs):
    build_usi(tmp_path, keys, rootfs)
    tree = tmp_path / "tree"
    (tree / "EFI/kairos").mkdir(parents=True)
    (tmp_path / "image.efi").rename(tree / "EFI/kairos/norole.efi")
    done = agent("verify", f"dir:{tree}", "--db", keys / "db.pem", "--json")
    states = {p["proof"]: p["state"] for p in json.loads(done.stdout)["proofs"]}
    assert done.returncode == 0 and states["boot-loader"] == "not-applicable"


@pytest.mark.parametrize("program", ["tb-agent", "tb-image"])
def test_closed_descriptors_are_never_those_of_a_file(tmp_path, keys, rootfs, program):
    """Standard output that is closed must not become the file that is opened next."""
    build_usi(tmp_path, keys, rootfs)
    image = tmp_path / "image.efi"
    before = image.read_bytes()
    words = f"verify file:{image} --db {keys / 'db.pem'}" if program == "tb-agent" else f"inspect {image}"
    subprocess.run(["sh", "-c", f"exec {BUILD / program} {words} <&- >&- 2>&-"])
    assert image.read_bytes() == before
    signed = tmp_path / "signed.efi"
    tb_image("sign", "--keys", keys, "--out", signed, STUB)
    again = tmp_path / "again.efi"
    subprocess.run(["sh", "-c", f"exec {BUILD / 'tb-image'} sign --keys {keys} --out {again} {STUB} <&- >&- 2>&-"])
    assert again.read_bytes() == signed.read_bytes()
