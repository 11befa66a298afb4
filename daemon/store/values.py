"""Small values that every table group shares: places and the names of rows."""

from __future__ import annotations

import secrets
from typing import TypeAlias

from attrs import frozen

# Crockford's alphabet: no letter that a person reading an id aloud could take for another.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
REF_LENGTH = 8  # 40 random bits; refs are unique columns, and are never a proof of anything

# Where memory belongs, an agent in a chat: (agent_id, channel, account, chat).
Home: TypeAlias = tuple[str, str, str, str]


@frozen
class Place:
    """Where in which chat network: see the conventions of `daemon.store.schema`."""

    channel: str
    account: str
    chat: str
    topic: str = ""

    @property
    def in_group(self) -> bool:
        """Whether several people may speak there: Telegram's groups have negative ids."""
        return self.channel == "telegram" and self.chat.startswith("-")


@frozen
class Claim:
    """Which turn is stepped, by which boot, and whether this run has claimed it yet.

    `seen` is the last message that the run has read. Text that came after it (the forward that
    belongs to a comment) must be read first, so the claim fails.
    """

    turn_id: int
    boot: str
    first: bool
    seen: int


@frozen
class Address:
    """Where a turn's answer goes, what it answers, and who pays."""

    place: Place
    agent_id: str
    payer_id: str | None
    ref: str
    about: str
    asked_at: float
    kept_workspace: str | None = None  # of a chat that has moved and taken its files along
    reply_to: str | None = None  # the message that is shown as what is answered

    @property
    def home(self) -> Home:
        """What notes and memory are kept under: all topics and people of the chat share them."""
        return self.agent_id, self.place.channel, self.place.account, self.place.chat

    @property
    def workspace(self) -> str:
        """The executor's name for the files of the home."""
        return self.kept_workspace or workspace_key(self.agent_id, self.place)


def workspace_key(agent_id: str, place: Place) -> str:
    """The executor's name for the files of an agent in a chat, as far as the chat never moved."""
    return f"{agent_id}-{place.account}-{place.chat}"


def new_ref() -> str:
    """A random name for a row that a person may see, such as the id beside an error."""
    bits = secrets.randbits(5 * REF_LENGTH)  # at once: a system call each is half of an insert
    return "".join(_ALPHABET[bits >> shift & 31] for shift in range(0, 5 * REF_LENGTH, 5))
