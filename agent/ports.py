"""What an agent needs from its host, which implements these and is never imported here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Protocol

from attrs import field, frozen

from agent.transcript import (
    UNCOUNTED,
    Answer,
    Approval,
    CallRequest,
    Entry,
    ToolCall,
    ToolResult,
    Usage,
    User,
    View,
)


class Policy(Enum):
    """Whether a call may run; one that would have to ask needs somebody who can be asked."""

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


class TurnLost(Exception):
    """The turn is not ours any more (stopped, or answered elsewhere). Leave it; touch nothing."""


class ModelFailed(Exception):
    """The model could not be made to answer; retrying now would not help.

    `sentence` is for the person, `error` for the log. `partial` is the longest text that had come
    when a connection was lost, or ''. `lost` is what its attempts took, as in `Answer`.
    """

    def __init__(
        self,
        sentence: str,
        error: str,
        partial: str = "",
        *,
        lost: tuple[Usage, ...] = UNCOUNTED,
    ) -> None:
        super().__init__(error)
        self.sentence = sentence
        self.error = error
        self.partial = partial
        self.lost = lost


class OverBudget(Exception):
    """The call may not be made: it could pass a budget. `sentence` tells the person which."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


@frozen
class Opening:
    """A turn as read from its rows: earlier whole turns, its own entries, and its age in work.

    `summary` stands for what came before the history; '' if nothing did. `ratio` is how many tokens
    the model has counted in this conversation for each that we had estimated.
    """

    history: tuple[Entry, ...]
    turn: tuple[Entry, ...]
    ran_seconds: float
    summary: str = ""
    ratio: float = 1.0


class TurnState(Enum):
    """What a run leaves its turn as."""

    READY = "ready"  # to be gone on with
    WAITING = "waiting"  # for people, or for another turn
    ENDED = "ended"


@frozen
class Intent:
    """A model call that was recorded, and what people have said to the turn since the last one."""

    call: int
    news: tuple[User, ...] = ()


class Journal(Protocol):
    """The durable record of one turn. Every method is one committed transaction.

    `intend_*` and `ask` precede an act and honour cancellation until they commit; the others record
    an act that has happened, and are shielded. All raise TurnLost if the turn was taken away.
    """

    async def intend_model_call(self, reserved_tokens: int) -> Intent:
        """Set aside so many tokens for the prompt. Raises OverBudget; nothing is recorded then."""
        ...

    async def answered(self, model_call: int, answer: Answer) -> tuple[ToolCall, ...]:
        """Keep an answer that asks for tools; returns its calls as recorded."""
        ...

    async def concluded(self, model_call: int, answer: Answer) -> tuple[User, ...]:
        """Keep an answer without calls and queue it for the chat; end the turn.

        If people have said more meanwhile, the turn does not end, and that is returned.
        """
        ...

    async def failed(
        self,
        sentence: str,
        *,
        model_call: int | None = None,
        error: str,
        lost: tuple[Usage, ...] = UNCOUNTED,
    ) -> None:
        """End the turn with a sentence for the chat; calls left open get a result that says so.

        `lost` is what the attempts of the model call took.
        """
        ...

    async def ask(self, call: ToolCall, what: str, scope: str | None) -> Approval:
        """Ask the chat whether the call may run; `what` shows all that it would do.

        `scope` names what a lasting yes would cover, None if there is none. GRANTED if such a yes
        covers the call already; else OPEN.
        """
        ...

    async def intend_tool_call(self, call: ToolCall) -> None: ...

    async def tool_finished(self, call: ToolCall, outcome: ToolOutcome) -> ToolResult | None:
        """Keep a call's result, and queue its files for the chat, in the same transaction.

        Returns the result as it was kept: its text says what became of each file. A subtask of the
        outcome is begun in the same transaction; if the call waits for it, there is no result yet.
        Nor is there one for an inquiry, before a person has answered.
        """
        ...

    async def parked(self, *, child: bool) -> TurnState:
        """Nothing can be done before people have allowed something.

        If `child`: before a child turn has answered, or a person a question of the agent's.

        WAITING; or READY if they have answered already.
        """
        ...

    async def released(self) -> None:
        """Give the turn back as ready, to be gone on with by the next run of the daemon."""
        ...


class Watcher(Protocol):
    """Sees a turn go on, for a person who waits. Nothing here waits, or raises."""

    def text(self, text: str) -> None:
        """The words of the answer so far, whole; '' when what there was is in the chat."""
        ...

    def began(self, call: ToolCall) -> None:
        """A call is under way; the words before it have been kept."""
        ...

    def ended(self, call: ToolCall) -> None: ...


class Model(Protocol):
    """A language model. Raises ModelFailed after its own retries.

    `on_text` is called with the text so far, whole: it takes the place of what was there before,
    since an answer that was cut begins anew. A model that may not call is asked for text alone.
    """

    async def complete(
        self,
        messages: Sequence[dict[str, Any]],
        tools: Sequence[dict[str, Any]],
        *,
        on_text: Callable[[str], None] | None = None,
        may_call: bool = True,
    ) -> Answer: ...


@frozen
class OutFile:
    """A file for the chat: the name that it is shown with (no path), its bytes, words below it."""

    name: str
    data: bytes = field(repr=False)
    caption: str = ""


@frozen
class Unsent:
    """A file that was meant for the chat and is not sent: why, and what would help."""

    name: str
    why: str


@frozen
class Subtask:
    """Work for a turn of its own: what to do, how people see it named, and who does it.

    `specialist` is the name of one, or '' for a helper with the same tools. If `waits`, its answer
    is the result of the call that begins it; else it goes to the chat.
    """

    task: str
    label: str
    specialist: str = ""
    waits: bool = False


@frozen
class Inquiry:
    """A question for the person, with answers to choose from; any other answer may be given."""

    question: str
    choices: tuple[str, ...] = ()


@frozen(kw_only=True)
class Appointment:
    """A prompt to be run later, as the model wants it; all is checked by who books it.

    `job` names one that is to be changed: then what is None stays as it is. One of `run_at`,
    `delay_seconds`, `every_seconds` and `cron` says when. A time without an offset is in `zone`,
    which is the person's if it is None.
    """

    job: str | None = None
    name: str | None = None
    prompt: str | None = None
    run_at: str | None = None
    delay_seconds: float | None = None
    every_seconds: float | None = None
    cron: str | None = None
    zone: str | None = None
    end_at: str | None = None
    count: int | None = None
    missed: str | None = None
    silent: bool | None = None
    model: str | None = None
    tools: tuple[str, ...] | None = None
    max_tokens: int | None = None


@frozen
class Cancellation:
    """A scheduled prompt that is to come no more, by its id; `forget` its history, too."""

    job: str
    forget: bool = False


@frozen
class ToolOutcome:
    """What a tool brought: the text for the model, whether it is an error, files for the chat.

    A `subtask` is a turn to begin beside this one. `shown` is what the model looks at with it,
    until the turn ends. `unsent` is what people wait for in vain, which they are told, too. The
    answer to an `inquiry` is the call's result, in place of the text; so is what becomes of a
    `booking`, which is made in the transaction that keeps it.
    """

    text: str
    failed: bool = False
    files: tuple[OutFile, ...] = ()
    subtask: Subtask | None = None
    shown: tuple[View, ...] = ()
    unsent: tuple[Unsent, ...] = ()
    inquiry: Inquiry | None = None
    booking: Appointment | Cancellation | None = None


@frozen
class Extent:
    """So many turns (a message and all that was done for it), and the first one's time.

    Characters are those of messages and of calls; `summarised` if a summary
    stands before them, whose characters are counted.
    """

    turns: int
    messages: int
    characters: int
    since: float | None
    summarised: bool = False


@frozen
class Trimmed:
    """How many earlier turns a trim has kept, and put out; `summary` if one went with them."""

    kept: int
    out: int
    summary: bool = False


class Toolbox(Protocol):
    """The tools of one turn."""

    def schemas(self) -> list[dict[str, Any]]: ...

    def weight(self) -> int:
        """The bytes that the schemas take in a request."""
        ...

    def rerunnable(self, name: str) -> bool:
        """True for tools that only read: run again after an interruption without a question."""
        ...

    def policy(self, request: CallRequest) -> Policy:
        """Whether the call may run. One that cannot be run at all may: it says what is wrong."""
        ...

    def preview(self, request: CallRequest) -> str:
        """All that a call would do, for a person who is asked about it."""
        ...

    def scope(self, request: CallRequest) -> str | None:
        """Which calls of the tool a lasting yes to this one would cover; None: there is none."""
        ...

    def queue(self, name: str) -> str:
        """Calls with the same one run one after another; '' for those that wait for no other."""
        ...

    async def run(self, request: CallRequest) -> ToolOutcome:
        """Run one call.

        What is wrong with its name or arguments, and what the tool could not do, is an outcome.
        What is raised is a fault of this program and ends the turn.
        """
        ...
