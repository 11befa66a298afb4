"""Who serves models, and how each differs: a table.

A provider is known by its name in the configuration. What it says can all be said by hand: the
address is a default, and whoever speaks the same protocol elsewhere is `openai` with another
`base_url`; that one is then treated as what it is, a server that is compatible with OpenAI's and
not OpenAI's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from attrs import frozen


class Style(Enum):
    """The protocol that is spoken; its value is the path of a request."""

    CHAT = "/chat/completions"
    RESPONSES = "/responses"


@frozen
class Preset:
    """What is known of a provider.

    `strict` if it heeds the mark that a tool's arguments must fit its schema; where it does not,
    the mark is not paid for. `answer_limit` is its name for the most tokens of an answer. `checked`
    if it refuses a request over a parameter that the model does not take, so that those are sent
    only to the families that are known to take them; others ignore what they do not know.
    `documents` if files can be a part of messages.
    """

    base_url: str
    style: Style = Style.CHAT
    needs_key: bool = True
    strict: bool = True
    answer_limit: str = "max_tokens"
    checked: bool = False
    documents: bool = False


OPENAI_URL: Final = "https://api.openai.com/v1"

PRESETS: Final[Mapping[str, Preset]] = {
    "openai": Preset(
        OPENAI_URL, answer_limit="max_completion_tokens", checked=True, documents=True
    ),
    "openai_responses": Preset(
        OPENAI_URL,
        Style.RESPONSES,
        answer_limit="max_output_tokens",
        checked=True,
        documents=True,
    ),
    "openrouter": Preset("https://openrouter.ai/api/v1", documents=True),
    "libertai": Preset("https://api.libertai.io/v1"),
    "ollama": Preset("http://127.0.0.1:11434/v1", needs_key=False, strict=False),
    "vllm": Preset("http://127.0.0.1:8000/v1", needs_key=False, strict=False),
}

# What is assumed of servers at an address of the owner's own.
COMPATIBLE: Final[Mapping[Style, Preset]] = {
    Style.CHAT: Preset("", needs_key=False),
    Style.RESPONSES: Preset("", Style.RESPONSES, needs_key=False, answer_limit="max_output_tokens"),
}


def default_url(provider: str) -> str:
    """Where a provider is by default; '' for a name that is none's."""
    known = PRESETS.get(provider)
    return known.base_url if known else ""


def preset(provider: str, base_url: str) -> Preset:
    """What is known of a provider that is spoken to at this address."""
    known = PRESETS[provider]
    elsewhere = known.base_url == OPENAI_URL and base_url != OPENAI_URL
    return COMPATIBLE[known.style] if elsewhere else known


def needs_key(provider: str, base_url: str) -> bool:
    """Whether a provider refuses whoever has no key; nobody knows of a server elsewhere."""
    known = PRESETS[provider]
    return known.needs_key and base_url == known.base_url
