"""The control socket's verbs about people: `pair` and `people`, carried out by the router.

With no daemon, the command line carries out the same on the database (`offline`).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, TypeVar

from daemon.chat import doors
from daemon.chat.access import Access
from daemon.chat.doors import Outcome
from daemon.chat.situation import Effects, Situation
from daemon.control import Control
from daemon.errors import Refused
from daemon.store.db import Database

T = TypeVar("T")

Act: TypeAlias = Callable[[Situation], dict[str, Any]]


class Keeper(Protocol):
    """Who carries it out: the router, or `Offline`."""

    account: str
    access: Access

    async def carry_out(self, act: Callable[[Situation], T]) -> T: ...


def register(verbs: Control, keeper: Keeper) -> None:
    """Answer the verbs at the control socket."""

    async def pair(request: dict[str, Any]) -> dict[str, Any]:
        return await answer(keeper, {**request, "action": "pair"})

    async def people(request: dict[str, Any]) -> dict[str, Any]:
        return await answer(keeper, request)

    verbs.register("pair", pair)
    verbs.register("people", people)


async def answer(keeper: Keeper, request: dict[str, Any]) -> dict[str, Any]:
    """Do what `action` says: pair, list, remove or role. Raises Refused, after the commit."""
    account, access = keeper.account, keeper.access
    person, role = str(request.get("id", "")).strip(), str(request.get("role", "user"))
    code = str(request.get("code", ""))

    def act(situation: Situation) -> dict[str, Any] | Outcome:
        match request.get("action"):
            case "pair":
                return doors.pair(situation, account, code, role)
            case "remove":
                return doors.remove(situation, account, access, person)
            case "role":
                return doors.change(situation, account, access, person, role)
            case _:
                return doors.everybody(situation, account, access)

    found = await keeper.carry_out(act)
    if isinstance(found, Refused):
        raise Refused(found.cause, found.remedy)
    return {"sentence": found} if isinstance(found, str) else found


class Offline:
    """Carries out what needs no daemon; who uses it holds the lock of the state directory."""

    def __init__(self, database: Database, account: str, access: Access) -> None:
        self.database = database
        self.account = account
        self.access = access

    async def carry_out(self, act: Callable[[Situation], T]) -> T:
        return await self.database.write(self._act, act, time.time())

    def _act(self, db: sqlite3.Connection, act: Callable[[Situation], T], now: float) -> T:
        owner = "" if self.access.owner is None else str(self.access.owner)
        return act(Situation(db, now, list, Effects(), owner=owner))
