"""Turns and their steps, as rows: every call has one result, whatever ends the turn."""

from __future__ import annotations

import sqlite3

import pytest

from agent.transcript import (
    Answer,
    Assistant,
    CallRequest,
    CallState,
    ToolResult,
    User,
)
from daemon.store import boots, hopeless, journal, outbox, people, sending, stops, turnrow, turns
from daemon.store.outbox import Draft
from daemon.store.turnrow import TurnRow
from daemon.store.values import Claim, Place

PLACE = Place("telegram", "42", "1")
BASH = CallRequest("call_1", "bash", '{"command": "ls"}')
CLOCK = CallRequest("call_2", "current_datetime", "{}")


@pytest.fixture
def session(db: sqlite3.Connection) -> str:
    return people.ensure_session(db, PLACE, 0.0)


def ada(db: sqlite3.Connection) -> str:
    return people.ensure_user(db, "telegram", "1", "Ada", 1.0)


def begin(db: sqlite3.Connection, session: str, text: str = "hello", now: float = 1.0) -> TurnRow:
    return turns.create(db, session, text=text, asked_at=now, now=now, payer_id=ada(db))


def claim(db: sqlite3.Connection, turn: TurnRow, boot: str, *, first: bool = True) -> Claim:
    seen = journal.read_pages(db, turn.id).last_message
    made = Claim(turn.id, boot, first, seen)
    if first:
        journal.hold(db, made, 2.0)
    return Claim(turn.id, boot, first=False, seen=seen)


def results_per_call(db: sqlite3.Connection) -> list[int]:
    rows = db.execute(
        "SELECT (SELECT count(*) FROM messages WHERE tool_call_id = c.id) FROM tool_calls AS c"
    )
    return [row[0] for row in rows.fetchall()]


def test_a_place_that_chose_an_agent_has_a_session_of_it(db: sqlite3.Connection) -> None:
    house = people.ensure_session(db, PLACE, 1.0)
    db.execute("INSERT INTO agents (id, name, created_at) VALUES ('chef', 'Chef', 1)")
    db.execute("INSERT INTO chat_focus VALUES ('telegram', '42', '1', '', 'chef')")
    chef = people.ensure_session(db, PLACE, 2.0)
    assert chef == people.ensure_session(db, PLACE, 3.0) != house
    agents = db.execute("SELECT agent_id FROM sessions ORDER BY created_at").fetchall()
    assert [row[0] for row in agents] == ["house", "chef"]


# --- Claims ---


def test_only_one_run_can_claim_a_turn(db: sqlite3.Connection, session: str, boot: str) -> None:
    turn = begin(db, session)
    claim(db, turn, boot)
    with pytest.raises(journal.NotOurs):
        claim(db, turn, boot)


def test_a_turn_that_was_stopped_cannot_be_stepped(
    db: sqlite3.Connection, session: str, boot: str
) -> None:
    turn = begin(db, session)
    held = claim(db, turn, boot)
    assert stops.stop(db, session, 3.0) == stops.Stopped((turn.id,))
    with pytest.raises(journal.NotOurs):
        journal.hold(db, held, 4.0)


def test_a_run_that_has_not_read_the_newest_text_cannot_claim(
    db: sqlite3.Connection, session: str, boot: str
) -> None:
    """A forward that joins between the reading and the claim must not go unread."""
    turn = begin(db, session)
    seen = journal.read_pages(db, turn.id).last_message
    turnrow.add_user_message(db, turn.id, "and this", 2.0)
    with pytest.raises(journal.NotOurs):
        journal.hold(db, Claim(turn.id, boot, first=True, seen=seen), 2.0)


def test_attempts_grow_before_the_run_and_are_forgiven_by_progress(
    db: sqlite3.Connection, session: str, boot: str
) -> None:
    turn = begin(db, session)

    def attempts() -> int:
        return int(db.execute("SELECT attempts FROM turns").fetchone()[0])

    for expected in (1, 2, 3):
        claim(db, turn, boot)
        assert attempts() == expected
        turns.recover(db)
    held = claim(db, turn, boot)
    journal.add_answer(db, held.turn_id, Answer("", (BASH,)), 3.0)
    assert attempts() == 1


def test_a_turn_given_back_on_purpose_is_not_counted(
    db: sqlite3.Connection, session: str, boot: str
) -> None:
    turn = begin(db, session)
    journal.release(db, claim(db, turn, boot), 1.5)
    row = db.execute("SELECT state, attempts, ran_seconds FROM turns").fetchone()
    assert tuple(row) == ("ready", 0, 1.5)


def test_a_turn_that_keeps_failing_is_given_up(
    db: sqlite3.Connection, session: str, boot: str
) -> None:
    turn = begin(db, session)
    for _ in range(hopeless.MAX_ATTEMPTS):
        assert hopeless.give_up_hopeless(db, 2.0) == []
        claim(db, turn, boot)
        turns.recover(db)
    assert [dead.turn.id for dead in hopeless.give_up_hopeless(db, 2.0)] == [turn.id]
    assert turns.open_turns(db) == []


def test_age_alone_makes_a_dead_letter_too(db: sqlite3.Connection, session: str) -> None:
    """The two caps are joined by OR."""
    begin(db, session, now=1.0)
    assert hopeless.give_up_hopeless(db, 1.0 + hopeless.MAX_AGE) == []
    assert len(hopeless.give_up_hopeless(db, 2.0 + hopeless.MAX_AGE)) == 1


# --- Every call has one result ---


@pytest.mark.parametrize("end", ["stop", "failed", "dead"])
def test_ending_a_turn_gives_every_open_call_its_result(
    db: sqlite3.Connection, session: str, boot: str, end: str
) -> None:
    turn = begin(db, session)
    held = claim(db, turn, boot)
    running, done = journal.add_answer(db, turn.id, Answer("", (BASH, CLOCK)), 3.0)
    journal.intend_tool_call(db, held, done.id, 3.0)
    journal.finish_tool_call(db, held, done.id, "noon", 4.0, failed=False)
    journal.intend_tool_call(db, held, running.id, 4.0)
    turns.end(db, turn.id, "stopped" if end == "stop" else end, 5.0)
    assert results_per_call(db) == [1, 1]
    texts = [e.text for e in journal.read_pages(db, turn.id).turn if isinstance(e, ToolResult)]
    assert texts == [turns.CUT_OFF, "noon"], "in the order asked for"


def test_a_call_that_never_began_is_said_not_to_have_run(
    db: sqlite3.Connection, session: str, boot: str
) -> None:
    turn = begin(db, session)
    claim(db, turn, boot)
    journal.add_answer(db, turn.id, Answer("", (BASH,)), 3.0)
    stops.stop(db, session, 4.0)
    assert journal.read_pages(db, turn.id).turn[-1].text == turns.NOT_RUN


def test_the_database_itself_refuses_a_second_result(
    db: sqlite3.Connection, session: str, boot: str
) -> None:
    turn = begin(db, session)
    held = claim(db, turn, boot)
    (call,) = journal.add_answer(db, turn.id, Answer("", (BASH,)), 3.0)
    journal.finish_tool_call(db, held, call.id, "one", 4.0, failed=False)
    with pytest.raises(sqlite3.IntegrityError):
        journal.finish_tool_call(db, held, call.id, "two", 5.0, failed=False)


# --- Reading back ---


def test_a_turn_is_read_back_as_it_was_written(
    db: sqlite3.Connection, session: str, boot: str
) -> None:
    earlier = begin(db, session, "before")
    claim(db, earlier, boot)
    journal.add_answer(db, earlier.id, Answer("fine"), 2.0)
    turns.end(db, earlier.id, "answered", 2.0)
    turn = begin(db, session, "run it")
    held = claim(db, turn, boot)
    (call,) = journal.add_answer(db, turn.id, Answer("wait", (BASH,)), 3.0)
    journal.intend_tool_call(db, held, call.id, 3.0)
    pages = journal.read_pages(db, turn.id)
    assert pages.history == (User("before", 1.0), Assistant("fine"))
    assert pages.turn[0] == User("run it", 1.0)
    assert isinstance(pages.turn[1], Assistant)
    (read,) = pages.turn[1].calls
    assert (read.id, read.request, read.state) == (call.id, BASH, CallState.RUNNING)
    assert pages.address.place == PLACE
    assert pages.address.about == "run it"


def test_later_messages_are_not_in_the_context_of_an_earlier_turn(
    db: sqlite3.Connection, session: str
) -> None:
    first = begin(db, session, "one")
    begin(db, session, "two")
    pages = journal.read_pages(db, first.id)
    assert (pages.history, pages.turn) == ((), (User("one", 1.0),))


def test_a_new_conversation_leaves_the_old_one_out(db: sqlite3.Connection, session: str) -> None:
    turns.end(db, begin(db, session, "old").id, "answered", 2.0)
    people.begin_again(db, session)
    pages = journal.read_pages(db, begin(db, session, "new").id)
    assert (pages.history, pages.turn) == ((), (User("new", 1.0),))


def test_text_that_sqlite_cannot_hold_is_mended(db: sqlite3.Connection, session: str) -> None:
    turn = begin(db, session, "half \ud83d a pair, and \ud83d\ude00 a whole one")
    text = journal.read_pages(db, turn.id).turn[0].text
    assert text == "half \ufffd a pair, and \U0001f600 a whole one"


def test_the_model_learns_what_did_not_reach_the_chat(db: sqlite3.Connection, session: str) -> None:
    turn = begin(db, session, "one")
    journal.add_answer(db, turn.id, Answer("lost words"), 2.0)
    turns.end(db, turn.id, "answered", 2.0)
    outbox.enqueue(db, PLACE, [Draft("sendMessage", {"text": "x"})], 2.0, turn_id=turn.id)
    part = db.execute("SELECT id FROM outbox").fetchone()[0]
    sending.failed(db, part, "400 Bad Request: no")
    pages = journal.read_pages(db, begin(db, session, "two").id)
    assert "lost words" in pages.history[1].text
    assert "400 Bad Request: no" in pages.history[1].text


# --- Gathering ---


def test_a_gathering_waits_for_its_deadline(db: sqlite3.Connection, session: str) -> None:
    turn = turns.create(
        db, session, text="part 1", asked_at=1.0, now=1.0, gather_key="album 9", deadline=2.0
    )
    assert turn.state == "waiting"
    assert turns.gathering(db, session, "album 9") == turn
    assert turns.gathering(db, session, "album 8") is None
    assert turns.ripen(db, 1.9) == []
    assert [each.id for each in turns.ripen(db, 2.0)] == [turn.id]
    assert turnrow.get(db, turn.id).state == "ready"
    assert turns.gathering(db, session, "album 9") is None


def test_a_gathering_does_not_wait_for_a_clock_that_was_set_back(
    db: sqlite3.Connection, session: str
) -> None:
    turn = turns.create(
        db, session, text="part 1", asked_at=1.0, now=9e5, gather_key="album 9", deadline=9e5 + 1
    )
    assert [each.id for each in turns.ripen(db, 1.0)] == [turn.id]


def test_a_turn_whose_task_has_ended_is_nobodys(
    db: sqlite3.Connection, session: str, boot: str
) -> None:
    turn = begin(db, session)
    claim(db, turn, boot)
    assert turns.let_go(db, turn.id).state == "ready"
    claim(db, turn, boot)
    turns.end(db, turn.id, "answered", 2.0)
    assert turns.let_go(db, turn.id).state == "ended"


def test_a_run_that_an_orderly_end_cut_off_is_not_counted(
    db: sqlite3.Connection, session: str, boot: str
) -> None:
    """Six quick restarts during one slow answer are no reason to give it up; six crashes are."""
    turn = begin(db, session)
    for ends in (True, False):
        claim(db, turn, boot)
        if ends:
            boots.end(db, boot, 2.0)
        turns.recover(db)
        db.execute("UPDATE boots SET ended_at = NULL")
    assert db.execute("SELECT attempts FROM turns").fetchone()[0] == 1


def test_only_a_turn_without_an_answer_can_be_given_more(
    db: sqlite3.Connection, session: str, boot: str
) -> None:
    turn = begin(db, session, now=10.0)
    assert turns.unanswered(db, session, 9.0, ada(db)) is not None
    assert turns.unanswered(db, session, 11.0, ada(db)) is None
    claim(db, turn, boot)
    assert turns.unanswered(db, session, 9.0, ada(db)) is not None
    journal.add_answer(db, turn.id, Answer("", (BASH,)), 3.0)
    assert turns.unanswered(db, session, 9.0, ada(db)) is None


def test_only_the_latest_turn_can_be_given_more(db: sqlite3.Connection, session: str) -> None:
    begin(db, session, now=10.0)
    later = begin(db, session, now=10.0)
    found = turns.unanswered(db, session, 9.0, ada(db))
    assert found is not None
    assert found.id == later.id
