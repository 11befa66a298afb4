"""Requests to a chat that have no rows: what it is shown while an answer is made.

They are the least of what is sent. One is made only if nothing else is under way to its chat, none
waits, the chat may be written to, and half of the connections are free; else it is dropped, and
what comes next is newer. Whoever has a row to send to the chat waits until its preview has ended,
so that none comes after the answer: an edit for as long as it may take, since a late one would
stand in the answer's place; a draft or a "typing" for a moment only, since it passes by itself.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import Any, Final

import trio
from attrs import Factory, define, frozen

from daemon.store import previews as rows
from daemon.store.db import Database
from daemon.store.outbox import Destination
from daemon.store.previews import Look
from daemon.store.sending import MAX_WAIT
from daemon.store.values import Place
from daemon.telegram.api import ApiError, Refused, TooMany
from daemon.telegram.failure import is_harmless
from daemon.telegram.pace import Pace

EDIT: Final = "editMessageText"
ACTION: Final = "sendChatAction"

LONGEST: Final = 5.0  # seconds that a preview may take
GRACE: Final = 0.3  # seconds that an answer waits for a draft, whose request takes a tenth of one


class Fate(Enum):
    """What became of a preview."""

    SHOWN = auto()
    LATER = auto()  # dropped: the chat has no room for it now
    GONE = auto()  # there is no message that it could change
    OVER = auto()  # its turn does not run any more, or nobody waits for it


@frozen(eq=False)
class Preview:
    """A request without a row for a running turn; the message to change is found by the turn."""

    place: Place
    turn_id: int
    method: str
    params: dict[str, Any]


@define(eq=False)
class _Flight:
    grace: float
    scope: trio.CancelScope = Factory(
        lambda: trio.CancelScope(deadline=trio.current_time() + LONGEST)
    )
    landed: trio.Event = Factory(trio.Event)


@define
class Previews:
    """Makes those requests through `call`, one to a chat at a time at most."""

    database: Database
    call: Callable[..., Awaitable[Any]]
    pace: Pace
    _under_way: dict[Destination, _Flight] = Factory(dict)

    def __contains__(self, to: object) -> bool:
        return to in self._under_way

    async def clear(self, to: Destination) -> None:
        """Wait until no preview is under way to a chat; one that takes too long is cut off."""
        flight = self._under_way.get(to)
        if flight is None:
            return
        with trio.move_on_after(flight.grace):
            await flight.landed.wait()
        flight.scope.cancel()
        await flight.landed.wait()

    async def show(self, to: Destination, preview: Preview) -> Fate | Refused:
        """Make the request, if the rows allow it; who calls `clear` now waits for it."""
        flight = self._under_way[to] = _Flight(LONGEST if preview.method == EDIT else GRACE)
        try:
            with flight.scope:
                return await self._show(to, preview)
        finally:
            del self._under_way[to]
            flight.landed.set()
        return Fate.LATER  # it took too long

    async def _show(self, to: Destination, preview: Preview) -> Fate | Refused:
        seen = await self.database.read(rows.look, to, preview.turn_id)
        if (obstacle := _obstacle(seen, time.time())) is not None:
            return obstacle
        params = _parameters(preview, seen)
        if params is None:
            return Fate.LATER if seen.has_placeholder else Fate.GONE
        if preview.method != ACTION:
            self.pace.note(to, trio.current_time())
        try:
            await self.call(preview.method, params)
        except TooMany as error:
            until = time.time() + min(error.retry_after, MAX_WAIT)
            await self.database.finish(rows.pause, to, until)
            return Fate.LATER
        except Refused as error:
            return Fate.SHOWN if is_harmless(preview.method, error) else error
        except ApiError:
            return Fate.LATER
        return Fate.SHOWN


def _obstacle(seen: Look, now: float) -> Fate | None:
    """Why a preview may not be shown now, by what the rows say."""
    if not seen.awaited:
        return Fate.OVER
    held = now < seen.not_before <= now + MAX_WAIT
    return Fate.LATER if seen.busy or held else None


def _parameters(preview: Preview, seen: Look) -> dict[str, Any] | None:
    """What the request says; None if it is to change a message that is not there."""
    where = {"chat_id": int(preview.place.chat)}
    if preview.method == EDIT:
        if seen.message_id is None:
            return None
        return {**where, "message_id": int(seen.message_id), **preview.params}
    topic = {"message_thread_id": int(preview.place.topic)} if preview.place.topic else {}
    return {**where, **topic, **preview.params}
