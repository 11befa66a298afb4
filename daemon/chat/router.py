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
from collections.abc import Callable, Collection
from typing import NoReturn, TypeVar

import trio
from attrs import Factory, define, field

from agent.budget import FREE, Tariff
from daemon import log
from daemon.chat import buttons, commands, doors, hearing, settling
from daemon.chat.intake import (
    CHANNEL,
    MAX_TEXT,
    Access,
    Command,
    Corrected,
    Halted,
    Ignored,
    Intake,
    Knock,
    Moved,
    Pressed,
    Said,
    Standing,
    TooLong,
    read,
)
from daemon.chat.lanes import Lanes
from daemon.chat.situation import Effects, Situation, nothing, reply
from daemon.store import admission, closed, inbox
from daemon.store.db import Database
from daemon.store.inbox import InboxRow
from daemon.store.values import Place
from daemon.telegram.live import Said as Spoken
from daemon.telegram.types import MalformedUpdate, parse_update

T = TypeVar("T")

BATCH = 100  # rows in one transaction; as many as one poll brings
# Outcomes that somebody should look into.
LOUD = frozenset({"malformed"})

_log = log.get("router")


def ignore(_session_id: str) -> None:
    """Nobody sums up here."""


def nobody() -> None:
    """Nobody waits for it."""


def leave(_files: Collection[str]) -> None:
    """The next start removes them."""


@define
class Router:
    """Routes the updates of one account. `report` tells the state of the process in lines.

    `access` is what the configuration says of who is answered; with what rows add to it, it is
    `current`, which is made anew for each batch, and within one by what changes it. `compact` is
    told of sessions that may have to be summed up, `fetch` that there are files to fetch,
    `forget` that there is something to forget, `discard` of files that nobody will be sent;
    `regranted` that `current` may have changed, `schedule` that scheduled prompts have. The first
    of the `models` is the configured one.
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
    fetch: Callable[[], None] = nobody
    regranted: Callable[[], None] = nobody
    models: tuple[str, ...] = ()
    forget: Callable[[], None] = nobody
    schedule: Callable[[], None] = nobody
    discard: Callable[[Collection[str]], None] = leave
    current: Access = field(init=False)
    said: Callable[[int], Spoken] = nothing
    _suspicious: bool = False  # the last transaction did not end well: one of its rows is bad
    _woken: trio.Event = Factory(trio.Event)

    def __attrs_post_init__(self) -> None:
        self.current = self.access

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

    async def reread(self) -> None:
        """Take note of what rows say of who is answered."""
        self.current = await self.database.read(self._granted, time.time())

    async def carry_out(self, act: Callable[[Situation], T]) -> T:
        """Run `act` as a transaction and do what follows, as for a command in a chat."""
        result, effects = await self.database.write(self._act, act, time.time())
        self._perform(effects)
        return result

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
        self.discard(effects.unsent)
        for session_id in effects.compact:
            self.compact(session_id)
        told = (
            (effects.fetch, self.fetch),
            (effects.regranted, self.regranted),
            (effects.forgetting, self.forget),
            (effects.scheduled, self.schedule),
        )
        for is_so, tell in told:
            if is_so:
                tell()

    # --- Inside the transaction ---

    def _route_batch(self, db: sqlite3.Connection, limit: int, now: float) -> tuple[int, Effects]:
        rows = inbox.new_rows(db, CHANNEL, self.account, limit)
        situation = self._situation(db, now)
        self.current = self._granted(db, now)
        for row in rows:
            self._route(situation, row)
        situation.effects.queued += settling.settle(db, now)
        return len(rows), situation.effects

    def _act(
        self, db: sqlite3.Connection, act: Callable[[Situation], T], now: float
    ) -> tuple[T, Effects]:
        situation = self._situation(db, now)
        result = act(situation)
        self.current = self._granted(db, now)
        return result, situation.effects

    def _situation(self, db: sqlite3.Connection, now: float) -> Situation:
        return Situation(
            *(db, now, self._report_from_thread, Effects(), self.tariff, self.owner),
            *(self.while_busy, self.models, self._said_from_thread),
        )

    def _granted(self, db: sqlite3.Connection, now: float) -> Access:
        listed = self.access.people
        found = admission.read(db, CHANNEL, self.account, listed, now)
        return self.access.with_rows(found)

    def _report_from_thread(self) -> list[str]:
        return trio.from_thread.run_sync(self.report)

    def _said_from_thread(self, turn_id: int) -> Spoken:
        return trio.from_thread.run_sync(self.said, turn_id)

    def _route(self, situation: Situation, row: InboxRow) -> None:
        try:
            asked = read(
                parse_update(json.loads(row.body)), self.account, self.current, self.username
            )
        except MalformedUpdate as error:
            asked = Ignored("malformed", str(error))
        outcome, turn_id = self._answer(situation, asked)
        if situation.effects.regranted:
            self.current = self._granted(situation.db, situation.now)
        inbox.close(situation.db, row.id, outcome, situation.now, turn_id)

    def _answer(self, situation: Situation, asked: Intake) -> tuple[str, int | None]:
        """Do what is asked; returns (outcome, the turn it went into)."""
        match asked:
            case Said() | Corrected() | Command():
                return self._hear(situation, asked)
            case TooLong(place, length):
                text = f"That message has {length:,} characters; I read up to {MAX_TEXT:,}."
                reply(situation, place, f"{text} Please send it in pieces.")
                return "too long", None
            case Ignored(outcome, detail):
                situation.effects.logged.append(
                    ("update ignored", {"outcome": outcome, "detail": detail})
                )
                return outcome, None
            case _:
                return self._attend(situation, asked), None

    def _hear(
        self, situation: Situation, asked: Said | Corrected | Command
    ) -> tuple[str, int | None]:
        """What somebody says or wants; where no answer can be sent, no model is asked for one."""
        place = asked.said.place if isinstance(asked, Corrected) else asked.place
        if not closed.heard_from(situation.db, place, situation.now):
            return "unreachable", None
        if not isinstance(asked, Command):
            return hearing.take_in(situation, asked, self.while_busy)
        commands.run(situation, asked)
        return "command", None

    def _attend(
        self, situation: Situation, asked: Pressed | Halted | Moved | Knock | Standing
    ) -> str:
        match asked:
            case Halted(place, draft):
                return commands.halt(situation, place, draft)
            case Pressed():
                buttons.press(situation, asked, self.account)
                return "button"
            case Moved():
                doors.follow(situation, asked)
                return "moved"
            case Knock():
                return doors.knock(situation, asked)
            case Standing():
                doors.stand(situation, asked)
                return "standing"
