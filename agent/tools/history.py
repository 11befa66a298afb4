"""`chat_memory_info` and `chat_memory_trim`: how much of this conversation is in mind."""

from __future__ import annotations

from typing import Annotated, Protocol

from agent.context import BYTES_PER_TOKEN
from agent.ports import Extent, Trimmed
from agent.tools.notes import minute
from agent.tools.registry import Kind, Tool, ToolError, tool


class History(Protocol):
    """The conversation that the running turn belongs to."""

    async def extents(self) -> tuple[Extent, Extent]:
        """What is in context, the running turn included; and all that is kept."""
        ...

    async def trim(self, keep: int) -> Trimmed:
        """Put all but the newest `keep` earlier turns out of context."""
        ...


def history_tools(history: History) -> list[Tool]:
    """The tools for `history`."""

    @tool(kind=Kind.READ)
    async def chat_memory_info() -> str:
        """Tell how much of this conversation is in context, and how much is stored."""
        context, stored = await history.extents()
        return f"In context: {_described(context)}.\nStored: {_described(stored)}."

    @tool(kind=Kind.LOCAL_WRITE)
    async def chat_memory_trim(
        keep_latest: Annotated[int, "How many earlier turns stay in context"],
    ) -> str:
        """Take all but the newest turns of this conversation out of context; deletes nothing."""
        if keep_latest < 0:
            raise ToolError("keep_latest must be 0 or more")
        return _told(await history.trim(keep_latest))

    return [chat_memory_info, chat_memory_trim]


def _described(extent: Extent) -> str:
    tokens = extent.characters // BYTES_PER_TOKEN
    since = "" if extent.since is None else f", since {minute(extent.since)}"
    return (
        f"{counted(extent.turns, 'turn')}, {counted(extent.messages, 'message')},"
        f" about {counted(tokens, 'token')}{since}"
        f"{', and a summary of what came before' if extent.summarised else ''}"
    )


def _told(trimmed: Trimmed) -> str:
    whole = "a turn is a message with all that was done for it, and stays whole"
    kept = counted(trimmed.kept, "earlier turn")
    turns = [counted(trimmed.out, "earlier turn")] if trimmed.out else []
    gone = [*turns, *(["the summary of what came before"] if trimmed.summary else [])]
    if not gone:
        return f"Nothing to trim: {kept} in context ({whole})."
    return (
        f"{' and '.join(gone)} out of context from the next message on, and {kept} kept,"
        f" besides this one ({whole}). Nothing is deleted: memory_search finds it."
    )


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
