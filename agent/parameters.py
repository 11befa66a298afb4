"""What may be asked of a model besides an answer, and which models take it: pure rules.

OpenAI refuses a whole request over one parameter that the model does not take, so those go only to
the families that are known to take them. Most others ignore what they do not know. A provider that
refuses one all the same names it; it is then left out for the rest of the process's life.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from attrs import frozen

from agent.providers import Preset, Style

# Models of OpenAI that think before they answer: their effort can be chosen, and their temperature
# cannot. The others of OpenAI are the other way round.
THINKING: Final = re.compile(r"^(o\d|gpt-5|gpt-oss|codex)")
NOT_THINKING: Final = re.compile(r"^gpt-5(\.\d+)?-chat")

# How providers say that they do not take a parameter.
REFUSED: Final = re.compile(
    r"unsupported|not supported|does not support|not support|unknown|unrecognized|unexpected"
    r"|not permitted|not allowed|extra input",
    re.IGNORECASE,
)
# Under these names a parameter may be refused, whose key in a request is the first.
ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "reasoning": ("reasoning", "reasoning.effort", "reasoning_effort"),
    "reasoning_effort": ("reasoning_effort", "reasoning.effort", "reasoning"),
    "stream_options": ("stream_options", "stream_options.include_usage", "include_usage"),
}


@frozen
class Parameters:
    """The owner's choices; None: the model's own default."""

    temperature: float | None = None
    reasoning_effort: str | None = None
    max_output_tokens: int | None = None


def accepted(chosen: Parameters, preset: Preset, model: str) -> dict[str, Any]:
    """The chosen parameters that the model is believed to take, as keys of a request."""
    found = {}
    thinks = bool(THINKING.match(model)) and not NOT_THINKING.match(model)
    if chosen.temperature is not None and not (preset.checked and thinks):
        found["temperature"] = chosen.temperature
    if chosen.reasoning_effort is not None and (thinks or not preset.checked):
        found |= _effort(chosen.reasoning_effort, preset.style)
    if chosen.max_output_tokens is not None:
        found[preset.answer_limit] = chosen.max_output_tokens
    return found


def _effort(effort: str, style: Style) -> dict[str, Any]:
    if style is Style.RESPONSES:
        return {"reasoning": {"effort": effort}}
    return {"reasoning_effort": effort}


def refused(sent: Collection[str], param: str, words: str) -> str:
    """Which of the parameters that were sent a refusal (400) is about; '' if it is about none.

    `param` is the one that the provider names as such, or ''; `words` are what it says.
    """
    if not REFUSED.search(words):
        return ""
    return next((key for key in sent if _is_named(key, param, words)), "")


def _is_named(key: str, param: str, words: str) -> bool:
    return any(param == name if param else _stands_in(name, words) for name in _names(key))


def _names(key: str) -> Iterator[str]:
    yield from ALIASES.get(key, (key,))


def _stands_in(name: str, words: str) -> bool:
    """Whether the name stands in the words, and not as a part of a longer one."""
    return re.search(rf"(?<![\w.]){re.escape(name)}(?![\w])", words) is not None
