"""What may be asked of a model besides an answer, and which models take it: pure rules.

OpenAI refuses a whole request over one parameter that the model does not take, so those go only to
the families that are known to take them. Most others ignore what they do not know. A provider that
refuses one all the same names it; for the rest of the process's life it is then left out, or sent
under the other name that the provider has for it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from attrs import define, field, frozen

from agent.providers import Preset, Style

# Models of OpenAI that think before they answer: their effort can be chosen, and their temperature
# cannot. The others of OpenAI are the other way round.
THINKING: Final = re.compile(r"^(o\d|gpt-5|gpt-oss|codex)")
NOT_THINKING: Final = re.compile(r"^gpt-5(\.\d+)?-chat")

# How providers say that they do not take a parameter.
REFUSED: Final = re.compile(
    r"unsupported|not supported|does not support|not support|unknown|unrecognized|unexpected"
    r"|not permitted|not allowed|extra input|deprecated",
    re.IGNORECASE,
)
# These always have the same value, so that any complaint about one says that it is not taken.
FIXED: Final = frozenset({"stream_options", "tool_choice"})
# What a model can do without.
OPTIONAL: Final = FIXED | {
    *("temperature", "reasoning", "reasoning_effort"),
    *("max_tokens", "max_completion_tokens", "max_output_tokens"),
}
# Two names for one thing, of which a server may know only the other.
TWINS: Final[Mapping[str, str]] = {
    "max_tokens": "max_completion_tokens",
    "max_completion_tokens": "max_tokens",
}
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
    known = OPTIONAL if REFUSED.search(words) else FIXED
    return next((key for key in sent if key in known and _is_named(key, param, words)), "")


def instead(refused: str, words: str) -> str:
    """The name under which the provider wants the parameter that it refused; '' if under none."""
    twin = TWINS.get(refused, "")
    return twin if twin and _stands_in(twin, words) else ""


@define
class Learnt:
    """What a model has refused to take, and the name that each is sent under, '' for not at all.

    No name is tried twice, so that a provider which sends us from one to another comes to an end.
    """

    _names: dict[str, str] = field(factory=dict)

    def learn(self, refused: str, instead: str) -> str:
        """Note a refusal; returns what is done from now on, '' if another call has found it out."""
        if refused in self._names:
            return ""
        self._names[refused] = name = "" if instead in self._names else instead
        return f"called {name}" if name else "left out"

    def sent(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body of a request with what the model takes, under the names that it takes."""
        named = {self._name(key): value for key, value in body.items()}
        named.pop("", None)
        return named

    def _name(self, key: str) -> str:
        while key in self._names:
            key = self._names[key]
        return key


def _is_named(key: str, param: str, words: str) -> bool:
    return any(param == name if param else _stands_in(name, words) for name in _names(key))


def _names(key: str) -> Iterator[str]:
    yield from ALIASES.get(key, (key,))


def _stands_in(name: str, words: str) -> bool:
    """Whether the name stands in the words, and not as a part of a longer one."""
    return re.search(rf"(?<![\w.]){re.escape(name)}(?![\w])", words) is not None
