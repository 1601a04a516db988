# SPDX-License-Identifier: Apache-2.0
"""An HTTP server inside the test process that can be told to misbehave, request by request, and remembers everything.

A subclass gives the usual answer to a request; rules stand between the request and that answer. A rule is a function
behave(request, usual) -> Answer: it may change the request before it asks usual(request), change the answer after, or
make one of its own. Every request is kept with what it carried and how much of the answer was sent.
"""
import re
import socket
import ssl
import subprocess
import threading
import time
import urllib.parse
from dataclasses import dataclass, field

CHUNK = 1 << 16
HEAD_LIMIT = 1 << 16


@dataclass
class Request:
    method: str
    target: str
    headers: dict
    port: int
    secure: bool
    when: float = field(default_factory=time.monotonic)
    status: int = 0             # of the answer
    sent: int = 0               # bytes of its body that were written to the socket
    complete: bool = False      # all of it

    @property
    def path(self):
        return urllib.parse.unquote(urllib.parse.urlsplit(self.target).path)

    @property
    def query(self):
        return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.target).query))

    @property
    def kind(self):
        """What the request is about, in one word: blob, manifest, token, or else the first part of its path."""
        for kind in ("blob", "manifest"):
            if f"/{kind}s/" in self.path:
                return kind
        return self.path.split("/")[1]


@dataclass
class Answer:
    status: int = 200
    headers: dict = field(default_factory=dict)
    body: object = b""          # bytes, or something that gives bytes when iterated over
    length: object = None       # what Content-Length says; None: the truth, False: no such header
    chunked: bool = False
    cut: object = None          # close the connection after so many bytes of the body
    rate: object = None         # bytes a second
    head_pause: float = 0       # seconds between the bytes of the head
    taken: object = None        # called with the number of bytes after each write


class Gone(Exception):
    """The peer went away, or the server is to stop."""


class Server:
    """Listens on a free port of the loopback device from its creation to close(). tls: a Certificate, or None."""

    def __init__(self, tls=None, host="localhost"):
        self.tls, self.host = tls, host
        self.requests, self.rules = [], []
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.connections = set()
        self.accepted = 0
        self.silent = False         # towards those who speak TLS to a server without; others hang up
        self.context = tls.context() if tls else None
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.stopping.set()
        # A closed descriptor does not wake a thread that waits in accept().
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()
        with self.lock:
            connections = list(self.connections)
        for connection in connections:
            _shut(connection)

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    @property
    def url(self):
        return f"{'https' if self.tls else 'http'}://{self.address}"

    def usual(self, request):
        """The answer of a well-behaved server."""
        return Answer(404, {"Content-Type": "text/plain"}, b"no such thing\n")

    def on(self, matching, behave, times=None, skip=0):
        """Let behave stand before requests of this kind ("blob", "manifest", "token", ".*": a pattern for the kind, or
        for the path when it has a slash or a colon), after skip of them, for as many as times says. Later rules come first."""
        self.rules.insert(0, {"matching": re.compile(matching), "slash": "/" in matching or ":" in matching, "behave": behave,
                              "left": times, "skip": skip})

    def forget(self):
        """Behave well from now on, and with no memory."""
        with self.lock:
            self.rules.clear()
            self.requests.clear()

    def seen(self, kind=".*"):
        with self.lock:
            return [r for r in self.requests if re.fullmatch(kind, r.kind)]

    def sent(self, kind="blob|files"):
        """Bytes of bodies that left, of requests of this kind."""
        return sum(r.sent for r in self.seen(kind))

    # Underneath --------------------------------------------------------------------------------------------------

    def _behaviours(self, request):
        with self.lock:
            chosen = []
            for rule in self.rules:
                subject = request.path if rule["slash"] else request.kind
                if not (rule["matching"].search if rule["slash"] else rule["matching"].fullmatch)(subject):
                    continue
                if rule["skip"] > 0:
                    rule["skip"] -= 1
                elif rule["left"] is None or rule["left"] > 0:
                    if rule["left"] is not None:
                        rule["left"] -= 1
                    chosen.append(rule["behave"])
            return chosen

    def _answer(self, request):
        usual = self.usual
        for behave in reversed(self._behaviours(request)):
            usual = (lambda behave, inner: lambda r: behave(r, inner))(behave, usual)
        return usual(request)

    def _accept(self):
        while not self.stopping.is_set():
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.accepted += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            # What lies between the two ends of a connection is not counted as received: keep it short.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, CHUNK)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(60)
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            with self.lock:
                self.connections.add(connection)
            self.converse(connection)
        except (OSError, ssl.SSLError, Gone, ValueError):
            pass
        finally:
            with self.lock:
                self.connections.discard(connection)
            _shut(connection)
            connection.close()

    def converse(self, connection):
        """Requests and answers on one connection until either side ends it."""
        rest = b""
        while not self.stopping.is_set():
            head, rest = read_head(connection, rest, self.silent)
            if head is None:
                return
            request = self._parse(head)
            with self.lock:
                self.requests.append(request)
            body = int(request.headers.get("content-length", 0))
            while len(rest) < body:
                data = connection.recv(CHUNK)
                if not data:
                    return
                rest += data
            rest = rest[body:]
            if not self._send(connection, request, self._answer(request)):
                return

    def _parse(self, head):
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
        return Request(method, target, headers, self.port, self.context is not None)

    def _send(self, connection, request, answer):
        """Returns whether the connection may be used again."""
        request.status = answer.status
        plain = isinstance(answer.body, (bytes, bytearray, memoryview))
        length = answer.length
        if length is None:
            length = len(answer.body) if plain and not answer.chunked else False
        self._send_head(connection, answer, length)
        if request.method == "HEAD" or answer.status in (204, 304):
            request.complete = True
            return True
        for piece in _pieces(answer.body if plain else iter(answer.body), answer.cut):
            if self.stopping.is_set():
                raise Gone
            if answer.chunked:
                connection.sendall(b"%x\r\n%s\r\n" % (len(piece), bytes(piece)))
            else:
                connection.sendall(piece)
            request.sent += len(piece)
            if answer.taken:
                answer.taken(len(piece))
            if answer.rate:
                self.stopping.wait(len(piece) / answer.rate)
        if answer.cut is not None:
            return False
        if answer.chunked:
            connection.sendall(b"0\r\n\r\n")
        request.complete = True
        return answer.chunked or (length is not False and plain and length == len(answer.body))

    def _send_head(self, connection, answer, length):
        lines = [f"HTTP/1.1 {answer.status} {'OK' if answer.status < 300 else 'Other'}"]
        for name, value in answer.headers.items():
            lines += [f"{name}: {v}" for v in (value if isinstance(value, (list, tuple)) else [value])]
        if answer.chunked:
            lines.append("Transfer-Encoding: chunked")
        elif length is not False:
            lines.append(f"Content-Length: {length}")
        else:
            lines.append("Connection: close")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        if not answer.head_pause:
            connection.sendall(head)
            return
        for index in range(len(head)):
            connection.sendall(head[index:index + 1])
            if self.stopping.wait(answer.head_pause):
                raise Gone


def _pieces(body, cut):
    """The body in pieces that are not too large, at most cut bytes in all."""
    left = cut
    parts = [body] if isinstance(body, (bytes, bytearray, memoryview)) else body
    for part in parts:
        view = memoryview(part)
        for start in range(0, len(view), CHUNK):
            piece = view[start:start + CHUNK]
            if left is not None:
                piece = piece[:left]
                left -= len(piece)
            if len(piece):
                yield piece
            if left == 0:
                return


def read_head(connection, rest, silent=False):
    """silent: says and does nothing while what comes may yet become a request, be it TLS in a place without."""
    while b"\r\n\r\n" not in rest:
        if len(rest) > HEAD_LIMIT or rest and not rest[:1].isupper() and not silent:
            raise ValueError("head")
        data = connection.recv(CHUNK)
        if not data:
            return None, b""
        rest += data
    head, _, rest = rest.partition(b"\r\n\r\n")
    return head, rest


def _shut(connection):
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


# --- the private authority --------------------------------------------------------------------------------------------

@dataclass
class Certificate:
    pem: object
    key: object

    def context(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pem, self.key)
        return context


class Authority:
    """A certificate authority of the tests' own, made by openssl: its certificate is folder/ca.pem."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key",
                      "-out", "ca.pem", "-days", "3650", "-subj", "/CN=Authority of the tests",
                      "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")

    @property
    def pem(self):
        return self.folder / "ca.pem"

    def certificate(self, name="server", hosts=("DNS:localhost", "IP:127.0.0.1"), days=3650):
        """A server's certificate; days may be negative: it has expired."""
        pem, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        (self.folder / f"{name}.ext").write_text(
            f"subjectAltName={','.join(hosts)}\nbasicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\n")
        self._openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out",
                      f"{name}.csr", "-subj", f"/CN={name}")
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                      "-days", days, "-extfile", f"{name}.ext", "-out", pem)
        return Certificate(pem, key)

    def _openssl(self, *argv):
        done = subprocess.run(["openssl", *map(str, argv)], cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True)
        assert done.returncode == 0, (argv, done.stderr)
