"""getUpdates: the long poll, and who wins when two of them meet."""

from __future__ import annotations

import time
from typing import Any

import trio
from attrs import define, field

from daemon.demo.calls import ApiError, Call
from daemon.demo.http import Request
from daemon.demo.world import World

OTHER_POLL = (
    "Conflict: terminated by other getUpdates request; "
    "make sure that only one bot instance is running"
)
WEBHOOK_SET = "Conflict: terminated by setWebhook request"
WEBHOOK_ACTIVE = (
    "Conflict: can't use getUpdates method while webhook is active; "
    "use deleteWebhook to delete the webhook first"
)


@define(eq=False)
class _Poll:
    """One call that waits. `conflict` is set when another one took its place."""

    ready: trio.Event = field(factory=trio.Event)
    conflict: str = ""


@define(eq=False)
class Polling:
    """The long poll of one bot; at most one waits."""

    world: World
    _current: _Poll | None = None

    def wake(self) -> None:
        """Let the waiting poll look at the queue again."""
        if self._current is not None:
            self._current.ready.set()

    def conflict(self, text: str) -> None:
        """End the waiting poll with a 409."""
        if self._current is not None:
            self._current.conflict = text
            self._current.ready.set()
            self._current = None

    async def get_updates(self, call: Call, request: Request) -> list[dict[str, Any]]:
        """Answer a getUpdates call; returns when there is something, or at its timeout.

        Raises ApiError 409 when a webhook is set or another poll takes over, and Cut when the
        client closes its connection meanwhile.
        """
        if self.world.webhook.url:
            raise ApiError(409, WEBHOOK_ACTIVE)
        self.conflict(OTHER_POLL)
        updates, params = self.world.updates, call.params
        if "allowed_updates" in params:
            updates.allowed = tuple(params["allowed_updates"])
        offset = params.get("offset", 0)
        limit, timeout = updates.paced(
            offset, params.get("limit", 100), params.get("timeout", 0), time.monotonic()
        )
        if offset:
            updates.confirm(offset)
        if timeout and not len(updates):
            await self._wait(timeout, request)
        return updates.first(limit)

    async def _wait(self, timeout: float, request: Request) -> None:
        """Wait until something is queued. Raises ApiError when another poll takes over."""
        poll = self._current = _Poll()

        async def wait() -> bool:
            with trio.move_on_after(timeout):
                await poll.ready.wait()
            return True

        try:
            await request.unless_hung_up(wait)
        finally:
            if self._current is poll:
                self._current = None
        if poll.conflict:
            raise ApiError(409, poll.conflict)
