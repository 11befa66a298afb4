"""Conversations side by side: much of each is waiting, for a start, a model or a clock."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import trio

AT_ONCE = 2  # as many as the smallest machine has cores


async def visit_all(points: Iterable[str], visit: Callable[[str], Awaitable[None]]) -> None:
    """Visit each of these points, in their order."""
    left = list(reversed(list(points)))

    async def visit_some() -> None:
        while left:
            await visit(left.pop())

    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(visit_some)
