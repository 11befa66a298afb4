"""Fitting the hunks of a diff into a file's bytes.

A hunk is looked for where its header says, as far from there as the one before it was found to be,
and else at the nearest place where all its old lines stand; the numbers that a model writes are
often wrong, its lines seldom. They must fit but for white space at their ends. What is not changed
stays as it is in the file, whatever the diff shows of it.

The file stays one piece: a list of its lines would take twenty times its size.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

from attrs import define, field

from executor.diff import Change, DiffError, Hunk, split

# Bytes that are gone through to find the places of hunks, all together: a few seconds.
_MOST_SEARCHED = 256 * 1024 * 1024
_LEAST_SEARCHED = 64 * 1024  # what a search costs in a small file
_TO_PREPARE = 16  # as much as so many searches
_STEP = 512
_CRLF = b"\r\n"


@define
class Effort:
    """What has been spent on looking for the hunks of a whole diff."""

    searched: int = 0

    def spend(self, size: int) -> None:
        self.searched += max(size, _LEAST_SEARCHED)
        if self.searched > _MOST_SEARCHED:
            raise DiffError("it takes too long to find where the hunks belong; give fewer of them")


def apply(data: bytes, change: Change, effort: Effort | None = None) -> bytes:
    """Give the file's new content. Raises DiffError naming the hunk that does not fit."""
    file = _File(data, effort or Effort())
    for number, hunk in enumerate(change.hunks, 1):
        if not file.apply(hunk):
            which = f"{change.name}: hunk {number} of {len(change.hunks)} (line {hunk.start})"
            raise DiffError(f"{which} does not fit: {_why(hunk)}")
    return file.end()


def _why(hunk: Hunk) -> str:
    if not hunk.old:
        return "it only adds lines, and the file has no such line after the hunks before it"
    first = next((line for line in hunk.old if line.strip()), b"")
    shown = repr(first.decode(errors="replace").strip()[:80])
    return f"its lines, from {shown}, do not stand together in the file"


@define
class _File:
    """A file, changed up to `at`, which is the beginning of `line` (from 0)."""

    data: bytes
    effort: Effort
    line: int = 0
    at: int = 0
    # How far from where its header says the last hunk was found.
    moved: int = 0
    _pieces: list[bytes] = field(factory=list)
    _bare: bytearray = field(factory=bytearray)
    _lines: int = field(init=False)
    # How most lines end; nothing for a file of one line without an end.
    _line_end: bytes = field(init=False)

    def __attrs_post_init__(self) -> None:
        ends = self.data.count(b"\n")
        crlf = self.data.count(_CRLF) * 2 > ends
        self._line_end = (_CRLF if crlf else b"\n") if ends else b""
        self._lines = ends + bool(self.data and not self.data.endswith(b"\n"))

    def apply(self, hunk: Hunk) -> bool:
        old = hunk.old
        wanted = max(hunk.start - 1, 0) if old else hunk.start
        found = self._place([line.rstrip() for line in old], wanted + self.moved)
        if found is None:
            return False
        self.moved = found - wanted if self.data else 0
        start, end = self._span(found, len(old))
        self._add(self.data[self.at : start])
        for line in self._new_lines(hunk, split(self.data[start:end])):
            self._add(line)
        self.line, self.at = found + len(old), end
        return True

    def end(self) -> bytes:
        self._add(self.data[self.at :])
        return b"".join(self._pieces)

    def _add(self, piece: bytes) -> None:
        """Only the last line may be without its end."""
        if piece and self._pieces and not self._pieces[-1].endswith(b"\n"):
            self._pieces.append(self._line_end or b"\n")
        if piece:
            self._pieces.append(piece)

    def _new_lines(self, hunk: Hunk, found: list[bytes]) -> Iterator[bytes]:
        """Lines that stay are the file's. New ones end as its lines do, unless the diff knows."""
        end = b"" if _same_ends(hunk.old, found) else self._line_end
        there = iter(found)
        for kind, line in hunk.lines:
            if kind == b"+":
                yield _ended(line, end)
                continue
            stands = next(there)
            if kind == b" ":
                yield stands

    # ---- places ----

    def _place(self, bare: list[bytes], wanted: int) -> int | None:
        """The number of the line at which the lines stand, the nearest to `wanted`."""
        if not bare:
            return self._gap(wanted)
        if wanted >= self.line:
            start, end = self._span(wanted, len(bare))
            if [line.rstrip() for line in split(self.data[start:end])] == bare:
                return wanted
        return self._nearest(b"\n%b\n" % b"\n".join(bare), wanted)

    def _gap(self, wanted: int) -> int | None:
        """Between which lines to put new ones: nothing shows it but the number."""
        if not self.data:
            return 0
        return wanted if self.line <= wanted <= self._lines else None

    def _span(self, line: int, count: int) -> tuple[int, int]:
        """Where so many lines begin and end; `line` is not before the one that is next."""
        start = _after(self.data, self.at, line - self.line)
        return start, _after(self.data, start, count)

    def _nearest(self, lines: bytes, wanted: int) -> int | None:
        """Search the lines that have not been gone through; of two places as near, the later.

        Backwards it searches what is turned round: `find` is never slow, and `rfind` can be.
        """
        text = self._bared()
        self.effort.spend(len(text))
        first = _after(text, 0, self.line + 1) - 1
        middle = _after(text, 0, max(self.line, wanted) + 1) - 1
        after = text.find(lines, middle)
        end = middle + len(lines) - 1
        back = text[first:end][::-1].find(lines[::-1])
        before = -1 if back < 0 else min(end, len(text)) - back - len(lines)
        places = [text.count(b"\n", 0, at) for at in (after, before) if at >= 0]
        return min(places, key=lambda place: abs(place - wanted), default=None)

    def _bared(self) -> bytearray:
        """All lines without white space at their ends, a line feed before and after each."""
        if not self._bare:
            self.effort.spend(_TO_PREPARE * len(self.data))
            self._bare += b"\n"
            for line in io.BytesIO(self.data):
                self._bare += line.rstrip()
                self._bare += b"\n"
        return self._bare


def _after(data: bytes | bytearray, at: int, lines: int) -> int:
    """Where so many more lines have ended; the end of it all if there are fewer."""
    while lines > _STEP and at < len(data):
        lines -= data.count(b"\n", at, at + _STEP)
        at += _STEP
    for _ in range(lines):
        at = data.find(b"\n", at) + 1
        if at == 0:
            return len(data)
    return at


def _same_ends(lines: list[bytes], found: list[bytes]) -> bool:
    """Whether the diff shows the file's own line ends: it need not have come through unchanged."""
    pairs = [(one, two) for one, two in zip(lines, found, strict=True) if two.endswith(b"\n")]
    return bool(pairs) and all(one.endswith(_CRLF) == two.endswith(_CRLF) for one, two in pairs)


def _ended(line: bytes, end: bytes) -> bytes:
    """The line with another end, if it has one and is to have another."""
    if not end:
        return line
    bare = line.removesuffix(b"\n").removesuffix(b"\r")
    return bare + end if line.endswith(b"\n") else bare
