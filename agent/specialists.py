"""Specialists: agents with a task of their own, each a Markdown file of the owner's.

    ---
    name: librarian
    description: Finds and compares sources. Give it one question.
    model: a-larger-model
    tools:
      allow: [web_search, web_fetch]
    limits:
      steps: 20
      seconds: 300
      tokens: 100000
    ---
    You are a librarian ...

Only `name`, `description` and the text are needed. What `tools` do not allow, or deny, a specialist
is not offered; without `allow` it has what its caller has. A file that is broken is left out, and
said to be.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from attrs import frozen

from agent import frontmatter
from agent.frontmatter import BadFrontMatter, Document, Value
from agent.skills import SkillError, check_private, read_file

FOLDER = "agents"
KEYS = ("name", "description", "model", "tools", "limits")
LIMITS = ("steps", "seconds", "tokens")
NAME_LENGTH = 64
DESCRIPTION_LENGTH = 1024
MAX_FILE = 64 * 1024
MAX_SPECIALISTS = 50
SUMMARY_CHARS = 2_000
SUMMARY_EACH = 300
HEADING = "Specialists, who do one task and report: hand it over with delegate."

_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


class SpecialistError(ValueError):
    """A file that makes no specialist; the text says why."""


@frozen
class SpecialistLimits:
    """What one task may use; None: what any child turn may. Seconds are of running time."""

    steps: int | None = None
    seconds: float | None = None
    tokens: int | None = None


@frozen
class Specialist:
    """One of the owner's agents. `allow` is None where all of the caller's tools are."""

    name: str
    description: str
    instructions: str
    model: str | None = None
    allow: frozenset[str] | None = None
    deny: frozenset[str] = frozenset()
    limits: SpecialistLimits = SpecialistLimits()

    def may_use(self, tool: str) -> bool:
        return tool not in self.deny and (self.allow is None or tool in self.allow)


def load_specialists(directory: Path) -> tuple[tuple[Specialist, ...], tuple[str, ...]]:
    """The specialists of `directory`/*.md, sorted, and a warning for each that is broken.

    A directory that is not there holds none.
    """
    try:
        check_private(directory)
        check_private(directory.parent)
        names = sorted(path.name for path in directory.glob("[!._]*.md"))
    except FileNotFoundError:
        return (), ()
    except (OSError, SkillError) as error:
        why = getattr(error, "strerror", None) or error
        return (), (f"{directory} is left out: {why}",)
    found: list[Specialist] = []
    warnings: list[str] = []
    for name in names[:MAX_SPECIALISTS]:
        try:
            found.append(_load(directory, name))
        except (SkillError, SpecialistError) as error:
            warnings.append(f"specialist {name.removesuffix('.md')} is left out: {error}")
    if len(names) > MAX_SPECIALISTS:
        warnings.append(f"{directory}: only the first {MAX_SPECIALISTS} specialists are read")
    return tuple(found), tuple(warnings)


def _load(directory: Path, name: str) -> Specialist:
    try:
        document = frontmatter.read(read_file(directory, name, MAX_FILE))
    except BadFrontMatter as error:
        raise SpecialistError(str(error)) from error
    return specialist_of(name.removesuffix(".md"), document)


def specialist_of(file: str, document: Document) -> Specialist:
    """What a file called `file`.md says, checked. Raises SpecialistError."""
    fields = document.fields
    _known(fields, KEYS, "")
    name = _text(fields, "name", NAME_LENGTH)
    if not _NAME.fullmatch(name):
        raise SpecialistError(
            f"name {name!r:.80}: lowercase letters and digits, joined by single hyphens"
        )
    if name != file:
        raise SpecialistError(f"its name {name!r} is not that of its file")
    description = " ".join(_text(fields, "description", DESCRIPTION_LENGTH).split())
    if not description:
        raise SpecialistError("it has no description")
    if not document.body:
        raise SpecialistError("it has no instructions below its front matter")
    tools = _map(fields, "tools", ("allow", "deny"))
    return Specialist(
        name,
        description,
        document.body,
        _model(fields),
        _names(tools["allow"], "allow") if "allow" in tools else None,
        _names(tools.get("deny", ()), "deny"),
        _limits(_map(fields, "limits", LIMITS)),
    )


def _text(fields: Mapping[str, Value], key: str, most: int) -> str:
    value = fields.get(key, "")
    if not isinstance(value, str) or len(value) > most:
        raise SpecialistError(f"{key} has to be a text of at most {most} characters")
    return value


def _model(fields: Mapping[str, Value]) -> str | None:
    name = _text(fields, "model", DESCRIPTION_LENGTH)
    if not name.isprintable():
        raise SpecialistError("model has to be a name on one line")
    return name or None


def _map(fields: Mapping[str, Value], key: str, known: Collection[str]) -> Mapping[str, Value]:
    value = fields.get(key, {})
    if not isinstance(value, Mapping):
        raise SpecialistError(f"{key} has to be a map with {' and '.join(known)}")
    _known(value, known, f"{key}.")
    return value


def _known(fields: Mapping[str, Value], known: Collection[str], where: str) -> None:
    """A limit that is misspelt must not be no limit."""
    unknown = [key for key in fields if key not in known]
    if unknown:
        raise SpecialistError(f"unknown key {where}{unknown[0]}; known: {', '.join(known)}")


def _names(value: Value, key: str) -> frozenset[str]:
    if isinstance(value, Mapping):
        raise SpecialistError(f"tools.{key} has to be a list of tools")
    return frozenset(value.replace(",", " ").split() if isinstance(value, str) else value)


def _limits(fields: Mapping[str, Value]) -> SpecialistLimits:
    return SpecialistLimits(**{key: _number(fields[key], key) for key in LIMITS if key in fields})


def _number(value: Value, key: str) -> int:
    if not isinstance(value, str) or not re.fullmatch(r"[1-9][0-9]{0,8}", value):
        raise SpecialistError(f"limits.{key} has to be a whole number above 0")
    return int(value)


def summary(specialists: Iterable[Specialist], budget: int = SUMMARY_CHARS) -> str:
    """The part of the system prompt that names them; '' if there are none."""
    lines = [f"- {each.name}: {each.description[:SUMMARY_EACH]}" for each in specialists]
    if not lines:
        return ""
    text = "\n".join([HEADING, *lines])
    return text if len(text) <= budget else f"{text[:budget]}..."
