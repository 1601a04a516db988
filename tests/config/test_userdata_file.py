# SPDX-License-Identifier: Apache-2.0
"""User data: what an engine is given, byte for byte, and what the engines themselves make of it."""
import json
import os
import random
import re
import subprocess
from pathlib import Path

import pytest
import yaml

TOP = Path(__file__).resolve().parents[2]
AGENT = Path(os.environ.get("TB_BUILD", TOP / "build")) / "tb-agent"
FOLDER = TOP / "tests/config/userdata"
MAN = TOP / "man/tb-agent-config.5.scd"
HEAD = "#cloud-config\n"
SEED = "var/lib/cloud/seed/nocloud"
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="makes users and mounts")


@pytest.fixture
def root(tmp_path):
    """The root of an image: two accounts, and the home of one whose account is forgotten with /etc."""
    folder = tmp_path / "root"
    for name in ("etc", "sys", "proc/sys/kernel/random", "dev", "run", "home"):
        (folder / name).mkdir(parents=True)
    (folder / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n")
    (folder / "etc/group").write_text("root:x:0:\ndaemon:x:1:\n")
    (folder / "proc/sys/kernel/random/boot_id").write_text("id-of-boot\n")
    return folder


def user_data(root, engine, *argv, text=None):
    return subprocess.run([AGENT, "config", "user-data", "--root", root, "--engine", engine, *argv], input=text,
                          capture_output=True, text=True, timeout=60)


def written(root, engine, *argv, rc=0, text=None):
    done = user_data(root, engine, "--json", *argv, text=text)
    assert done.returncode == rc, done
    return {f["path"][1:]: f for f in json.loads(done.stdout)["written"]}


def put(files, folder):
    for path, file in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(file["content"])
        target.chmod(int(file["mode"], 8))


def cloud_config(files):
    text = files[f"{SEED}/user-data"]["content"]
    assert text.startswith(HEAD)
    return yaml.safe_load(text)


# --- what is given ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("engine", ["systemd", "cloud-init"])
@pytest.mark.parametrize("name", ["users", "files", "stages"])
@root_only
def test_golden_files(root, name, engine):
    (root / "home/late").mkdir()
    os.chown(root / "home/late", 1042, 1042)
    done = user_data(root, engine, FOLDER / f"{name}.yaml")
    assert done.stdout == (FOLDER / f"{name}.{engine}").read_text()
    said = re.sub(r"^[^:]*/", "", done.stderr, flags=re.M)
    assert said == (FOLDER / f"{name}.{engine}.problems").read_text()
    assert done.returncode == 4
    assert "hunter2" not in done.stdout + done.stderr


def test_texts_are_what_another_reader_takes_them_for(root):
    dice = random.Random(11)
    pieces = ["x", "y ", "# ", ": ", "- ", "\\", '"', "'", "é", "€", "𝄞", "\n", "\n\n", "  ", "\t", "%", "{{", "~", "\x7f", "\x85", "\u2028",
              "0x10", "yes", "\ufeff"]
    for style in (None, "|", ">", '"', "'"):
        wanted = ["".join(dice.choice(pieces) for _ in range(dice.randrange(30))) for _ in range(40)] + ["", "1e3", "0644", "null", "\n"]
        text = yaml.safe_dump({"write_files": [{"path": f"/{i}", "content": c} for i, c in enumerate(wanted)]}, default_style=style,
                              allow_unicode=dice.random() < 0.5)
        found = cloud_config(written(root, "cloud-init", "-", text=HEAD + text))["write_files"]
        assert found == yaml.safe_load(text)["write_files"]
        assert sum(f["content"] == w for f, w in zip(found, wanted, strict=True)) > 30


def test_what_is_no_text_stays_what_it_is(root):
    values = {"mounts": [["a", None, 1.5, 0o17, True, "yes", "1", -3]], "apt": {"x": {"y": []}, "z": {}}, "locale": "no"}
    text = yaml.safe_dump(values) + "ssh_pwauth: yes\nswap: {size: 1_000, at: .5, e: 1e+3, time: 12:30:45}\n"
    assert cloud_config(written(root, "cloud-init", "-", text=HEAD + text)) == yaml.safe_load(text)


def test_anchors_and_merges_are_filled_in(root):
    text = "x-all: &all [echo 1, echo 2]\nruncmd: *all\napt: {<<: {a: 1}, b: 2}\n"
    assert cloud_config(written(root, "cloud-init", "-", text=HEAD + text)) == {"runcmd": ["echo 1", "echo 2"], "apt": {"a": 1, "b": 2}}
    bomb = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 8)}]\n" for i in range(8)) + "runcmd: *i\n"
    for wrong in (bomb, "a: &a [*a]\n", "runcmd: !exec x\n", "runcmd: [\"a\\0b\"]\n"):
        done = user_data(root, "cloud-init", "-", text=HEAD + wrong)
        assert done.returncode == 4 and done.stderr.startswith("stdin:"), done


def test_merged_in_the_documented_order(root, tmp_path):
    files = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    files[0].write_text(HEAD + "hostname: a\nruncmd: [echo a]\napt: {x: 1, y: 1}\nusers: [{name: a}]\nlocale: C\ngroups: [a]\n")
    files[1].write_text(HEAD + "hostname: b\nruncmd: []\napt: {y: 2}\nusers: []\ngroups:\nstages: {boot: [{commands: [echo b]}]}\n")
    assert cloud_config(written(root, "cloud-init", *files)) == {
        "hostname": "b", "runcmd": [["sh", "-c", "echo b"]], "apt": {"x": 1, "y": 2}, "users": [], "locale": "C"}


def test_no_user_data_is_a_seed_all_the_same(root):
    files = written(root, "cloud-init", "-", text=HEAD + "install: {device: auto}\nk3s: {token: x}\n")
    assert files[f"{SEED}/user-data"] == {"path": f"/{SEED}/user-data", "mode": "0600", "content": "#cloud-config\n{}\n"}
    assert written(root, "systemd", "-", text=HEAD) == {}


def test_password_that_lets_everybody_in(root):
    for key in ("passwd", "hashed_passwd", "plain_text_passwd"):
        text = HEAD + f"users: [{{name: a, lock_passwd: false, {key}: ''}}]\n"
        assert not [path for path in written(root, "systemd", "-", rc=4, text=text) if "credentials" in path]
        assert cloud_config(written(root, "cloud-init", "-", rc=4, text=text)) == {"users": [{"name": "a", "lock_passwd": False}]}


def test_uids_stay_with_the_homes_they_own(root):
    def uids(users):
        lines = written(root, "systemd", "-", text=HEAD + yaml.safe_dump({"users": users}))["run/tb-agent/userdata/sysusers.conf"]
        return {line.split()[1]: line.split()[2] for line in lines["content"].splitlines()}
    assert uids([{"name": "b"}, {"name": "a", "uid": 1000}, {"name": "c"}]) == {"b": "1001", "a": "1000", "c": "1002"}
    if os.geteuid() == 0:
        (root / "home/c").mkdir()
        os.chown(root / "home/c", 1000, 1000)
        (root / "home/gone").mkdir()
        os.chown(root / "home/gone", 1001, 1001)
        assert uids([{"name": "b"}, {"name": "c"}]) == {"b": "1002", "c": "1000"}
        assert user_data(root, "systemd", "-", text=HEAD + "users: [{name: a, uid: 7}, {name: b, uid: 7}]\n").returncode == 4


@pytest.mark.parametrize("text", ["users: x", "users: [[a]]", "users: {a: b}", "users: [{name: -a}]", "users: [{name: a, passwd: [x]}]",
                                  "users: [{name: a, passwd: x, plain_text_passwd: y}]", "users: [{name: a, ssh_authorized_keys: x}]", "users: [{name: a, passwd: ''}]",
                                  "users: [{name: a, hashed_passwd: ''}]", "users: [{name: a, plain_text_passwd: ''}]",
                                  "hostname: a b", "hostname: [x]", "write_files: [{path: a}]", "write_files: {}", "runcmd: echo",
                                  "runcmd: [[]]", "bootcmd: [[[x]]]", "stages: []", "stages: {boot: x}", "stages: {boot: [x]}",
                                  "stages: {boot: [{users: []}]}", "stages: {boot: [{commands: [[x]]}]}",
                                  "stages: {boot: [{files: [{content: x}]}]}", "stages: {boot: [{sysctl: {\"a b\": 1}}]}"])
def test_mistakes_are_errors_of_check(text):
    done = subprocess.run([AGENT, "config", "check", "-"], input=HEAD + text + "\n", capture_output=True, text=True, timeout=60)
    assert done.returncode == 4 and re.match(r"stdin:2:\d+: ", done.stderr), done


def test_words_of_check():
    check = [AGENT, "config", "check", "--engine"]
    text = HEAD + "timezone: UTC\n"
    for engine, said in (("systemd", "stdin:2:1: warning: timezone is left out"), ("cloud-init", "")):
        done = subprocess.run([*check, engine, "-"], input=text, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and done.stderr.startswith(said), done
    assert subprocess.run([*check, "yip", "-"], input=text, capture_output=True, text=True, timeout=60).returncode == 2


# --- the manual page ----------------------------------------------------------------------------------------------------

def table(name):
    """{key: (use, why)} of a table of agent/userdata_table.c."""
    text = (TOP / "agent/userdata_table.c").read_text()
    words = dict(re.findall(r'#define (\w+) "([^"]*)"', text))
    body = re.search(name + r"\[\] = \{(.*?)\{NULL", text, re.S).group(1)
    return {key: (use, words.get(why, why.strip('"'))) for key, use, why in
            re.findall(r'\{"([^"]+)", USERDATA_(\w+),\s+("[^"]*"|\w+)\}', body)}


def test_manual_page_has_the_tables():
    page = MAN.read_text().replace("\\", "")

    def listed(before):
        return re.findall(r"\*([^*]+)\*", page.split(before + "\n\n")[1].split("\n\n")[0])
    top, step = table("userdata_top_keys"), table("userdata_step_keys")
    assert len(top) > 60 and len(step) > 30
    for keys, use, before in ((top, "BOTH", "For both engines:"), (top, "CLOUD", "leaves them out, with a warning):"),
                              (step, "BOTH", "Of a step are translated:"), (step, "STEP", "left out as a whole, with a warning:")):
        assert listed(before) == [key for key, (its, _) in keys.items() if its == use], before
    refused = dict(re.findall(r"^\*([^*\n]+)\*\n\t([^\n]*)\n", page.split("# USER DATA THAT IS REFUSED")[1].split("\n# ")[0], re.M))
    assert refused == {**{key: why for key, (use, why) in top.items() if use == "REFUSED"},
                       **{f"stages.{key}": why for key, (use, why) in step.items() if use == "REFUSED"}}


# --- the engines themselves ---------------------------------------------------------------------------------------------

def run(*argv, **kwargs):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, **kwargs)
    assert done.returncode == 0, done
    return done.stdout


@root_only
def test_systemd_makes_users_and_files(root):
    files = written(root, "systemd", FOLDER / "users.yaml", rc=4)
    files |= {f"2/{path}": file for path, file in written(root, "systemd", FOLDER / "files.yaml", rc=4).items()}
    put(files, root)
    folder = root / "run/tb-agent/userdata"
    run("systemd-sysusers", f"--root={root}", folder / "sysusers.conf", env={**os.environ, "CREDENTIALS_DIRECTORY": str(folder / "credentials")})
    run("systemd-tmpfiles", f"--root={root}", "--create", folder / "tmpfiles.conf")
    run("systemd-tmpfiles", f"--root={root}", "--create", root / "2/run/tb-agent/userdata/tmpfiles.conf")
    passwd = dict(line.split(":", 1) for line in (root / "etc/passwd").read_text().splitlines())
    shadow = dict(line.split(":")[:2] for line in (root / "etc/shadow").read_text().splitlines())
    group = {line.split(":")[0]: line.split(":")[3].split(",") for line in (root / "etc/group").read_text().splitlines()}
    assert passwd["admin"] == "x:1000:1000:The Admin:/home/admin:/bin/sh" and passwd["kairos"].startswith("x:1500:1500:")
    assert shadow["admin"] == "$6$abc$def" and shadow["kairos"].startswith("$y$")
    assert shadow["locked"][0] == "!" and shadow["daemon1"][0] == "!" and "root" not in shadow
    assert int(passwd["daemon1"].split(":")[1]) < 1000
    assert group["wheel"] == ["admin", "kairos"] and group["extra"] == ["admin"]
    keys = root / "home/admin/.ssh/authorized_keys"
    assert keys.read_text() == "ssh-ed25519 AAAA admin@example\n"
    for path, mode, owner in ((keys, 0o600, 1000), (keys.parent, 0o700, 1000), (root / "home/admin", 0o700, 1000),
                              (root / "root/.ssh/authorized_keys", 0o600, 0), (root / "etc/sudoers.d/90-tb-agent", 0o440, 0),
                              (root / "etc/app/token", 0o600, 0), (root / "etc/app/decimal", 0o644, 0), (root / "etc/motd", 0o644, 0)):
        assert (path.stat().st_mode & 0o7777, path.stat().st_uid) == (mode, owner), path
    assert not (root / "home/locked").exists() and not (root / "home/daemon1").exists()
    wanted = {f["path"]: f.get("content", "") for f in yaml.safe_load((FOLDER / "files.yaml").read_text())["write_files"]}
    assert (root / "etc/motd").read_text() == wanted["/etc/motd"]
    assert (root / "etc/app/token").read_bytes() == b"\0\1\2\n" and (root / "etc/app/folded").read_text() == "hello\n"
    assert (root / "etc/app/a name 50%").read_text() == wanted["/etc/app/a name 50%"]
    assert (root / "etc/app/list").read_text() == "one\ntwo\n" and (root / "etc/app/decimal").read_text() == ""


def test_systemd_takes_the_units(root):
    names = set()
    for name in ("users", "files", "stages"):
        files = written(root, "systemd", FOLDER / f"{name}.yaml", rc=4)
        put(files, root)
        names |= {path for path in files if path.endswith(".service")}
    assert len(names) == 4
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *(root / path for path in sorted(names))], capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == 0 and "tb-agent" not in done.stderr, done


@pytest.mark.parametrize("name", ["users", "files", "stages"])
def test_cloud_init_takes_the_seed(root, tmp_path, name):
    file = tmp_path / "user-data"
    file.write_text(written(root, "cloud-init", FOLDER / f"{name}.yaml", rc=4)[f"{SEED}/user-data"]["content"])
    if os.geteuid() == 0:       # cloud-init reads nothing otherwise
        assert "Valid cloud-config" in run("cloud-init", "schema", "--config-file", file)


LIVE = HEAD + """hostname: node7
users:
- {name: admin, passwd: $6$abc$def, ssh_authorized_keys: [ssh-rsa AAAA]}
- {name: kairos, passwd: plain word}
write_files:
- {path: /etc/app/token, permissions: '0600', content: "a\\tb\\n"}
runcmd: [echo done > /run/done]
resize_rootfs: false
growpart: {mode: 'off'}
stages:
  boot:
  - commands: [cd /tmp && pwd > /run/where]
    files: [{path: /etc/app/yip, permissions: 0640, content: x}]
    authorized_keys: {root: [ssh-rsa BBBB]}
    hostname: node8
"""
BOOT = """
/usr/lib/cloud-init/ds-identify --force > /dev/null 2>&1
grep NoCloud /run/cloud-init/cloud.cfg
for step in 'init --local' init 'modules --mode=config' 'modules --mode=final'; do cloud-init $step > /dev/null 2>&1 || true; done
hostname
grep -E '^(admin|kairos|root):' /etc/shadow
cat /etc/app/token /home/admin/.ssh/authorized_keys /root/.ssh/authorized_keys /run/done /run/where
stat -c '%a %n' /etc/app/token /etc/app/yip
ls /var/lib/cloud/instances
sha256sum /etc/ssh/ssh_host_ed25519_key
grep -o '"datasource": "[^[]*' /run/cloud-init/result.json
"""
# The next boot: /etc is new, homes are kept; here also what cloud-init itself remembers.
AGAIN = BOOT + """
echo =====
userdel admin; userdel kairos; rm -r /etc/app /run/*
sed -i s/id-of-boot/another/ /var/lib/cloud/seed/nocloud/meta-data
""" + BOOT


@root_only
def test_cloud_init_applies_the_seed_at_each_boot(root, tmp_path):
    files, script = tmp_path / "files", tmp_path / "script"
    put(written(root, "cloud-init", "-", text=LIVE), files)
    script.write_text(AGAIN)
    done = subprocess.run(["unshare", "-mupfn", FOLDER / "run-cloud-init", files, script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done
    boots = done.stdout.split("=====\n")
    # A new instance, and yet the same server to those who know its key.
    assert len(set(re.findall(r"^[0-9a-f]{64}  /etc/ssh.*$", done.stdout, re.M))) == 1
    for boot, ids in zip(boots, (["tb-agent-id-of-boot"], ["tb-agent-another", "tb-agent-id-of-boot"]), strict=True):
        lines = boot.splitlines()
        assert lines[:2] == ["datasource_list: [ NoCloud, None ]", "node8"], boot
        assert "admin:$6$abc$def:" in boot and re.search(r"^kairos:\$(y|6)\$", boot, re.M), boot
        for line in ("a\tb", "ssh-rsa AAAA", "ssh-rsa BBBB", "done", "/tmp", "600 /etc/app/token", "640 /etc/app/yip", *ids,
                     '"datasource": "DataSourceNoCloud '):
            assert line in lines, (line, boot)
