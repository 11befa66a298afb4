"""The real daemon, with places in it where it kills itself, or where it says that it was there.

    python daemon_under_test.py [--record FILE] [--kill POINT@N] [--jobs FILE] [--bills FILE]
        [--looks FILE] [--inbox DIRECTORY] run --config FILE

A point is a moment with a name. Each transaction has three, named by the function that it runs:
before its BEGIN, before its COMMIT with the work done, and just after its COMMIT. Each statement
of a migration has two, before and after. Each act in the outer world has two: before the request
is made, and when its outcome is known but not yet recorded. Each step of the spool has two as well.
The Nth time that POINT is reached, the process kills itself with SIGKILL, in the very thread that
is there. The program is not told: its methods are wrapped from here, and the names come from what
it calls, so that nobody has to keep a list.

With `--jobs` no executor is asked: every job gives back two pictures, and FILE's bytes as a
document, all named by the job's code. With `--bills` there is a tool that asks for permission, and
writes a line into FILE each time that it is run. With `--looks` every file that is looked at is a
picture that nobody has seen before: one more byte is put into FILE each time. With `--inbox` the
files of all workspaces are those in DIRECTORY, as far as they are put there and looked for.
"""

from __future__ import annotations

import functools
import os
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any

import trio
from attrs import define, field

from agent.fallback import Models
from agent.ports import Policy
from agent.tools import view
from agent.tools.registry import Kind, Registry, Tool, tool
from daemon import cli, spool
from daemon.chat.toolset import Scope, Toolset
from daemon.spool import Growing, Spool
from daemon.store import migrations
from daemon.store.db import Database
from daemon.telegram.api import BotApi
from executor.client import ExecutorClient, FileClient, FileRefused, Job, Result
from executor.file_client import Done
from executor.file_values import Info, Written
from executor.messages import Artifact

# As much of a picture as tells its size.
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(8) + b"\0\0\0\x09" * 2


@define
class Points:
    """Counts what is reached; appends it to `record`, and dies at `deadly`, the `nth` time."""

    record: int | None = None
    deadly: str = ""
    nth: int = 0
    _seen: Counter[str] = field(factory=Counter)

    def reach(self, point: str) -> None:
        self._seen[point] += 1
        if self.record is not None:
            os.write(self.record, f"{point}@{self._seen[point]}\n".encode())
        if point == self.deadly and self._seen[point] == self.nth:
            os.kill(os.getpid(), signal.SIGKILL)


# Travels with the call into the writer's thread, where the transaction is.
_transaction: ContextVar[str] = ContextVar("transaction")


def name_of(fn: Callable[..., Any]) -> str:
    return f"{fn.__module__.rpartition('.')[2]}.{fn.__name__.lstrip('_')}"


def watch_transactions(points: Points) -> None:
    write, transact = Database.write, Database._transact

    @functools.wraps(write)
    async def named_write(self: Database, fn: Any, *args: Any, **kwargs: Any) -> Any:
        token = _transaction.set(name_of(fn))
        try:
            return await write(self, fn, *args, **kwargs)
        finally:
            _transaction.reset(token)

    @functools.wraps(transact)
    def watched_transact(self: Database, body: Callable[[], Any]) -> Any:
        name = _transaction.get()

        def watched_body() -> Any:
            result = body()
            points.reach(f"{name} done")
            return result

        points.reach(f"{name} before")
        result = transact(self, watched_body)
        points.reach(f"{name} committed")
        return result

    Database.write = named_write  # type: ignore[method-assign]  # the purpose of this file
    Database._transact = watched_transact  # type: ignore[method-assign]


def watch_migrations(points: Points) -> None:
    """Each statement of the first start, before and after: there the tables are made."""

    class Connection(sqlite3.Connection):
        def execute(self, *args: Any) -> sqlite3.Cursor:
            points.reach("statement before")
            result = super().execute(*args)
            points.reach("statement after")
            return result

    bring_up_to_date, connect = migrations.bring_up_to_date, sqlite3.connect

    @functools.wraps(bring_up_to_date)
    def watched(path: Path) -> None:
        sqlite3.connect = functools.partial(connect, factory=Connection)  # type: ignore[assignment]
        try:
            bring_up_to_date(path)
        finally:
            sqlite3.connect = connect

    migrations.bring_up_to_date = watched


def watch_acts(points: Points) -> None:
    watch_act(points, BotApi, "call", lambda method, *_: method)
    watch_act(points, Models, "ask", lambda *_: "model")
    watch_act(points, Registry, "run", lambda request: f"tool {request.name}")
    watch_act(points, ExecutorClient, "run", lambda job: f"job {job.language}")
    watch_act(points, FileClient, "put", lambda *_: "put")


def watch_spool(points: Points) -> None:
    """Each of its doings as a whole, and the steps in which a file gets its name."""
    steps = [(spool, "_write"), (Path, "rename"), (spool, "_sync_directory")]
    steps += [(Growing, name) for name in ("write", "finish", "drop")]
    whole = [(Spool, name) for name in ("keep", "begin", "remove", "sweep")]
    for owner, name in [*steps, *whole]:
        setattr(owner, name, watched_step(points, getattr(owner, name)))


def watched_step(points: Points, step: Callable[..., Any]) -> Callable[..., Any]:
    name = f"spool {step.__name__.lstrip('_')}"

    @functools.wraps(step)
    def watched(*args: Any) -> Any:
        points.reach(f"{name} before")
        result = step(*args)
        points.reach(f"{name} after")
        return result

    return watched


def give_files(document: bytes) -> None:
    """Stand in for an executor whose jobs make files."""

    async def run(_self: ExecutorClient, job: Job, **_options: Any) -> Result:
        await trio.lowlevel.checkpoint()
        plots = [Artifact(f".plots/{job.code}-{n}.png", PICTURE + b"%d" % n) for n in (1, 2)]
        made = (*plots, Artifact(f"{job.code}.txt", document))
        return Result("exit", 0, b"made", artifacts=made)

    ExecutorClient.run = run  # type: ignore[method-assign]


def take_bills(file: Path) -> None:
    """Offer `pay` in every turn, also in those of helpers."""
    usual = Toolset._tools

    @tool(kind=Kind.OUTWARD, policy=Policy.ASK)
    async def pay(bill: Annotated[str, "Whose"]) -> str:
        """Pay a bill."""
        await trio.lowlevel.checkpoint()
        with file.open("a", encoding="ascii") as lines:
            lines.write(f"{bill}\n")
        return f"paid {bill.split()[0]}"

    def tools(self: Toolset, scope: Scope) -> Iterator[Tool]:
        yield from usual(self, scope)
        yield pay

    Toolset._tools = tools  # type: ignore[method-assign]


def show_pictures(file: Path) -> None:
    """Stand in for a workspace whose every file is another picture each time."""

    async def fetch(*_: object) -> bytes:
        await trio.lowlevel.checkpoint()
        with file.open("ab") as looks:
            looks.write(b"+")
            return PICTURE + b"+" * looks.tell()

    view.fetch = fetch  # type: ignore[assignment]


def use_inbox(directory: Path) -> None:
    """Stand in for an executor that puts files into a workspace, whole or not at all."""

    async def stat(_self: FileClient, path: str) -> Done[Info]:
        await trio.lowlevel.checkpoint()
        if not (directory / path).exists():
            raise FileRefused(f"{path} does not exist")
        return Done(Info(path, "file", 1, 0.0, 0o644), 1)

    async def put(_self: FileClient, path: str, pieces: Iterable[bytes]) -> Done[Written]:
        await trio.lowlevel.checkpoint()
        data = b"".join(pieces)
        (directory / path).parent.mkdir(exist_ok=True)
        unfinished = directory / "unfinished"
        unfinished.write_bytes(data)
        unfinished.replace(directory / path)
        return Done(Written(len(data)), 2)

    FileClient.stat = stat  # type: ignore[method-assign]
    FileClient.put = put  # type: ignore[method-assign]


def watch_act(points: Points, owner: type, method: str, name: Callable[..., str]) -> None:
    act: Callable[..., Awaitable[Any]] = getattr(owner, method)

    @functools.wraps(act)
    async def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        points.reach(f"{name(*args)} before")
        try:
            return await act(self, *args, **kwargs)
        finally:
            points.reach(f"{name(*args)} after")

    setattr(owner, method, watched)


def main(arguments: list[str]) -> int:
    points = Points()
    while arguments and arguments[0].startswith("--"):
        option, value, *arguments = arguments
        if option == "--record":
            points.record = os.open(value, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        elif option == "--kill":
            points.deadly, _, nth = value.rpartition("@")
            points.nth = int(nth)
        elif option == "--jobs":
            give_files(Path(value).read_bytes())
        elif option == "--bills":
            take_bills(Path(value))
        elif option == "--looks":
            show_pictures(Path(value))
        elif option == "--inbox":
            use_inbox(Path(value))
    watch_migrations(points)
    watch_transactions(points)
    watch_acts(points)
    watch_spool(points)
    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
