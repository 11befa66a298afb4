"""The heartbeat: looks at each chat's HEARTBEAT.md, and begins a turn if it asks for something.

Off unless the owner wants it. A look costs a small file from the executor; a turn is begun as a row
like any other, in the background, where nobody can be asked for permission.
"""

from __future__ import annotations

import datetime as dt
import time
import zoneinfo
from collections.abc import Callable
from typing import NoReturn, Protocol

import trio
from attrs import define

from agent import heartbeat
from agent.text import clean
from daemon import log
from daemon.store import heartbeats
from daemon.store.db import Database
from daemon.store.heartbeats import Beat
from daemon.store.turnrow import TurnRow
from daemon.store.values import Place
from executor.errors import ExecutorUnavailable, FileRefused
from executor.file_client import Done
from executor.file_values import Content

LOOK_SECONDS = 60.0  # between looks at what is due; a heartbeat may come so much late
# The same while the executor cannot be had: where a connection is what starts it, each is a try.
DOWN_SECONDS = 300.0
PATIENCE = 10.0  # seconds that a look waits for files, which a job of the chat may hold for long
MOST_BYTES = 16 * 1024  # of the file that are read; it is paid for at every heartbeat

_log = log.get("heartbeat")


class Files(Protocol):
    """The files of a workspace: `executor.client.FileClient`."""

    async def read(self, path: str, offset: int = 0, limit: int = ...) -> Done[Content]: ...


@define
class Heartbeat:
    """Begins heartbeats every `every` seconds, but not in the quiet hours; `begun` is told.

    `permits` says which places may still be written to. What could not be read stays due.
    """

    database: Database
    files: Callable[[str], Files]
    begun: Callable[[TurnRow], None]
    permits: Callable[[Place], bool]
    every: float
    quiet_hours: tuple[dt.time, dt.time] | None
    zone: zoneinfo.ZoneInfo

    async def run(self) -> NoReturn:
        while True:
            pause = LOOK_SECONDS if await self._round() else DOWN_SECONDS
            await trio.sleep(min(self.every, pause))

    async def _round(self) -> bool:
        """Look at the chats that are due; False if there is no executor to look with."""
        if heartbeat.is_quiet(self._now().time(), self.quiet_hours):
            return True
        for beat in await self.database.write(heartbeats.due, self.every, time.time()):
            if self.permits(beat.address.place):
                try:
                    await self._look(beat)
                except ExecutorUnavailable as error:
                    _log.debug("no heartbeats", why=error.cause)
                    return False
        return True

    async def _look(self, beat: Beat) -> None:
        found = None
        with trio.move_on_after(PATIENCE):
            found = await self._read(beat.address.workspace)
        if found is None:
            _log.debug("the files are busy", chat=beat.address.place.chat)
            return
        text = clean(found.data.decode("utf-8", "replace"))
        if not heartbeat.is_actionable(text):
            _log.debug("nothing to do", chat=beat.address.place.chat)
            await self.database.write(heartbeats.passed, beat, time.time())
            return
        prompt = heartbeat.prompt(text, self._now(), cut=found.more)
        turn = await self.database.write(heartbeats.begin, beat, prompt, time.time())
        if turn is not None:
            _log.info("heartbeat", turn=turn.ref, chat=beat.address.place.chat)
            self.begun(turn)

    async def _read(self, workspace: str) -> Content:
        """The chat's heartbeat file; an empty one if there is none, or none that can be read."""
        try:
            return (await self.files(workspace).read(heartbeat.FILE, limit=MOST_BYTES)).value
        except FileRefused as error:
            _log.debug("no heartbeat file", workspace=workspace, why=error.cause)
            return Content(b"", 0, 0, more=False)

    def _now(self) -> dt.datetime:
        return dt.datetime.now(self.zone)
