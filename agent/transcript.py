"""What was said in a session, as values: the only thing an agent turn is decided from.

A turn is one or more user entries, then assistant entries, each followed by exactly one result
for every call it made, and at last an assistant entry without calls. The store keeps the same
entries as rows, so a turn that was interrupted anywhere is read back and goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TypeAlias

from attrs import frozen


class CallState(Enum):
    """How far a tool call is known to have come."""

    PENDING = "pending"  # asked for by the model; certainly not begun
    RUNNING = "running"  # begun, by this run or by one that was interrupted
    DONE = "done"  # its result is in the transcript


@frozen
class CallRequest:
    """A tool call as the model wrote it.

    Nothing in it can be relied on: `arguments` may not be JSON, `name` may be no tool's, and
    `call_id`, which is kept for the record only, may be empty or the same as another call's.
    """

    call_id: str
    name: str
    arguments: str


@frozen
class ToolCall:
    """A call that was recorded; `id` is the journal's name for it, which no other call has."""

    id: int
    request: CallRequest
    state: CallState = CallState.PENDING


@frozen
class User:
    text: str


@frozen
class Assistant:
    text: str
    calls: tuple[ToolCall, ...] = ()


@frozen
class ToolResult:
    """The one result of the call whose journal id is `call`."""

    call: int
    text: str
    failed: bool = False


Entry: TypeAlias = User | Assistant | ToolResult


@frozen
class Usage:
    """Tokens of one model call as the provider counted them; zeros where it did not say."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


@frozen
class Answer:
    """One answer of a model: text, or calls to make, or both."""

    text: str
    calls: tuple[CallRequest, ...] = ()
    usage: Usage = Usage()


def open_calls(entries: Sequence[Entry]) -> list[ToolCall]:
    """The calls of the last assistant entry that have no result yet, in the order asked for."""
    answered = {entry.call for entry in entries if isinstance(entry, ToolResult)}
    last = next((entry for entry in reversed(entries) if isinstance(entry, Assistant)), None)
    return [call for call in last.calls if call.id not in answered] if last else []
