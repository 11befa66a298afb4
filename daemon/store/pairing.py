"""Pairing: a stranger gets a code, and the owner lets in who has shown it. All in transactions.

A code is told to its bearer once and is worth nothing by itself: only the owner's word makes
something of it. Wrong ones are counted against every code that is open, since nobody can say which
was meant.
"""

from __future__ import annotations

import hmac
import secrets
import sqlite3

from attrs import frozen

from daemon.store import admission, people
from daemon.store.values import Place

# No letters or digits that are taken for one another, read aloud or written down.
ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
LENGTH = 8  # 39 bits
HOLDS = 3600.0  # seconds
TRIES = 3
MOST_OPEN = 5
# How long somebody who was refused gets no other code.
REFUSED_FOR = 7 * 86400.0
KEEP_SECONDS = 30 * 86400.0


@frozen
class Pairing:
    """A code that is open, and whose it is."""

    id: int
    place: Place  # their private chat
    name: str
    code: str

    @property
    def whose(self) -> tuple[str, str, str]:
        return self.place.channel, self.place.account, self.place.chat

    @property
    def shown(self) -> str:
        return f"{self.code[:4]}-{self.code[4:]}"


_COLUMNS = "id, channel, account, external_id, name, code"


def knock(db: sqlite3.Connection, place: Place, name: str, now: float) -> Pairing | None:
    """Give a code to the person of a private chat.

    None, and nothing is said, if they have had one within the hour, were refused lately, or if
    enough others wait.
    """
    lapse(db, now)
    if _had_one(db, place, now) or len(_open(db, place.channel, place.account)) >= MOST_OPEN:
        return None
    row = db.execute(
        "INSERT INTO pairings (channel, account, external_id, name, code, created_at)"
        f" VALUES (?, ?, ?, ?, ?, ?) RETURNING {_COLUMNS}",
        (place.channel, place.account, place.chat, name, new_code(), now),
    ).fetchone()
    return _pairing(row)


def new_code() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def _had_one(db: sqlite3.Connection, place: Place, now: float) -> bool:
    """Times that lie ahead are from before a change of the clock, and hold nobody up."""
    row = db.execute(
        "SELECT 1 FROM pairings INDEXED BY pairings_person WHERE channel = ? AND account = ?"
        " AND external_id = ? AND created_at <= ?4 AND (created_at > ?4 - ?5"
        " OR state = 'refused' AND decided_at > ?4 - ?6) LIMIT 1",
        (place.channel, place.account, place.chat, now, HOLDS, REFUSED_FOR),
    ).fetchone()
    return row is not None


def lapse(db: sqlite3.Connection, now: float) -> None:
    """End what is over, and forget what nobody can ask about any more."""
    db.execute(
        "UPDATE pairings SET state = 'lapsed', decided_at = ?1 WHERE state = 'open'"
        " AND (created_at <= ?1 - ?2 OR created_at > ?1 + ?2)",
        (now, HOLDS),
    )
    db.execute(
        "DELETE FROM pairings WHERE state <> 'open' AND created_at < ?", (now - KEEP_SECONDS,)
    )


def waiting(db: sqlite3.Connection, channel: str, account: str, now: float) -> list[Pairing]:
    """The codes that are open at `now`, the oldest first."""
    lapse(db, now)
    return _open(db, channel, account)


def _open(db: sqlite3.Connection, channel: str, account: str) -> list[Pairing]:
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM pairings INDEXED BY pairings_open WHERE state = 'open'"
        " AND channel = ? AND account = ? ORDER BY id",
        (channel, account),
    )
    return [_pairing(row) for row in rows.fetchall()]


def _pairing(row: sqlite3.Row) -> Pairing:
    place = Place(row["channel"], row["account"], row["external_id"])
    return Pairing(row["id"], place, row["name"], row["code"])


def by_code(
    db: sqlite3.Connection, channel: str, account: str, code: str, now: float
) -> Pairing | None:
    """The open pairing with this code, however it is written. One that is wrong is counted."""
    found = waiting(db, channel, account, now)
    meant = "".join(char for char in code.upper() if char not in " -").encode(errors="replace")
    # All are compared, and each to its end, so that the time taken tells nothing.
    same = [each for each in found if hmac.compare_digest(each.code.encode(), meant)]
    if same:
        return same[0]
    db.execute(
        "UPDATE pairings SET tries = tries + 1, state = CASE WHEN tries + 1 >= ?1 THEN 'spent'"
        " ELSE state END, decided_at = CASE WHEN tries + 1 >= ?1 THEN ?2 ELSE decided_at END"
        " WHERE state = 'open' AND channel = ?3 AND account = ?4",
        (TRIES, now, channel, account),
    )
    return None


def by_id(db: sqlite3.Connection, pairing_id: int, now: float) -> Pairing | None:
    """The pairing if it is open still."""
    lapse(db, now)
    row = db.execute(
        f"SELECT {_COLUMNS} FROM pairings WHERE state = 'open' AND id = ?", (pairing_id,)
    ).fetchone()
    return None if row is None else _pairing(row)


def grant(db: sqlite3.Connection, pairing: Pairing, role: str, now: float) -> None:
    """Let the person in as `role`."""
    _decide(db, pairing, "granted", now)
    admission.let_in(db, pairing.whose, role, now)
    user = people.ensure_user(
        db, pairing.place.channel, pairing.place.chat, pairing.name, now, role
    )
    people.set_role(db, user, role)


def refuse(db: sqlite3.Connection, pairing: Pairing, now: float) -> None:
    _decide(db, pairing, "refused", now)


def _decide(db: sqlite3.Connection, pairing: Pairing, state: str, now: float) -> None:
    db.execute(
        "UPDATE pairings SET state = ?, decided_at = ? WHERE id = ? AND state = 'open'",
        (state, now, pairing.id),
    )
