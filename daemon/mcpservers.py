"""The MCP servers of the configuration: a supervised task each, and what is told of them.

A server is a guest. It is started after everything that answers people, its failures end nothing,
and it is tried again for ever, more and more seldom.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final, Self

import trio
from attrs import frozen

from agent.mcp.server import Server
from agent.mcp.spec import Http, ServerDown, ServerSpec, Stdio
from daemon import log
from daemon.config import McpServer
from daemon.secret import Secret, SecretError
from daemon.supervise import Health, Policy, supervise

LISTED: Final = "mcp"  # the directory of what servers have listed
POLICY: Final = Policy(max_delay=300.0, max_failures=None)

_log = log.get("mcp")


@frozen
class McpServers:
    """All configured servers, by name."""

    servers: Mapping[str, Server]
    _health: Health

    @classmethod
    def of(cls, configured: Mapping[str, McpServer], health: Health, state_dir: Path) -> Self:
        """What they have listed is kept below `state_dir`, from when there is something."""
        kept = state_dir / LISTED
        servers = {
            name: Server(spec_of(name, server), _Host(name, health, kept / f"{name}.json"))
            for name, server in configured.items()
        }
        return cls(servers, health)

    def start(self, nursery: trio.Nursery) -> None:
        """Start all of them in `nursery`, and wait for none."""
        for name, server in self.servers.items():
            run = partial(supervise, health=self._health, policy=POLICY)
            nursery.start_soon(run, task_name(name), server.run)

    def lines(self) -> dict[str, str]:
        """The state of each in words."""
        return {name: server.line() for name, server in self.servers.items()}


def task_name(server: str) -> str:
    return f"mcp {server}"


def spec_of(name: str, server: McpServer) -> ServerSpec:
    """What the agent needs to know of a server; its secrets are read when it is started."""
    transport: Stdio | Http
    if server.url is None:
        transport = Stdio(
            command=server.command, env=partial(_revealed, server.env), cwd=server.cwd
        )
    else:
        transport = Http(url=server.url, headers=partial(_revealed, server.headers))
    return ServerSpec(
        name=name,
        transport=transport,
        timeout=server.timeout,
        start_timeout=server.start_timeout,
        tools=server.tools,
        trust=server.trust,
    )


def _revealed(values: Mapping[str, str | Secret]) -> dict[str, str]:
    """The values themselves. A secret that is gone is the server's trouble, not the daemon's."""
    try:
        return {
            name: value.reveal() if isinstance(value, Secret) else value
            for name, value in values.items()
        }
    except SecretError as error:
        raise ServerDown(f"{error.cause}; {error.remedy}") from error


@frozen
class _Host:
    """Implements `agent.mcp.spec.Host` for one server."""

    name: str
    health: Health
    path: Path

    def say(self, level: str, event: str, **values: object) -> None:
        getattr(_log, level)(event, server=self.name, **values)

    def mask(self, text: str) -> str:
        return log.one_line(text)

    def retry_in(self) -> float | None:
        return self.health.retry_in(task_name(self.name), time.time())

    async def remember(self, text: str) -> None:
        try:
            await trio.to_thread.run_sync(_write, self.path, text)
        except OSError as error:
            self.say("warning", "what the server has listed cannot be kept", error=str(error))

    async def recall(self) -> str:
        try:
            return await trio.to_thread.run_sync(_read, self.path)
        except (OSError, ValueError):
            return ""  # it is a convenience: the server itself will tell


def _write(path: Path, text: str) -> None:
    """Replace the file as a whole, and only if it says something else."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
