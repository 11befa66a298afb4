"""What can be done with the files of a workspace: look, read, search by name, edit.

Every function takes the workspace as a `Beneath` and paths as text relative to it, is bounded in
bytes, entries and time, and either does the whole of what its name says or raises `FileRefused`
and has changed nothing. They wait for the disk and do not know about locks: the file server calls
them in a thread while it holds the workspace.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from attrs import define, field

from executor import incoming
from executor.beneath import Beneath, kind_of, parts_of, plain, refusal, shown
from executor.errors import FileRefused
from executor.file_values import MOST_READ, Content, Edit, Edited, Info, Listing
from executor.globs import Glob
from executor.settings import Limits
from executor.walk import Budget, Place, Tree, is_gone

MOST_EDITED = 8 * 1024 * 1024
MOST_LISTED = 1000
# A file can be larger than a workspace may be when the limits have been lowered since.
MOST_FILE = 1024 * 1024 * 1024
_MOST_WALKED = 200_000
_SECONDS = 10.0
_PIECE = 256 * 1024
# Of a listing in JSON: in all, around each name, and for each character at worst (\\udcff).
_MOST_NAMES = 900 * 1024
_INFO_ESCAPED = 160
_CHARACTER_ESCAPED = 12
_MOST_FOUND = 16 * 1024 * 1024
# What bytes.split() parts at.
_BLANKS = bytes.maketrans(b"\t\n\r\x0b\x0c", b" " * 5)


def walking() -> Budget:
    """What one operation may cost."""
    return Budget(_MOST_WALKED, _SECONDS)


# ---- looking ----


def info(path: str, found: os.stat_result) -> Info:
    mode = stat.S_IMODE(found.st_mode)
    return Info(path, kind_of(found.st_mode), found.st_size, found.st_mtime, mode)


def look(beneath: Beneath, path: str) -> Info:
    """Say what has this name, without following it if it is a link."""
    names = parts_of(path)
    try:
        descriptor = beneath.open(names[:-1], os.O_PATH | os.O_DIRECTORY)
        try:
            name = names[-1] if names else "."
            return info(path, os.stat(name, dir_fd=descriptor, follow_symlinks=False))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise refusal(path, error) from error


def listing(beneath: Beneath, path: str = "", most: int = MOST_LISTED) -> Listing:
    """The names in a directory, sorted; all of them are looked at, at most `most` given."""
    found = []
    try:
        beneath.check_directory(path)  # the walk below takes what vanished for empty
        with Tree(beneath, walking(), parts_of(path)) as tree:
            found = [info(name, one) for name, one in tree.entries(Place())]
    except OSError as error:
        raise refusal(path, error) from error
    return _listing(found, most)


def _listing(found: list[Info], most: int) -> Listing:
    """Sort, and give as much as fits into one frame however the names are escaped."""
    found.sort(key=lambda one: one.path)
    room, count = _MOST_NAMES, 0
    for one in found[:most]:
        room -= _INFO_ESCAPED + _CHARACTER_ESCAPED * len(one.path)
        if room < 0:
            break
        count += 1
    return Listing(tuple(found[:count]), len(found) > count)


# ---- reading ----


def read(
    beneath: Beneath, path: str, offset: int = 0, limit: int = MOST_READ, unit: str = "bytes"
) -> Content:
    """Read a part of a file: `limit` bytes or lines after the first `offset`, at most 1 MiB."""
    descriptor, found = beneath.open_file(path, MOST_FILE)
    try:
        data = _bytes_at(descriptor, offset, limit) if unit == "bytes" else b""
        if unit == "lines":
            offset_bytes = _line_start(descriptor, offset)
            data = _lines_at(descriptor, offset_bytes, limit)
            return Content(data, offset, found.st_size, offset_bytes + len(data) < found.st_size)
        return Content(data, offset, found.st_size, offset + len(data) < found.st_size)
    except OSError as error:
        raise refusal(path, error) from error
    finally:
        os.close(descriptor)


def _bytes_at(descriptor: int, offset: int, limit: int) -> bytes:
    return os.pread(descriptor, min(limit, MOST_READ), offset)


def _line_start(descriptor: int, lines: int) -> int:
    """Where the line after the first `lines` begins, in bytes; the end if there are no more."""
    at = 0
    while lines > 0 and (data := os.pread(descriptor, _PIECE, at)):
        if (here := data.count(b"\n")) < lines:
            lines -= here
            at += len(data)
            continue
        return at + _end_of_line(data, lines)
    return at


def _lines_at(descriptor: int, at: int, lines: int) -> bytes:
    """So many lines from there, or as much of them as may be read at once."""
    data = os.pread(descriptor, MOST_READ, at)
    return data if data.count(b"\n") < lines else data[: _end_of_line(data, lines)]


def _end_of_line(data: bytes, number: int) -> int:
    """Where the line of that number (from 1) ends in `data`, which has so many; 0 for none."""
    end = 0
    for _ in range(number):
        end = data.index(b"\n", end) + 1
    return end


def pieces(descriptor: int, size: int) -> Iterator[bytes]:
    """The first `size` bytes of an open file, or fewer if it has become shorter."""
    at = 0
    while at < size and (data := os.pread(descriptor, min(_PIECE, size - at), at)):
        yield data
        at += len(data)


def whole(beneath: Beneath, path: str, most: int) -> tuple[bytes, os.stat_result]:
    """All of a file of at most `most` bytes; one that grows meanwhile is refused."""
    descriptor, found = beneath.open_file(path, most)
    try:
        data = b"".join(pieces(descriptor, most + 1))
        plain(path, os.fstat(descriptor), most)
    except OSError as error:
        raise refusal(path, error) from error
    finally:
        os.close(descriptor)
    if len(data) > most:
        raise FileRefused(f"{shown(path)} has more than {most} bytes")
    return data, found


# ---- changing ----


def edit(beneath: Beneath, path: str, change: Edit, limits: Limits) -> Edited:
    """Change a file. Raises FileRefused unless the old text stands there, and as often as told."""
    before, after = as_bytes(change.old), as_bytes(change.new)
    if not before or before == after:
        what = "the text to replace is empty" if not before else "old and new text are the same"
        raise FileRefused(what, "give the text as it stands in the file, and what shall be there")
    data, _ = whole(beneath, path, MOST_EDITED)
    count = data.count(before)
    if count == 0:
        raise FileRefused(f"the text is not in {shown(path)}", _why_not_found(data, before))
    if count > 1 and not change.everywhere:
        remedy = "give more of the lines around it, or replace all"
        raise FileRefused(f"the text is in {shown(path)} {count} times", remedy)
    if len(data) + count * (len(after) - len(before)) > MOST_EDITED:
        raise FileRefused(f"{shown(path)} would have more than {MOST_EDITED} bytes")
    return Edited(count, incoming.write(beneath, path, data.replace(before, after), limits))


def as_bytes(text: str) -> bytes:
    """Encode text as it stands in files. Raises FileRefused for what cannot stand in one."""
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError as error:
        what = f"the text has a character that cannot be: {error.object[error.start]!a}"
        raise FileRefused(what, "leave it out") from error


def _why_not_found(data: bytes, wanted: bytes) -> str:
    if wanted.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") in data:
        return "its lines end in CR LF: give the text with the same line ends"
    if _single_spaced(wanted).strip() in _single_spaced(data):
        return "it is there with other white space: read the file again and copy it"
    return "read the file again: it must be the same to the last space"


def _single_spaced(data: bytes) -> bytes:
    """All white space as single spaces; a list of the words would take thirty times as much."""
    data = data.translate(_BLANKS)
    while b"  " in data:
        data = data.replace(b"  ", b" ")
    return data


# ---- searching by name ----


def glob(beneath: Beneath, pattern: str, path: str = "", budget: Budget | None = None) -> Listing:
    """What matches a pattern below a directory, sorted by path. Links are named, never followed.

    The paths are from that directory on.
    """
    found = _Found()
    try:
        matcher = Glob(pattern)
    except ValueError as error:
        raise FileRefused(f"{shown(pattern)}: {error}") from error
    beneath.check_directory(path)
    with Tree(beneath, budget or walking(), parts_of(path)) as tree:
        pending = [(Place(), matcher.begin())]
        while pending:
            place, state = pending.pop()
            try:
                pending += _matches_in(tree, place, state, matcher, found)
            except OSError as error:
                if not is_gone(error):
                    raise refusal("/".join(place.names()), error) from error
    return _listing(found.infos, MOST_LISTED)


@define
class _Found:
    """What a search has found. In a deep tree few paths can be very long."""

    infos: list[Info] = field(factory=list)
    length: int = 0

    def add(self, one: Info) -> None:
        self.length += len(one.path)
        if self.length > _MOST_FOUND:
            raise FileRefused("too much matches, and lies too deep", "name a directory")
        self.infos.append(one)


def _matches_in(
    tree: Tree, place: Place, state: frozenset[int], matcher: Glob, found: _Found
) -> Iterator[tuple[Place, frozenset[int]]]:
    """Add what matches in one directory, and give the directories to look into."""
    for name, one in tree.entries(place):
        within = matcher.step(state, name)
        if matcher.matches(within):
            found.add(info("/".join(place.names(name)), one))
        if within and stat.S_ISDIR(one.st_mode):
            yield Place(place, name), within
