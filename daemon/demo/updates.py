"""The updates that wait for the bot, and the rules of getUpdates.

As on the official server: updates are numbered from a random start; one is forgotten when a call
asks for a higher offset; a negative offset counts from the end and forgets the rest; an offset too
far in the future is ignored; kinds that `allowed_updates` leaves out are never queued. Asking for
the same offset again in a hurry is slowed down. No I/O and no clock here: the long poll itself, and
the 409 for the older of two polls, are in `polling`.
"""

from __future__ import annotations

import random
from typing import Any

from attrs import define, field

MAX_LIMIT = 100
MAX_TIMEOUT = 50

# An offset further than this past the newest update is taken for a mistake.
FUTURE = 10

# Asking again for the same offset within these many seconds gets one update, or waits longer.
HURRY_SECONDS = 0.5
PACE_SECONDS = 3.0

# Sent only to a bot that names them in `allowed_updates`.
NOT_BY_DEFAULT = frozenset({"chat_member", "message_reaction", "message_reaction_count"})


@define
class UpdateQueue:
    """The updates that are not confirmed yet, oldest first, and what was asked last."""

    next_id: int = field(factory=lambda: random.randrange(100_000_000, 900_000_000))  # noqa: S311
    allowed: tuple[str, ...] = ()
    confirmed: int = 0
    _waiting: list[dict[str, Any]] = field(factory=list)
    _last_offset: int | None = None
    _last_at: float = 0.0

    def allows(self, kind: str) -> bool:
        """Whether updates of this kind are queued for the bot."""
        return kind in self.allowed if self.allowed else kind not in NOT_BY_DEFAULT

    def push(self, update: dict[str, Any]) -> int:
        """Queue an update, numbering it unless it has a number. Returns its number."""
        update_id = int(update.get("update_id", self.next_id))
        self._waiting.append({"update_id": update_id, **update})
        self.next_id = update_id + 1
        return update_id

    def restart_ids(self, next_id: int) -> None:
        """Number on from here, as after a week without updates."""
        self.next_id = next_id

    def __len__(self) -> int:
        return len(self._waiting)

    def forget_all(self) -> None:
        """Drop everything that waits, as deleteWebhook(drop_pending_updates) does."""
        self._waiting.clear()

    def paced(self, offset: int, limit: int, timeout: int, now: float) -> tuple[int, int]:
        """Give the limit and timeout that hold for this call, and note it for the next."""
        limit = limit if 1 <= limit <= MAX_LIMIT else MAX_LIMIT
        timeout = max(0, min(timeout, MAX_TIMEOUT))
        since = now - self._last_at
        if offset == self._last_offset:
            limit = 1 if since < HURRY_SECONDS else limit
            timeout = max(timeout, int(PACE_SECONDS)) if since < PACE_SECONDS else timeout
        self._last_offset, self._last_at = offset, now
        return limit, timeout

    def confirm(self, offset: int) -> None:
        """Forget what the offset says was received."""
        if offset < 0:
            self.confirmed += max(0, len(self._waiting) + offset)
            self._waiting = self._waiting[offset:]
        elif offset <= self.next_id + FUTURE:
            kept = [update for update in self._waiting if update["update_id"] >= offset]
            self.confirmed += len(self._waiting) - len(kept)
            self._waiting = kept

    def first(self, limit: int) -> list[dict[str, Any]]:
        """Give the oldest updates; they stay until they are confirmed."""
        return self._waiting[:limit]
