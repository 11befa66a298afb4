"""The rules of `[mcp.NAME]`: as in `daemon.config_rules`, for tables with names of the owner's.

A name becomes a part of the names of tools, which providers restrict; two servers' tools must not
be able to meet in one name. No message shows a value of `env` or `headers`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from daemon.config_rules import Rule, absolute, between, is_in, sentence, url

TRUST: Final = ("read-only", "all", "none")

_NAME: Final = re.compile(r"(?=.{1,24}$)[a-z](_?[a-z0-9-])*")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")

# What belongs to one kind of server only, and what makes it that kind.
_ONLY_WITH: Final = {"env": "command", "cwd": "command", "headers": "url"}


def check(document: Mapping[str, Any], *, except_for: Collection[str]) -> dict[str, str]:
    """Problems by key path, as `config_rules.check` gives them."""
    servers = document.get("mcp")
    if not isinstance(servers, Mapping) or "mcp" in except_for:
        return {}
    return {
        path: problem
        for name, server in servers.items()
        if isinstance(server, Mapping)
        for path, problem in _problems(name, server, except_for)
    }


def _problems(
    name: str, server: Mapping[str, Any], except_for: Collection[str]
) -> Iterator[tuple[str, str]]:
    path = f"mcp.{name}"
    if not _NAME.fullmatch(name):
        yield path, "expected a name of a-z, 0-9, - and single _, at most 24, a letter first"
    yield from ((path, problem) for problem in _as_a_whole(server))
    for key, rule in RULES.items():
        if key in server and not any(is_in(bad, f"{path}.{key}") for bad in except_for):
            expected = rule(server[key])
            if expected is not None:
                yield f"{path}.{key}", _told(key, expected, server[key])


def _told(key: str, expected: str, value: Any) -> str:  # noqa: ANN401  (a value of the document)
    return f"expected {expected}" if key in {"env", "headers"} else sentence(expected, value)


def _as_a_whole(server: Mapping[str, Any]) -> Iterator[str]:
    kinds = [kind for kind in ("command", "url") if kind in server]
    if len(kinds) != 1:
        found = "both" if kinds else "neither"
        yield f"expected either command (a program) or url (a server elsewhere), found {found}"
        return
    for key, kind in _ONLY_WITH.items():
        if key in server and kind not in server:
            yield f"{key} means something only with {kind}"


def _command(value: list[str]) -> str | None:
    fine = bool(value) and bool(value[0].strip()) and not any("\0" in word for word in value)
    return None if fine else 'a program and its arguments, such as ["npx", "-y", "package"]'


def _tools(value: list[str]) -> str | None:
    return None if value else "at least one name; leave the key out to offer all tools"


def _trust(value: str | list[str]) -> str | None:
    if isinstance(value, list) or value in TRUST:
        return None
    return '"read-only", "all", "none", or an array of names of tools'


def _env(values: Mapping[str, Any]) -> str | None:
    fine = all(map(_VARIABLE.fullmatch, values)) and not any("\0" in one for one in _plain(values))
    return None if fine else "names of environment variables, with texts or references"


def _headers(values: Mapping[str, Any]) -> str | None:
    one_line = all(one.isprintable() and one.isascii() for one in _plain(values))
    fine = all(map(_HEADER.fullmatch, values)) and one_line
    return None if fine else "names of HTTP headers, with ASCII texts on one line or references"


def _plain(values: Mapping[str, Any]) -> list[str]:
    return [value for value in values.values() if isinstance(value, str)]


RULES: Final[Mapping[str, Rule]] = {
    "command": _command,
    "env": _env,
    "cwd": absolute,
    "url": url,
    "headers": _headers,
    "timeout": between(1, 3600),
    "start_timeout": between(1, 3600),
    "tools": _tools,
    "trust": _trust,
}
