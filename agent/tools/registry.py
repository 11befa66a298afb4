"""Tools, and the one place that knows how they are described, checked and run.

A tool is an async function with typed parameters. Its strict JSON schema is derived from the
signature, its description is its docstring, and each parameter's description is the string in its
`Annotated` type:

    @tool(kind=Kind.READ)
    async def current_datetime(zone: Annotated[str | None, "An IANA name"]) -> str:
        '''Tell the date and time.'''

A tool returns the text for the model, or raises `ToolError` with a sentence that tells the model
what to do differently. One that brings more (files, or a failure with files) returns a
`ToolOutcome`. Every text is cut to the tool's cap, head and tail kept.
"""

from __future__ import annotations

import inspect
import json
import math
import types
import typing
from collections.abc import Awaitable, Callable, Iterable, Mapping
from enum import Enum
from functools import cache
from typing import Any, Literal, NoReturn, TypeAlias

from attrs import evolve, frozen

from agent import context, preview
from agent.ports import Policy, ToolOutcome
from agent.text import clean, repaired, shorten, unclosing
from agent.transcript import CallRequest

OUTPUT_CAP = 16_000  # characters of a result that the model is shown; about 4,000 tokens

# The queue of what reads or changes the files of the chat: its calls see what earlier ones did.
WORKSPACE = "workspace"

MOST_DIGITS = 100  # of a whole number; Python shows none of more than 4,300

JSON_TYPES: dict[type, tuple[str, str]] = {
    str: ("string", "a string"),
    int: ("integer", "an integer"),
    float: ("number", "a number"),
    bool: ("boolean", "true or false"),
    type(None): ("null", "null"),
    list: ("array", "a list of strings"),
}


class Kind(Enum):
    """What running a tool can touch, which decides what happens when it was interrupted."""

    READ = "read"  # changes nothing: may be run again
    SANDBOXED = "sandboxed"  # changes the chat's workspace
    OUTWARD = "outward"  # changes something outside this machine
    LOCAL_WRITE = "local write"  # changes our own records


# What a call with these (checked) arguments may do, where that depends on them.
Judge: TypeAlias = Callable[[Mapping[str, Any]], Policy]
# Which calls a lasting yes to one with these (checked) arguments would cover, in a few words; None
# if each needs a yes of its own.
Scope: TypeAlias = Callable[[Mapping[str, Any]], str | None]


class ToolError(Exception):
    """A tool could not do what was asked; the text is for the model."""


class BadArguments(ToolError):
    """The arguments do not fit the tool's schema."""


# What a tool is: an async function of the parameters that its schema names.
Function: TypeAlias = Callable[..., Awaitable[str | ToolOutcome]]


@frozen
class Parameter:
    """One argument of a tool: `types` are keys of JSON_TYPES, `choices` the only strings if any."""

    name: str
    types: tuple[type, ...]
    choices: tuple[str, ...]
    description: str

    def schema(self) -> dict[str, Any]:
        names = [JSON_TYPES[kind][0] for kind in self.types]
        schema: dict[str, Any] = {"type": names[0] if len(names) == 1 else names}
        if list in self.types:
            schema["items"] = {"type": "string"}
        if self.choices:
            schema["enum"] = [*self.choices, *([None] if type(None) in self.types else [])]
        return {**schema, "description": self.description}

    def check(self, value: object) -> None:
        """Raise BadArguments unless `value` fits. A whole number is a number; True is neither."""
        kinds = (*self.types, int) if float in self.types else self.types
        if type(value) not in kinds:
            expected = " or ".join(JSON_TYPES[kind][1] for kind in self.types)
            raise BadArguments(f"{self.name} must be {expected}, not {value!r:.60}")
        if isinstance(value, list) and not all(isinstance(each, str) for each in value):
            raise BadArguments(f"{self.name} must hold strings only")
        if self.choices and value is not None and value not in self.choices:
            raise BadArguments(f"{self.name} must be one of {', '.join(self.choices)}")


@frozen
class Tool:
    """A function that the model may call, with what the program must know about it.

    Calls of one answer run side by side, but those of the same `queue` run one after another, in
    the order in which they were asked for. `judge`, if there is one, decides a call's policy, and
    `scope` what a lasting yes to it covers; without one each call needs a yes of its own.

    A tool of somebody else comes with a JSON schema of its own, `given`, and no parameters: whoever
    gave it checks the arguments, which `function` gets as one object. What an `untrusted` tool
    brings is text from outside, and is shown to the model as such.
    """

    name: str
    description: str
    parameters: tuple[Parameter, ...]
    kind: Kind
    policy: Policy
    output_cap: int
    function: Function
    queue: str = ""
    judge: Judge | None = None
    untrusted: bool = False
    given: Mapping[str, Any] | None = None
    scope: Scope | None = None

    def schema(self) -> dict[str, Any]:
        """The tool as Chat Completions wants it: strict, so every parameter is required.

        A schema that was given is passed on as it is, which strict mode would not stand.
        """
        if self.given is not None:
            return _offer(self.name, self.description, self.given, strict=False)
        return _own(self.name, self.description, self.parameters)[0]

    def weight(self) -> int:
        """The bytes that its schema takes in a request."""
        if self.given is not None:
            return context.weigh(self.schema())
        return _own(self.name, self.description, self.parameters)[1]

    def arguments(self, text: str) -> dict[str, Any]:
        """The checked arguments in the model's raw `text`. Raises BadArguments.

        A parameter that accepts null may be left out: models that ignore `strict` do.
        """
        if self.given is not None:
            return _parse_object(repaired(clean(text)))  # halves of characters cannot be sent
        given = _parse_object(text)
        known = {each.name for each in self.parameters}
        if unknown := sorted(given.keys() - known):
            raise BadArguments(f"unknown argument {unknown[0]!r}; known: {sorted(known)}")
        for each in self.parameters:
            if each.name not in given and type(None) not in each.types:
                raise BadArguments(f"the argument {each.name!r} is missing")
            each.check(given.setdefault(each.name, None))
        return given

    def policy_of(self, arguments: str) -> Policy:
        """What a call with these arguments may do. Raises BadArguments."""
        return self.policy if self.judge is None else self.judge(self.arguments(arguments))

    async def call(self, text: str) -> ToolOutcome:
        """Run it with the model's raw arguments, and give what it brings. Raises ToolError."""
        arguments = self.arguments(text)
        called = self.function(**arguments) if self.given is None else self.function(arguments)
        brought = await called
        return ToolOutcome(brought) if isinstance(brought, str) else brought


def tool(  # noqa: PLR0913  (the call reads like a table row)
    *,
    kind: Kind,
    policy: Policy = Policy.ALLOW,
    output_cap: int = OUTPUT_CAP,
    queue: str = "",
    judge: Judge | None = None,
    untrusted: bool = False,
    scope: Scope | None = None,
) -> Callable[[Function], Tool]:
    """Make a Tool of an async function; see the module's docstring."""

    def make(function: Function) -> Tool:
        description, parameters = _description(function)
        return Tool(
            function.__name__,
            description,
            parameters,
            kind,
            policy,
            output_cap,
            function,
            queue,
            judge,
            untrusted,
            scope=scope,
        )

    return make


# By code: tools are made anew for each turn, as closures over the same few functions, and to read
# their annotations takes a quarter of a millisecond.
_descriptions: dict[types.CodeType, tuple[str, tuple[Parameter, ...]]] = {}


def _description(function: Function) -> tuple[str, tuple[Parameter, ...]]:
    """A tool's words for the model, and its parameters."""
    code = inspect.unwrap(function).__code__
    if code not in _descriptions:
        paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
        text = "\n".join(" ".join(each.split()) for each in paragraphs)
        _descriptions[code] = text, _parameters(function)
    return _descriptions[code]


def _parameters(function: Function) -> tuple[Parameter, ...]:
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
    return Parameter(name, tuple(map(_plain, forms)), choices, description)


def _plain(form: Any) -> type:  # noqa: ANN401  (a type form)
    """What JSON has in the place of a type form; a list is one of strings."""
    origin = typing.get_origin(form)
    plain: type = str if origin is Literal else origin or form
    return plain


@cache  # for the same reason as the descriptions
def _own(
    name: str, description: str, parameters: tuple[Parameter, ...]
) -> tuple[dict[str, Any], int]:
    """The schema of a tool of ours, which all requests share, and its bytes."""
    strict = {
        "type": "object",
        "properties": {each.name: each.schema() for each in parameters},
        "required": [each.name for each in parameters],
        "additionalProperties": False,
    }
    schema = _offer(name, description, strict, strict=True)
    return schema, context.weigh(schema)


def _offer(
    name: str, description: str, parameters: Mapping[str, Any], *, strict: bool
) -> dict[str, Any]:
    function = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": {**function, "strict": strict}}


def _parse_object(text: str) -> dict[str, Any]:
    """The object in a model's raw text, in which every number can be counted with and shown."""
    try:
        value = json.loads(
            text.strip() or "{}", parse_constant=_refuse, parse_float=_finite, parse_int=_whole
        )
    except (ValueError, RecursionError) as error:
        raise BadArguments(f"the arguments are not valid JSON ({error}); send one object") from None
    if not isinstance(value, dict):
        raise BadArguments("the arguments must be one JSON object")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _whole(written: str) -> int:
    if len(written) > MOST_DIGITS:
        raise ValueError(f"{written:.20} is too large a number")
    return int(written)


def _finite(written: str) -> float:
    value = float(written)
    if math.isinf(value):
        raise ValueError(f"{written:.20} is too large a number")
    return value


@frozen
class Registry:
    """The tools offered in a turn; implements `agent.ports.Toolbox`."""

    _tools: Mapping[str, Tool]
    _attended: bool = True

    @classmethod
    def of(cls, tools: Iterable[Tool], *, attended: bool = True) -> Registry:
        """Offer `tools`; where nobody can be asked (not `attended`), what would ask is denied."""
        offered = (each for each in tools if each.policy is not Policy.DENY)
        return cls({each.name: each for each in offered}, attended)

    def schemas(self) -> list[dict[str, Any]]:
        return [each.schema() for each in self._tools.values()]

    def weight(self) -> int:
        return sum(each.weight() for each in self._tools.values())

    def rerunnable(self, name: str) -> bool:
        return name in self._tools and self._tools[name].kind is Kind.READ

    def queue(self, name: str) -> str:
        return self._tools[name].queue if name in self._tools else ""

    def policy(self, request: CallRequest) -> Policy:
        """What may be done with a call; one that cannot be run as it is says so when it is."""
        found = self._tools.get(request.name)
        if found is None:
            return Policy.ALLOW
        try:
            policy = found.policy_of(request.arguments)
        except BadArguments:
            return Policy.ALLOW
        return Policy.DENY if policy is Policy.ASK and not self._attended else policy

    def preview(self, request: CallRequest) -> str:
        """The tool's name and all its arguments, cut nowhere and hiding nothing.

        Null stands for an argument that was left out, but not for tools whose schema is not ours.
        """
        try:
            arguments = _parse_object(request.arguments)
        except BadArguments:
            return preview.argument(request.name, request.arguments)
        found = self._tools.get(request.name)
        foreign = found is not None and found.given is not None
        shown = [
            preview.argument(name, _shown(value))
            for name, value in arguments.items()
            if foreign or value is not None
        ]
        return "\n".join([preview.visible(request.name), *shown])

    def scope(self, request: CallRequest) -> str | None:
        """Which calls a lasting yes would cover; None where each needs one of its own."""
        found = self._tools.get(request.name)
        if found is None or found.scope is None:
            return None
        try:
            return found.scope(found.arguments(request.arguments))
        except BadArguments:
            return None

    async def run(self, request: CallRequest) -> ToolOutcome:
        """Run one call; a wrong name, wrong arguments and a ToolError are failed outcomes."""
        found = self._tools.get(request.name)
        if found is None:
            known = ", ".join(sorted(self._tools)) or "none"
            text = f"Error: there is no tool {request.name!r:.80}; there are: {known}"
            return ToolOutcome(text, failed=True)
        try:
            outcome = await found.call(request.arguments)
        except ToolError as error:
            outcome = ToolOutcome(f"Error: {error}", failed=True)
        text = shorten(clean(outcome.text), found.output_cap)
        return evolve(outcome, text=fenced(found.name, text) if found.untrusted else text)


def fenced(source: str, text: str) -> str:
    """`text` marked as data from outside; nothing in it can end the mark."""
    return f'<untrusted source="{source}">\n{unclosing(text, "untrusted")}\n</untrusted>'


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
