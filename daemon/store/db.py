"""The one connection that writes, and the few that read.

Everything durable goes through `Database.write`: a plain synchronous function receives the
connection, runs inside one `BEGIN IMMEDIATE` transaction in a worker thread, and is committed
with `synchronous=FULL` before the call returns. A capacity of one in front of the thread makes
the writer single without a lock in the database, and gives writes an order.

Cancellation follows from that. A write that is cancelled while it waits for its turn never runs;
one that has begun is never abandoned, so its caller always learns that it was committed. An act
that has already happened in the world must be recorded whatever happens to its task: `finish` is
`write` behind a shield, with a deadline, for that one case.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import trio

from daemon.errors import FamulusError, Fatal
from daemon.store import migrations

P = ParamSpec("P")
T = TypeVar("T")

FINISH_DEADLINE = 5.0  # seconds a finishing write may wait for its turn at the writer
READERS = 2  # one per core of the smallest machine this runs on
BUSY_TIMEOUT = 5.0  # seconds; only a CLI's read-only connection can make us wait at all

# What to do about a file that cannot be used, by what is wrong with it.
NEWER = "run the version that wrote it, or a newer one"
OPENED = "see that the disk has room and that this user owns the file and its directory"
ABSENT = "start the daemon once, which makes it and brings it up to date"
UNSEEN = "start the daemon once, which makes it; read it as root or as the daemon's user"
DAMAGED = "put a backup in its place, or give the daemon another state_dir"


class StoreError(FamulusError):
    """The database cannot be used now; later it may."""


class Unusable(StoreError, Fatal):
    """The file is not ours to use, and will not be without its owner."""


class Database:
    """Owns the writer's and the readers' connections; made by `open_database` or `look_into`."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._writer = _connect(path, read_only=read_only)
        self._writing = trio.CapacityLimiter(1)
        self._readers = [_connect(path, read_only=True) for _ in range(READERS)]
        self._reading = trio.CapacityLimiter(READERS)

    async def write(
        self,
        fn: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `fn(connection, ...)` as one committed transaction and return what it returned.

        Whatever `fn` raises rolls the transaction back and is raised here. Cancelled before its
        turn comes, it never runs; after that, the commit is always awaited.
        """
        return await trio.to_thread.run_sync(
            lambda: self._transact(lambda: fn(self._writer, *args, **kwargs)),
            limiter=self._writing,
        )

    async def finish(
        self,
        fn: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """`write`, shielded from cancellation: for recording an act that has happened.

        Raises StoreError if the writer is not free within `FINISH_DEADLINE`.
        """
        with trio.CancelScope(shield=True, deadline=trio.current_time() + FINISH_DEADLINE):
            return await self.write(fn, *args, **kwargs)
        raise StoreError(
            f"the database was busy for {FINISH_DEADLINE:.0f} s",
            "see whether the disk is failing, or other work on this machine holds it up",
        )

    async def read(
        self,
        fn: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `fn(connection, ...)` on a read-only connection. `fn` keeps no cursor."""
        return await trio.to_thread.run_sync(
            lambda: self._borrow(lambda reader: fn(reader, *args, **kwargs)),
            limiter=self._reading,
        )

    def _transact(self, body: Callable[[], T]) -> T:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            result = body()
            self._writer.execute("COMMIT")
        except BaseException:
            # A full disk has rolled back by itself; a commit that was refused has not.
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise
        return result

    def _borrow(self, body: Callable[[sqlite3.Connection], T]) -> T:
        reader = self._readers.pop()
        try:
            return body(reader)
        finally:
            self._readers.append(reader)

    def close(self) -> None:
        for connection in (*self._readers, self._writer):
            connection.close()


@asynccontextmanager
async def open_database(path: Path) -> AsyncIterator[Database]:
    """Migrate the file at `path` (made if absent), open it, and close it on the way out.

    Raises Unusable if it is not ours to use: not a database, or written by a newer version; and
    StoreError if it cannot be opened or changed now.
    """
    await trio.to_thread.run_sync(migrate, path)
    database = Database(path)
    try:
        yield database
    finally:
        # The last connection moves the log into the file, which takes the disk as long as it takes.
        with trio.move_on_after(FINISH_DEADLINE, shield=True):
            await trio.to_thread.run_sync(database.close)


def require_file(path: Path) -> None:
    """Raises StoreError where SQLite would only say that it is "unable to open database file"."""
    if not os.access(path, os.R_OK):
        raise StoreError(f"there is no database {path} that uid {os.geteuid()} can read", UNSEEN)


@contextmanager
def look_into(path: Path) -> Iterator[Database]:
    """The file at `path` as it is, to be read alone: a write is refused by SQLite.

    For the command line while no daemon runs. Raises StoreError if it cannot be opened.
    """
    require_file(path)
    try:
        database = Database(path, read_only=True)
    except sqlite3.Error as error:
        raise StoreError(f"cannot open the database {path}: {error}", ABSENT) from error
    try:
        yield database
    finally:
        database.close()


def migrate(path: Path) -> None:
    """Bring the file at `path` to the newest schema; a current one costs two small reads.

    Raises StoreError, Unusable.
    """
    try:
        migrations.bring_up_to_date(path)
    except migrations.NewerSchema as error:
        raise Unusable(f"{path} is newer than this program: {error}", NEWER) from error
    except (sqlite3.OperationalError, OSError) as error:  # locked, full, not permitted
        raise StoreError(f"cannot open the database {path}: {error}", OPENED) from error
    except sqlite3.DatabaseError as error:
        raise Unusable(f"cannot use the database {path}: {error}", DAMAGED) from error


def _connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{path}?mode={'ro' if read_only else 'rw'}",
        uri=True,
        timeout=BUSY_TIMEOUT,
        isolation_level=None,  # transactions are begun and ended here, by hand
        check_same_thread=False,  # threads come and go; the limiter keeps them apart
    )
    connection.row_factory = sqlite3.Row
    if not read_only:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
    return connection
