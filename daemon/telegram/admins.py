"""Who administers the groups that answer administrators alone, asked of Telegram now and then.

What is known is a row with its time. `daemon.store.admission` believes it for an hour; when it
cannot be renewed for so long, nobody is an administrator, and nobody there is answered but the
owner.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any, NoReturn

import trio
from attrs import Factory, define

from daemon import log
from daemon.store import admission
from daemon.store.db import Database
from daemon.store.values import Place
from daemon.telegram.api import ApiError

RENEW_SECONDS = 300.0
# The first round is waited for, so that what has come meanwhile is not ignored; but not for long.
FIRST_SECONDS = 5.0

_log = log.get("admins")


@define
class Admins:
    """Keeps the lists of administrators of the groups that `wanted` names at the time."""

    database: Database
    call: Callable[..., Awaitable[Any]]
    account: str
    wanted: Callable[[], Collection[int]]
    _woken: trio.Event = Factory(trio.Event)

    def wake(self) -> None:
        """Another group may be wanted."""
        self._woken.set()
        self._woken = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> NoReturn:
        woken = self._woken
        with trio.move_on_after(FIRST_SECONDS) as first:
            await self._round()
        task_status.started()
        pause = 0.0 if first.cancelled_caught else RENEW_SECONDS
        while True:
            with trio.move_on_after(pause):
                await woken.wait()
            woken, pause = self._woken, RENEW_SECONDS
            await self._round()

    async def _round(self) -> None:
        for chat in sorted(self.wanted()):
            try:
                answer = await self.call("getChatAdministrators", {"chat_id": chat})
            except ApiError as error:
                _log.warning("administrators not known", chat=chat, error=error)
                continue
            place = Place("telegram", self.account, str(chat))
            await self.database.write(admission.keep_admins, place, read_ids(answer), time.time())


def read_ids(answer: object) -> set[int]:
    """The people in an answer to getChatAdministrators; bots, ours among them, are none."""
    members = answer if isinstance(answer, list) else []
    users = [each.get("user") for each in members if isinstance(each, dict)]
    return {
        user["id"]
        for user in users
        if isinstance(user, dict) and type(user.get("id")) is int and user.get("is_bot") is False
    }
