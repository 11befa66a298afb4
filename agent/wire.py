"""A request as its provider wants it, and the reader for what comes back, of both protocols."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final

from agent import responses
from agent.outcomes import Reading
from agent.providers import Preset, Style
from agent.stream import DONE, BadStream, Completion, Events

READERS: Final[Mapping[Style, Callable[[], Reading]]] = {
    Style.CHAT: Completion,
    Style.RESPONSES: responses.Response,
}


def body(
    preset: Preset,
    messages: Sequence[dict[str, Any]],
    tools: Sequence[dict[str, Any]],
    *,
    may_call: bool = True,
) -> dict[str, Any]:
    """The body of a streaming request, apart from the model's name and the owner's parameters."""
    offered = tools if preset.strict else [_lenient(tool) for tool in tools]
    choice = {} if may_call or not tools else {"tool_choice": "none"}
    if preset.style is Style.RESPONSES:
        return {"stream": True, **responses.body(messages, offered), **choice}
    request = {"stream": True, "messages": messages, "stream_options": {"include_usage": True}}
    return {**request, "tools": offered, **choice} if offered else request


def _lenient(tool: dict[str, Any]) -> dict[str, Any]:
    function = {key: value for key, value in tool["function"].items() if key != "strict"}
    return {**tool, "function": function}


async def fold(
    chunks: AsyncIterator[bytes], reading: Reading, on_text: Callable[[str], None] | None
) -> BadStream | None:
    """Read events into the reading until the last; returns what was wrong with one.

    `on_text` gets the text so far, once for all events that came together.
    """
    events = Events()
    try:
        async for chunk in chunks:
            if _take(events.feed(chunk), reading, on_text):
                return None
        _take(events.end(), reading, on_text)
    except BadStream as error:
        return error
    return None


def _take(payloads: Sequence[str], reading: Reading, on_text: Callable[[str], None] | None) -> bool:
    """Take in some events; True after the one that says that it is the last."""
    events = list(itertools.takewhile(lambda payload: payload != DONE, payloads))
    said = [text for payload in events if (text := reading.feed(payload))]
    if said and on_text is not None:
        on_text(reading.text)
    return reading.over or len(events) < len(payloads)
