"""What the end of one turn does to others, and waits that end late, twice or not at all."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from agent.ports import ModelFailed, Subtask
from agent.transcript import Answer, CallRequest
from daemon.chat import hearing, recovery
from daemon.chat.intake import Said, Speaker
from daemon.chat.situation import Effects, Situation
from daemon.chat.toolset import Scope
from daemon.store import (
    approvals,
    children,
    heartbeats,
    hopeless,
    journal,
    outbox,
    people,
    previews,
    sending,
    turnrow,
    turns,
)
from daemon.store.db import Database, open_database
from daemon.store.heartbeats import Beat
from daemon.store.turnrow import TurnRow
from daemon.store.values import Address
from daemon.telegram.live import Said as Spoken
from tests.daemon.chat.test_waiting import COOK, PAY, bench_with, command, paid, ref_of
from tests.daemon.chat.turnbench import HERE, Bench

HOUR = 3600.0


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "famulus.db") as opened:
        yield opened


async def hear(bench: Bench, text: str, while_busy: str = "steer") -> list[str]:
    """What the router does with what somebody says; returns the replies."""

    def run(db: Any) -> tuple[Effects, int]:
        situation = Situation(db, time.time(), list, Effects())
        said = Said(HERE, Speaker("1", "Ada"), text, time.time(), "", more=False, forwarded=False)
        hearing.hear(situation, said, while_busy)
        return situation.effects

    before = len(await bench.parts())
    effects = await bench.database.write(run)
    for turn in effects.begun:
        bench.lanes.put(turn)
    for turn_id in effects.dropped:
        bench.lanes.dropped(turn_id)
    return (await bench.parts())[before:]


async def begin(bench: Bench, text: str = "hello") -> TurnRow:
    """A turn that somebody pays for."""

    def create(db: Any) -> TurnRow:
        session = people.ensure_session(db, HERE, 0.0)
        payer = people.ensure_user(db, "telegram", "1", "Ada", 0.0)
        now = time.time()
        return turns.create(db, session, text=text, asked_at=now, now=now, payer_id=payer)

    return await bench.database.write(create)


async def quiet() -> None:
    await trio.testing.wait_all_tasks_blocked(0.01)


def is_idle(bench: Bench) -> bool:
    return (bench.lanes.board.running, bench.lanes.board.waiting) == (0, 0)


# --- What is said during a turn ---


async def test_what_is_said_between_two_steps_is_shown_at_the_next(database: Database) -> None:
    """Also if nothing else was kept since, so that the row comes back with the id it had."""
    bench = await bench_with(database, trio.Event(), Answer("Done."))
    turn = await begin(bench)

    def step(db: Any) -> list[tuple[int, str, float]]:
        seen = journal.read_pages(db, turn.id).last_message
        turnrow.add_user_message(db, turn.id, "in blue", 2.0)
        turnrow.add_user_message(db, turn.id, "please", 3.0)
        return turns.say_again(db, turn.id, turns.unread(db, turn.id, seen))

    told = await database.write(step)
    assert [each[1:] for each in told] == [("in blue", 2.0), ("please", 3.0)]


async def test_what_a_turn_that_fails_has_not_read_is_answered(database: Database) -> None:
    """It becomes a turn of the same person, behind what waits already."""
    held = trio.Event()
    bench = await bench_with(
        database, held, ModelFailed("No.", error="x"), Answer("two"), Answer("three")
    )
    await begin(bench, "one")
    async with bench.running():
        await bench.model.waiting.wait()
        assert await hear(bench, "three") == []
        await hear(bench, "and four")
        bench.lanes.put(await begin(bench, "two"))
        held.set()
        await bench.answered(3)
        await quiet()
        assert is_idle(bench)
    assert (await bench.parts())[1:] == ["two", "three"]
    rows = await bench.all("SELECT turn_id, content FROM messages WHERE role = 'user' ORDER BY id")
    assert rows == [(1, "one"), (2, "two"), (3, "three"), (3, "and four")]
    payers = await bench.all("SELECT DISTINCT payer_id FROM turns")
    assert len(payers) == 1


async def test_a_turn_that_waits_for_a_specialist_can_be_told_more(database: Database) -> None:
    """It works, though it is another turn that runs; it reads that with the result."""
    held = trio.Event()
    bench = await bench_with(database, Answer("", (COOK,)), held, Answer("soup"), Answer("Eat!"))
    await begin(bench, "I am hungry")
    async with bench.running():
        await bench.model.waiting.wait()
        await quiet()
        await hear(bench, "and thirsty")
        held.set()
        await bench.answered(1)
    contents = [str(each["content"]) for each in bench.model.asked[-1]]
    assert contents[-2] == "soup"
    assert contents[-1].startswith("and thirsty")
    assert await bench.parts() == ["Eat!"]


async def test_a_turn_that_waits_for_a_specialist_is_interrupted(database: Database) -> None:
    """The specialist ends with it, and what was said is answered at once."""
    bench = await bench_with(database, Answer("", (COOK,)), trio.Event(), Answer("Here I am."))
    await begin(bench, "I am hungry")
    async with bench.running():
        await bench.model.waiting.wait()
        await quiet()
        await hear(bench, "stop it", "interrupt")
        await bench.answered(1)
        await quiet()
        assert is_idle(bench)
    outcomes = await bench.all("SELECT outcome FROM turns ORDER BY id")
    assert outcomes == [("stopped",), ("stopped",), ("answered",)]


async def test_what_an_interrupted_turn_has_shown_stays_as_it_breaks_off(
    database: Database,
) -> None:
    """In the chat in its placeholder's place, and in the transcript; without words it is gone."""
    bench = await bench_with(database)
    turn = await begin(bench, "a story")

    def interrupt(db: Any, words: str) -> tuple[str, dict[str, Any], Effects]:
        db.execute("UPDATE turns SET state = 'running' WHERE id = ?", (turn.id,))
        assert previews.begin(db, HERE, turn.id, {"text": "Once ...\n\nrunning Python ..."}, 1.0)
        db.execute("UPDATE outbox SET state = 'sent', message_id = '31'")
        effects = Effects()
        situation = Situation(db, 2.0, list, effects, said=lambda _turn: Spoken(words))
        said = Said(HERE, Speaker("1", "Ada"), "stop it", 2.0, "", more=False)
        hearing.hear(situation, said, "interrupt")
        part = sending.claim_next(db, outbox.destination_of(HERE), bench.boot, 3.0)
        assert isinstance(part, sending.Part)
        assert part.target == "31"
        kept = db.execute("SELECT content FROM messages WHERE role = 'assistant'").fetchall()
        assert [row[0].startswith(f"{words}\n") for row in kept] == [True] * bool(words)
        return part.method, part.params, effects

    def tried(db: Any, words: str) -> tuple[str, dict[str, Any], Effects]:
        db.execute("SAVEPOINT trial")
        try:
            return interrupt(db, words)
        finally:
            db.execute("ROLLBACK TO trial")

    method, params, effects = await database.write(tried, "Once")
    assert (method, params["text"]) == ("editMessageText", "Once\n\nStopped.")
    assert HERE in effects.queued
    method, _, _ = await database.write(tried, "")
    assert method == "deleteMessage"


async def test_who_writes_behind_a_question_of_a_specialist_is_told(database: Database) -> None:
    """It is the chat's question, whichever turn asked it; it stays open."""
    bench = await bench_with(database, Answer("", (COOK,)), Answer("", (PAY,)))
    await begin(bench, "I am hungry")
    async with bench.running():
        await bench.answered(1)
        await quiet()
        for policy in ("queue", "steer", "interrupt"):
            assert await hear(bench, "hello?", policy) == [hearing.WAITING]
    assert await bench.all("SELECT count(*) FROM approvals WHERE state = 'open'") == [(1,)]


# --- Questions ---


async def test_stop_voids_the_question_of_a_specialist(database: Database) -> None:
    """A child that waits for permission ends with its parent, and nobody is left waiting."""
    bench = await bench_with(database, Answer("", (COOK,)), Answer("", (PAY,)))
    await begin(bench, "I am hungry")
    async with bench.running():
        await bench.answered(1)
        await quiet()
        ref = await ref_of(bench)
        await command(bench, "stop")
        await command(bench, f"approve {ref}")
        await quiet()
        assert is_idle(bench)
    assert (await bench.parts())[1:] == [
        "Stopped: using cook.",
        "That question is over: what I was doing has ended.",
    ]
    assert paid(bench) == []


async def test_a_question_of_a_task_says_which(database: Database) -> None:
    """There may be several at work in a chat, and each shows all but what it is for."""
    two = CallRequest("", "pay", '{"to": "Bob"}')
    bench = await bench_with(database, Answer("", (COOK,)), Answer("", (PAY, two)))
    await begin(bench, "I am hungry")
    async with bench.running():
        await bench.answered(2)
        await quiet()
        await command(bench, "approve")
    first, second, which = await bench.parts()
    assert first.startswith("[soup]\nMay I run this?\n\npay\nto: Ada\n")
    assert second.startswith("[soup]\nMay I run this?\n\npay\nto: Bob\n")
    assert [line.partition(": ")[2] for line in which.splitlines()[1:]] == [
        "[soup] pay to: Ada",
        "[soup] pay to: Bob",
    ]


async def test_an_answer_after_the_deadline_is_none(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the lapse was not written down yet, as when the machine has slept."""
    bench = await bench_with(database, Answer("", (PAY,)), Answer("A pity."))
    await begin(bench)
    async with bench.running():
        await bench.answered(1)
        await quiet()

    def late(db: Any) -> str:
        ref = db.execute("SELECT ref FROM approvals").fetchone()["ref"]
        now = time.time() + approvals.WAIT_SECONDS
        answered = approvals.answer(db, ref, "granted", now)
        assert (answered.new, answered.turn) == (False, None)
        return answered.state

    assert await database.write(late) == "lapsed"
    assert await bench.all("SELECT state FROM approvals") == [("open",)]


async def test_of_two_questions_each_lapses_in_its_time(database: Database) -> None:
    """Asked hours apart, around a restart: the turn's own deadline is always the next one."""
    bench = await bench_with(database, Answer("", (PAY, CallRequest("", "pay", '{"to": "Bob"}'))))
    await begin(bench)
    async with bench.running():
        await bench.answered(2)
        await quiet()

    def first_is_over(db: Any) -> recovery.Passed:
        now = time.time()
        db.execute("UPDATE approvals SET deadline = ? WHERE id = 1", (now - 1,))
        db.execute("UPDATE turns SET deadline = ?", (now - 1,))
        return recovery.pass_deadlines(db, now)

    (turn,) = (await database.write(first_is_over)).changed
    assert turn.state == "waiting"
    assert turn.deadline is not None
    assert turn.deadline > time.time() + HOUR


# --- Ends of other turns ---


def heartbeat(db: Any) -> TurnRow:
    session = people.ensure_session(db, HERE, 0.0)
    beat = Beat(session, Address(HERE, "house", None, "", "", 0.0))
    turn = heartbeats.begin(db, beat, "look", 1.0)
    assert turn is not None
    return turn


def hand_over(db: Any, parent: TurnRow) -> TurnRow:
    """A specialist that the turn waits for."""
    now = time.time()
    (call,) = journal.add_answer(db, parent.id, Answer("", (CallRequest("", "hand", ""),)), now)
    child = children.begin(db, parent.id, call.id, Subtask("task", "cook", "cook", waits=True), now)
    db.execute(
        "UPDATE turns SET state = 'waiting', waiting_for = 'child' WHERE id = ?", (parent.id,)
    )
    return child


async def test_nobody_is_asked_for_permission_by_a_heartbeat_s_specialist(
    database: Database,
) -> None:
    """It is as much alone as the heartbeat is."""

    def attended(db: Any) -> list[bool]:
        found = []
        beat, session = heartbeat(db), people.ensure_session(db, HERE, 0.0)
        for turn in (beat, turns.create(db, session, text="", asked_at=1.0, now=1.0)):
            child = hand_over(db, turn)
            found.append(Scope.of(child.id, journal.read_pages(db, child.id)).attended)
        return found

    assert await database.write(attended) == [False, True]


async def test_stop_in_the_background_ends_heartbeats_too(database: Database) -> None:
    """With what they wait for; no lane is left behind."""
    bench = await bench_with(database)

    def beat(db: Any) -> tuple[TurnRow, TurnRow]:
        turn = heartbeat(db)
        child = hand_over(db, turn)
        return turnrow.get(db, turn.id), child

    turn, _child = await database.write(beat)
    bench.lanes.put(turn)
    await command(bench, "stop")
    assert await bench.parts() == ["Stopped in the background: 2."]
    assert is_idle(bench)


async def test_a_specialist_whose_rows_make_no_sense_frees_who_waits_for_it(
    database: Database,
) -> None:
    """The parent hears that nothing came of it, and goes on in the same life."""
    bench = await bench_with(database, Answer("Bread, then."))

    def broken(db: Any) -> None:
        session = people.ensure_session(db, HERE, 0.0)
        hand_over(db, turns.create(db, session, text="soup", asked_at=1.0, now=time.time()))

    def garble(db: Any) -> None:
        db.execute("UPDATE turns SET session_id = 'gone' WHERE cause = 'child'")

    await database.write(broken)
    database._writer.execute("PRAGMA foreign_keys = OFF")
    await database.write(garble)
    async with bench.running():
        await bench.answered(1)
    assert await bench.parts() == ["Bread, then."]


async def test_a_specialist_that_is_given_up_is_a_result_and_no_message(
    database: Database,
) -> None:
    """The chat waits for the parent, which goes on; a heartbeat that is given up is no news."""
    bench = await bench_with(database, Answer("Bread, then."))

    def hopeless(db: Any) -> None:
        session = people.ensure_session(db, HERE, 0.0)
        hand_over(db, turns.create(db, session, text="soup", asked_at=1.0, now=time.time()))
        heartbeat(db)
        db.execute("UPDATE turns SET attempts = 5 WHERE state = 'ready'")

    await database.write(hopeless)
    async with bench.running():
        await bench.answered(1)
    assert await bench.parts() == ["Bread, then."]
    assert await bench.all("SELECT cause, outcome FROM turns ORDER BY id") == [
        ("update", "answered"),
        ("child", "dead"),
        ("heartbeat", "dead"),
    ]


async def test_a_turn_is_not_too_old_for_having_waited(database: Database) -> None:
    """Two days and a day of waiting later it goes on with what it was just allowed."""
    bench = await bench_with(database, Answer("", (PAY,)), Answer("Done."))
    await begin(bench)
    async with bench.running():
        await bench.answered(1)
        await quiet()

    def long_ago(db: Any, back: float) -> None:
        db.execute("UPDATE turns SET created_at = created_at - ?", (back,))
        db.execute("UPDATE messages SET created_at = created_at - ?", (back,))

    def allow(db: Any) -> None:
        approvals.answer(db, db.execute("SELECT ref FROM approvals").fetchone()[0], "granted", 0.0)
        db.execute("UPDATE approvals SET answered_at = ?", (time.time(),))

    await database.write(long_ago, 2 * hopeless.MAX_AGE)
    await database.write(allow)
    again = await bench_with(database, Answer("Done."))
    async with again.running():
        await again.answered(2)
    assert (await again.parts())[1:] == ["Done."]
    assert paid(again) == ["Ada"]
