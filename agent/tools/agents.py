"""`spawn` and `delegate`: work for a turn of its own.

A tool here does nothing but say which turn is wanted. The journal begins that turn in the same
transaction that keeps the call's outcome, so a call that was interrupted can be made again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from agent.ports import Subtask, ToolOutcome
from agent.preview import bare
from agent.tools.registry import Kind, Tool, ToolError, tool

MAX_LABEL = 60  # characters


def agent_tools(specialists: Mapping[str, str] | None = None) -> list[Tool]:
    """The tools that begin other turns; `specialists` are names and what each is for."""

    @tool(kind=Kind.READ)
    async def spawn(
        task: Annotated[str, "All that the helper must know; it sees nothing of this chat"],
        label: Annotated[str, "A few words that name the task for the person"],
    ) -> ToolOutcome:
        """Have a helper work in the background; its answer goes to this chat when it is done.

        For long work only. Tell the person that it was begun, and do not wait for it.
        """
        subtask = Subtask(_task(task), _label(label))
        return ToolOutcome(f"begun in the background: {subtask.label}", subtask=subtask)

    @tool(kind=Kind.READ)
    async def delegate(
        agent: Annotated[str, "Name of a specialist"],
        task: Annotated[str, "All that the specialist must know"],
    ) -> ToolOutcome:
        """Have a specialist do a task, and wait for its answer."""
        known = specialists or {}
        if agent not in known:
            raise ToolError(f"there is no specialist {agent!r:.80}; there are: {', '.join(known)}")
        return ToolOutcome("", subtask=Subtask(_task(task), agent, agent, waits=True))

    return [spawn, delegate] if specialists else [spawn]


def _task(task: str) -> str:
    if not task.strip():
        raise ToolError("the task is empty; say what is to be done")
    return task


def _label(label: str) -> str:
    """One line for a chat, in which questions of the task begin with it: nothing in it hides."""
    words = bare(" ".join(label.split()))
    return words[:MAX_LABEL].strip() or "task"
