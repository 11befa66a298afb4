"""Updates as nobody may send them: valid ones with something wrong, and what never was one."""

from __future__ import annotations

import copy
import json
import random
from collections import deque
from collections.abc import Callable
from typing import Any

from tests.harness.wild.valid import Json, Maker

GIANT = 200_000  # characters
DEEP = (30, 100, 200)
WRONG: tuple[Any, ...] = (None, True, 0, -1, 1.5, "", "1", [], {}, "x" * 300)
HUGE = (2**53 + 1, 2**63, -(2**63) - 1, 2**64, 10**100, 10**4000, 1e308, float("inf"))
HALF = ("\ud83d", "\udc00 text", "/\ud800", "show:\udfff")
# Names that mean something somewhere, and nothing here.
UNKNOWN = (
    "telepathy",
    "update_id2",
    "__class__",
    "constructor",
    "",
    "from_user",
    "\ud83d",
    "a" * 5000,
)

# A place in an update: the container, and the key or index in it.
Spot = tuple[Any, Any]


def spots(value: Any) -> list[Spot]:
    """Every place of a value, those near its top first."""
    found: list[Spot] = []
    waiting = deque([value])
    while waiting:
        place = waiting.popleft()
        keys: Any = place if isinstance(place, dict) else range(len(place))
        found += [(place, key) for key in keys]
        waiting.extend(place[key] for key in keys if isinstance(place[key], dict | list))
    return found


def _put(draw: random.Random, body: Json, value: Any) -> None:
    place, key = draw.choice(spots(body))
    place[key] = copy.copy(value)  # what is put there may be broken next


def _drop(draw: random.Random, body: Json) -> None:
    place, key = draw.choice(spots(body))
    del place[key]


def _deep(draw: random.Random) -> Any:
    value: Any = draw.choice(([], {}, 1))
    for _ in range(draw.choice(DEEP)):
        value = [value] if draw.random() < 0.5 else {"x": value}
    return value


def _unknown_field(draw: random.Random, body: Json) -> None:
    objects = [body, *(place[key] for place, key in spots(body) if isinstance(place[key], dict))]
    value = draw.choice((*WRONG, *HUGE, *HALF, _deep(draw)))
    draw.choice(objects)[draw.choice(UNKNOWN)] = copy.copy(value)


def _unknown_kind(draw: random.Random, body: Json) -> None:
    kind = draw.choice(list(body))
    body[draw.choice(UNKNOWN)] = body.pop(kind)


FAULTS: dict[str, Callable[[random.Random, Json], None]] = {
    "missing": _drop,
    "wrong type": lambda draw, body: _put(draw, body, draw.choice(WRONG)),
    "huge number": lambda draw, body: _put(draw, body, draw.choice(HUGE)),
    "half a character": lambda draw, body: _put(draw, body, draw.choice(HALF)),
    "giant text": lambda draw, body: _put(draw, body, draw.choice("x\ud83d\n") * GIANT),
    "deep": lambda draw, body: _put(draw, body, _deep(draw)),
    "unknown field": _unknown_field,
    "unknown kind": _unknown_kind,
}
# What costs a megabyte, or hides all else, is worth having seen, and not a third of what is sent.
RARE = frozenset({"giant text", "deep"})


def broken(maker: Maker, body: Json, most: int = 3) -> tuple[Json, str]:
    """A copy with one to `most` things wrong, and what the last of them is."""
    draw = maker.draw
    made: Json = json.loads(json.dumps(body))
    fault = "several kinds"
    if draw.random() < 0.1:
        return {**made, **maker.update()}, fault
    for _ in range(draw.randint(1, most)):
        fault = draw.choice(sorted(FAULTS))
        if fault in RARE and draw.random() < 0.9:
            fault = "missing"
        if spots(made):
            FAULTS[fault](draw, made)
    return made, fault
