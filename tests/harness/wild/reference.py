"""What an update can be, by the Bot API's reference: `updates.json`, and how it was made.

The file has the fields of every type that an update can contain, one line a type, in the notation
of `daemon/demo/botapi.json`: `chat!:Chat` is always there, `[]` is an array, a line that starts
with `=` names alternatives. A value that is always the same stands there itself: `type!:'emoji'`,
`date!:0`.

    python -m tests.harness.wild.reference REFERENCE.json

writes it anew from a machine-readable reference (`types`, each with `fields` or `subtypes`).
"""

from __future__ import annotations

import json
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

from attrs import frozen

FILE = Path(__file__).with_name("updates.json")
# The reference's words for what JSON has.
SIMPLE = {
    "Integer": "int",
    "Float": "float",
    "Float number": "float",
    "String": "str",
    "Boolean": "bool",
    "True": "bool",
    "InputFile": "str",
}
_ALWAYS = re.compile(r"[Aa]lways ('[^' ]+'|[0-9]+)")


@frozen
class Field:
    """One field of a type; `types` are alternatives."""

    name: str
    always: bool
    types: tuple[str, ...]


@cache
def _lines() -> dict[str, str]:
    types: dict[str, str] = json.loads(FILE.read_text(encoding="utf-8"))["types"]
    return types


@cache
def fields_of(name: str) -> tuple[Field, ...]:
    """The fields of a type; none if it is one of several others."""
    line = _lines()[name]
    return () if line.startswith("=") else tuple(_field(item) for item in line.split())


@cache
def alternatives(name: str) -> tuple[str, ...]:
    """The types that a type stands for: itself, or its alternatives."""
    line = _lines().get(name, "")
    return tuple(line[1:].split("|")) if line.startswith("=") else (name,)


def kinds() -> tuple[Field, ...]:
    """The kinds of updates."""
    return tuple(field for field in fields_of("Update") if field.name != "update_id")


def _field(item: str) -> Field:
    name, _, types = item.partition(":")
    return Field(name.removesuffix("!"), name.endswith("!"), tuple(types.split("|")))


# --- How the file is made ---


def derive(reference: dict[str, Any]) -> dict[str, Any]:
    """What `updates.json` has, from the whole reference."""
    types, found = reference["types"], {}
    waiting = ["Update"]
    while waiting:
        name = waiting.pop()
        if name not in types or name in found:
            continue
        found[name] = _line(types[name])
        waiting += re.findall(r"\w+", re.sub(r"'[^']*'|\w+!?:", " ", found[name]))
    return {"version": reference["version"], "types": dict(sorted(found.items()))}


def _line(entry: dict[str, Any]) -> str:
    if "subtypes" in entry:
        return "=" + "|".join(_short(each) for each in entry["subtypes"])
    return " ".join(_item(field) for field in entry.get("fields", ()))


def _item(field: dict[str, Any]) -> str:
    always = _ALWAYS.search(field["description"])
    types = always[1] if always else "|".join(_short(each) for each in field["types"])
    return f"{field['name']}{'!' if field['required'] else ''}:{types}"


def _short(name: str) -> str:
    if name.startswith("Array of "):
        return "[]" + _short(name.removeprefix("Array of "))
    return SIMPLE.get(name, name)


def main(source: str) -> None:
    table = derive(json.loads(Path(source).read_text(encoding="utf-8")))
    lines = ",\n".join(f"{json.dumps(n)}: {json.dumps(t)}" for n, t in table["types"].items())
    text = f'{{\n"version": {json.dumps(table["version"])},\n"types": {{\n{lines}\n}}\n}}\n'
    FILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
