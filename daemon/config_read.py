"""From a TOML document to a `Config`, or to the list of everything that is wrong with it.

There are two passes over the same document. cattrs checks the shape: unknown keys, missing keys,
wrong types; its four primitive conversions are replaced, because by default it turns 12345 into
"12345" and "no" into True. Then the rules check every value that has a right shape, also when
other values do not, so that an owner corrects the file once and not in ten rounds.

No message repeats what stands in a secret's place: who writes a token where a reference belongs
must not find it in the journal as well.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from math import isfinite
from pathlib import Path
from typing import Any, Final, TypeAlias, get_args, get_origin

import attrs
from cattrs import (
    ClassValidationError,
    Converter,
    ForbiddenExtraKeysError,
    IterableValidationError,
)
from cattrs.gen import make_dict_structure_fn, mapping_structure_factory

from daemon import config_mcp, config_rules
from daemon.config import Config
from daemon.secret import KINDS, Secret

Hook: TypeAlias = Callable[[Any, Any], Any]

# `executor.stack` is the one key with two types: a word, or a list of layers.
WORD_OR_WORDS: Final = str | tuple[str, ...]

# A value of `env` or `headers` of an MCP server, which need not be secret.
TEXT_OR_SECRET: Final = str | Secret

MAX_SHOWN: Final = 60
MAX_LISTED: Final = 5

# The shape of a bot token. It decides only whether an error may quote the value.
TOKEN_LIKE: Final = re.compile(r"\d{5,}:|^sk-")


def read(document: Mapping[str, Any]) -> Config | list[str]:
    """The configuration, or every problem as a sentence that begins with the key's path."""
    try:
        config = CONVERTER.structure(document, Config)
    except ClassValidationError as error:
        shape = dict(_problems(error, "", document))
        return _sorted(_rules(document, set(shape)) | shape)
    problems = _rules(document, set()) or config_rules.conflicts(config)
    return _sorted(problems) if problems else config


def _rules(document: Mapping[str, Any], except_for: set[str]) -> dict[str, str]:
    found = config_rules.check(document, except_for=except_for)
    return found | config_mcp.check(document, except_for=except_for)


def _sorted(problems: Mapping[str, str]) -> list[str]:
    return [f"{path}: {text}" for path, text in sorted(problems.items())]


# --- What is wrong, in words ---


def _problems(error: Exception, path: str, found: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401
    """Walk cattrs' tree of errors; `found` is the part of the document at `path`."""
    if isinstance(error, ClassValidationError):
        with_key, others = error.group_exceptions()
        for inner, note in with_key:
            yield from _problems(inner, _join(path, note.name), _get(found, note.name))
        for inner in others:
            yield from _problems(inner, path, found)
    elif isinstance(error, IterableValidationError):
        for inner, index in error.group_exceptions()[0]:
            if isinstance(index.index, str):  # of a table with names of the owner's choice
                yield from _problems(inner, _join(path, index.index), _get(found, index.index))
            else:
                yield from _problems(inner, f"{path}[{index.index}]", None)
    elif isinstance(error, ForbiddenExtraKeysError):
        for key in error.extra_fields:
            yield _join(path, key), _unknown(key, error.cl)
    elif isinstance(error, KeyError):
        yield path, "missing, and it has no default"
    else:
        yield path, str(error)


def _join(path: str, key: str) -> str:
    bare = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else repr(key)
    return f"{path}.{bare}" if path else bare


def _get(found: Any, key: str) -> Any:  # noqa: ANN401 -- any part of a document
    return found.get(key) if isinstance(found, Mapping) else None


def _unknown(key: str, cl: type) -> str:
    known = [attribute.name for attribute in attrs.fields(cl)]
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f'did you mean "{near[0]}"?' if near else "known here: " + ", ".join(known)
    return f"unknown key; {hint}"


def shown(value: object) -> str:
    """What was found, for an error message: kind and value, shortened, and never a token."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, list):
        return f"the array [{_listed(value)}]"
    if isinstance(value, Mapping):
        return "a table"
    return f"{value}" if isinstance(value, int | float) else f"a {type(value).__name__}"


def _listed(values: list[Any]) -> str:
    some = ["..." if isinstance(one, list) else shown(one) for one in values[:MAX_LISTED]]
    return ", ".join([*some, "..."] if len(values) > MAX_LISTED else some)


def _quoted(value: str) -> str:
    if TOKEN_LIKE.search(value):
        return "a string that is not shown, since it looks like a secret"
    return "the string " + ascii(value if len(value) <= MAX_SHOWN else value[:MAX_SHOWN] + "...")


# --- Conversions that do not guess ---


def _expected(what: str, value: object) -> TypeError:
    return TypeError(f"expected {what}, found {shown(value)}")


def _text(value: Any, _: Any) -> str:  # noqa: ANN401 -- whatever TOML can hold
    if not isinstance(value, str):
        raise _expected("a string", value)
    return value


def _truth(value: Any, _: Any) -> bool:  # noqa: ANN401
    if not isinstance(value, bool):
        raise _expected("true or false", value)
    return value


def _whole(value: Any, _: Any) -> int:  # noqa: ANN401
    if isinstance(value, bool) or not isinstance(value, int):
        raise _expected("a whole number", value)
    return value


def _number(value: Any, _: Any) -> float:  # noqa: ANN401
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise _expected("a number", value)
    return float(value)


def _path(value: Any, _: Any) -> Path:  # noqa: ANN401
    return Path(_text(value, str))


def _secret(value: Any, _: Any) -> Secret:  # noqa: ANN401
    """A table with exactly one of the three keys. Nothing found here is ever shown."""
    form = 'a reference such as { env = "NAME" }, { file = "/path" } or { credential = "name" }'
    if not isinstance(value, Mapping):
        raise TypeError(f"expected {form}; a secret itself does not belong in this file")
    if len(value) != 1 or not value.keys() <= set(KINDS):
        raise TypeError(f"expected exactly one of the keys {', '.join(KINDS)}: {form}")
    if not all(isinstance(reference, str) and reference for reference in value.values()):
        raise TypeError(f"expected {form}, found one that is empty or not a string")
    if not value.get("file", "/").startswith("/"):
        raise TypeError("expected an absolute path after file =")
    if "/" in value.get("credential", ""):
        raise TypeError("expected a credential's name, which has no /, after credential =")
    return Secret(**value)


def _make_converter() -> Converter:
    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    for kind, hook in ((str, _text), (bool, _truth), (int, _whole), (float, _number)):
        converter.register_structure_hook(kind, hook)
    converter.register_structure_hook_factory(_is_tuple, lambda kind: _arrays(converter, kind))
    converter.register_structure_hook_factory(_is_mapping, lambda kind: _named(converter, kind))
    converter.register_structure_hook_factory(attrs.has, lambda kind: _tables(converter, kind))
    converter.register_structure_hook(Path, _path)
    converter.register_structure_hook(Secret, _secret)
    converter.register_structure_hook_func(
        lambda kind: kind == TEXT_OR_SECRET,
        lambda value, _: value if isinstance(value, str) else _secret(value, Secret),
    )
    converter.register_structure_hook_func(
        lambda kind: kind == WORD_OR_WORDS,
        lambda value, _: converter.structure(
            value, str if isinstance(value, str) else tuple[str, ...]
        ),
    )
    return converter


def _is_tuple(kind: Any) -> bool:  # noqa: ANN401 -- a type expression
    return get_origin(kind) is tuple


def _arrays(converter: Converter, kind: Any) -> Hook:  # noqa: ANN401
    """Arrays only: a string is a sequence too, and would become a tuple of its letters."""
    element = get_args(kind)[0]
    inner = converter.get_structure_hook(list[element])  # type: ignore[valid-type]  # run-time type

    def hook(value: Any, _: Any) -> tuple[Any, ...]:  # noqa: ANN401
        if not isinstance(value, list):
            raise _expected("an array", value)
        return tuple(inner(value, list[element]))  # type: ignore[valid-type]  # as above

    return hook


def _is_mapping(kind: Any) -> bool:  # noqa: ANN401 -- a type expression
    return get_origin(kind) is Mapping


def _named(converter: Converter, kind: Any) -> Hook:  # noqa: ANN401
    """A table whose keys are names of the owner's choice."""
    inner: Any = mapping_structure_factory(kind, converter)

    def hook(value: Any, _: Any) -> Any:  # noqa: ANN401
        if not isinstance(value, Mapping):
            raise _expected("a table", value)
        return inner(value, kind)

    return hook


def _tables(converter: Converter, kind: Any) -> Hook:  # noqa: ANN401
    """A table's hook, which says "expected a table" once and not once for each of its keys."""
    attrs.resolve_types(kind)
    inner: Any = make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True)

    def hook(value: Any, _: Any) -> Any:  # noqa: ANN401
        if not isinstance(value, Mapping):
            raise _expected("a table", value)
        return inner(value, kind)

    return hook


CONVERTER: Final = _make_converter()
