"""How often a chat may be shown something that is not an answer yet: pure, time as an argument.

Telegram lets a bot send about one message a second to a chat and 20 a minute to a group, and counts
edits and drafts among them. Answers are never held back for that (Telegram says itself when it is
too much); previews keep below it by a distance, so that the answers find room.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from attrs import Factory, define

from daemon.store.outbox import Destination

PRIVATE_GAP: Final = 1.0  # seconds between a preview and whatever was sent before
GROUP_GAP: Final = 3.0
MINUTE: Final = 60.0
# Of the 20 that a group takes in a minute; the others are for answers.
GROUP_PREVIEWS: Final = 15
MANY: Final = 1000  # chats whose last minute is remembered; more are looked through for old ones


def is_private(to: Destination) -> bool:
    """Whether a chat is a person's: groups and channels have negative ids."""
    return to.chat.isdecimal()


@define
class Pace:
    """When each chat was last sent something."""

    _sent: dict[Destination, deque[float]] = Factory(dict)

    def note(self, to: Destination, now: float) -> None:
        """Something was sent to a chat, a preview or not."""
        if len(self._sent) >= MANY:
            self._forget(now)
        self._sent.setdefault(to, deque(maxlen=GROUP_PREVIEWS)).append(now)

    def open_at(self, to: Destination) -> float:
        """From when on a chat takes another preview."""
        sent = self._sent.get(to)
        if not sent:
            return 0.0
        if is_private(to):
            return sent[-1] + PRIVATE_GAP
        after_many = sent[0] + MINUTE if len(sent) == GROUP_PREVIEWS else 0.0
        return max(sent[-1] + GROUP_GAP, after_many)

    def _forget(self, now: float) -> None:
        old = [to for to, sent in self._sent.items() if sent[-1] + MINUTE < now]
        for to in old:
            del self._sent[to]
