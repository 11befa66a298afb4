"""Shows turns while they go on: the shell around `daemon.telegram.show`.

One task watches over all turns, and makes each preview in a task of its own, one to a turn at most.
A turn that is over by the time that something could be shown costs an entry in a dictionary, and
what it says is taken note of, not passed on. Nothing here is needed for the answer: whether a turn
may still be shown is asked of its rows, each time.

What a server refuses (drafts, or their Stop button) is not offered to it again by this process.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from http import HTTPStatus
from math import inf
from typing import Any, Final, NoReturn

import trio
from attrs import Factory, define, field, frozen

from agent.transcript import ToolCall
from daemon import log
from daemon.store import outbox as rows
from daemon.store import previews
from daemon.store.db import Database
from daemon.store.values import Place
from daemon.telegram.api import Refused
from daemon.telegram.frames import LARGE, drawn
from daemon.telegram.outbox import Outbox
from daemon.telegram.pace import is_private
from daemon.telegram.previews import ACTION, EDIT, Fate, Preview
from daemon.telegram.show import Act, Begin, Edit, Frame, Show, ShowDraft, Step, Way

AUTO, DRAFTS, OFF = "auto", "drafts", "off"
CHANNEL: Final = "telegram"
DRAFT: Final = "sendMessageDraft"
QUIET: Final = {"link_preview_options": {"is_disabled": True}}

_log = log.get("live")


def draft_id(ref: str) -> int:
    """The number of a turn's drafts, by which Telegram names the one that a person stops."""
    return (zlib.crc32(ref.encode()) >> 1) or 1


@frozen
class Said:
    """What a turn has said that is no answer yet; `kept` if the transcript has it already."""

    text: str = ""
    kept: bool = False


@define(eq=False)
class Viewer:
    """Watches one turn: implements `agent.ports.Watcher`."""

    turn_id: int
    ref: str
    place: Place
    show: Show
    changed: Callable[[Viewer], None]  # called when there may be something to show
    busy: bool = False  # a preview is being made
    offered_stop: bool = False  # with the draft that was made last

    def text(self, text: str) -> None:
        self.show.text(text)
        self.changed(self)

    def began(self, call: ToolCall) -> None:
        self.show.began(call.id, call.request)
        self.changed(self)

    def ended(self, call: ToolCall) -> None:
        self.show.ended(call.id)
        self.changed(self)


@define
class Live:
    """Shows the turns of this process, by `streaming` of the configuration."""

    database: Database
    outbox: Outbox
    streaming: str = AUTO
    _viewers: dict[int, Viewer] = Factory(dict)
    _takes_drafts: bool = True
    _takes_stop: bool = True
    _until: float = inf  # when the task looks again
    _woken: trio.Event = field(factory=trio.Event)

    def begin(self, turn_id: int, ref: str, place: Place, *, child: bool = False) -> Viewer:
        """A watcher for a turn that begins now; `end` must follow."""
        way = Way.ACTIONS if child or place.channel != CHANNEL else self._way(place)
        show = Show(way, trio.current_time(), over=place.channel != CHANNEL)
        viewer = self._viewers[turn_id] = Viewer(turn_id, ref, place, show, self._changed)
        self._changed(viewer)
        return viewer

    def end(self, turn_id: int) -> None:
        """A turn does not run any more; what is under way of it ends by itself."""
        viewer = self._viewers.pop(turn_id, None)
        if viewer is not None:
            viewer.show.over = True

    def said(self, turn_id: int) -> Said:
        """What a running turn has said."""
        viewer = self._viewers.get(turn_id)
        if viewer is None:
            return Said()
        return Said(viewer.show.said.strip(), viewer.show.kept)

    async def run(self) -> NoReturn:
        """Show for ever."""
        for viewer in self._viewers.values():
            viewer.busy = False  # whatever an earlier run of this task had begun
        async with trio.open_nursery() as nursery:
            while True:
                woken = self._woken
                self._until = self._start_what_is_due(nursery)
                with trio.move_on_at(self._until):
                    await woken.wait()
        raise AssertionError

    def _way(self, place: Place) -> Way:
        if self.streaming == OFF:
            return Way.ACTIONS
        if self._takes_drafts and is_private(rows.destination_of(place)):
            return Way.DRAFTS
        return Way.EDITS if self.streaming == AUTO else Way.ACTIONS

    def _changed(self, viewer: Viewer) -> None:
        """Wake the task if it would look too late."""
        if not viewer.busy:
            step = self._next(viewer, trio.current_time())
            if not isinstance(step, float) or step < self._until:
                self._until = -inf
                self._woken.set()
                self._woken = trio.Event()

    def _next(self, viewer: Viewer, now: float) -> Step | float:
        open_at = self.outbox.pace.open_at(rows.destination_of(viewer.place))
        return viewer.show.next(now, open_at)

    def _start_what_is_due(self, nursery: trio.Nursery) -> float:
        """Begin the previews whose time has come; returns when the next one's does."""
        now, until = trio.current_time(), inf
        for viewer in self._viewers.values():
            if viewer.busy:
                continue
            step = self._next(viewer, now)
            if isinstance(step, float):
                until = min(until, step)
            else:
                viewer.busy = True
                nursery.start_soon(self._perform, viewer, step)
        return until

    # --- One preview ---

    async def _perform(self, viewer: Viewer, step: Step) -> None:
        with log.bound(turn=viewer.ref):
            outcome = await self._make(viewer, step)
            viewer.busy = False
            if isinstance(outcome, Refused):
                self._refused(viewer, step, outcome)
            else:
                viewer.show.done(step, outcome, trio.current_time())
            self._changed(viewer)

    async def _make(self, viewer: Viewer, step: Step) -> Fate | Refused:
        match step:
            case Act(action):
                return await self._preview(viewer, ACTION, {"action": action})
            case ShowDraft(frame):
                viewer.offered_stop = self._takes_stop
                stop = {"can_stop": True, "keep_on_stop": True} if self._takes_stop else {}
                params = {"draft_id": draft_id(viewer.ref), **await _drawn(frame), **stop}
                return await self._preview(viewer, DRAFT, params)
            case Begin(frame):
                return await self._begin(viewer, await _drawn(frame))
            case Edit(frame):
                return await self._preview(viewer, EDIT, {**await _drawn(frame), **QUIET})

    async def _preview(self, viewer: Viewer, method: str, params: dict[str, Any]) -> Fate | Refused:
        return await self.outbox.preview(Preview(viewer.place, viewer.turn_id, method, params))

    async def _begin(self, viewer: Viewer, params: dict[str, Any]) -> Fate:
        place, turn_id = viewer.place, viewer.turn_id
        begun = await self.database.write(
            previews.begin, place, turn_id, {**params, **QUIET}, time.time()
        )
        if begun:
            self.outbox.wake(place)
        return Fate.SHOWN if begun else Fate.LATER

    def _refused(self, viewer: Viewer, step: Step, refusal: Refused) -> None:
        """Go on with less. Who was blocked, or whose token was refused, shows nothing more."""
        if refusal.code in {HTTPStatus.FORBIDDEN, HTTPStatus.UNAUTHORIZED} or isinstance(step, Act):
            viewer.show.over = True
        elif isinstance(step, Edit):
            viewer.show.take(Way.ACTIONS)
        elif viewer.offered_stop:
            self._takes_stop = False
            _log.info("drafts are shown without a Stop button", error=refusal)
        else:
            self._takes_drafts = False
            _log.info("the server takes no drafts", error=refusal)
            viewer.show.take(self._way(viewer.place))


async def _drawn(frame: Frame) -> dict[str, Any]:
    if len(frame.text) <= LARGE:
        return drawn(frame)
    return await trio.to_thread.run_sync(drawn, frame)
