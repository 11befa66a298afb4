"""What the daemon says of itself, whatever state its parts are in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio
from attrs import define

from daemon.codewatch import Answer, CodeWatch
from daemon.report import Report
from daemon.store.db import Database, open_database
from daemon.supervise import Health

WORKS = "in a sandbox of namespaces"


@define
class Board:
    running: int = 1
    waiting: int = 2


@define
class Lanes:
    board: Board


@define
class Poll:
    name = "poll"
    last_answer: float | None = None


def report_of(database: Database | None, watch: CodeWatch) -> Report:
    return Report(database, Health(), Lanes(Board()), Poll(), watch, "a model")  # type: ignore[arg-type]  # fakes of what is read here


def code(report: Report) -> str:
    """The line on code, as the chat gets it."""
    return report.lines()[-1]


async def test_an_executor_that_does_not_answer_does_not_hide_the_rest(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("daemon.report.ASK_SECONDS", 0.01)
    async with open_database(tmp_path / "famulus.db") as database:
        answer = await report_of(database, CodeWatch()).verb({})
    assert answer["turns"] == {"running": 1, "waiting": 2}
    assert answer["code"] == "starting"


async def test_the_state_of_the_executor_is_told_with_its_age(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It is not asked all the time; a look at it is what has it asked."""
    watch = CodeWatch(Answer(True, WORKS, trio.current_time()))
    report = report_of(None, watch)
    await trio.sleep(10)
    assert code(report) == f"code: {WORKS}"
    await trio.sleep(3600)
    assert code(report) == f"code: {WORKS} (as of 1 h 0 min ago; asking again)"


async def test_a_question_that_is_open_means_that_it_is_starting(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Whatever it was before: one that runs answers at once."""
    watch = CodeWatch(Answer(False, "off: no", trio.current_time()), asked=trio.current_time())
    report = report_of(None, watch)
    assert code(report) == "code: off: no"
    await trio.sleep(2)
    assert code(report) == "code: starting"


async def test_each_mcp_server_has_a_line(tmp_path: Path) -> None:
    """In the chat and for `famulus status`."""
    async with open_database(tmp_path / "famulus.db") as database:
        report = report_of(database, CodeWatch(Answer(True, WORKS, trio.current_time())))
        report.mcp = lambda: {"files": "up, 3 tools"}
        assert report.lines()[-1] == "MCP files: up, 3 tools"
        assert (await report.verb({}))["mcp files"] == "up, 3 tools"
