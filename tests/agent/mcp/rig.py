"""Runs servers for tests: a host that remembers what it was told, and lives that can be watched."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import trio
from attrs import define, evolve, field

from agent.mcp.server import Server
from agent.mcp.spec import Http, ServerDown, ServerSpec, Stdio
from agent.ports import Policy, ToolOutcome
from agent.tools.mcp import mcp_tools
from agent.tools.registry import Registry
from agent.transcript import CallRequest

HERE = Path(__file__).parent
UP = "MCP server up"


@define
class FakeHost:
    """Remembers what is said; waits for it."""

    said: list[tuple[str, str, dict[str, object]]] = field(factory=list)
    retry: float | None = 4.0
    kept: str = ""
    _news: trio.Event = field(factory=trio.Event)

    def say(self, level: str, event: str, **values: object) -> None:
        self.said.append((level, event, values))
        self._news.set()
        self._news = trio.Event()

    def mask(self, text: str) -> str:
        return text.replace("s3cret", "***")

    def retry_in(self) -> float | None:
        return self.retry

    async def remember(self, text: str) -> None:
        self.kept = text

    async def recall(self) -> str:
        return self.kept

    async def marks(self, count: int) -> list[str]:
        """What the servers have told on standard error, once it is so much."""
        with trio.fail_after(30):
            while len(found := self._marks()) < count:
                await self._news.wait()
        return found

    def _marks(self) -> list[str]:
        said = (str(values.get("line", "")) for _, _, values in self.said)
        return [line.removeprefix("mark ") for line in said if line.startswith("mark ")]

    async def heard(self, event: str, times: int = 1) -> None:
        """Wait until an event has been told so often."""
        with trio.fail_after(30):
            while sum(said[1] == event for said in self.said) < times:
                await self._news.wait()


def rough(mode: str = "", env: Callable[[], Mapping[str, str]] = dict) -> Stdio:
    return Stdio(command=(sys.executable, "-S", str(HERE / "rough_server.py"), mode), env=env)


def good() -> Stdio:
    return Stdio(command=(sys.executable, str(HERE / "good_server.py")))


@asynccontextmanager
async def living(
    transport: Stdio | Http, host: FakeHost | None = None, **settings: Any
) -> AsyncIterator[Server]:
    """A server that is up, and lives once."""
    host = host or FakeHost()
    server = Server(ServerSpec(name="srv", transport=transport, **settings), host)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live, server)
        await host.heard(UP)
        yield server
        nursery.cancel_scope.cancel()


async def live(server: Server) -> None:
    with suppress(ServerDown):
        await server.run()


async def call(server: Server, tool: str, arguments: str = "{}") -> ToolOutcome:
    """Call a tool as a turn does, whatever its policy."""
    tools = {each.name: each for each in mcp_tools([server])}
    (offered,) = (each for each in server.offer.tools if each.tool == tool)
    allowed = evolve(tools[offered.name], policy=Policy.ALLOW)
    with trio.fail_after(20):
        return await Registry.of([allowed]).run(CallRequest("c", offered.name, arguments))


def bare(outcome: ToolOutcome) -> str:
    """A result without the mark that says where it is from."""
    head, _, rest = outcome.text.partition("\n")
    body, _, tail = rest.rpartition("\n")
    assert head.startswith('<untrusted source="srv__')
    assert tail == "</untrusted>"
    return body


def ended(pid: int) -> bool:
    """Whether a process is gone; one that nobody has waited for yet counts as gone."""
    try:
        return _stat(pid)[0] == "Z"
    except FileNotFoundError:
        return True


def parent_of(pid: int) -> int:
    return int(_stat(pid)[1])


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
