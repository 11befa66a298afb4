"""Search engines: how each is asked, and what its answer means. Pure, but for `Engine.search`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from attrs import field, frozen

from agent.web.fetch import Web
from agent.web.guard import Refused
from agent.web.query import LONGEST_URL, REDIRECTS, Query

SNIPPET = 400  # characters
TITLE = 200
MOVED = "; search_url has moved, and a key is sent nowhere else"
STATUSES = {
    **dict.fromkeys(REDIRECTS, MOVED),
    401: "; the owner's search_key is not accepted",
    403: "; it does not allow this (SearXNG: JSON must be among its formats)",
    429: "; it wants fewer questions, try again later",
}


@frozen
class Hit:
    title: str
    url: str
    snippet: str


@frozen
class Provider:
    """One kind of engine: where it is by default, how it is asked, where its answer has the hits.

    `keyed` if it wants a key. `fields` are the names of title, URL and snippet in a hit.
    """

    base_url: str
    ask: Callable[[str, str, str, int], Query]
    path: tuple[str, ...]
    fields: tuple[str, str, str]
    keyed: bool = True


def _brave(base: str, key: str, query: str, count: int) -> Query:
    asked = urlencode({"q": query, "count": count})
    headers = {"X-Subscription-Token": key, "Accept": "application/json"}
    return Query("GET", f"{base}/res/v1/web/search?{asked}", headers)


def _searxng(base: str, key: str, query: str, _count: int) -> Query:
    headers = {"Accept": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    return Query("GET", f"{base}/search?{urlencode({'q': query, 'format': 'json'})}", headers)


def _libertai(base: str, key: str, query: str, count: int) -> Query:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    body = json.dumps({"query": query, "max_results": count}).encode()
    return Query("POST", f"{base}/search", headers, body)


PROVIDERS: Final[Mapping[str, Provider]] = {
    "brave": Provider(
        "https://api.search.brave.com",
        _brave,
        ("web", "results"),
        ("title", "url", "description"),
    ),
    "searxng": Provider("", _searxng, ("results",), ("title", "url", "content"), keyed=False),
    "libertai": Provider(
        "https://api.libertai.io", _libertai, ("results",), ("title", "url", "snippet")
    ),
}


@frozen
class Engine:
    """The search engine that the owner has chosen."""

    provider: Provider
    base_url: str
    key: str = field(repr=False)
    # Without a guard, for where an engine is, the owner says; and without redirects.
    web: Web

    async def search(self, query: str, count: int) -> list[Hit]:
        """The best hits. Raises Refused."""
        base = (self.base_url or self.provider.base_url).rstrip("/")
        if not base:
            raise Refused("nobody has said where the search engine is; the owner sets search_url")
        page = await self.web.fetch(self.provider.ask(base, self.key, query, count))
        if page.status != 200:  # noqa: PLR2004
            why = STATUSES.get(page.status, "")
            raise Refused(f"the search engine answered with status {page.status}{why}")
        return hits(page.body, self.provider)[:count]


def hits(body: bytes, provider: Provider) -> list[Hit]:
    """What an engine has found; what makes no sense is left out. Raises Refused for no JSON."""
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused("the search engine's answer is no JSON") from None
    for name in provider.path:
        found = found.get(name) if isinstance(found, dict) else None
    listed = found if isinstance(found, list) else []
    read = (_hit(each, provider.fields) for each in listed if isinstance(each, dict))
    return [each for each in read if each.url.startswith(("http://", "https://"))]


def _hit(found: dict[str, Any], fields: tuple[str, str, str]) -> Hit:
    title, url, snippet = (
        " ".join(value.split()) if isinstance(value := found.get(name), str) else ""
        for name in fields
    )
    return Hit((title or url)[:TITLE], url[:LONGEST_URL], snippet[:SNIPPET])
