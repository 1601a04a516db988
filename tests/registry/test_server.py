# SPDX-License-Identifier: Apache-2.0
"""The tests' own registry, judged by curl and skopeo: it has to be right where it is not told to be wrong."""
import hashlib
import json
import os
import time

import misdeeds
import pytest
from tools import DOCKER, DockerRegistry, HERE, OCI, RAW, digest_of, tar, tool, tree

CONTENT = bytes(range(256)) * 1024


@pytest.fixture
def curl(tmp_path, authority):
    def run(url, *options, check=True):
        body, head = tmp_path / "body", tmp_path / "head"
        body.write_bytes(b"")
        done = tool("curl", "-sS", "--cacert", authority.pem, "-D", head, "-o", body, "-w", "%{http_code}", "--max-time", "10",
                    *options, url, check=False)
        if check:
            assert done.returncode == 0, done.stderr
        headers = dict(line.split(": ", 1) for line in head.read_text().splitlines() if ": " in line) if head.exists() else {}
        return done.returncode, int(done.stdout or 0), headers, body.read_bytes()
    return run


def test_ranges_and_what_is_remembered(registry, curl):
    registry.files["x"] = CONTENT
    url = f"{registry.url}/files/x"
    _, code, headers, body = curl(url)
    assert (code, body) == (200, CONTENT) and headers["ETag"]
    _, code, headers, body = curl(url, "-r", "1000-", "-H", "Authorization: Basic eDp5")
    assert (code, body) == (206, CONTENT[1000:])
    assert headers["Content-Range"] == f"bytes 1000-{len(CONTENT) - 1}/{len(CONTENT)}"
    assert curl(url, "-r", "10-19")[3] == CONTENT[10:20]
    assert curl(url, "-r", f"{len(CONTENT)}-")[1] == 416
    assert curl(f"{registry.url}/files/y")[1] == 404
    first, second = registry.seen("files")[:2]
    assert "authorization" not in first.headers and second.headers["authorization"] == "Basic eDp5"
    assert (first.sent, second.sent) == (len(CONTENT), len(CONTENT) - 1000) and first.complete and first.secure


def test_certificates(registry, curl, authority, servers):
    assert tool("curl", "-sS", f"{registry.url}/v2/", check=False).returncode == 60, "not known to the system"
    assert curl(f"{registry.url}/v2/")[1] == 200
    old = servers(tls=authority.certificate("old", days=-1))
    assert curl(f"{old.url}/v2/", check=False)[0] == 60
    other = servers(tls=authority.certificate("other", hosts=("DNS:other.test",)))
    assert curl(f"{other.url}/v2/", check=False)[0] == 60


# Docker has no media type of its own for zstd, and skopeo knows none.
KINDS = [(OCI, "tar"), (OCI, "gzip"), (OCI, "zstd"), (DOCKER, "tar"), (DOCKER, "gzip")]


@pytest.mark.parametrize("types, how", KINDS, ids=["oci-tar", "oci-gzip", "oci-zstd", "docker-tar", "docker-gzip"])
@pytest.mark.parametrize("auth", [None, "basic", "bearer"])
def test_skopeo_takes_images_from_it(servers, certificate, skopeo, tmp_path, how, types, auth):
    registry = servers(tls=certificate, auth=auth, users={"node": "secret"})
    registry.put_image("a/demo", [(tar(tree(CONTENT)), how)], types=types)
    out = tmp_path / "out"
    creds = ("--src-creds", "node:secret") if auth else ()
    skopeo("copy", *creds, f"docker://{registry.address}/a/demo:latest", f"dir:{out}")
    manifest = json.loads((out / "manifest.json").read_bytes())
    assert manifest["mediaType"] == types["manifest"] and manifest["layers"][0]["mediaType"] == types[how]
    layer = manifest["layers"][0]["digest"].split(":")[1]
    assert hashlib.sha256((out / layer).read_bytes()).hexdigest() == layer
    if auth:
        wrong = skopeo("copy", "--src-creds", "node:wrong", f"docker://{registry.address}/a/demo", f"dir:{out}", check=False)
        assert wrong.returncode != 0
    assert bool(registry.seen("token")) == (auth == "bearer")


def test_skopeo_takes_the_right_one_of_an_index_and_an_artifact(registry, skopeo, tmp_path):
    other = registry.put_image("demo", [(tar([("x", b"arm")]), "tar")], platform={"architecture": "arm64", "os": "linux"})
    ours = registry.put_image("demo", [(tar([("x", b"amd")]), "tar")])
    registry.put_index("demo", [(other, {"architecture": "arm64", "os": "linux"}), (ours, HERE)], tag="both")
    skopeo("copy", f"docker://{registry.address}/demo:both", f"dir:{tmp_path / 'out'}")
    assert digest_of((tmp_path / "out/manifest.json").read_bytes()) == ours["digest"]
    raw = registry.put_artifact("demo", CONTENT, tag="raw")
    skopeo("copy", f"docker://{registry.address}/demo:raw", f"oci:{tmp_path / 'layout'}:raw")
    assert (tmp_path / "layout/blobs/sha256" / raw["digest"][7:]).exists()
    assert (tmp_path / "layout/blobs/sha256" / digest_of(CONTENT)[7:]).read_bytes() == CONTENT
    assert json.loads(registry.manifests["demo", "raw"][1])["layers"][0]["mediaType"] == RAW


def test_storage_elsewhere(servers, certificate, skopeo, tmp_path):
    storage = servers(tls=certificate)
    registry = servers(tls=certificate, auth="bearer", users={"node": "secret"}, storage=storage)
    registry.put_image("demo", [(tar(tree(CONTENT)), "gzip")])
    skopeo("copy", "--src-creds", "node:secret", f"docker://{registry.address}/demo", f"dir:{tmp_path / 'out'}")
    assert storage.seen("files") and not any("authorization" in r.headers for r in storage.seen())


def test_token_that_ends_in_the_middle(servers, curl, certificate):
    registry = servers(tls=certificate, auth="bearer", anonymous=True)
    registry.token_budget = 100000
    blob = registry.put_blob(CONTENT)
    url = f"{registry.url}/v2/demo/blobs/{blob['digest']}"
    _, code, headers, _ = curl(url)
    assert code == 401 and headers["WWW-Authenticate"].startswith("Bearer realm=")
    got = b""
    for _ in range(3):
        token = json.loads(curl(f"{registry.url}/token?scope=x")[3])["token"]
        bearer = ("-H", f"Authorization: Bearer {token}")
        rc, _, _, body = curl(url, *bearer, "-r", f"{len(got)}-", check=False)
        got += body
        assert rc == (18 if len(got) < len(CONTENT) else 0)
        if rc:
            assert curl(url, *bearer)[1] == 401
    assert got == CONTENT


def test_misdeeds(registry, curl):
    registry.files["x"] = CONTENT
    url = f"{registry.url}/files/x"
    registry.on("files", misdeeds.status(503), times=1)
    assert [curl(url)[1] for _ in range(2)] == [503, 200]
    registry.on("/files/x", misdeeds.truncated(5000), times=1, skip=1)
    assert [len(curl(url, check=False)[3]) for _ in range(3)] == [len(CONTENT), 5000, len(CONTENT)]
    registry.on("files", misdeeds.shortened(), times=1)
    assert curl(url)[3] == CONTENT[:-1]
    registry.on("files", misdeeds.lengthened(), times=1)
    assert curl(url)[3] == CONTENT + b"\0"
    registry.on("files", misdeeds.altered(), times=1)
    assert sum(a != b for a, b in zip(curl(url)[3], CONTENT)) == 1
    registry.on("files", misdeeds.no_ranges, times=1)
    assert curl(url, "-r", "1000-")[1] == 200
    registry.on("files", misdeeds.range_begins(-1), times=1)
    assert curl(url, "-r", "1000-")[2]["Content-Range"].startswith("bytes 999-")
    registry.on("files", misdeeds.redirect(f"{registry.url}/files/z"), times=1)
    assert curl(url, "-L")[1] == 404
    registry.on("files", misdeeds.retry_after_date(100), times=1)
    assert curl(url)[2]["Retry-After"].endswith("GMT")
    registry.on("files", misdeeds.html(), times=1)
    assert curl(url)[2]["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("chunked", [False, True])
def test_endless_body(registry, curl, chunked):
    registry.on("files", misdeeds.endless(chunked))
    rc, _, _, body = curl(f"{registry.url}/files/x", "--max-filesize", "1000000", "--max-time", "1", check=False)
    assert rc in (28, 63)
    assert registry.sent() > 1000000


def test_slow_head_and_body(registry, curl):
    registry.files["x"] = CONTENT
    registry.on("files", misdeeds.slow_head(0.05), times=1)
    start = time.monotonic()
    assert curl(f"{registry.url}/files/x", check=False)[0] in (0, 28)
    assert time.monotonic() - start > 3
    registry.on("files", misdeeds.slow_body(1000, after=500), times=1)
    rc, _, _, body = curl(f"{registry.url}/files/x", "--max-time", "1", check=False)
    assert rc == 28 and 500 < len(body) < 5000


def test_image_fixtures(images, loader):
    one, two = images.get(1), images.get(2)
    assert one[:2] == two[:2] == loader[:2] == b"MZ" and one != two
    assert len(images.get(3, size=1 << 20)) - len(one) > 1000000
    assert not os.environ.get("https_proxy")


def test_real_registry(tmp_path, certificate, curl):
    with DockerRegistry(tmp_path / "registry", certificate) as registry:
        url = f"https://127.0.0.1:{registry.port}/v2/a/demo"
        digest = registry.push_artifact("a/demo", CONTENT, "raw")
        _, code, headers, body = curl(f"{url}/manifests/raw", "-H", f"Accept: {OCI['manifest']}")
        assert (code, digest_of(body)) == (200, digest)
        assert curl(f"{url}/blobs/{digest_of(CONTENT)}", "-r", "100-")[3] == CONTENT[100:]
        registry.push_image("a/demo", CONTENT, "tree")
        _, code, headers, body = curl(f"{url}/manifests/tree", "-H", f"Accept: {OCI['manifest']}")
        assert json.loads(body)["layers"][0]["mediaType"] == OCI["zstd"]
    # Complete when the registry has ended: it writes a line after it has answered.
    path = f"/v2/a/demo/blobs/{digest_of(CONTENT)}"
    assert ("GET", path, 206, len(CONTENT) - 100) in registry.requests()
