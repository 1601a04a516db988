# SPDX-License-Identifier: Apache-2.0
"""A small OCI registry: manifests, blobs with ranges, token service, basic authentication, storage on another host."""
import base64
import re
import secrets
import time

from server import Answer, Server
from tools import OCI, artifact_manifest, descriptor, digest_of, image_manifest, to_json


class Registry(Server):
    """auth: None, "basic" or "bearer". users: {name: password}; without a user a token opens nothing, unless anonymous.
    storage: a Registry that blobs are fetched from after a redirect."""

    def __init__(self, tls=None, host="localhost", auth=None, users=None, anonymous=False, storage=None):
        self.auth, self.users, self.anonymous, self.storage = auth, users or {}, anonymous, storage
        self.blobs, self.manifests, self.files, self.tokens = {}, {}, {}, {}
        self.token_seconds = 300
        self.token_budget = None        # bytes of blobs that a token opens; then the connection drops and it is worth nothing
        super().__init__(tls, host)

    # Filling it

    def put_blob(self, data, media_type="application/octet-stream", **more):
        self.blobs[digest_of(data)] = data
        return descriptor(media_type, data, **more)

    def put_manifest(self, name, data, media_type, tag=None):
        """data: bytes, or a document. Returns its descriptor."""
        data = data if isinstance(data, bytes) else to_json(data)
        for reference in (digest_of(data), tag):
            if reference:
                self.manifests[name, reference] = (media_type, data)
        return descriptor(media_type, data)

    def put_image(self, name, layers, tag="latest", types=OCI, **more):
        """An image of layers [(tar bytes, "tar" | "gzip" | "zstd")]. Returns the manifest's descriptor."""
        return self.put_manifest(name, image_manifest(self.put_blob, layers, types, **more), types["manifest"], tag)

    def put_artifact(self, name, image, tag="latest", **more):
        return self.put_manifest(name, artifact_manifest(self.put_blob, image, **more), OCI["manifest"], tag)

    def put_index(self, name, entries, tag="latest", types=OCI):
        """An index of manifests [(descriptor, platform or None)]."""
        listed = [{**d, **({"platform": p} if p else {})} for d, p in entries]
        return self.put_manifest(name, {"schemaVersion": 2, "mediaType": types["index"], "manifests": listed},
                                 types["index"], tag)

    # Answering

    def usual(self, request):
        if request.path == "/token":
            return self._token(request)
        if request.path.startswith("/files/"):
            data = self.files.get(request.path[len("/files/"):])
            return _ranged(request, data, "application/octet-stream") if data is not None else super().usual(request)
        refusal = self._refusal(request)
        if refusal:
            return refusal
        if request.path in ("/v2", "/v2/"):
            return Answer(200, {"Content-Type": "application/json"}, b"{}")
        found = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/([^/]+)", request.path)
        if found and found.group(2) == "manifests":
            return self._manifest(request, found.group(1), found.group(3))
        if found and found.group(3) in self.blobs:
            return self._blob(request, found.group(3))
        return oci_error(404, "NAME_UNKNOWN")

    def _manifest(self, request, name, reference):
        media_type, data = self.manifests.get((name, reference), (None, None))
        if data is None:
            return oci_error(404, "MANIFEST_UNKNOWN")
        if media_type not in request.headers.get("accept", ""):
            return oci_error(404, "MANIFEST_UNKNOWN", "not in a form that was asked for")
        return Answer(200, {"Content-Type": media_type, "Docker-Content-Digest": digest_of(data)}, data)

    def _blob(self, request, digest):
        if self.storage:
            self.storage.files[digest] = self.blobs[digest]
            return Answer(307, {"Location": f"{self.storage.url}/files/{digest}?signature=secret-in-url"})
        answer = _ranged(request, self.blobs[digest], "application/octet-stream", digest)
        word = request.headers.get("authorization", "")
        token = self.tokens.get(word[7:]) if word.startswith("Bearer ") else None
        if token and token["budget"] is not None:
            answer.cut = token["budget"] if len(answer.body) > token["budget"] else None

            def spend(n):
                token["budget"] -= n
            answer.taken = spend
        return answer

    # Who may

    def _refusal(self, request):
        if self.auth is None or self._allowed(request.headers.get("authorization", "")):
            return None
        if self.auth == "basic":
            challenge = 'Basic realm="a registry, of tests"'
        else:
            name = request.path[len("/v2/"):].split("/manifests/")[0].split("/blobs/")[0]
            challenge = (f'Bearer realm="{self.url}/token",service="registry, \\"quoted\\"",'
                         f'scope="repository:{name}:pull"')
        answer = oci_error(401, "UNAUTHORIZED")
        answer.headers["WWW-Authenticate"] = challenge
        return answer

    def _allowed(self, word):
        if self.auth == "basic":
            return self._user(word)
        token = self.tokens.get(word[7:]) if word.startswith("Bearer ") else None
        return bool(token) and time.monotonic() < token["until"] and token["budget"] != 0

    def _user(self, word):
        if not word.startswith("Basic "):
            return False
        name, _, password = base64.b64decode(word[6:]).decode().partition(":")
        return name in self.users and self.users[name] == password

    def _token(self, request):
        word = request.headers.get("authorization", "")
        if not (self._user(word) if word else self.anonymous):
            return oci_error(401, "UNAUTHORIZED")
        token = secrets.token_urlsafe(24)
        self.tokens[token] = {"until": time.monotonic() + self.token_seconds, "budget": self.token_budget}
        return Answer(200, {"Content-Type": "application/json"},
                      to_json({"token": token, "expires_in": self.token_seconds}))


def oci_error(status, code, message="as told"):
    return Answer(status, {"Content-Type": "application/json"},
                  to_json({"errors": [{"code": code, "message": message}]}))


def _ranged(request, data, media_type, tag=None):
    headers = {"Content-Type": media_type, "Accept-Ranges": "bytes", "ETag": f'"{tag or digest_of(data)}"'}
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if not wanted:
        return Answer(200, headers, memoryview(data))
    first, size = int(wanted.group(1)), len(data)
    last = min(int(wanted.group(2) or size - 1), size - 1)
    if first >= size:
        return Answer(416, {**headers, "Content-Range": f"bytes */{size}"})
    if request.headers.get("if-range", headers["ETag"]) != headers["ETag"]:
        return Answer(200, headers, memoryview(data))
    headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    return Answer(206, headers, memoryview(data)[first:last + 1])
