"""Lanes: one turn at a time in each session, many sessions side by side.

`LaneBoard` is the whole policy, without I/O: turns join their lane in order, and a turn holds its
lane until it has ended, also while it waits for an approval or for the rest of an album. Of the
places for running turns a quarter is kept for those that people began, so that a thousand due
appointments never make a person wait.

`Lanes` runs what the board lets run, each turn as a task in its nursery. It keeps no state that
the database lacks: a new process, or a new run of the task, fills the board from the open turns.
Turns that nobody has just asked for are begun a moment apart: with a quick model, all that may run
at once would have the processor to themselves, and a person who writes would be one of many.
"""

from __future__ import annotations

import heapq
import math
import time
from bisect import insort
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import trio
from attrs import Factory, define, field

from agent.ports import TurnLost, TurnState
from daemon import log
from daemon.chat.recovery import pass_deadlines, take_over
from daemon.store import turns
from daemon.store.db import Database
from daemon.store.turnrow import TurnRow
from daemon.store.values import Place

FOR_PEOPLE = frozenset({"update", "console", "link"})
KEPT_SHARE = 4  # one place in four is kept for people
APART = 0.03  # seconds between the beginnings of two turns of others; each takes about half of that
FAR = turns.MAX_GATHERING  # seconds between looks at the clock, which may have been changed

_log = log.get("lanes")


# --- The policy, without I/O ---


@define
class LaneBoard:
    """Which turns wait, run and may start; `places` is how many may run at once."""

    places: int
    _lanes: dict[str, deque[int]] = Factory(dict)
    _turns: dict[int, TurnRow] = Factory(dict)
    _running: set[int] = Factory(set)
    # Ids of turns that came to the head of their lane, oldest first, for people and for others.
    # Entries are hints: what became of the turn since is checked when one is taken.
    _heads: tuple[list[int], list[int]] = Factory(lambda: ([], []))

    def put(self, turn: TurnRow) -> None:
        """Add a turn to its lane, or note the new state of one that is there.

        Its place is by its id: while the lanes start anew, the router may bring the newest turn
        before the older ones have been read from their rows.
        """
        if turn.id not in self._turns:
            insort(self._lanes.setdefault(turn.lane, deque()), turn.id)
        self._turns[turn.id] = turn
        self._offer(turn.lane)

    def take(self, *, others: bool = True) -> TurnRow | None:
        """The next turn to run, which counts as running from now on; None if none may.

        One that people began, unless it may be one of `others`.
        """
        for heap in self._heads if others and self._has_place_for_others() else self._heads[:1]:
            while heap and len(self._running) < self.places:
                turn_id = heapq.heappop(heap)
                if self._is_startable(turn_id):
                    self._running.add(turn_id)
                    return self._turns[turn_id]
        return None

    def paused(self, turn: TurnRow) -> None:
        """A running turn runs no more but has not ended: it keeps its lane, as `turn` says."""
        self._running.discard(turn.id)
        if turn.id in self._turns:
            self.put(turn)

    def ended(self, turn_id: int) -> TurnRow | None:
        """A turn is over, whether it ran or not, and was this; its lane goes on with the next."""
        self._running.discard(turn_id)
        turn = self._turns.pop(turn_id, None)
        if turn is None:
            return None
        self._lanes[turn.lane].remove(turn_id)
        if self._lanes[turn.lane]:
            self._offer(turn.lane)
        else:
            del self._lanes[turn.lane]
        return turn

    def next_deadline(self) -> float | None:
        """The earliest time (Unix) at which a waiting turn stops waiting by itself."""
        deadlines = (turn.deadline for turn in self._turns.values() if turn.state == "waiting")
        return min((each for each in deadlines if each is not None), default=None)

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Turns that have neither ended nor a place."""
        return len(self._turns) - len(self._running)

    def _offer(self, lane: str) -> None:
        head = self._turns[self._lanes[lane][0]]
        if self._is_startable(head.id):
            heapq.heappush(self._heads[head.cause not in FOR_PEOPLE], head.id)

    def _is_startable(self, turn_id: int) -> bool:
        turn = self._turns.get(turn_id)
        if turn is None or turn.state != "ready" or turn_id in self._running:
            return False
        return self._lanes[turn.lane][0] == turn_id

    def _has_place_for_others(self) -> bool:
        others = sum(self._turns[each].cause not in FOR_PEOPLE for each in self._running)
        return others < self.places - self.places // KEPT_SHARE


# --- The shell ---


def ignore(_turn_id: int) -> None:
    """Nobody keeps appointments here."""


@define
class Lanes:
    """Runs turns. `run_turn` tells what it leaves the turn as.

    `appointment_over` is told which turns of appointments have ended.

    The router calls `put`, `restart` and `dropped` after its commits; they never block.
    """

    database: Database
    places: int
    run_turn: Callable[[TurnRow], Awaitable[TurnState]]
    wake_outbox: Callable[[Place], None]
    appointment_over: Callable[[int], None] = ignore
    board: LaneBoard = field(init=False)
    _scopes: dict[int, trio.CancelScope] = Factory(dict)
    _woken: trio.Event = Factory(trio.Event)
    _closing: bool = False
    _others_from: float = -math.inf  # when one of others may be begun, by Trio's clock

    def __attrs_post_init__(self) -> None:
        self.board = LaneBoard(self.places)

    def put(self, turn: TurnRow) -> None:
        """A turn was created, or one of the board has changed."""
        self.board.put(turn)
        self._wake()

    def restart(self, turn_id: int) -> None:
        """A turn was given more to read: what it has begun is of no use."""
        if turn_id in self._scopes:
            self._scopes[turn_id].cancel()

    def dropped(self, turn_id: int) -> None:
        """A turn was ended by somebody else; its task, if there is one, ends at once."""
        if turn_id in self._scopes:
            self._scopes[turn_id].cancel()
        else:
            self._ended(turn_id)
            self._wake()

    @property
    def closing(self) -> bool:
        """True once no further turn is begun; turns under way stop at their next journal point."""
        return self._closing

    async def close(self, grace: float) -> None:
        """Begin nothing more and wait until no turn runs, for `grace` seconds at most."""
        self._closing = True
        with trio.move_on_after(grace):
            while self.board.running:
                await self._wait()

    async def run(self, *, task_status: trio.TaskStatus[Any]) -> NoReturn:
        """Run turns for ever, those that an earlier run left behind first."""
        self.board = LaneBoard(self.places)
        await self._take_over()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_deadlines)
            task_status.started()
            while True:
                with trio.move_on_after(self._start_what_may(nursery)):
                    await self._wait()

    async def _take_over(self) -> None:
        inherited = await self.database.write(take_over, time.time())
        for turn in inherited.dead:
            _log.error("turn given up", turn=turn.ref)
            if turn.cause == "schedule":
                self.appointment_over(turn.id)
        for place in inherited.told:
            self.wake_outbox(place)
        for turn in inherited.open:
            self.board.put(turn)

    def _start_what_may(self, nursery: trio.Nursery) -> float:
        """Begin what may be begun; the seconds after which more may be, if nothing happens."""
        while True:
            now = trio.current_time()
            pause = max(0.0, self._others_from - now)
            turn = None if self._closing else self.board.take(others=not pause)
            if turn is None:
                return pause or math.inf
            if turn.cause not in FOR_PEOPLE:
                self._others_from = now + APART
            nursery.start_soon(self._run_one, turn)

    async def _run_one(self, turn: TurnRow) -> None:
        """Run a turn that the board has given a place, and give the place back."""
        state = TurnState.WAITING
        with trio.CancelScope() as scope, log.bound(turn=turn.ref):
            self._scopes[turn.id] = scope
            try:
                state = await self.run_turn(turn)
            except TurnLost:
                _log.info("turn taken away")
            finally:
                del self._scopes[turn.id]
        if state is TurnState.ENDED:
            self._ended(turn.id)
        else:
            await self._put_back(turn)
        self._wake()

    async def _put_back(self, turn: TurnRow) -> None:
        """Take a turn that has not ended, or was taken away, as its row says.

        By the writer: what changes the row after this is told to us after this, too.
        """
        row = await self.database.write(turns.let_go, turn.id)
        if row.state == "ended":
            self._ended(turn.id)
        else:
            self.board.paused(row)

    def _ended(self, turn_id: int) -> None:
        turn = self.board.ended(turn_id)
        if turn is not None and turn.cause == "schedule":
            self.appointment_over(turn_id)

    async def _keep_deadlines(self) -> NoReturn:
        """End what has waited long enough: gatherings, and questions that nobody answers."""
        while True:
            deadline = self.board.next_deadline()
            left = FAR if deadline is None else deadline - time.time()
            with trio.move_on_after(min(max(0.0, left), FAR)):
                await self._woken.wait()
                continue
            passed = await self.database.write(pass_deadlines, time.time())
            for turn in passed.changed:
                self.board.put(turn)
            for place in passed.told:
                self.wake_outbox(place)
            self._wake()

    def _wake(self) -> None:
        self._woken.set()
        self._woken = trio.Event()

    async def _wait(self) -> None:
        await self._woken.wait()
