"""What a turn's model is shown besides text: one row a picture or document, beside its message.

The bytes are in the spool while the turn is open, so that a run after a crash shows the same; what
the file in the workspace holds by then is no matter. The message may be the result of a tool or a
person's. Rows stay, since they tell what the tokens of the turn's calls were.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence

from agent.sight import MOST_IN_A_TURN
from agent.transcript import View

VIEWS = (
    """CREATE TABLE views (
        id INTEGER PRIMARY KEY,
        turn_id INTEGER NOT NULL REFERENCES turns (id),
        message_id INTEGER NOT NULL            -- a message that moves gets another id at once
            REFERENCES messages (id) DEFERRABLE INITIALLY DEFERRED,
        name TEXT NOT NULL,
        media TEXT NOT NULL,                   -- type of the bytes, such as image/png
        measure TEXT NOT NULL,                 -- in words
        tokens INTEGER NOT NULL,               -- of a request, at most
        size INTEGER NOT NULL,
        file TEXT                              -- in the spool; NULL: the turn has ended
    ) STRICT""",
    "CREATE INDEX views_turn ON views (turn_id)",
    "CREATE INDEX views_message ON views (message_id)",
    "CREATE INDEX views_kept ON views (file) WHERE file IS NOT NULL",
)


def fit(db: sqlite3.Connection, turn_id: int, views: Iterable[View]) -> bool:
    """Whether a turn may show these, too, and still make requests that providers take."""
    (before,) = db.execute(
        "SELECT coalesce(sum(size), 0) FROM views WHERE turn_id = ?", (turn_id,)
    ).fetchone()
    return int(before) + sum(len(view.data) for view in views) <= MOST_IN_A_TURN


def add_to_result(db: sqlite3.Connection, call_id: int, views: Iterable[View]) -> None:
    """Put views beside the result of a call."""
    (message_id,) = db.execute(
        "SELECT id FROM messages WHERE tool_call_id = ?", (call_id,)
    ).fetchone()
    add(db, message_id, views)


def add(db: sqlite3.Connection, message_id: int, views: Iterable[View]) -> None:
    """Put views, whose bytes are in the spool, beside a message."""
    db.executemany(
        "INSERT INTO views (turn_id, message_id, name, media, measure, tokens, size, file)"
        " SELECT turn_id, id, ?, ?, ?, ?, ?, ? FROM messages WHERE id = ?",
        [
            (each.name, each.media, each.measure, each.tokens, len(each.data), each.key, message_id)
            for each in views
        ],
    )


def of_turn(db: sqlite3.Connection, turn_id: int) -> dict[int, tuple[View, ...]]:
    """What an open turn shows, by message; the bytes are only named."""
    rows = db.execute(
        "SELECT message_id, name, media, measure, tokens, file FROM views"
        " WHERE turn_id = ? AND file IS NOT NULL ORDER BY id",
        (turn_id,),
    ).fetchall()
    found: dict[int, tuple[View, ...]] = {}
    for message_id, name, media, measure, tokens, key in rows:
        view = View(name, media, measure, tokens, key=key)
        found[message_id] = (*found.get(message_id, ()), view)
    return found


def follow(db: sqlite3.Connection, turn_id: int, old: Sequence[int], new: Sequence[int]) -> None:
    """Messages have got new ids, none smaller than its old one, and perhaps another turn."""
    moves = [(n, turn_id, o) for o, n in zip(old, new, strict=True)]
    db.executemany(
        "UPDATE views SET message_id = ?, turn_id = ? WHERE message_id = ?", reversed(moves)
    )


# --- Files ---


def files(db: sqlite3.Connection) -> set[str]:
    """The spool's files that open turns show."""
    return _files(db, "<> 'ended'")


def over(db: sqlite3.Connection) -> set[str]:
    """Those that nobody shows any more."""
    return _files(db, "= 'ended'")


def _files(db: sqlite3.Connection, state: str) -> set[str]:
    rows = db.execute(
        "SELECT v.file FROM views AS v INDEXED BY views_kept JOIN turns AS t ON t.id = v.turn_id"
        f" WHERE v.file IS NOT NULL AND t.state {state}"
    ).fetchall()
    return {row[0] for row in rows}


def forget(db: sqlite3.Connection, removed: Collection[str]) -> None:
    """These files are gone."""
    db.executemany("UPDATE views SET file = NULL WHERE file = ?", [(key,) for key in removed])
