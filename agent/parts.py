"""Pictures and documents in messages: parts as Chat Completions has them, and who takes them; pure.

A message's content is a text, or a list of such parts. `agent.responses` says the same in its own
words. Data goes in the request itself, since what lies at the provider is nobody's to delete. A
model that does not take a part is told in its place that there was one, so that it can say so.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from agent.providers import Preset

# Models that see, by what their names have in common; others are taken to be blind.
SEEING: Final = re.compile(
    r"gpt-4o|gpt-4\.1|gpt-4-turbo|gpt-[5-9]|(^|/)o[134](-|$)|claude|gemini|gemma-?[3-9]"
    r"|llava|llama-?4|vision|pixtral|mistral-(small|medium)-?3|qwen[\d.]*-?(vl|omni)|[-_]vl\b|internvl"
    r"|minicpm-v|phi-?[4-9]-multimodal|molmo|kimi-k2\.5",
    re.IGNORECASE,
)

NO_IMAGES = "[There is an image here, but this model cannot look at images.]"
NO_DOCUMENTS = "[There is a document here{name}, but this model cannot read documents.]"


@frozen
class Takes:
    """What a model takes besides text."""

    images: bool = False
    documents: bool = False


def takes(preset: Preset, model: str, images: str) -> Takes:
    """What a model is believed to take; `images` is the owner's "yes", "no" or "auto"."""
    sees = images == "yes" or (images == "auto" and SEEING.search(model) is not None)
    return Takes(sees, sees and preset.documents)


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def image(data: bytes, kind: str) -> dict[str, Any]:
    """A picture; `kind` is its media type, such as image/png."""
    return {"type": "image_url", "image_url": {"url": _data_url(data, kind)}}


def document(name: str, data: bytes, kind: str) -> dict[str, Any]:
    """A file to read, such as a PDF; `kind` is its media type."""
    return {"type": "file", "file": {"filename": name, "file_data": _data_url(data, kind)}}


def _data_url(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def fitted(messages: Sequence[dict[str, Any]], taken: Takes) -> Sequence[dict[str, Any]]:
    """The messages with a sentence for each part that the model does not take."""
    if all(isinstance(each.get("content"), str | None) for each in messages):
        return messages
    return [_fitted(each, taken) for each in messages]


def _fitted(message: dict[str, Any], taken: Takes) -> dict[str, Any]:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return {**message, "content": _joined([_told(part, taken) for part in content])}


def _told(part: Mapping[str, Any], taken: Takes) -> Mapping[str, Any]:
    match part["type"]:
        case "image_url" if not taken.images:
            return text(NO_IMAGES)
        case "file" if not taken.documents:
            return text(NO_DOCUMENTS.format(name=f", {part['file'].get('filename', '')}"))
        case _:
            return part


def _joined(parts: Iterable[Mapping[str, Any]]) -> str | list[Mapping[str, Any]]:
    """The parts, or one text where all are that: some servers know nothing else."""
    kept = list(parts)
    if any(part["type"] != "text" for part in kept):
        return kept
    return "\n\n".join(part["text"] for part in kept)
