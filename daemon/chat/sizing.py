"""How large requests may be: from what is known of a model's window now, or from all that can be.

A provider is asked for its models' windows in the background (`Models.learn`), since a list that
does not come must delay nobody. Until it is there, a model is taken to have the window that any
has; what fits into a half of that is not worth a wait.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import field, frozen

from agent.fallback import Models
from agent.sizes import Sizes


class Sizing(Protocol):
    """The sizes for a model; '' is the configured one."""

    def so_far(self, model: str = "") -> Sizes:
        """Those that are safe, as far as is known."""
        ...

    async def sure(self, model: str = "") -> Sizes:
        """Those by the model's own window, which may be waited for; never for long."""
        ...


@frozen
class Given:
    """Sizes that nobody need be asked for."""

    sizes: Sizes = field(factory=Sizes)

    def so_far(self, _model: str = "") -> Sizes:
        return self.sizes

    async def sure(self, _model: str = "") -> Sizes:
        return self.sizes


@frozen
class ByWindow:
    """The sizes that `of` makes of a window."""

    of: Callable[[int], Sizes]
    models: Models

    def so_far(self, model: str = "") -> Sizes:
        return self.of(self.models.window_so_far(model))

    async def sure(self, model: str = "") -> Sizes:
        return self.of(await self.models.window(model))


async def settle(sizing: Sizing, model: str, tokens: int) -> None:
    """Wait for the model's window if a context of so many tokens may be too large without it.

    Half of the room is left for instructions, tools, and what comes in the course of the turn.
    """
    if tokens > sizing.so_far(model).limit / 2:
        await sizing.sure(model)
