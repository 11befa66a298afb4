"""Tools, and the one place that knows how they are described, checked and run.

A tool is an async function with typed parameters. Its strict JSON schema is derived from the
signature, its description is its docstring's first paragraph, and each parameter's description is
the string in its `Annotated` type:

    @tool(kind=Kind.READ)
    async def current_datetime(zone: Annotated[str | None, "An IANA name"]) -> str:
        '''Tell the date and time.'''

A tool returns the text for the model, or raises `ToolError` with a sentence that tells the model
what to do differently. Results are cut to the tool's cap, head and tail kept.
"""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections.abc import Awaitable, Callable, Iterable, Mapping
from enum import Enum
from typing import Any, Literal

from attrs import define, frozen

from agent.ports import ToolOutcome
from agent.transcript import CallRequest

OUTPUT_CAP = 16_000  # characters of a result that the model is shown; about 4,000 tokens

JSON_TYPES: dict[type, tuple[str, str]] = {
    str: ("string", "a string"),
    int: ("integer", "an integer"),
    float: ("number", "a number"),
    bool: ("boolean", "true or false"),
    type(None): ("null", "null"),
}


class Kind(Enum):
    """What running a tool can touch, which decides what happens when it was interrupted."""

    READ = "read"  # changes nothing: may be run again
    SANDBOXED = "sandboxed"  # changes the chat's workspace
    OUTWARD = "outward"  # changes something outside this machine
    LOCAL_WRITE = "local write"  # changes our own records


class Policy(Enum):
    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


class ToolError(Exception):
    """A tool could not do what was asked; the text is for the model."""


class BadArguments(ToolError):
    """The arguments do not fit the tool's schema."""


@frozen
class Parameter:
    name: str
    types: tuple[type, ...]
    choices: tuple[str, ...]
    description: str

    def schema(self) -> dict[str, Any]:
        names = [JSON_TYPES[kind][0] for kind in self.types]
        schema: dict[str, Any] = {"type": names[0] if len(names) == 1 else names}
        if self.choices:
            schema["enum"] = list(self.choices)
        return {**schema, "description": self.description}

    def check(self, value: object) -> None:
        """Raise BadArguments unless `value` fits. A whole number is a number; True is neither."""
        kinds = (*self.types, int) if float in self.types else self.types
        if type(value) not in kinds:
            expected = " or ".join(JSON_TYPES[kind][1] for kind in self.types)
            raise BadArguments(f"{self.name} must be {expected}, not {value!r:.60}")
        if self.choices and value is not None and value not in self.choices:
            raise BadArguments(f"{self.name} must be one of {', '.join(self.choices)}")


@frozen
class Tool:
    """A function that the model may call, with what the program must know about it."""

    name: str
    description: str
    parameters: tuple[Parameter, ...]
    kind: Kind
    policy: Policy
    output_cap: int
    function: Callable[..., Awaitable[str]]

    def schema(self) -> dict[str, Any]:
        """The tool as Chat Completions wants it: strict, so every parameter is required."""
        parameters = {
            "type": "object",
            "properties": {each.name: each.schema() for each in self.parameters},
            "required": [each.name for each in self.parameters],
            "additionalProperties": False,
        }
        function = {"name": self.name, "description": self.description, "parameters": parameters}
        return {"type": "function", "function": {**function, "strict": True}}

    def arguments(self, text: str) -> dict[str, Any]:
        """The checked arguments in the model's raw `text`. Raises BadArguments.

        A parameter that accepts null may be left out: models that ignore `strict` do.
        """
        given = _parse_object(text)
        known = {each.name for each in self.parameters}
        if unknown := sorted(given.keys() - known):
            raise BadArguments(f"unknown argument {unknown[0]!r}; known: {sorted(known)}")
        for each in self.parameters:
            if each.name not in given and type(None) not in each.types:
                raise BadArguments(f"the argument {each.name!r} is missing")
            each.check(given.setdefault(each.name, None))
        return given


def tool(
    *, kind: Kind, policy: Policy = Policy.ALLOW, output_cap: int = OUTPUT_CAP
) -> Callable[[Callable[..., Awaitable[str]]], Tool]:
    """Make a Tool of an async function or method; see the module's docstring."""

    def make(function: Callable[..., Awaitable[str]]) -> Tool:
        description = inspect.cleandoc(function.__doc__ or "").split("\n\n")[0].replace("\n", " ")
        parameters = _parameters(function)
        return Tool(function.__name__, description, parameters, kind, policy, output_cap, function)

    return make


def _parameters(function: Callable[..., Awaitable[str]]) -> tuple[Parameter, ...]:
    hints = typing.get_type_hints(function, include_extras=True)
    hints.pop("return")
    return tuple(_parameter(name, hint) for name, hint in hints.items())


def _parameter(name: str, hint: Any) -> Parameter:  # noqa: ANN401  (a type form)
    """Read a parameter off `Annotated[TYPE, "description"]`."""
    kind, description = typing.get_args(hint)
    forms = (
        typing.get_args(kind)
        if typing.get_origin(kind) in {typing.Union, types.UnionType}
        else (kind,)
    )
    choices = tuple(
        choice
        for form in forms
        if typing.get_origin(form) is Literal
        for choice in typing.get_args(form)
    )
    plain = tuple(str if typing.get_origin(form) is Literal else form for form in forms)
    return Parameter(name, plain, choices, description)


def _parse_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise BadArguments(f"the arguments are not valid JSON ({error}); send one object") from None
    if not isinstance(value, dict):
        raise BadArguments("the arguments must be one JSON object")
    return value


@define
class Registry:
    """The tools offered in a turn; implements `agent.ports.Toolbox`."""

    _tools: Mapping[str, Tool]

    @classmethod
    def of(cls, tools: Iterable[Tool]) -> Registry:
        return cls({each.name: each for each in tools if each.policy is not Policy.DENY})

    def schemas(self) -> list[dict[str, Any]]:
        return [each.schema() for each in self._tools.values()]

    def rerunnable(self, name: str) -> bool:
        return name in self._tools and self._tools[name].kind is Kind.READ

    async def run(self, request: CallRequest) -> ToolOutcome:
        """Run one call; what is wrong with it or with the tool becomes a failed outcome."""
        found = self._tools.get(request.name)
        if found is None:
            known = ", ".join(sorted(self._tools)) or "none"
            return ToolOutcome(f"There is no tool {request.name!r}. Tools: {known}.", failed=True)
        try:
            text = await found.function(**found.arguments(request.arguments))
        except ToolError as error:
            return ToolOutcome(f"Error: {error}", failed=True)
        return ToolOutcome(shorten(text, found.output_cap))


def shorten(text: str, cap: int) -> str:
    """`text` in at most about `cap` characters: two thirds from its head, the rest its tail."""
    if len(text) <= cap:
        return text
    head, tail = cap * 2 // 3, cap - cap * 2 // 3
    return f"{text[:head]}\n[... {len(text) - cap} characters left out ...]\n{text[-tail:]}"
