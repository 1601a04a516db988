# SPDX-License-Identifier: Apache-2.0
"""What servers and networks do wrong, as rules for server.Server.on()."""
import email.utils
import itertools
import time

from server import Answer

HTML = b"<!DOCTYPE html><html><head><title>Sign in to the network</title></head><body>" + b"<p>Hello.</p>" * 200


def status(code, headers=None, body=b"as told\n"):
    return lambda request, usual: Answer(code, {"Content-Type": "text/plain", **(headers or {})}, body)


def html(code=200, size=None):
    """An error page, or the page of a captive portal."""
    body = HTML if size is None else itertools.islice(itertools.repeat(HTML), size // len(HTML))
    return lambda request, usual: Answer(code, {"Content-Type": "text/html; charset=utf-8"}, body)


def retry_after_seconds(seconds, code=429):
    return status(code, {"Retry-After": str(seconds)})


def retry_after_date(seconds, code=429):
    return lambda request, usual: Answer(
        code, {"Retry-After": email.utils.formatdate(time.time() + seconds, usegmt=True)}, b"later\n")


def truncated(after):
    """The connection drops after so many bytes, though the head promised more."""
    def behave(request, usual):
        answer = usual(request)
        answer.cut = after
        return answer
    return behave


def shortened(by=1):
    """A clean end, but fewer bytes than the descriptor says."""
    def behave(request, usual):
        answer = usual(request)
        answer.body = answer.body[:len(answer.body) - by]
        answer.headers.pop("Content-Range", None)
        answer.status = 200
        return answer
    return behave


def lengthened(by=1):
    def behave(request, usual):
        answer = usual(request)
        answer.body = bytes(answer.body) + bytes(by)
        answer.headers.pop("Content-Range", None)
        answer.status = 200
        return answer
    return behave


def altered(at=None):
    """One bit is another, at this place of the body (its middle)."""
    def behave(request, usual):
        answer = usual(request)
        body = bytearray(answer.body)
        body[len(body) // 2 if at is None else at] ^= 1
        answer.body = body
        return answer
    return behave


def no_ranges(request, usual):
    """200 and everything, whatever was asked for."""
    request.headers.pop("range", None)
    return usual(request)


def range_begins(shift):
    """206 with bytes from another place, which the head admits."""
    def behave(request, usual):
        answer = usual(request)
        if answer.status == 206:
            first, rest = answer.headers["Content-Range"][len("bytes "):].split("-", 1)
            answer.headers["Content-Range"] = f"bytes {int(first) + shift}-{rest}"
        return answer
    return behave


def range_total(total):
    """206 that names another size of the whole."""
    def behave(request, usual):
        answer = usual(request)
        if answer.status == 206:
            answer.headers["Content-Range"] = answer.headers["Content-Range"].split("/")[0] + f"/{total}"
        return answer
    return behave


def etag(value):
    def behave(request, usual):
        answer = usual(request)
        answer.headers["ETag"] = value
        return answer
    return behave


def endless(chunked=False, piece=b"\0" * 65536, headers=None):
    """A body that never ends, without a length."""
    return lambda request, usual: Answer(200, {"Content-Type": "application/octet-stream", **(headers or {})},
                                         itertools.repeat(piece), chunked=chunked)


def endless_after(kept=65536):
    """The right length in the head, and then bytes without end."""
    def behave(request, usual):
        answer = usual(request)
        answer.length = len(answer.body)
        answer.body = itertools.chain([answer.body], itertools.repeat(bytes(kept)))
        return answer
    return behave


def endless_head(request, usual):
    """Header lines without end."""
    return Answer(200, {f"X-{number}": "v" * 1000 for number in range(20000)}, b"")


def slow_head(pause=0.5):
    def behave(request, usual):
        answer = usual(request)
        answer.head_pause = pause
        return answer
    return behave


def slow_body(rate=20, after=0):
    """Some bytes a second."""
    def behave(request, usual):
        answer = usual(request)
        answer.length = len(answer.body)
        body = answer.body
        answer.body = itertools.chain([body[:after]] if after else [], (body[i:i + 10] for i in range(after, len(body), 10)))
        answer.rate = rate
        return answer
    return behave


def paced(rate):
    """A slow network: bytes a second."""
    def behave(request, usual):
        answer = usual(request)
        answer.rate = rate
        return answer
    return behave


def redirect(location, code=307):
    """location: a text, or a function of the request."""
    return lambda request, usual: Answer(code, {"Location": location(request) if callable(location) else location})
