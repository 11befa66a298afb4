"""The demo's neighbourhood: what an assistant with all of its tools has around it, on 127.0.0.1.

A web server (a page, data, a place that takes what is posted), a search engine that answers as
SearXNG does, a server of MCP tools (`library`), and a specialist. Only a play that asks for it
(`! neighbours`) has it, and the daemon's configuration then names it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

import trio
from attrs import field, frozen

from daemon.demo.http import Request, Response, serve
from daemon.demo.place import Place, write_private
from daemon.demo.process import CODE
from daemon.errors import FamulusError

HOST: Final = "127.0.0.1"

# Another process's readiness, read from the daemon's log. The library imports for a second or two.
LISTED: Final = "MCP server up"
LIST_TIMEOUT: Final = 30.0
INTERVAL: Final = 0.05

PAGE: Final = """\
<!doctype html><html><head><title>The neighbour's garden</title></head><body>
<nav><a href="/">home</a></nav>
<article><h1>The neighbour's garden</h1>
<p>In this garden there are three apple trees and a pear tree. The apples are ripe in September,
and whoever comes by may take as many as fit into a hat.</p>
<p>What is left over is counted every evening: see <a href="/stock">the stock</a>.</p>
</article></body></html>
"""
STOCK: Final = {"apples": 3, "pears": 1}

CLERK: Final = """\
---
name: clerk
description: Does sums, one at a time.
tools:
  allow: [calculate_expression]
---
You are a clerk. Calculate what you are asked, and say the result.
"""


@frozen
class Neighbours:
    """A neighbourhood that is there: its web server's address, the owner's directory for it."""

    url: str
    directory: Path

    def add_to(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """The demo's configuration with all of them in it."""
        return {
            **document,
            "agent": {**document["agent"], "dir": str(self.directory)},
            "web": {"allow_private": [HOST], "search": "searxng", "search_url": self.url},
            "mcp": {
                "library": {
                    "command": [sys.executable, "-m", "daemon.demo.library"],
                    "cwd": str(CODE),
                }
            },
        }


@frozen
class Garden:
    """The web server: pages to read, and what was posted to it, for everybody to see."""

    posted: list[str] = field(factory=list)

    async def handle(self, request: Request) -> Response:
        """Answer one request."""
        if request.method == "POST" and request.path == "/post":
            self.posted.append((await request.body()).decode("utf-8", "replace"))
            return _json({"received": self.posted[-1]})
        match request.path:
            case "/":
                return Response(200, PAGE.encode(), "text/html; charset=utf-8")
            case "/stock":
                return _json(STOCK)
            case "/posted":
                return _json({"posted": self.posted})
            case "/search":
                return _json({"results": self._hits(request)})
        return Response(404, b"there is nothing here", "text/plain")

    def _hits(self, request: Request) -> list[dict[str, str]]:
        """The one page there is, whatever is looked for."""
        asked = parse_qs(request.query).get("q", [""])[0]
        about = f"Apples and pears, ripe in September. (You looked for: {asked})"
        place = f"http://{request.headers.get('host', HOST)}/"
        return [{"title": "The neighbour's garden", "url": place, "content": about}]


@asynccontextmanager
async def open_neighbours(place: Place) -> AsyncIterator[Neighbours]:
    """Run the web server and write the specialist's file; both are there during the block."""
    directory = place.root / "owner"
    (directory / "agents").mkdir(mode=0o700, parents=True)
    write_private(directory / "agents" / "clerk.md", CLERK)
    async with trio.open_nursery() as nursery:
        yield Neighbours(await nursery.start(serve, Garden().handle), directory)
        nursery.cancel_scope.cancel()


async def library_is_open(log: Path) -> None:
    """Wait until the daemon has listed the library's tools; until then it offers none of them."""
    with trio.move_on_after(LIST_TIMEOUT):
        while True:
            if _is_listed(log):
                return
            await trio.sleep(INTERVAL)
    raise FamulusError("the demo's MCP server did not come up", f"the log may say why: {log}")


def _is_listed(log: Path) -> bool:
    return LISTED in log.read_text(encoding="utf-8", errors="replace")


def _json(value: dict[str, Any]) -> Response:
    return Response(200, json.dumps(value, ensure_ascii=False).encode())
