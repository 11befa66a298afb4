"""What an agent needs from its host, which implements these and is never imported here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from attrs import field, frozen

from agent.transcript import Answer, CallRequest, Entry, ToolCall


class TurnLost(Exception):
    """The turn is not ours any more (stopped, or answered elsewhere). Leave it; touch nothing."""


class ModelFailed(Exception):
    """The model could not be made to answer; retrying now would not help.

    `sentence` is for the person, `error` for the log. `partial` is what had been said when the
    connection was lost for good, or ''.
    """

    def __init__(self, sentence: str, error: str, partial: str = "") -> None:
        super().__init__(error)
        self.sentence = sentence
        self.error = error
        self.partial = partial


@frozen
class Opening:
    """A turn as read from its rows: earlier whole turns, its own entries, and its age in work."""

    history: tuple[Entry, ...]
    turn: tuple[Entry, ...]
    ran_seconds: float


class Journal(Protocol):
    """The durable record of one turn. Every method is one committed transaction.

    `intend_*` precede an act and honour cancellation until they commit; the others record an act
    that has happened, and are shielded. All raise TurnLost if the turn was taken away.
    """

    async def intend_model_call(self, reserved_tokens: int) -> int: ...

    async def answered(self, model_call: int, answer: Answer) -> tuple[ToolCall, ...]:
        """Keep an answer that asks for tools; returns its calls as recorded."""
        ...

    async def concluded(self, model_call: int, answer: Answer) -> None:
        """Keep the final answer, end the turn and queue the answer for the chat."""
        ...

    async def failed(self, sentence: str, *, model_call: int | None = None, error: str) -> None:
        """End the turn with a sentence for the chat; calls left open get a result that says so."""
        ...

    async def intend_tool_call(self, call: ToolCall) -> None: ...

    async def tool_finished(self, call: ToolCall, outcome: ToolOutcome) -> str:
        """Keep a call's result, and queue its files for the chat, in the same transaction.

        Returns the result's text as it was kept: it says what became of each file.
        """
        ...

    async def released(self) -> None:
        """Give the turn back as ready, to be gone on with by the next run of the daemon."""
        ...


class Model(Protocol):
    """A language model. Raises ModelFailed after its own retries."""

    async def complete(
        self,
        messages: Sequence[dict[str, Any]],
        tools: Sequence[dict[str, Any]],
        *,
        on_text: Callable[[str], None] | None = None,
    ) -> Answer: ...


@frozen
class OutFile:
    """A file for the chat: the name that it is shown with (no path), and its bytes."""

    name: str
    data: bytes = field(repr=False)


@frozen
class ToolOutcome:
    """What a tool brought: the text for the model, whether it is an error, files for the chat."""

    text: str
    failed: bool = False
    files: tuple[OutFile, ...] = ()


class Toolbox(Protocol):
    """The tools of one turn."""

    def schemas(self) -> list[dict[str, Any]]: ...

    def rerunnable(self, name: str) -> bool:
        """True for tools that only read: run again after an interruption without a question."""
        ...

    async def run(self, request: CallRequest) -> ToolOutcome:
        """Run one call.

        What is wrong with its name or arguments, and what the tool could not do, is an outcome.
        What is raised is a fault of this program and ends the turn.
        """
        ...
