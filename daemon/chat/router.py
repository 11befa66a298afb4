"""From the inbox to turns and commands: each update's row is closed by what it caused.

The router takes new rows in the order in which they came, a batch at a time, and in one
transaction does what each asks for and closes it. So an update is routed exactly once, whatever
happens. If a row makes the whole batch fail, which is a fault of this program, the supervisor runs
the router again, and it takes the rows one by one and counts each attempt before it is made: after
three the culprit is a dead letter that /status shows, and the rest goes on.

What must follow in memory (start a turn, wake the outbox) is collected as effects and performed
after the commit; a crash in between loses nothing, because lanes and outbox read the rows anew.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from typing import NoReturn

import trio
from attrs import Factory, define

from agent.budget import FREE, Tariff
from daemon import log
from daemon.chat import commands, hearing
from daemon.chat.commands import Effects, Situation, reply
from daemon.chat.intake import (
    CALLBACKS,
    CHANNEL,
    MAX_TEXT,
    Access,
    Command,
    Ignored,
    Intake,
    Moved,
    Pressed,
    Said,
    TooLong,
    read,
)
from daemon.chat.lanes import Lanes
from daemon.store import inbox, outbox, people
from daemon.store.db import Database
from daemon.store.inbox import InboxRow
from daemon.store.values import Place
from daemon.telegram.outbox import SHOW_HELD
from daemon.telegram.types import MalformedUpdate, parse_update

BATCH = 100  # rows in one transaction; as many as one poll brings
# Outcomes that somebody should look into.
LOUD = frozenset({"malformed", "moved"})

_log = log.get("router")


def ignore(_session_id: str) -> None:
    """Nobody sums up here."""


@define
class Router:
    """Routes the updates of one account. `report` tells the state of the process in lines.

    `compact` is told of sessions that may have to be summed up; `owner` may see everybody's use.
    """

    database: Database
    account: str
    access: Access
    lanes: Lanes
    wake_outbox: Callable[[Place], None]
    report: Callable[[], list[str]]
    while_busy: str = "queue"
    username: str | None = None
    compact: Callable[[str], None] = ignore
    tariff: Tariff = FREE
    owner: str = ""
    _suspicious: bool = False  # the last transaction did not end well: one of its rows is bad
    _woken: trio.Event = Factory(trio.Event)

    def wake(self) -> None:
        """There are new rows."""
        self._woken.set()
        self._woken = trio.Event()

    async def run(self) -> NoReturn:
        """Route for ever. What waits in the inbox from before is taken first."""
        while True:
            woken = self._woken
            while await self._route_some():
                pass
            await woken.wait()

    async def _route_some(self) -> bool:
        """Route what can be routed in one transaction; False if that was all there was."""
        if self._suspicious:
            return await self._route_one()
        self._suspicious = True
        count, effects = await self.database.write(self._route_batch, BATCH, time.time())
        self._suspicious = False
        self._perform(effects)
        return count == BATCH  # a row that comes meanwhile has set `_woken`

    async def _route_one(self) -> bool:
        """Route the oldest row alone, with its attempt counted before the try."""
        rows = await self.database.read(inbox.new_rows, CHANNEL, self.account, 1)
        self._suspicious = bool(rows)
        for row in rows:
            if await self.database.write(inbox.count_attempt, row.id, time.time()):
                _, effects = await self.database.write(self._route_batch, 1, time.time())
                self._perform(effects)
            else:
                _log.error("update given up", row=row.id)
        return bool(rows)

    def _perform(self, effects: Effects) -> None:
        for event, values in effects.logged:
            write = _log.warning if values.get("outcome") in LOUD else _log.info
            write(event, **values)
        for turn in effects.begun:
            self.lanes.put(turn)
        for turn_id in effects.reread:
            self.lanes.restart(turn_id)
        for turn_id in effects.dropped:
            self.lanes.dropped(turn_id)
        for place in dict.fromkeys(effects.queued):
            self.wake_outbox(place)
        for session_id in effects.compact:
            self.compact(session_id)

    # --- Inside the transaction ---

    def _route_batch(self, db: sqlite3.Connection, limit: int, now: float) -> tuple[int, Effects]:
        rows = inbox.new_rows(db, CHANNEL, self.account, limit)
        situation = Situation(db, now, self._report_from_thread, Effects(), self.tariff, self.owner)
        for row in rows:
            self._route(situation, row)
        return len(rows), situation.effects

    def _report_from_thread(self) -> list[str]:
        return trio.from_thread.run_sync(self.report)

    def _route(self, situation: Situation, row: InboxRow) -> None:
        try:
            asked = read(
                parse_update(json.loads(row.body)), self.account, self.access, self.username
            )
        except MalformedUpdate as error:
            asked = Ignored("malformed", str(error))
        outcome, turn_id = self._answer(situation, asked)
        inbox.close(situation.db, row.id, outcome, situation.now, turn_id)

    def _answer(self, situation: Situation, asked: Intake) -> tuple[str, int | None]:
        """Do what is asked; returns (outcome, the turn it went into)."""
        match asked:
            case Said():
                return "turn", hearing.hear(situation, asked, self.while_busy)
            case Command():
                commands.run(situation, asked)
                return "command", None
            case Pressed():
                _press(situation, asked, self.account)
                return "button", None
            case Moved(place, chat):
                _follow(situation, place, chat)
                return "moved", None
            case TooLong(place, length):
                text = f"That message has {length:,} characters; I read up to {MAX_TEXT:,}."
                reply(situation, place, f"{text} Please send it in pieces.")
                return "too long", None
            case Ignored(outcome, detail):
                situation.effects.logged.append(
                    ("update ignored", {"outcome": outcome, "detail": detail})
                )
                return outcome, None


def _follow(situation: Situation, old: Place, chat: str) -> None:
    """Go on with a group's sessions where it has moved. What is unsent finds out by itself."""
    people.move_chat(situation.db, old, chat)
    remedy = f"put {chat} into telegram.allowed_chats, or nobody is answered there"
    situation.effects.logged.append(
        ("group moved", {"outcome": "moved", "chat": old.chat, "to": chat, "remedy": remedy})
    )


def _press(situation: Situation, pressed: Pressed, account: str) -> None:
    """Do what a button is for, and answer it whatever it was."""
    shown = 0
    if pressed.place is not None and pressed.data.startswith(SHOW_HELD):
        ref = pressed.data.removeprefix(SHOW_HELD)
        shown = outbox.show_held(situation.db, pressed.place, ref, situation.now)
        situation.effects.queued.append(pressed.place)
    text = "Here they are." if shown else "This button is no longer valid."
    answer = outbox.Draft(
        "answerCallbackQuery", {"callback_query_id": pressed.query_id, "text": text}
    )
    place = Place(CHANNEL, account, CALLBACKS)
    outbox.enqueue(situation.db, place, [answer], situation.now)
    situation.effects.queued.append(place)
