"""The steps of a running turn, as rows: answers, tool calls, results.

Each function is one step and begins by making sure that the turn is still ours to step
(`hold`). The first step of a run claims the turn; a turn that was stopped or ended meanwhile makes
every later step raise `NotOurs`, and nothing is written.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from attrs import evolve, frozen

from agent.fitting import OMITTED
from agent.text import clean
from agent.transcript import (
    Answer,
    Approval,
    Assistant,
    CallRequest,
    CallState,
    Entry,
    ToolCall,
    ToolResult,
    User,
    View,
    arranged,
)
from daemon.store import compactions, errands, settings, turnrow, views
from daemon.store.memory import NONE, Snapshot, last_snapshot
from daemon.store.reach import END, HISTORY_TURNS, REACHED, Reach, bounded, reach_of
from daemon.store.values import Address, Claim, Place


class NotOurs(Exception):
    """The turn is not in this boot's hands (any more)."""


@frozen
class TurnPages:
    """A turn as read back: its address, what came before, its own entries, its time so far.

    `conversation` names what was said since the last /new, for what else begins anew with it.
    `summary` stands for what came before `history`, '' if nothing did; `ratio` is of the tokens of
    the last model call as counted to those as estimated. `cause`, `label` and `specialist` are the
    turn's own; `root` is the cause of the turn that began it, if one did.
    `memory` is what the session was last shown of it. `zone` is the person's, and `model` the
    chat's, '' where they have chosen none; a `quiet` chat wants no answers before they are done.
    `role` is that of who began it, or of the least of those who have spoken in it. `errand` is that
    of an appointment.
    """

    address: Address
    conversation: str
    history: tuple[Entry, ...]
    turn: tuple[Entry, ...]
    ran_seconds: float
    last_message: int
    cause: str = "update"
    label: str = ""
    specialist: str = ""
    root: str = ""
    summary: str = ""
    ratio: float = 1.0
    memory: Snapshot = NONE
    role: str = "user"
    zone: str = ""
    model: str = ""
    quiet: bool = False
    errand: errands.Errand | None = None


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


def last_answer(db: sqlite3.Connection, turn_id: int) -> tuple[str, bool]:
    """What the model has said last in a turn, '' if nothing, and whether it asked for calls."""
    row = db.execute(
        "SELECT content, EXISTS (SELECT 1 FROM tool_calls WHERE message_id = m.id)"
        " FROM messages AS m WHERE turn_id = ? AND role = 'assistant' ORDER BY id DESC LIMIT 1",
        (turn_id,),
    ).fetchone()
    return ("", False) if row is None else (str(row[0]), bool(row[1]))


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
    """Keep the result of a call of a turn that is held."""
    progress(db, claim.turn_id)
    turnrow.add_result(db, claim.turn_id, call_id, text, now, failed=failed)


def release(db: sqlite3.Connection, claim: Claim, ran_seconds: float) -> None:
    """Give a turn back as ready, uncounted: it was interrupted on purpose."""
    db.execute(
        "UPDATE turns SET state = 'ready', boot = NULL, attempts = attempts - 1,"
        " ran_seconds = ran_seconds + ? WHERE id = ? AND state = 'running' AND boot = ?",
        (ran_seconds, claim.turn_id, claim.boot),
    )


# --- Reading a turn back ---


def read_pages(db: sqlite3.Connection, turn_id: int, now: float = 0.0) -> TurnPages:
    """Everything that a run of the turn starts from. A child has nothing before it but its task."""
    row = db.execute(
        f"SELECT {turnrow.ROLE} AS role, t.session_id, t.lane, t.cause, t.label, t.specialist,"
        " t.ran_seconds, s.fresh_after,"
        " (SELECT zone FROM users WHERE id = t.payer_id) AS zone,"
        " (SELECT cause FROM turns WHERE id = t.parent_id) AS root"
        " FROM turns AS t JOIN sessions AS s ON s.id = t.session_id WHERE t.id = ?",
        (turn_id,),
    ).fetchone()
    reach = reach_of(db, turn_id)
    # A turn from before a /new that runs after it has nothing before it, and is alone here, too.
    conversation = f"{row['lane']}-{min(row['fresh_after'], turn_id - 1)}"
    address = read_address(db, turn_id)
    return evolve(
        _pages(db, reach, address, conversation),
        ran_seconds=row["ran_seconds"],
        cause=row["cause"],
        label=row["label"],
        specialist=row["specialist"],
        root=row["root"] or "",
        memory=last_snapshot(db, row["session_id"]),
        role=row["role"],
        zone=row["zone"] or "",
        model=settings.get(db, address.place, "model") or "",
        quiet=settings.get(db, address.place, "streaming") == "off",
        errand=errands.of_turn(db, turn_id, now)
        if "schedule" in {row["cause"], row["root"]}
        else None,
    )


def read_upcoming(db: sqlite3.Connection, session_id: str) -> TurnPages | None:
    """What a run would start from now: of the open turn, or of one that is still to be begun.

    None if there is no such session.
    """
    row = db.execute(
        "SELECT channel, account, chat, topic, agent_id, fresh_after, workspace,"
        " max(fresh_after + 1, trimmed_before) AS oldest FROM sessions WHERE id = ?",
        (session_id,),
    ).fetchone()
    if row is None:
        return None
    open_turn = turnrow.head(db, session_id)
    if open_turn is not None:
        return read_pages(db, open_turn.id)
    summary = compactions.latest(db, session_id, row["oldest"])
    oldest = max(row["oldest"], summary.through_turn + 1)
    reach = bounded(db, Reach(session_id, oldest, END, summary), HISTORY_TURNS - 1)
    address = Address(Place(*row[:4]), row["agent_id"], None, "", "", 0.0, row["workspace"])
    pages = _pages(db, reach, address, f"{session_id}-{row['fresh_after']}")
    return evolve(pages, memory=last_snapshot(db, session_id))


def _pages(db: sqlite3.Connection, reach: Reach, address: Address, conversation: str) -> TurnPages:
    messages, calls = _messages(db, reach), _calls(db, reach)
    history = _entries(
        [each for each in messages if each["turn_id"] != reach.last],
        calls,
        _undelivered(db, reach),
    )
    if reach.cut:
        history = (User(OMITTED), *history)
    said = [each for each in messages if each["turn_id"] == reach.last]
    own = _entries(said, calls, shown=views.of_turn(db, reach.last))
    seen = messages[-1]["id"] if messages else 0
    ratio = compactions.ratio(db, reach.lane)
    summary = reach.summary.text
    return TurnPages(address, conversation, history, own, 0.0, seen, summary=summary, ratio=ratio)


@frozen
class Chapter:
    """A turn of the past: its id, what was said and done in it, and whether it has ended."""

    turn_id: int
    entries: tuple[Entry, ...]
    ended: bool


def read_chapters(db: sqlite3.Connection, reach: Reach) -> list[Chapter]:
    """The turns of a reach, the oldest first, as every request shows them."""
    rows = db.execute(
        f"SELECT t.id, t.state FROM turns AS t WHERE {REACHED} ORDER BY t.id", reach.where()
    ).fetchall()
    calls, lost = _calls(db, reach), _undelivered(db, reach)
    texts: dict[int, list[sqlite3.Row]] = {}
    for message in _messages(db, reach):
        texts.setdefault(message["turn_id"], []).append(message)
    chapters = [
        Chapter(row["id"], _entries(texts.get(row["id"], []), calls, lost), row["state"] == "ended")
        for row in rows
    ]
    if reach.cut:
        chapters[0] = evolve(chapters[0], entries=(User(OMITTED), *chapters[0].entries))
    return chapters


def read_address(db: sqlite3.Connection, turn_id: int) -> Address:
    """Where the turn's answer goes; needs nothing of what was said to make sense."""
    row = db.execute(
        "SELECT t.ref, t.payer_id, t.asked_at, t.reply_to, s.channel, s.account, s.chat, s.topic,"
        " s.agent_id, s.workspace,"
        " (SELECT content FROM messages WHERE turn_id = t.id AND role = 'user' ORDER BY id LIMIT 1)"
        " AS about FROM turns AS t JOIN sessions AS s ON s.id = t.session_id WHERE t.id = ?",
        (turn_id,),
    ).fetchone()
    place = Place(row["channel"], row["account"], row["chat"], row["topic"])
    about = " ".join((row["about"] or "").split())
    whose = row["agent_id"], row["payer_id"], row["ref"]
    return Address(place, *whose, about, row["asked_at"], row["workspace"], row["reply_to"])


def _messages(db: sqlite3.Connection, reach: Reach) -> list[sqlite3.Row]:
    return db.execute(
        "SELECT m.id, m.turn_id, m.role, m.content, m.tool_call_id, c.failed, m.created_at,"
        " t.asked_at, t.cause"
        " FROM turns AS t JOIN messages AS m ON m.turn_id = t.id"
        " LEFT JOIN tool_calls AS c ON c.id = m.tool_call_id"
        f" WHERE {REACHED} ORDER BY m.turn_id, m.id",
        reach.where(),
    ).fetchall()


def _calls(db: sqlite3.Connection, reach: Reach) -> dict[int, list[ToolCall]]:
    """The tool calls of those turns, by the message that asked for them."""
    rows = db.execute(
        "SELECT c.message_id, c.id, c.call_id, c.name, c.arguments, c.state, a.state,"
        " c.child_id IS NOT NULL OR q.id IS NOT NULL"
        " FROM turns AS t JOIN tool_calls AS c ON c.turn_id = t.id"
        " LEFT JOIN approvals AS a ON a.call_id = c.id"
        " LEFT JOIN questions AS q ON q.call_id = c.id"
        f" WHERE {REACHED} ORDER BY c.id",
        reach.where(),
    ).fetchall()
    found: dict[int, list[ToolCall]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(_call(*row[1:]))
    return found


def _call(
    call: int,
    call_id: str,
    name: str,
    arguments: str,
    state: str,
    approval: str | None,
    delegated: int,
) -> ToolCall:
    """A call as it stands. A question that is void was about a call that has its result."""
    return ToolCall(
        call,
        CallRequest(call_id, name, arguments),
        CallState(state),
        None if approval in {None, "void"} else Approval(approval),
        delegated=bool(delegated),
    )


def _undelivered(db: sqlite3.Connection, reach: Reach) -> dict[int, str]:
    """Why (a part of) an answer did not reach the chat, by the message that held the answer."""
    rows = db.execute(
        "SELECT (SELECT max(id) FROM messages WHERE turn_id = o.turn_id AND role = 'assistant'),"
        " o.error FROM turns AS t JOIN outbox AS o ON o.turn_id = t.id"
        f" WHERE {REACHED} AND o.state IN ('failed', 'unknown')",
        reach.where(),
    ).fetchall()
    return {row[0]: row[1] for row in rows}


def _entries(
    messages: Sequence[sqlite3.Row],
    calls: dict[int, list[ToolCall]],
    undelivered: dict[int, str] | None = None,
    shown: Mapping[int, tuple[View, ...]] | None = None,
) -> tuple[Entry, ...]:
    first = _first_messages(messages)
    entries = [_entry(message, calls, undelivered or {}, first) for message in messages]
    if shown:
        looked = zip(entries, messages, strict=True)
        entries = [_showing(entry, shown.get(message["id"], ())) for entry, message in looked]
    return tuple(arranged(entries))


def _showing(entry: Entry, shown: tuple[View, ...]) -> Entry:
    """The entry with what stands beside its message; an answer shows nothing."""
    return entry if isinstance(entry, Assistant) else evolve(entry, shown=shown)


def _first_messages(messages: Sequence[sqlite3.Row]) -> set[int]:
    """The message of each turn that opened it."""
    return {each["id"] for each in {m["turn_id"]: m for m in reversed(messages)}.values()}


def _said_at(message: sqlite3.Row, first: set[int]) -> float | None:
    """What opens a turn was asked when its row says, and what came later when it was kept.

    The task of a child turn is not what a person says; a heartbeat and an appointment tell the time
    themselves.
    """
    if message["cause"] in {"child", "heartbeat", "schedule"}:
        return None
    return float(message["asked_at" if message["id"] in first else "created_at"])


def _entry(
    message: sqlite3.Row,
    calls: dict[int, list[ToolCall]],
    undelivered: dict[int, str],
    first: set[int],
) -> Entry:
    text = message["content"]
    match message["role"]:
        case "user":
            return User(text, _said_at(message, first))
        case "assistant":
            if message["id"] in undelivered:
                text += f"\n[Not (all) delivered to the chat: {undelivered[message['id']]}]"
            return Assistant(text, tuple(calls.get(message["id"], ())))
        case _:
            return ToolResult(message["tool_call_id"], text, bool(message["failed"]))
