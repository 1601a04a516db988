# SPDX-License-Identifier: Apache-2.0
import pytest

from imagetools import make_rootfs, started_swtpm, tb_image


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys") / "keys"
    tb_image("keys", folder)
    return folder


@pytest.fixture
def rootfs(tmp_path):
    return make_rootfs(tmp_path / "root")


@pytest.fixture
def swtpm(tmp_path):
    """A TPM emulator for systemd-measure, as the text of its --tpm2-device."""
    with started_swtpm(tmp_path) as tcti:
        yield tcti
