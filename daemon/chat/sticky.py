"""The model as one session sees it: with the cookies that its provider gave that session.

A provider that runs many machines sends a cookie so that the next request of a conversation reaches
the one which has its beginning in a cache. The rows are read once, for the first turn; a session
that has none costs nothing but a look into a dictionary.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import trio
from attrs import define, field, frozen

from agent.cookies import Jar
from agent.fallback import Models
from agent.request import Request
from agent.transcript import Answer
from daemon.store import cookies
from daemon.store.db import Database


@define
class Sticky:
    """The models, and the jars of all sessions that have cookies."""

    database: Database
    models: Models
    _jars: dict[str, Jar] | None = None
    _loading: trio.Lock = field(factory=trio.Lock)

    async def of(self, session_id: str, name: str = "") -> SessionModel:
        """The model `name` for a session, '' for the configured one."""
        async with self._loading:
            if self._jars is None:
                rows = await self.database.read(cookies.load, time.time())
                self._jars = {session: Jar(headers) for session, headers in rows.items()}
        return SessionModel(self, session_id, self._jars.get(session_id) or Jar(), name)

    async def keep(self, session_id: str, jar: Jar) -> None:
        """Write down what has changed in a jar, which is then that of its session."""
        if not jar.changed or self._jars is None:
            return
        self._jars[session_id] = jar
        changed = {address: jar.headers[address] for address in jar.changed}
        jar.changed.clear()
        await self.database.finish(cookies.save, session_id, changed, time.time())


@frozen
class SessionModel:
    """A `Model` for one session."""

    sticky: Sticky
    session_id: str
    jar: Jar
    name: str = ""

    async def complete(
        self,
        messages: Sequence[dict[str, Any]],
        tools: Sequence[dict[str, Any]],
        *,
        on_text: Callable[[str], None] | None = None,
        may_call: bool = True,
    ) -> Answer:
        request = Request(messages, tools, on_text, may_call, self.jar)
        answer = await self.sticky.models.ask(request, self.name)
        await self.sticky.keep(self.session_id, self.jar)
        return answer
