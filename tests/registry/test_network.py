# SPDX-License-Identifier: Apache-2.0
"""Who is asked, who is believed, and who gets to see a password: mirrors, proxies, certificates, logins."""
import json
import socket

import misdeeds
import pytest
from logins import encoded, login, write_login
from proxy import Proxy
from server import Authority

PASSWORD = "s3cr3t-word"


@pytest.fixture
def image(images):
    return images.get(2)


@pytest.fixture
def private(servers, certificate, image, judge):
    """A registry that wants a login."""
    registry = servers(tls=certificate, auth="bearer", users={"node": PASSWORD})
    registry.put_artifact("team/demo", image)
    judge.secrets += [PASSWORD, encoded("node", PASSWORD)]
    return registry


@pytest.fixture
def proxy():
    with Proxy() as made:
        yield made


@pytest.fixture
def dead():
    """An address where nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"localhost:{taken.getsockname()[1]}"


# --- logins ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("auth", ["bearer", "basic"])
@pytest.mark.parametrize("key", ["{}", "https://{}", "https://{}/v2/", "{}/team/demo", "{}/team"])
def test_login_of_the_usual_file(judge, private, node, image, auth, key):
    private.auth = auth
    login(node, key.format(private.address), "node", PASSWORD)
    judge(f"oci:{private.address}/team/demo", rc=0, image=image)


def test_login_of_a_named_file(judge, private, node, image, tmp_path):
    login(node, private.address, "node", "wrong")
    path = write_login(tmp_path / "other.json", private.address, "node", PASSWORD)
    judge(f"oci:{private.address}/team/demo", "--auth", path, rc=0, image=image)


@pytest.mark.parametrize("variable, name", [("DOCKER_CONFIG", "config.json"), ("REGISTRY_AUTH_FILE", None)])
def test_login_of_a_file_in_the_environment(judge, private, image, tmp_path, variable, name):
    path = write_login(tmp_path / "auth" / (name or "auth.json"), private.address, "node", PASSWORD)
    judge(f"oci:{private.address}/team/demo", rc=0, image=image, env={variable: str(path.parent if name else path)})


@pytest.mark.parametrize("auth", ["bearer", "basic"])
def test_no_login_and_a_wrong_one(judge, private, node, auth):
    private.auth = auth
    assert judge(f"oci:{private.address}/team/demo", rc=6).said["error"]["advice"]
    login(node, private.address, "node", "wrong")
    judge(f"oci:{private.address}/team/demo", rc=6)
    assert not private.seen("blob") and len(private.seen()) < 12


def test_login_of_another_registry_stays_at_home(judge, private, node, servers, certificate, image):
    other = servers(tls=certificate, auth="basic", users={"node": PASSWORD})
    other.put_artifact("team/demo", image)
    login(node, private.address, "node", PASSWORD)
    judge(f"oci:{other.address}/team/demo", rc=6)
    assert not any("authorization" in r.headers for r in other.seen())


def test_password_is_not_given_to_whoever_asks(judge, private, node, servers, certificate, authority):
    """A registry that sends its clients to a token service over http, where everybody reads along."""
    plain = servers(auth="bearer", users={"node": PASSWORD})
    login(node, private.address, "node", PASSWORD)
    private.on("manifest", misdeeds.status(401, {"WWW-Authenticate": f'Bearer realm="{plain.url}/token",service="x"'}))
    judge(f"oci:{private.address}/team/demo", rc=6)
    assert plain.accepted == 0


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": {"{}": {"auth": "not base64"}}}', '{"auths": 7}', "{} {}"])
def test_file_of_logins_that_is_none(judge, private, tmp_path, text):
    path = tmp_path / "broken.json"
    path.write_text(text.replace("{}", private.address))
    judge(f"oci:{private.address}/team/demo", "--auth", path, rc=4)
    judge(f"oci:{private.address}/team/demo", "--auth", tmp_path / "none.json", rc=4)


def test_login_in_a_helper_is_named(judge, private, node):
    path = node.home / ".docker/config.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"credHelpers": {private.address: "desktop"}}))
    result = judge(f"oci:{private.address}/team/demo", rc=6)
    assert "desktop" in result.out


def test_password_in_an_address(judge, servers, certificate, image):
    """Given on the command line for one file: used there, and nowhere said."""
    registry = servers(tls=certificate)
    registry.files["x"] = image
    judge.secrets += [PASSWORD, encoded("node", PASSWORD)]
    judge(f"https://node:{PASSWORD}@{registry.address}/files/x", rc=0, image=image)
    judge(f"https://node:{PASSWORD}@{registry.address}/files/y", rc=6)


# --- certificates ----------------------------------------------------------------------------------------------------

def test_certificates(judge, servers, authority, image):
    # A date passes: by a clock that is set, or by another certificate. A wrong name does not.
    for name, options, rc in (("expired", dict(days=-1), 5), ("elsewhere", dict(hosts=("DNS:other.test",)), 6)):
        registry = servers(tls=authority.certificate(name, **options))
        registry.put_artifact("demo", image)
        result = judge(f"oci:{registry.address}/demo", "--attempts", "2", rc=rc)
        assert "clock" in result.said["error"]["advice"], str(result)
        assert not registry.seen()
        judge(f"oci:{registry.address}/demo", "--insecure", registry.address, rc=0, image=image)


def test_authority_that_nobody_named(judge, registry, image, tmp_path):
    registry.put_artifact("demo", image)
    other = {"SSL_CERT_FILE": str(Authority(tmp_path / "other").pem)}
    result = judge(f"oci:{registry.address}/demo", rc=6, ca=False, env=other)
    assert "--ca" in result.said["error"]["advice"], str(result)
    assert not registry.seen()


def test_file_of_authorities_that_is_none(judge, registry, tmp_path):
    (tmp_path / "x.pem").write_text("nothing\n")
    judge(f"oci:{registry.address}/demo", "--ca", tmp_path / "x.pem", rc=4, ca=False)
    judge(f"oci:{registry.address}/demo", "--ca", tmp_path / "none.pem", rc=4, ca=False)


def test_plain_http_only_where_it_is_named(judge, servers, image, node):
    registry = servers()
    registry.put_artifact("demo", image)
    registry.files["x"] = image
    # An address that says http is a wrong word. A registry may only be away for the moment: it hangs up.
    for source, rc in ((f"oci:{registry.address}/demo", 5), (f"http://{registry.address}/files/x", 2)):
        for options in ((), ("--insecure", "localhost:1"), ("--insecure", f"other.{registry.address}")):
            judge(source, "--attempts", "1", *options, rc=rc)
        assert not registry.seen()
        for registry.silent in (False, True):
            judge(source, "--insecure", registry.address, rc=0, image=image)
        registry.silent = False
        registry.forget()


# --- mirrors ---------------------------------------------------------------------------------------------------------

def mirrors(upstream, *others):
    return [word for other in others for word in ("--mirror", f"{upstream}={other}")]


def test_mirror_takes_the_load(judge, servers, certificate, registry, image):
    mirror = servers(tls=certificate)
    mirror.put_artifact("demo", image)
    judge(f"oci:{registry.address}/demo", *mirrors(registry.address, mirror.url), rc=0, image=image)
    assert mirror.sent("blob") >= len(image) and registry.sent("blob") == 0


def test_dead_mirror_and_lying_mirror(judge, servers, certificate, registry, dead, image, images):
    """A digest that is asked for cannot be answered with anything else, by anybody."""
    made = registry.put_artifact("demo", image)
    liar = servers(tls=certificate)
    liar.manifests["demo", made["digest"]] = registry.manifests["demo", made["digest"]]
    liar.blobs = {d: b"lies" if len(b) < 10 else images.get(3) for d, b in registry.blobs.items()}
    judge(f"oci:{registry.address}/demo@{made['digest']}", *mirrors(registry.address, f"https://{dead}", liar.url), rc=0,
          image=image)
    assert liar.seen("manifest") and registry.sent("blob") >= len(image)


def test_mirror_with_another_manifest_for_a_digest(judge, servers, certificate, registry, image, images):
    made = registry.put_artifact("demo", image)
    liar = servers(tls=certificate)
    other = liar.put_artifact("demo", images.get(3))
    liar.manifests["demo", made["digest"]] = liar.manifests["demo", other["digest"]]
    judge(f"oci:{registry.address}/demo@{made['digest']}", *mirrors(registry.address, liar.url), rc=0, image=image)


@pytest.mark.parametrize("misdeed", [misdeeds.status(404), misdeeds.status(500), misdeeds.html(200), misdeeds.status(401)],
                         ids=["404", "500", "html", "401"])
def test_mirror_that_has_nothing(judge, servers, certificate, registry, image, misdeed):
    made = registry.put_artifact("demo", image)
    mirror = servers(tls=certificate)
    mirror.on(".*", misdeed)
    judge(f"oci:{registry.address}/demo@{made['digest']}", "--attempts", "2", *mirrors(registry.address, mirror.url), rc=0,
          image=image)


def test_mirror_gets_no_login_of_the_registry(judge, private, node, servers, certificate, image):
    mirror = servers(tls=certificate, auth="basic", users={"node": PASSWORD})
    mirror.put_artifact("team/demo", image)
    login(node, private.address, "node", PASSWORD)
    judge(f"oci:{private.address}/team/demo", *mirrors(private.address, mirror.url), rc=0, image=image)
    assert mirror.seen() and not any("authorization" in r.headers for r in mirror.seen())


# --- proxies ---------------------------------------------------------------------------------------------------------

def test_proxy_of_the_environment(judge, registry, proxy, image):
    registry.put_artifact("demo", image)
    judge(f"oci:{registry.address}/demo", rc=0, image=image, env={"https_proxy": proxy.url})
    assert set(proxy.tunnels) == {registry.address} and registry.accepted == len(proxy.tunnels)


def test_no_proxy(judge, registry, proxy, image):
    registry.put_artifact("demo", image)
    judge(f"oci:{registry.address}/demo", rc=0, image=image, env={"https_proxy": proxy.url, "no_proxy": "x.test,localhost"})
    assert not proxy.seen() and registry.seen()


def test_proxy_for_plain_http(judge, servers, proxy, image):
    plain = servers()
    plain.files["x"] = image
    judge(f"http://{plain.address}/files/x", "--insecure", plain.address, rc=0, image=image, env={"http_proxy": proxy.url})
    assert proxy.seen() and plain.sent() >= len(image)


def test_proxy_with_a_login(judge, registry, image):
    registry.put_artifact("demo", image)
    judge.secrets += [PASSWORD, encoded("node", PASSWORD)]
    with Proxy(login=f"node:{PASSWORD}") as proxy:
        url = proxy.url.replace("//", f"//node:{PASSWORD}@")
        judge(f"oci:{registry.address}/demo", rc=0, image=image, env={"https_proxy": url})
        assert proxy.tunnels
        assert not any("proxy-authorization" in r.headers for r in registry.seen())
        result = judge(f"oci:{registry.address}/demo", rc=6, env={"https_proxy": url.replace(PASSWORD, "wr0ng")})
        assert "407" in result.said["error"]["text"] and "https_proxy" in result.said["error"]["advice"], str(result)


@pytest.mark.parametrize("status, rc", [(403, 6), (429, 5), (502, 5)])
def test_proxy_that_refuses(judge, registry, status, rc):
    """What the proxy forbids, it will forbid again; what it cannot do now, it may do later."""
    with Proxy(status=status) as proxy:
        judge(f"oci:{registry.address}/demo", "--attempts", "2", rc=rc, env={"https_proxy": proxy.url})
    assert not registry.accepted


def test_nobody_there(judge, dead):
    judge(f"oci:{dead}/demo", "--attempts", "2", rc=5)
    judge(f"https://{dead}/x", "--attempts", "2", rc=5)
    judge("oci:no-such-host.invalid/demo", "--attempts", "2", rc=5)
