"""The demo's neighbourhood: its web server, its specialist, and how both are configured."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import trio

from agent.specialists import load_specialists
from daemon import config
from daemon.demo import neighbours
from daemon.demo.botapi import BotApiServer
from daemon.demo.model import ModelServer
from daemon.demo.neighbours import LISTED, Neighbours, library_is_open, open_neighbours
from daemon.demo.place import Place, temporary_place, toml
from daemon.demo.setup import choose, document
from daemon.errors import FamulusError


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    with temporary_place() as place:
        yield place


@pytest.fixture
async def around(place: Place) -> AsyncIterator[Neighbours]:
    async with open_neighbours(place) as found:
        yield found


async def test_the_garden_has_pages_and_takes_posts(around: Neighbours) -> None:
    """What was posted is shown to everybody; what is not there is a 404."""
    async with httpx.AsyncClient(base_url=around.url, trust_env=False, verify=False) as http:
        assert "apple trees" in (await http.get("/")).text
        assert (await http.get("/stock")).json()["apples"] == 3
        assert (await http.post("/post", content="über")).json() == {"received": "über"}
        assert (await http.get("/posted")).json() == {"posted": ["über"]}
        hits = (await http.get("/search", params={"q": "a b"})).json()["results"]
        assert [hit["url"] for hit in hits] == [f"{around.url}/"]
        assert "a b" in hits[0]["content"]
        assert (await http.get("/post")).status_code == 404


async def test_the_configuration_names_them(around: Neighbours, place: Place) -> None:
    """The daemon's own readers take it and the specialist's file; only 127.0.0.1 is opened."""
    bot, model = BotApiServer(), ModelServer()
    bot.base_url, model.base_url = "http://127.0.0.1:1", "http://127.0.0.1:2/v1"
    found = config.parse(toml(around.add_to(document(choose({}, None), place, bot, model))))
    assert found.web.allow_private == ("127.0.0.1",)
    assert (found.web.search, found.web.search_url) == ("searxng", around.url)
    assert list(found.mcp) == ["library"]
    assert found.agent.dir is not None
    specialists, warnings = load_specialists(found.agent.dir / "agents")
    assert ([each.name for each in specialists], warnings) == (["clerk"], ())


async def test_the_library_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log tells when its tools are known; one that does not come up is told, not waited for."""
    log = tmp_path / "log"
    log.write_text(f'event="{LISTED}" server=library')
    with trio.fail_after(20):
        await library_is_open(log)
    log.write_text("nothing of it")
    monkeypatch.setattr(neighbours, "LIST_TIMEOUT", 0.0)
    with pytest.raises(FamulusError, match="did not come up"):
        await library_is_open(log)
