"""Conversations that are summed up: nothing is lost, nothing is said twice, nobody waits."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from agent.budget import FREE, Tariff
from agent.fitting import OMITTED
from agent.sizes import Sizes
from agent.transcript import Answer
from daemon.chat.commands import COMMANDS
from daemon.chat.compaction import Means
from daemon.chat.recovery import take_over
from daemon.chat.summing import REPLY_NOTHING, TOLD_DONE
from daemon.demo.replies import ChatRequest, Item, ModelFault, Reply, ToolCall
from daemon.store import compactions, journal, people, turns
from daemon.store.db import Database, open_database
from tests.daemon.chat.conversations import (
    MEMORY,
    Conversation,
    answer,
    conversation,
    counted,
    is_summary,
    marks,
    questions,
)

# The limit is 10,800 of the test's tokens, of which system and tools take up to half.
SIZES = Sizes(window=20_000, answer=2_000, share=0.6, keep=0.3)
WITHOUT = Sizes(window=10_000_000, enabled=False)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "famulus.db") as opened:
        yield opened


async def hold(talk: Conversation, count: int, first: int = 1) -> None:
    async with talk.going_on():
        for text in questions(count, first):
            await talk.say(text)


def last_question(talk: Conversation) -> ChatRequest:
    """The last request of a turn."""
    return [each for each in talk.server.requests if not is_summary(each)][-1]


def expected_marks(count: int) -> set[str]:
    said = {f"U{n:04d}" for n in range(1, count + 1)}
    return said | {f"R{n:04d}" for n in range(3, count + 1, 3)}


# --- The long conversation ---


@pytest.mark.parametrize("count", [60, pytest.param(300, marks=pytest.mark.slow)])
async def test_a_long_conversation(
    database: Database, tmp_path: Path, count: int, record_property: Callable[[str, object], None]
) -> None:
    """Each message is summed up once, and is then in every request; none is over the limit."""
    async with conversation(database, SIZES) as talk:
        await hold(talk, count)
    requests = talk.server.requests
    assert talk.server.refusals == []
    taken = [marks(each, summarised=False) for each in requests if is_summary(each)]
    assert len(taken) >= count // 30
    assert sum(map(len, taken)) == len(set().union(*taken)), "something was summed up twice"
    _check_requests(requests)
    last = last_question(talk)
    everything = marks(last, summarised=True) | marks(last, summarised=False)
    assert everything == expected_marks(count)
    told = [text for text in await talk.texts() if text == TOLD_DONE]
    assert len(told) == 1
    assert len(talk.renewed) == len(taken)
    async with open_database(tmp_path / "other.db") as other, conversation(other, WITHOUT) as plain:
        await hold(plain, count)
    for name, value in _figures(talk, plain, count).items():
        record_property(name, value)
        print(f"{name}: {value}")  # noqa: T201  (shown by -s, and by -rP)


def _check_requests(requests: list[ChatRequest]) -> None:
    """Each has all that was said before it, as it was or in the summary, and keeps to the limit."""
    removed: set[str] = set()
    seen: set[str] = set()
    for request in requests:
        summarised, verbatim = marks(request, summarised=True), marks(request, summarised=False)
        assert counted(request) <= SIZES.limit
        assert MEMORY in str(request.messages[0])
        assert summarised == removed
        assert not (summarised & verbatim)
        if is_summary(request):
            assert request.body["tool_choice"] == "none"
            assert request.tool_names == requests[0].tool_names, "as in the cached prefix"
            removed = summarised | verbatim
        else:
            seen |= verbatim
            assert summarised | verbatim == seen


def _figures(talk: Conversation, plain: Conversation, count: int) -> dict[str, object]:
    """Tokens that were sent, with and without."""
    found: dict[str, object] = {"turns": count, "limit": SIZES.limit}
    for name, each in (("with", talk), ("without", plain)):
        sent = [counted(request) for request in each.server.requests]
        found[f"{name}: tokens per turn"] = sum(sent) // count
        found[f"{name}: largest request"] = max(sent)
        found[f"{name}: in all"] = sum(sent)
    found["summaries"] = sum(map(is_summary, talk.server.requests))
    return found


async def test_a_question_and_a_result_larger_than_the_limit_are_shortened(
    database: Database,
) -> None:
    """Within the turn that brings them, and in its summary; the turn itself is not lost."""
    async with conversation(database, SIZES) as talk:
        talk.executor = attrs.evolve(talk.executor, characters=25_000)
        talk.__attrs_post_init__()
        await hold(talk, 7)
        async with talk.going_on():
            await talk.say(f"U0008 {'x' * 90_000}")
            await talk.say("U0010 and now?")
    assert talk.server.refusals == []
    assert [counted(each) for each in talk.server.requests if counted(each) > SIZES.limit] == []
    last = last_question(talk)
    assert {"U0001", "U0008", "R0003", "R0006"} <= marks(last, summarised=True) | marks(
        last, summarised=False
    )


async def test_many_short_turns_are_summed_up_before_they_are_too_many_to_read(
    database: Database,
) -> None:
    """However small they are."""
    async with conversation(database, Sizes(window=1_000_000)) as talk:
        session = (await talk.create("U0001 hello")).session_id

        def fill(db: Any) -> None:
            turns.end(db, 1, "answered", 1.0)
            for number in range(2, 160):
                turn = turns.create(db, session, text=f"U{number:04d}", asked_at=1.0, now=1.0)
                journal.add_answer(db, turn.id, Answer("yes"), 1.0)
                turns.end(db, turn.id, "answered", 1.0)

        await database.write(fill)
        async with talk.going_on():
            await talk.say("U0161 and now?")
            await talk.say("U0162 and now?")
    last = last_question(talk)
    assert OMITTED not in str(last.messages)
    assert "U0001" in marks(last, summarised=True)


def talk_on(db: Any, session: str, until: int) -> None:
    """Let so many turns have been, the first of which is there already."""
    turns.end(db, 1, "answered", 1.0)
    for number in range(2, until):
        turn = turns.create(db, session, text=f"U{number:04d}", asked_at=1.0, now=1.0)
        turns.end(db, turn.id, "answered", 1.0)


async def test_what_is_too_much_to_read_is_said_to_be_left_out(database: Database) -> None:
    """Where nothing is summed up, the model knows that there was more."""
    async with conversation(database, WITHOUT) as talk:
        session = (await talk.create("U0001 hello")).session_id
        await database.write(talk_on, session, 220)
        async with talk.going_on():
            await talk.say("U0221 and now?")
    (request,) = talk.server.requests
    assert request.messages[1]["content"] == OMITTED


# --- When it does not work ---


def refusing(how: Callable[[ChatRequest], Item]) -> Callable[[ChatRequest], Item]:
    return lambda request: how(request) if is_summary(request) else answer(request)


FAULTS: dict[str, tuple[Callable[[ChatRequest], Item], str]] = {
    "an error": (lambda _: ModelFault(status=500), "has trouble at its end"),
    "nothing": (lambda _: Reply(" "), "an empty answer"),
    "a call": (lambda _: Reply(calls=(ToolCall("python_execute", {}),)), "called a tool"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_failure_costs_the_conversation_nothing(database: Database, fault: str) -> None:
    """It goes on, it is told once why, and it is not tried again with each turn."""
    how, words = FAULTS[fault]
    async with conversation(database, SIZES, refusing(how)) as talk:
        await hold(talk, 45)
        await _check_failure(talk, words)
        # When the time has come, it is tried again, and everything is still there to be summed up.
        await database.write(lambda db: db.execute("UPDATE compacting SET not_before = 1.0"))
        talk.server.script = answer
        await hold(talk, 2, first=46)
    last = last_question(talk)
    assert marks(last, summarised=True) | marks(last, summarised=False) >= expected_marks(45)
    assert not marks(last, summarised=True) & marks(last, summarised=False)


async def _check_failure(talk: Conversation, words: str) -> None:
    requests = talk.server.requests
    assert sum(map(is_summary, requests)) == 1
    assert all(counted(each) <= SIZES.limit for each in requests)
    texts = await talk.texts()
    (told,) = [text for text in texts if text.startswith("(")]
    assert words in told
    assert len(texts) == 46
    assert await talk.value("SELECT count(*) FROM turns WHERE outcome <> 'answered'") == 0
    assert await talk.value("SELECT failures FROM compacting") == 1
    assert await talk.value("SELECT count(*) FROM model_calls WHERE state = 'running'") == 0


async def test_a_budget_that_is_used_up_stops_the_summary_and_not_the_turn(
    database: Database,
) -> None:
    """What is left for the day goes to people."""
    tariff = Tariff((), attrs.evolve(FREE.budget, user_day_tokens=1_000_000))
    async with conversation(database, SIZES, answer, tariff) as talk, talk.going_on():

        def spend() -> None:
            """Somebody else has used all but enough for a small question."""
            with sqlite3.connect(database.path) as db:
                db.execute("UPDATE usage SET unknown_tokens = 1000000 - prompt_tokens - 1000")

        talk.before_summary = spend
        for text in questions(40):
            await talk.say(text)
            if any("could not sum up" in text for text in await talk.texts()):
                break
    (told,) = [text for text in await talk.texts() if "could not sum up" in text]
    assert "of one person for one day" in told
    assert not any(map(is_summary, talk.server.requests))
    assert await talk.value("SELECT count(*) FROM turns WHERE outcome <> 'answered'") == 0


# --- /compact, /new and other turns ---


async def want(talk: Conversation) -> None:
    def ask(db: Any) -> str:
        session = people.ensure_session(db, talk.place, 0.0)
        compactions.want(db, session, 0.0)
        return session

    talk.compactor.look(await talk.database.write(ask))
    await talk.compactor.idle()


async def test_on_demand_all_is_summed_up_with_figures(database: Database) -> None:
    """However little was said; and again at once, there is nothing to do."""
    async with conversation(database, SIZES) as talk, talk.going_on():
        for text in questions(4):
            await talk.say(text)
        await want(talk)
        await want(talk)
        await talk.say("U0005 go on")
    *_, figures, nothing, _ = await talk.texts()
    assert figures.startswith("Summed up: the context had about")
    assert nothing == REPLY_NOTHING
    last = last_question(talk)
    assert marks(last, summarised=False) == {"U0005"}
    assert marks(last, summarised=True) == expected_marks(4)


async def test_on_demand_it_waits_for_the_end_of_the_turn(database: Database) -> None:
    """And then is not forgotten."""
    stalled = ModelFault.stalled()
    async with conversation(database, SIZES) as talk, talk.going_on():
        await talk.say("U0001 one")
        talk.server.faults.add(stalled)
        turn = await talk.create("U0002 two")
        talk.lanes.put(turn)
        await talk.server.wait_for(lambda server: len(server.requests) == 2)
        await want(talk)
        assert not any(map(is_summary, talk.server.requests))
        stalled.release()
        await talk.until_ended(turn)
        await talk.compactor.idle()
    assert (await talk.texts())[-1].startswith("Summed up")


async def test_a_request_for_a_summary_outlives_the_process(database: Database) -> None:
    """It is a row; the next run answers it."""
    async with conversation(database, SIZES) as talk:
        await hold(talk, 2)

        def ask(db: Any) -> None:
            compactions.want(db, people.ensure_session(db, talk.place, 0.0), 0.0)

        await database.write(ask)
    async with conversation(database, SIZES) as again, again.going_on():
        while not any(text.startswith("Summed up") for text in await again.texts()):
            await again.woken.wait()


async def summary_asked(talk: Conversation) -> bool:
    """Whether the end of the last turn led to a summary, which then is being asked for."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(idle_then_cancel, talk, nursery.cancel_scope)
        while not any(map(is_summary, talk.server.requests)):
            await trio.testing.wait_all_tasks_blocked(0.005)
        nursery.cancel_scope.cancel()
    return any(map(is_summary, talk.server.requests))


async def idle_then_cancel(talk: Conversation, scope: trio.CancelScope) -> None:
    await talk.compactor.idle()
    scope.cancel()


async def test_a_new_conversation_has_no_summary(database: Database) -> None:
    """What is out of mind is out of it in every form, also what is summed up at that moment."""
    stalled = ModelFault.stalled()

    async with conversation(database, SIZES) as talk, talk.going_on():
        talk.before_summary = partial(talk.server.faults.add, stalled)
        turn = None
        for text in questions(40):
            turn = await talk.create(text)
            talk.lanes.put(turn)
            await talk.until_ended(turn)
            if await summary_asked(talk):
                break
        assert turn is not None
        await database.write(people.begin_again, turn.session_id)
        stalled.release()
        await talk.compactor.idle()
        await talk.say("U0100 hello again")
    last = last_question(talk)
    assert marks(last, summarised=True) == set()
    assert marks(last, summarised=False) == {"U0100"}
    assert await talk.value("SELECT count(*) FROM compactions") == 0
    assert await talk.value("SELECT count(*) FROM model_calls WHERE state = 'running'") == 0


async def test_nobody_waits_for_a_summary(database: Database) -> None:
    """The next message is answered while it is being made, with all that was said."""
    stalled = ModelFault.stalled()

    async with conversation(database, SIZES) as talk, talk.going_on():
        talk.before_summary = partial(talk.server.faults.add, stalled)
        number = 0
        while not any(map(is_summary, talk.server.requests)):
            number += 1
            turn = await talk.create(next(questions(1, number)))
            talk.lanes.put(turn)
            await talk.until_ended(turn)
            await trio.testing.wait_all_tasks_blocked(0.05)
        turn = await talk.create(f"U{number + 1:04d} meanwhile")
        talk.lanes.put(turn)
        await talk.until_ended(turn)
        assert counted(talk.server.requests[-1]) <= SIZES.limit
        stalled.release()
        await talk.compactor.idle()
        assert sum(map(is_summary, talk.server.requests)) == 1, "the last prompt knew of none"
        await talk.say(f"U{number + 2:04d} after it")
    last = last_question(talk)
    assert f"U{number + 1:04d}" in marks(last, summarised=False)
    assert marks(last, summarised=True) | marks(last, summarised=False) >= expected_marks(number)


async def test_the_conversation_keeps_its_name(database: Database) -> None:
    """Python's variables are kept by it."""
    async with conversation(database, SIZES) as talk, talk.going_on():
        names = set()
        for text in questions(3):
            await talk.say(text)
            turn = await talk.value("SELECT max(id) FROM turns")
            names.add((await database.read(journal.read_pages, turn)).conversation)
            await want(talk)
    assert len(names) == 1


def trimming(request: ChatRequest) -> Item:
    """Trims when it is told to forget."""
    if "forget" in request.user_text and request.messages[-1]["role"] == "user":
        trim = ToolCall("chat_memory_trim", {"keep_latest": 8})
        return Reply(calls=(trim,), usage=(counted(request), 60))
    return answer(request)


async def test_what_was_trimmed_is_not_counted(database: Database) -> None:
    """The turn that trims still has all of it in its requests, the next one has not."""
    async with conversation(database, attrs.evolve(SIZES, enabled=False), trimming) as talk:
        await hold(talk, 24)
        talk.sizes = SIZES
        async with talk.going_on():
            await talk.say("U0025 forget it")
        assert counted(talk.server.requests[-1]) > SIZES.due
    assert not any(map(is_summary, talk.server.requests))


async def test_a_new_conversation_hears_of_no_failure_of_the_last(database: Database) -> None:
    """It is not asked about what is out of mind."""
    stalled = ModelFault.stalled()
    how = refusing(lambda _: Reply(" "))
    async with conversation(database, SIZES, how) as talk, talk.going_on():
        talk.before_summary = partial(talk.server.faults.add, stalled)
        for text in questions(40):
            turn = await talk.create(text)
            talk.lanes.put(turn)
            await talk.until_ended(turn)
            if await summary_asked(talk):
                break
        await database.write(people.begin_again, turn.session_id)
        stalled.release()
        await talk.compactor.idle()
    assert not any("could not" in text for text in await talk.texts())
    assert await talk.value("SELECT failures FROM compacting") == 1


async def test_only_what_requests_show_is_summed_up(database: Database) -> None:
    """Years of talk from before summaries were turned on are not paid for now."""
    async with conversation(database, SIZES) as talk:
        session = (await talk.create("U0001 hello")).session_id
        await database.write(talk_on, session, 500)
        async with talk.going_on():
            await talk.say("U0501 and now?")
    summaries = [each for each in talk.server.requests if is_summary(each)]
    taken = sorted(set().union(*(marks(each, summarised=False) for each in summaries)))
    assert taken[0] > "U0300"
    assert summaries[0].messages[1]["content"] == OMITTED, "and the model knows that there was more"


class Broken:
    """A model client with a fault of ours."""

    async def complete(self, *_: Any, **__: Any) -> Answer:
        raise ZeroDivisionError


async def test_what_breaks_on_the_way_is_told_once_and_its_call_settled(
    database: Database,
) -> None:
    """A fault of ours, after the call was recorded: nothing stays set aside for it."""
    async with conversation(database, SIZES) as talk, talk.going_on():

        async def means() -> Means:
            return attrs.evolve(await talk._means(), model=Broken())

        for text in questions(3):
            await talk.say(text)
        talk.compactor.means = means
        await want(talk)
    assert "something went wrong inside me" in (await talk.texts())[-1]
    assert await talk.value("SELECT count(*) FROM model_calls WHERE state = 'running'") == 0
    assert await talk.value("SELECT sum(reserved_tokens) FROM usage") == 0


async def test_a_session_whose_rows_make_no_sense_stops_nobody(database: Database) -> None:
    """Others are summed up all the same, and the task does not end for it."""
    async with conversation(database, SIZES) as talk, talk.going_on():
        talk.compactor.look("no such session")
        for text in questions(3):
            await talk.say(text)
        await want(talk)
    assert (await talk.texts())[-1].startswith("Summed up")


def test_there_is_a_command_for_it() -> None:
    """And one for what it costs."""
    assert {"compact", "usage", "new"} <= COMMANDS.keys()


# --- Killed at any point ---


class Killed(BaseException):
    """The process is gone."""


async def lead_up(database: Database) -> None:
    """A conversation that is to be summed up after its next turn."""
    async with conversation(database, attrs.evolve(SIZES, enabled=False)) as talk:
        await hold(talk, 24)


def deadly(database: Database, point: int) -> Callable[[], int]:
    """Die at the point of that number: each transaction has one before it and one after its commit.

    Gives a function that says how many points were passed.
    """
    transact, passed = database._transact, [0]

    def reach() -> None:
        passed[0] += 1
        if passed[0] > point:
            raise Killed

    def watched(body: Callable[[], Any]) -> Any:
        reach()
        result = transact(body)
        reach()
        return result

    database._transact = watched  # type: ignore[method-assign]
    return lambda: passed[0]


async def run_until_killed(database: Database) -> bool:
    """Look after the conversation; True if it was killed."""
    with trio.fail_after(30):
        try:
            async with conversation(database, SIZES) as talk:
                session = await talk.value("SELECT id FROM sessions")
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(talk.compactor.run)
                    talk.compactor.look(session)
                    await talk.compactor.idle()
                    nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            if group.split(Killed)[0] is None:
                raise
            return True
        except Killed:
            return True
    return False


async def test_a_kill_at_any_point_of_a_summary_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """The next run finds either all turns or the summary; what a lost answer cost is counted."""
    for point in range(20):
        async with open_database(tmp_path / f"{point}.db") as database:
            await lead_up(database)
        async with open_database(tmp_path / f"{point}.db") as database:
            deadly(database, point)
            killed = await run_until_killed(database)
        async with open_database(tmp_path / f"{point}.db") as database:
            await _check_after_kill(database)
        if not killed:
            return
    raise AssertionError("it was never done")


async def _check_after_kill(database: Database) -> None:
    await database.write(take_over, time.time())
    async with conversation(database, SIZES) as talk:
        lost = await talk.all(
            "SELECT tokens, reserved_tokens FROM model_calls WHERE state = 'unknown'"
        )
        assert all(tokens == reserved > 0 for tokens, reserved in lost)
        assert await talk.value("SELECT sum(reserved_tokens) FROM usage") == 0
        await hold(talk, 3, first=25)
        assert await talk.value("SELECT count(*) FROM compactions") >= 1
        assert (await talk.texts()).count(TOLD_DONE) == 1
    summaries = [marks(each, summarised=False) for each in talk.server.requests if is_summary(each)]
    assert sum(map(len, summaries)) == len(set().union(*summaries))
    last = last_question(talk)
    verbatim, summarised = marks(last, summarised=False), marks(last, summarised=True)
    assert not verbatim & summarised
    assert verbatim | summarised == expected_marks(27)
