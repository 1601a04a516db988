# SPDX-License-Identifier: Apache-2.0
"""Packages of Debian 13, downloaded and unpacked, not installed. Their programs run with their own C library."""
import subprocess

import pytest

from imagetools import tool

SUITE = """Types: deb
URIs: http://deb.debian.org/debian
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""


class Debian13:
    """Folder with the unpacked packages. apt gets folders of its own, and nothing of this machine is changed. A test that
    cannot get them is skipped."""

    def __init__(self, folder, packages):
        self.root, self.libraries = folder / "root", folder / "root/usr/lib/x86_64-linux-gnu"
        (folder / "debian.sources").write_text(SUITE)
        for name in ("lists/partial", "cache/archives/partial", "root"):
            (folder / name).mkdir(parents=True)
        options = [f"Dir::Etc::sourcelist={folder}/debian.sources", "Dir::Etc::sourceparts=/dev/null", f"Dir::State::lists={folder}/lists",
                   f"Dir::Cache={folder}/cache", "APT::Sandbox::User=root", "Acquire::Languages=none", "Acquire::Retries=2",
                   "APT::Get::List-Cleanup=0"]
        for words in (["update", "--error-on=any"], ["download", *packages]):
            done = tool("apt-get", "-q", *(w for o in options for w in ("-o", o)), *words, check=False, cwd=folder,
                        stdin=subprocess.DEVNULL)
            if done.returncode != 0:
                pytest.skip(f"Debian 13 cannot be reached: {done.stderr.decode().strip()[-300:]}")
        for package in folder.glob("*.deb"):
            tool("dpkg-deb", "-x", package, self.root)

    def loader(self, *more):
        """Words in front of a program that shall run with these libraries, and further folders of some."""
        folders = [self.libraries, *more]
        return [self.libraries / "ld-linux-x86-64.so.2", "--library-path", ":".join(str(f) for f in folders)]
