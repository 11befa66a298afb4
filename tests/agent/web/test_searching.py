"""Search engines, as their documentation describes them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.web.fetch import Caps, Web
from agent.web.guard import Refused
from agent.web.searching import PROVIDERS, Engine, Hit, hits
from tests.agent.web.rig import HERE, Site, reply, serving

# One hit in each engine's own form.
FOUND: dict[str, Any] = {
    "brave": {
        "type": "search",
        "web": {"results": [{"title": "T", "url": "https://a.test/", "description": "S\n s"}]},
    },
    "searxng": {
        "query": "q",
        "results": [{"title": "T", "url": "https://a.test/", "content": "S s"}],
    },
    "libertai": {
        "results": [
            {
                "title": "T",
                "url": "https://a.test/",
                "snippet": "S s",
                "engine": "google",
                "rank": 1,
            }
        ],
        "meta": {"engines_used": ["google"]},
    },
}
ASKED = {
    "brave": (b"GET /res/v1/web/search?q=a+%26+b&count=3 HTTP/1.1", b"x-subscription-token: key"),
    "searxng": (b"GET /search?q=a+%26+b&format=json HTTP/1.1", b"authorization: bearer key"),
    "libertai": (b"POST /search HTTP/1.1", b"authorization: bearer key"),
}


def engine(kind: str, site: Site) -> Engine:
    return Engine(
        PROVIDERS[kind], f"http://{HERE}:{site.port}", "key", Web(None, Caps(redirects=0))
    )


@pytest.mark.parametrize("kind", sorted(PROVIDERS))
async def test_each_engine_is_asked_in_its_way(kind: str) -> None:
    """And its answer is read; it may be on this machine, since the owner says where it is."""
    async with serving(reply(json.dumps(FOUND[kind]).encode())) as site:
        found = await engine(kind, site).search("a & b", 3)

    assert found == [Hit("T", "https://a.test/", "S s")]
    line, header = ASKED[kind]
    (request,) = site.requests
    assert request.startswith(line)
    assert header in request.lower()
    if kind == "libertai":
        body = json.loads(request.partition(b"\r\n\r\n")[2])
        assert body == {"query": "a & b", "max_results": 3}


@pytest.mark.parametrize(
    ("status", "words"),
    [("401 No", "search_key"), ("429 Slow", "later"), ("403 No", "formats"), ("500 Oh", "500")],
)
async def test_an_engine_that_refuses_is_quoted_with_the_remedy(status: str, words: str) -> None:
    """Most often it is the key."""
    async with serving(reply(b"no", status=status)) as site:
        with pytest.raises(Refused, match=words):
            await engine("brave", site).search("q", 3)


async def test_an_engine_without_an_address_says_what_is_missing() -> None:
    """Of the three, SearXNG has none that everybody uses."""
    with pytest.raises(Refused, match="search_url"):
        await Engine(PROVIDERS["searxng"], "", "", Web(None)).search("q", 3)


def test_no_key_is_shown() -> None:
    """In a traceback, say."""
    assert "hunter2" not in repr(Engine(PROVIDERS["brave"], "", "hunter2", Web(None)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("https://a.test/"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["web", "results", "title", "url", "content", "snippet"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON, st.sampled_from(sorted(PROVIDERS)))
def test_any_answer_is_read(answer: Any, kind: str) -> None:
    """What makes no sense is left out; only what can be fetched is a hit."""
    for hit in hits(json.dumps(answer).encode(), PROVIDERS[kind]):
        assert hit.url.startswith(("http://", "https://"))


@pytest.mark.parametrize("answer", [b"", b"<html>", b"\xff", b"[" * 100_000])
def test_an_answer_that_is_no_json_is_refused(answer: bytes) -> None:
    """With a sentence."""
    with pytest.raises(Refused, match="no JSON"):
        hits(answer, PROVIDERS["brave"])


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Moved", "308 Moved"])
async def test_the_key_follows_no_redirect(status: str) -> None:
    """Not even within the engine's server: its address is in the configuration, to be corrected."""
    async with serving(reply(status=status, location="/elsewhere")) as site:
        with pytest.raises(Refused, match=f"{status[:3]}; search_url has moved, and a key"):
            await engine("brave", site).search("q", 3)
    assert len(site.requests) == 1
