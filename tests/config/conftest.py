# SPDX-License-Identifier: Apache-2.0
"""The machine's proxies stay out of the tests."""
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "registry"))
from server import Answer, Authority, Server            # noqa: E402

for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
             "SSL_CERT_FILE"):
    os.environ.pop(name, None)


class Files(Server):
    """Gives out what is in its dictionary, by path."""

    def __init__(self, **options):
        super().__init__(**options)
        self.files = {}

    def usual(self, request):
        if request.path in self.files:
            return Answer(200, {"Content-Type": "text/yaml"}, self.files[request.path])
        return super().usual(request)


@pytest.fixture(scope="session")
def own_authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def files(own_authority):
    with Files(tls=own_authority.certificate()) as server:
        yield server


@pytest.fixture
def plain_files():
    with Files() as server:
        yield server
