"""`ask_user`: what is asked, as an outcome; nobody is asked here."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent.ports import Inquiry, ToolOutcome
from agent.tools.ask import MOST_CHOICE, MOST_QUESTION, ask_tools
from agent.tools.registry import Registry
from agent.transcript import CallRequest

REGISTRY = Registry.of(ask_tools())


async def ask(**arguments: Any) -> ToolOutcome:
    return await REGISTRY.run(CallRequest("x", "ask_user", json.dumps(arguments)))


async def test_a_question_comes_with_its_choices() -> None:
    """In order, each on one line, none twice."""
    outcome = await ask(question=" Which? ", choices=["blue", "deep\nred", "blue", " "])
    assert outcome.inquiry == Inquiry("Which?", ("blue", "deep red"))
    assert not outcome.failed


@pytest.mark.parametrize("choices", [None, [], ["", " "]])
async def test_a_question_may_be_answered_in_words_alone(choices: Any) -> None:
    assert (await ask(question="Which?", choices=choices)).inquiry == Inquiry("Which?")


@pytest.mark.parametrize(
    ("question", "choices"),
    [
        (" \n", None),
        ("x" * (MOST_QUESTION + 1), None),
        ("Which?", ["only one"]),
        ("Which?", [str(number) for number in range(9)]),
        ("Which?", ["a", "x" * (MOST_CHOICE + 1)]),
        ("Which?", ["a", 7]),
        ("Which?", "a, b"),
    ],
)
async def test_what_no_chat_could_show_is_an_error(question: str, choices: Any) -> None:
    """The model is told what to do differently, and nobody is asked."""
    outcome = await ask(question=question, choices=choices)
    assert outcome.failed
    assert outcome.inquiry is None


def test_a_call_that_was_interrupted_can_be_made_again() -> None:
    """The question is asked with the outcome, so one that has none has asked nobody."""
    assert REGISTRY.rerunnable("ask_user")


def test_its_schema_is_a_strict_list() -> None:
    (schema,) = REGISTRY.schemas()
    choices = schema["function"]["parameters"]["properties"]["choices"]
    assert choices["type"] == ["array", "null"]
    assert choices["items"] == {"type": "string"}
