"""What is known of an MCP server before it is started: values, made by the host from its own.

Secrets stay where they are until a server is started: `env` and `headers` are functions, called
anew each time in a worker thread, so that a rotated secret takes effect at the next start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from attrs import field, frozen

# Which tools run without a question, beside a tuple of their names.
TRUST = ("read-only", "all", "none")


class ServerDown(Exception):
    """The server cannot be talked to (any more); the text says why, for the log and the model."""


class CallFailed(Exception):
    """The server answered with an error, or with what is no answer; the text says which."""

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


class NoAnswer(Exception):
    """The server did not answer in time, and was told that nobody waits any more."""


class ConnectionEnded(Exception):
    """The connection went before the answer came."""


@frozen(kw_only=True)
class Stdio:
    """A server that is a child process: its command, in `cwd`, with exactly `env`.

    `env` raises ServerDown if the values cannot be had.
    """

    command: tuple[str, ...]
    env: Callable[[], Mapping[str, str]] = field(default=dict, repr=False)
    cwd: str | None = None


@frozen(kw_only=True)
class Http:
    """A server at a URL, spoken to over streamable HTTP; `headers` are as `Stdio.env`."""

    url: str
    headers: Callable[[], Mapping[str, str]] = field(default=dict, repr=False)


@frozen(kw_only=True)
class ServerSpec:
    """One server. Times are seconds: of one call, and from the start to the list of its tools.

    `tools` are those that are offered, None for all. `trust` is one of TRUST, or the names of the
    tools that run without a question.
    """

    name: str
    transport: Stdio | Http
    timeout: float = 60.0
    start_timeout: float = 60.0
    tools: tuple[str, ...] | None = None
    trust: str | tuple[str, ...] = "read-only"


class Host(Protocol):
    """What a server needs of the daemon that runs it."""

    def say(self, level: str, event: str, **values: object) -> None:
        """Log an event of this server."""
        ...

    def mask(self, text: str) -> str:
        """`text` on one line and without any known secret, for a chat or a model."""
        ...

    def retry_in(self) -> float | None:
        """Seconds until a server that is down is started again; None if that is under way."""
        ...

    async def remember(self, text: str) -> None:
        """Keep what the server has listed, over restarts of the daemon too."""
        ...

    async def recall(self) -> str:
        """What was remembered last; '' if that is nothing."""
        ...
