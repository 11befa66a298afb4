"""What the daemon says of itself, whatever state its parts are in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio
from attrs import define

from daemon.report import Report
from daemon.store.db import open_database
from daemon.supervise import Health


@define
class Board:
    running: int = 1
    waiting: int = 2


@define
class Lanes:
    board: Board


@define
class Poll:
    last_answer: float | None = None


class Silent:
    """An executor that takes the question and does not answer."""

    async def status(self) -> None:
        await trio.sleep_forever()


async def test_an_executor_that_does_not_answer_does_not_hide_the_rest(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("daemon.report.ASK_SECONDS", 0.01)
    async with open_database(tmp_path / "famulus.db") as database:
        report = Report(database, Health(), Lanes(Board()), Poll(), Silent(), "a model")  # type: ignore[arg-type]  # fakes of what is read here
        answer = await report.verb({})
    assert answer["turns"] == {"running": 1, "waiting": 2}
    assert answer["code"] == "starting"
