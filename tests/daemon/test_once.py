"""A value that is made once, whoever asks."""

from __future__ import annotations

import itertools

import pytest
import trio

from daemon.once import Once


async def test_all_who_ask_at_once_are_given_the_same() -> None:
    """Two turns may begin together, and their models, cookies and memory are one."""
    made = itertools.count()
    once, given = Once(lambda: next(made)), []

    async def ask() -> None:
        given.append(await once.get())

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
    assert given == [0] * 5
    assert next(made) == 1


async def test_what_could_not_be_made_is_tried_again() -> None:
    """A secret that was unreadable once need not be so for ever."""
    outcomes = iter([OSError("gone"), None])

    def make() -> str:
        if (error := next(outcomes)) is not None:
            raise error
        return "made"

    once = Once(make)
    with pytest.raises(OSError, match="gone"):
        await once.get()
    assert await once.get() == "made"
