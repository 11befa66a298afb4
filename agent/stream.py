"""Reads a streamed chat completion: bytes in, one answer out; no I/O.

Two layers. `EventLines` cuts the byte stream into the payloads of server-sent events, with a bound
on what it will hold. `Completion` folds those payloads into text and tool calls: deltas of a call
are joined by their index, and nothing is believed to be complete until the model says why it
finished. A stream that ends before that is `cut`, whatever had arrived.
"""

from __future__ import annotations

import json
from typing import Any

from attrs import Factory, define

from agent.transcript import Answer, CallRequest, Usage

MAX_LINE = 1024 * 1024  # bytes; the longest events seen, whole tool calls in one, are 100 kB
MAX_TEXT = 2 * 1024 * 1024  # characters of an answer; models end far below
MAX_CALLS = 64

DONE = "[DONE]"


class BadStream(Exception):
    """The stream is not a chat completion; the text says what was found."""


@define
class EventLines:
    """Splits server-sent events out of byte chunks of any size; keeps at most one line."""

    _rest: bytes = b""

    def feed(self, chunk: bytes) -> list[str]:
        """The `data:` payloads completed by `chunk`. Raises BadStream past `MAX_LINE`."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > MAX_LINE:
            raise BadStream("a line of over 1 MiB")
        return [
            line[5:].strip().decode("utf-8", "replace")
            for line in lines
            if line.startswith(b"data:")
        ]


@define
class _PartialCall:
    call_id: str = ""
    name: str = ""
    arguments: str = ""

    def add(self, delta: dict[str, Any]) -> None:
        function = _object(delta.get("function"))
        self.call_id = self.call_id or _string(delta.get("id"))
        self.name += _string(function.get("name"))
        self.arguments += _string(function.get("arguments"))


@define
class Completion:
    """One streamed answer as far as it has come."""

    text: str = ""
    finish_reason: str = ""
    usage: Usage = Factory(Usage)
    _calls: dict[int, _PartialCall] = Factory(dict)

    def feed(self, payload: str) -> str:
        """Take one event's payload; returns the text that it added. Raises BadStream."""
        chunk = _parse(payload)
        if chunk.get("error"):
            raise BadStream(f"the provider reported: {_message(chunk['error'])}")
        if isinstance(chunk.get("usage"), dict):
            self.usage = _usage(chunk["usage"])
        choices = chunk.get("choices")
        return self._choice(_object(choices[0])) if isinstance(choices, list) and choices else ""

    def _choice(self, choice: dict[str, Any]) -> str:
        delta = _object(choice.get("delta"))
        for call in delta.get("tool_calls") or ():
            self._call(_object(call))
        said = _string(delta.get("content"))
        self.text += said
        self.finish_reason = _string(choice.get("finish_reason")) or self.finish_reason
        if len(self.text) > MAX_TEXT:
            raise BadStream("an answer without end")
        return said

    def _call(self, delta: dict[str, Any]) -> None:
        index = delta.get("index")
        if not isinstance(index, int):
            # Some servers send whole calls and no index: an id begins the next one.
            index = len(self._calls) - (0 if delta.get("id") or not self._calls else 1)
        if index not in self._calls and len(self._calls) >= MAX_CALLS:
            raise BadStream(f"more than {MAX_CALLS} tool calls at once")
        self._calls.setdefault(index, _PartialCall()).add(delta)

    def answer(self) -> Answer:
        """The whole answer; call it only when `finish_reason` is there."""
        calls = tuple(
            CallRequest(call.call_id or f"call_{index}", call.name, call.arguments)
            for index, call in sorted(self._calls.items())
        )
        return Answer(self.text, calls, self.usage)


def _parse(payload: str) -> dict[str, Any]:
    try:
        return _object(json.loads(payload))
    except (ValueError, RecursionError):
        raise BadStream(f"an event that is not JSON: {payload[:80]!r}") from None


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""


def _message(error: object) -> str:
    return (_string(_object(error).get("message")) or str(error))[:300]


def _usage(found: dict[str, Any]) -> Usage:
    def count(value: object) -> int:
        return value if isinstance(value, int) and value > 0 else 0

    cached = _object(found.get("prompt_tokens_details")).get("cached_tokens")
    return Usage(
        count(found.get("prompt_tokens")), count(cached), count(found.get("completion_tokens"))
    )
