"""Runs one turn: puts the agent's driver together with our journal, model and tools.

This is the supervision boundary of a turn. What the model or a tool does wrong is an answer or a
result and never arrives here; an exception that does is a fault of this program. It is logged with
the turn's id, and the person hears one sentence with the same id.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable

from attrs import evolve, field, frozen

from agent.budget import FREE, Tariff
from agent.compaction import Frame
from agent.context import tokens
from agent.drive import TurnDriver
from agent.fitting import Gauge
from agent.loop import Limits
from agent.ports import Model, Opening, TurnLost, TurnState, Watcher
from agent.specialists import Specialist, SpecialistLimits
from agent.transcript import Assistant
from daemon import log
from daemon.chat.journal import TurnJournal, Wakes
from daemon.chat.mind import Mind
from daemon.chat.preview import Preview
from daemon.chat.sizing import Given, Sizing, settle
from daemon.chat.sticky import Sticky
from daemon.chat.toolset import Scope, Toolset
from daemon.chat.views import tidy
from daemon.schedule.limits import Limits as BookingLimits
from daemon.spool import Spool
from daemon.store import turns
from daemon.store.db import Database
from daemon.store.turnrow import TurnRow
from daemon.telegram.live import Live

NOBODY = Specialist("", "", "")  # who does what no specialist was asked for

_log = log.get("turn")


def ignore(_session_id: str) -> None:
    """Nobody waits for the ends of turns."""


@frozen
class TurnRunner:
    """What every turn of this process has in common; `run` is for `Lanes`."""

    database: Database
    boot: str
    model: Model
    model_name: str
    toolset: Toolset
    mind: Mind
    limits: Limits
    child_limits: Limits
    wakes: Wakes
    stopping: Callable[[], bool]
    spool: Spool
    tariff: Tariff = FREE
    sizing: Sizing = field(factory=Given)
    ended: Callable[[str], None] = ignore  # told the session of a turn that runs no more
    sticky: Sticky | None = None  # the model as each session sees it, where that makes a difference
    models: tuple[str, ...] = ()  # what a chat may choose from
    live: Live | None = None
    richly: bool = False  # whether answers with tables or formulas are rich messages
    booking_limits: BookingLimits = field(factory=BookingLimits)

    def preview(self) -> Preview:
        return Preview(self.database, self.mind, self.toolset, self.sizing.sure)

    async def run(self, turn: TurnRow) -> TurnState:
        """Go on with a turn; what it is left as. Raises TurnLost."""
        journal = TurnJournal(
            *(self.database, turn.id, self.boot, self.model_name, self.wakes, self.spool),
            self.tariff,
            self.mind.voice.zone,
            self.richly,
            self.booking_limits,
        )
        try:
            driver = await self._driver(turn, journal)
            state = await driver.run()
        except TurnLost:
            raise
        except Exception as error:  # noqa: BLE001  (the supervision boundary of a turn)
            await self._give_up(turn, journal, error)
            return TurnState.ENDED
        finally:
            if self.live is not None:
                self.live.end(turn.id)
            self.ended(turn.session_id)
            if journal.shows:
                await tidy(self.database, self.spool)  # noqa: ASYNC102  (it has its own deadline)
        if driver.worked and journal.pages is not None:
            await self.mind.look_again(journal.pages.address)
        return state

    async def frame(self, scope: Scope, session_id: str) -> Frame:
        """What every request of a conversation begins with, its summary apart."""
        system = await self.mind.system(scope, session_id)
        return Frame(system, self.toolset.registry(scope).schemas())

    async def _give_up(self, turn: TurnRow, journal: TurnJournal, error: Exception) -> None:
        """End a turn that broke. A database that cannot be read is not the turn's fault."""
        if journal.pages is None and isinstance(error, sqlite3.Error):
            raise error
        _log.error("turn broke", exc_info=error)
        if journal.pages is None:
            # Its own rows make no sense, so nobody can be told. Left open, it would take every
            # run of the lanes down with it; ended, it is counted in /status.
            ended = await self.database.finish(
                turns.end, turn.id, "dead", time.time(), error=repr(error)
            )
            self.wakes.ended(ended)
        else:
            await journal.failed("Something went wrong inside me.", error=repr(error))

    def _chosen(self, scope: Scope) -> Scope:
        """With the chat's model only as long as it is one of those that are configured."""
        return scope if scope.model in self.models else evolve(scope, model="")

    def _limits(self, scope: Scope, own: SpecialistLimits) -> Limits:
        """A specialist's own limits, where its file names some."""
        if not scope.child:
            return self.limits
        child = self.child_limits
        return Limits(own.steps or child.steps, own.seconds or child.seconds)

    async def _driver(self, turn: TurnRow, journal: TurnJournal) -> TurnDriver:
        opening = await journal.load()
        assert journal.pages is not None  # noqa: S101  (it has been loaded)
        scope = self._chosen(Scope.of(journal.turn_id, journal.pages))
        specialist = self.mind.shelf.holding.specialists.get(scope.specialist, NOBODY)
        name = (specialist.model or scope.model) if self.sticky else ""
        await settle(self.sizing, name, _tokens(opening))
        errand = journal.pages.errand
        own = specialist.limits.tokens or 0, errand.tokens if errand else 0
        journal.charge(name or self.model_name, *own)
        return TurnDriver(
            journal,
            await self.sticky.of(turn.session_id, name) if self.sticky else self.model,
            self.toolset.registry(scope),
            self._limits(scope, specialist.limits),
            await self.mind.system_after(journal.pages.memory, scope, turn.session_id),
            opening,
            stopping=self.stopping,
            watcher=self._watcher(turn, scope),
            gauge=Gauge(ratio=opening.ratio),
            limit=lambda: self.sizing.so_far(name).limit,
        )

    def _watcher(self, turn: TurnRow, scope: Scope) -> Watcher | None:
        """Who shows the turn while it goes on, if anybody waits for it."""
        if self.live is None or not scope.attended:
            return None
        quiet = scope.child or scope.quiet
        return self.live.begin(turn.id, turn.ref, scope.address.place, child=quiet)


def _tokens(opening: Opening) -> int:
    """About how many tokens there are to say, apart from the system prompt and the tools."""
    entries = (*opening.history, *opening.turn)
    said = tokens(sum(len(each.text.encode(errors="replace")) for each in entries))
    shown = (
        view.tokens for each in entries if not isinstance(each, Assistant) for view in each.shown
    )
    return round(opening.ratio * (said + sum(shown)))
