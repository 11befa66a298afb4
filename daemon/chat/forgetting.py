"""Removes the memory files that people want gone: rows are worked off, also after a restart.

The executor alone opens a workspace. While it is away the rows stay, and are tried again.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any, Final, NoReturn, Protocol

import trio
from attrs import Factory, define

from daemon import log
from daemon.chat.drafts import text_drafts
from daemon.store import forgetting as rows
from daemon.store import outbox
from daemon.store.db import Database
from daemon.store.forgetting import Wanted
from daemon.store.values import Place
from executor.errors import ExecutorUnavailable, FileRefused, NoWorkspace

AGAIN_SECONDS: Final = 30.0  # between tries while there is no executor
ABSENT: Final = "does not exist"  # how the executor refuses to remove what is not there

_log = log.get("memory")


class Files(Protocol):
    """What can be removed of a workspace: a part of `executor.client.FileClient`."""

    async def remove(self, path: str) -> Any: ...  # noqa: ANN401  (nobody looks at it)


@define
class Forgetter:
    """Removes what is wanted gone; `files` opens the files of a workspace by its key."""

    database: Database
    files: Callable[[str], Files]
    wake_outbox: Callable[[Place], None]
    _woken: trio.Event = Factory(trio.Event)

    def wake(self) -> None:
        """There is something to forget."""
        self._woken.set()
        self._woken = trio.Event()

    async def run(self) -> NoReturn:
        while True:
            woken = self._woken
            pause = AGAIN_SECONDS if not await self._round() else float("inf")
            with trio.move_on_after(pause):
                await woken.wait()

    async def _round(self) -> bool:
        """Remove all that is wanted gone; False if something is left because nobody can."""
        try:
            for each in await self.database.read(rows.wanted):
                await self._forget(each)
        except ExecutorUnavailable as error:
            _log.info("nothing can be forgotten now", why=error.cause)
            return False
        return True

    async def _forget(self, wanted: Wanted) -> None:
        why = ""
        try:
            await self.files(wanted.workspace).remove(wanted.path)
        except NoWorkspace:
            pass  # it has gone with all the others
        except FileRefused as error:
            # Removed by a run that did not live to say so, it does not exist.
            why = "" if ABSENT in error.cause else error.cause
        await self.database.write(_done, wanted, why, time.time())
        self.wake_outbox(wanted.place)


def _done(db: sqlite3.Connection, wanted: Wanted, why: str, now: float) -> None:
    """Tell the chat, and forget what was known of the file if there was no reason `why` not."""
    rows.settle(db, wanted, gone=not why)
    text = f"{wanted.path} could not be removed: {why}" if why else f"Forgotten: {wanted.path}."
    outbox.enqueue(db, wanted.place, text_drafts(text), now)
