"""What the offline model says or does wrong: the values of scripts and faults.

    model.script = ["first answer", Reply(calls=(ToolCall("bash", {"command": "ls"}),)), "done"]
    model.script = lambda request: f"you sent {len(request.messages)} messages"
    model.faults.add(ModelFault(status=429, retry_after=1))
    model.faults.add(ModelFault(cut_after=2))       # two deltas, then the connection closes

An item of a script may be a text, a `Reply` or a `ModelFault`. A sequence that runs out goes on
with the default behaviour.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import trio
from attrs import define, field, frozen

# Characters per delta: a short answer is several deltas, a long one not hundreds.
DELTA_CHARACTERS = 12
ARGUMENT_CHARACTERS = 9

ERROR_KINDS = {
    400: "invalid_request_error",
    401: "invalid_request_error",
    403: "permission_error",
    404: "invalid_request_error",
    429: "rate_limit_exceeded",
}


@frozen
class ToolCall:
    """A call that the model asks for; text as `arguments` is sent as it is, malformed or not."""

    name: str
    arguments: Mapping[str, Any] | str = field(factory=dict)
    call_id: str = ""

    @property
    def raw(self) -> str:
        """The arguments as they go over the wire."""
        given = self.arguments
        return given if isinstance(given, str) else json.dumps(dict(given), ensure_ascii=False)


@frozen
class Reply:
    """One answer of the model: text, tool calls, or both.

    `chunks` is the number of deltas that the text is cut into (None: a delta for every few
    characters), `delay` the seconds before the first byte, `pause` those between deltas; `finish`
    overrides the finish reason.
    """

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    chunks: int | None = None
    delay: float = 0.0
    pause: float = 0.0
    finish: str = ""
    usage: tuple[int, int] | None = None

    @property
    def finish_reason(self) -> str:
        """Why the answer ends."""
        return self.finish or ("tool_calls" if self.calls else "stop")

    def text_pieces(self) -> list[str]:
        """Cut the text into the deltas that a stream carries."""
        if self.chunks is None:
            size = DELTA_CHARACTERS
        else:
            size = max(1, -(-len(self.text) // max(1, self.chunks)))
        return pieces(self.text, size)


def pieces(text: str, size: int) -> list[str]:
    """Cut a text into pieces of at most `size` characters."""
    return [text[i : i + size] for i in range(0, len(text), size)]


@define(eq=False)
class ModelFault:
    """What goes wrong with the next `times` requests (-1: with all).

    `status` refuses with an error object, or with `body` if that is given (b"" is an empty body).
    `cut_after` closes the connection after so many deltas of the real answer, 0 before the first;
    `cut_before` before the head of the answer. `stream_error` breaks off after `cut_after` deltas
    (0 if not given) with a `data: {"error": ...}` event. `stall` waits for `release()` first.
    """

    status: int = 0
    message: str = ""
    retry_after: float | None = None
    body: bytes | None = None
    content_type: str = "text/html"
    cut_before: bool = False
    cut_after: int | None = None
    stream_error: str = ""
    stall: trio.Event | None = None
    delay: float = 0.0
    times: int = 1
    used: int = field(default=0, init=False)

    @classmethod
    def stalled(cls, *, times: int = 1) -> ModelFault:
        """Nothing is answered until `release()`; then the request is answered as usual."""
        return cls(stall=trio.Event(), times=times)

    def release(self) -> None:
        """End the stall, also for requests to come."""
        if self.stall is not None:
            self.stall.set()

    @property
    def deltas(self) -> int | None:
        """After how many deltas the stream ends; None: it is whole."""
        return 0 if self.cut_after is None and self.stream_error else self.cut_after


@define
class ModelFaults:
    """The faults that wait for a request."""

    _waiting: list[ModelFault] = field(factory=list)

    def add(self, fault: ModelFault) -> ModelFault:
        """Arm a fault; gives it back, to be released or looked at."""
        self._waiting.append(fault)
        return fault

    def clear(self) -> None:
        """Disarm all faults and end their stalls."""
        for fault in self._waiting:
            fault.release()
        self._waiting.clear()

    def take(self) -> ModelFault | None:
        """Use up the first fault."""
        for fault in self._waiting:
            if fault.times < 0 or fault.used < fault.times:
                fault.used += 1
                return fault
        return None


@frozen(eq=False)
class ChatRequest:
    """A request for a completion, as it came. `at` is `time.monotonic()` on arrival."""

    body: dict[str, Any]
    headers: dict[str, str] = field(repr=False)
    at: float
    # Why it was refused; "" when it was in order.
    refused: str = ""

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The transcript that was sent."""
        messages: list[dict[str, Any]] = self.body.get("messages", [])
        return messages

    @property
    def tool_names(self) -> frozenset[str]:
        """The tools that were offered."""
        return frozenset(tool["function"]["name"] for tool in self.body.get("tools") or ())

    @property
    def streams(self) -> bool:
        """Whether the answer is to be streamed."""
        return bool(self.body.get("stream"))

    @property
    def user_text(self) -> str:
        """The text of the last message by the user."""
        texts = said_by_people(self.messages)
        return texts[-1] if texts else ""


# The daemon puts beside a message when it was sent.
_SENT = re.compile(r"\n\n\[Sent [0-9: -]+ \([^()\n]+\)\](?=\n|\Z)")


def said_by_people(messages: Iterable[Mapping[str, Any]]) -> list[str]:
    """The texts of the user's messages, without what the daemon put beside them."""
    return [_SENT.sub("", text_of(each)) for each in messages if each.get("role") == "user"]


def text_of(message: Mapping[str, Any]) -> str:
    """Give the text of a message, of its text parts when it has parts."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content if part.get("type") == "text")


Item: TypeAlias = str | Reply | ModelFault
Script: TypeAlias = Callable[[ChatRequest], Item] | Iterable[Item]
