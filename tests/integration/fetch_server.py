#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""fetch_server.py SCENARIO FOLDER

A registry or file server for test_fetch.c, made of the servers of tests/registry. Writes FOLDER/image (what has to arrive),
FOLDER/ca.pem and whatever the scenario needs, prints the ports of its servers in one line, and serves until its input ends.
Then it prints one line for each request: port, kind, status, range or "-", "auth" or "-", bytes sent.
"""
import base64
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "registry"))
import misdeeds                                                                     # noqa: E402
from registry import Registry                                                       # noqa: E402
from server import Authority                                                        # noqa: E402
from tools import tar, tree                                                         # noqa: E402

MIB = 1 << 20
IMAGE = b"MZ" + os.urandom(3 * MIB) + b"end"


def plain(folder):
    """One file over http, and an artifact."""
    server = Registry()
    server.files["x"] = IMAGE
    server.put_artifact("team/demo", IMAGE)
    return [server]


def drops(folder):
    """Drops every connection after a part of the file."""
    server = Registry()
    server.files["x"] = IMAGE
    server.on("files", misdeeds.truncated(MIB + 1), skip=1)
    return [server]


def skipping(folder):
    """Drops once, and does not know Range then."""
    server = Registry()
    server.files["x"] = IMAGE
    server.on("files", misdeeds.no_ranges, skip=1)
    server.on("files", misdeeds.truncated(MIB), times=1, skip=1)
    return [server]


def tokens(folder):
    """A private registry whose tokens are good for 1 MiB each, and which sends to another port for a manifest's blob."""
    server = Registry(tls=Authority(folder).certificate(), auth="bearer", users={"node": "s3cr3t"})
    server.token_budget = MIB
    server.put_artifact("team/demo", IMAGE)
    login(folder, server)
    return [server]


def storage(folder):
    """A private registry that redirects to another port; the connection there drops once."""
    certificate = Authority(folder).certificate()
    other = Registry(tls=certificate)
    server = Registry(tls=certificate, auth="bearer", users={"node": "s3cr3t"}, storage=other)
    server.put_artifact("team/demo", IMAGE)
    other.on("files", misdeeds.truncated(MIB), times=1)
    login(folder, server)
    return [server, other]


def layers(folder):
    """An ordinary image: the layer with the system is not the last one, and is slow enough to be stopped in the middle."""
    server = Registry(tls=Authority(folder).certificate())
    server.put_image("team/demo", [(tar(tree(IMAGE, b"loader" * 1000)), "zstd"), (tar([("etc/x", b"y")]), "gzip")])
    server.on("blob", misdeeds.paced(2 * MIB))
    return [server]


def liar(folder):
    """A mirror that serves other bytes under the same digest."""
    certificate = Authority(folder).certificate()
    server, mirror = Registry(tls=certificate), Registry(tls=certificate)
    server.put_artifact("team/demo", IMAGE)
    mirror.put_artifact("team/demo", IMAGE)
    mirror.on("blob", misdeeds.altered())
    return [server, mirror]


def stalls(folder):
    """Stops sending in the middle, and never says so."""
    server = Registry()
    server.files["x"] = IMAGE
    server.on("files", misdeeds.slow_body(rate=20, after=MIB), skip=1)
    return [server]


def login(folder, server):
    word = base64.b64encode(b"node:s3cr3t").decode()
    (folder / "auth.json").write_text(json.dumps({"auths": {server.address: {"auth": word}}}))


def main():
    scenario, folder = sys.argv[1], Path(sys.argv[2])
    (folder / "image").write_bytes(IMAGE)
    servers = globals()[scenario](folder)
    print(*(s.port for s in servers), flush=True)
    sys.stdin.read()
    for server in servers:
        server.close()
    for request in sorted((r for s in servers for r in s.requests), key=lambda r: r.when):
        print(request.port, request.kind, request.status, request.headers.get("range", "-"),
              "auth" if "authorization" in request.headers else "-", request.sent)


if __name__ == "__main__":
    main()
