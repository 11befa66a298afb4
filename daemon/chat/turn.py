"""Runs one turn: puts the agent's driver together with our journal, model and tools.

This is the supervision boundary of a turn. What the model or a tool does wrong is an answer or a
result and never arrives here; an exception that does is a fault of this program. It is logged with
the turn's id, and the person hears one sentence with the same id.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
import time
import zoneinfo
from collections.abc import Callable

from attrs import frozen

from agent.context import system_prompt
from agent.drive import TurnDriver
from agent.loop import Limits
from agent.ports import Model, Opening, TurnLost
from agent.tools.clock import clock_tools
from agent.tools.code import Runner, code_tools
from agent.tools.registry import Registry
from agent.tools.sums import sums_tools
from daemon import log
from daemon.chat.journal import TurnJournal
from daemon.spool import Spool
from daemon.store import turns
from daemon.store.db import Database
from daemon.store.turns import TurnRow
from daemon.store.values import Address, Place

_log = log.get("turn")


@frozen
class TurnRunner:
    """What every turn of this process has in common; `run` is for `Lanes`."""

    database: Database
    boot: str
    model: Model
    model_name: str
    executor: Runner
    instructions: str
    zone: str
    limits: Limits
    wake_outbox: Callable[[Place], None]
    stopping: Callable[[], bool]
    spool: Spool

    async def run(self, turn: TurnRow) -> bool:
        """Go on with a turn; True if it ended, False if it was given back. Raises TurnLost."""
        journal = TurnJournal(
            self.database, turn.id, self.boot, self.model_name, self.wake_outbox, self.spool
        )
        try:
            opening = await journal.load()
            return await self._driver(journal, opening).run()
        except TurnLost:
            raise
        except Exception as error:  # noqa: BLE001  (the supervision boundary of a turn)
            await self._give_up(turn, journal, error)
            return True

    async def _give_up(self, turn: TurnRow, journal: TurnJournal, error: Exception) -> None:
        """End a turn that broke. A database that cannot be read is not the turn's fault."""
        if journal.address is None and isinstance(error, sqlite3.Error):
            raise error
        _log.error("turn broke", exc_info=error)
        if journal.address is None:
            # Its own rows make no sense, so nobody can be told. Left open, it would take every
            # run of the lanes down with it; ended, it is counted in /status.
            await self.database.finish(turns.end, turn.id, "dead", time.time(), error=repr(error))
        else:
            await journal.failed("Something went wrong inside me.", error=repr(error))

    def _driver(self, journal: TurnJournal, opening: Opening) -> TurnDriver:
        today = dt.datetime.now(zoneinfo.ZoneInfo(self.zone)).date()
        assert journal.address is not None  # noqa: S101  (it has been loaded)
        return TurnDriver(
            journal,
            self.model,
            self._tools(journal.address, journal.conversation),
            self.limits,
            system_prompt(self.instructions, today, self.zone),
            opening,
            stopping=self.stopping,
        )

    def _tools(self, address: Address, conversation: str) -> Registry:
        code = code_tools(self.executor, workspace_key(address), conversation)
        return Registry.of([*clock_tools(), *sums_tools(), *code])


def workspace_key(address: Address) -> str:
    """The executor's name for the files of (agent, chat); all topics of a chat share them."""
    return f"{address.agent_id}-{address.place.account}-{address.place.chat}"
