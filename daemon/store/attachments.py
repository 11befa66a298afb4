"""Files that came with messages, on their way from the network into the workspace.

A row is written with its message (`named`), before the first try to fetch it (`wanted`), when its
bytes are in the spool (`spooled`), and ends as `placed` in the workspace or as `failed`. Each try
is counted before it is made, and the name in the workspace is in the row before the file is put
there, so that a run after a crash puts it under the same one. A turn waits for its files by being a
gathering: the transaction that settles the last of them lets it go on, and in any case time does.

What the model is told of a file is appended to its message when the file is settled.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence

from attrs import frozen

from agent.text import clean
from agent.transcript import View
from daemon.store import turnrow, views
from daemon.store.turnrow import TurnRow

ATTACHMENTS = (
    # Nothing was ever put into the table of this name that the first step made.
    "DROP TABLE attachments",
    """CREATE TABLE attachments (
        id INTEGER PRIMARY KEY,
        turn_id INTEGER NOT NULL REFERENCES turns (id),
        message_id INTEGER NOT NULL            -- a message that moves gets another id at once
            REFERENCES messages (id) DEFERRABLE INITIALLY DEFERRED,
        kind TEXT NOT NULL,                    -- photo, document, voice, ...
        file_id TEXT NOT NULL,                 -- the network's, to fetch it by
        name TEXT NOT NULL,                    -- fit for a file, not yet apart from others
        told TEXT NOT NULL,                    -- what it is, in words
        size INTEGER,                          -- as the network says, if it does; then as counted
        state TEXT NOT NULL CHECK (state IN ('named', 'wanted', 'spooled', 'placed', 'failed')),
        file TEXT,                             -- in the spool; NULL: not there (any more)
        path TEXT,                             -- in the workspace; chosen before it is put there
        note TEXT NOT NULL DEFAULT '',         -- what the model is told of it
        error TEXT,
        attempts INTEGER NOT NULL DEFAULT 0,
        not_before REAL NOT NULL DEFAULT 0,
        deadline REAL NOT NULL,                -- no turn waits for it any longer
        created_at REAL NOT NULL
    ) STRICT""",
    """CREATE INDEX attachments_open ON attachments (turn_id)
        WHERE state IN ('named', 'wanted', 'spooled')""",
    "CREATE INDEX attachments_kept ON attachments (file) WHERE file IS NOT NULL",
    "CREATE INDEX attachments_turn ON attachments (turn_id)",
    "CREATE INDEX attachments_message ON attachments (message_id)",
)

# Seconds that a turn waits for a file, all tries together. Longer than the largest file takes on a
# slow line; nobody waits for an answer in a chat much longer than that.
PATIENCE = 600.0
# Runs at a file that brought nothing, before it is given up: one that takes the process down must
# not do so for ever.
MAX_ATTEMPTS = 8
MOST_PENDING = 200  # rows that one look for work brings

UNFETCHED = "[They sent {told}. It could not be fetched: {why}]"
CROWDED = "[It is not shown: this message shows as much as one may already.]"
TOO_LATE = "it took too long"
TOO_OFTEN = "it was tried too often"

_OPEN = "state IN ('named', 'wanted', 'spooled')"
_OPEN_ROWS = f"attachments INDEXED BY attachments_open WHERE {_OPEN}"
# Whether a file waits for its name until one before it in its turn has got one: so the names of an
# album are in its order, whichever of its files comes first.
_BEHIND = (
    "(state = 'spooled' AND path IS NULL AND EXISTS (SELECT 1 FROM attachments AS o"
    " INDEXED BY attachments_open WHERE o.turn_id = attachments.turn_id AND o.id < attachments.id"
    " AND o.path IS NULL AND o.state IN ('named', 'wanted', 'spooled')))"
)
_COLUMNS = (
    "id, turn_id, kind, file_id, name, told, size, state, file, path, attempts, not_before,"
    f" {_BEHIND}"
)


@frozen
class File:
    """A file as a message names it. `told` says in words what it is, with its article.

    `name` is fit for a file: the sender's, or one for its kind. `replied` is the network's number
    of the message that it came with, if that is not the message itself but the one replied to.
    """

    kind: str
    file_id: str
    name: str
    told: str
    size: int | None = None
    unique_id: str = ""
    replied: str = ""


@frozen
class Attachment:
    """A row. `key` is its bytes' name in the spool, `path` its own in the workspace.

    It is `behind` while a file before it has to get its name first.
    """

    id: int
    turn_id: int
    kind: str
    file_id: str
    name: str
    told: str
    size: int | None
    state: str
    key: str | None
    path: str | None
    attempts: int
    not_before: float
    behind: int

    @property
    def over(self) -> bool:
        return self.state in {"placed", "failed"}


@frozen
class Settled:
    """How a file ended: its state, what the model is told and shown, and the error for the log."""

    state: str
    note: str
    error: str | None = None
    shown: tuple[View, ...] = ()


def add(
    db: sqlite3.Connection, turn_id: int, message_id: int, files: Sequence[File], now: float
) -> None:
    """Name the files that came with a message. Their turn must wait, see `turns`."""
    db.executemany(
        "INSERT INTO attachments (turn_id, message_id, kind, file_id, name, told, size, state,"
        " deadline, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, 'named', ?, ?)",
        [(turn_id, message_id, *_of_file(each), now + PATIENCE, now) for each in files],
    )


def _of_file(file: File) -> tuple[str, str, str, str, int | None]:
    return file.kind, file.file_id, file.name, file.told, file.size


def pending(db: sqlite3.Connection, at_work: Collection[int] = ()) -> list[Attachment]:
    """What is not settled, and what is but has a file in the spool; what is due soonest first.

    Those `at_work` and those behind others are not among them: however many they are, they hide
    nobody's.
    """
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM {_OPEN_ROWS} AND id NOT IN (SELECT value FROM json_each(?1))"
        f" AND NOT {_BEHIND}"
        f" UNION SELECT {_COLUMNS} FROM attachments INDEXED BY attachments_kept WHERE file IS NOT"
        f" NULL AND id NOT IN (SELECT value FROM json_each(?1)) AND NOT {_BEHIND}"
        " ORDER BY not_before, id LIMIT ?2",
        (json.dumps(list(at_work)), MOST_PENDING),
    )
    return [Attachment(*row) for row in rows.fetchall()]


def get(db: sqlite3.Connection, attachment_id: int) -> Attachment:
    row = db.execute(f"SELECT {_COLUMNS} FROM attachments WHERE id = ?", (attachment_id,))
    return Attachment(*row.fetchone())


def begin(db: sqlite3.Connection, attachment_id: int) -> Attachment:
    """Count a try before it is made; the row as it then stands, which may be over."""
    db.execute(
        "UPDATE attachments SET attempts = attempts + 1, error = NULL,"
        " state = CASE state WHEN 'named' THEN 'wanted' ELSE state END"
        f" WHERE id = ? AND {_OPEN}",
        (attachment_id,),
    )
    return get(db, attachment_id)


def postpone(db: sqlite3.Connection, attachment_id: int, until: float, error: str) -> None:
    """The try brought nothing; the next one is due `until` then."""
    db.execute(
        f"UPDATE attachments SET not_before = ?, error = ? WHERE id = ? AND {_OPEN}",
        (until, error, attachment_id),
    )


def spooled(db: sqlite3.Connection, attachment_id: int, key: str, size: int) -> bool:
    """The bytes are in the spool. False if nobody waits for them any more."""
    kept = db.execute(
        "UPDATE attachments SET state = 'spooled', file = ?, size = ?, attempts = 0"
        " WHERE id = ? AND state = 'wanted'",
        (key, size, attachment_id),
    )
    return bool(kept.rowcount)


def choose(db: sqlite3.Connection, attachment_id: int, path: str) -> bool:
    """Take a name in the workspace, before the file is put there.

    False if another file that is on its way there may have it.
    """
    chosen = db.execute(
        "UPDATE attachments SET path = ?1 WHERE id = ?2 AND state = 'spooled' AND NOT EXISTS"
        f" (SELECT 1 FROM (SELECT turn_id FROM {_OPEN_ROWS} AND path = ?1 AND id <> ?2) AS o"
        " JOIN turns AS t ON t.id = o.turn_id JOIN sessions AS s ON s.id = t.session_id"
        " JOIN turns AS mine ON mine.id = attachments.turn_id"
        " JOIN sessions AS home ON home.id = mine.session_id"
        " WHERE (s.agent_id, s.account, s.chat) = (home.agent_id, home.account, home.chat))",
        (path, attachment_id),
    )
    return bool(chosen.rowcount)


def settle(
    db: sqlite3.Connection, attachment_id: int, settled: Settled, now: float
) -> TurnRow | None:
    """End a file's way, tell the model, and let the turn go on if this was the last.

    The turn, if anything about its waiting has changed. What the turn may not show is not shown.
    """
    ended = db.execute(
        f"UPDATE attachments SET state = ?, note = ?, error = ? WHERE id = ? AND {_OPEN}"
        " RETURNING turn_id, message_id",
        (settled.state, clean(settled.note), settled.error, attachment_id),
    ).fetchone()
    if ended is None:
        return None
    turn_id, message_id = ended
    _tell(db, message_id, clean(settled.note))
    if settled.shown and turnrow.get(db, turn_id).state != "ended":
        _show(db, (attachment_id, turn_id, message_id), settled.shown)
    return _release(db, turn_id, now)


def _tell(db: sqlite3.Connection, message_id: int, note: str) -> None:
    db.execute(
        "UPDATE messages SET content = CASE content WHEN '' THEN ?1"
        " ELSE content || char(10) || ?1 END WHERE id = ?2",
        (note, message_id),
    )


def _show(db: sqlite3.Connection, ids: tuple[int, int, int], shown: Sequence[View]) -> None:
    """Let the view have the file in the spool, which it keeps until the turn has ended."""
    attachment_id, turn_id, message_id = ids
    if not views.fit(db, turn_id, shown):
        _tell(db, message_id, CROWDED)
        return
    views.add(db, message_id, shown)
    db.execute("UPDATE attachments SET file = NULL WHERE id = ?", (attachment_id,))


def _release(db: sqlite3.Connection, turn_id: int, now: float) -> TurnRow | None:
    """Let a turn go on that has waited for its files; None if it waits for more, or for others."""
    waits = db.execute(
        "SELECT gather_key FROM turns WHERE id = ? AND state = 'waiting'"
        " AND waiting_for = 'gathering'",
        (turn_id,),
    ).fetchone()
    if waits is None or until(db, turn_id) is not None:
        return None
    (last,) = db.execute(
        "SELECT max(created_at) FROM attachments WHERE turn_id = ?", (turn_id,)
    ).fetchone()
    closes = last + turnrow.GATHER_SECONDS
    longest = turnrow.LATE_SECONDS + turnrow.GATHER_SECONDS
    if waits[0] is not None and now < closes <= now + longest:
        turnrow.extend_gathering(db, turn_id, closes)  # more of the album may be on its way
    else:
        turnrow.make_ready(db, turn_id)
    return turnrow.get(db, turn_id)


def unfetched(told: str, why: str) -> Settled:
    """The end of a file of which there are no bytes."""
    return Settled("failed", UNFETCHED.format(told=told, why=why), why)


# --- Waiting ---


def until(db: sqlite3.Connection, turn_id: int) -> float | None:
    """The time until which a turn may have to wait for its files; None if all are settled."""
    (latest,) = db.execute(
        f"SELECT max(deadline) FROM {_OPEN_ROWS} AND turn_id = ?", (turn_id,)
    ).fetchone()
    return None if latest is None else float(latest)


def give_up(db: sqlite3.Connection, turn_id: int, now: float) -> None:
    """Settle the files of a turn that has waited long enough."""
    rows = db.execute(f"SELECT id, told FROM {_OPEN_ROWS} AND turn_id = ?", (turn_id,)).fetchall()
    for attachment_id, told in rows:
        settle(db, attachment_id, unfetched(told, TOO_LATE), now)


def renew(db: sqlite3.Connection, now: float) -> None:
    """Let the wait for files begin anew: nobody fetched them while no process ran.

    Nor did the rest of their albums come, see `turnrow.gather_again`.
    """
    db.execute(
        "UPDATE attachments INDEXED BY attachments_open SET deadline = ?, not_before = 0,"
        f" created_at = ? WHERE {_OPEN}",
        (now + PATIENCE, now + turnrow.LATE_SECONDS),
    )


# --- What moves and what remains ---


def paths(db: sqlite3.Connection, message_id: int) -> list[str]:
    """Where the files of a message lie in the workspace."""
    rows = db.execute(
        "SELECT path FROM attachments WHERE message_id = ? AND state = 'placed' ORDER BY id",
        (message_id,),
    )
    return [row[0] for row in rows.fetchall()]


def notes(db: sqlite3.Connection, message_id: int) -> list[str]:
    """What the model was told of the files of a message, in order."""
    rows = db.execute(
        "SELECT note FROM attachments WHERE message_id = ? AND note <> '' ORDER BY id",
        (message_id,),
    )
    return [row[0] for row in rows.fetchall()]


def follow(db: sqlite3.Connection, turn_id: int, old: Sequence[int], new: Sequence[int]) -> None:
    """Messages have got new ids, none smaller than its old one, and perhaps another turn."""
    moves = [(n, turn_id, o) for o, n in zip(old, new, strict=True)]
    db.executemany(
        "UPDATE attachments SET message_id = ?, turn_id = ? WHERE message_id = ?", reversed(moves)
    )


def files(db: sqlite3.Connection) -> set[str]:
    """The spool's files that rows name."""
    rows = db.execute(
        "SELECT file FROM attachments INDEXED BY attachments_kept WHERE file IS NOT NULL"
    )
    return {row[0] for row in rows.fetchall()}


def forget(db: sqlite3.Connection, key: str) -> None:
    """The file is gone from the spool."""
    db.execute("UPDATE attachments SET file = NULL WHERE file = ?", (key,))
