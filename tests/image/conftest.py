# SPDX-License-Identifier: Apache-2.0
import pytest

from imagetools import tb_image


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys") / "keys"
    tb_image("keys", folder)
    return folder


@pytest.fixture
def rootfs(tmp_path):
    root = tmp_path / "root"
    (root / "usr/bin").mkdir(parents=True)
    (root / "etc").mkdir()
    (root / "usr/bin/init").write_text("#!/bin/sh\n")
    (root / "etc/hostname").write_text("demo\n")
    (root / "bin").symlink_to("usr/bin")
    return root
