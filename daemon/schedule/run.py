"""The scheduler: sleeps until the earliest appointment, and begins what is due.

It keeps nothing that the rows lack. Between two looks it waits for the earliest time on the wall
clock, for a change of the jobs, or for something to be over: a turn of an appointment, or the
sending of what that has said. What was over while nobody listened is found by the first look.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

import trio
from attrs import Factory, define

from daemon import log
from daemon.schedule import advancing, recurrence
from daemon.schedule.advancing import News, Permits, Step
from daemon.schedule.alarm import WallAlarm
from daemon.schedule.deciding import GRACE, Clock
from daemon.store import jobs
from daemon.store.db import Database
from daemon.store.turnrow import TurnRow
from daemon.store.values import Place

_log = log.get("schedule")


class Alarm(Protocol):
    """Waits on the wall clock: `daemon.schedule.alarm.WallAlarm`."""

    async def wait(self, until: float) -> None: ...


@define
class Scheduler:
    """Begins the turns of appointments. `wake` and `over` never block; they come after commits.

    `begun` is told of turns to run, `wake_outbox` of places where something was queued; `permits`
    says which places may be written to.
    """

    database: Database
    begun: Callable[[TurnRow], None]
    wake_outbox: Callable[[Place], None]
    permits: Permits
    clock: Callable[[], float] = time.time
    _over: set[int] = Factory(set)
    _anything: bool = True  # whatever may be over, and not only that
    _woken: trio.Event = Factory(trio.Event)

    def wake(self) -> None:
        """The times of jobs have changed."""
        self._woken.set()

    def over(self, turn_id: int | None) -> None:
        """A turn, or the sending of something that it has said, is over; None: of whichever."""
        if turn_id is None:
            self._anything = True
        else:
            self._over.add(turn_id)
        self.wake()

    async def run(self, *, task_status: trio.TaskStatus[Any]) -> NoReturn:
        """Keep appointments for ever."""
        with WallAlarm() as alarm:
            task_status.started()
            await self.keep(alarm)

    async def keep(self, alarm: Alarm) -> NoReturn:
        """`run` with an alarm of the caller's."""
        self._anything = True
        if await self.database.read(jobs.next_at) is not None:
            await trio.to_thread.run_sync(recurrence.load)  # and not in a transaction
        awake_since = self.clock()
        while True:
            self._woken = trio.Event()
            step = await self._look(awake_since)
            if not step.more:
                await self._sleep(alarm, step.next_at)
                if step.next_at is not None and self.clock() > step.next_at + GRACE:
                    awake_since = self.clock()  # the machine was asleep, or its clock wrong

    async def _look(self, awake_since: float) -> Step:
        news = News(None if self._anything else sorted(self._over))
        self._anything = False
        self._over.clear()
        step = await self.database.write(self._advance, awake_since, news)
        for turn in step.begun:
            self.begun(turn)
        for place in step.told:
            self.wake_outbox(place)
        if step.begun or step.missed:
            _log.info("appointments", begun=len(step.begun), missed=step.missed)
        return step

    def _advance(self, db: sqlite3.Connection, awake_since: float, news: News) -> Step:
        """The look as a transaction, at the time that it is when its turn to write has come.

        One that was read before would be behind jobs that were made meanwhile.
        """
        return advancing.advance(db, Clock(self.clock(), awake_since), news, self.permits)

    async def _sleep(self, alarm: Alarm, until: float | None) -> None:
        """Until something has changed, the time has come, or the clock was set."""
        async with trio.open_nursery() as nursery:
            if until is not None:
                nursery.start_soon(self._ring, alarm, until)
            await self._woken.wait()
            nursery.cancel_scope.cancel()

    async def _ring(self, alarm: Alarm, until: float) -> None:
        await alarm.wait(until)
        self.wake()
