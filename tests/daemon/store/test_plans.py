"""No statement reads a table whose rows are mostly over, however long the history."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator

import pytest

from agent.transcript import Answer, CallRequest
from daemon.chat import recovery
from daemon.store import boots, inbox, journal, money, outbox, people, status, turns
from daemon.store.outbox import HOLD_AFTER, Draft, Part, destination_of
from daemon.store.values import Claim, Place

HERE = Place("telegram", "42", "1")
NEVER = 10**9  # an id that no row comes to
# Indexes over rows that are open, due or in trouble. All others are over the whole history.
SMALL = {
    "inbox_new",
    "inbox_dead",
    "turns_open",
    "turns_dead",
    "model_calls_running",
    "outbox_due",
    "outbox_trouble",
}
HISTORY = {"inbox", "turns", "messages", "tool_calls", "model_calls", "outbox"}
# Columns that nearly every row of a single bot has in common.
COMMON = {"channel=?", "account=?", "state=?"}


@pytest.fixture
def statements(db: sqlite3.Connection) -> Iterator[set[str]]:
    """What was executed, with its values."""
    seen: set[str] = set()
    db.set_trace_callback(lambda statement: seen.add(" ".join(statement.split())))
    yield seen
    db.set_trace_callback(None)


def take_in(db: sqlite3.Connection) -> None:
    inbox.receive(db, "telegram", "42", [{"update_id": 1}], 2, 1.0)
    inbox.next_offset(db, "telegram", "42")
    (row,) = inbox.new_rows(db, "telegram", "42", 10)
    inbox.count_attempt(db, row.id, 1.0)
    inbox.close(db, row.id, "turn", 1.0)
    inbox.prune(db, 2.0)


def work(db: sqlite3.Connection) -> int:
    """A turn from its update to its end; returns it."""
    boot = boots.begin(db, "test", 0.0)
    user = people.ensure_user(db, "telegram", "1", "Ada", 0.0)
    session = people.ensure_session(db, HERE, 0.0)
    turns.gathering(db, session, "text 1")
    turns.unanswered(db, session, 0.0)
    turn = turns.create(db, session, text="hi", asked_at=1.0, now=1.0, payer_id=user)
    address = journal.read_pages(db, turn.id).address
    journal.hold(db, Claim(turn.id, boot, first=True, seen=NEVER), 1.0)
    claim = Claim(turn.id, boot, first=False, seen=NEVER)
    call = money.intend(db, claim, address, "model", 5, 1.0)
    money.settle(db, call, Answer("x"), None, 2.0)
    (tool,) = journal.add_answer(db, turn.id, Answer("", (CallRequest("a", "b", "{}"),)), 1.0)
    journal.intend_tool_call(db, claim, tool.id, 1.0)
    journal.finish_tool_call(db, claim, tool.id, "result", 2.0, failed=False)
    journal.release(db, claim, 1.0)
    turns.begin_afresh(db, turn.id)
    turns.ripen(db, 2.0)
    turns.stop(db, session, 2.0)
    people.begin_again(db, session)
    return turn.id


def send(db: sqlite3.Connection, turn_id: int) -> None:
    boot = boots.begin(db, "test", 0.0)
    for_here = destination_of(HERE)
    drafts = [Draft("sendMessage", {"text": str(index)}) for index in range(4)]
    outbox.enqueue(db, HERE, drafts, 1.0, turn_id=turn_id)
    part = outbox.claim_next(db, for_here, boot, 1.0)
    assert isinstance(part, Part)
    outbox.doubtful(db, part, 0.0, "cut")
    outbox.not_sent(db, part, 0.0, "cut")
    outbox.sent(db, part.id, "9", 1.0)
    outbox.due(db)
    outbox.prune(db, 2.0)
    ((_, _, ref),) = outbox.hold_old(db, HOLD_AFTER + 2)
    outbox.drop_held(db, HOLD_AFTER + 2)
    outbox.show_held(db, HERE, ref, 3.0)
    outbox.move_chat(db, for_here, "-1001")
    people.move_chat(db, HERE, "-1001")


def start(db: sqlite3.Connection) -> None:
    outbox.recover(db)
    recovery.take_over(db, 5.0)
    status.counts(db)


def is_slow(step: str) -> bool:
    """Whether a step of a query plan goes through the history."""
    how, _, table = step.partition(" ")
    index = re.search(r"INDEX (\w+)", step)
    if table.split(" ")[0] not in HISTORY or (index and index[1] in SMALL):
        return False
    searched = re.search(r"\((.*)\)", step)
    return how == "SCAN" or (searched is not None and set(searched[1].split(" AND ")) <= COMMON)


def test_every_statement_finds_its_rows_by_an_index(
    db: sqlite3.Connection, statements: set[str]
) -> None:
    take_in(db)
    turn_id = work(db)
    send(db, turn_id)
    start(db)
    db.set_trace_callback(None)
    # What is returned is shown as a scan of the whole table, which it is not.
    explained = [
        each.split(" RETURNING ")[0]
        for each in statements
        if re.match("SELECT|UPDATE|INSERT|DELETE", each)
    ]
    assert len(explained) > 50
    slow = [
        (statement, plan[3])
        for statement in explained
        for plan in db.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
        if is_slow(plan[3])
    ]
    assert slow == []
