"""Whether aiogram's models take a call of the Bot API. Run with the interpreter of `.oracles`.

Reads JSON lines `{"method": ..., "params": {...}}` and answers each with a JSON line: a list of
what is wrong. aiogram keeps what it does not know, as a client must with what a server says; in
what we say it is a mistake, so it is looked for in all that was read.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from aiogram import methods
from pydantic import BaseModel, ValidationError


def problems(method: str, params: dict[str, Any]) -> list[str]:
    """What is wrong with a call; nothing, if it is one that aiogram could have made."""
    model = getattr(methods, method[:1].upper() + method[1:], None)
    if model is None:
        return [f"aiogram knows no method {method}"]
    try:
        read = model.model_validate(params)
    except ValidationError as error:
        return [f"{each['loc']}: {each['msg']}" for each in error.errors()]
    return list(unknown(read, method))


def unknown(value: object, where: str) -> Iterator[str]:
    """The fields that no model has."""
    if isinstance(value, list):
        for each in value:
            yield from unknown(each, where)
    if isinstance(value, BaseModel):
        for name in value.model_extra or ():
            yield f"{where} has no field {name!r}"
        for name, each in value:
            yield from unknown(each, f"{where}.{name}")


def main() -> None:
    for line in sys.stdin:
        call = json.loads(line)
        sys.stdout.write(json.dumps(problems(call["method"], call["params"])) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
