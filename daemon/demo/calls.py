"""The values that the Bot API server keeps about calls: what was asked, shown, and done wrong."""

from __future__ import annotations

from typing import Any

from attrs import define, field, frozen

from daemon.demo.forms import Upload


class ApiError(Exception):
    """A refusal, with the official code and description, and `parameters` where there are any."""

    def __init__(self, code: int, text: str, parameters: dict[str, Any] | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.parameters = parameters

    def wire(self) -> dict[str, Any]:
        """Give the answer's JSON."""
        answer: dict[str, Any] = {"ok": False, "error_code": self.code, "description": self.text}
        if self.parameters:
            answer["parameters"] = self.parameters
        return answer


@define(eq=False)
class Call:
    """One call that arrived, at `time.monotonic()` = `at`.

    `status` is the HTTP status that was answered, 0 while there is no answer and for ever when the
    connection was cut.
    """

    method: str
    params: dict[str, Any]
    at: float
    files: dict[str, Upload] = field(factory=dict, repr=False)
    status: int = 0
    # What the answer will be if the call succeeds: a fault may answer otherwise after the effect.
    status_if_done: int = 200

    @property
    def chat_id(self) -> int | None:
        """The chat that the call is for, where it names one by number."""
        chat_id = self.params.get("chat_id")
        try:
            return None if chat_id is None else int(chat_id)
        except (TypeError, ValueError, OverflowError):
            return None


@frozen
class Sent:
    """Something that a chat shows because of a call: a new message, an edit or a deletion.

    `status` is what the caller was answered: 200, the fault's status, or 0 for a cut connection.
    """

    method: str
    params: dict[str, Any] = field(repr=False)
    chat_id: int
    message_id: int
    text: str
    at: float
    status: int


@frozen
class Draft:
    """A preview that a private chat showed for a while."""

    chat_id: int
    draft_id: int
    text: str
    at: float
    thread: int | None = None
    entities: tuple[dict[str, Any], ...] = ()
    can_stop: bool = False
    keep_on_stop: bool = False


@frozen
class Action:
    """What the bot is shown to be doing, from `at` on."""

    chat_id: int
    action: str
    at: float


@frozen
class Violation:
    """A call that the method's reference does not allow: a bug of the caller."""

    method: str
    parameter: str
    problem: str
