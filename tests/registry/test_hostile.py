# SPDX-License-Identifier: Apache-2.0
"""Servers that stall, lie and break off: the right exit code, nothing changed on the boot path, bounded memory and bounded
bytes. The exit codes: 5 is worth another try, 6 is not."""
import tarfile
import time

import misdeeds
import pytest
from logins import encoded, login
from tools import DOCKER, HERE, OCI, RAW, descriptor, digest_of, pack, tar, to_json, tool, tree

MIB = 1 << 20
OBSOLETE = "application/vnd.docker.distribution.manifest.v1+json"
# What a server can send before it is seen that nobody wants more: buffers of the kernel on both sides.
SLACK = 8 * MIB


@pytest.fixture
def image(images):
    return images.get(2, size=4 * MIB)


@pytest.fixture
def raw(registry, image):
    """Source of a raw artifact in the registry."""
    registry.put_artifact("demo", image)
    return f"oci:{registry.address}/demo"


@pytest.fixture(params=["raw", "zstd"])
def any_layer(request, registry, image):
    if request.param == "raw":
        registry.put_artifact("demo", image)
    else:
        registry.put_image("demo", [(tar(tree(image)), "zstd")])
    return f"oci:{registry.address}/demo"


def layer(registry):
    """Pattern for the requests of the largest blob: images have a configuration as well."""
    return max(registry.blobs, key=lambda digest: len(registry.blobs[digest]))


# --- what heals ------------------------------------------------------------------------------------------------------

def test_dropped_connections_continue_where_they_were(judge, registry, any_layer, image):
    registry.on(layer(registry), misdeeds.truncated(2 * MIB), times=2)
    judge(any_layer, rc=0, image=image)
    assert registry.sent("blob") <= len(image) * 1.01
    assert [r.headers.get("range") for r in registry.seen("blob") if layer(registry) in r.path] == [
        None, f"bytes={2 * MIB}-", f"bytes={4 * MIB}-"]


def test_200_instead_of_206(judge, registry, any_layer, image):
    registry.on(layer(registry), misdeeds.no_ranges)
    registry.on(layer(registry), misdeeds.truncated(2 * MIB), times=1)
    judge(any_layer, rc=0, image=image)
    assert registry.sent("blob") <= 2 * MIB + len(image) * 1.01


@pytest.mark.parametrize("lie", [misdeeds.range_begins(7), misdeeds.range_begins(-7), misdeeds.range_total("*"),
                                 misdeeds.range_total(12345), misdeeds.range_total(1 << 64)])
def test_wrong_content_range_once(judge, registry, any_layer, image, lie):
    registry.on(layer(registry), misdeeds.truncated(2 * MIB), times=1)
    registry.on(layer(registry), lie, times=1, skip=1)
    judge(any_layer, rc=0, image=image)
    assert registry.sent("blob") <= 2 * len(image) + SLACK


def test_wrong_content_range_for_ever(judge, registry, any_layer):
    registry.on(layer(registry), misdeeds.range_begins(7))
    registry.on(layer(registry), misdeeds.truncated(2 * MIB))
    judge(any_layer, "--attempts", "2", rc=5)
    assert len(registry.seen("blob")) < 20


def test_another_etag_after_a_drop_is_no_matter_where_the_digest_is_known(judge, registry, any_layer, image):
    registry.on(layer(registry), misdeeds.truncated(2 * MIB), times=1)
    registry.on(layer(registry), misdeeds.etag('"another"'), times=1, skip=1)
    judge(any_layer, rc=0, image=image)


def test_another_file_after_a_drop(judge, registry, images, image):
    """A plain file has no digest that says what it should be; the beginning of one and the end of another is neither."""
    other = images.get(3, size=4 * MIB)
    registry.files["x"] = other

    def change(request, usual):
        registry.files["x"] = image
        answer = usual(request)
        registry.files["x"] = other
        answer.cut = 2 * MIB
        return answer
    registry.on("files", change, times=1)
    judge(f"{registry.url}/files/x", rc=5)


def test_token_ends_in_the_middle(judge, servers, certificate, image):
    registry = servers(tls=certificate, auth="bearer", anonymous=True)
    registry.token_budget = 2 * MIB
    registry.put_artifact("demo", image)
    judge(f"oci:{registry.address}/demo", rc=0, image=image)
    assert registry.sent("blob") <= len(image) * 1.01
    assert len(registry.seen("token")) == 3


def test_token_that_ends_by_the_clock(judge, servers, certificate, image):
    registry = servers(tls=certificate, auth="bearer", anonymous=True)
    registry.token_seconds = 1
    registry.put_artifact("demo", image)
    registry.on("blob", misdeeds.paced(2 * MIB), times=1)
    registry.on("blob", misdeeds.truncated(3 * MIB), times=1)
    judge(f"oci:{registry.address}/demo", rc=0, image=image)
    assert registry.sent("blob") <= len(image) * 1.01


@pytest.mark.parametrize("make", [misdeeds.retry_after_seconds, misdeeds.retry_after_date], ids=["seconds", "date"])
@pytest.mark.parametrize("kind", ["manifest", "blob"])
def test_retry_after(judge, registry, raw, image, make, kind):
    registry.on(kind, make(3), times=1)
    judge(raw, rc=0, image=image)
    first, second = registry.seen(kind)[:2]
    # A date has no fractions of a second, and there is jitter on top.
    assert 1.9 < second.when - first.when < 9


def test_retry_after_far_away_is_for_the_next_run(judge, registry, raw):
    registry.on("manifest", misdeeds.retry_after_seconds(100000))
    assert judge(raw, rc=5).seconds < 10
    assert len(registry.seen("manifest")) == 1


@pytest.mark.parametrize("code", [500, 502, 503, 504, 408, 429])
def test_fails_and_is_fine(judge, registry, raw, image, code):
    for kind in ("manifest", "blob"):
        registry.on(kind, misdeeds.status(code), times=1)
    judge(raw, rc=0, image=image)
    assert len(registry.seen("manifest")) == len(registry.seen("blob")) == 2


# --- what does not heal ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("code", [500, 503, 429])
def test_fails_for_ever(judge, registry, raw, code):
    registry.on(".*", misdeeds.status(code))
    judge(raw, "--attempts", "3", rc=5)
    assert len(registry.seen("manifest")) == 3


@pytest.mark.parametrize("code", [400, 403, 404, 410, 451])
@pytest.mark.parametrize("kind", ["manifest", "blob"])
def test_permanent_errors_are_not_repeated(judge, registry, raw, kind, code):
    registry.on(kind, misdeeds.status(code))
    assert judge(raw, rc=6).seconds < 10
    assert len([r for r in registry.seen(kind) if r.status == code]) == 1


def test_401_for_ever(judge, servers, certificate, image):
    """A token that is given, and never enough."""
    registry = servers(tls=certificate, auth="bearer", anonymous=True)
    registry.put_artifact("demo", image)
    registry.token_budget = 0
    assert judge(f"oci:{registry.address}/demo", rc=6).seconds < 10
    assert len(registry.seen()) < 10


def test_401_without_a_challenge(judge, registry, raw):
    registry.on("manifest", misdeeds.status(401))
    judge(raw, rc=6)
    registry.on("manifest", misdeeds.status(401, {"WWW-Authenticate": 'Bearer realm="' + "x" * 5000}))
    judge(raw, rc=6)


@pytest.mark.parametrize("realm", ["http://localhost:{port}/token", "file:///etc/passwd", "//localhost:{port}/token", "",
                                   "https://user:password@localhost:{port}/token"])
def test_token_service_where_no_secret_may_go(judge, registry, raw, realm):
    registry.on("manifest", misdeeds.status(401, {
        "WWW-Authenticate": f'Bearer realm="{realm.format(port=registry.port)}",service="x"'}))
    judge(raw, rc=6)
    assert not registry.seen("token") or realm.startswith("https:")


def test_truncated_every_time(judge, registry, any_layer):
    registry.on(layer(registry), misdeeds.truncated(1000))
    judge(any_layer, "--attempts", "2", rc=5)
    assert registry.sent("blob") < 100000


@pytest.mark.parametrize("misdeed, code", [(misdeeds.altered(), 6), (misdeeds.altered(0), 6), (misdeeds.altered(-1), 6),
                                           (misdeeds.shortened(1), 6), (misdeeds.shortened(MIB), 6),
                                           (misdeeds.lengthened(1), 6), (misdeeds.lengthened(MIB), 6)],
                         ids=["middle", "first", "last", "short-1", "short-1M", "long-1", "long-1M"])
def test_wrong_bytes_and_sizes(judge, registry, any_layer, image, misdeed, code):
    registry.on(layer(registry), misdeed)
    judge(any_layer, "--attempts", "2", rc=code)
    assert registry.sent("blob") <= 2.1 * len(image) + SLACK


@pytest.mark.parametrize("kind", ["blob", "manifest", "token", "error"])
@pytest.mark.parametrize("chunked", [False, True], ids=["until-close", "chunked"])
def test_endless_body(judge, servers, certificate, image, kind, chunked):
    registry = servers(tls=certificate, auth="bearer", anonymous=True)
    registry.put_artifact("demo", image)
    if kind == "error":
        registry.on("manifest", lambda request, usual: _endless_error(chunked))
    else:
        registry.on(kind, misdeeds.endless(chunked, headers={"Content-Type": OCI["manifest"]}))
    judge(f"oci:{registry.address}/demo", "--attempts", "2", rc=6)
    limit = {"blob": len(image), "manifest": 4 * MIB, "token": 1 * MIB, "error": 64 << 10}[kind]
    assert sum(r.sent for r in registry.seen()) <= 2 * (limit + SLACK)


def _endless_error(chunked):
    answer = misdeeds.endless(chunked)(None, None)
    answer.status = 404
    return answer


def test_endless_body_behind_the_right_length(judge, registry, raw, image):
    registry.on("blob", misdeeds.endless_after())
    judge(raw, "--attempts", "2", rc=0, image=image)
    assert registry.sent("blob") <= 2 * (len(image) + SLACK)


def test_endless_plain_file(judge, registry):
    """Nothing says how long it should be: the format does."""
    registry.on("files", misdeeds.endless(piece=b"MZ" + bytes(65534)))
    judge(f"{registry.url}/files/x", "--attempts", "2", rc=6)
    assert registry.sent() < 64 * MIB


def test_endless_head(judge, registry, raw):
    registry.on("manifest", misdeeds.endless_head)
    judge(raw, "--attempts", "2", rc=6)


@pytest.mark.slow
def test_slow_servers_are_given_up(judge, registry, image, node, authority, tmp_path):
    """Side by side: each takes as long as the agent is patient."""
    registry.put_artifact("demo", image)
    source = f"oci:{registry.address}/"
    begun = []
    for number, (kind, misdeed) in enumerate([("manifest", misdeeds.slow_head(1)), ("manifest", misdeeds.slow_body(5)),
                                              ("blob", misdeeds.slow_head(1)), ("blob", misdeeds.slow_body(20, after=MIB))]):
        registry.put_artifact(f"demo{number}", image)
        registry.on(f"/demo{number}/{kind}s/", misdeed)
        one = type(judge)(judge.program, node.copy(tmp_path / f"other{number}"), authority)
        begun.append((one, one.begin(f"{source}demo{number}", "--attempts", "1")))
    for one, run in begun:
        assert one.finish(run, 5).seconds < 120


@pytest.mark.parametrize("kind", ["manifest", "blob", "token"])
@pytest.mark.parametrize("code", [200, 403, 404, 503])
def test_html_pages(judge, servers, certificate, image, kind, code):
    registry = servers(tls=certificate, auth="bearer", anonymous=True)
    registry.put_artifact("demo", image)
    registry.on(kind, misdeeds.html(code))
    result = judge(f"oci:{registry.address}/demo", "--attempts", "2", rc=5 if code == 503 else 6)
    assert "<html" not in result.err and "<p>" not in result.err


def test_html_instead_of_a_file(judge, registry):
    registry.on("files", misdeeds.html(200))
    judge(f"{registry.url}/files/x", rc=6)
    registry.on("files", misdeeds.html(200, size=64 * MIB))
    judge(f"{registry.url}/files/x", rc=6)
    assert registry.sent() < 16 * MIB


# --- redirects -------------------------------------------------------------------------------------------------------

def test_no_authorization_arrives_at_another_host(judge, servers, certificate, image, node):
    storage = servers(tls=certificate, host="127.0.0.1")
    registry = servers(tls=certificate, auth="bearer", users={"node": "s3cr3t-word"}, storage=storage)
    registry.put_artifact("demo", image)
    login(node, registry.address, "node", "s3cr3t-word")
    judge.secrets += ["s3cr3t-word", encoded("node", "s3cr3t-word")]
    judge(f"oci:{registry.address}/demo", rc=0, image=image)
    assert storage.sent() >= len(image)
    for request in storage.seen():
        assert not {"authorization", "cookie", "proxy-authorization"} & set(request.headers), request
    assert all("authorization" in r.headers for r in registry.seen("blob"))
    for token in registry.tokens:
        judge.secrets.append(token)


def test_redirected_download_continues_from_the_registry(judge, servers, certificate, image):
    """The signed address may be stale by then."""
    storage = servers(tls=certificate)
    registry = servers(tls=certificate, storage=storage)
    registry.put_artifact("demo", image)
    storage.on("files", misdeeds.truncated(2 * MIB), times=1)
    judge(f"oci:{registry.address}/demo", rc=0, image=image)
    assert len(registry.seen("blob")) == 2 and storage.sent() <= len(image) * 1.01


def test_redirect_from_https_to_http(judge, servers, registry, raw):
    plain = servers()
    registry.on("blob", misdeeds.redirect(lambda r: f"{plain.url}{r.target}"))
    judge(raw, rc=6)
    assert plain.accepted == 0


NOWHERE = {"ftp": "ftp://localhost/x", "file": "file:///etc/passwd", "empty": "", "no-host": "https://", "gopher": "gopher://x/",
           "port": "https://localhost:99999/", "user": "https://user:pass@localhost:1/", "control": "\x7f",
           "long": "https://" + "a" * 20000}


@pytest.mark.parametrize("location", NOWHERE.values(), ids=NOWHERE)
def test_redirect_to_nowhere(judge, registry, raw, location):
    registry.on("blob", misdeeds.redirect(location))
    judge(raw, "--attempts", "1", rc=6)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirect_loop(judge, registry, raw, code):
    registry.on("blob", misdeeds.redirect(lambda r: r.target, code))
    judge(raw, rc=6)
    assert len(registry.seen("blob")) <= 11


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_relative_redirect(judge, registry, raw, image, code):
    registry.files["there"] = image
    registry.on("blob", misdeeds.redirect("/files/there", code))
    registry.blobs["sha256:" + "0" * 64] = b""
    judge(raw, rc=0, image=image)


# --- manifests -------------------------------------------------------------------------------------------------------

def put(registry, data, media_type=OCI["manifest"]):
    registry.put_manifest("demo", data, media_type, "latest")
    return f"oci:{registry.address}/demo"


def manifest_of(layers):
    return {"schemaVersion": 2, "mediaType": OCI["manifest"], "config": descriptor(OCI["empty"], b"{}"), "layers": layers}


def bombs():
    some = descriptor(OCI["gzip"], b"x")
    index = {"schemaVersion": 2, "mediaType": OCI["index"], "manifests": []}
    deep = b'{"schemaVersion":2,"x":' + b"[" * 100000 + b"]" * 100000 + b"}"
    deep_objects = b'{"schemaVersion":2,"x":' + b'{"a":' * 50000 + b"1" + b"}" * 50001
    twice = to_json(manifest_of([some]))
    yield "size", to_json({**manifest_of([some]), "annotations": {"x": "y" * 5 * MIB}}), OCI["manifest"]
    yield "depth-arrays", deep, OCI["manifest"]
    yield "depth-objects", deep_objects, OCI["manifest"]
    yield "layers", to_json(manifest_of([some] * 20000)), OCI["manifest"]
    entry = {**descriptor(OCI["manifest"], b"x"), "platform": HERE}
    yield "entries", to_json({**index, "manifests": [entry] * 20000}), OCI["index"]
    yield "keys", to_json({**manifest_of([some]), "annotations": {f"k{n}": "" for n in range(200000)}}), OCI["manifest"]
    yield "duplicate-layers", twice[:-1] + b',"layers":[]}', OCI["manifest"]
    yield "duplicate-digest", twice.replace(b'"digest":', b'"digest":"sha256:' + b"0" * 64 + b'","digest":'), OCI["manifest"]
    yield "duplicate-escaped", twice[:-1] + b',"l\\u0061yers":[]}', OCI["manifest"]
    yield "schema-1", b'{"schemaVersion":1,"name":"demo","fsLayers":[]}', OBSOLETE
    yield "types-differ", to_json({**manifest_of([some]), "mediaType": DOCKER["manifest"]}), OCI["manifest"]
    yield "both", to_json({**manifest_of([some]), "manifests": []}), OCI["manifest"]
    yield "no-layers", to_json(manifest_of([])), OCI["manifest"]
    yield "empty-index", to_json(index), OCI["index"]
    yield "nothing", b"", OCI["manifest"]
    yield "null", b"null", OCI["manifest"]
    yield "not-json", b"\xff\xfe\0", OCI["manifest"]
    yield "trailing", twice + b"{}", OCI["manifest"]
    yield "nul", twice[:-1] + b',"x":"\\u0000"}' + b"\0", OCI["manifest"]
    for name, value in (("negative", -1), ("float", 1.5), ("huge", 1 << 63), ("larger", 1 << 64), ("text", "12"),
                        ("null", None)):
        yield f"size-{name}", to_json(manifest_of([{**some, "size": value}])), OCI["manifest"]
    for name, value in (("md5", "md5:" + "0" * 32), ("short", "sha256:12"), ("path", "sha256:" + "../" * 21 + "x"),
                        ("upper", "sha256:" + "A" * 64), ("none", ""), ("number", 7)):
        yield f"digest-{name}", to_json(manifest_of([{**some, "digest": value}])), OCI["manifest"]
    raw = {"artifactType": RAW}
    yield "several-raw", to_json({**manifest_of([descriptor(RAW, b"a"), descriptor(RAW, b"b")]), **raw}), OCI["manifest"]
    yield "foreign-layers", to_json(manifest_of([descriptor("application/pdf", b"x")])), OCI["manifest"]
    yield "too-large", to_json({**manifest_of([{**descriptor(RAW, b"x"), "size": 4 << 30}]), **raw}), OCI["manifest"]


BOMBS = list(bombs())


@pytest.mark.parametrize("data, media_type", [b[1:] for b in BOMBS], ids=[b[0] for b in BOMBS])
def test_manifest_that_is_none(judge, registry, data, media_type):
    source = put(registry, data, media_type)
    registry.on("manifest", lambda request, usual: usual(_accepting(request)))
    assert judge(source, "--attempts", "2", rc=6).seconds < 10
    assert not registry.seen("blob")


def _accepting(request):
    """As if the client had asked for any form."""
    request.headers["accept"] = ", ".join([*OCI.values(), *DOCKER.values(), OBSOLETE])
    return request


def test_manifest_of_another_digest(judge, registry, raw, images):
    wanted = digest_of(b"something else")
    registry.manifests["demo", wanted] = registry.manifests["demo", "latest"]
    judge(f"{raw}@{wanted}", rc=6)
    assert not registry.seen("blob")


def test_hint_of_the_server_is_no_proof(judge, registry, raw, image):
    registry.on("manifest", lambda request, usual: _with_hint(usual(request), "sha256:" + "0" * 64))
    judge(raw, rc=0, image=image)


def _with_hint(answer, digest):
    answer.headers["Docker-Content-Digest"] = digest
    return answer


def test_index_that_leads_to_itself_by_a_lying_server(judge, registry, image):
    inner = registry.put_image("demo", [(tar(tree(image)), "gzip")])
    for _ in range(12):
        inner = registry.put_index("demo", [(inner, HERE)])
    judge(f"oci:{registry.address}/demo", rc=6)
    assert len(registry.seen("manifest")) < 6
    registry.on("manifest", lambda request, usual: _index_again(registry))
    judge(f"oci:{registry.address}/demo", rc=6)


def _index_again(registry):
    return misdeeds.status(200, {"Content-Type": OCI["index"]}, registry.manifests["demo", "latest"][1])(None, None)


# --- layers ----------------------------------------------------------------------------------------------------------

def inflating(name, size, how):
    """A packed tar with one member of so many zeros, made without ever being in memory."""
    info = tarfile.TarInfo(name)
    info.size = size
    packer = "gzip -1" if how == "gzip" else "zstd -q -1"
    script = f"{{ cat; head -c {size + 1024} /dev/zero; }} | {packer}"
    return tool("sh", "-c", script, input=info.tobuf(tarfile.GNU_FORMAT)).stdout


# The first lies in front of anything useful, the second fits an ESP, the third does not.
@pytest.mark.parametrize("name, size", [("big", 1 << 30), ("EFI/kairos/norole.efi", 1 << 30),
                                        ("EFI/kairos/norole.efi", 5 << 30)], ids=["other", "image", "huge"])
@pytest.mark.slow
@pytest.mark.parametrize("how", ["gzip", "zstd"])
def test_layer_that_inflates(judge, registry, how, name, size):
    if how == "gzip" and size > 1 << 30:
        pytest.skip("takes too long to make")
    manifest = manifest_of([registry.put_blob(inflating(name, size, how), OCI[how])])
    manifest["config"] = registry.put_blob(to_json(HERE), OCI["config"])
    assert judge(put(registry, manifest), rc=6).seconds < 60


@pytest.mark.parametrize("kind", ["link", "device", "twice", "cut", "trailing", "directory"])
def test_layer_that_is_not_what_it_should_be(judge, registry, image, tmp_path, kind):
    name = "EFI/kairos/norole.efi"
    members = {"link": [(name, "/etc/passwd")], "twice": [(name, image), (name, image)], "directory": [(name, None)]}
    if kind == "device":
        info = tarfile.TarInfo(name)
        info.type, info.devmajor, info.devminor = tarfile.BLKTYPE, 8, 0
        data = tar([(name, info)])
    else:
        data = tar(members.get(kind, [(name, image)]))
    packed = pack(data, "gzip")
    packed = {"cut": packed[:-100], "trailing": packed + b"MZ" * 100}.get(kind, packed)
    manifest = manifest_of([registry.put_blob(packed, OCI["gzip"])])
    manifest["config"] = registry.put_blob(to_json(HERE), OCI["config"])
    judge(put(registry, manifest), rc=6)
