"""`web_fetch`, `http_client` and `web_search`: the web, as far as a guard lets it be reached.

What comes from there is data of strangers: it is marked as such for the model, and is never large.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import trio

from agent.ports import Policy, ToolOutcome
from agent.text import clean
from agent.tools.registry import BadArguments, Kind, Tool, ToolError, tool
from agent.web.fetch import Page, Web
from agent.web.guard import Refused
from agent.web.query import Query, check_url, read_headers
from agent.web.reading import Reader
from agent.web.searching import Engine
from agent.web.text import declared, decode, plain_text, pretty

PAGE_LENGTH: Final = 12_000  # characters of a page that are shown at once
MOST_HITS: Final = 10
MOST_HEADERS: Final = 40
HTML: Final = frozenset({"text/html", "application/xhtml+xml"})
# Media types of text that do not begin with text/.
_TEXTUAL: Final = ("json", "xml", "javascript", "yaml", "toml", "x-www-form-urlencoded", "graphql")
_PEEK: Final = 4096  # bytes at the beginning that show whether something is text
_ERROR: Final = 400
URL: Final = "Address, http or https"


def web_tools(web: Web, engine: Engine | None = None) -> list[Tool]:
    """The tools for the web; `web_search` only with an engine."""

    @tool(kind=Kind.READ, untrusted=True)
    async def web_fetch(
        url: Annotated[str, URL],
        start: Annotated[int | None, "Characters to skip, to read on"] = None,
    ) -> ToolOutcome:
        """Read a web page as text, links kept."""
        page = await _fetch(web, Query("GET", url))
        text = f"{_status(page)}{await _text(web.reader, page)}"
        return ToolOutcome(part(text, max(0, start or 0)), failed=page.status >= _ERROR)

    @tool(kind=Kind.OUTWARD, untrusted=True, judge=judge, scope=scope)
    async def http_client(  # noqa: PLR0913  (a request has that many parts)
        method: Annotated[Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"], "Verb"],
        url: Annotated[str, URL],
        headers: Annotated[str | None, "Lines such as Accept: text/plain"] = None,
        body: Annotated[str | None, "Text to send"] = None,
        json: Annotated[str | None, "JSON to send"] = None,
        response: Annotated[Literal["auto", "raw"] | None, "raw: do not make HTML readable"] = None,
    ) -> str:
        """Make an HTTP request, to an API for example."""
        page = await _fetch(web, compose(method, url, headers, body, json))
        text = await (_raw(page) if response == "raw" else _text(web.reader, page))
        lines = (f"{name}: {value}" for name, value in _shown(method, page.headers).items())
        return part("\n".join([f"HTTP {page.status} {page.url}", *lines, "", text]), 0)

    @tool(kind=Kind.READ, untrusted=True)
    async def web_search(
        query: Annotated[str, "What to look for"],
        count: Annotated[int | None, "How many hits, 5 by default"] = None,
    ) -> str:
        """Search the web."""
        assert engine is not None  # noqa: S101  (else it is not offered)
        try:
            found = await engine.search(clean(query), min(max(1, count or 5), MOST_HITS))
        except Refused as why:
            raise ToolError(f"the search failed: {why}") from why
        lines = [f"{n}. {hit.title}\n{hit.url}\n{hit.snippet}" for n, hit in enumerate(found, 1)]
        return "\n\n".join(lines) or "nothing found"

    return [web_fetch, http_client, *([web_search] if engine else [])]


def judge(given: Mapping[str, Any]) -> Policy:
    """Reading is free; what sends something may change something, and asks."""
    return Policy.ALLOW if _composed(given).only_asks else Policy.ASK


def scope(given: Mapping[str, Any]) -> str | None:
    """A lasting yes is for one verb at one server: what is sent there is not looked at again."""
    return _composed(given).scope


def _composed(given: Mapping[str, Any]) -> Query:
    return compose(*(given[name] for name in ("method", "url", "headers", "body", "json")))


def compose(
    method: str,
    url: str,
    headers: str | None,
    body: str | None,
    data: str | None,
) -> Query:
    """The request that a model has described. Raises BadArguments."""
    if data is not None and body is not None:
        raise BadArguments("give either body or json, not both")
    try:
        given = read_headers(headers or "")
        check_url(url)
    except Refused as why:
        raise BadArguments(f"refused: {why}") from why
    if data is not None:
        given = _with_json(given, data)
    text = body if data is None else data
    return Query(method, url, given, None if text is None else clean(text).encode())


def _with_json(headers: Mapping[str, str], data: str) -> dict[str, str]:
    try:
        json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadArguments(f"json is no JSON: {error}") from None
    named = {name.lower() for name in headers}
    kind = {} if "content-type" in named else {"Content-Type": "application/json"}
    return {**headers, **kind}


async def _fetch(web: Web, query: Query) -> Page:
    try:
        return await web.fetch(query)
    except Refused as why:
        raise ToolError(f"refused: {why}") from why


async def _text(reader: Reader, page: Page) -> str:
    """What a page holds, by its media type. Raises ToolError for what is no text."""
    if not (page.kind in HTML or (not page.kind and page.body.lstrip()[:1] == b"<")):
        return await _raw(page)
    charset = page.charset or declared(page.body)
    source, remark = await trio.to_thread.run_sync(decode, page.body, charset)
    try:
        found = await reader.read(source, page.url)
    except Refused as why:
        text = await trio.to_thread.run_sync(plain_text, source)
        return f"{remark}[{why}; this is all text on it]\n{text}"
    title = f"# {found.title}\n\n" if found.title else ""
    if found.text:
        return f"{remark}{title}{found.text}{' [...]' if found.cut else ''}"
    text = await trio.to_thread.run_sync(plain_text, source)
    return f"{remark}{title}{text or '[the page has no text]'}"


async def _raw(page: Page) -> str:
    """The text of a body as it came, but JSON with its structure to be seen."""
    if not is_text(page):
        raise ToolError(
            f"{page.url:.200} is no text but {page.kind or 'of an unknown kind'},"
            f" {len(page.body):,} bytes, which cannot be shown"
        )
    text, remark = await trio.to_thread.run_sync(decode, page.body, page.charset)
    if "json" in page.kind:
        text = await trio.to_thread.run_sync(pretty, text, PAGE_LENGTH)
    return remark + text


def is_text(page: Page) -> bool:
    """By what it says of itself, unless its first bytes say otherwise."""
    if b"\0" in page.body[:_PEEK] and not page.charset.lower().startswith("utf-16"):
        return page.body[:2] in {b"\xff\xfe", b"\xfe\xff"}
    if page.kind.startswith("text/") or any(word in page.kind for word in _TEXTUAL):
        return True
    return not page.body or _is_utf8(page.body[:_PEEK])


def _is_utf8(data: bytes) -> bool:
    """Whether it may be the beginning of a text in UTF-8, which may be cut inside a character."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.end == len(data) and len(data) == _PEEK
    return True


def _status(page: Page) -> str:
    """What the model should know of an answer that is not simply the page."""
    return "" if page.status == 200 else f"[HTTP {page.status}]\n"  # noqa: PLR2004


def _shown(method: str, headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that say something about the answer; all of them if they are the answer."""
    if method == "HEAD":
        return {name: value[:300] for name, value in list(headers.items())[:MOST_HEADERS]}
    wanted = ("content-type", "last-modified", "etag", "location", "retry-after", "link")
    limits = [name for name in headers if name.startswith(("x-ratelimit", "ratelimit"))]
    return {name: headers[name][:300] for name in (*wanted, *limits[:10]) if name in headers}


def part(text: str, start: int) -> str:
    """A part of a long text, which says how to read on."""
    end = start + PAGE_LENGTH
    more = f"\n[it goes on: start={end}, {len(text) - end:,} characters more]"
    return text[start:end] + (more if len(text) > end else "") or "[nothing there]"
