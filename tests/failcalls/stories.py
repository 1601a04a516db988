# SPDX-License-Identifier: Apache-2.0
"""What is done while calls fail: images and nodes of the tests of sources, and what has to be true of them."""
import hashlib
import json
import os
import shutil
import sys

from failcalls import PROGRAMS, TOP, Story

for folder in ("tests/image", "tests/registry", "vm-tests"):
    sys.path.insert(0, str(TOP / folder))
from imagetools import BOOT, EPOCH, OS_RELEASE, build_usi, make_rootfs, tb_image, tool     # noqa: E402
from node import Node                                                                      # noqa: E402
from registry import Registry                                                              # noqa: E402
from server import Authority                                                               # noqa: E402
from rig.oci import Layout, tar, tree                                                      # noqa: E402

MIB = 1 << 20


class Stage:
    """What all stories are told with: keys, two versions of a system, sources of the second."""

    def __init__(self, folder):
        self.folder, self.keys = folder, folder / "keys"
        tb_image("keys", self.keys)
        self.image = {version: self._usi(version) for version in (1, 2)}
        self.loader = folder / "BOOTX64.EFI"
        tb_image("sign", "--keys", self.keys, "--out", self.loader, BOOT)
        medium = folder / "medium"
        (medium / "EFI/kairos").mkdir(parents=True)
        (medium / "EFI/BOOT").mkdir()
        shutil.copy(self.image[2], medium / "EFI/kairos/norole.efi")
        shutil.copy(self.loader, medium / "EFI/BOOT/BOOTX64.EFI")
        layers = [(tar(tree(self.image[2].read_bytes(), self.loader.read_bytes())), "zstd")]
        Layout(folder / "layout").put_image(layers)
        tool("tar", "-C", folder / "layout", "-cf", folder / "oci.tar", ".")
        authority = Authority(folder)
        self.authority = authority.pem
        self.registry = Registry(tls=authority.certificate())
        self.registry.put_image("demo", layers)
        self.source = {"file": f"file:{self.image[2]}", "dir": f"dir:{medium}", "layout": f"dir:{folder / 'layout'}",
                       "ocifile": f"ocifile:{folder / 'oci.tar'}", "oci": f"oci:{self.registry.address}/demo"}
        (folder / "node").mkdir()
        self.node = Node(folder / "node", self.keys, self.image[1].read_bytes(), self.loader.read_bytes())

    def _usi(self, version):
        work = self.folder / f"usi{version}"
        work.mkdir()
        root = make_rootfs(work / "root")
        (root / "ballast").write_bytes(os.urandom(50000))
        build_usi(work, self.keys, root, os_release=OS_RELEASE.replace("7", str(version)))
        return work / "image.efi"

    def close(self):
        self.registry.close()


class Verify(Story):
    def __init__(self, stage, folder, source):
        super().__init__(f"verify-{source}", folder)
        self.stage, self.source = stage, source

    def argv(self):
        return ["verify", self.stage.source[self.source], *self.stage.node.trust(), "--json", "--ca", self.stage.authority]

    def check(self, end):
        if end.rc == 0:
            said = json.loads(end.out)
            assert said["sha256"] == digest(self.stage.image[2]), said


class Upgrade(Story):
    program = "upgrade-here"
    again = ("--same-boot",)

    def __init__(self, stage, folder, source, *options):
        super().__init__("-".join(["upgrade", source, *options]), folder)
        self.stage, self.source, self.options = stage, source, options
        (folder / "node").mkdir()
        self.node = stage.node.copy(folder / "node")

    def begin(self):
        self.node.become(self.stage.node)

    def argv(self):
        return ["--esp", self.node.esp, "--state", self.node.state, *self.node.trust(), "--source",
                self.stage.source[self.source], "--json", "--ca", self.stage.authority, *self.options]

    def check(self, end):
        """I1 to I3 of the design, and that nothing is held against the image."""
        old, new = (self.stage.image[v].read_bytes() for v in (1, 2))
        role = "recovery" if "--recovery" in self.options else "active"
        self.node.check([old, new])
        assert old in self.node.images("passive"), "the image that runs has no entry"
        if role == "active":
            assert self.node.role("recovery") == old
        else:
            assert self.node.role("active") == old
        for path in self.node.state.rglob("state.json"):
            assert not json.loads(path.read_text()).get("failed"), path.read_text()
        if end.rc == 0:
            assert self.node.role(role) == new
            json.loads(end.out)


class Config(Story):
    """What it prints is what it prints without a fault."""

    def __init__(self, stage, folder, *words):
        super().__init__("-".join(["config", words[0]]), folder)
        self.words, self.said = words, None

    def argv(self):
        return ["config", *self.words]

    def check(self, end):
        if end.rc == 0:
            self.said = self.said or end.out
            assert end.out == self.said, end.out


class Golden(Story):
    def __init__(self, stage, folder):
        super().__init__("install-image", folder)
        self.stage, self.out = stage, folder / "out"
        (folder / "config.yaml").write_text("#cloud-config\ninstall:\n  bind_mounts: [/var/lib/mine]\n")

    def begin(self):
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir()

    def argv(self):
        return ["install", "--image", self.out / "golden.img", "--overwrite", "--source", self.stage.source["dir"], "--esp-size", "260M",
                "--size", "600M", "--db", self.stage.keys / "db.pem", "--config", self.folder / "config.yaml", "--json"]

    def check(self, end):
        golden = self.out / "golden.img"
        if end.rc == 0:
            json.loads(end.out)
            assert golden.exists()
        elif not golden.exists():       # it may be there when only telling of it failed; then it is whole
            return
        assert b"No errors detected" in tool("sfdisk", "--verify", golden).stdout
        esp = self.folder / "esp.img"
        tool("dd", f"if={golden}", f"of={esp}", "bs=1M", "skip=1", "count=260", "conv=sparse")
        tool("fsck.fat", "-n", esp)
        for number in (1, 2):
            found = tool("mtype", "-i", esp, f"::EFI/kairos/usi-0000000{number}.efi").stdout
            assert hashlib.sha256(found).hexdigest() == digest(self.stage.image[2])
        for entry in ("active+3-0", "passive", "recovery"):
            assert len(tool("mtype", "-i", esp, f"::loader/entries/{entry}.conf").stdout) == 512


class Build(Story):
    """A verb of tb-image: the same bytes as without a fault, or nothing under that name."""
    program = "tb-image"
    env = {"SOURCE_DATE_EPOCH": EPOCH}

    def __init__(self, stage, folder, verb, *words):
        super().__init__(f"tb-image-{verb}", folder)
        self.words, self.made = [verb, *words], None

    def begin(self):
        for path in self.folder.glob("out*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    begin_again = begin

    def argv(self):
        return [*self.words, "--out", self.folder / "out"] if self.words[0] != "keys" else [*self.words, self.folder / "out"]

    def check(self, end):
        out = self.folder / "out"
        if end.rc != 0 and not out.exists():        # else only telling of it failed
            return
        if self.words[0] != "keys":
            self.made = self.made or contents(out)
            assert contents(out) == self.made
        else:
            assert len(contents(out)) == len(self.made or contents(out)) and all(contents(out).values())
            self.made = contents(out)


def contents(path):
    paths = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return {str(p.relative_to(path)): p.read_bytes() for p in paths}


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make(stage, folder):
    """All stories, by name."""
    every = TOP / "tests/config/examples/everything.yaml"
    work = stage.folder / "usi2"
    usi = ("--rootfs", work / "root", "--kernel", work / "kernel", "--cmdline", "quiet", "--os-release", work / "os-release", "--keys", stage.keys)
    stories = [
        *(lambda f, s=s: Upgrade(stage, f, s) for s in ("file", "layout", "ocifile", "oci")),
        lambda f: Upgrade(stage, f, "dir", "--recovery"),
        lambda f: Verify(stage, f, "file"),
        lambda f: Verify(stage, f, "ocifile"),
        lambda f: Config(stage, f, "check", every),
        lambda f: Config(stage, f, "show", every),
        lambda f: Config(stage, f, "user-data", every, "--engine", "systemd"),
        lambda f: Golden(stage, f),
        lambda f: Build(stage, f, "keys"),
        lambda f: Build(stage, f, "usi", *usi),
        lambda f: Build(stage, f, "sign", "--keys", stage.keys, BOOT),
        lambda f: Build(stage, f, "upgrade-image", "--usi", stage.image[2], "--loader", stage.loader),
        lambda f: Build(stage, f, "iso", "--usi", stage.image[2], "--loader", stage.loader, "--enroll-keys", stage.keys),
    ]
    made = [story(folder / str(i)) for i, story in enumerate(stories)]
    assert len({s.name for s in made}) == len(made) and PROGRAMS.is_dir()
    return {s.name: s for s in made}
