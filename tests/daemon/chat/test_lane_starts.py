"""Turns that nobody has just asked for are begun a moment apart, and people come between them."""

from __future__ import annotations

from pathlib import Path

import trio
from attrs import Factory, define

from agent.ports import TurnState
from daemon.chat.lanes import APART, LaneBoard, Lanes
from daemon.store.db import open_database
from daemon.store.turnrow import TurnRow


def turn(number: int, cause: str) -> TurnRow:
    lane = f"{cause}-{number}"
    return TurnRow(number, f"ref{number}", lane, lane, cause, "ready", None, None)


@define
class Starts:
    """Notes when each turn was begun; after so many it is done."""

    many: int
    seen: list[tuple[str, float]] = Factory(list)
    done: trio.Event = Factory(trio.Event)

    async def run(self, begun: TurnRow) -> TurnState:
        await trio.lowlevel.checkpoint()
        self.seen.append((begun.cause, trio.current_time()))
        if len(self.seen) == self.many:
            self.done.set()
        return TurnState.ENDED


def test_others_may_have_to_wait() -> None:
    """They keep their place for when they may."""
    board = LaneBoard(4)
    board.put(turn(1, "schedule"))
    board.put(turn(2, "update"))
    first = board.take(others=False)
    assert first is not None
    assert first.cause == "update"
    assert board.take(others=False) is None
    second = board.take()
    assert second is not None
    assert second.cause == "schedule"


async def test_people_come_before_the_rest_of_a_crowd(tmp_path: Path) -> None:
    """However many are due, each begins some time after the one before it; a person at once."""
    crowd, starts = 6, Starts(7)
    async with open_database(tmp_path / "famulus.db") as database, trio.open_nursery() as nursery:
        lanes = Lanes(database, 32, starts.run, lambda _place: None)
        await nursery.start(lanes.run)
        for number in range(crowd):
            lanes.put(turn(number + 1, "schedule"))
        lanes.put(turn(crowd + 1, "update"))
        with trio.fail_after(20):
            await starts.done.wait()
        nursery.cancel_scope.cancel()
    causes = [cause for cause, _ in starts.seen]
    assert "update" in causes[:2]
    times = [at for cause, at in starts.seen if cause == "schedule"]
    assert times[-1] - times[0] > (crowd - 2) * APART
