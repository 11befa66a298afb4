"""Turns that wait for permission or for other turns: as rows, through restarts, answered once."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import attrs
import pytest
import trio

from agent.loop import DENIED, LAPSED
from agent.ports import Policy, Subtask, ToolOutcome
from agent.tools.registry import Kind, Registry, tool
from agent.transcript import Answer, CallRequest
from daemon.chat import commands
from daemon.chat.approvals import Console
from daemon.chat.intake import Command, Speaker
from daemon.chat.situation import Effects, Situation
from daemon.chat.steps import CROWD
from daemon.chat.toolset import Scope, Toolset
from daemon.errors import FamulusError
from daemon.store import approvals, boots, children, people, turns
from daemon.store.db import Database, open_database
from daemon.store.turnrow import TurnRow
from daemon.store.values import Place
from executor.client import ExecutorClient
from tests.daemon.chat.turnbench import HERE, Bench, FakeModel

PAY = CallRequest("", "pay", '{"to": "Ada"}')
COOK = CallRequest("", "cook", '{"dish": "soup", "waits": true}')
BREW = CallRequest("", "cook", '{"dish": "beer", "waits": false}')


@attrs.frozen
class Errands(Toolset):
    """A tool that needs permission and one that begins other turns; `paid` is what was done."""

    paid: list[str] = attrs.field(factory=list)

    def registry(self, scope: Scope) -> Registry:
        @tool(kind=Kind.OUTWARD, policy=Policy.ASK)
        async def pay(to: Annotated[str, "Whom"]) -> str:
            """Pay."""
            self.paid.append(to)
            return f"paid {to}"

        @tool(kind=Kind.READ)
        async def cook(
            dish: Annotated[str, "What"], waits: Annotated[bool, "Whether"]
        ) -> ToolOutcome:
            """Cook."""
            return ToolOutcome("on the fire", subtask=Subtask(f"cook {dish}", dish, waits=waits))

        return Registry.of([pay] if scope.child else [pay, cook], attended=scope.attended)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "famulus.db") as opened:
        yield opened


async def bench_with(database: Database, *answers: Any) -> Bench:
    boot = await database.write(boots.begin, "test", 0.0)
    toolset = Errands(ExecutorClient("/nowhere"), database)
    return Bench(database, boot, FakeModel(*answers), toolset)


def paid(bench: Bench) -> list[str]:
    toolset = bench.runner.toolset
    assert isinstance(toolset, Errands)
    return toolset.paid


async def ref_of(bench: Bench) -> str:
    ((ref,),) = await bench.all("SELECT ref FROM approvals WHERE state = 'open'")
    return str(ref)


async def command(bench: Bench, text: str, speaker: str = "1", place: Place = HERE) -> Effects:
    """What the router does with a command of `speaker`."""
    name, _, rest = text.partition(" ")

    def run(db: Any) -> Effects:
        situation = Situation(db, time.time(), list, Effects())
        commands.run(situation, Command(place, Speaker(speaker, "Ada"), name, rest, 0.0))
        return situation.effects

    effects = await bench.database.write(run)
    for turn in effects.begun:
        bench.lanes.put(turn)
    for turn_id in effects.dropped:
        bench.lanes.dropped(turn_id)
    return effects


# --- Permission ---


async def test_a_turn_that_asks_waits_as_a_row_and_goes_on_after_a_restart(
    database: Database,
) -> None:
    """The question is still open for the next boot, and the call runs once, after yes."""
    bench = await bench_with(database, Answer("", (PAY,)))
    await bench.say("pay Ada")
    async with bench.running():
        await bench.answered(1)
        await trio.testing.wait_all_tasks_blocked(0.01)
    question = (await bench.parts())[0]
    assert question.startswith("May I run this?\n\npay\nto: Ada\n")
    assert await bench.all("SELECT state, waiting_for, boot FROM turns") == [
        ("waiting", "approval", None)
    ]
    again = await bench_with(database, Answer("It is done."))
    async with again.running():
        await command(again, f"approve {await ref_of(again)}")
        await again.answered(3)
    assert (await again.parts())[1:] == ["Allowed.", "It is done."]
    assert paid(again) == ["Ada"]
    assert await again.all("SELECT state FROM approvals") == [("granted",)]


async def test_a_denied_call_is_never_run(database: Database) -> None:
    """The model hears that the person did not want it."""
    bench = await bench_with(database, Answer("", (PAY,)), Answer("Then not."))
    await bench.say("pay Ada")
    async with bench.running():
        await bench.answered(1)
        await command(bench, "deny")
        await bench.answered(3)
    results = await bench.all("SELECT content FROM messages WHERE role = 'tool'")
    assert (results, paid(bench)) == ([(DENIED,)], [])


async def test_a_question_is_answered_once(database: Database) -> None:
    """Whoever is second changes nothing and hears how it stands."""
    bench = await bench_with(database, Answer("", (PAY,)), Answer("Done."))
    await bench.say("pay Ada")
    async with bench.running():
        await bench.answered(1)
        ref = await ref_of(bench)
        console = Console(database, bench.lanes.put)
        assert (await console.answer({"ref": ref, "granted": True}))["sentence"] == "Allowed."
        late = await console.answer({"ref": ref, "granted": False})
        assert late["sentence"] == "That was allowed already."
        await bench.answered(2)
    assert paid(bench) == ["Ada"]


async def test_the_console_sees_what_waits_and_names_what_it_does_not_know(
    database: Database,
) -> None:
    """All that would run, with the place that asked."""
    bench = await bench_with(database, Answer("", (PAY,)))
    await bench.say("pay Ada")
    console = Console(database, bench.lanes.put)
    async with bench.running():
        await bench.answered(1)
    (question,) = (await console.list({}))["questions"]
    assert (question["what"], question["place"]["chat"]) == ("pay\nto: Ada", "1")
    with pytest.raises(FamulusError, match="no question 'nonsense'"):
        await console.answer({"ref": "nonsense", "granted": True})


async def test_only_the_person_who_pays_may_answer(database: Database) -> None:
    """In a group others read the question, too."""
    bench = await bench_with(database, Answer("", (PAY,)))

    def say(db: Any) -> TurnRow:
        session = people.ensure_session(db, HERE, 0.0)
        payer = people.ensure_user(db, "telegram", "1", "Ada", 0.0)
        now = time.time()
        return turns.create(db, session, text="pay", asked_at=now, now=now, payer_id=payer)

    await database.write(say)
    async with bench.running():
        await bench.answered(1)
        ref = await ref_of(bench)
        await command(bench, f"approve {ref}", speaker="2")
        await command(bench, "approve", speaker="2")
        await command(bench, f"approve {ref}", place=attrs.evolve(HERE, chat="7"))
    assert await bench.all("SELECT state FROM approvals") == [("open",)]
    assert (await bench.parts())[1:] == [
        "There is no such question for you here.",
        "I am not waiting for an answer of yours.",
        "There is no such question for you here.",
    ]


async def test_a_question_that_nobody_answers_lapses(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chat is told, the model too, and the call is not run."""
    monkeypatch.setattr(approvals, "WAIT_SECONDS", 0.0)
    bench = await bench_with(database, Answer("", (PAY,)), Answer("A pity."))
    await bench.say("pay Ada")
    async with bench.running():
        await bench.answered(3)
    told = (await bench.parts())[1]
    assert told == "Nobody answered within a day, so I did not run this:\n\npay\nto: Ada"
    assert await bench.all("SELECT content FROM messages WHERE role = 'tool'") == [(LAPSED,)]
    assert paid(bench) == []


async def test_stop_ends_a_turn_that_waits(database: Database) -> None:
    """Its question is void, and a late yes does nothing."""
    bench = await bench_with(database, Answer("", (PAY,)))
    await bench.say("pay Ada")
    async with bench.running():
        await bench.answered(1)
        await trio.testing.wait_all_tasks_blocked(0.01)
        ref = await ref_of(bench)
        await command(bench, "stop")
        answer = await Console(database, bench.lanes.put).answer({"ref": ref, "granted": True})
        assert answer["sentence"] == "That question is over: what I was doing has ended."
        assert (bench.lanes.board.running, bench.lanes.board.waiting) == (0, 0)
    assert paid(bench) == []


async def test_of_two_questions_one_must_be_named(database: Database) -> None:
    """The turn goes on when both have answers, and only what was allowed is run."""
    other = CallRequest("", "pay", '{"to": "Bob"}')
    bench = await bench_with(database, Answer("", (PAY, other)), Answer("Half done."))
    await bench.say("pay both")
    async with bench.running():
        await bench.answered(2)
        await command(bench, "approve")
        first, second = await bench.all("SELECT ref FROM approvals ORDER BY id")
        await command(bench, f"approve {first[0]}")
        await command(bench, f"deny {second[0].upper()}")
        await bench.answered(6)
    assert (await bench.parts())[2].startswith("Which one?")
    assert paid(bench) == ["Ada"]


# --- Other turns ---


async def test_a_call_that_waits_gets_the_last_words_of_its_turn(database: Database) -> None:
    """The child says nothing to the chat; its answer is the result, and the parent goes on."""
    bench = await bench_with(database, Answer("", (COOK,)), Answer("hot soup"), Answer("Eat!"))
    await bench.say("I am hungry")
    async with bench.running():
        await bench.answered(1)
    assert await bench.parts() == ["Eat!"]
    assert bench.model.asked[1][1:] == [{"role": "user", "content": "cook soup"}], "nothing else"
    assert bench.model.asked[2][-1]["content"] == "hot soup"
    states = await bench.all("SELECT cause, state, outcome FROM turns ORDER BY id")
    assert states == [("update", "ended", "answered"), ("child", "ended", "answered")]


async def test_a_child_that_fails_fails_its_call(database: Database) -> None:
    """The parent hears so and can do something else."""
    broken = ZeroDivisionError("a fault of ours")
    bench = await bench_with(database, Answer("", (COOK,)), broken, Answer("Bread, then."))
    await bench.say("I am hungry")
    async with bench.running():
        await bench.answered(1)
    assert await bench.parts() == ["Bread, then."]
    assert await bench.all("SELECT failed FROM tool_calls") == [(1,)]


async def test_waiting_for_a_child_survives_a_restart(database: Database) -> None:
    """The child goes on from its rows, and so does the parent."""
    bench = await bench_with(database, Answer("", (COOK,)), trio.Event())
    await bench.say("I am hungry")
    async with bench.running():
        await bench.model.waiting.wait()
    again = await bench_with(database, Answer("hot soup"), Answer("Eat!"))
    async with again.running():
        await again.answered(1)
    assert await again.parts() == ["Eat!"]
    assert await again.all("SELECT count(*) FROM turns") == [(2,)], "begun once"


async def test_stop_ends_the_child_with_its_parent(database: Database) -> None:
    """Nothing goes on for a call that nobody waits for."""
    bench = await bench_with(database, Answer("", (COOK,)), trio.Event())
    await bench.say("I am hungry")
    async with bench.running():
        await bench.model.waiting.wait()
        await command(bench, "stop")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert (bench.lanes.board.running, bench.lanes.board.waiting) == (0, 0)
    assert await bench.all("SELECT outcome FROM turns") == [("stopped",), ("stopped",)]


class Brewer(FakeModel):
    """Answers the child by its task, and everybody else from the list."""

    async def complete(self, messages: Any, tools: Any, *, on_text: Any = None) -> Answer:
        if messages[-1]["content"] == "cook beer":
            return Answer("a beer")
        return await super().complete(messages, tools, on_text=on_text)


async def test_a_task_in_the_background_answers_to_the_chat(database: Database) -> None:
    """Its parent goes on at once; the answer enters the conversation, for what is said later."""
    bench = await bench_with(database)
    bench.runner = attrs.evolve(
        bench.runner, model=Brewer(Answer("", (BREW,)), Answer("It brews."))
    )
    await bench.say("brew")
    async with bench.running():
        await bench.answered(2)
    assert sorted(await bench.parts()) == ["It brews.", "[beer]\na beer"]
    later = await bench_with(database, Answer("You are welcome."))
    await later.say("thanks")
    async with later.running():
        await later.answered(3)
    assert "[beer]\na beer" in [each["content"] for each in later.model.asked[-1]]


async def test_no_more_than_a_few_children_at_once(database: Database) -> None:
    """A loop that spawns is not a way to spend without end."""
    held = trio.Event()
    brews = Answer("", (BREW,) * (children.MOST + 1))
    bench = await bench_with(database, brews, *([held] * children.MOST), held)
    await bench.say("brew")
    async with bench.running():
        await bench.model.waiting.wait()
        await trio.testing.wait_all_tasks_blocked(0.01)
    results = [
        row[0] for row in await bench.all("SELECT content FROM messages WHERE role = 'tool'")
    ]
    assert (len(results), results.count(CROWD)) == (children.MOST + 1, 1)


async def test_stop_reaches_the_background_when_nothing_else_runs(database: Database) -> None:
    """The second /stop ends what the first did not mean."""
    held = trio.Event()
    bench = await bench_with(database, Answer("", (BREW,)), held, Answer("on the fire"))
    await bench.say("brew")
    async with bench.running():
        await bench.model.waiting.wait()
        await command(bench, "stop")
        await command(bench, "stop")
        await command(bench, "stop")
    said = [text for text in await bench.parts() if "top" in text]
    assert said[-1] == "There is nothing to stop."
    assert not await bench.all("SELECT 1 FROM turns WHERE state <> 'ended'")


class Idler(FakeModel):
    """Never answers the child."""

    async def complete(self, messages: Any, tools: Any, *, on_text: Any = None) -> Answer:
        if messages[-1]["content"] == "cook beer":
            self.asked.append(messages)
            await trio.sleep_forever()
        return await super().complete(messages, tools, on_text=on_text)


async def test_the_conversation_hears_of_a_task_that_was_stopped(database: Database) -> None:
    """As it would have heard of the answer: with what is said next, and by no call of its own."""
    bench = await bench_with(database)
    model = Idler(Answer("", (BREW,)), Answer("It brews."))
    bench.runner = attrs.evolve(bench.runner, model=model)
    await bench.say("brew")
    async with bench.running():
        await bench.answered(1)
        await trio.testing.wait_all_tasks_blocked(0.01)
        await command(bench, "stop")
        await trio.testing.wait_all_tasks_blocked(0.01)
    assert await bench.parts() == ["It brews.", "Stopped in the background: 1."]
    assert len(model.asked) == 3, "the turn's two and the task's one"
    later = await bench_with(database, Answer("There is none."))
    await later.say("is the beer done?")
    async with later.running():
        await later.answered(3)
    (request,) = later.model.asked
    (told,) = [each for each in request if "[beer]" in str(each["content"])]
    assert told["role"] == "assistant"
    assert "Stopped by /stop before it was done" in str(told["content"])
