"""What FILE and FILE_RESULT frames mean: an operation on files, and what came of it.

A request is one flat object; every field but `op` has a default, and each operation looks only at
its own. As in `messages`, parsers trust nothing and name the field that is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from attrs import asdict, fields, frozen

from executor import messages
from executor.errors import FileRefused, NoWorkspace
from executor.file_values import (
    Content,
    Edited,
    Held,
    Info,
    Listing,
    Overview,
    Patched,
    Removed,
    Usage,
    Written,
)
from executor.protocol import ProtocolError

# What each operation gives.
READING = frozenset({"read", "get", "list", "glob", "stat", "usage"})
WRITING = frozenset({"write", "put", "edit", "patch", "remove", "discard"})
WITH_DATA = frozenset({"write", "put"})
ALL_WORKSPACES = "workspaces"
OPERATIONS = READING | WRITING | {ALL_WORKSPACES}
UNITS = ("bytes", "lines")


@frozen
class Request:
    """One operation. `workspace` is a key, '' only for "workspaces", which lists them all.

    `diff` is for "patch"; `old`, `new` and `everywhere` for "edit"; `offset`, `limit` and `unit`
    for "read"; `pattern` for "glob".
    """

    op: str
    workspace: str = ""
    path: str = ""
    pattern: str = ""
    old: str = ""
    new: str = ""
    everywhere: bool = False
    offset: int = 0
    limit: int = 0
    unit: str = "bytes"
    diff: str = ""


Value: TypeAlias = (
    Info | Listing | Content | Edited | Patched | Usage | Written | Removed | Overview
)

_RESULTS: Mapping[str, type[Value]] = {
    "read": Content,
    "get": Written,
    "list": Listing,
    "glob": Listing,
    "stat": Info,
    "usage": Usage,
    "write": Written,
    "put": Written,
    "edit": Edited,
    "patch": Patched,
    "remove": Removed,
    "discard": Removed,
    ALL_WORKSPACES: Overview,
}


@frozen
class Answer:
    """What came of an operation, and the revision of the workspace after it."""

    value: Value
    revision: int


# ---- requests ----


def request_to_json(request: Request) -> dict[str, Any]:
    defaults = {one.name: one.default for one in fields(Request)}
    values = asdict(request)
    return {name: value for name, value in values.items() if value != defaults[name]}


def parse_request(values: Mapping[str, Any]) -> Request:
    kinds = {one.name: _KINDS[str(one.type)] for one in fields(Request)}
    known = {name: _typed(values, name, kinds[name]) for name in kinds if name in values}
    request = Request(**{"op": "", **known})
    if request.op not in OPERATIONS:
        raise ProtocolError(f"op: {request.op[:80]!r} is none of {', '.join(sorted(OPERATIONS))}")
    if request.op != ALL_WORKSPACES:
        messages.parse_workspace(request.workspace)
    if request.unit not in UNITS:
        raise ProtocolError(f"unit: {request.unit[:80]!r} is neither bytes nor lines")
    if min(request.offset, request.limit) < 0 or max(request.offset, request.limit) >= 1 << 62:
        raise ProtocolError("offset, limit: out of range")
    return request


# ---- results ----


def answer_to_json(answer: Answer) -> dict[str, Any]:
    """Everything but the bytes, which have been sent in frames of their own."""
    value = asdict(answer.value, filter=lambda one, _: one.name != "data")
    return {"ok": True, "revision": answer.revision, "value": value}


def refusal_to_json(refused: FileRefused, revision: int) -> dict[str, Any]:
    return {
        "ok": False,
        "revision": revision,
        "cause": refused.cause,
        "remedy": refused.remedy,
        "missing": isinstance(refused, NoWorkspace),
    }


def parse_answer(op: str, values: Mapping[str, Any], data: bytes) -> Answer:
    """Make an Answer of a FILE_RESULT and the bytes before it. Raises FileRefused if it says so."""
    if not _typed(values, "ok", bool):
        refused = NoWorkspace if values.get("missing") is True else FileRefused
        raise refused(_typed(values, "cause", str), _typed(values, "remedy", str))
    value = _typed(values, "value", dict)
    if _RESULTS[op] is Content:
        value = {**value, "data": data}
    return Answer(_built(_RESULTS[op], value), _typed(values, "revision", int))


_KINDS: Mapping[str, type] = {
    "str": str,
    "int": int,
    "bool": bool,
    "float": float,
    "bytes": bytes,
}
_WITHIN: Mapping[str, type] = {"tuple[Info, ...]": Info, "tuple[Held, ...]": Held}


def _built(kind: type[Any], values: Mapping[str, Any]) -> Any:  # noqa: ANN401 - of that kind
    """Make an attrs class of a JSON object, field by field."""
    return kind(**{one.name: _field(values, one.name, str(one.type)) for one in fields(kind)})


def _field(values: Mapping[str, Any], name: str, kind: str) -> Any:  # noqa: ANN401 - of that kind
    if kind in _KINDS:
        return _typed(values, name, _KINDS[kind])
    if kind == "Usage":
        return _built(Usage, _typed(values, name, dict))
    found = _typed(values, name, list)
    within = _WITHIN.get(kind)
    if within is not None and all(isinstance(one, dict) for one in found):
        return tuple(_built(within, one) for one in found)
    if within is None and all(isinstance(one, str) for one in found):
        return tuple(found)
    raise ProtocolError(f"{name}: not a list of what it should be")


def _typed(values: Mapping[str, Any], name: str, kind: type) -> Any:  # noqa: ANN401 - of that kind
    """Give the field, which must be there and of that kind; a whole number is a float as well."""
    value = values.get(name)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ProtocolError(f"{name}: missing or of the wrong type")
    return value
