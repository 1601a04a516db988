# SPDX-License-Identifier: Apache-2.0
import os
import signal
import socket

import pytest

from imagetools import make_rootfs, tb_image, tool


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
    (tmp_path / "tpm").mkdir()
    # It wants two ports in a row, and others take ports meanwhile.
    for _ in range(20):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        # It goes to the background when it listens.
        done = tool("swtpm", "socket", "--tpm2", "--daemon", "--pid", f"file={tmp_path}/tpm.pid", "--tpmstate",
                    f"dir={tmp_path}/tpm", "--server", f"type=tcp,port={port}", "--ctrl", f"type=tcp,port={port + 1}",
                    "--flags", "not-need-init,startup-clear", check=False)
        if done.returncode == 0:
            break
    assert done.returncode == 0, done.stderr
    yield f"swtpm:host=127.0.0.1,port={port}"
    os.kill(int((tmp_path / "tpm.pid").read_text()), signal.SIGTERM)
