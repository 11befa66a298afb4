"""What a step of a turn reads does not grow with the chat, nor with what ran beside it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.ports import Subtask
from agent.sizes import Sizes
from agent.transcript import Answer, CallRequest
from daemon.chat import recovery, summing
from daemon.store import children, compactions, heartbeats, history, journal, people, stops, turns
from daemon.store.db import migrate
from daemon.store.values import Place

HERE = Place("telegram", "42", "1")
EVERY = 100  # instructions of SQLite between two looks
# Each turn has a question, a call of the model and an answer, and a heartbeat after it.
TURNS = """WITH RECURSIVE numbers (value) AS
    (SELECT 1 UNION ALL SELECT value + 1 FROM numbers WHERE value < ?2)
    INSERT INTO turns (id, ref, session_id, lane, cause, state, outcome, asked_at, created_at)
    SELECT value, value, ?1, iif(value % 2, ?1, 'heartbeat-' || value),
    iif(value % 2, 'update', 'heartbeat'), 'ended', 'answered', 1.0, 1.0 FROM numbers"""
REST = (
    """INSERT INTO messages (turn_id, role, content, created_at)
        SELECT id, 'user', 'hello', 1.0 FROM turns""",
    """INSERT INTO messages (turn_id, role, content, created_at)
        SELECT id, 'assistant', 'hello', 1.0 FROM turns""",
    """INSERT INTO model_calls (turn_id, agent_id, model, state, boot, reserved_tokens,
        prompt_tokens, completion_tokens, started_at)
        SELECT id, 'house', 'm', 'done', 'b', 10, 10, 1, 1.0 FROM turns""",
)


def long_chat(path: Path, count: int) -> tuple[sqlite3.Connection, str]:
    """A chat of so many turns, half of them heartbeats."""
    migrate(path)
    db = sqlite3.connect(path, isolation_level=None)
    db.row_factory = sqlite3.Row
    db.execute("BEGIN")
    session = people.ensure_session(db, HERE, 0.0)
    db.execute("INSERT INTO boots VALUES ('b', 'test', 0.0, NULL)")
    db.execute(TURNS, (session, count))
    for statement in REST:
        db.execute(statement)
    return db, session


Step = Callable[[sqlite3.Connection, str], Any]


def read_child(db: sqlite3.Connection, session: str) -> None:
    parent = turns.create(db, session, text="brew", asked_at=1.0, now=1.0)
    (call,) = journal.add_answer(db, parent.id, Answer("", (CallRequest("", "x", "{}"),)), 1.0)
    child = children.begin(db, parent.id, call.id, Subtask("task", "beer"), 1.0)
    journal.read_pages(db, child.id)
    turns.end(db, child.id, "answered", 1.0)


def trim(db: sqlite3.Connection, session: str) -> None:
    history.trim(db, turns.create(db, session, text="forget", asked_at=1.0, now=1.0).id, 5)


STEPS: dict[str, Step] = {
    "a turn is read": lambda db, session: journal.read_pages(db, turns.newest(db, session)),
    "a child is read": read_child,
    "the next request is shown": journal.read_upcoming,
    "tokens are estimated": compactions.ratio,
    "a summary may be due": lambda db, session: summing.find(db, session, Sizes(), 1e9),
    "summaries are off": lambda db, session: summing.find(db, session, Sizes(enabled=False), 1e9),
    "a comment may belong to a turn": lambda db, session: turns.unanswered(db, session, 0.0, None),
    "a trim": trim,
    "a stop": lambda db, session: stops.stop(db, session, 1.0),
    "a new conversation": people.begin_again,
    "heartbeats are due": lambda db, _session: heartbeats.due(db, 5.0, 2.0),
    "a start": lambda db, _session: recovery.take_over(db, 2.0),
}


def instructions(db: sqlite3.Connection, session: str, step: Step) -> int:
    """What a step takes of SQLite, which is undone."""
    looks = [0]

    def look() -> None:
        looks[0] += 1

    db.execute("SAVEPOINT step")
    db.set_progress_handler(look, EVERY)
    step(db, session)
    db.set_progress_handler(None, 0)
    db.execute("ROLLBACK TO step")
    return looks[0] * EVERY


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[sqlite3.Connection, str]]:
    """One with four times as many turns as the other, and more than are read at once."""
    path = tmp_path_factory.mktemp("chats")
    return [long_chat(path / f"{count}.db", count) for count in (2_000, 8_000)]


@pytest.mark.parametrize("step", STEPS)
def test_a_step_reads_no_more_in_a_longer_chat(
    chats: list[tuple[sqlite3.Connection, str]], step: str
) -> None:
    """By an index that leads to the very rows."""
    short, long = (instructions(db, session, STEPS[step]) for db, session in chats)
    assert long <= short * 1.1 + 2 * EVERY
