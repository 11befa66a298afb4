"""What was said in a session, as values: the only thing an agent turn is decided from.

A turn is one or more user entries, then assistant entries, each followed by exactly one result
for every call it made, and at last an assistant entry without calls. The store keeps the same
entries as rows, so a turn that was interrupted anywhere is read back and goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TypeAlias

from attrs import evolve, field, frozen


class CallState(Enum):
    """How far a tool call is known to have come."""

    PENDING = "pending"  # asked for by the model; certainly not begun
    RUNNING = "running"  # begun, by this run or by one that was interrupted
    DONE = "done"  # its result is in the transcript


class Approval(Enum):
    """What has become of the question whether a call may run."""

    OPEN = "open"
    GRANTED = "granted"
    DENIED = "denied"
    LAPSED = "lapsed"  # nobody answered in time


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
    """A call that was recorded; `id` is the journal's name for it, which no other call has.

    `approval` is None for a call that nobody was asked about. A `delegated` call has begun, and its
    result comes from another turn, or from a person.
    """

    id: int
    request: CallRequest
    state: CallState = CallState.PENDING
    approval: Approval | None = None
    delegated: bool = False


@frozen
class View:
    """A picture or a document that a model is shown beside an entry, in the turn of that alone.

    `media` is its type, `measure` its size in words, and `tokens` what it takes of a request, at
    most. `key` is the host's name for its bytes, which are not here where nothing is sent.
    """

    name: str
    media: str
    measure: str
    tokens: int
    data: bytes = field(default=b"", repr=False)
    key: str = ""


@frozen
class User:
    """What a person said; `sent` is when, in Unix seconds, where the context is to tell it."""

    text: str
    sent: float | None = None
    shown: tuple[View, ...] = ()


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
    shown: tuple[View, ...] = ()


Entry: TypeAlias = User | Assistant | ToolResult


@frozen
class Usage:
    """Tokens of one model call as the provider counted them; zeros where it did not say.

    `model` is whose they are, '' for the one that was asked.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    model: str = ""

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


NOTHING = Usage()
# One attempt to have an answer that may have been paid for, and of which nobody knows what it took.
UNCOUNTED = (NOTHING,)


@frozen
class Answer:
    """One answer of a model: text, or calls to make, or both.

    `model` is the name of the one that answered; '' where that is the one that was asked. `lost` is
    what each attempt before it took that may have been paid for; zeros where nobody counted.
    """

    text: str
    calls: tuple[CallRequest, ...] = ()
    usage: Usage = NOTHING
    model: str = ""
    lost: tuple[Usage, ...] = ()


def replaced(entries: Sequence[Entry], call: ToolCall) -> list[Entry]:
    """The same entries, with `call` in the place of the one that has its id."""
    return [_with_call(entry, call) if isinstance(entry, Assistant) else entry for entry in entries]


def _with_call(entry: Assistant, call: ToolCall) -> Assistant:
    return evolve(entry, calls=tuple(call if each.id == call.id else each for each in entry.calls))


def arranged(entries: Sequence[Entry]) -> list[Entry]:
    """The entries in the order in which a model must be shown them.

    Calls that ran side by side end in any order, and a person may say something while they run.
    Each answer is followed by the results of its calls, in the order asked for, and then the rest.
    """
    results = {entry.call: entry for entry in entries if isinstance(entry, ToolResult)}
    ordered: list[Entry] = []
    for entry in entries:
        if isinstance(entry, ToolResult):
            continue
        ordered.append(entry)
        if isinstance(entry, Assistant):
            ordered += [results[call.id] for call in entry.calls if call.id in results]
    return ordered


def open_calls(entries: Sequence[Entry]) -> list[ToolCall]:
    """The calls of the last assistant entry that have no result yet, in the order asked for."""
    answered = {entry.call for entry in entries if isinstance(entry, ToolResult)}
    last = next((entry for entry in reversed(entries) if isinstance(entry, Assistant)), None)
    return [call for call in last.calls if call.id not in answered] if last else []
