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
from daemon.chat.toolset import workspace_key
from daemon.store import heartbeats
from daemon.store.db import Database
from daemon.store.heartbeats import Beat
from daemon.store.turnrow import TurnRow
from executor.errors import ExecutorUnavailable, FileRefused
from executor.file_client import Done
from executor.file_values import Content

LOOK_SECONDS = 60.0  # between looks at what is due; a heartbeat may come so much late
MOST_BYTES = 16 * 1024  # of the file that are read; it is paid for at every heartbeat

_log = log.get("heartbeat")


class Files(Protocol):
    """The files of a workspace: `executor.client.FileClient`."""

    async def read(self, path: str, offset: int = 0, limit: int = ...) -> Done[Content]: ...


@define
class Heartbeat:
    """Begins heartbeats every `every` seconds, but not in the quiet hours; `begun` is told."""

    database: Database
    files: Callable[[str], Files]
    begun: Callable[[TurnRow], None]
    every: float
    quiet_hours: tuple[dt.time, dt.time] | None
    zone: zoneinfo.ZoneInfo

    async def run(self) -> NoReturn:
        while True:
            if not heartbeat.is_quiet(self._now().time(), self.quiet_hours):
                for beat in await self.database.write(heartbeats.take_due, self.every, time.time()):
                    await self._look(beat)
            await trio.sleep(min(self.every, LOOK_SECONDS))

    async def _look(self, beat: Beat) -> None:
        text = await self._read(workspace_key(beat.address))
        if not heartbeat.is_actionable(text):
            _log.debug("nothing to do", chat=beat.address.place.chat)
            return
        prompt = heartbeat.prompt(text, self._now())
        turn = await self.database.write(heartbeats.begin, beat, prompt, time.time())
        if turn is not None:
            _log.info("heartbeat", turn=turn.ref, chat=beat.address.place.chat)
            self.begun(turn)

    async def _read(self, workspace: str) -> str:
        """The chat's heartbeat file; '' if there is none, or none that can be read now."""
        try:
            found = await self.files(workspace).read(heartbeat.FILE, limit=MOST_BYTES)
        except (ExecutorUnavailable, FileRefused) as error:
            _log.debug("no heartbeat file", workspace=workspace, why=error.cause)
            return ""
        return clean(found.value.data.decode("utf-8", "replace"))

    def _now(self) -> dt.datetime:
        return dt.datetime.now(self.zone)
