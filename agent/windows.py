"""How much a model can take in at once: what the configuration, or else its provider, says.

There is no one name for it in the lists of models that providers give, and OpenAI's has none at
all. So a list is asked for once, when somebody first wants to know; what cannot be found out is the
window that nearly every current model has. Nobody waits long for it, and it never fails: a list
that did not come is asked for again after a while. Who has little to say need not wait at all: that
fits into any window.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import trio
from attrs import define, field

from agent.sizes import DEFAULT_WINDOW
from agent.stream import as_array, as_object, as_string

SMALLEST: Final = 8192  # tokens; below, and above 100 million, a number is not believed
LARGEST: Final = 10**8
PATIENCE: Final = 3.0  # seconds of a turn that waits for the list
ASK_AGAIN: Final = 600.0

# Where providers put it; the first that is there counts.
KEYS: Final = (
    *("context_length", "context_window", "max_model_len", "max_context_length"),
    *("max_input_tokens", "max_context_window", "n_ctx", "n_ctx_train"),
)
# Objects in a model's entry that hold one of the keys.
INNER: Final = ("top_provider", "meta", "capabilities", "limits")


def found_in(listing: bytes, name: str) -> int | None:
    """The window of the model `name` in the body of a list of models; None if it does not say."""
    try:
        document = as_object(json.loads(listing))
    except (ValueError, RecursionError):
        return None
    entries = [as_object(each) for each in as_array(document.get("data"))]
    mine = [each for each in entries if name in (each.get("id"), each.get("name"))]
    return next((window for each in mine for window in _windows(each)), None)


def _windows(entry: dict[str, Any]) -> Iterator[int]:
    for place in (entry, *(as_object(entry.get(key)) for key in INNER)):
        for key in KEYS:
            value = place.get(key)
            if isinstance(value, str) and as_string(value).isdecimal():
                value = float(value)
            if isinstance(value, int | float) and SMALLEST <= value <= LARGEST:
                yield int(value)


@define
class Window:
    """One model's window; `told` by the configuration, 0 if that does not know it."""

    name: str
    told: int
    _found: int = 0
    _ask_at: float = float("-inf")
    _asking: trio.Lock = field(factory=trio.Lock)

    @property
    def known(self) -> int:
        """The window in tokens; 0 if nobody has said yet."""
        return self.told or self._found

    async def get(self, fetch: Callable[[], Awaitable[bytes]]) -> int:
        """The window in tokens; `fetch` brings the provider's list, or b'' if it cannot."""
        if not self.known:
            async with self._asking:
                if trio.current_time() >= self._ask_at:
                    await self._ask(fetch)
        return self.known or DEFAULT_WINDOW

    async def _ask(self, fetch: Callable[[], Awaitable[bytes]]) -> None:
        with trio.move_on_after(PATIENCE):
            listing = await fetch()
            # One provider's list is half a megabyte.
            found = await trio.to_thread.run_sync(found_in, listing, self.name)
            # A list without it will not have it later either.
            self._found = found or (DEFAULT_WINDOW if listing else 0)
        self._ask_at = trio.current_time() + ASK_AGAIN
