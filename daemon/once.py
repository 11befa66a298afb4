"""What is made in a thread for whoever asks first, and is then there for all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import trio
from attrs import define, field

T = TypeVar("T")


@define
class Once(Generic[T]):
    """The value of `make()`, which is called once, in a thread, when `get` is first called.

    Whoever asks meanwhile waits for the same one. If it raises, the next to ask has it tried again.
    """

    make: Callable[[], T]
    _made: tuple[T, ...] = ()
    _making: trio.Lock = field(factory=trio.Lock)

    async def get(self) -> T:
        async with self._making:
            if not self._made:
                self._made = (await trio.to_thread.run_sync(self.make),)
        return self._made[0]
