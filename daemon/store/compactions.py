"""Summaries that stand for the older part of a conversation, and what is pending about them.

A summary represents every turn of its session's lane up to `through_turn`, those of the summary
before it included, so the newest one that lies before a turn is all that the turn needs. /new and
trimming put it out of mind with the turns that it stands for: one that does not reach the oldest
turn that is still in context is not used.
"""

from __future__ import annotations

import sqlite3
import sys

from attrs import frozen


@frozen
class Summary:
    """The newest summary; `id` and `through_turn` are 0 and the text empty where there is none."""

    id: int = 0
    through_turn: int = 0
    text: str = ""
    tokens_after: int = 0


NONE = Summary()


@frozen
class Pending:
    """What is known about the next summary of a session.

    `conversation` is its `fresh_after`, `oldest` the first turn that may be in context.
    """

    session_id: str
    conversation: int
    oldest: int
    wanted: bool
    failures: int
    not_before: float
    told_done: bool
    told_failed: bool


@frozen
class New:
    """A summary to be kept: of which session, through which turn, taking in how many."""

    session_id: str
    through_turn: int
    turns: int
    text: str
    model_call: int
    tokens_before: int
    tokens_after: int


def before(db: sqlite3.Connection, session_id: str, turn_id: int, oldest: int) -> Summary:
    """The summary that stands at the beginning of what the turn is shown.

    `oldest` is the first turn that /new and trimming have left in context.
    """
    row = db.execute(
        "SELECT id, through_turn, summary, tokens_after FROM compactions WHERE session_id = ?"
        " AND through_turn < ? AND through_turn >= ? ORDER BY through_turn DESC LIMIT 1",
        (session_id, turn_id, oldest),
    ).fetchone()
    return Summary() if row is None else Summary(*row)


def latest(db: sqlite3.Connection, session_id: str, oldest: int) -> Summary:
    """The summary that a session's next turn begins with."""
    return before(db, session_id, sys.maxsize, oldest)


def ratio(db: sqlite3.Connection, session_id: str) -> float:
    """Tokens of the session's last counted prompt for each that had been estimated.

    What pictures take is no matter of letters, so turns that have shown some say nothing here.
    """
    row = db.execute(
        "SELECT c.prompt_tokens, c.reserved_tokens - c.answer_tokens FROM turns AS t"
        " JOIN model_calls AS c ON c.turn_id = t.id WHERE t.lane = ?"
        " AND c.state = 'done' AND NOT EXISTS (SELECT 1 FROM views WHERE turn_id = t.id)"
        " ORDER BY t.id DESC, c.id DESC LIMIT 1",
        (session_id,),
    ).fetchone()
    return row[0] / row[1] if row is not None and row[0] and row[1] else 1.0


def context_tokens(db: sqlite3.Connection, session_id: str, summary: Summary) -> int:
    """How large the session's context is: the last prompt with its answer, as they were counted.

    Without what the turn has shown, which is not shown again. Where a summary came after that, it
    is what was estimated then.
    """
    row = db.execute(
        "SELECT max(0, c.prompt_tokens - coalesce("
        "(SELECT sum(tokens) FROM views WHERE turn_id = t.id), 0)) + c.completion_tokens, c.id <"
        " (SELECT coalesce(max(model_call_id), 0) FROM compactions WHERE id = ?1) FROM turns AS t"
        " JOIN model_calls AS c ON c.turn_id = t.id WHERE t.lane = ?2"
        " AND c.state = 'done' AND c.purpose = 'turn' ORDER BY t.id DESC, c.id DESC LIMIT 1",
        (summary.id, session_id),
    ).fetchone()
    if row is None:
        return 0
    return summary.tokens_after if row[1] else int(row[0])


def keep(db: sqlite3.Connection, new: New, now: float) -> None:
    """Let the summary stand for its turns from now on, and forget earlier failures."""
    db.execute(
        "INSERT INTO compactions (session_id, through_turn, turns, summary, model_call_id,"
        " tokens_before, tokens_after, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            new.session_id,
            new.through_turn,
            new.turns,
            new.text,
            new.model_call,
            new.tokens_before,
            new.tokens_after,
            now,
        ),
    )
    db.execute(
        "UPDATE compacting SET failures = 0, not_before = 0 WHERE session_id = ?",
        (new.session_id,),
    )


# --- What is pending ---


def pending(db: sqlite3.Connection, session_id: str) -> Pending:
    row = db.execute(
        "SELECT s.id, s.fresh_after, max(s.fresh_after + 1, s.trimmed_before),"
        " c.wanted_at IS NOT NULL, coalesce(c.failures, 0),"
        " coalesce(c.not_before, 0.0), c.told_done IS s.fresh_after,"
        " c.told_failed IS s.fresh_after FROM sessions AS s"
        " LEFT JOIN compacting AS c ON c.session_id = s.id WHERE s.id = ?",
        (session_id,),
    ).fetchone()
    name, conversation, oldest, wanted, failures, not_before, done, failed = row
    state = bool(wanted), failures, not_before, bool(done), bool(failed)
    return Pending(name, conversation, oldest, *state)


def want(db: sqlite3.Connection, session_id: str, now: float) -> None:
    """Somebody asks for a summary, now."""
    db.execute(
        "INSERT INTO compacting (session_id, wanted_at) VALUES (?, ?)"
        " ON CONFLICT DO UPDATE SET wanted_at = excluded.wanted_at",
        (session_id, now),
    )


def wanted(db: sqlite3.Connection) -> list[str]:
    """The sessions where somebody has asked for a summary and has had no answer."""
    rows = db.execute(
        "SELECT session_id FROM compacting INDEXED BY compacting_wanted WHERE wanted_at IS NOT NULL"
    ).fetchall()
    return [str(row[0]) for row in rows]


def answered(db: sqlite3.Connection, session_id: str) -> None:
    """Who asked for a summary is being told what became of it."""
    db.execute("UPDATE compacting SET wanted_at = NULL WHERE session_id = ?", (session_id,))


def note_failure(db: sqlite3.Connection, session_id: str, not_before: float) -> None:
    """Count a failure; until `not_before` (Unix) nobody tries again by himself."""
    db.execute(
        "INSERT INTO compacting (session_id, failures, not_before) VALUES (?, 1, ?) ON CONFLICT"
        " DO UPDATE SET failures = failures + 1, not_before = excluded.not_before",
        (session_id, not_before),
    )


def told(db: sqlite3.Connection, session_id: str, conversation: int, *, done: bool) -> None:
    """The conversation has been told of its first summary, or of a failure."""
    column = "told_done" if done else "told_failed"
    db.execute(
        f"INSERT INTO compacting (session_id, {column}) VALUES (?, ?)"
        f" ON CONFLICT DO UPDATE SET {column} = excluded.{column}",
        (session_id, conversation),
    )
