"""What the daemon says of itself: to `/status` in the chat, and to `famulus status`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import trio
from attrs import define, field

from daemon.chat.lanes import Lanes
from daemon.codewatch import CodeWatch
from daemon.shelf import Shelf
from daemon.store import status
from daemon.store.db import Database
from daemon.supervise import Health
from daemon.telegram.poll import Intake
from daemon.version import VERSION

ASK_SECONDS = 3.0  # an executor that is starting, or hangs, must not keep the rest from view
SOON_SECONDS = 1.0  # one that runs answers in milliseconds; later than this it is starting
NEWS_SECONDS = 30.0  # an answer that is older is shown with its age


@define
class Report:
    """Gathers the state of the process. Belongs to the Trio thread."""

    database: Database
    health: Health
    lanes: Lanes
    poll: Intake
    code: CodeWatch
    model: str
    shelf: Shelf = field(factory=Shelf)
    started: float = field(factory=time.time)  # Unix seconds
    mcp: Callable[[], dict[str, str]] = dict  # the MCP servers by name, with their state in words

    def lines(self) -> list[str]:
        """The state of the process for a chat, a line each.

        It is made within the router's transaction, so it tells what is known of the executor, and
        has it asked for the next time.
        """
        self.code.want()
        running, waiting = self.lanes.board.running, self.lanes.board.waiting
        return [
            f"Famulus {VERSION}, up {_span(time.time() - self.started)}",
            f"model: {self.model}",
            f"Telegram: {self._poll_line()}",
            f"turns: {running} running, {waiting} waiting",
            f"skills: {self.shelf.holding.line()}",
            f"code: {self._code_line()}",
            *(f"MCP {name}: {words}" for name, words in self.mcp().items()),
        ]

    async def verb(self, _request: dict[str, Any]) -> dict[str, Any]:
        """The answer to the control socket's `status`."""
        with trio.move_on_after(ASK_SECONDS):
            await self.code.fresh()
        return {
            "version": VERSION,
            "started": self.started,
            "model": self.model,
            "telegram": self._poll_line(),
            "turns": {"running": self.lanes.board.running, "waiting": self.lanes.board.waiting},
            "code": self._code_line(),
            "skills": self.shelf.holding.line(),
            **{f"mcp {name}": words for name, words in self.mcp().items()},
            "rows": await self.database.read(status.counts),
            "tasks": self.health.report(),
        }

    def _poll_line(self) -> str:
        note = self.health.of(self.poll.name).note or "starting"
        if self.poll.last_answer is None:
            return note
        return f"{note}, last answer {_span(trio.current_time() - self.poll.last_answer)} ago"

    def _code_line(self) -> str:
        now, asked, answer = trio.current_time(), self.code.asked, self.code.answer
        if answer is None or (asked is not None and now - asked > SOON_SECONDS):
            return "starting"
        if now - answer.at < NEWS_SECONDS:
            return answer.words
        return f"{answer.words} (as of {_span(now - answer.at)} ago; asking again)"


def _span(seconds: float) -> str:
    """A duration in its two largest units."""
    whole = int(seconds)
    if whole < 60:  # noqa: PLR2004
        return f"{whole} s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if hours == 0:
        return f"{minutes} min {whole % 60} s"
    return f"{hours} h {minutes % 60} min" if days == 0 else f"{days} d {hours % 24} h"
