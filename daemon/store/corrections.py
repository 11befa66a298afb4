"""Messages that their people have edited: which of them may still be read anew, and how."""

from __future__ import annotations

import sqlite3

from daemon.store import turns
from daemon.store.turnrow import TurnRow, add_user_message


def is_untouched(db: sqlite3.Connection, turn_id: int) -> bool:
    """Whether a turn has not begun: nothing was answered in it, and no run has claimed it."""
    row = db.execute(
        "SELECT 1 FROM turns WHERE id = ? AND (state = 'ready' OR waiting_for = 'gathering')"
        " AND NOT EXISTS (SELECT 1 FROM messages WHERE turn_id = turns.id AND role <> 'user')",
        (turn_id,),
    ).fetchone()
    return row is not None


def is_last(db: sqlite3.Connection, turn: TurnRow) -> bool:
    """Whether a turn is the last of its session's conversation, which is not begun again since."""
    row = db.execute(
        "SELECT 1 FROM sessions WHERE id = ? AND fresh_after < ?", (turn.session_id, turn.id)
    ).fetchone()
    return row is not None and turns.newest(db, turn.session_id) == turn.id


def reword(db: sqlite3.Connection, turn_id: int, message_id: int, text: str) -> int:
    """Give a message of a turn that has not begun other words; returns its new id.

    What came after it gets new ids, too: a run that has read the old words must not claim the
    turn.
    """
    rows = db.execute(
        "SELECT id, content, created_at FROM messages WHERE turn_id = ? AND id >= ? ORDER BY id",
        (turn_id, message_id),
    ).fetchall()
    old = [row[0] for row in rows]
    texts = [text if row[0] == message_id else row[1] for row in rows]
    times = [row[2] for row in rows]
    new = [add_user_message(db, turn_id, *each) for each in zip(texts, times, strict=True)]
    turns.follow(db, turn_id, old, new)
    db.executemany("DELETE FROM messages WHERE id = ?", [(each,) for each in old])
    return new[0]
