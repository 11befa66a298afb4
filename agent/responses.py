"""The Responses API: requests made of chat messages, streams read into answers; no I/O.

Nothing is kept at the provider (`store` is false) and no request builds on one before it: each
carries the whole conversation, as it is in our rows. Calls and their results bear ids of our own.
A model's thoughts come as items that are left out here, and are not sent back.

A stream of this kind says with every event what it is. The text comes in deltas, the calls whole
with the item that they are; their deltas are only watched for calls that are too long. The answer
is complete when an event says how it ended: `completed`, `incomplete` or `failed`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from attrs import Factory, define

from agent.stream import (
    MAX_ANSWER,
    MAX_CALLS,
    Endless,
    Halves,
    ReportedError,
    as_array,
    as_count,
    as_object,
    as_string,
    parsed,
    reported,
)
from agent.text import clean
from agent.transcript import Answer, CallRequest, Usage

# --- Requests ---


def body(messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The body of a request, apart from the model's name, for these chat messages and tools."""
    system, rest = _parted(messages)
    made: dict[str, Any] = {"input": [item for each in rest for item in _items(each)]}
    if system:
        made["instructions"] = system
    if tools:
        made["tools"] = [_tool(each["function"]) for each in tools]
    return {**made, "store": False}


def _parted(messages: Sequence[dict[str, Any]]) -> tuple[str, Sequence[dict[str, Any]]]:
    """The system's message, if the first is that, and the others."""
    if messages and messages[0]["role"] == "system":
        return messages[0]["content"], messages[1:]
    return "", messages


def _items(message: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """One message as the items that say the same."""
    content = message.get("content")
    if message["role"] == "tool":
        call_id = message["tool_call_id"]
        yield {"type": "function_call_output", "call_id": call_id, "output": content}
        return
    if content:
        yield {"role": message["role"], "content": _content(content)}
    for call in message.get("tool_calls", ()):
        function = call["function"]
        named = {"name": function["name"], "arguments": function["arguments"]}
        yield {"type": "function_call", "call_id": call["id"], **named}


def _content(content: str | list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    return content if isinstance(content, str) else [_part(each) for each in content]


def _part(part: dict[str, Any]) -> dict[str, Any]:
    """A part of a person's message, in this API's words."""
    match part["type"]:
        case "image_url":
            return {"type": "input_image", "image_url": part["image_url"]["url"]}
        case "file":
            return {"type": "input_file", **part["file"]}
        case _:
            return {"type": "input_text", "text": part["text"]}


def _tool(function: dict[str, Any]) -> dict[str, Any]:
    # Where nothing is said of it, this API takes a tool to be strict, and the other does not.
    return {"type": "function", "strict": False, **function}


# --- Streams ---

# HTTP statuses for the codes of a failed answer, which decide whether it is asked for again.
STATUSES: Final = {
    "server_error": 500,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 402,
    "invalid_prompt": 400,
    "context_length_exceeded": 400,
}
# Why an answer is not whole, in the words of the other API.
REASONS: Final = {"max_output_tokens": "length", "content_filter": "content_filter"}


@define
class Response:
    """One streamed answer as far as it has come; the counterpart of `stream.Completion`."""

    begun: bool = False
    finish_reason: str = ""
    usage: Usage = Factory(Usage)
    _said: list[str] = Factory(list)
    _halves: Halves = Factory(Halves)
    _size: int = 0
    _calls: dict[object, CallRequest] = Factory(dict)  # by their place in the output

    @property
    def text(self) -> str:
        # Joined once: whoever watches asks after each event, and an answer may be of thousands.
        self._said[:] = ["".join(self._said)]
        return self._said[0]

    @property
    def over(self) -> bool:
        """Whether no event can follow that matters."""
        return bool(self.finish_reason)

    def feed(self, payload: str) -> str:
        """Take one event's payload; returns the text that it added. Raises BadStream."""
        event = parsed(payload)
        kind = as_string(event.get("type"))
        if kind == "error" or (not kind and event.get("error")):
            raise _reported(event.get("error") or event)
        self.begun = True
        if event.get("object") == "response":  # of a server that does not stream
            return self._end(event)
        return self._take(kind, event)

    def answer(self) -> Answer:
        """The whole answer; call it only when `finish_reason` is there."""
        return Answer(self.text, tuple(self._calls.values()), self.usage)

    def _take(self, kind: str, event: dict[str, Any]) -> str:
        match kind:
            case "response.output_text.delta" | "response.refusal.delta":
                return self._say(as_string(event.get("delta")))
            case "response.function_call_arguments.delta":
                self._grow(len(as_string(event.get("delta"))))
            case "response.output_item.done":
                self._item(event.get("output_index"), as_object(event.get("item")))
            case "response.completed" | "response.incomplete" | "response.failed":
                return self._end(as_object(event.get("response")))
        return ""

    def _item(self, place: object, item: dict[str, Any]) -> None:
        if item.get("type") != "function_call":
            return
        call = [clean(as_string(item.get(key))) for key in ("call_id", "name", "arguments")]
        key = place if isinstance(place, int) else call[0]
        if key not in self._calls and len(self._calls) == MAX_CALLS:
            raise Endless(f"more than {MAX_CALLS} tool calls at once")
        self._calls[key] = CallRequest(*call)

    def _end(self, response: dict[str, Any]) -> str:
        """Take in how it ended; returns what had been said to nobody yet."""
        if isinstance(response.get("usage"), dict):  # of one that failed, too
            self.usage = _usage(response["usage"])
        status = as_string(response.get("status"))
        if (error := response.get("error")) or status == "failed":
            raise _reported(error or "it failed without a reason")
        why = as_string(as_object(response.get("incomplete_details")).get("reason"))
        self.finish_reason = REASONS.get(why, "length") if status == "incomplete" else "stop"
        return self._rest([as_object(item) for item in as_array(response.get("output"))])

    def _rest(self, items: Sequence[dict[str, Any]]) -> str:
        """Take in what no event had told: all of it, of a server that does not stream."""
        if not self._calls:
            for place, item in enumerate(items):
                self._item(place, item)
        return "" if any(self._said) else self._say("".join(map(_text, items)))

    def _say(self, text: str) -> str:
        self._grow(len(text))
        said = self._halves.join(text)
        self._said.append(said)
        return said

    def _grow(self, characters: int) -> None:
        self._size += characters
        if self._size > MAX_ANSWER:
            raise Endless(f"an answer of over {MAX_ANSWER} characters")


def _text(item: dict[str, Any]) -> str:
    """What a message says; other items say nothing to people."""
    if item.get("type") != "message":
        return ""
    parts = [as_object(part) for part in as_array(item.get("content"))]
    return "".join(as_string(each.get("text")) or as_string(each.get("refusal")) for each in parts)


def _reported(error: object) -> ReportedError:
    found = reported(error)
    return ReportedError(str(found), found.status or STATUSES.get(found.code), found.code)


def _usage(found: dict[str, Any]) -> Usage:
    cached = as_object(found.get("input_tokens_details")).get("cached_tokens")
    prompt, completion = found.get("input_tokens"), found.get("output_tokens")
    return Usage(as_count(prompt), as_count(cached), as_count(completion))
