"""What `famulus prompt` shows: the sessions, or the request that would be sent next in one.

Through the daemon or from the database alone: either way it is made by what a turn uses.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio
from attrs import frozen

from agent.sizes import Sizes
from daemon.chat.mind import Mind
from daemon.chat.toolset import Toolset
from daemon.errors import Refused
from daemon.store import status
from daemon.store.db import Database


class NoSession(Refused):
    """The session that was named is not there."""


@frozen
class Preview:
    """Answers `prompt`, whether the control socket or the command line asks."""

    database: Database
    mind: Mind
    toolset: Toolset
    sizes: Callable[[], Awaitable[Sizes]]

    async def verb(self, request: dict[str, Any]) -> dict[str, Any]:
        session = request.get("session")
        if not isinstance(session, str):
            return {"sessions": await self.database.read(status.sessions)}
        upcoming = await self.mind.upcoming(session)
        if upcoming is None:
            raise NoSession(f"there is no session {session!r:.40}", "famulus prompt lists them")
        limit = (await self.sizes()).limit
        schemas = self.toolset.registry(upcoming.scope).schemas()
        # A conversation of a model with a large window takes tens of milliseconds.
        return await trio.to_thread.run_sync(upcoming.shown, schemas, limit)
