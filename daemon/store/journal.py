"""The steps of a running turn, as rows: answers, tool calls, results.

Each function is one step and begins by making sure that the turn is still ours to step
(`hold`). The first step of a run claims the turn; a turn that was stopped or ended meanwhile makes
every later step raise `NotOurs`, and nothing is written.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from attrs import frozen

from agent.text import clean
from agent.transcript import (
    Answer,
    Assistant,
    CallRequest,
    CallState,
    Entry,
    ToolCall,
    ToolResult,
    User,
)
from daemon.store.values import Address, Claim, Place

# Whole turns of history that are read; `agent.context` keeps of them what fits a model.
HISTORY_TURNS = 60


class NotOurs(Exception):
    """The turn is not in this boot's hands (any more)."""


@frozen
class TurnPages:
    """A turn as read back: its address, what came before, its own entries, its time so far.

    `conversation` names what was said since the last /new, for what else begins anew with it.
    """

    address: Address
    conversation: str
    history: tuple[Entry, ...]
    turn: tuple[Entry, ...]
    ran_seconds: float
    last_message: int


def hold(db: sqlite3.Connection, claim: Claim, now: float) -> None:
    """Make sure of the turn for one step. Raises NotOurs."""
    if claim.first:
        held = db.execute(
            "UPDATE turns SET state = 'running', boot = ?1, attempts = attempts + 1,"
            " started_at = coalesce(started_at, ?2) WHERE id = ?3 AND state = 'ready' AND NOT"
            " EXISTS (SELECT 1 FROM messages WHERE turn_id = ?3 AND id > ?4)",
            (claim.boot, now, claim.turn_id, claim.seen),
        ).rowcount
    else:
        held = db.execute(
            "SELECT count(*) FROM turns WHERE id = ? AND state = 'running' AND boot = ?",
            (claim.turn_id, claim.boot),
        ).fetchone()[0]
    if not held:
        raise NotOurs(claim.turn_id)


def progress(db: sqlite3.Connection, turn_id: int) -> None:
    """Something was kept, so the runs that ended without are forgiven."""
    db.execute("UPDATE turns SET attempts = 1 WHERE id = ? AND attempts > 1", (turn_id,))


def add_answer(
    db: sqlite3.Connection, turn_id: int, answer: Answer, now: float
) -> tuple[ToolCall, ...]:
    """Append an answer and its calls; returns the calls by the names that the rows have."""
    progress(db, turn_id)
    (message_id,) = db.execute(
        "INSERT INTO messages (turn_id, role, content, created_at) VALUES (?, 'assistant', ?, ?)"
        " RETURNING id",
        (turn_id, clean(answer.text), now),
    ).fetchone()
    return tuple(
        ToolCall(_add_call(db, turn_id, message_id, position, request, now), request)
        for position, request in enumerate(answer.calls)
    )


def _add_call(
    db: sqlite3.Connection,
    turn_id: int,
    message_id: int,
    position: int,
    request: CallRequest,
    now: float,
) -> int:
    (call_id,) = db.execute(
        "INSERT INTO tool_calls (message_id, turn_id, position, call_id, name, arguments, state,"
        " created_at) VALUES (?, ?, ?, ?, ?, ?, 'pending', ?) RETURNING id",
        (
            message_id,
            turn_id,
            position,
            clean(request.call_id),
            clean(request.name),
            clean(request.arguments),
            now,
        ),
    ).fetchone()
    return int(call_id)


def intend_tool_call(db: sqlite3.Connection, claim: Claim, call_id: int, now: float) -> None:
    hold(db, claim, now)
    db.execute(
        "UPDATE tool_calls SET state = 'running', boot = ?, started_at = ? WHERE id = ?",
        (claim.boot, now, call_id),
    )


def finish_tool_call(
    db: sqlite3.Connection, claim: Claim, call_id: int, text: str, now: float, *, failed: bool
) -> None:
    hold(db, claim, now)
    progress(db, claim.turn_id)
    db.execute(
        "INSERT INTO messages (turn_id, role, content, tool_call_id, created_at)"
        " VALUES (?, 'tool', ?, ?, ?)",
        (claim.turn_id, clean(text), call_id, now),
    )
    db.execute(
        "UPDATE tool_calls SET state = 'done', failed = ?, ended_at = ? WHERE id = ?",
        (failed, now, call_id),
    )


def release(db: sqlite3.Connection, claim: Claim, ran_seconds: float) -> None:
    """Give a turn back as ready, uncounted: it was interrupted on purpose."""
    db.execute(
        "UPDATE turns SET state = 'ready', boot = NULL, attempts = attempts - 1,"
        " ran_seconds = ran_seconds + ? WHERE id = ? AND state = 'running' AND boot = ?",
        (ran_seconds, claim.turn_id, claim.boot),
    )


# --- Reading a turn back ---


def read_pages(db: sqlite3.Connection, turn_id: int) -> TurnPages:
    """Everything that a run of the turn starts from."""
    row = db.execute(
        "SELECT t.session_id, t.ran_seconds, s.fresh_after FROM turns AS t"
        " JOIN sessions AS s ON s.id = t.session_id WHERE t.id = ?",
        (turn_id,),
    ).fetchone()
    first = _first_turn(db, row["session_id"], turn_id, row["fresh_after"])
    messages = _messages(db, row["session_id"], first, turn_id)
    calls = _calls(db, row["session_id"], first, turn_id)
    history = _entries(
        [each for each in messages if each["turn_id"] != turn_id],
        calls,
        _undelivered(db, row["session_id"], first),
    )
    own = _entries([each for each in messages if each["turn_id"] == turn_id], calls)
    address = read_address(db, turn_id)
    # A turn from before a /new that runs after it has nothing before it, and is alone here, too.
    conversation = f"{row['session_id']}-{min(row['fresh_after'], turn_id - 1)}"
    seen = messages[-1]["id"]
    return TurnPages(address, conversation, history, own, row["ran_seconds"], seen)


def read_address(db: sqlite3.Connection, turn_id: int) -> Address:
    """Where the turn's answer goes; needs nothing of what was said to make sense."""
    row = db.execute(
        "SELECT t.ref, t.payer_id, t.asked_at, s.channel, s.account, s.chat, s.topic, s.agent_id,"
        " (SELECT content FROM messages WHERE turn_id = t.id AND role = 'user' ORDER BY id LIMIT 1)"
        " AS about FROM turns AS t JOIN sessions AS s ON s.id = t.session_id WHERE t.id = ?",
        (turn_id,),
    ).fetchone()
    place = Place(row["channel"], row["account"], row["chat"], row["topic"])
    about = " ".join((row["about"] or "").split())
    return Address(place, row["agent_id"], row["payer_id"], row["ref"], about, row["asked_at"])


def _first_turn(db: sqlite3.Connection, session_id: str, turn_id: int, fresh_after: int) -> int:
    """The oldest turn that the context of `turn_id` reaches back to."""
    rows = db.execute(
        "SELECT id FROM turns WHERE session_id = ? AND id > ? AND id <= ? AND cause <> 'child'"
        " ORDER BY id DESC LIMIT ?",
        (session_id, fresh_after, turn_id, HISTORY_TURNS),
    ).fetchall()
    return int(rows[-1][0]) if rows else turn_id


def _messages(db: sqlite3.Connection, session_id: str, first: int, last: int) -> list[sqlite3.Row]:
    return db.execute(
        "SELECT m.id, m.turn_id, m.role, m.content, m.tool_call_id, c.failed"
        " FROM turns AS t JOIN messages AS m ON m.turn_id = t.id"
        " LEFT JOIN tool_calls AS c ON c.id = m.tool_call_id"
        " WHERE t.session_id = ? AND t.id >= ? AND t.id <= ? ORDER BY m.turn_id, m.id",
        (session_id, first, last),
    ).fetchall()


def _calls(
    db: sqlite3.Connection, session_id: str, first: int, last: int
) -> dict[int, list[ToolCall]]:
    """The tool calls of those turns, by the message that asked for them."""
    rows = db.execute(
        "SELECT c.message_id, c.id, c.call_id, c.name, c.arguments, c.state FROM turns AS t"
        " JOIN tool_calls AS c ON c.turn_id = t.id"
        " WHERE t.session_id = ? AND t.id >= ? AND t.id <= ? ORDER BY c.id",
        (session_id, first, last),
    ).fetchall()
    found: dict[int, list[ToolCall]] = {}
    for message_id, call, call_id, name, arguments, state in rows:
        request = CallRequest(call_id, name, arguments)
        found.setdefault(message_id, []).append(ToolCall(call, request, CallState(state)))
    return found


def _undelivered(db: sqlite3.Connection, session_id: str, first: int) -> dict[int, str]:
    """Why (a part of) an answer did not reach the chat, by the message that held the answer."""
    rows = db.execute(
        "SELECT (SELECT max(id) FROM messages WHERE turn_id = o.turn_id AND role = 'assistant'),"
        " o.error FROM turns AS t JOIN outbox AS o ON o.turn_id = t.id"
        " WHERE t.session_id = ? AND t.id >= ? AND o.state IN ('failed', 'unknown')",
        (session_id, first),
    ).fetchall()
    return {row[0]: row[1] for row in rows}


def _entries(
    messages: Sequence[sqlite3.Row],
    calls: dict[int, list[ToolCall]],
    undelivered: dict[int, str] | None = None,
) -> tuple[Entry, ...]:
    return tuple(_entry(message, calls, undelivered or {}) for message in messages)


def _entry(
    message: sqlite3.Row, calls: dict[int, list[ToolCall]], undelivered: dict[int, str]
) -> Entry:
    text = message["content"]
    match message["role"]:
        case "user":
            return User(text)
        case "assistant":
            if message["id"] in undelivered:
                text += f"\n[Not (all) delivered to the chat: {undelivered[message['id']]}]"
            return Assistant(text, tuple(calls.get(message["id"], ())))
        case _:
            return ToolResult(message["tool_call_id"], text, bool(message["failed"]))
