"""The tools for scheduled prompts: what is wanted, as an outcome; nothing is booked here."""

from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import field, frozen

from agent.ports import Appointment, Cancellation, ToolOutcome
from agent.tools.registry import Registry
from agent.tools.schedule import NAMES, NONE, schedule_tools
from agent.transcript import CallRequest
from daemon.demo.chatrules import check_request

KNOWN = ("web_search", "web_fetch", "bash")


@frozen
class Listed:
    """A chat in which this is scheduled."""

    lines: list[str] = field(factory=list)

    async def listed(self) -> list[str]:
        return self.lines


def registry(*lines: str, may_book: bool = True) -> Registry:
    return Registry.of(schedule_tools(Listed(list(lines)), KNOWN, may_book=may_book))


async def call(tool: str, box: Registry | None = None, /, **arguments: Any) -> ToolOutcome:
    request = CallRequest("x", tool, json.dumps(arguments))
    return await (box or registry()).run(request)


async def test_a_prompt_is_scheduled_by_an_outcome() -> None:
    """What is not said stays None, so that whoever books it knows what was."""
    outcome = await call("schedule_prompt", prompt="stretch", delay_seconds=5)
    assert outcome == ToolOutcome("", booking=Appointment(prompt="stretch", delay_seconds=5))


async def test_everything_can_be_said() -> None:
    """Each argument arrives under its own name; blanks around a text do not count."""
    wish: dict[str, Any] = {
        "job": "abc",
        "name": "watch",
        "prompt": "look at the site",
        "run_at": "2026-12-24T18:00",
        "every_seconds": 3600.5,
        "zone": "Europe/Berlin",
        "end_at": "2027-01-01",
        "count": 9,
        "missed": "all",
        "silent": True,
        "model": "small",
        "max_tokens": 1000,
    }
    outcome = await call("schedule_prompt", **wish | {"name": " watch\n"}, tools=["bash", " bash"])
    assert outcome.booking == Appointment(**wish, tools=("bash",))
    cron = await call("schedule_prompt", prompt="x", cron=" 0 9 * * MON-FRI ")
    assert cron.booking == Appointment(prompt="x", cron="0 9 * * MON-FRI")


async def test_an_empty_text_is_none() -> None:
    """Models that must send every argument send empty ones. A model can be taken back by one."""
    empty = dict.fromkeys(["name", "run_at", "cron", "zone", "end_at"], " ")
    outcome = await call("schedule_prompt", job="abc", prompt="", model="", **empty)
    assert outcome.booking == Appointment(job="abc", model="")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"delay_seconds": 5}, "the prompt is empty"),
        ({"prompt": " ", "delay_seconds": 5, "job": ""}, "the prompt is empty"),
        ({"prompt": "x", "missed": "never"}, "missed must be one of skip, once, all"),
        ({"prompt": "x", "delay_seconds": "5"}, "delay_seconds must be a number"),
        ({"prompt": "x", "tools": ["web_serch"]}, "no tool 'web_serch'; it may have: web_search"),
        ({"prompt": "x", "tools": ["zzz"]}, "it may have: bash, cancel_scheduled_prompt"),
        ({"prompt": "x", "tools": ["schedule_prompt"]}, "no tool 'schedule_prompt'"),
    ],
)
async def test_what_needs_no_rows_is_refused_at_once(arguments: Any, words: str) -> None:
    """The model is told what to do differently, and nothing is wanted."""
    outcome = await call("schedule_prompt", **arguments)
    assert outcome.failed
    assert words in outcome.text
    assert outcome.booking is None


async def test_a_run_may_be_given_what_ends_it() -> None:
    """The tools of the group but for the one that makes new ones."""
    outcome = await call("schedule_prompt", prompt="x", tools=[*NAMES[1:], "bash"])
    assert outcome.booking == Appointment(prompt="x", tools=(*NAMES[1:], "bash"))


async def test_one_is_ended_or_forgotten_by_its_id() -> None:
    cancelled = await call("cancel_scheduled_prompt", job=" abc ")
    assert cancelled == ToolOutcome("", booking=Cancellation("abc"))
    deleted = await call("delete_scheduled_prompt", job="abc")
    assert deleted == ToolOutcome("", booking=Cancellation("abc", forget=True))
    for name in NAMES[2:]:
        assert (await call(name, job=" ")).text.startswith("Error: the id is empty")


async def test_the_list_is_the_host_s() -> None:
    """Line by line; where there is none, it says so."""
    assert (await call("list_scheduled_prompts", registry("a", "b"))).text == "a\nb"
    assert (await call("list_scheduled_prompts")).text == NONE


async def test_who_may_not_book_may_list_and_end() -> None:
    """The other tool is not there at all."""
    tools = registry(may_book=False)
    names = [each["function"]["name"] for each in tools.schemas()]
    assert names == list(NAMES[1:])
    refused = await call("schedule_prompt", tools, prompt="x", delay_seconds=5)
    assert "there is no tool" in refused.text
    assert refused.booking is None


def test_a_call_that_was_interrupted_can_be_made_again() -> None:
    """It is booked with the outcome, so a call that has none has booked nothing."""
    assert all(map(registry().rerunnable, NAMES))


def test_calls_of_one_answer_are_made_in_their_order() -> None:
    """A list shows what was booked before it, and one that is cancelled makes room."""
    assert len({registry().queue(name) for name in NAMES}) == 1
    assert registry().queue(NAMES[0])


def test_the_schemas_are_accepted_and_small() -> None:
    """They are paid for in every request: no more than 650 tokens in all."""
    tools = registry()
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": tools.schemas()}
    assert check_request(body) is None
    assert tools.weight() / 4 < 650
