"""Requests of the web tools: hop by hop, with bounds on bytes, time and redirects.

Nothing is taken in past a bound. The body comes in pieces, is unpacked piece by piece, and the
request is given up at the first byte that is too much, packed or unpacked. A redirect is a new
request that is judged like the first; what identifies us to one host is not told to another.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx
import trio
from attrs import Factory, define, frozen

from agent.web.body import Body
from agent.web.connect import GuardedBackend, GuardedTransport, Resolve, Tls, resolve
from agent.web.guard import Guard, Refused
from agent.web.query import REDIRECTS, Query, check_url, redirected
from agent.web.reading import Reader

AT_ONCE = 8  # requests; one waits for a place before it begins, so that none waits in the pool
PHASE_SECONDS = 15.0  # to connect, and between two pieces
AGENT = "Mozilla/5.0 (compatible; Famulus; a personal assistant)"


@frozen
class Caps:
    """Bounds on one request, its redirects included; bytes count packed and unpacked.

    Where no redirect is followed, one is an answer like any other.
    """

    bytes: int = 4 * 1024 * 1024
    seconds: float = 30.0
    redirects: int = 5


@frozen
class Page:
    """An answer: from where it came at last, and what it holds, unpacked."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def kind(self) -> str:
        """The media type, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def charset(self) -> str:
        for parameter in self.headers.get("content-type", "").split(";")[1:]:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "charset":
                return value.strip().strip("\"'")
        return ""


@define
class Web:
    """A client for pages. Every connection ends with the request that it was made for.

    `guard` None is for an address that the owner chose. `resolver` is for tests. `reader` makes
    text of the pages.
    """

    guard: Guard | None = Factory(Guard)
    caps: Caps = Factory(Caps)
    tls: Tls = Factory(Tls)
    resolver: Resolve = resolve
    reader: Reader = Factory(Reader)
    _client: httpx.AsyncClient | None = None
    _places: trio.CapacityLimiter = Factory(lambda: trio.CapacityLimiter(AT_ONCE))

    async def fetch(self, query: Query) -> Page:
        """The answer to a request, after its redirects. Raises Refused for all that goes wrong."""
        try:
            with trio.fail_after(self.caps.seconds):
                async with self._places:
                    return await self._follow(query)
        except trio.TooSlowError:
            raise Refused(f"no whole answer within {self.caps.seconds:g} seconds") from None
        except httpx.TimeoutException:
            raise Refused(f"the server was silent for {PHASE_SECONDS:g} seconds") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Refused(f"the request failed: {_words(error)}") from error

    async def _follow(self, query: Query) -> Page:
        for _ in range(self.caps.redirects + 1):
            found = await self._once(query)
            if isinstance(found, Page):
                return found
            query = found
        raise Refused(f"more than {self.caps.redirects} redirects")

    async def _once(self, query: Query) -> Page | Query:
        """Make one request: the page, or the request that a redirect asks for."""
        url = check_url(query.url)
        async with self._response(query, url) as response:
            location = response.headers.get("location")
            if self.caps.redirects and response.status_code in REDIRECTS and location:
                return redirected(query, url, location, response.status_code)
            body = b"" if query.method == "HEAD" else await self._read(response)
            return Page(str(url), response.status_code, dict(response.headers), body)

    @asynccontextmanager
    async def _response(self, query: Query, url: httpx.URL) -> AsyncIterator[httpx.Response]:
        client = self._client or await self._open()
        async with client.stream(
            query.method, url, headers=query.headers, content=query.body
        ) as response:
            yield response

    async def _open(self) -> httpx.AsyncClient:
        tls = await self.tls.context()
        if self._client is None:
            self._client = httpx.AsyncClient(
                transport=GuardedTransport(GuardedBackend(self.guard, self.resolver), tls),
                timeout=PHASE_SECONDS,
                follow_redirects=False,
                trust_env=False,
                # Nothing that one page sets is told to another.
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
                headers={"User-Agent": AGENT, "Accept-Encoding": "gzip, deflate"},
            )
        return self._client

    async def aclose(self) -> None:
        """Close the client, of which no request may be under way."""
        if self._client is not None:
            await self._client.aclose()

    async def _read(self, response: httpx.Response) -> bytes:
        body = Body.of(response.headers.get("content-encoding", ""), self.caps.bytes)
        body.announce(response.headers.get("content-length", ""))
        await _drain(response, body)
        return body.end()


async def _drain(response: httpx.Response, body: Body) -> None:
    """Read the body to its end. Raises Refused once it is too much.

    A stream of httpx is generators within generators, which only end properly if they are read to
    their end. So a body that is refused has its connection closed first, at which they end.
    """
    refusal: Refused | None = None
    try:
        async for piece in response.aiter_raw():
            if refusal is None:
                refusal = await _take(body, piece)
                if refusal is not None:
                    await response.aclose()
    except httpx.HTTPError:
        if refusal is None:
            raise
    if refusal is not None:
        raise refusal


async def _take(body: Body, piece: bytes) -> Refused | None:
    """Unpack a piece, letting others work in between; what is wrong with it, if anything."""
    try:
        for _ in body.feed(piece):
            await trio.lowlevel.cancel_shielded_checkpoint()
    except Refused as refusal:
        return refusal
    return None


def _words(error: Exception) -> str:
    """What went wrong, without the URL, which may hold what is nobody's business.

    The libraries pass a failed handshake on without a word; its reason is what caused it.
    """
    cause: BaseException | None = error
    while cause is not None and not str(cause):
        cause = cause.__cause__ or cause.__context__
    return str(cause or type(error).__name__)[:200]
