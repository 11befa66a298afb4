"""Skills: folders of instructions in the agentskills.io format, which the model reads on demand.

A skill is a folder with a `SKILL.md`: front matter with a name and a description, then the
instructions; beside it whatever they refer to. Only names and descriptions are in every request.
Skills come with this program and from the owner's own directory, which no chat can write to; one
of the owner's takes the place of a shipped one with the same name. One that is broken is left out,
and said to be.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from attrs import field, frozen

from agent import frontmatter
from agent.frontmatter import BadFrontMatter, Document, Value

SHIPPED = Path(__file__).parent / "shipped"  # where this program's own skills are
PAGE = "SKILL.md"
MAX_PAGE = 256 * 1024  # bytes of a SKILL.md; the format advises a fiftieth of that
MAX_FILE = 256 * 1024  # bytes of another file that is read to the model
MAX_FILES = 500  # files and directories below a skill's folder that are looked at

NAME_LENGTH = 64
DESCRIPTION_LENGTH = 1024
COMPATIBILITY_LENGTH = 500
KEYS = ("name", "description", "license", "compatibility", "metadata", "allowed-tools")

SUMMARY_CHARS = 4_000  # of all skills together in the system prompt
SUMMARY_EACH = 300  # of one description
HEADING = (
    "Skills, which are instructions for a kind of task: read the one that fits with read_skill."
)

_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


class SkillError(ValueError):
    """A skill that cannot be used, or a file of it that cannot be read; the text says why."""


@frozen
class Skill:
    """A skill that is in order. `remarks` are about what is odd in it, for its owner."""

    name: str
    description: str
    folder: Path
    license: str = ""
    compatibility: str = ""
    allowed_tools: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def shipped(self) -> bool:
        return self.folder.parent == SHIPPED


# --- Finding them ---


def load_skills(*roots: Path) -> tuple[tuple[Skill, ...], tuple[str, ...]]:
    """The skills below these directories, sorted, and a warning for each that is broken.

    A later directory's skill replaces an earlier one's of the same name. One that is not there
    holds none.
    """
    found: dict[str, Skill] = {}
    warnings: list[str] = []
    for root in roots:
        for folder in _folders(root, warnings):
            try:
                skill = read_skill(folder)
            except SkillError as error:
                warnings.append(f"skill {folder.name} is left out: {error}")
            else:
                found[skill.name] = skill
    return tuple(found[name] for name in sorted(found)), tuple(warnings)


def _folders(root: Path, warnings: list[str]) -> list[Path]:
    """What a person means as skills in `root`; nothing that anybody could have put there."""
    try:
        check_private(root)
        check_private(root.parent)
        return sorted(path for path in root.iterdir() if path.name[0] not in "._" and path.is_dir())
    except FileNotFoundError:
        return []
    except (OSError, SkillError) as error:
        warnings.append(f"{root} is left out: {getattr(error, 'strerror', None) or error}")
        return []


def check_private(path: Path) -> None:
    """Raise SkillError for a file or directory that every account may write to."""
    if path.stat().st_mode & stat.S_IWOTH:
        raise SkillError(f"everybody may write to {path}; chmod o-w {path}")


# --- Reading one ---


def read_skill(folder: Path) -> Skill:
    """The skill in this folder. Raises SkillError."""
    if folder.is_symlink():
        raise SkillError("it is a link; put the folder itself there")
    try:
        for path in (folder, *itertools.islice(_below(folder), MAX_FILES)):
            check_private(path)
    except OSError as error:
        raise SkillError(f"it cannot be read: {error.strerror}") from error
    return skill_of(folder, page(folder).fields)


def page(folder: Path) -> Document:
    """The folder's SKILL.md in its two parts. Raises SkillError."""
    try:
        return frontmatter.read(page_text(folder))
    except BadFrontMatter as error:
        raise SkillError(f"{PAGE}: {error}") from error


def page_text(folder: Path) -> str:
    """The folder's SKILL.md as it is. Raises SkillError."""
    return read_file(folder, PAGE, MAX_PAGE)


def skill_of(folder: Path, fields: Mapping[str, Value]) -> Skill:
    """What the front matter says, checked against the format. Raises SkillError."""
    name = _text(fields, "name", NAME_LENGTH)
    if not _NAME.fullmatch(name):
        raise SkillError(
            f"name {name!r:.80}: lowercase letters and digits, joined by single hyphens"
        )
    if name != folder.name:
        raise SkillError(f"its name {name!r} is not that of its folder")
    description = " ".join(_text(fields, "description", DESCRIPTION_LENGTH).split())
    if not description:
        raise SkillError("it has no description")
    unknown = [key for key in fields if key not in KEYS]
    remarks = [f"the key {key} is not of the format, and means nothing here" for key in unknown]
    return Skill(
        name,
        description,
        folder,
        _text(fields, "license", DESCRIPTION_LENGTH),
        _text(fields, "compatibility", COMPATIBILITY_LENGTH),
        _words(fields.get("allowed-tools", "")),
        _metadata(fields.get("metadata", "")),
        tuple(remarks),
    )


def _text(fields: Mapping[str, Value], key: str, most: int) -> str:
    value = fields.get(key, "")
    if not isinstance(value, str):
        raise SkillError(f"{key} has to be a text")
    if len(value) > most:
        raise SkillError(f"{key} is longer than {most} characters")
    return value


def _words(value: Value) -> tuple[str, ...]:
    """The format has words in one text; many write a list, which can only mean the same."""
    if isinstance(value, str):
        return tuple(value.split())
    if isinstance(value, tuple):
        return value
    raise SkillError("allowed-tools has to be words on one line")


def _metadata(value: Value) -> dict[str, str]:
    if value == "":
        return {}
    if not isinstance(value, Mapping):
        raise SkillError("metadata has to be a map of texts")
    texts = {key: one for key, one in value.items() if isinstance(one, str)}
    if len(texts) < len(value):
        raise SkillError("metadata has to be a map of texts")
    return texts


# --- Its files ---


def read_file(folder: Path, name: str, most: int = MAX_FILE) -> str:
    """The text of a file below `folder`, wherever links lead. Raises SkillError."""
    shown = f"{name!r:.100}"
    top = os.path.realpath(folder)
    if "\0" in name or not Path(path := os.path.realpath(Path(top, name))).is_relative_to(top):
        raise SkillError(f"{shown} is not within the skill")
    try:
        data = _regular_file(path, most + 1)
    except OSError as error:
        raise SkillError(f"{shown} cannot be read: {error.strerror}") from error
    if len(data) > most:
        raise SkillError(f"{shown} is longer than {most} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise SkillError(f"{shown} is not UTF-8 text") from error


def _regular_file(path: str, most: int) -> bytes:
    """The first bytes of a file, and of nothing that is none. Raises OSError."""
    with open(path, "rb", opener=_opener) as file:
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is not a file")
        if mode & stat.S_IWOTH:
            raise OSError(errno.EPERM, f"everybody may write to it; chmod o-w {path}")
        return file.read(most)


def _opener(path: str, flags: int) -> int:
    """Open without following a link that was put there since, and without waiting for a pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def files_of(skill: Skill) -> list[str]:
    """The names of its files besides the page, sorted. Raises SkillError."""
    paths = itertools.islice(_below(skill.folder), MAX_FILES)
    try:
        names = [path.relative_to(skill.folder).as_posix() for path in paths if not path.is_dir()]
    except OSError as error:
        raise SkillError(f"its files cannot be listed: {error.strerror}") from error
    return sorted(name for name in names if name != PAGE)


def _below(folder: Path) -> Iterator[Path]:
    """What is in a skill's folder; not links, and nothing hidden (where it came from by git)."""
    for top, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        paths = (Path(top, name) for name in [*folders, *names] if name[0] != ".")
        yield from (path for path in paths if not path.is_symlink())


# --- In the system prompt ---


def summary(skills: Iterable[Skill], budget: int = SUMMARY_CHARS) -> str:
    """The part of the system prompt that names the skills; those that do not fit by name alone."""
    lines = [HEADING]
    named: list[str] = []
    room = budget
    for skill in skills:
        line = f"- {skill.name}: {_short(skill.description)}"
        room -= len(line) + 1
        if room >= 0:
            lines.append(line)
        else:
            named.append(skill.name)
    if named:
        lines.append(f"- and, without room to say what for: {', '.join(named)}"[:budget])
    return "\n".join(lines) if len(lines) > 1 else ""


def _short(text: str) -> str:
    return text if len(text) <= SUMMARY_EACH else f"{text[: SUMMARY_EACH - 3]}..."
