"""The files of the chat: read, written, searched and sent, all by the executor.

Nothing here opens a path. Each call is one operation over the executor's socket, beneath the chat's
workspace, in order with the jobs that use the same files. What the executor refuses becomes a
sentence for the model, with the remedy that the executor names.
"""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import PurePosixPath
from typing import Annotated, ParamSpec, TypeVar

from attrs import evolve

from agent.ports import OutFile, ToolOutcome, Unsent
from agent.text import clean
from agent.tools.kinds import not_text
from agent.tools.registry import OUTPUT_CAP, WORKSPACE, Kind, Tool, ToolError, tool
from executor.client import (
    Done,
    Edit,
    ExecutorUnavailable,
    FileClient,
    FileRefused,
    Info,
    Listing,
    Matches,
    NoWorkspace,
)

P = ParamSpec("P")
T = TypeVar("T")

MOST_LINES = 400  # that are read at once unless the model wants fewer
LINE_LENGTH = 400  # characters of a line that are shown
MOST_SHOWN = OUTPUT_CAP - 200  # characters of lines: beyond, the middle would be left out
NUMBER = 16  # characters around a line, at most
FAR = 1 << 40  # a line that no file has; the executor takes no number without an end
GREP_LENGTH = 400  # bytes of a line that the search gives
MOST_SENT = 20 * 1024 * 1024  # bytes of a file for the chat, as for those that a job gives back
NOTHING_SENT = "Error: nothing was sent"
SMALLER = "make it smaller, split it, or zip it"
MOUNTED_AT = "/workspace"  # where jobs see the files

PATH = "Path in the working directory"


def file_tools(files: FileClient) -> list[Tool]:
    """The tools for the files of one workspace."""
    return [*_reading(files), *_changing(files), *_finding(files), *_sending(files)]


def _reading(files: FileClient) -> list[Tool]:
    """What looks into files."""

    @tool(kind=Kind.READ, queue=WORKSPACE)
    @told
    async def read_file(
        path: Annotated[str, PATH],
        offset: Annotated[int | None, "First line, from 1"] = None,
        limit: Annotated[int | None, "How many lines"] = None,
    ) -> str:
        """Read a text file, with numbered lines."""
        first, count = window(offset, limit)
        found = (await files.read(inside(path), first - 1, count, "lines")).value
        if kind := not_text(found.data):
            what = f"{found.size:,} bytes, {kind}"
            raise ToolError(f"{path} is no text: {what}; use code to look into it")
        text, more = fitting(found.data.decode("utf-8", "replace"), more=found.more)
        return numbered(text, first, more=more)

    @tool(kind=Kind.READ, queue=WORKSPACE)
    @told
    async def list_dir(path: Annotated[str | None, PATH] = None) -> str:
        """List a directory."""
        top = inside(path or "")
        return listed(await _listing(files.list(top), top))

    return [read_file, list_dir]


def _changing(files: FileClient) -> list[Tool]:
    """What changes files."""

    @tool(kind=Kind.SANDBOXED, queue=WORKSPACE)
    @told
    async def write_file(
        path: Annotated[str, PATH], content: Annotated[str, "The whole text"]
    ) -> str:
        """Write a text file; an old one is replaced, directories are made."""
        # JSON can carry halves of characters, which no file can.
        written = (await files.write(inside(path), clean(content).encode())).value
        return f"written: {inside(path)}, {written.size:,} bytes"

    @tool(kind=Kind.SANDBOXED, queue=WORKSPACE)
    @told
    async def edit_file(
        path: Annotated[str, PATH],
        old: Annotated[str, "Text that stands there exactly once"],
        new: Annotated[str, "Text in its place"],
        everywhere: Annotated[bool | None, "true: replace every occurrence"] = None,
    ) -> str:
        """Replace text in a file."""
        change = Edit(old, new, everywhere=bool(everywhere))
        edited = (await files.edit(inside(path), change)).value
        return f"replaced {_places(edited.replaced)}; the file has {edited.size:,} bytes"

    @tool(kind=Kind.SANDBOXED, queue=WORKSPACE)
    @told
    async def apply_patch(diff: Annotated[str, "A unified diff of one or more files"]) -> str:
        """Apply a diff to files: all of it, or nothing."""
        done = (await files.patch(diff)).value
        kinds = {"changed": done.changed, "made": done.made, "removed": done.removed}
        said = [f"{kind}: {', '.join(paths)}" for kind, paths in kinds.items() if paths]
        return "\n".join(said) or "the diff changes nothing"

    return [write_file, edit_file, apply_patch]


def _finding(files: FileClient) -> list[Tool]:
    """What finds files, by name or by content."""

    @tool(kind=Kind.READ, queue=WORKSPACE)
    @told
    async def glob(
        pattern: Annotated[str, "Such as **/*.csv"], path: Annotated[str | None, PATH] = None
    ) -> str:
        """Find files by name."""
        top = inside(path or "")
        return listed(await _listing(files.glob(pattern, top), top), below=top)

    @tool(kind=Kind.READ, queue=WORKSPACE)
    @told
    async def grep(
        pattern: Annotated[str, "Regular expression"],
        glob: Annotated[str | None, "Only in files with such names"] = None,
        path: Annotated[str | None, PATH] = None,
        ignore_case: Annotated[bool | None, "true: either case"] = None,
    ) -> str:
        """Search in files."""
        found = (
            await files.grep(
                pattern, glob or "", inside(path or "") or ".", ignore_case=bool(ignore_case)
            )
        ).value
        return matched(found)

    return [glob, grep]


def _sending(files: FileClient) -> list[Tool]:
    """What brings a file to the chat."""

    # The file is queued with the result, in one transaction: an interrupted call did nothing.
    @tool(kind=Kind.READ, queue=WORKSPACE)
    @told
    async def send_file(
        path: Annotated[str, PATH],
        caption: Annotated[str | None, "A line below it"] = None,
    ) -> ToolOutcome:
        """Send a file to the chat; pictures are shown as such."""
        name = clean(PurePosixPath(inside(path)).name or "file")
        try:
            data = await fetch(files, path, MOST_SENT)
        except TooLarge:
            size = (await files.stat(inside(path))).value.size
            why = f"it has {size:,} bytes, and {MOST_SENT:,} can be sent at once; {SMALLER}"
            return ToolOutcome(NOTHING_SENT, failed=True, unsent=(Unsent(name, why),))
        return ToolOutcome("", files=(OutFile(name, data, clean(caption or "")),))

    return [send_file]


class TooLarge(ToolError):
    """A file has more bytes than can be taken."""


def told(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """What the executor will not or cannot do, as sentences for the model."""

    @functools.wraps(function)
    async def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await function(*args, **kwargs)
        except NoWorkspace as error:
            raise ToolError("there are no files yet; write one first") from error
        except FileRefused as error:
            raise ToolError(str(error)) from error
        except ExecutorUnavailable as error:
            raise ToolError(f"files cannot be used here: {error}") from error

    return run


async def _listing(asked: Awaitable[Done[Listing]], top: str) -> Listing:
    """What is there; before the first file nothing is, and the directory `top` alone is."""
    try:
        return (await asked).value
    except NoWorkspace:
        if top:
            raise
        return Listing((), cut=False)


async def fetch(files: FileClient, path: str, most: int) -> bytes:
    """A whole file, if it has at most so many bytes. Raises TooLarge, and what `files` does."""
    data = bytearray()

    def take(piece: bytes) -> None:
        if len(data) + len(piece) > most:
            raise TooLarge(f"{path} is larger than the {most:,} bytes that can be taken at once")
        data.extend(piece)

    await files.get(inside(path), take)
    return bytes(data)


def inside(path: str) -> str:
    """A path as a model writes it, relative to the workspace. Raises ToolError for another place.

    The way jobs see it, and home, are the workspace. What leads out of it on the way is for the
    executor to refuse, which looks at the files themselves.
    """
    plain = path.strip()
    for root in (MOUNTED_AT, "~"):
        if plain == root or plain.startswith(f"{root}/"):
            plain = plain.removeprefix(root).lstrip("/")
            break
    if plain.startswith("/"):
        raise ToolError(
            f"{path!r:.100} is outside the working directory; give a path relative to it"
        )
    parts = [part for part in plain.split("/") if part not in {"", "."}]
    return "/".join(parts)


def window(offset: int | None, limit: int | None) -> tuple[int, int]:
    """The first line that is wanted, from 1, and how many; what makes no sense is the default."""
    count = limit if limit is not None and limit > 0 else MOST_LINES
    return min(max(1, offset or 1), FAR), min(count, MOST_LINES)


def fitting(text: str, *, more: bool) -> tuple[str, bool]:
    """As many whole lines as can be shown at once, at least one; and whether the file goes on.

    Where it goes on, the last of several lines may be a part of one, and is left for the next time.
    """
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    if more and len(lines) > 1 and not lines[-1].endswith("\n"):
        lines.pop()
    room = MOST_SHOWN
    for index, line in enumerate(lines):
        room -= len(_cut(line)) + NUMBER
        if room < 0 and index:
            return "".join(lines[:index]), True
    return "".join(lines), more


def numbered(text: str, first: int, *, more: bool) -> str:
    """Lines with their numbers; `first` is that of the first one, `more` if the file goes on."""
    lines = text.split("\n")
    if lines and not lines[-1]:
        lines.pop()
    shown = [f"{first + index}\t{_cut(line)}" for index, line in enumerate(lines)]
    if more:
        shown.append(f"[the file goes on; read on with offset={first + len(lines)}]")
    return "\n".join(shown) or "[nothing there]"


def _cut(line: str) -> str:
    line = line.removesuffix("\r")
    left_out = len(line) - LINE_LENGTH
    return f"{line[:LINE_LENGTH]} [... {left_out:,} characters more]" if left_out > 0 else line


def matched(found: Matches) -> str:
    """Each line that was found, after its file and number."""
    lines = [f"{_named(each.path)}:{each.line}: {_match(each.text)}" for each in found.matches]
    lines += ["[there is more; search for less]"] if found.cut else []
    return "\n".join(lines) or f"nothing found in {found.looked_at} files"


def _match(text: str) -> str:
    return f"{text} [...]" if len(text.encode(errors="replace")) >= GREP_LENGTH else text


def _named(path: str) -> str:
    """A name as one line: in a workspace anything can be one."""
    return path if path.isprintable() else ascii(path)


def listed(listing: Listing, *, below: str = "") -> str:
    """Names in lines of their own, as they are; or as paths, with the directory they are below."""
    top = f"{below}/" if below else ""
    lines = list(_entries(evolve(each, path=top + each.path) for each in listing.entries))
    lines += ["[there is more; look in a directory below, or for a narrower name]"] * listing.cut
    return "\n".join(lines) or "[nothing there]"


def _entries(entries: Iterable[Info]) -> Iterator[str]:
    for entry in entries:
        if entry.kind == "directory":
            yield f"{_named(entry.path)}/"
        elif entry.kind == "file":
            yield f"{_named(entry.path)}  {entry.size:,} bytes, {_when(entry.modified)}"
        else:
            yield f"{_named(entry.path)}  ({entry.kind})"


def _when(seconds: float) -> str:
    """A time of a file; a job can set one that no calendar has."""
    try:
        return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%d %H:%M} UTC"
    except (OverflowError, ValueError, OSError):
        return "at no time that there is"


def _places(count: int) -> str:
    return "1 place" if count == 1 else f"{count} places"
