"""From what a server lists to what a turn is offered: a pure function, with a reason for each no.

Schemas are paid for in every request, and one that a provider does not take makes it refuse the
whole request, other tools and all. So what is too large or of the wrong shape is left out here,
with a warning, and the rest is passed on nearly as it is (see `agent.mcp.schemas`).

A tool is named SERVER__TOOL, which no tool of ours is, in the letters and the length that all
providers take. A name that had to be changed, and could by that be another's, ends in a few digits
of the digest of the original: the same at every start, in whatever order they are listed.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from agent.mcp.schemas import Unfit, fitted
from agent.mcp.spec import ServerSpec
from agent.ports import Policy
from agent.text import clean
from agent.tools.registry import Kind

MAX_NAME = 64  # characters; what providers take
MAX_DESCRIPTION = 300  # characters
MAX_SCHEMA = 6_000  # bytes of JSON, the description included, for one tool ...
MAX_SCHEMAS = 24_000  # ... and for one server: about 6,000 tokens
MAX_TOOLS = 64
MAX_OWN_NAME = 200  # characters; what a tool is called by its server

_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")
_DIGITS = 6


@frozen
class Listed:
    """A tool as its server describes it; `read_only` is what the server says of it.

    A description is kept as far as it can be offered, and a `schema` that is too large is None.
    """

    name: str
    description: str
    schema: Mapping[str, Any] | None
    read_only: bool = False

    @classmethod
    def of(
        cls, name: str, description: str, schema: Mapping[str, Any], *, read_only: bool
    ) -> Listed:
        """Keep no more of it than may be of use: a server may send any number of megabytes."""
        kept = schema if _size(schema) <= MAX_SCHEMA else None
        return cls(name[: MAX_OWN_NAME + 1], description[: 2 * MAX_DESCRIPTION], kept, read_only)


@frozen
class Offered:
    """A tool as it is offered: `name` is for the model, `tool` is what the server calls it."""

    name: str
    tool: str
    description: str
    schema: Mapping[str, Any]
    kind: Kind
    policy: Policy


@frozen
class Offer:
    """What is offered of a server, and a sentence for each tool that is not."""

    tools: tuple[Offered, ...] = ()
    warnings: tuple[str, ...] = ()


def choose(spec: ServerSpec, listed: Sequence[Listed]) -> Offer:
    """Offer what may and can be offered, in the server's order until the caps are reached."""
    wanted = [each for each in listed if spec.tools is None or each.name in spec.tools]
    names = public_names(spec.name, [each.name for each in wanted])
    tools: list[Offered] = []
    warnings = [f"{name}: the server has no such tool" for name in _missing(spec, listed)]
    room = MAX_SCHEMAS
    for each in {each.name: each for each in wanted}.values():
        try:
            offered = _offered(spec, each, names[each.name])
            room -= _taken(offered, room, len(tools))
        except Unfit as why:
            warnings.append(f"{each.name}: {why}")
        else:
            tools.append(offered)
    return Offer(tuple(tools), tuple(clean(each) for each in warnings))


def _missing(spec: ServerSpec, listed: Sequence[Listed]) -> list[str]:
    """Names that the owner has written and the server does not know."""
    there = {each.name for each in listed}
    named = dict.fromkeys((*(spec.tools or ()), *_trusted(spec)))
    return [name for name in named if name not in there]


def _offered(spec: ServerSpec, listed: Listed, name: str) -> Offered:
    """Raises Unfit."""
    if len(listed.name) > MAX_OWN_NAME:
        raise Unfit(f"its name has more than {MAX_OWN_NAME} characters")
    if listed.schema is None or _size(listed.schema) > MAX_SCHEMA:
        raise Unfit(f"its schema is no JSON, or more than {MAX_SCHEMA} bytes of it")
    believed = listed.read_only and spec.trust in {"read-only", "all"}
    free = believed or spec.trust == "all" or listed.name in _trusted(spec)
    return Offered(
        name,
        listed.name,
        _description(spec.name, listed.description),
        fitted(listed.schema),
        Kind.READ if believed else Kind.OUTWARD,
        Policy.ALLOW if free else Policy.ASK,
    )


def _taken(offered: Offered, room: int, count: int) -> int:
    """Bytes that it takes of the room. Raises Unfit if it has none."""
    size = _size([offered.description, offered.schema])
    if size > MAX_SCHEMA:
        raise Unfit(f"it takes {size} bytes to describe, and the most is {MAX_SCHEMA}")
    if count >= MAX_TOOLS:
        raise Unfit(f"there are {MAX_TOOLS} before it; choose with `tools`")
    if size > room:
        raise Unfit(f"those before it fill the server's {MAX_SCHEMAS} bytes; choose with `tools`")
    return size


def _trusted(spec: ServerSpec) -> tuple[str, ...]:
    return spec.trust if isinstance(spec.trust, tuple) else ()


def _description(server: str, text: str) -> str:
    """The server's words on one line, and marked as such."""
    words = " ".join(clean(text).split())
    cut = words if len(words) <= MAX_DESCRIPTION else f"{words[: MAX_DESCRIPTION - 3]}..."
    return f"[MCP server {server}] {cut}".rstrip()


def _size(value: object) -> int:
    """Bytes of JSON; more than any bound for what cannot be written so."""
    try:
        return len(json.dumps(value, allow_nan=False))
    except (ValueError, TypeError, RecursionError):
        return sys.maxsize


# --- What is kept of a list ---


def kept(listed: Sequence[Listed]) -> str:
    """A list as text, to be offered again while the server is not up yet; '' if it is too odd."""
    rows = [[each.name, each.description, each.schema, each.read_only] for each in listed]
    try:
        return json.dumps(rows)
    except (ValueError, TypeError, RecursionError):
        return ""


def read_kept(text: str) -> list[Listed]:
    """What `kept` wrote; nothing if that cannot be read."""
    try:
        return [_listed(row) for row in json.loads(text)] if text else []
    except (ValueError, TypeError, RecursionError):
        return []


def _listed(row: Any) -> Listed:  # noqa: ANN401  (any JSON)
    name, description, schema, read_only = row
    if not (
        isinstance(name, str) and isinstance(description, str) and isinstance(schema, dict | None)
    ):
        raise TypeError("not a row of ours")
    return Listed(name, description, schema, read_only is True)


# --- Names ---


def public_names(server: str, tools: Sequence[str]) -> dict[str, str]:
    """The name that each tool goes by. No two are alike."""
    plain = {tool: f"{server}__{_FOREIGN.sub('_', tool)}" for tool in tools}
    often = Counter(plain.values())
    return {
        tool: name if _keeps(server, tool, name, often[name]) else _marked(name, tool)
        for tool, name in plain.items()
    }


def _keeps(server: str, tool: str, name: str, often: int) -> bool:
    """Whether a tool may go by its plain name: it fits, and is nobody else's or really its own."""
    fits = tool != "" and len(name) <= MAX_NAME and not _looks_marked(name)
    return fits and (often == 1 or name == f"{server}__{tool}")


def _looks_marked(name: str) -> bool:
    """Ends as marked names do; it is marked itself, so that it cannot be taken for one."""
    return re.search(rf"-[0-9a-f]{{{_DIGITS}}}$", name) is not None


def _marked(name: str, tool: str) -> str:
    digest = hashlib.sha256(tool.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    return f"{name[: MAX_NAME - _DIGITS - 1]}-{digest}"
