# SPDX-License-Identifier: Apache-2.0
"""Manifests and units for fleets: strict YAML, options that the program knows, exit codes that mean what it says."""
import pathlib
import re
import subprocess

import pytest
import yaml
from imagetools import BUILD, TOP, tool

DEPLOY = pathlib.Path(TOP, "deploy")
MANIFESTS = sorted(DEPLOY.glob("*.yaml"))
UNITS = sorted(path for path in DEPLOY.iterdir() if path.suffix in (".service", ".timer"))
# What a repetition of the same command can heal.
TEMPORARY = {"ERROR_SOURCE", "ERROR_BUSY", "ERROR_INTERRUPTED"}


class StrictLoader(yaml.SafeLoader):
    """Refuses what YAML silently lets pass: a key that stands twice."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(map(str, keys))), f"{node.start_mark}: a key stands twice: {keys}"
        assert all(isinstance(key, str) for key in keys), f"{node.start_mark}: a key is no text: {keys}"
        return super().construct_mapping(node, deep)


def load(path):
    documents = list(yaml.load_all(path.read_text(), Loader=StrictLoader))
    assert len(documents) == 1
    return documents[0]


def exit_codes():
    """{class: number} of base/error.h."""
    body = re.search(r"enum error_class \{(.*?)\};", pathlib.Path(TOP, "base/error.h").read_text(), re.S).group(1)
    found = {name: int(number) for name, number in re.findall(r"^\s*(ERROR_\w+)\s*=\s*(\d+)", body, re.M)}
    assert len(found) > 10
    return found


def known_options():
    """{option: whether it takes a value} as the help of the verb tells."""
    text = tool(BUILD / "tb-agent", "upgrade", "--help").stdout.decode()
    found = dict(re.findall(r"^  (--[a-z-]+)( [A-Z]\S*)?", text, re.M))
    assert "--source" in found
    return {option: bool(value) for option, value in found.items()}


def words_of(path):
    """The agent's command line in a manifest or unit."""
    if path.suffix == ".service":
        return re.search(r"^ExecStart=(.*)$", path.read_text(), re.M).group(1).split()
    spec = load(path)["spec"]
    if "template" in spec:
        container = spec["template"]["spec"]["containers"][0]
        return container["command"] + container["args"]
    if "upgrade" in spec:
        return spec["upgrade"]["command"] + spec["upgrade"]["args"]
    return spec["command"]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda p: p.name)
def test_manifest_is_an_object_of_kubernetes(path):
    document = load(path)
    assert {"apiVersion", "kind", "metadata", "spec"} == set(document)
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", document["metadata"]["name"])


COMMANDS = [p for p in MANIFESTS if p.name != "kairos-operator-nodeopupgrade.yaml"] + [DEPLOY / "tb-agent-upgrade.service"]


@pytest.mark.parametrize("path", COMMANDS, ids=lambda p: p.name)
def test_command_line_is_understood(path):
    words, options = words_of(path), known_options()
    assert all(isinstance(word, str) for word in words), words
    assert words[:2] == ["/usr/bin/tb-agent", "upgrade"]
    rest = words[2:]
    while rest:
        word = rest.pop(0)
        if word == "$OPTIONS":
            continue
        assert word in options, f"{word} is no option of upgrade"
        if options[word]:
            value = rest.pop(0)
            assert not value.startswith("--"), (word, value)
    assert "--source" in words


def test_pods_that_mount_the_node_say_so():
    for path in COMMANDS[:-1]:
        words = words_of(path)
        assert words[words.index("--root") + 1] == "/host"
    job = load(DEPLOY / "job.yaml")["spec"]["template"]["spec"]
    assert job["volumes"][0]["hostPath"]["path"] == "/"
    assert job["containers"][0]["volumeMounts"][0]["mountPath"] == "/host"
    assert job["containers"][0]["securityContext"]["privileged"] is True


def test_failure_policy_knows_every_exit_code():
    codes = exit_codes()
    spec = load(DEPLOY / "job.yaml")["spec"]
    assert spec["template"]["spec"]["restartPolicy"] == "Never", "a failure policy needs that"
    name = spec["template"]["spec"]["containers"][0]["name"]
    by_action = {}
    for rule in spec["podFailurePolicy"]["rules"]:
        if "onExitCodes" in rule:
            assert rule["onExitCodes"]["containerName"] == name and rule["onExitCodes"]["operator"] == "In"
            by_action.setdefault(rule["action"], set()).update(rule["onExitCodes"]["values"])
    temporary = {codes[name] for name in TEMPORARY}
    assert by_action["FailJob"] == set(codes.values()) - temporary - {0}
    assert by_action["Ignore"] | by_action["Count"] == temporary


def test_unit_repeats_what_repeating_can_heal():
    codes = exit_codes()
    text = (DEPLOY / "tb-agent-upgrade.service").read_text()
    prevented = {int(n) for n in re.search(r"^RestartPreventExitStatus=(.*)$", text, re.M).group(1).split()}
    assert prevented == set(codes.values()) - {codes[name] for name in TEMPORARY} - {0}


@pytest.mark.parametrize("unit", UNITS, ids=lambda p: p.name)
def test_unit_is_accepted(tmp_path, unit):
    for other in UNITS:
        text = other.read_text().replace("/usr/bin/tb-agent", str(BUILD / "tb-agent"))
        (tmp_path / other.name).write_text(re.sub(r"^Documentation=.*\n", "", text, flags=re.M))
    said = tool("systemd-analyze", "verify", tmp_path / unit.name, check=False).stderr.decode()
    assert not any(other.name in said for other in UNITS), said


# --- the translator for kairos-operator ---

def translated(tmp_path, *words):
    fake = tmp_path / "tb-agent"
    fake.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    fake.chmod(0o755)
    return subprocess.run([DEPLOY / "kairos-agent", *words], env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize("words, recovery", [
    (["upgrade", "--source", "dir:/"], False),
    (["--debug", "upgrade", "--source", "dir:/", "--exclude-path", "/dev", "--exclude-path", "/a b"], False),
    (["upgrade", "--recovery", "--source", "dir:/"], True)])
def test_operators_words_are_translated(tmp_path, words, recovery):
    done = translated(tmp_path, *words)
    said = done.stdout.decode().splitlines()
    assert done.returncode == 0 and said[:5] == ["upgrade", "--root", "/host", "--source", "dir:/"], done
    assert ("--recovery" in said) == recovery
    assert {word for word in said if word.startswith("--")} <= set(known_options())


@pytest.mark.parametrize("words", [[], ["install"], ["upgrade"], ["upgrade", "--source"], ["upgrade", "--oops"]])
def test_operators_unknown_words_are_an_error(tmp_path, words):
    assert translated(tmp_path, *words).returncode != 0


def test_container_has_what_the_program_is_linked_to():
    """Every library it names itself, by its package; and the one that it loads when it talks to a TPM."""
    text = (DEPLOY / "Containerfile").read_text()
    named = set(re.search(r"--no-install-recommends(.*?)&&", text, re.S).group(1).replace("\\", " ").split())
    listed = tool("ldconfig", "-p", env={"PATH": "/usr/sbin:/sbin:/usr/bin"}).stdout.decode()
    where = dict(re.findall(r"^\s+(\S+) \(libc6,x86-64\S*\) => (\S+)$", listed, re.M))
    needed = re.findall(r"NEEDED\s+(\S+)", tool("objdump", "-p", BUILD / "tb-agent").stdout.decode())
    assert "libcryptsetup.so.12" in needed
    for library in [*needed, "libtss2-tcti-device.so.0"]:
        owners = set()
        for path in (where[library], "/usr" + where[library], where[library].removeprefix("/usr")):
            said = tool("dpkg", "-S", path, check=False).stdout.decode()
            owners |= {line.split(":")[0] for line in said.splitlines()}
        assert owners & named or owners == {"libc6"}, f"{library} is in {owners}"
    assert {"ca-certificates", "dosfstools"} <= named         # for https, and fsck.vfat
    assert all((TOP / source).exists() or source.startswith("build/") for source in re.findall(r"^COPY (\S+)", text, re.M))
