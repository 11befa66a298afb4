"""What the daemon says of itself: to `/status` in the chat, and to `famulus status`."""

from __future__ import annotations

import time
from typing import Any

import trio
from attrs import define, field

from daemon.chat.lanes import Lanes
from daemon.codegate import CodeGate
from daemon.store import status
from daemon.store.db import Database
from daemon.supervise import Health
from daemon.telegram.poll import Poll
from daemon.version import VERSION
from executor.client import ExecutorUnavailable

WATCH_SECONDS = 30.0  # between two questions to the executor
WATCH_AGAIN = 3.0  # while it is off: somebody is probably starting it
ASK_SECONDS = 3.0  # an executor that is starting, or hangs, must not keep the rest from view
OFF = "off"


@define
class Report:
    """Gathers the state of the process. Belongs to the Trio thread."""

    database: Database
    health: Health
    lanes: Lanes
    poll: Poll
    executor: CodeGate
    model: str
    started: float = field(factory=time.time)  # Unix seconds
    executor_line: str = "starting"

    async def watch_executor(self) -> None:
        """Keep `executor_line` current, for ever."""
        while True:
            self.executor_line = await self._ask_executor()
            off = self.executor_line.startswith(OFF)
            await trio.sleep(WATCH_AGAIN if off else WATCH_SECONDS)

    def lines(self) -> list[str]:
        """The state of the process for a chat, a line each."""
        running, waiting = self.lanes.board.running, self.lanes.board.waiting
        return [
            f"Famulus {VERSION}, up {_span(time.time() - self.started)}",
            f"model: {self.model}",
            f"Telegram: {self._poll_line()}",
            f"turns: {running} running, {waiting} waiting",
            f"code: {self.executor_line}",
        ]

    async def verb(self, _request: dict[str, Any]) -> dict[str, Any]:
        """The answer to the control socket's `status`."""
        with trio.move_on_after(ASK_SECONDS):
            self.executor_line = await self._ask_executor()
        return {
            "version": VERSION,
            "started": self.started,
            "model": self.model,
            "telegram": self._poll_line(),
            "turns": {"running": self.lanes.board.running, "waiting": self.lanes.board.waiting},
            "code": self.executor_line,
            "rows": await self.database.read(status.counts),
            "tasks": self.health.report(),
        }

    def _poll_line(self) -> str:
        note = self.health.of("poll").note or "starting"
        if self.poll.last_answer is None:
            return note
        return f"{note}, last answer {_span(trio.current_time() - self.poll.last_answer)} ago"

    async def _ask_executor(self) -> str:
        try:
            found = await self.executor.status()
        except ExecutorUnavailable as error:
            return f"{OFF}: {error}"
        if found.unavailable:
            return f"{OFF}: {found.unavailable}"
        soft = f" (soft: {', '.join(found.soft)})" if found.soft else ""
        return f"in a sandbox of {' + '.join(found.layers)}{soft}"


def _span(seconds: float) -> str:
    """A duration in its two largest units."""
    whole = int(seconds)
    if whole < 60:  # noqa: PLR2004
        return f"{whole} s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if hours == 0:
        return f"{minutes} min {whole % 60} s"
    return f"{hours} h {minutes % 60} min" if days == 0 else f"{days} d {hours % 24} h"
