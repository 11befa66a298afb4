"""Budgets as a person meets them: in turns that run, one after another and side by side."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest

from agent.budget import FREE, Tariff
from agent.sizes import Sizes
from daemon.demo.replies import ModelFault
from daemon.store.db import Database, open_database
from daemon.store.values import Place
from tests.daemon.chat.conversations import HERE, answer, conversation

ELSEWHERE = Place("telegram", "42", "2")


def limited(**limits: float) -> Tariff:
    return Tariff((), attrs.evolve(FREE.budget, **limits))


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "famulus.db") as opened:
        yield opened


async def test_a_turn_over_its_budget_ends_with_one_sentence(database: Database) -> None:
    """The model is not asked; what may be changed and when it is anew is said."""
    tariff = limited(turn_tokens=4_000)
    async with conversation(database, Sizes(), answer, tariff) as talk, talk.going_on():
        await talk.say("U0001 hello")
    (text,) = await talk.texts()
    assert "The budget for one task of 4,000 tokens does not suffice" in text
    assert "A new message begins with a new one" in text
    assert "budget.turn_tokens" in text
    assert talk.server.requests == []
    turns = await talk.all("SELECT state, outcome, error, attempts FROM turns")
    assert turns == [("ended", "failed", "over_budget", 1)]


async def test_a_turn_that_comes_to_its_budget_midway_keeps_its_history_in_order(
    database: Database,
) -> None:
    """The calls that it has made have their results, and the next turn goes on from there."""
    # A request has 2,000 to 4,000 tokens, system and tools included; two have more than this.
    tariff = limited(turn_tokens=4_700, answer_tokens=1)
    async with conversation(database, Sizes(), answer, tariff) as talk, talk.going_on():
        await talk.say("U0003 a job")
        await talk.say("U0004 hello")
    first, second = await talk.texts()
    assert "for one task" in first
    assert second.startswith("answer 4")
    assert talk.server.refusals == []


async def test_two_chats_of_one_person_cannot_pass_the_limit_together(database: Database) -> None:
    """The first call is still under way when the second asks; nothing of it is counted yet."""
    stalled = ModelFault.stalled()
    tariff = limited(user_day_tokens=40_000, answer_tokens=20_000)
    async with conversation(database, Sizes(), answer, tariff) as talk, talk.going_on():
        talk.server.faults.add(stalled)
        first = await talk.create("U0001 hello")
        talk.lanes.put(first)
        await talk.server.wait_for(lambda server: server.requests)
        talk.place = ELSEWHERE
        await talk.say("U0002 hello")
        (refused,) = await talk.texts()
        assert "of one person for one day" in refused
        stalled.release()
        await talk.until_ended(first)
        # What was set aside for the answer and not used is free again.
        talk.place = HERE
        await talk.say("U0004 again")
    assert [text[:8] for text in await talk.texts()][1:] == ["answer 1", "answer 4"]


@pytest.mark.parametrize(
    ("fault", "unknown"),
    [
        (ModelFault(status=401), False),
        (ModelFault(status=429), False),
        (ModelFault(status=503), False),
        (ModelFault(status=504), True),
        (ModelFault(cut_before=True), True),
        (ModelFault(cut_after=1), True),
    ],
    ids=["refused", "limited", "down", "given up", "lost", "cut"],
)
async def test_an_error_in_place_of_an_answer_is_free(
    database: Database, fault: ModelFault, *, unknown: bool
) -> None:
    """An outage leaves the day's budget as it is; only who may have worked for us is counted."""
    async with conversation(database, Sizes(), answer, limited()) as talk, talk.going_on():
        talk.server.faults.add(fault)
        await talk.say("U0001 hello")
    counted, reserved = (await talk.all("SELECT unknown_tokens, reserved_tokens FROM usage"))[0]
    assert reserved == 0
    assert (counted > 0) is unknown
