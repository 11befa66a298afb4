"""A stream of updates to send to a bot: valid, broken, repeated and with numbers of all kinds."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from attrs import define, field, frozen

from daemon.demo.updates import UpdateQueue
from tests.harness.wild.broken import broken
from tests.harness.wild.valid import Json, Maker

# A client may put any number of items into one album, one update each.
ALBUM = 40
NUMBERS: tuple[Any, ...] = (None, True, -1, "7", 1.5, 2**63, [])
RECENT = 50


@frozen
class Wild:
    """An update with its number, and in a word what is wrong with it: nothing, if it may come.

    `slot` is the number by which the server counts it, whatever the update says.
    """

    slot: int
    body: Json
    fault: str = ""


@define
class WildQueue(UpdateQueue):
    """Hands out wild updates as they are, and counts them by their slots."""

    def add(self, wild: Wild) -> None:
        self.push({"update_id": wild.slot, "wild": wild.body})

    def first(self, limit: int) -> list[Json]:
        return [each.get("wild", each) for each in UpdateQueue.first(self, limit)]


@define
class Stream:
    """Makes wild updates, numbered from `slot` on."""

    maker: Maker
    slot: int
    _recent: deque[Wild] = field(factory=lambda: deque(maxlen=RECENT))

    def take(self, count: int) -> Iterator[Wild]:
        """The next `count`, or a few more: an album is not cut short."""
        for _ in range(count):
            yield from self._some()

    def _some(self) -> Iterator[Wild]:
        draw, choice = self.maker.draw, self.maker.draw.random()
        if choice < 0.001:
            yield from (self._next(_item(self.maker, "endless")) for _ in range(ALBUM))
        elif choice < 0.50 or not self._recent:
            yield self._next(self.maker.update())
        elif choice < 0.85:
            yield self._next(*broken(self.maker, self.maker.update()))
        elif choice < 0.90:
            yield self._again(draw.choice(self._recent))
        elif choice < 0.95:
            old = draw.choice(self._recent)
            yield self._again(old, *broken(self.maker, old.body, most=1))
        else:
            number = {"update_id": draw.choice(NUMBERS)}
            yield self._next({**self.maker.update(), **number}, "number")

    def _next(self, body: Json, fault: str = "") -> Wild:
        wild = Wild(self.slot, {"update_id": self.slot, **body}, fault)
        self._recent.append(wild)
        self.slot += 1
        return wild

    def _again(self, old: Wild, body: Json | None = None, fault: str = "") -> Wild:
        """The same number once more, with the same body or another."""
        self.slot += 1
        return Wild(self.slot - 1, old.body if body is None else body, fault or old.fault)


def wild_updates(maker: Maker, count: int, slot: int) -> list[Wild]:
    """About `count` updates, numbered from `slot` on; the same ones for the same seed."""
    return list(Stream(maker, slot).take(count))


def _item(maker: Maker, album: str) -> Json:
    someone = maker.cast.people[0]
    message = {
        "message_id": maker.number(),
        "date": maker.now,
        "chat": {"id": someone, "type": "private"},
        "from": {"id": someone, "is_bot": False, "first_name": "Ada"},
        "media_group_id": album,
        "photo": [{"file_id": album, "file_unique_id": album, "width": 1, "height": 1}],
    }
    return {"message": message}
