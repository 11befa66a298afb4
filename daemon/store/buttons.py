"""Buttons below messages: a row each, so that a press can be held against what was offered.

What the network sends back when a button is pressed names a row and says nothing else. The row is
bound to its chat, and to one person where only they may press it; it is used once, and has an end.
All of that is looked at and changed in the transaction in which the press is acted upon, so of two
presses at once one is too late.
"""

from __future__ import annotations

import secrets
import sqlite3
from enum import Enum
from typing import Final, TypeAlias

from attrs import frozen

from daemon.store.values import Place

BUTTONS = (
    """CREATE TABLE buttons (
        ref TEXT PRIMARY KEY,
        channel TEXT NOT NULL,
        account TEXT NOT NULL,
        chat TEXT NOT NULL,
        topic TEXT NOT NULL DEFAULT '',
        user_id TEXT REFERENCES users (id),   -- NULL: whoever may speak there
        kind TEXT NOT NULL,                -- what a press does, see daemon.chat.buttons
        payload TEXT NOT NULL,
        bundle TEXT,                       -- of those that the press of any one uses up
        state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'used')),
        created_at REAL NOT NULL,
        expires_at REAL NOT NULL
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX buttons_bundle ON buttons (bundle) WHERE bundle IS NOT NULL",
    "CREATE INDEX buttons_past ON buttons (expires_at)",
)

LIFE: Final = 48 * 3600.0  # seconds
# A button that is over is told from one that never was for so long.
KEEP_SECONDS: Final = 7 * 86400.0
REF_BYTES: Final = 16  # nobody guesses one; as text it is a third of what a button may carry


class Denial(Enum):
    """Why a press does nothing."""

    UNKNOWN = "unknown"  # forged, of another chat, or forgotten long ago
    FOREIGN = "foreign"  # somebody else's
    USED = "used"
    EXPIRED = "expired"


@frozen
class Button:
    """A row as it was offered; `place` is where, with the topic."""

    ref: str
    place: Place
    user_id: str | None
    kind: str
    payload: str


Pressed: TypeAlias = Button | Denial


def offer(
    db: sqlite3.Connection,
    place: Place,
    kind: str,
    payload: str,
    now: float,
    user_id: str | None = None,
    group: str | None = None,
    life: float = LIFE,
) -> str:
    """Make a row; returns the name that the button carries.

    Of those with the same `group` one press uses up all. A `life` is in seconds.
    """
    ref = secrets.token_urlsafe(REF_BYTES)
    db.execute(
        "INSERT INTO buttons (ref, channel, account, chat, topic, user_id, kind, payload, bundle,"
        " created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            ref,
            *(place.channel, place.account, place.chat, place.topic),
            user_id,
            kind,
            payload,
            group,
            now,
            now + life,
        ),
    )
    return ref


def offered(db: sqlite3.Connection, place: Place, kind: str, now: float) -> list[str]:
    """The payloads of a chat's buttons of a kind that can be pressed yet."""
    rows = db.execute(
        "SELECT payload FROM buttons WHERE channel = ? AND account = ? AND chat = ? AND kind = ?"
        " AND state = 'open' AND expires_at > ?",
        (place.channel, place.account, place.chat, kind, now),
    )
    return [row[0] for row in rows.fetchall()]


def new_group() -> str:
    """A name for buttons of which one press uses up all."""
    return secrets.token_urlsafe(REF_BYTES)


def press(db: sqlite3.Connection, ref: str, place: Place, user_id: str, now: float) -> Pressed:
    """Use up the button `ref`, and those offered with it, if `user_id` may press it in this chat.

    The topic is not looked at: of an old message the network does not tell it.
    """
    row = db.execute(
        "SELECT ref, channel, account, chat, topic, user_id, kind, payload, bundle, state,"
        " expires_at FROM buttons WHERE ref = ?1 AND channel = ?2 AND account = ?3 AND chat = ?4",
        (ref, place.channel, place.account, place.chat),
    ).fetchone()
    denial = _denial(row, user_id, now)
    if denial is not None:
        return denial
    db.execute(
        "UPDATE buttons SET state = 'used' WHERE ref = ?1 OR (bundle IS NOT NULL AND bundle = ?2)",
        (ref, row["bundle"]),
    )
    return Button(row["ref"], Place(*row[1:5]), row["user_id"], row["kind"], row["payload"])


def _denial(row: sqlite3.Row | None, user_id: str, now: float) -> Denial | None:
    if row is None:
        return Denial.UNKNOWN
    if row["user_id"] not in {None, user_id}:
        return Denial.FOREIGN
    if row["state"] == "used":
        return Denial.USED
    return Denial.EXPIRED if row["expires_at"] <= now else None


def offer_again(db: sqlite3.Connection, ref: str) -> None:
    """Let a button be pressed once more, and those offered with it: this press was not the one."""
    db.execute(
        "UPDATE buttons SET state = 'open' WHERE ref = ?1 OR (bundle IS NOT NULL"
        " AND bundle = (SELECT bundle FROM buttons WHERE ref = ?1))",
        (ref,),
    )


def withdraw(db: sqlite3.Connection, group: str) -> None:
    """Use up buttons that were offered together: what they ask is over."""
    db.execute(
        "UPDATE buttons SET state = 'used' WHERE bundle IS NOT NULL AND bundle = ?", (group,)
    )


def prune(db: sqlite3.Connection, now: float) -> int:
    """Forget what has been over for `KEEP_SECONDS`; returns how many."""
    return db.execute("DELETE FROM buttons WHERE expires_at < ?", (now - KEEP_SECONDS,)).rowcount
