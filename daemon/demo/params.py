"""What each Bot API method takes, and whether a call keeps to it.

`botapi.json` holds the parameters of every method and the fields of every type that a parameter can
contain, one line each: `chat_id!:int|str` is required and takes either, `[]` is an array, a type
that starts with `=` is one of several. The official server is lenient (it ignores what it does not
know and turns anything into a string), which is how a misspelled parameter stays unnoticed for
years; this one refuses it, so that no test passes with a call that does less than it says.

The real server's leniency that clients do rely on is kept: a value may be text where the type is a
number, a boolean or an object, because that is what a form can carry.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from attrs import frozen

from daemon.demo.forms import Form

_INTEGER = re.compile(r"-?[0-9]{1,19}")
TRUE_WORDS = frozenset({"true", "yes", "1"})
FALSE_WORDS = frozenset({"false", "no", "0"})
SIMPLE: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
}


class BadParameter(Exception):
    """A parameter is unknown, missing or of another type; says which and why."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.name = name
        self.problem = problem


@frozen
class Param:
    """One parameter or field. `types` are alternatives in the notation of the data file."""

    name: str
    required: bool
    types: tuple[str, ...]


@cache
def _data() -> dict[str, dict[str, str]]:
    text = Path(__file__).with_name("botapi.json").read_text(encoding="utf-8")
    data: dict[str, dict[str, str]] = json.loads(text)
    return data


def _params(line: str) -> dict[str, Param]:
    found: dict[str, Param] = {}
    for item in line.split():
        name, _, types = item.partition(":")
        plain = name.removesuffix("!")
        found[plain] = Param(plain, name != plain, tuple(types.split("|")))
    return found


@cache
def method_names() -> dict[str, str]:
    """Map lower-case names to real ones: the server does not mind the case."""
    return {name.lower(): name for name in _data()["methods"]}


@cache
def params_of(method: str) -> dict[str, Param]:
    """Give the parameters of a method by name."""
    return _params(_data()["methods"][method])


@cache
def _fields_of(type_name: str) -> dict[str, Param]:
    return _params(_data()["types"][type_name])


def read_params(method: str, form: Form) -> dict[str, Any]:
    """Give the call's parameters with the types the method asks for. Raises BadParameter."""
    known = params_of(method)
    values: dict[str, Any] = {}
    for name, raw in form.values.items():
        if name not in known:
            raise BadParameter(name, f"{method} has no such parameter")
        values[name] = _read_value(known[name], raw)
    _check_files(known, form, values)
    for param in known.values():
        if param.required and param.name not in values:
            raise BadParameter(param.name, f"{method} requires it")
    return values


def _check_files(known: dict[str, Param], form: Form, values: dict[str, Any]) -> None:
    """A file is either a parameter itself, or named by `attach://` in another one."""
    for name in form.files:
        if name in known and "InputFile" in known[name].types:
            values.setdefault(name, f"attach://{name}")
        elif f"attach://{name}" not in str(values):
            raise BadParameter(name, "a file that no parameter takes or refers to")


def _read_value(param: Param, raw: Any) -> Any:  # noqa: ANN401 (values of any JSON type)
    value = _from_text(param, raw) if isinstance(raw, str) else raw
    if problem := _problem(value, param.types):
        raise BadParameter(param.name, problem)
    return value


def _from_text(param: Param, text: str) -> Any:  # noqa: ANN401
    """Turn a form's text into the parameter's type; leave it as it is when it is none."""
    if "int" in param.types and _INTEGER.fullmatch(text):
        return int(text)
    if "str" in param.types or "InputFile" in param.types:
        return text
    if param.types == ("bool",):
        return _boolean(text)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _boolean(text: str) -> bool | str:
    if text.lower() in TRUE_WORDS:
        return True
    return False if text.lower() in FALSE_WORDS else text


def _problem(value: Any, types: tuple[str, ...]) -> str:  # noqa: ANN401
    """Say why the value is of none of the types; "" when it is of one."""
    problems: list[str] = []
    for name in types:
        problem = _problem_as(value, name)
        if not problem:
            return ""
        problems.append(problem)
    # The alternative that came furthest names the deepest path, hence the longest text.
    return max(problems, key=len)


def _problem_as(value: Any, name: str) -> str:  # noqa: ANN401
    if name.startswith("[]"):
        return _problem_as_list(value, name[2:])
    if name in SIMPLE:
        return _problem_as_simple(value, name)
    if name == "InputFile":
        return "" if isinstance(value, str) else "expected a file or a reference to one"
    line = _data()["types"][name]
    if line.startswith("="):
        return _problem(value, tuple(line[1:].split("|")))
    return _problem_as_object(value, name)


def _problem_as_simple(value: Any, name: str) -> str:  # noqa: ANN401
    is_bool = isinstance(value, bool)
    if isinstance(value, SIMPLE[name]) and is_bool == (name == "bool"):
        return ""
    return f"expected {name}, got {_short(value)}"


def _problem_as_list(value: Any, name: str) -> str:  # noqa: ANN401
    if not isinstance(value, list):
        return f"expected an array of {name}, got {_short(value)}"
    for index, item in enumerate(value):
        if problem := _problem_as(item, name):
            return f"[{index}]: {problem}"
    return ""


def _problem_as_object(value: Any, name: str) -> str:  # noqa: ANN401
    if not isinstance(value, dict):
        return f"expected {name}, got {_short(value)}"
    fields = _fields_of(name)
    for key, item in value.items():
        if key not in fields:
            return f"{name} has no field {key!r}"
        if problem := _problem(item, fields[key].types):
            return f".{key}: {problem}"
    missing = [f.name for f in fields.values() if f.required and f.name not in value]
    return f"{name} requires {', '.join(missing)}" if missing else ""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 (one line of a log)
