"""`famulus workspace ls | get | put | rm`: an owner's hands in the workspaces.

These verbs talk to the executor itself, not through the running daemon: it is the executor that
holds a workspace while something happens in it, so there is nothing for the daemon to order, and a
file of any size streams. The executor lets in root and the daemon's user, and nobody else.

Names in a workspace are whatever a job chose; on a terminal they are shown with everything escaped
that is not printable.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, ClassVar, Final, TypeVar

from daemon.errors import FamulusError
from daemon.sizes import files as in_words
from daemon.sizes import human

if TYPE_CHECKING:
    from executor.client import ExecutorClient, FileClient
    from executor.file_values import Info

    Parser = argparse.ArgumentParser
    Add = Callable[..., Parser]

    T = TypeVar("T")

EXIT_OK: Final = 0
STREAM: Final = "-"

_PIECE: Final = 256 * 1024
# What is kept in memory of a file on its way to standard output, in bytes.
_SPOOLED: Final = 8 * 1024 * 1024
# Copies that take longer than this, in seconds, are worth a line on a terminal.
_QUIET_SECONDS: Final = 0.5
_REDRAW_SECONDS: Final = 0.1


class NotDone(FamulusError):
    """The executor, or the local file system, will not do it."""

    exit_code: ClassVar[int] = 1


# --- What can be said ---


def add(verbs: Any, add_verb: Add, add_config_option: Callable[[Parser], None]) -> None:  # noqa: ANN401 -- argparse has no public name for it
    """Add the verb to the command line; `add_verb` and `add_config_option` are those of `cli`."""
    whole = add_verb(
        verbs,
        "workspace",
        _list,
        "look into the workspaces, the files that jobs work on",
        "Each chat has one, named by a key. For root and the daemon's user; needs the executor.",
    )
    actions = whole.add_subparsers(metavar="ACTION", required=True)
    for add_action in (_add_ls, _add_get, _add_put, _add_rm):
        add_config_option(add_action(actions, add_verb))


def _add_ls(actions: Any, add_verb: Add) -> Parser:  # noqa: ANN401 -- as above
    parser = add_verb(
        actions,
        "ls",
        _list,
        "list all workspaces, or what is in one",
        "Without KEY: the keys, and what each workspace holds.",
    )
    parser.add_argument("key", metavar="KEY", nargs="?", help="of the workspace")
    parser.add_argument("path", metavar="PATH", nargs="?", default="", help="a directory in it")
    return parser


def _add_get(actions: Any, add_verb: Add) -> Parser:  # noqa: ANN401 -- as above
    parser = add_verb(
        actions,
        "get",
        _get,
        "copy a file out of a workspace",
        "A file that is there already is kept, unless --force is given.",
    )
    _add_key(parser)
    parser.add_argument("path", metavar="PATH", help="the file in the workspace")
    parser.add_argument(
        "dest", metavar="DEST", nargs="?", help="where to; - is standard output (default: .)"
    )
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    return parser


def _add_put(actions: Any, add_verb: Add) -> Parser:  # noqa: ANN401 -- as above
    parser = add_verb(
        actions,
        "put",
        _put,
        "copy a file into a workspace",
        "It is there whole or not at all, and takes the place of one that has the name.",
    )
    _add_key(parser)
    parser.add_argument("file", metavar="FILE", help="the file to copy; - is standard input")
    parser.add_argument(
        "path",
        metavar="PATH",
        nargs="?",
        default="",
        help="its name there; with / at the end, a directory",
    )
    return parser


def _add_rm(actions: Any, add_verb: Add) -> Parser:  # noqa: ANN401 -- as above
    parser = add_verb(
        actions,
        "rm",
        _remove,
        "remove a file, a directory, or a whole workspace",
        "Without PATH the workspace itself goes, and what lives in it; asked about before.",
    )
    _add_key(parser)
    parser.add_argument("path", metavar="PATH", nargs="?", default="", help="what to remove")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    return parser


def _add_key(parser: Parser) -> None:
    parser.add_argument("key", metavar="KEY", help="of the workspace; see `famulus workspace ls`")


# --- What it does ---


def _list(options: argparse.Namespace) -> int:
    if options.key is None:
        _list_workspaces(options)
        return EXIT_OK
    listing = _ask(options, lambda files: files.list(options.path)).value
    sizes = [_size(one) for one in listing.entries]
    width = max((len(size) for size in sizes), default=0)
    for one, size in zip(listing.entries, sizes, strict=True):
        name = f"{shown(one.path)}{_MARKS.get(one.kind, '?')}"
        print(f"{size:>{width}}  {when(one.modified)}  {name}")
    if listing.cut:
        print(f"there are more than these {len(listing.entries)}", file=sys.stderr)
    return EXIT_OK


# As `ls -F` has them.
_MARKS: Final = {
    "file": "",
    "directory": "/",
    "symbolic link": "@",
    "pipe": "|",
    "socket": "=",
}


def _size(one: Info) -> str:
    return human(one.size) if one.kind == "file" else "-"


def _list_workspaces(options: argparse.Namespace) -> None:
    overview = _ask(options, lambda files: files.overview())
    width = max((len(one.key) for one in overview.workspaces), default=0)
    for one in overview.workspaces:
        more = "" if one.usage.complete else " or more"
        print(f"{one.key:<{width}}  {human(one.usage.bytes):>8}  {in_words(one.usage.files)}{more}")
    if overview.cut:
        print(f"there are more than these {len(overview.workspaces)}", file=sys.stderr)


def _get(options: argparse.Namespace) -> int:
    if options.dest == STREAM:
        with tempfile.SpooledTemporaryFile(_SPOOLED) as spool:
            _copy_out(options, spool)  # a reader that takes its time holds up nobody's workspace
            spool.seek(0)
            shutil.copyfileobj(spool, sys.stdout.buffer)
        return EXIT_OK
    dest = _destination(options)
    if not options.force and os.path.lexists(dest):
        raise NotDone(f"{dest} exists already", "give another name, or --force to replace it")
    with _local_errors(dest), _appearing(dest, replace=options.force) as file:
        _copy_out(options, file)
    return EXIT_OK


def _destination(options: argparse.Namespace) -> Path:
    """Where the copy goes: into a directory under its own name, else as it is said."""
    name = options.path.rstrip("/").rpartition("/")[2]
    if options.dest is None:
        return Path(name)
    dest = Path(options.dest)
    return dest / name if dest.is_dir() else dest


def _copy_out(options: argparse.Namespace, file: IO[bytes]) -> None:
    progress = Progress(shown(options.path))

    def take(data: bytes) -> None:
        file.write(data)
        progress.add(len(data))

    with progress:
        _ask(options, lambda files: files.get(options.path, take))
    file.flush()


@contextlib.contextmanager
def _appearing(dest: Path, *, replace: bool) -> Iterator[BinaryIO]:
    """A file that has its name when the block has ended well, and is gone otherwise."""
    descriptor, name = tempfile.mkstemp(prefix=".famulus.", dir=dest.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        Path(name).chmod(0o666 & ~_umask())
        if replace:
            Path(name).replace(dest)
        else:
            _give_name(Path(name), dest)
    finally:
        Path(name).unlink(missing_ok=True)


def _give_name(file: Path, dest: Path) -> None:
    """Let a file be called `dest`. Raises FileExistsError if somebody has made that meanwhile."""
    try:
        os.link(file, dest)
    except FileExistsError:
        raise
    except OSError:
        # FAT and some network file systems know no second name: take the name, then its place.
        dest.touch(exist_ok=False)
        file.replace(dest)


def _umask() -> int:
    """It can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _put(options: argparse.Namespace) -> int:
    path = options.path
    if path == "" or path.endswith("/"):
        if options.file == STREAM:
            raise NotDone("standard input has no name", "give PATH, the name in the workspace")
        path += Path(options.file).name
    with _local_errors(options.file), _source(options.file) as file:
        progress = Progress(shown(path))
        with progress:
            _ask(options, lambda files: files.put(path, _pieces(file, progress)))
    return EXIT_OK


@contextlib.contextmanager
def _source(name: str) -> Iterator[BinaryIO]:
    if name == STREAM:
        yield sys.stdin.buffer
        return
    with Path(name).open("rb") as file:
        yield file


def _pieces(file: BinaryIO, progress: Progress) -> Iterator[bytes]:
    while data := file.read(_PIECE):
        yield data
        progress.add(len(data))


def _remove(options: argparse.Namespace) -> int:
    if options.path:
        done = _ask(options, lambda files: files.remove(options.path))
    else:
        if not options.yes:
            _make_sure(options)
        done = _ask(options, lambda files: files.discard())
    print(f"removed: {done.value.names}", file=sys.stderr)
    return EXIT_OK


def _make_sure(options: argparse.Namespace) -> None:
    """Raise NotDone unless a person at a terminal says yes."""
    usage = _ask(options, lambda files: files.usage()).value
    what = f"the workspace {options.key} with {in_words(usage.files)} ({human(usage.bytes)})"
    answer = ""
    if sys.stdin.isatty():
        print(f"Remove {what}? [y/N] ", end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline()
    if answer.strip().lower() not in {"y", "yes"}:
        raise NotDone(f"not removed: {what}", "answer y, or give --yes")


# --- The other end ---


def _ask(options: argparse.Namespace, question: Callable[[FileClient], Awaitable[T]]) -> T:
    """Run one operation to its end; its refusals become ours."""
    import trio  # noqa: PLC0415 -- each verb imports what it needs

    from daemon import config  # noqa: PLC0415
    from executor import messages  # noqa: PLC0415
    from executor.client import ExecutorClient, ExecutorUnavailable  # noqa: PLC0415
    from executor.errors import FileRefused  # noqa: PLC0415
    from executor.protocol import ProtocolError  # noqa: PLC0415

    client = ExecutorClient(config.load(options.config).executor.socket)
    try:
        key = "" if options.key is None else messages.parse_workspace(options.key)
        return trio.run(_asked, client, key, question)
    except ExecutorUnavailable as error:
        raise FamulusError(error.cause, _remedy(error)) from error
    except FileRefused as error:
        raise NotDone(error.cause, error.remedy) from error
    except ProtocolError as error:
        raise NotDone(str(error), "see the keys with `famulus workspace ls`") from error


def _remedy(error: Any) -> str:  # noqa: ANN401 -- ExecutorUnavailable, which is not imported
    if isinstance(error.__cause__, PermissionError):
        return "run this as root or as the daemon's user"
    return str(error.remedy)


async def _asked(
    client: ExecutorClient, key: str, question: Callable[[FileClient], Awaitable[T]]
) -> T:
    return await question(client.files(key))


@contextlib.contextmanager
def _local_errors(path: object) -> Iterator[None]:
    """Say which file of this side it was. A closed pipe is the command line's to judge."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise NotDone(f"{path}: {error.strerror or error}") from error


# --- For a terminal ---


class Progress:
    """A line on standard error that grows with a copy, if that is a terminal and it takes long."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._bytes = 0
        self._next = time.monotonic() + _QUIET_SECONDS if sys.stderr.isatty() else float("inf")
        self._drawn = False

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        """Wipe the line: what is said next stands in its place."""
        if self._drawn:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def add(self, count: int) -> None:
        self._bytes += count
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _REDRAW_SECONDS
            self._drawn = True
            print(
                f"\r\x1b[K{self._name}  {human(self._bytes)}", end="", file=sys.stderr, flush=True
            )


def when(modified: float) -> str:
    """A file's time, of which a job may make anything, also what is no date."""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(modified))
    except (OverflowError, OSError, ValueError):
        return f"{'?':<16}"


def shown(name: str) -> str:
    """A name as a terminal may have it: nothing in it moves the cursor or is no text."""
    return name if name.isprintable() else ascii(name)
