# SPDX-License-Identifier: Apache-2.0
"""A forward proxy: CONNECT for https, absolute addresses for http. Remembers where it led to."""
import base64
import select
import socket
import urllib.parse

from server import Answer, Server, read_head


class Proxy(Server):
    """login: "user:password" that it wants. Every host leads to the loopback device."""

    def __init__(self, login=None, status=200):
        self.login, self.connect_status = login, status
        self.tunnels = []           # "host:port" of every CONNECT that was let through
        super().__init__()

    def converse(self, connection):
        head, rest = read_head(connection, b"")
        if head is None:
            return
        request = self._parse(head)
        with self.lock:
            self.requests.append(request)
        wanted = "Basic " + base64.b64encode((self.login or "").encode()).decode()
        if self.login and request.headers.get("proxy-authorization") != wanted:
            self._send(connection, request, Answer(407, {"Proxy-Authenticate": 'Basic realm="proxy"'}))
        elif self.connect_status != 200:
            self._send(connection, request, Answer(self.connect_status))
        elif request.method == "CONNECT":
            self.tunnels.append(request.target)
            with socket.create_connection(("127.0.0.1", int(request.target.rsplit(":", 1)[1]))) as there:
                connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n" + rest)
                self._join(connection, there)
        else:
            url = urllib.parse.urlsplit(request.target)
            first, _, others = head.partition(b"\r\n")
            path = url._replace(scheme="", netloc="").geturl() or "/"
            with socket.create_connection(("127.0.0.1", url.port or 80)) as there:
                there.sendall(f"{request.method} {path} HTTP/1.1\r\n".encode() + others + b"\r\n\r\n" + rest)
                self._join(connection, there)

    def _join(self, one, other):
        while not self.stopping.is_set():
            for source in select.select([one, other], [], [], 1)[0]:
                data = source.recv(1 << 16)
                if not data:
                    return
                (other if source is one else one).sendall(data)
