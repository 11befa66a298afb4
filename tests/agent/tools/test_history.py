"""How much of the conversation is in mind, as a model asks for it."""

from __future__ import annotations

import json
from typing import Any

from attrs import define

from agent.ports import ToolOutcome
from agent.tools.history import Extent, Trimmed, history_tools
from agent.tools.registry import Registry
from agent.transcript import CallRequest


@define
class Past:
    """So many earlier turns."""

    turns: int
    summary: bool = False

    async def extents(self) -> tuple[Extent, Extent]:
        return Extent(1, 1, 4, None, self.summary), Extent(self.turns, 12, 4000, 1_790_000_000.0)

    async def trim(self, keep: int) -> Trimmed:
        kept = min(keep, self.turns)
        out, self.turns = self.turns - kept, kept
        return Trimmed(kept, out, self.summary)


async def ask(past: Past, name: str, **arguments: Any) -> ToolOutcome:
    registry = Registry.of(history_tools(past))
    return await registry.run(CallRequest("x", name, json.dumps(arguments)))


async def test_both_extents_are_told() -> None:
    """What is in context and what is stored, with an estimate of the tokens."""
    assert (await ask(Past(5), "chat_memory_info")).text == (
        "In context: 1 turn, 1 message, about 1 token.\n"
        "Stored: 5 turns, 12 messages, about 1000 tokens, since 2026-09-21 14:13 UTC."
    )


async def test_a_trim_says_what_it_did_in_whole_turns() -> None:
    """And the second one, that there is nothing to do."""
    past = Past(5)
    first = await ask(past, "chat_memory_trim", keep_latest=2)
    assert first.text.startswith("3 earlier turns out of context from the next message on, and 2 ")
    assert "stays whole" in first.text
    second = await ask(past, "chat_memory_trim", keep_latest=2)
    assert second.text.startswith("Nothing to trim: 2 earlier turns in context")


async def test_a_summary_is_told_of() -> None:
    """That it is in context, and that a trim took it out, alone or with turns."""
    past = Past(5, summary=True)
    told = (await ask(past, "chat_memory_info")).text
    assert "about 1 token, and a summary of what came before.\n" in told
    first = await ask(past, "chat_memory_trim", keep_latest=2)
    assert first.text.startswith("3 earlier turns and the summary of what came before out of")
    alone = await ask(past, "chat_memory_trim", keep_latest=2)
    assert alone.text.startswith("the summary of what came before out of context from the next")


async def test_less_than_nothing_cannot_be_kept() -> None:
    """It is refused, and nothing is trimmed."""
    past = Past(5)
    assert (await ask(past, "chat_memory_trim", keep_latest=-1)).failed
    assert past.turns == 5


def test_only_the_look_is_run_again_after_a_crash() -> None:
    """A trim that was cut off is left to the model."""
    registry = Registry.of(history_tools(Past(1)))
    assert registry.rerunnable("chat_memory_info")
    assert not registry.rerunnable("chat_memory_trim")
