"""Which boxes hold a Python session, and for how long.

A session belongs to a workspace, whose lock orders its cells; so whoever holds the lock may take
the session's box, and gives it back with the lock. Boxes that nobody uses end after a while, and
the longest unused one makes room for a new one. `Sessions` owns the boxes that are not taken.
"""

from __future__ import annotations

import math
from typing import NoReturn

import trio
from attrs import define, field

from executor.boxes import Box

Key = tuple[str, str]  # workspace, session


@define
class Sessions:
    """At most `most` sessions, each for `idle_seconds` after its last cell."""

    most: int
    idle_seconds: float
    _kept: dict[Key, tuple[Box, float]] = field(factory=dict)  # in the order of their last use
    _news: trio.Event = field(factory=trio.Event)

    def take(self, key: Key) -> Box | None:
        """Give the session's box, if there is one. It is the caller's now."""
        box, _ = self._kept.pop(key, (None, 0.0))
        return box

    async def keep(self, key: Key, box: Box) -> None:
        """Take a box back, or for the first time; the longest unused makes room for it."""
        self._kept[key] = (box, trio.current_time())
        self._news.set()
        await self._drop(list(self._kept)[: -self.most])

    async def drop_all(self, workspace: str) -> None:
        """End all sessions of a workspace, whose lock the caller holds."""
        await self._drop([key for key in self._kept if key[0] == workspace])

    async def run(self) -> NoReturn:
        """End what was not used for too long; end all when cancelled."""
        try:
            while True:
                self._news = trio.Event()
                with trio.move_on_at(await self._expire()):
                    await self._news.wait()
        finally:
            await self._drop(list(self._kept))  # noqa: ASYNC102 - waits only for shields

    async def _expire(self) -> float:
        """End what is due; gives the time at which the next one will be."""
        now = trio.current_time()
        await self._drop([key for key, (_, used) in self._kept.items() if self._due(used) <= now])
        return min((self._due(used) for _, used in self._kept.values()), default=math.inf)

    def _due(self, used: float) -> float:
        return used + self.idle_seconds

    async def _drop(self, keys: list[Key]) -> None:
        """Take them out at once, and close them then: meanwhile others take and keep."""
        for box in [self._kept.pop(key)[0] for key in keys]:
            await box.aclose()
