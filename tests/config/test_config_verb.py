# SPDX-License-Identifier: Apache-2.0
"""tb-agent config as it is typed: files, standard input, servers, known folders, the schema, and the manual page."""
import json
import os
import random
import re
import socket
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

TOP = Path(__file__).resolve().parents[2]
AGENT = Path(os.environ.get("TB_BUILD", TOP / "build")) / "tb-agent"
EXAMPLES = sorted((TOP / "tests/config/examples").glob("*.yaml"))
MAN = TOP / "man/tb-agent-config.5.scd"
HEAD = "#cloud-config\n"


def config(*argv, text=None):
    return subprocess.run([AGENT, "config", *map(str, argv)], input=text, capture_output=True, text=True, timeout=60)


def said(*argv, rc=0, text=None):
    done = config(*argv, "--json", text=text)
    assert done.returncode == rc, done
    answer = json.loads(done.stdout)
    assert answer["schema"] == 1 and answer["verb"] == "config"
    return answer


def values(*argv, **kwargs):
    return {v["key"]: v for v in said("show", *argv, **kwargs)["values"]}


# --- check and show -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("example", EXAMPLES, ids=lambda p: p.stem)
def test_examples_are_right(example):
    done = config("check", example)
    assert done.returncode == 0 and done.stdout == "1 file, no errors\n", done
    assert said("check", example)["valid"]


def test_configuration_of_kairos_works_unchanged():
    example = TOP / "tests/config/examples/kairos-trusted-boot.yaml"
    answer = said("check", example)
    assert not answer["errors"]
    assert [w["text"].split(":")[0] for w in answer["warnings"]] == [
        "install.grub_options", "install.skip-entries", "install.system.size", "users", "hostname is left out"]
    shown = values(example)
    assert shown["install.device"]["value"] == "auto" and shown["install.partitions.oem.size"]["value"] == 512 << 20
    assert shown["install.extra-partitions"]["value"] == [
        {"name": "DATA", "size": 1 << 30, "fs": "ext4", "label": "DATA", "encrypted": True}]
    assert shown["bind-pcrs"]["value"] == [7] and shown["bind-public-pcrs"]["value"] == [11]


def test_mistakes_are_shown_with_their_places(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(HEAD + "install:\n  devise: /dev/sda\n  reboot: maybe\n  nousers: true\n")
    done = config("check", file)
    assert done.returncode == 4 and done.stdout == ""
    assert done.stderr.splitlines() == [
        f'{file}:3:3: install: unknown key "devise"; did you mean "device"?',
        f'{file}:4:11: install.reboot: expected true or false, found the text "maybe"',
        f"{file}:5:3: warning: install.nousers: has no effect: no user is demanded",
        "tb-agent: 2 errors"]
    answer = said("check", file, rc=4)
    assert not answer["valid"] and len(answer["errors"]) == 2 and len(answer["warnings"]) == 1
    assert answer["errors"][0] == {"file": str(file), "line": 3, "column": 3, "text": 'install: unknown key "devise"',
                                   "advice": 'did you mean "device"?'}
    assert answer["error"]["class"] == "config" and answer["error"]["exit_code"] == 4
    assert answer["error"]["text"] == f'{file}:3:3: install: unknown key "devise"'
    assert config("show", file).returncode == 4


def test_standard_input_and_what_comes_later(tmp_path):
    first = tmp_path / "first.yaml"
    first.write_text(HEAD + "install:\n  device: /dev/a\n  reboot: true\n")
    shown = values(first, "-", text=HEAD + "install: {device: /dev/b}\n")
    assert shown["install.device"]["value"] == "/dev/b" and shown["install.device"]["file"] == "stdin"
    assert shown["install.reboot"]["file"] == str(first) and shown["install.reboot"]["line"] == 4
    assert shown["install.source"] == {"key": "install.source", "value": None, "file": None, "line": None, "column": None}
    assert said("show", "-", first, text=HEAD)["files"] == ["stdin", str(first)]
    assert config("check", "-", "-", text=HEAD).returncode == 2


@pytest.mark.parametrize("style", ["'", '"', None])
def test_texts_are_what_another_reader_takes_them_for(style):
    """Characters, quotes and escapes, against PyYAML."""
    dice = random.Random(7)
    pieces = "x y # : - , [ ] { } \\ \" é € 𝄞 % @ & ! | > ~ ? ; = .".split() + [" ", "b"] + (["'"] if style == '"' else [])
    for _ in range(8):
        wanted = {"/a" + "".join(dice.choice(pieces) for _ in range(dice.randrange(40))) + "z" for _ in range(40)}
        text = yaml.safe_dump({"install": {"hooks": {"after": sorted(wanted)}}}, default_style=style, width=1 << 20,
                              allow_unicode=dice.random() < 0.5)
        # Escapes that a writer has no need of mean the same.
        text = text.replace("b", "\\x62") if style == '"' else text
        assert values("-", text=HEAD + text)["install.hooks.after"]["value"] == sorted(wanted)


def test_secrets_of_others_are_not_shown():
    text = HEAD + "users: [{name: a, passwd: hunter2}]\nwrite_files: [{path: /x, content: hunter2}]\ninstall: {device: auto}\n"
    for argv in (("show", "-"), ("show", "-", "--json"), ("check", "-"), ("check", "-", "--json")):
        done = config(*argv, text=text)
        assert done.returncode == 0 and "hunter2" not in done.stdout + done.stderr


@pytest.mark.parametrize("source", ["https://user:hunter2@h/x?token=hunter3", "htps://user:hunter2@h/x", "https://user:hunter2@h"])
def test_password_of_a_source_is_not_shown(source):
    text = HEAD + f"install: {{source: '{source}'}}\nupgrade: {{system: {{source: '{source}'}}}}\n"
    for argv in (("show", "-"), ("show", "-", "--json"), ("check", "-"), ("check", "-", "--json")):
        done = config(*argv, text=text)
        assert "hunter" not in done.stdout + done.stderr, done
        assert "***" in done.stdout + done.stderr or (argv[0] == "check" and done.returncode == 0), done


def test_known_folders_below_a_root(tmp_path):
    for folder in ("run/initramfs/live", "etc/kairos", "usr/local/cloud-config", "oem", "sys", "proc", "dev"):
        (tmp_path / folder).mkdir(parents=True)
    for number, folder in enumerate(("run/initramfs/live", "etc/kairos", "usr/local/cloud-config", "oem")):
        (tmp_path / folder / "a.yaml").write_text(HEAD + f"install: {{device: /dev/{number}}}\n")
    (tmp_path / "oem/b.yml").write_text("name: other's\n")
    (tmp_path / "mine").write_text(HEAD + "reset: {reset-oem: true}\n")
    done = config("show", "--root", tmp_path)
    assert done.returncode == 0 and "/dev/3" in done.stdout and f"({tmp_path}/oem/a.yaml:2:19)" in done.stdout
    assert done.stderr == f"{tmp_path}/oem/b.yml:1:1: warning: left out: the header #cloud-config is missing\n"
    assert len(said("check", "--root", tmp_path)["files"]) == 4
    assert said("check", "--root", tmp_path, tmp_path / "mine")["files"] == [str(tmp_path / "mine")]
    both = values("--root", tmp_path, "--use-default-dirs", tmp_path / "mine")
    assert both["install.device"]["value"] == "/dev/3" and both["reset.reset-oem"]["value"] is True


@pytest.mark.parametrize("argv, rc", [((), 2), (("nonsense",), 2), (("check", "--nonsense"), 2), (("schema", "x"), 2),
                                      (("check", "/nowhere.yaml"), 4), (("check", "/"), 4), (("show", "/dev/null"), 4),
                                      (("check", *["a"] * 17), 2), (("--help",), 0), (("check", "-h"), 0)])
def test_words(argv, rc):
    done = config(*argv)
    assert done.returncode == rc and (done.stderr or rc == 0), done


def test_too_much_on_standard_input():
    assert config("check", "-", text=HEAD + "#" * (1 << 20)).returncode == 4
    assert config("check", "-", text=(HEAD + "#" * (1 << 20))[:1 << 20]).returncode == 0


# --- servers ------------------------------------------------------------------------------------------------------------

def test_url(files, own_authority):
    files.files["/node.yaml"] = (HEAD + "install: {device: /dev/net}\n").encode()
    url = f"{files.url}/node.yaml"
    shown = values(url, "--ca", own_authority.pem)
    assert shown["install.device"]["value"] == "/dev/net" and shown["install.device"]["file"] == url
    assert len(files.seen()) == 1 and files.seen()[0].method == "GET"
    # Who cannot be trusted is not asked.
    assert config("check", url, "--attempts", "1").returncode == 4
    assert len(files.seen()) == 1


def test_mistakes_of_a_url_bear_its_name_but_no_secret(files, own_authority):
    files.files["/x"] = (HEAD + "install: {devise: x}\n").encode()
    done = config("check", f"https://user:hunter2@{files.address}/x?token=hunter3", "--ca", own_authority.pem)
    assert done.returncode == 4, done
    assert done.stderr.startswith(f"https://user:***@{files.address}/x?***:2:11: install: unknown key")
    assert files.seen()[0].headers["authorization"].startswith("Basic ")


def test_what_servers_do(files, own_authority):
    def check(name, *more):
        return said("check", f"{files.url}/{name}", "--ca", own_authority.pem, "--attempts", "1", *more, rc=4)["error"]["text"]
    assert "404" in check("missing")
    files.files["/large"] = HEAD.encode() + b"#" * (1 << 20)
    assert "configuration https://" in check("large")
    files.files["/page"] = b"<html><body>Log in</body></html>"
    assert "the header #cloud-config is missing" in check("page")
    files.files["/right"] = (HEAD + "#" * (1 << 20)).encode()[:1 << 20]
    assert said("check", f"{files.url}/right", "--ca", own_authority.pem)["valid"]


def test_server_that_is_down_is_for_another_time():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/x"
    answer = said("check", url, "--attempts", "1", rc=5)
    assert answer["error"]["class"] == "source-unreachable"


def test_plain_http_needs_a_word(plain_files):
    plain_files.files["/x"] = HEAD.encode()
    url = f"{plain_files.url}/x"
    assert config("check", url, "--attempts", "1").returncode != 0
    assert not plain_files.seen()
    assert said("check", url, "--insecure", plain_files.address)["valid"]


# --- the schema ---------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def schema():
    done = config("schema")
    assert done.returncode == 0
    made = json.loads(done.stdout)
    jsonschema.Draft202012Validator.check_schema(made)
    return made


@pytest.fixture(scope="module")
def accepts(schema):
    validator = jsonschema.Draft202012Validator(schema)
    return lambda text: validator.is_valid(yaml.safe_load(text))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda p: p.stem)
def test_schema_accepts_examples(accepts, example):
    assert accepts(example.read_text())


# Key, and values with what both the agent and the schema have to say of them.
AGREED = {
    "install: {device: %s}": (("auto", 1), ("/dev/sda", 1), ("/dev/disk/by-id/x:y", 1), ("sda", 0), ("/dev", 0), ("/dev/../x", 0),
                              ("/dev//x", 0), ("script:///x", 0), ("'auto '", 1), ("1", 0), ("largest", 1),
                              ("'size>=100G, size<2T ,bus=nvme,smallest'", 1), ("'model=Samsung *,rotational=no'", 1), ("size>100", 0),
                              ("bus=x", 0), ("'auto,'", 0), ("x=1", 0), ("true", 0), ("~", 0), ("[auto]", 0)),
    "install: {reboot: %s}": (("true", 1), ("no", 1), ("off", 1), ("'true'", 0), ("1", 0), ("maybe", 0), ("~", 0)),
    "install: {partitions: {oem: {size: %s}}}": (("64", 1), ("0", 1), ("64M", 1), ("'1GiB'", 1), ("1T", 1), ("'64'", 0), ("31", 0),
                                                 ("-1", 0), ("1.5", 0), ("1.5G", 0), ("64MB", 0), ("64m", 0), ("1073741825", 0),
                                                 ("01G", 0), ("~", 0), ("{}", 0)),
    "install: {partitions: {oem: %s}}": (("{}", 1), ("~", 1), ("[]", 0), ("x", 0), ("{sise: 1}", 0), ("{fs: ext4}", 1), ("{fs: xfs}", 0),
                                         ("{label: X}", 0), ("{label: ~}", 1)),
    "install: {bind_mounts: %s}": (("[/a, /b]", 1), ("[]", 1), ("~", 1), ("/a", 0), ("[/a, /a]", 0), ("[a]", 0), ("[/a/..]", 0),
                                   ("[/]", 0), ("['/a b']", 0), ("[/a$b]", 0), ("[/..a/.b]", 1), ("[/a/]", 0), ("[[/a]]", 0)),
    "install: {source: %s}": (("'oci:a/b'", 1), ("dir:/x", 1), ("https://h/x", 1), ("a/b", 0), ("'oci:'", 0), ("docker:x", 0)),
    "install: {extra-partitions: %s}": (("[{name: a, size: 64}]", 1), ("[{name: a, size: 64, fs: ext4, label: a}]", 1),
                                        ("[{name: a}]", 0), ("[{size: 1}]", 0), ("[{name: 'a b', size: 1}]", 0), ("[x]", 0),
                                        ("[{name: a, size: 1, x: 1}]", 0), ("{}", 0)),
    "install: {recovery-key: %s}": (("show", 1), ("none", 1), ("None", 0), ("false", 0)),
    "install: {cloud-init: %s}": (("[x]", 0), ("false", 1), ("~", 1)),
    "install: {auto: %s}": (("true", 1), ("no", 1), ("{x: [1]}", 0)),
    "install: {nousers: %s}": (("true", 1), ("{x: [1]}", 1)),
    "bind-pcrs: %s": (("[7]", 1), ("['0', 2, 3, '14']", 1), ("[]", 1), ("[8]", 0), ("[1]", 0), ("['4']", 0), ("[11]", 0), ("[24]", 0), ("[-1]", 0), ("[x]", 0), ("7", 0), ("['07']", 0)),
    "bind-public-pcrs: %s": (("[11]", 1), ("['11']", 1), ("[7]", 0)),
    "upgrade: {entry: %s}": (("active", 1), ("recovery", 1), ("passive", 0)),
    "reset: {hooks: {before: %s}}": (("[/oem/x]", 1), ("[x]", 0)),
    "cosign: %s": (("true", 0), ("false", 1)),
    "users: %s": (("[x]", 1), ("{a: {uid: 1}}", 1)),
    "install: %s": (("~", 1), ("{}", 1), ("[]", 0), ("{devise: x}", 0)),
}
CASES = [(key % value, right) for key, list_ in AGREED.items() for value, right in list_]


@pytest.mark.parametrize("text, right", CASES)
def test_schema_and_agent_agree(accepts, text, right):
    done = config("check", "-", text=HEAD + text + "\n")
    assert done.returncode == (0 if right else 4), done
    assert accepts(text) == bool(right)


# --- the manual page ----------------------------------------------------------------------------------------------------

def keys_of(node, prefix=""):
    """(path, description) of each key that is no map."""
    for name, key in node["properties"].items():
        path = prefix + name
        if "properties" in key:
            yield from keys_of(key, path + ".")
        else:
            yield path, key["description"]
        if "properties" in key.get("items", {}):
            yield from keys_of(key["items"], path + "[].")


def sections_of(page):
    """{section: {key: text}} of the lists of keys."""
    found = {}
    for section in re.split(r"^# ", page, flags=re.M)[1:]:
        title, _, text = section.partition("\n")
        entries = re.findall(r"^\*([^*\n]+)\*[^\n]*\n((?:\t[^\n]*\n)+)", text, re.M)
        found[title] = {key: " ".join(words.split()).replace("\\", "") for key, words in entries}
    return found


def test_manual_page_has_the_keys_of_the_table(schema):
    sections = sections_of(MAN.read_text())
    table = {"KEYS": {}, "KEYS WITHOUT EFFECT": {}, "KEYS THAT ARE REFUSED": {}}
    for path, text in keys_of(schema):
        kind, _, why = text.partition(": ")
        where = {"No effect": "KEYS WITHOUT EFFECT", "Refused": "KEYS THAT ARE REFUSED"}.get(kind)
        table[where or "KEYS"][path] = why[:-1] if where else text
    for title, keys in table.items():
        assert list(sections[title]) == list(keys), title
        for path, text in keys.items():
            assert sections[title][path].startswith(text), path


def test_example_of_the_manual_page_is_right(accepts):
    example = MAN.read_text().split("```\n")[1]
    assert config("check", "-", text=example).returncode == 0
    assert accepts(example)
