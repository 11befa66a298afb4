"""What is asked of the web: URLs, headers, and where a redirect leads. Pure.

A URL is judged here by its shape alone; whether its host may be reached is found out by its
addresses, in `agent.web.guard`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import httpx
from attrs import Factory, evolve, frozen

from agent.web.guard import Refused

LONGEST_URL: Final = 8000  # characters
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
READS: Final = frozenset({"GET", "HEAD"})
_SEE_OTHER: Final = 303
_AFTER_POST: Final = frozenset({301, 302})

MAX_PORT: Final = 65535

# After IDNA; of addresses in brackets, what is between them.
_HOST: Final = re.compile(rb"[A-Za-z0-9_.:-]{1,253}")
_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")

# What may go to another host than the one it was meant for: all else may be a credential.
_HARMLESS: Final = frozenset({"accept", "accept-language", "user-agent"})
# What is ours to say: how the body comes and goes, and whom it is for.
_OURS: Final = frozenset(
    {
        *("host", "content-length", "transfer-encoding", "accept-encoding", "connection", "te"),
        *("keep-alive", "upgrade", "trailer", "expect", "proxy-authorization", "proxy-connection"),
    }
)
# By these, some servers take a GET for another method.
_OVERRIDES: Final = frozenset(
    {"x-http-method-override", "x-http-method", "x-method-override", "x-original-method"}
)


@frozen
class Query:
    """A request: headers by their names as they are written, and a body if there is one."""

    method: str
    url: str
    headers: Mapping[str, str] = Factory(dict)
    body: bytes | None = None

    @property
    def only_asks(self) -> bool:
        """Whether it can change nothing at an honest server: no body, no method in disguise."""
        return self.method in READS and self.body is None and not self.disguised

    @property
    def disguised(self) -> bool:
        """Whether some servers take it for another method than it says."""
        return any(name.lower() in _OVERRIDES for name in self.headers)

    @property
    def scope(self) -> str | None:
        """What a lasting yes to it covers: one verb at one server. None where that is not clear."""
        if self.method in READS or self.disguised:
            return None
        url = check_url(self.url)
        return f"{self.method} {url.scheme}://{url.netloc.decode('ascii')}"


def check_url(text: str) -> httpx.URL:
    """A URL that may be asked for. Raises Refused. Where it leads is judged by the connection."""
    if len(text) > LONGEST_URL:
        raise Refused(f"the URL has more than {LONGEST_URL:,} characters")
    try:
        url = httpx.URL(text.strip()).copy_with(fragment=None)
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise Refused(f"{text!r:.100} is no URL: {error!s:.100}") from error
    if url.scheme not in {"http", "https"}:
        raise Refused(f"{text!r:.100} is neither http nor https; write it out, with https://")
    if not _HOST.fullmatch(url.raw_host) or not 0 < _port(url) <= MAX_PORT:
        raise Refused(f"{text!r:.100} names no host and port that there could be")
    if url.userinfo:
        raise Refused("a URL with a user's name or password in it is not asked for; use a header")
    return url


def read_headers(text: str) -> dict[str, str]:
    """Headers from lines of `Name: value`. Raises Refused."""
    return dict(_header(line) for line in text.splitlines() if line.strip())


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    name, value = name.strip(), value.strip()
    if not (colon and _NAME.fullmatch(name)):
        raise Refused(f"{line!r:.60} is no header; write one on each line, as Name: value")
    if name.lower() in _OURS:
        raise Refused(f"the header {name} is set by the program, and by nobody else")
    if not (value.isascii() and value.isprintable()):
        raise Refused(f"the value of the header {name} is not plain ASCII; encode it")
    return name, value


def redirected(query: Query, url: httpx.URL, location: str, status: int) -> Query:
    """The request that a redirect asks for.

    As browsers do it, 303, and 301 and 302 after POST, are gone on with by GET. What was meant for
    one server is told to no other: neither headers that may be credentials nor a body, and what
    could change something there is not sent on. Raises Refused.
    """
    target = _joined(url, location)
    if _becomes_get(query.method, status):
        headers = {name: value for name, value in query.headers.items() if not _of_a_body(name)}
        query = Query("GET", query.url, headers)
    if _origin(url) != _origin(target):
        if not query.only_asks:
            raise Refused(
                f"the server wants this sent to {target.host:.200}; ask for that, if meant"
            )
        query = evolve(query, headers=_harmless(query.headers))
    return evolve(query, url=str(target))


def _joined(url: httpx.URL, location: str) -> httpx.URL:
    try:
        return check_url(str(url.join(location)))
    except (httpx.InvalidURL, ValueError) as error:
        raise Refused(f"the page leads to {location!r:.100}, which is no URL") from error
    except Refused as why:
        raise Refused(f"the page leads on, and {why}") from why


def _becomes_get(method: str, status: int) -> bool:
    if status == _SEE_OTHER:
        return method != "HEAD"
    return status in _AFTER_POST and method == "POST"


def _origin(url: httpx.URL) -> tuple[str, bytes, int]:
    return url.scheme, url.raw_host, _port(url)


def _port(url: httpx.URL) -> int:
    if url.port is not None:
        return url.port
    return 443 if url.scheme == "https" else 80


def _of_a_body(name: str) -> bool:
    return name.lower().startswith("content-")


def _harmless(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() in _HARMLESS}
