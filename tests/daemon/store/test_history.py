"""How much of a conversation is in context, and what a trim puts out of it."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.context import build_messages
from agent.fitting import OMITTED
from agent.ports import Extent, Trimmed
from agent.transcript import Answer, Assistant, CallRequest, User
from daemon.demo.chatrules import check_request
from daemon.store import boots, compactions, history, journal, money, outbox, people, reach, turns
from daemon.store.compactions import New
from daemon.store.outbox import Draft
from daemon.store.values import Claim, Place

HERE = Place("telegram", "42", "1")


@pytest.fixture
def session(db: sqlite3.Connection) -> str:
    return people.ensure_session(db, HERE, 0.0)


def begin(db: sqlite3.Connection, session: str, text: str, now: float = 1.0) -> int:
    return turns.create(db, session, text=text, asked_at=now, now=now).id


def exchange(db: sqlite3.Connection, session: str, text: str, now: float = 1.0) -> int:
    """A turn with a call, its result and an answer."""
    turn = begin(db, session, text, now)
    journal.add_answer(db, turn, Answer("", (CallRequest("a", "bash", "{}"),)), now)
    turns.end(db, turn, "answered", now)
    journal.add_answer(db, turn, Answer(f"re {text}"), now)
    return turn


def said(db: sqlite3.Connection, turn: int) -> list[str]:
    return [e.text for e in journal.read_pages(db, turn).history if isinstance(e, User)]


def test_a_trim_keeps_the_newest_turns_whole(db: sqlite3.Connection, session: str) -> None:
    """Every call that stays has its result, and nothing is deleted."""
    for text in "abcd":
        exchange(db, session, text)
    now = begin(db, session, "trim")
    assert history.trim(db, now, 2) == Trimmed(2, 2, summary=False)
    pages = journal.read_pages(db, now)
    assert said(db, now) == ["c", "d"]
    assert [len(e.calls) for e in pages.history if isinstance(e, Assistant)] == [1, 0, 1, 0]
    assert len(pages.history) == 8
    assert db.execute("SELECT count(*) FROM messages").fetchone()[0] == 17


def test_the_running_turn_is_never_trimmed(db: sqlite3.Connection, session: str) -> None:
    """Keeping none leaves it, and it is in the context of the next."""
    exchange(db, session, "a")
    now = begin(db, session, "trim")
    assert history.trim(db, now, 0) == Trimmed(0, 1, summary=False)
    assert journal.read_pages(db, now).turn == (User("trim", 1.0),)
    assert said(db, begin(db, session, "next")) == ["trim"]


def sum_up(db: sqlite3.Connection, session: str, through: int) -> None:
    claim = Claim(through, boots.begin(db, "test", 0.0), first=False, seen=0)
    address = journal.read_address(db, through)
    call = money.intend(db, claim, address, money.Request("m", 5), 1.0)
    compactions.keep(db, New(session, through, 1, "in short", call, 9, 3), 1.0)


@pytest.mark.parametrize(("keep", "gone"), [(0, True), (2, True), (3, False), (9, False)])
def test_a_summary_is_out_before_the_turns_that_follow_it(
    db: sqlite3.Connection, session: str, keep: int, gone: bool
) -> None:
    """It stands for what is older than all of them; who keeps more keeps it, too."""
    sum_up(db, session, exchange(db, session, "long ago"))
    for text in "ab":
        exchange(db, session, text)
    now = begin(db, session, "trim")
    assert history.extents(db, now)[0].summarised
    trimmed = history.trim(db, now, keep)
    assert trimmed == Trimmed(min(keep, 2), 2 - min(keep, 2), gone)
    assert history.extents(db, now)[0].summarised is not gone
    assert journal.read_pages(db, now).summary == ("" if gone else "in short")


def test_a_trim_begins_no_new_conversation(db: sqlite3.Connection, session: str) -> None:
    """What else begins anew with /new, such as Python's variables, stays."""
    exchange(db, session, "a")
    now = begin(db, session, "trim")
    before = journal.read_pages(db, now).conversation
    history.trim(db, now, 0)
    assert journal.read_pages(db, now).conversation == before


def test_what_is_out_stays_out(db: sqlite3.Connection, session: str) -> None:
    """Trimming again to more brings nothing back; doing the same again changes nothing."""
    for text in "abc":
        exchange(db, session, text)
    now = begin(db, session, "trim")
    history.trim(db, now, 1)
    assert history.trim(db, now, 1) == Trimmed(1, 0, summary=False)
    assert history.trim(db, now, 9) == Trimmed(1, 0, summary=False)
    assert said(db, now) == ["c"]
    people.begin_again(db, session)
    assert said(db, begin(db, session, "next")) == []


def test_other_sessions_are_not_trimmed(db: sqlite3.Connection, session: str) -> None:
    """Not even another topic of the same chat."""
    topic = people.ensure_session(db, Place("telegram", "42", "1", "7"), 0.0)
    exchange(db, topic, "other")
    exchange(db, session, "a")
    history.trim(db, begin(db, session, "trim"), 0)
    assert said(db, begin(db, topic, "next")) == ["other"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(steps=st.lists(st.integers(-2, 4), max_size=10))
def test_any_order_of_turns_trims_and_new(
    db: sqlite3.Connection, session: str, steps: list[int]
) -> None:
    """What is in context is what a list with the same things done to it holds."""
    people.begin_again(db, session)
    expected: list[str] = []
    for number, step in enumerate(steps):
        if step == -2:
            people.begin_again(db, session)
            expected = []
        elif step == -1:
            exchange(db, session, str(number))
            expected.append(str(number))
        else:
            history.trim(db, exchange(db, session, str(number)), step)
            expected = [*(expected[-step:] if step else []), str(number)]
    look = begin(db, session, "look")
    assert said(db, look) == expected
    pages = journal.read_pages(db, look)
    messages = build_messages("x", pages.history, pages.turn)
    assert check_request({"model": "m", "messages": messages}) is None
    db.execute("UPDATE turns SET state = 'ended'")


# --- Child turns ---


def make_child(db: sqlite3.Connection, turn: int) -> None:
    db.execute("UPDATE turns SET lane = 'child', cause = 'child' WHERE id = ?", (turn,))


def test_a_child_turn_is_no_part_of_a_session_s_history(
    db: sqlite3.Connection, session: str
) -> None:
    """Neither what it said and called, nor what became of its messages, nor in any count."""
    exchange(db, session, "a")
    child = exchange(db, session, "task")
    make_child(db, child)
    outbox.enqueue(db, HERE, [Draft("sendMessage", {})], 1.0, turn_id=child)
    db.execute("UPDATE outbox SET state = 'failed', error = 'lost'")
    now = begin(db, session, "next")
    pages = journal.read_pages(db, now)
    assert said(db, now) == ["a"]
    assert "lost" not in str(pages)
    assert history.extents(db, now)[1].turns == 2
    assert history.trim(db, now, 5) == Trimmed(1, 0, summary=False)


def test_children_do_not_shorten_the_history(
    db: sqlite3.Connection, session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a session's own turns count towards the most that are read."""
    monkeypatch.setattr(reach, "HISTORY_TURNS", 3)
    for text in "abc":
        exchange(db, session, text)
        make_child(db, exchange(db, session, "task"))
    assert said(db, begin(db, session, "next")) == [OMITTED, "b", "c"]


def test_a_child_turn_reads_itself_alone(db: sqlite3.Connection, session: str) -> None:
    """Its lane is its own, and it can put nothing of the session's out of context."""
    exchange(db, session, "a")
    child = begin(db, session, "task")
    make_child(db, child)
    pages = journal.read_pages(db, child)
    assert (pages.history, pages.turn) == ((), (User("task"),))
    assert history.trim(db, child, 0) == Trimmed(0, 0, summary=False)
    assert said(db, begin(db, session, "next")) == ["a"]


# --- How much there is ---


def test_what_is_in_context_and_what_is_stored(db: sqlite3.Connection, session: str) -> None:
    """Turns, messages, characters and the first one's time; trimmed and /new count as stored."""
    exchange(db, session, "abcd", now=5.0)
    people.begin_again(db, session)
    exchange(db, session, "abcd", now=6.0)
    exchange(db, session, "abcd", now=7.0)
    now = begin(db, session, "xyz", 8.0)
    history.trim(db, now, 1)
    context, stored = history.extents(db, now)
    each = len("abcd" + "{}" + turns.NOT_RUN + "re abcd")
    assert context == Extent(2, 5, each + 3, 7.0)
    assert stored == Extent(4, 13, 3 * each + 3, 5.0)
