"""Unified diffs: reading one, and applying it to bytes, with no file in sight.

What `diff -u` and `git diff` print, for several files: changed, made, deleted and renamed. A hunk
is looked for where its header says, and else at the nearest place where all its lines stand; the
numbers that a model writes are often wrong, its lines seldom. They must fit but
for white space at their ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from attrs import define, field, frozen

MOST_CHANGES = 100
# Lines that are gone through to find the places of hunks, all together: about three seconds.
_MOST_SEARCHED = 20_000_000
_HUNK = re.compile(rb"@@ -(\d{1,9})(?:,(\d{1,9}))? \+\d{1,9}(?:,(\d{1,9}))? @@")
_NOWHERE = b"/dev/null"
_NO_NEW_LINE = b"\\"
# The first bytes of lines that a hunk finds and leaves; an empty line has lost its space.
_OLD = frozenset({b" ", b"-", b"\n", b"\r"})
_NEW = frozenset({b" ", b"+", b"\n", b"\r"})


class DiffError(Exception):
    """The diff cannot be understood, or does not fit; the message names file and hunk."""


@frozen
class Hunk:
    """Lines with their ends: `old` is to stand at line `start` (from 1), `new` takes its place."""

    start: int
    old: tuple[bytes, ...]
    new: tuple[bytes, ...]


@frozen
class Change:
    """What happens to one file. `old` is None for a new file, `new` for one that goes.

    Equal names are a change in place, different ones a renaming.
    """

    old: str | None
    new: str | None
    hunks: tuple[Hunk, ...] = ()

    @property
    def name(self) -> str:
        return self.new or self.old or ""


# ---- reading ----


@define
class _Lines:
    """The diff's lines, with the one that is next."""

    lines: list[bytes]
    at: int = 0

    def peek(self) -> bytes:
        return self.lines[self.at] if self.at < len(self.lines) else b""

    def next(self) -> bytes:
        line = self.peek()
        self.at += 1
        return line

    @property
    def more(self) -> bool:
        return self.at < len(self.lines)


def parse(text: bytes) -> tuple[Change, ...]:
    """Read a diff. Raises DiffError for one without a change, or with a hunk that is cut."""
    lines = _Lines(text.splitlines(keepends=True) if b"\r" not in text else _split(text))
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


def _split(text: bytes) -> list[bytes]:
    """Split after line feeds only: a carriage return belongs to its line."""
    lines = text.split(b"\n")
    return [line + b"\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def _change(lines: _Lines) -> Change | None:
    """Read the next change, or one line that is none."""
    line = lines.next()
    if line.startswith(b"rename from "):
        return _renaming(lines, _text(line[12:]))
    if not line.startswith(b"--- ") or not lines.peek().startswith(b"+++ "):
        return None
    old, new = _name(line[4:]), _name(lines.next()[4:])
    if old is None and new is None:
        raise DiffError("a change is from /dev/null to /dev/null")
    change = Change(old, new)
    return Change(old, new, tuple(_hunks(lines, change.name)))


def _renaming(lines: _Lines, old: str) -> Change:
    line = lines.next()
    if not line.startswith(b"rename to "):
        raise DiffError(f"after `rename from {old}` there is no `rename to`")
    new = _text(line[10:])
    while lines.peek().startswith((b"index ", b"old mode ", b"new mode ")):
        lines.next()
    if lines.peek().startswith(b"--- "):
        lines.next()
        lines.next()
    return Change(old, new, tuple(_hunks(lines, new)))


def _name(field_: bytes) -> str | None:
    """The path of a `---` or `+++` line: without git's a/ and b/, and without a time."""
    raw = field_.rstrip(b"\r\n").split(b"\t")[0]
    if raw == _NOWHERE:
        return None
    return _text(raw[2:] if raw[:2] in {b"a/", b"b/"} else raw)


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\r\n").decode(errors="surrogateescape")


def _hunks(lines: _Lines, name: str) -> Iterator[Hunk]:
    while (match := _HUNK.match(lines.peek())) is not None:
        lines.next()
        old, new = (1 if count is None else int(count) for count in match.group(2, 3))
        yield _hunk(lines, int(match[1]), _counted_end(lines, old, new), name)


def _counted_end(lines: _Lines, old: int, new: int) -> int:
    """Where the hunk ends by the counts of its header; -1 if they cannot be right.

    They are, when what follows is no line of a hunk. Only they tell a removed line that begins
    with `-- `, before an added one with `++ `, from the next file's name.
    """
    at = lines.at
    while (old > 0 or new > 0) and at < len(lines.lines):
        kind = lines.lines[at][:1]
        old -= kind in _OLD
        new -= kind in _NEW
        at += 1
    while at < len(lines.lines) and lines.lines[at].startswith(_NO_NEW_LINE):
        at += 1
    follows = lines.lines[at] if at < len(lines.lines) else b"\n"
    is_end = follows[:1] not in {b" ", b"-", b"+"} or follows.startswith(b"--- ")
    return at if old == new == 0 and is_end else -1


def _hunk(lines: _Lines, start: int, end: int, name: str) -> Hunk:
    """Read the lines of a hunk: up to `end`, or if that is -1 to the first that can be none."""
    old: list[bytes] = []
    new: list[bytes] = []
    while lines.more and (lines.at < end or (end < 0 and not _ends_hunk(lines))):
        line = lines.next()
        if line.startswith(_NO_NEW_LINE):
            _unended(lines.lines[lines.at - 2], old, new)
            continue
        body = line[1:] if line[:1] in {b" ", b"-", b"+"} else line
        if line[:1] in _OLD:
            old.append(body)
        if line[:1] in _NEW:
            new.append(body)
    if end < 0:
        _drop_blank_end(lines, old, new)
    if not old and not new:
        raise DiffError(f"{name}: the hunk at line {start} is empty")
    return Hunk(start, tuple(old), tuple(new))


def _drop_blank_end(lines: _Lines, old: list[bytes], new: list[bytes]) -> None:
    """Empty lines after a hunk are between changes, or context that can be done without."""
    at = lines.at - 1
    while old and new and lines.lines[at] in {b"\n", b"\r\n"}:
        old.pop()
        new.pop()
        at -= 1


def _ends_hunk(lines: _Lines) -> bool:
    line = lines.peek()
    if line.startswith(b"--- "):  # a removed line may begin with two more dashes
        after = lines.lines[lines.at + 1] if lines.at + 1 < len(lines.lines) else b""
        return after.startswith(b"+++ ")
    return line[:1] not in {b" ", b"-", b"+", b"\\", b"\n", b"\r"}


def _unended(before: bytes, old: list[bytes], new: list[bytes]) -> None:
    """The remark that a file has no new line at its end speaks of the line before it."""
    for kind, lines in ((b"-", old), (b"+", new)):
        if lines and before[:1] in {kind, b" "}:
            lines[-1] = lines[-1].rstrip(b"\r\n")


# ---- applying ----


@define
class _File:
    lines: list[bytes]
    # How far the places have moved by the hunks that were applied.
    moved: int = 0
    # Hunks come in order: none may go before the end of the one before it.
    behind: int = 0
    searched: int = 0
    _bare: list[bytes] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._bare = [line.rstrip() for line in self.lines]

    def apply(self, hunk: Hunk) -> bool:
        at = self._place(hunk)
        if at is None:
            return False
        end = at + len(hunk.old)
        new = _kept(hunk, self.lines[at:end])
        self.lines[at:end] = new
        self._bare[at:end] = [line.rstrip() for line in new]
        self.moved += len(new) - len(hunk.old)
        self.behind = at + len(new)
        return True

    def _place(self, hunk: Hunk) -> int | None:
        """The nearest place to where the hunk should be at which its lines stand."""
        bare = [line.rstrip() for line in hunk.old]
        wanted = max(0, hunk.start - (1 if bare else 0) + self.moved)
        if not bare:
            return min(wanted, len(self.lines))
        if self.behind <= wanted and self._bare[wanted : wanted + len(bare)] == bare:
            return wanted
        self._searching()
        last = len(self.lines) - len(bare)
        places = (at for at in range(self.behind, last + 1) if self._bare[at] == bare[0])
        fitting = (at for at in places if self._bare[at : at + len(bare)] == bare)
        return min(fitting, key=lambda at: abs(at - wanted), default=None)

    def _searching(self) -> None:
        self.searched += len(self.lines)
        if self.searched > _MOST_SEARCHED:
            raise DiffError("it takes too long to find where the hunks belong; give fewer of them")


def _kept(hunk: Hunk, found: list[bytes]) -> list[bytes]:
    """The new lines; those around the change stay as the file has them."""
    head = 0
    while head < min(len(hunk.old), len(hunk.new)) and hunk.old[head] == hunk.new[head]:
        head += 1
    tail = 0
    most = min(len(hunk.old), len(hunk.new)) - head
    while tail < most and hunk.old[-1 - tail] == hunk.new[-1 - tail]:
        tail += 1
    middle = list(hunk.new[head : len(hunk.new) - tail])
    after = found[len(found) - tail :] if tail else []
    return [*found[:head], *_with_ends_of(found, middle), *after]


def _with_ends_of(found: list[bytes], lines: list[bytes]) -> list[bytes]:
    """Lines for a file whose lines end in CR LF get the same ends."""
    if not found or not all(line.endswith(b"\r\n") for line in found):
        return lines
    return [re.sub(rb"\r?\n\Z", b"\r\n", line) for line in lines]


def _joined(lines: list[bytes]) -> bytes:
    """Put lines together; only the last may be without its end."""
    last = len(lines) - 1
    return b"".join(
        line if number == last or line.endswith(b"\n") else line + b"\n"
        for number, line in enumerate(lines)
    )


def apply(data: bytes, change: Change) -> bytes:
    """Give the file's new content. Raises DiffError naming the hunk that does not fit."""
    file = _File(_split(data))
    for number, hunk in enumerate(change.hunks, 1):
        if not file.apply(hunk):
            first = next((line for line in hunk.old if line.strip()), b"")
            raise DiffError(
                f"{change.name}: hunk {number} of {len(change.hunks)} (line {hunk.start}) does not "
                f"fit: its lines, from {first.decode(errors='replace').strip()[:80]!r}, "
                "do not stand together in the file"
            )
    return _joined(file.lines)
