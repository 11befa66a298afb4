"""Unified diffs: reading one. `executor.hunks` applies what was read.

What `diff -u` and `git diff` print, for several files: changed, made, deleted, renamed, copied, and
given other permissions. What git can say and nobody can do here, such as a change of a binary file,
is an error that names the file. A model counts badly: the counts in a hunk's header hold if the
lines bear them out, and else the hunk goes as far as its lines do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from attrs import define, frozen

MOST_CHANGES = 100
_HUNK = re.compile(rb"@@ -(\d{1,9})(?:,(\d{1,9}))? \+\d{1,9}(?:,(\d{1,9}))? @@")
_GIT = (b"diff --git ", b"rename from ", b"copy from ")
_SAID = re.compile(
    rb"((?:old|new|new file|deleted file) mode|(?:rename|copy) (?:from|to)|index|"
    rb"(?:dis)?similarity index) ([^\r\n]*)"
)
_BINARY = re.compile(rb"GIT binary patch|Binary files .* differ\s*\Z")
# The last lines of a mail that git wrote: two dashes, a space, and its version.
_TRAILER = re.compile(rb"-- ?\r?\n\Z")
_VERSION = re.compile(rb"\d+\.\d")
_NOWHERE = b"/dev/null"
_ESCAPED = re.compile(rb"\\([0-3][0-7]{2}|.)", re.DOTALL)
_ESCAPES = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_NO_NEW_LINE = b"\\"
# The first bytes of lines that a hunk finds and leaves; an empty line has lost its space.
_OLD = frozenset({b" ", b"-", b"\n", b"\r"})
_NEW = frozenset({b" ", b"+", b"\n", b"\r"})


class DiffError(Exception):
    """The diff cannot be understood, or does not fit; the message names file and hunk."""


@frozen
class Hunk:
    """Lines with their ends, each with its kind: b" " stays, b"-" goes and b"+" comes.

    The first old line is to stand at `start` (from 1); without any, the new ones come after it.
    """

    start: int
    lines: tuple[tuple[bytes, bytes], ...]

    @property
    def old(self) -> list[bytes]:
        return [line for kind, line in self.lines if kind != b"+"]


@frozen
class Change:
    """What happens to one file. `old` is None for a new file, `new` for one that goes.

    Equal names are a change in place, different ones a renaming, or with `copies` a copy. `mode`
    are the permissions that it gets, None for those that it has.
    """

    old: str | None
    new: str | None
    hunks: tuple[Hunk, ...] = ()
    mode: int | None = None
    copies: bool = False

    @property
    def name(self) -> str:
        return self.new or self.old or ""


def parse(text: bytes) -> tuple[Change, ...]:
    """Read a diff. Raises DiffError for one without a change, or with a part that makes none."""
    lines = _Lines(split(text if text.endswith(b"\n") else text + b"\n"))
    changes = []
    while lines.more:
        change = _change(lines)
        if change is not None:
            changes.append(change)
        if len(changes) > MOST_CHANGES:
            raise DiffError(f"the diff changes more than {MOST_CHANGES} files")
    if not changes:
        raise DiffError("there is no change in the diff: no line begins with `--- ` or `rename`")
    return tuple(changes)


def split(text: bytes) -> list[bytes]:
    """Split after line feeds only: a carriage return belongs to its line."""
    lines = text.split(b"\n")
    return [line + b"\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


@define
class _Lines:
    """The diff's lines, with the one that is next."""

    lines: list[bytes]
    at: int = 0

    @property
    def more(self) -> bool:
        return self.at < len(self.lines)

    def line(self, at: int) -> bytes:
        return self.lines[at] if at < len(self.lines) else b""

    def peek(self) -> bytes:
        return self.line(self.at)

    def next(self) -> bytes:
        line = self.peek()
        self.at += 1
        return line

    def names_at(self, at: int) -> bool:
        return self.line(at).startswith(b"--- ") and self.line(at + 1).startswith(b"+++ ")

    def ends_hunk(self, at: int) -> bool:
        """Whether no hunk goes on here, whatever its header says."""
        if _TRAILER.match(self.line(at)) and _VERSION.match(self.line(at + 1)):
            return True
        return self.line(at)[:1] not in _OLD | _NEW | {_NO_NEW_LINE}

    def file_at(self, at: int) -> bool:
        """Whether another file begins here, and not a removed `-- x` before an added `++ y`."""
        if not self.names_at(at) or not _HUNK.match(self.line(at + 2)):
            return False
        old, new = _name(self.line(at)[4:]), _name(self.line(at + 1)[4:])
        return old == new or None in {old, new}


# ---- files ----


def _change(lines: _Lines) -> Change | None:
    """Read the next change, or one line that is none."""
    if lines.peek().startswith(_GIT):
        return _git_change(lines)
    if lines.names_at(lines.at):
        old, new = _names(lines)
        change = Change(old, new, _hunks(lines, new or old or ""))
        if not change.hunks:
            raise DiffError(f"{change.name}: no hunk (@@ -1,2 +1,2 @@) follows its name")
        return change
    line = lines.next()
    if _BINARY.match(line):
        raise DiffError(f"{_text(line.strip())!r}: a change of a binary file cannot be applied")
    if line.startswith(b"@@"):
        raise DiffError(f"no name (--- and +++) stands before {_text(line.strip())[:80]!r}")
    return None


def _git_change(lines: _Lines) -> Change:
    """Read what git says above the names, and the names and hunks if there are any."""
    first = lines.next() if lines.peek().startswith(b"diff ") else b""
    said: dict[bytes, bytes] = {}
    while (match := _SAID.match(lines.peek())) is not None:
        said[match[1]] = match[2]
        lines.next()
    names = _names(lines) if lines.names_at(lines.at) else None
    old, new = _moved(said) or names or _same_name(first, said)
    name = new or old or ""
    if _BINARY.match(lines.peek()):
        raise DiffError(f"{name}: a change of a binary file cannot be applied")
    change = Change(old, new, _hunks(lines, name), _mode(said, name), b"copy from" in said)
    if not change.hunks and (names or (old == new and change.mode is None)):
        raise DiffError(f"{name}: what is to change does not follow its name")
    return change


def _moved(said: Mapping[bytes, bytes]) -> tuple[str, str] | None:
    for what in (b"rename", b"copy"):
        old, new = said.get(what + b" from"), said.get(what + b" to")
        if old is not None and new is not None:
            return _text(_unquoted(old)), _text(_unquoted(new))
        if old is not None or new is not None:
            raise DiffError(f"`{what.decode()} from` and `{what.decode()} to` are not both there")
    return None


def _same_name(first: bytes, said: Mapping[bytes, bytes]) -> tuple[str | None, str | None]:
    """The names of a `diff --git` line; where nothing else gives them, they are the same."""
    both = first.rstrip(b"\r\n")[len(b"diff --git ") :]
    half = len(both) // 2
    old, new = _name(both[:half]), _name(both[half + 1 :])
    if old != new or not old:
        raise DiffError(f"{_text(both)!r}: which file is to change cannot be told")
    return None if b"new file mode" in said else old, None if b"deleted file mode" in said else new


def _mode(said: Mapping[bytes, bytes], name: str) -> int | None:
    """The permissions a file gets; git knows only whether it can be executed."""
    modes = {what: mode for what, mode in said.items() if what.endswith(b" mode")}
    for mode in modes.values():
        if not re.fullmatch(rb"100[0-7]{3}", mode):
            raise DiffError(f"{name}: mode {_text(mode)} is that of no plain file")
    new = modes.get(b"new mode", modes.get(b"new file mode"))
    return None if new is None else 0o755 if int(new, 8) & 0o100 else 0o644


def _names(lines: _Lines) -> tuple[str | None, str | None]:
    old, new = _name(lines.next()[4:]), _name(lines.next()[4:])
    if old is None and new is None:
        raise DiffError("a change is from /dev/null to /dev/null")
    return old, new


def _name(field: bytes) -> str | None:
    """The path of a `---` or `+++` line: without git's a/ and b/, and without a time."""
    raw = _unquoted(field.rstrip(b"\r\n").split(b"\t")[0])
    if raw == _NOWHERE:
        return None
    return _text(raw[2:] if raw[:2] in {b"a/", b"b/"} else raw)


def _unquoted(raw: bytes) -> bytes:
    """Git and diff put names with other characters into quotes, as C does."""
    if len(raw) < 2 or raw[:1] != b'"' or raw[-1:] != b'"':  # noqa: PLR2004 - two quotes
        return raw
    return _ESCAPED.sub(lambda match: _character(match[1]), raw[1:-1])


def _character(escape: bytes) -> bytes:
    return bytes([int(escape, 8)]) if len(escape) > 1 else _ESCAPES.get(escape, escape)


def _text(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")


# ---- hunks ----


def _hunks(lines: _Lines, name: str) -> tuple[Hunk, ...]:
    hunks = []
    while (match := _HUNK.match(lines.peek())) is not None:
        lines.next()
        old, new = (1 if count is None else int(count) for count in match.group(2, 3))
        hunks.append(_hunk(lines, int(match[1]), _counted_end(lines, old, new), name))
    if lines.peek().startswith(b"@@"):
        raise DiffError(f"{name}: {_text(lines.peek().strip())[:80]!r} is no header of a hunk")
    return tuple(hunks)


def _counted_end(lines: _Lines, old: int, new: int) -> int:
    """Where the hunk ends by the counts of its header; -1 if they cannot be right.

    They are, when what follows is no line of a hunk. Only they tell a removed line that begins
    with `-- `, before an added one with `++ `, from the next file's name.
    """
    at = lines.at
    while (old > 0 or new > 0) and not lines.ends_hunk(at) and not lines.file_at(at):
        kind = lines.line(at)[:1]
        old -= kind in _OLD
        new -= kind in _NEW
        at += 1
    while lines.line(at).startswith(_NO_NEW_LINE):
        at += 1
    goes_on = lines.line(at)[:1] in {b" ", b"-", b"+"} and lines.line(at)[:4] != b"--- "
    return -1 if old or new or (goes_on and not lines.ends_hunk(at)) else at


def _hunk(lines: _Lines, start: int, end: int, name: str) -> Hunk:
    """Read the lines of a hunk: up to `end`, or if that is -1 to the first that can be none."""
    found: list[tuple[bytes, bytes]] = []
    while lines.more and (lines.at < end or (end < 0 and not _goes_no_further(lines))):
        line = lines.next()
        kind = line[:1]
        if kind in {b" ", b"-", b"+"}:
            found.append((kind, line[1:]))
        elif kind != _NO_NEW_LINE:
            found.append((b" ", line))
        elif found:  # the remark speaks of the line before it
            found[-1] = (found[-1][0], found[-1][1].removesuffix(b"\n"))
    while end < 0 and found and found[-1][0] == b" " and not found[-1][1].strip():
        found.pop()  # an empty line between changes, or context that can be done without
    if not found:
        raise DiffError(f"{name}: the hunk at line {start} is empty")
    return Hunk(start, tuple(found))


def _goes_no_further(lines: _Lines) -> bool:
    return lines.ends_hunk(lines.at) or lines.names_at(lines.at)
