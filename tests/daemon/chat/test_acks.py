"""Reactions that say "seen, and queued": when there is one, and that none stays behind."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define, evolve

from agent.transcript import Answer
from daemon.chat import hearing, recovery
from daemon.chat.intake import Said, Speaker
from daemon.chat.journal import Wakes
from daemon.chat.situation import Effects, Situation
from daemon.demo.botapi import BotApiServer
from daemon.demo.faults import Fault
from daemon.demo.servers import open_demo_servers
from daemon.spool import Spool
from daemon.store import acks, boots, hopeless, people, turns
from daemon.store.db import Database, open_database
from daemon.store.values import Place
from daemon.telegram import failure
from daemon.telegram.api import open_api
from daemon.telegram.outbox import Outbox
from tests.daemon.chat.turnbench import Bench, bench_with
from tests.harness import ledger

HERE = Place("telegram", "1000000001", "1")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "famulus.db") as opened:
        yield opened


@define
class Chat:
    """A chat at the demo's server, what is said in it heard by us, and a sender."""

    bot: BotApiServer
    bench: Bench
    sender: Outbox
    while_busy: str = "queue"

    async def say(self, text: str) -> int:
        """A person says something; the number of the message."""
        self.bot.user_says(text, chat_id=1, user_id=1)
        number = self.bot.chat(1)[-1].message_id
        said = Said(HERE, Speaker("1", "Ada"), text, time.time(), "", message_id=str(number))

        def hear(db: Any) -> Effects:
            effects = Effects()
            situation = Situation(db, time.time(), list, effects)
            hearing.hear(situation, said, self.while_busy)
            return effects

        effects = await self.bench.database.write(hear)
        for turn in effects.begun:
            self.bench.lanes.put(turn)
        for place in effects.queued:
            self.sender.wake(place)
        return number

    def reaction(self, number: int) -> list[str]:
        (message,) = (each for each in self.bot.chat(1) if each.message_id == number)
        return [each["emoji"] for each in message.reaction]

    async def shown(self, number: int, *emojis: str) -> None:
        await self.bot.wait_for(lambda _bot: self.reaction(number) == list(emojis))

    async def rows(self) -> list[tuple[Any, ...]]:
        return await self.bench.all(
            "SELECT state FROM outbox WHERE method = 'setMessageReaction' ORDER BY id"
        )


@asynccontextmanager
async def chatting(
    database: Database, tmp_path: Path, *answers: Any, sends: bool = True
) -> AsyncIterator[Chat]:
    async with open_demo_servers() as demo, open_api(demo.bot.base_url, demo.bot.token) as api:
        bench = await bench_with(database, tmp_path, *answers)
        boot = await database.write(boots.begin, "test", 0.0)
        sender = Outbox(database, boot, api.call, Spool(tmp_path / "spool"))
        bench.lanes.wake_outbox = sender.wake
        wakes = Wakes(sender.wake, bench.lanes.put, bench.lanes.dropped)
        bench.runner = evolve(bench.runner, wakes=wakes)
        async with trio.open_nursery() as nursery:
            if sends:
                await nursery.start(sender.run)
            await nursery.start(bench.lanes.run)
            yield Chat(demo.bot, bench, sender)
            nursery.cancel_scope.cancel()
        ledger.note(demo.bot.calls)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acks, "PATIENCE", 0.0)


@pytest.mark.usefixtures("at_once")
async def test_what_waits_for_its_turn_is_acknowledged_until_that_begins(
    database: Database, tmp_path: Path
) -> None:
    """The first message needs none: its turn runs. The second has one as long as it waits."""
    go_on = trio.Event(), trio.Event()
    answers = (go_on[0], Answer("one"), go_on[1], Answer("two"))
    async with chatting(database, tmp_path, *answers) as chat:
        first = await chat.say("a")
        await chat.bench.model.waiting.wait()
        second = await chat.say("b")
        await chat.shown(second, acks.SEEN)
        assert chat.reaction(first) == []
        go_on[0].set()
        await chat.shown(second)  # while its turn runs, and before it is answered
        go_on[1].set()
        await chat.bot.wait_for(lambda bot: bot.texts(1) == ["one", "two"])
        assert chat.bot.violations == []


async def test_a_turn_that_begins_soon_needs_no_reaction(
    database: Database, tmp_path: Path
) -> None:
    """None is made that would be taken back at once; nothing of it is left, either."""
    go_on = trio.Event()
    async with chatting(database, tmp_path, go_on, Answer("one"), Answer("two")) as chat:
        await chat.say("a")
        await chat.bench.model.waiting.wait()
        await chat.say("b")
        assert await chat.rows() == [("queued",)]
        go_on.set()
        await chat.bot.wait_for(lambda bot: bot.texts(1) == ["one", "two"])
        assert await chat.rows() == []
        assert chat.bot.count(acks.REACT) == 0


async def test_of_many_messages_the_first_few_are_acknowledged(
    database: Database, tmp_path: Path
) -> None:
    """Reactions take a part of what a bot may do in a chat, which the answers need."""
    async with chatting(database, tmp_path, trio.Event(), sends=False) as chat:
        for number in range(acks.MOST + 5):
            await chat.say(str(number))
        assert len(await chat.rows()) == acks.MOST


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("status", [400, 403])
async def test_a_chat_without_reactions_is_left_in_peace(
    database: Database, tmp_path: Path, status: int
) -> None:
    """No line says so, and the answers come as ever."""
    go_on = trio.Event()
    async with chatting(database, tmp_path, go_on, Answer("one"), Answer("two")) as chat:
        refused = "Bad Request: REACTION_INVALID"
        chat.bot.faults.add(Fault(acks.REACT, status=status, description=refused, times=-1))
        await chat.say("a")
        await chat.bench.model.waiting.wait()
        await chat.say("b")
        await chat.bot.wait_for(lambda bot: bot.count(acks.REACT))
        go_on.set()
        await chat.bot.wait_for(lambda bot: bot.count(acks.REACT) == 2)
        await chat.bot.wait_for(lambda bot: bot.texts(1) == ["one", "two"])


@pytest.mark.usefixtures("at_once")
async def test_a_reaction_that_gets_no_answer_is_given_up(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a few attempts, without a word to anybody."""
    monkeypatch.setattr(failure, "FIRST_BACKOFF", 0.001)
    async with chatting(database, tmp_path, trio.Event()) as chat:
        chat.bot.faults.add(Fault(acks.REACT, status=500, times=-1))
        await chat.say("a")
        await chat.bench.model.waiting.wait()
        await chat.say("b")
        with trio.fail_after(20):
            while await chat.rows() != [("sent",)]:
                await trio.lowlevel.checkpoint()
        assert chat.bot.count(acks.REACT) == failure.MAX_COURTESY
        assert chat.bot.texts(1) == []


@pytest.mark.usefixtures("at_once")
async def test_no_answer_waits_for_a_reaction(database: Database, tmp_path: Path) -> None:
    """Where Telegram will not have them for now, or is slow, messages go on."""
    go_on = trio.Event()
    async with chatting(database, tmp_path, go_on, Answer("one"), Answer("two")) as chat:
        chat.bot.faults.add(Fault(acks.REACT, status=429, retry_after=3000))
        await chat.say("a")
        await chat.bench.model.waiting.wait()
        second = await chat.say("b")
        await chat.bot.wait_for(lambda bot: bot.count(acks.REACT))
        go_on.set()
        await chat.bot.wait_for(lambda bot: bot.texts(1) == ["one", "two"])
        assert chat.reaction(second) == []


@pytest.mark.parametrize("while_busy", ["steer", "interrupt"])
async def test_what_does_not_wait_is_not_acknowledged(
    database: Database, tmp_path: Path, while_busy: str
) -> None:
    """It is read by the turn that runs, or takes its place."""
    go_on = trio.Event()
    answers = [Answer("one"), Answer("two"), Answer("three")]
    async with chatting(database, tmp_path, go_on, *answers, sends=False) as chat:
        chat.while_busy = while_busy
        await chat.say("a")
        await chat.bench.model.waiting.wait()
        await chat.say("b")
        assert await chat.rows() == []
        go_on.set()


async def acknowledged(chat: Chat) -> int:
    """The second of two messages waits, with a reaction that was sent; gives its turn."""
    await chat.say("a")
    await chat.bench.model.waiting.wait()
    await chat.say("b")
    ((waiting,),) = await chat.bench.all("SELECT max(id) FROM turns")
    await chat.bench.database.write(lambda db: db.execute("UPDATE outbox SET state = 'sent'"))
    return int(waiting)


async def test_a_turn_that_never_begins_takes_its_reaction_back(
    database: Database, tmp_path: Path
) -> None:
    """Stopped or given up; and one that was sent is taken back once, whatever happens."""
    go_on = trio.Event()
    async with chatting(database, tmp_path, go_on, Answer("one"), sends=False) as chat:
        waiting = await acknowledged(chat)
        await database.write(turns.end, waiting, "stopped", 0.0)
        assert await chat.rows() == [("sent",), ("queued",)]
        assert not await database.write(acks.settle, waiting, 0.0)
        ((params,),) = await chat.bench.all("SELECT params FROM outbox WHERE state = 'queued'")
        assert '"reaction": []' in params


async def test_a_reaction_stays_in_the_chat_that_a_group_has_left(
    database: Database, tmp_path: Path
) -> None:
    """Its message has another number now; nothing is queued where nobody would look for it."""
    go_on = trio.Event()
    async with chatting(database, tmp_path, go_on, Answer("one"), sends=False) as chat:
        waiting = await acknowledged(chat)
        await database.write(people.move_chat, HERE, "-1007")
        assert not await database.write(acks.settle, waiting, 0.0)
        assert await chat.rows() == [("sent",)]
        go_on.set()


async def test_a_turn_that_is_given_up_takes_its_reaction_back_at_once(
    database: Database, tmp_path: Path
) -> None:
    """A new run of the lanes, in the same process, tells the outbox of it."""
    go_on = trio.Event()
    async with chatting(database, tmp_path, go_on, Answer("one"), sends=False) as chat:
        await chat.say("a")
        await chat.bench.model.waiting.wait()
        await chat.say("b")
        await database.write(lambda db: db.execute("UPDATE outbox SET state = 'sent'"))
        later = time.time() + hopeless.MAX_AGE + 1
        told = (await database.write(recovery.take_over, later)).told
        assert acks.beside(HERE) in told
        assert await chat.rows() == [("sent",), ("queued",)]
