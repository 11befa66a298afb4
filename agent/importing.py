"""Imports without the garbage collector, which has nothing to do there and finds it very slowly.

A large import makes hundreds of thousands of objects that all stay. The collector looks at them
again and again while they come (a fifth of the time that openai takes), and from then on in every
full collection, which stops the whole program for tens of milliseconds. So it rests meanwhile, and
what is there afterwards is set aside for good. The price is the little that an import leaves
behind in cycles: 1 to 2 MB.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_resting() -> Iterator[None]:
    """No collection during the block, in any thread; none will look at what is there at its end."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
