"""Specialists with a model and a limit of their own, through the whole daemon."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from daemon.demo.model import MODEL_NAME
from daemon.demo.place import write_private
from daemon.demo.replies import ChatRequest, Item, ModelFault, Reply, ToolCall, text_of
from tests.harness.rig import Rig, open_rig

LARGE = "a-larger-model"
PRICES = [
    {"model": MODEL_NAME, "input": 1.0, "output": 1.0},
    {"model": LARGE, "input": 100.0, "output": 100.0},
]


def page(**fields: str) -> str:
    """The file of a specialist who looks and adds."""
    more = "".join(f"{key}: {value}\n" for key, value in fields.items())
    allow = "tools:\n  allow: [calculate_expression]\n"
    return f"---\nname: scout\ndescription: Looks.\n{allow}{more}---\nYou are the scout.\n"


def is_scout(request: ChatRequest) -> bool:
    return "You are the scout." in text_of(request.messages[0])


def script(request: ChatRequest) -> Item:
    """The chat's model hands over what it is asked; the specialist answers at once."""
    if is_scout(request):
        return Reply("Nothing there.", usage=(1000, 100))
    if request.messages[-1]["role"] == "tool":
        return Reply(f"It says: {text_of(request.messages[-1])}", usage=(2000, 10))
    call = ToolCall("delegate", {"agent": "scout", "task": "look"})
    return Reply(calls=(call,), usage=(2000, 10))


def circling(request: ChatRequest) -> Item:
    """As `script`, but the specialist adds for ever."""
    if not is_scout(request):
        return script(request)
    sum_ = ToolCall("calculate_expression", {"expression": f"1 + {len(request.messages)}"})
    return Reply(calls=(sum_,), usage=(1000, 100))


@asynccontextmanager
async def with_scout(text: str, **tables: Mapping[str, Any] | object) -> AsyncIterator[Rig]:
    """A daemon with this specialist, which is asked something that it hands over to him."""
    async with open_rig() as rig:
        directory = rig.place.root / "owner"
        (directory / "agents").mkdir(mode=0o700, parents=True)
        write_private(directory / "agents" / "scout.md", text)
        rig.configure([1], **{"agent": {"dir": str(directory)}, "prices": PRICES, **tables})
        rig.model.script = script
        await rig.start()
        rig.bot.user_says("what is there?")
        yield rig


async def answer_of(rig: Rig) -> str:
    return str(await rig.until(lambda: next((text for text in rig.bot.texts(1)), "")))


def calls(rig: Rig) -> list[tuple[str, float]]:
    """The model of each call, and what it cost in millionths."""
    rows = rig.rows("SELECT model, cost * 1e6 AS cost FROM model_calls ORDER BY id")
    return [(row["model"], round(row["cost"])) for row in rows]


async def test_a_specialist_is_asked_of_its_own_model() -> None:
    """At the same provider, with its key; what it takes is counted by its name and price."""
    async with with_scout(page(model=LARGE)) as rig:
        assert await answer_of(rig) == "It says: Nothing there."
        asked = {request.body["model"]: request for request in rig.model.requests}
        assert is_scout(asked[LARGE])
        assert not is_scout(asked[MODEL_NAME])
        keys = {request.headers["authorization"] for request in rig.model.requests}
        assert len(keys) == 1
        assert calls(rig) == [(MODEL_NAME, 2010), (LARGE, 110_000), (MODEL_NAME, 2010)]


async def test_the_usual_models_stand_in_for_it() -> None:
    """The same fallbacks; the row says who has answered, and has his price."""
    async with open_rig() as other:
        other.model.script = script
        key = {"file": str(other.place.root / "model.key")}
        second = {"base_url": other.model.base_url, "name": "second", "api_key": key}
        prices = [*PRICES, {"model": "second", "input": 10.0, "output": 10.0}]
        model = {"fallback": [second], "max_attempts": 1}
        async with with_scout(page(model=LARGE), model=model, prices=prices) as rig:
            rig.model.script = lambda request: (
                ModelFault(status=503) if is_scout(request) else script(request)
            )
            assert await answer_of(rig) == "It says: Nothing there."
            assert calls(rig) == [(MODEL_NAME, 2010), ("second", 11_000), (MODEL_NAME, 2010)]
            assert f"{LARGE} gave no answer" in rig.log()
        assert [request.body["model"] for request in other.model.requests] == ["second"]


async def test_a_model_that_is_not_there_is_named() -> None:
    """The one who handed over hears why there is no answer, and so do people."""
    async with with_scout(page(model="misspelt")) as rig:
        rig.model.models = (MODEL_NAME,)
        assert "does not know 'misspelt'" in await answer_of(rig)


async def test_a_model_without_a_price_is_not_asked_where_money_is_limited() -> None:
    """The sentence says which; nothing is sent to it."""
    budget = {"user_day_money": 5.0}
    async with with_scout(page(model="unpriced"), budget=budget) as rig:
        assert "I did not ask the model 'unpriced'" in await answer_of(rig)
        assert {request.body["model"] for request in rig.model.requests} == {MODEL_NAME}
        assert "has no price in [[prices]]: its tasks will be refused" in rig.log()


@pytest.mark.parametrize(
    ("own", "turn", "words"),
    [
        (7000, 12_000, "of this specialist for one task of 7,000 tokens"),
        (700_000, 12_000, "for one task of 12,000 tokens"),
        (0, 12_000, "for one task of 12,000 tokens"),
        (4096, 12_000, "of this specialist for one task of 4,096 tokens"),
    ],
    ids=["its own", "the turn's", "none of its own", "too small for anything"],
)
async def test_the_smaller_limit_holds(own: int, turn: int, words: str) -> None:
    """A specialist's own narrows a turn's budget for its tasks, and never widens it."""
    limits = {"limits": f"\n  tokens: {own}"} if own else {}
    async with with_scout(page(model=LARGE, **limits), budget={"turn_tokens": turn}) as rig:
        rig.model.script = circling
        assert words in await answer_of(rig)
        took = rig.value("SELECT coalesce(sum(tokens), 0) FROM model_calls WHERE model = ?", LARGE)
        assert took <= min(own or turn, turn)
        assert (took > 0) is (own != 4096)
        # Where nothing can be done with them, the owner is told at the start.
        assert ("probably not meant" in rig.log()) is (own in {4096, 700_000})
