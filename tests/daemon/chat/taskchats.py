"""Chats with the real router and a real database, in which people have scheduled prompts."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from typing import Any, TypeVar

import trio
from attrs import Factory, define, evolve, field

from agent.ports import TurnState
from daemon.chat.access import Access, Group
from daemon.chat.lanes import Lanes
from daemon.chat.router import Router
from daemon.schedule import booking
from daemon.schedule.recurrence import Interval, Recurrence
from daemon.store import inbox, jobs, people
from daemon.store.db import Database
from daemon.store.jobs import Job, Plan, Whose
from daemon.store.turnrow import TurnRow
from daemon.store.values import Place

T = TypeVar("T")

BOT = "42"
ADA, BOB, EVE, OLGA, GUS = 1, 2, 3, 9, 5  # Eve is in the group alone, Gus is a guest
GROUP = -100
NOW = time.time()
HOUR = 3600.0
PAUSED_BY_ADA = booking.PAUSED.format(name="P1")
PLAN = Plan(
    name="stretch",
    prompt="tell me to stretch",
    recurrence=Recurrence(Interval(HOUR, NOW)),
    zone="Europe/Berlin",
    missed="skip",
)


async def never(_turn: TurnRow) -> TurnState:
    await trio.sleep_forever()
    raise AssertionError


@define
class Chats:
    """A router on a real database, and what people do in its chats."""

    database: Database
    router: Router = field(init=False)
    number: int = 0
    scheduled: int = 0
    seen: list[Place] = Factory(list)

    def __attrs_post_init__(self) -> None:
        self.allow(users=frozenset({ADA, BOB}))

    def allow(self, users: frozenset[int], guests: frozenset[int] = frozenset({GUS})) -> None:
        """Answer these people from now on."""
        groups = {GROUP: Group("all")}
        access = Access(users, frozenset({GROUP}), OLGA, guests, groups)
        lanes = Lanes(self.database, 4, never, self.seen.append)
        self.router = Router(
            self.database, BOT, access, lanes, self.seen.append, list, schedule=self._schedule
        )

    def _schedule(self) -> None:
        self.scheduled += 1

    async def do(self, act: Callable[[sqlite3.Connection], T]) -> T:
        return await self.database.write(act)

    async def _receive(self, kind: str, body: dict[str, Any], who: int, chat: int) -> None:
        self.number += 1
        where = {"id": chat, "type": "private" if chat > 0 else "supergroup"}
        sender = {"id": who, "is_bot": False, "first_name": f"P{who}"}
        message = {"message_id": self.number, "date": 1000, "chat": where}
        if kind == "message":
            body = {**message, "from": sender, **body}
        else:
            message["message_id"] = 5
            body = {"id": str(self.number), "from": sender, "message": message, **body}
        update = {"update_id": self.number, kind: body}
        await self.database.write(inbox.receive, "telegram", BOT, [update], None, time.time())
        while await self.router._route_some():
            pass

    async def say(self, text: str, who: int = ADA, chat: int | None = None) -> str:
        """What the newest message of any chat says then."""
        await self._receive("message", {"text": text}, who, chat or who)
        return (await self.page())[0]

    async def press(self, label: str, who: int = ADA, chat: int | None = None) -> str:
        """Press that button of the newest page; what is told to who does."""
        (data,) = [data for text, data in await self.buttons() if text == label]
        return await self.press_data(data, who, chat)

    async def press_data(self, data: str, who: int = ADA, chat: int | None = None) -> str:
        await self._receive("callback_query", {"data": data}, who, chat or who)
        return str((await self.sent("answerCallbackQuery"))[-1]["text"])

    async def sent(self, *methods: str) -> list[dict[str, Any]]:
        rows = await self.do(
            lambda db: db.execute("SELECT method, params FROM outbox ORDER BY id").fetchall()
        )
        return [json.loads(params) for method, params in rows if method in methods]

    async def page(self) -> tuple[str, list[list[dict[str, str]]]]:
        """What the newest page says, and its rows of buttons."""
        newest = (await self.sent("sendMessage", "editMessageText"))[-1]
        return newest["text"], newest.get("reply_markup", {}).get("inline_keyboard", [])

    async def buttons(self) -> list[tuple[str, str]]:
        rows = (await self.page())[1]
        return [(each["text"], each["callback_data"]) for row in rows for each in row]

    async def labels(self) -> list[list[str]]:
        return [[each["text"] for each in row] for row in (await self.page())[1]]

    async def add(self, plan: Plan = PLAN, who: int = ADA, chat: int | None = None) -> Job:
        """A job of somebody's, an hour from now on."""
        return await self.do(lambda db: add(db, plan, who, chat or who))

    async def job(self, job: Job) -> Job:
        return await self.do(lambda db: jobs.get(db, job.id))

    async def state(self, job: Job) -> str:
        return (await self.job(job)).state


def add(db: sqlite3.Connection, plan: Plan, who: int, chat: int) -> Job:
    user = people.ensure_user(db, "telegram", str(who), f"P{who}", NOW)
    session = people.ensure_session(db, Place("telegram", BOT, str(chat)), NOW)
    role = "owner" if who == OLGA else "user"
    return jobs.create(db, Whose(session, user, role), plan, NOW + HOUR, NOW)


def named(name: str) -> Plan:
    return evolve(PLAN, name=name)
