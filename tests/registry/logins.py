# SPDX-License-Identifier: Apache-2.0
"""Passwords as docker and podman keep them."""
import base64
import json


def encoded(user, password):
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def write_login(path, registry, user, password, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"auths": {registry: {"auth": encoded(user, password)}}, **more}))
    path.chmod(0o600)
    return path


def login(node, registry, user, password):
    """The node's own file, in one of the usual places."""
    return write_login(node.home / ".docker/config.json", registry, user, password)
