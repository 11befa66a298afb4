"""Pictures and documents in messages: parts as Chat Completions has them, and who takes them; pure.

A message's content is a text, or a list of texts and of `View`s. A view stays one until its request
is made, so that nobody counts or prints base64; `fitted` then makes it a part, with the data in the
request itself, since what lies at the provider is nobody's to delete. `agent.responses` says the
same in its own words. A model that does not take a part is told in its place that there was one.

What a model takes is believed of its name, and corrected by what its provider refuses
(`agent.refusals`).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from attrs import frozen

from agent.providers import Preset
from agent.sight import PDF
from agent.transcript import View

Message: TypeAlias = dict[str, Any]

# Models that see, by what their names have in common; others are taken to be blind.
SEEING: Final = re.compile(
    r"gpt-4o|gpt-4\.1|gpt-4-turbo|gpt-[5-9]|(^|/)o[134](-|$)|claude|gemini|gemma-?[3-9]"
    r"|llava|llama-?4|vision|pixtral|mistral-(small|medium)-?3|qwen[\d.]*-?(vl|omni)|[-_]vl\b|internvl"
    r"|minicpm-v|phi-?[4-9]-multimodal|molmo|kimi-k2\.5",
    re.IGNORECASE,
)

NO_IMAGES = "[There is an image here, but this model cannot look at images.]"
NO_DOCUMENTS = "[There is a document here{name}, but this model cannot read documents.]"
REFUSED = "[{what} could not be shown: the model provider refused it: {why}]"
SHOWN = "[{what} is shown here]"


@frozen
class Takes:
    """What a model takes besides text."""

    images: bool = False
    documents: bool = False

    def has(self, view: View) -> bool:
        return self.documents if view.media == PDF else self.images


def takes(preset: Preset, model: str, images: str, documents: str = "auto") -> Takes:
    """What a model is believed to take; the owner says "yes", "no" or "auto" to either.

    By itself, a model that sees reads documents, too, where its provider has them in messages.
    """
    sees = images == "yes" or (images == "auto" and SEEING.search(model) is not None)
    reads = documents == "yes" or (documents == "auto" and sees and preset.documents)
    return Takes(sees, reads)


# --- Messages ---


def text(words: str) -> Message:
    return {"type": "text", "text": words}


def content(words: str, views: Iterable[View]) -> list[Any]:
    """A message's content: words, and then each view after its name."""
    named = (part for view in views for part in (text(f"{view.name}:"), view))
    return [text(words), *named] if words else list(named)


def views(messages: Iterable[Message]) -> list[View]:
    """All that the messages show."""
    contents = (each.get("content") for each in messages)
    lists = (found for found in contents if isinstance(found, list))
    return [part for found in lists for part in found if isinstance(part, View)]


def fitted(
    messages: Sequence[Message], taken: Takes, written: Callable[[View], str] | None = None
) -> Sequence[Message]:
    """The messages as they are sent, with a sentence for each view that the model does not take.

    `written` gives what stands for a view's bytes; None: base64.
    """
    data = written or _base64
    return _told(messages, lambda view: _part(view, data) if taken.has(view) else _missed(view))


def named(messages: Sequence[Message]) -> Sequence[Message]:
    """The messages for people: with a line for each view."""
    return _told(messages, lambda view: text(SHOWN.format(what=what(view))))


def without(messages: Sequence[Message], why: str) -> Sequence[Message]:
    """The messages with the reason for which each view was refused."""
    return _told(messages, lambda view: text(REFUSED.format(what=what(view), why=why)))


def what(view: View) -> str:
    """A view in words: what it is, its name and its measure."""
    return f"{'document' if view.media == PDF else 'picture'} {view.name}, {view.measure}"


def _told(messages: Sequence[Message], tell: Callable[[View], Message]) -> Sequence[Message]:
    if all(isinstance(each.get("content"), str | None) for each in messages):
        return messages
    return [_with_content(each, tell) for each in messages]


def _with_content(message: Message, tell: Callable[[View], Message]) -> Message:
    found = message.get("content")
    if not isinstance(found, list):
        return message
    parts = [tell(part) if isinstance(part, View) else part for part in found]
    return {**message, "content": _joined(parts)}


def _base64(view: View) -> str:
    return base64.b64encode(view.data).decode()


def _part(view: View, written: Callable[[View], str]) -> Message:
    url = f"data:{view.media};base64,{written(view)}"
    if view.media == PDF:
        return {"type": "file", "file": {"filename": view.name, "file_data": url}}
    return {"type": "image_url", "image_url": {"url": url}}


def _missed(view: View) -> Message:
    return text(NO_DOCUMENTS.format(name=f", {view.name}") if view.media == PDF else NO_IMAGES)


def _joined(parts: Sequence[Mapping[str, Any]]) -> str | list[Mapping[str, Any]]:
    """The parts, or one text where all are that: some servers know nothing else."""
    if any(part["type"] != "text" for part in parts):
        return list(parts)
    return "\n\n".join(part["text"] for part in parts)
