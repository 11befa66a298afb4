"""What model calls take: a row per call, and each user's use per day.

What a call may take is reserved with its intent, and what it took is settled with its outcome, so
that a budget can be held against calls that are still under way. A call whose outcome is unknown
(we were killed, or the turn was stopped) gives its reservation back; what it cost, only the
provider knows.
"""

from __future__ import annotations

import datetime as dt
import sqlite3

from agent.transcript import Answer
from daemon.store.values import Address, Claim


def intend(
    db: sqlite3.Connection,
    claim: Claim,
    address: Address,
    model: str,
    reserved_tokens: int,
    now: float,
) -> int:
    """Record that a model is about to be asked; returns the call's id."""
    if address.payer_id is not None:
        db.execute(
            "INSERT INTO usage (user_id, day, reserved_tokens) VALUES (?, ?, ?) ON CONFLICT"
            " DO UPDATE SET reserved_tokens = reserved_tokens + excluded.reserved_tokens",
            (address.payer_id, _day(now), reserved_tokens),
        )
    (call_id,) = db.execute(
        "INSERT INTO model_calls (turn_id, user_id, agent_id, model, state, boot,"
        " reserved_tokens, started_at) VALUES (?, ?, ?, ?, 'running', ?, ?, ?) RETURNING id",
        (
            claim.turn_id,
            address.payer_id,
            address.agent_id,
            model,
            claim.boot,
            reserved_tokens,
            now,
        ),
    ).fetchone()
    return int(call_id)


def settle(
    db: sqlite3.Connection, call_id: int, answer: Answer | None, error: str | None, now: float
) -> None:
    """Record how a model call ended, and turn what was reserved for it into what it took."""
    used = answer.usage if answer is not None else None
    row = db.execute(
        "UPDATE model_calls SET state = ?, prompt_tokens = ?, cached_tokens = ?,"
        " completion_tokens = ?, error = ?, ended_at = ? WHERE id = ? AND state = 'running'"
        " RETURNING user_id, reserved_tokens, started_at",
        (
            "done" if used else "failed",
            used.prompt_tokens if used else None,
            used.cached_tokens if used else None,
            used.completion_tokens if used else None,
            error,
            now,
            call_id,
        ),
    ).fetchone()
    if row is None or row["user_id"] is None:
        return
    db.execute(
        "UPDATE usage SET calls = calls + 1, reserved_tokens = reserved_tokens - ?,"
        " prompt_tokens = prompt_tokens + ?, completion_tokens = completion_tokens + ?"
        " WHERE user_id = ? AND day = ?",
        (
            row["reserved_tokens"],
            used.prompt_tokens if used else 0,
            used.completion_tokens if used else 0,
            row["user_id"],
            _day(row["started_at"]),
        ),
    )


def abandon(db: sqlite3.Connection, reason: str, now: float, *, turn_id: int | None = None) -> None:
    """Close the calls that are under way, of one turn or of all; what they took is not known."""
    rows = db.execute(
        "SELECT id FROM model_calls WHERE state = 'running' AND turn_id = coalesce(?, turn_id)",
        (turn_id,),
    ).fetchall()
    for (call_id,) in rows:
        settle(db, call_id, None, reason, now)
        db.execute("UPDATE model_calls SET state = 'unknown' WHERE id = ?", (call_id,))


def _day(now: float) -> str:
    return f"{dt.datetime.fromtimestamp(now, dt.UTC):%Y-%m-%d}"
