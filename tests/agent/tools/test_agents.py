"""`spawn` and `delegate`: which turn is wanted, as an outcome; nothing is begun here."""

from __future__ import annotations

import json

import pytest

from agent.ports import Subtask, ToolOutcome
from agent.tools.agents import MAX_LABEL, agent_tools
from agent.tools.registry import Registry
from agent.transcript import CallRequest

REGISTRY = Registry.of(agent_tools({"cook": "Cooks."}))


async def ask(name: str, **arguments: str) -> ToolOutcome:
    return await REGISTRY.run(CallRequest("x", name, json.dumps(arguments)))


async def test_a_helper_is_begun_in_the_background() -> None:
    """The model is told so at once."""
    outcome = await ask("spawn", task="brew a beer", label="beer")
    assert outcome.text == "begun in the background: beer"
    assert outcome.subtask == Subtask("brew a beer", "beer")


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        (" two\nlines\tof it ", "two lines of it"),
        ("safe\u202e]gnp.exe\u200b", "safe]gnp.exe"),
        ("x" * 500, "x" * MAX_LABEL),
        (" \u200b\u2066 ", "task"),
    ],
)
async def test_a_label_is_one_line_that_hides_nothing(label: str, shown: str) -> None:
    """People know the task by it, and its questions begin with it."""
    outcome = await ask("spawn", task="brew a beer", label=label)
    assert outcome.subtask is not None
    assert outcome.subtask.label == shown


async def test_a_specialist_is_waited_for() -> None:
    """Its name is the label."""
    outcome = await ask("delegate", agent="cook", task="soup")
    assert outcome.subtask == Subtask("soup", "cook", "cook", waits=True)


@pytest.mark.parametrize("name", ["spawn", "delegate"])
async def test_a_task_says_something(name: str) -> None:
    """A turn with nothing to do would be paid for all the same."""
    more = {"label": "x"} if name == "spawn" else {"agent": "cook"}
    outcome = await ask(name, task=" \n", **more)
    assert outcome.failed
    assert outcome.subtask is None


async def test_an_unknown_specialist_is_an_error_that_names_the_known() -> None:
    outcome = await ask("delegate", agent="baker", task="bread")
    assert outcome.failed
    assert "there are: cook" in outcome.text


def test_without_specialists_nothing_is_delegated() -> None:
    """Nobody pays for the schema."""
    assert [tool.name for tool in agent_tools()] == ["spawn"]


def test_both_can_be_run_again_after_a_crash() -> None:
    """What begins the turn is the transaction that keeps the outcome."""
    assert all(REGISTRY.rerunnable(name) for name in ("spawn", "delegate"))
