"""Waiting for a server to have seen something, without polling it.

A server calls `tell()` after every change of its records; a waiter looks at the records, and again
after each change. Nothing is copied or queued, so telling costs next to nothing when nobody waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio
from attrs import define, field

T = TypeVar("T")


class NeverHappened(AssertionError):
    """What was waited for did not happen in time; the message tells what did."""


@define
class Changes:
    """One server's bell."""

    _lot: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)

    def tell(self) -> None:
        """Wake every waiter to look again."""
        self._lot.unpark_all()

    async def wait_for(self, look: Callable[[], T], timeout: float, seen: Callable[[], str]) -> T:
        """Return the first true value of `look()`.

        Raises NeverHappened after `timeout` seconds, with `seen()` as its account of the events.
        """
        with trio.move_on_after(timeout):
            while not (value := look()):
                await self._lot.park()
            return value
        raise NeverHappened(f"not within {timeout:g} s; seen so far:\n{seen()}")
