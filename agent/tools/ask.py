"""`ask_user`: a question for the person, whose answer is the call's result.

The tool does nothing but say what is asked. The journal asks it in the same transaction that keeps
the call's outcome, so a call that was interrupted can be made again.
"""

from __future__ import annotations

from typing import Annotated, Final

from agent.ports import Inquiry, ToolOutcome
from agent.tools.registry import Kind, Tool, ToolError, tool

MOST_QUESTION: Final = 2_000  # characters: it goes with its choices into one message
MOST_CHOICE: Final = 36  # what a phone shows of a button
CHOICES: Final = range(2, 9)


def ask_tools() -> list[Tool]:
    """The tool that asks the person."""

    @tool(kind=Kind.READ)
    async def ask_user(
        question: Annotated[str, "One question"],
        choices: Annotated[list[str] | None, "2-8 short answers to offer"] = None,
    ) -> ToolOutcome:
        """Ask the person and wait for the answer. Only if you cannot go on without it."""
        return ToolOutcome("", inquiry=Inquiry(_question(question), _choices(choices or [])))

    return [ask_user]


def _question(question: str) -> str:
    text = question.strip()
    if not text:
        raise ToolError("the question is empty")
    if len(text) > MOST_QUESTION:
        raise ToolError(f"the question is longer than {MOST_QUESTION} characters; ask a short one")
    return text


def _choices(choices: list[str]) -> tuple[str, ...]:
    offered = tuple(dict.fromkeys(each for choice in choices if (each := " ".join(choice.split()))))
    if not offered:
        return ()
    if len(offered) not in CHOICES:
        raise ToolError("offer 2 to 8 different choices, or none")
    if any(len(each) > MOST_CHOICE for each in offered):
        raise ToolError(f"keep each choice under {MOST_CHOICE} characters")
    return offered
