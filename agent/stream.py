"""Reads a streamed chat completion: bytes in, one answer out; no I/O.

Two layers. `Events` cuts the bytes into the payloads of server-sent events, with a bound on what it
will hold. `Completion` folds those payloads into text and tool calls, and nothing is believed to be
complete until the model says why it finished: a stream that ends before that was cut, whatever had
arrived.

Servers differ, and what many of them do is understood here: comments that keep the connection
alive, `data:` with and without a space, lines that end in CR LF, a last line without an end, chunks
without choices, calls without an index or all with the same one, text in parts, and one JSON object
in place of a stream. What is none of this raises BadStream and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from attrs import Factory, define

from agent.text import clean
from agent.transcript import Answer, CallRequest, Usage

MAX_EVENT = 1024 * 1024  # bytes; the longest seen, whole tool calls in one, are 100 kB
MAX_ANSWER = 2 * 1024 * 1024  # characters of text and arguments; models end far below
MAX_CALLS = 64
MAX_TOKENS = 10**9  # of a count that is believed; no request is so large
MAX_DETAIL = 300  # characters of a provider's own words that are kept

DONE = "[DONE]"


class BadStream(Exception):
    """The stream is not a chat completion; the text says what was found."""


class Endless(BadStream):
    """The answer is longer than any that makes sense; asking again would be paid for again."""


class ReportedError(BadStream):
    """The provider says in the stream that it failed.

    `status` is the HTTP status that it names, `code` its own word for the reason, or ''.
    """

    def __init__(self, words: str, status: int | None, code: str = "") -> None:
        super().__init__(words)
        self.status = status
        self.code = code


@define
class Events:
    """Cuts a response body that comes in chunks of any size into payloads.

    It keeps one unfinished line at most. A body that begins with a brace is no stream but one JSON
    object; that is kept whole and is one payload.
    """

    _rest: bytearray = Factory(bytearray)
    _begun: bool = False
    _is_object: bool = False

    def feed(self, chunk: bytes) -> list[str]:
        """The payloads that `chunk` completes. Raises BadStream past `MAX_EVENT`."""
        self._rest += chunk
        if not self._begun:
            self._begin()
        if self._is_object or b"\n" not in chunk:
            return self._bounded([])
        *lines, rest = bytes(self._rest).split(b"\n")
        self._rest = bytearray(rest)
        return self._bounded(lines)

    def end(self) -> list[str]:
        """The payload that the body ended in, if no line end followed it."""
        rest, self._rest = bytes(self._rest), bytearray()
        return [rest.decode("utf-8", "replace")] if self._is_object else _payloads([rest])

    def _begin(self) -> None:
        self._rest = self._rest.lstrip()
        self._begun = bool(self._rest)
        self._is_object = self._rest.startswith(b"{")

    def _bounded(self, lines: list[bytes]) -> list[str]:
        if any(len(line) > MAX_EVENT for line in (*lines, self._rest)):
            raise BadStream("an event of over 1 MiB")
        return _payloads(lines)


def _payloads(lines: Iterable[bytes]) -> list[str]:
    """What follows `data:`; comments, other fields and empty lines carry nothing for us."""
    found = (line[5:].strip() for line in lines if line.startswith(b"data:"))
    return [payload.decode("utf-8", "replace") for payload in found if payload]


@define
class _PartialCall:
    call_id: str = ""
    name: str = ""
    arguments: list[str] = Factory(list)

    def add(self, delta: dict[str, Any]) -> int:
        """Take in one more piece of the call; returns how many characters it had."""
        function = as_object(delta.get("function"))
        arguments = as_string(function.get("arguments"))
        name = as_string(function.get("name"))
        self.call_id = self.call_id or as_string(delta.get("id"))
        self.name += name
        self.arguments.append(arguments)
        return len(name) + len(arguments)

    def request(self) -> CallRequest:
        return CallRequest(clean(self.call_id), clean(self.name), clean("".join(self.arguments)))


@define
class Halves:
    """Joins the halves of characters that were cut in two between events."""

    _half: str = ""

    def join(self, text: str) -> str:
        """The text that is whole with `text`; a first half at its end waits for the next."""
        text = self._half + text
        self._half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        return clean(text.removesuffix(self._half))


@define
class Completion:
    """One streamed answer as far as it has come; `begun` once an event has."""

    begun: bool = False
    finish_reason: str = ""
    usage: Usage = Factory(Usage)
    _said: list[str] = Factory(list)
    _halves: Halves = Factory(Halves)
    _size: int = 0
    _calls: list[_PartialCall] = Factory(list)
    _places: dict[object, int] = Factory(dict)  # in `_calls`, by the index that deltas bear

    @property
    def text(self) -> str:
        # Joined once: whoever watches asks after each event, and an answer may be of thousands.
        self._said[:] = ["".join(self._said)]
        return self._said[0]

    @property
    def over(self) -> bool:
        """Whether no event can follow that matters: the usage may come after the reason."""
        return False

    def feed(self, payload: str) -> str:
        """Take one event's payload; returns the text that it added. Raises BadStream."""
        chunk = parsed(payload)
        if error := chunk.get("error"):
            raise reported(error)
        self.begun = True
        if isinstance(chunk.get("usage"), dict):
            self.usage = _usage(chunk["usage"])
        choices = as_array(chunk.get("choices"))
        return self._choice(as_object(choices[0])) if choices else ""

    def answer(self) -> Answer:
        """The whole answer; call it only when `finish_reason` is there."""
        return Answer(self.text, tuple(call.request() for call in self._calls), self.usage)

    def _choice(self, choice: dict[str, Any]) -> str:
        # A body that is one object has a message where the events of a stream have deltas.
        delta = as_object(choice.get("delta")) or as_object(choice.get("message"))
        for call in as_array(delta.get("tool_calls")):
            self._call(as_object(call))
        said = self._say(_text(delta.get("content")) or as_string(delta.get("refusal")))
        self.finish_reason = as_string(choice.get("finish_reason")) or self.finish_reason
        return said

    def _say(self, text: str) -> str:
        self._grow(len(text))
        said = self._halves.join(text)
        self._said.append(said)
        return said

    def _call(self, delta: dict[str, Any]) -> None:
        """Join a piece to its call. An id that is new begins a call, whatever index it bears."""
        index, call_id = delta.get("index"), as_string(delta.get("id"))
        key = index if isinstance(index, int) else None
        place = self._places.get(key)
        if place is None or (call_id and self._calls[place].call_id not in {"", call_id}):
            if len(self._calls) == MAX_CALLS:
                raise Endless(f"more than {MAX_CALLS} tool calls at once")
            place = self._places[key] = len(self._calls)
            self._calls.append(_PartialCall())
        self._grow(self._calls[place].add(delta))

    def _grow(self, characters: int) -> None:
        self._size += characters
        if self._size > MAX_ANSWER:
            raise Endless(f"an answer of over {MAX_ANSWER} characters")


def parsed(payload: str) -> dict[str, Any]:
    """The object that a payload is, or an empty one. Raises BadStream if it is not JSON."""
    try:
        return as_object(json.loads(payload))
    except (ValueError, RecursionError):
        raise BadStream(f"an event that is not JSON: {payload[:80]!r}") from None


def as_object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def as_array(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def as_string(value: object) -> str:
    return value if isinstance(value, str) else ""


def _text(content: object) -> str:
    """Content as text: a string, or a list of parts of which some are text."""
    return as_string(content) or "".join(
        as_string(as_object(part).get("text")) for part in as_array(content)
    )


def reported(error: object) -> ReportedError:
    """An error that came in place of an answer, whatever its shape."""
    words = as_string(as_object(error).get("message")) or str(error)
    code = as_object(error).get("code")
    known = isinstance(code, int) and 400 <= code < 600  # noqa: PLR2004  (an HTTP error status)
    name = code if isinstance(code, str) else ""
    return ReportedError(clean(words)[:MAX_DETAIL], code if known else None, name)


def _usage(found: dict[str, Any]) -> Usage:
    cached = as_object(found.get("prompt_tokens_details")).get("cached_tokens")
    prompt, completion = found.get("prompt_tokens"), found.get("completion_tokens")
    return Usage(as_count(prompt), as_count(cached), as_count(completion))


def as_count(value: object) -> int:
    return value if isinstance(value, int) and 0 < value <= MAX_TOKENS else 0
