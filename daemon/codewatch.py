"""What the daemon knows of the executor, without asking too often.

A question is a connection, and where systemd holds the socket a connection is what starts an
executor that is off: asked every few seconds, one that refuses would be started every few seconds,
and one that an owner has stopped would not stay so. So an executor that works is not asked again by
ourselves, and one that does not more and more seldom. It is asked at once when somebody wants to
know, and when a job meets with something else than the last answer.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import trio
from attrs import define, field, frozen

from executor.client import ExecutorUnavailable, Status

# Seconds between two questions to an executor that cannot be had. The first ones are for one that
# is just being started, by somebody or by the question; what a person must mend takes longer, and
# the person's next job or /status does not wait for us.
FIRST_DELAY: Final = 3.0
MAX_DELAY: Final = 900.0


@frozen
class Answer:
    """How the executor is, in words, since `at` (Trio's clock)."""

    works: bool
    words: str
    at: float


def next_delay(*, works: bool, last: float) -> float:
    """Seconds until we ask again by ourselves. `last` is the delay before this answer, or 0."""
    return math.inf if works else min(max(FIRST_DELAY, last * 2), MAX_DELAY)


@define
class CodeWatch:
    """Knows the last answer. `run` is the only one that asks. Belongs to the Trio thread."""

    answer: Answer | None = None
    asked: float | None = None  # since when a question has been open (Trio's clock)
    _delay: float = 0.0
    _wanted: trio.Event = field(factory=trio.Event)
    _answered: trio.Event = field(factory=trio.Event)

    async def run(self, ask: Callable[[], Awaitable[Status]]) -> NoReturn:
        """Ask when it is time to, for ever."""
        while True:
            self.asked = trio.current_time()
            works, words = await _in_words(ask)
            self.answer, self.asked = Answer(works, words, trio.current_time()), None
            self._answered.set()
            self._answered, self._wanted = trio.Event(), trio.Event()
            self._delay = next_delay(works=works, last=self._delay)
            with trio.move_on_after(self._delay):
                await self._wanted.wait()

    def want(self) -> None:
        """Ask at once, unless a question is open, and be quick to ask again."""
        self._delay = 0.0
        self._wanted.set()

    async def fresh(self) -> None:
        """Wait for an answer that comes from now on."""
        answered = self._answered
        self.want()
        await answered.wait()

    def job_ended(self, *, ran: bool) -> None:
        """Take note of a job; one that contradicts the last answer makes us ask."""
        if self.answer is not None and self.answer.works != ran:
            self.want()


async def _in_words(ask: Callable[[], Awaitable[Status]]) -> tuple[bool, str]:
    try:
        found = await ask()
    except ExecutorUnavailable as error:
        return False, f"off: {error}"
    if found.unavailable:
        return False, f"off: {found.unavailable}"
    soft = f" (soft: {', '.join(found.soft)})" if found.soft else ""
    return True, f"in a sandbox of {' + '.join(found.layers)}{soft}"
