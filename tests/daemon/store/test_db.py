"""The one writer: what is committed, what never ran, and what a caller learns."""

from __future__ import annotations

import sqlite3
import stat
import threading
from pathlib import Path

import pytest
import trio

from daemon.errors import Fatal
from daemon.store import db as module
from daemon.store.db import Database, StoreError, Unusable, migrate, open_database


def note(db: sqlite3.Connection, word: str) -> str:
    db.execute("INSERT INTO boots (id, version, started_at) VALUES (?, 'test', 0)", (word,))
    return word


def words(db: sqlite3.Connection) -> list[str]:
    return [row[0] for row in db.execute("SELECT id FROM boots ORDER BY id").fetchall()]


async def test_a_write_is_committed_before_it_returns(database: Database) -> None:
    """Another connection sees it."""
    assert await database.write(note, "a") == "a"
    assert await database.read(words) == ["a"]


async def test_a_write_that_raises_leaves_nothing(database: Database) -> None:
    def half(db: sqlite3.Connection) -> None:
        note(db, "a")
        raise LookupError("stop")

    with pytest.raises(LookupError):
        await database.write(half)
    assert await database.read(words) == []
    await database.write(note, "b")
    assert await database.read(words) == ["b"]


async def test_a_commit_that_fails_leaves_nothing(database: Database) -> None:
    """Nor does it leave its transaction open, in which no other could begin."""

    def orphan(db: sqlite3.Connection) -> None:
        db.execute("PRAGMA defer_foreign_keys = ON")
        db.execute("INSERT INTO identities VALUES ('telegram', '1', 'nobody')")

    with pytest.raises(sqlite3.IntegrityError):
        await database.write(orphan)
    await database.write(note, "a")
    assert await database.read(words) == ["a"]


async def test_a_full_disk_loses_one_write_only(database: Database) -> None:
    def overflow(db: sqlite3.Connection) -> None:
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages}")
        note(db, "x" * 1_000_000)

    with pytest.raises(sqlite3.OperationalError, match="full"):
        await database.write(overflow)
    await database.write(lambda db: db.execute("PRAGMA max_page_count = 1000000").fetchall())
    await database.write(note, "a")
    assert await database.read(words) == ["a"]


async def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await database.read(note, "a")


class Blocked:
    """A write that holds the writer until it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.let_go = threading.Event()

    def __call__(self, db: sqlite3.Connection) -> None:
        self.entered.set()
        self.let_go.wait()

    async def wait_entered(self) -> None:
        await trio.to_thread.run_sync(self.entered.wait)


async def test_a_write_cancelled_in_the_queue_never_runs(database: Database) -> None:
    blocked = Blocked()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.write, blocked)
        await blocked.wait_entered()
        with trio.CancelScope() as scope:
            scope.cancel()
            await database.write(note, "never")
        blocked.let_go.set()
    assert scope.cancelled_caught
    assert await database.read(words) == []


async def test_a_write_cancelled_while_it_runs_is_committed_and_known(database: Database) -> None:
    blocked = Blocked()
    returned = []

    async def write_and_tell() -> None:
        await database.write(blocked)
        returned.append(True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write_and_tell)
        await blocked.wait_entered()
        nursery.cancel_scope.cancel()
        blocked.let_go.set()
    assert returned == [True]


async def test_finish_runs_although_its_task_is_cancelled(database: Database) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await database.finish(note, "done")
    assert await database.read(words) == ["done"]


async def test_finish_gives_up_at_its_deadline_and_says_so(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FINISH_DEADLINE", 0.01)
    blocked = Blocked()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.write, blocked)
        await blocked.wait_entered()
        with pytest.raises(StoreError, match="busy"):
            await database.finish(note, "late")
        blocked.let_go.set()
    assert await database.read(words) == []


async def test_many_readers_and_a_writer_side_by_side(database: Database) -> None:
    async def churn(index: int) -> None:
        await database.write(note, f"{index:03}")
        await database.read(words)

    async with trio.open_nursery() as nursery:
        for index in range(50):
            nursery.start_soon(churn, index)
    assert len(await database.read(words)) == 50


# --- Opening ---


def test_the_file_is_private_from_its_first_moment(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_migrating_twice_changes_nothing(path: Path) -> None:
    before = path.read_bytes()
    migrate(path)
    assert path.read_bytes() == before


def test_what_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear reader, " * 100)
    with pytest.raises(Unusable, match=r"letter\.txt"):
        migrate(path)
    assert path.read_text().startswith("Dear reader")


def test_a_newer_schema_is_refused_by_name(path: Path, db: sqlite3.Connection) -> None:
    db.execute(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
        " VALUES ('famulus', 'from_the_future', '2030')"
    )
    with pytest.raises(Unusable, match=r"from_the_future.*newer"):
        migrate(path)


def test_what_cannot_be_opened_now_may_be_later(tmp_path: Path) -> None:
    """So it is no reason to stay down: only `Unusable` ends in exit code 78."""
    with pytest.raises(StoreError, match="nowhere") as caught:
        migrate(tmp_path / "nowhere" / "famulus.db")
    assert not isinstance(caught.value, Fatal)
    assert caught.value.remedy


def test_every_table_is_strict(db: sqlite3.Connection) -> None:
    rows = db.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '%sqlite%'"
        " AND name NOT LIKE 'passages%'"  # the tables behind the index are FTS5's own
    ).fetchall()
    assert len(rows) >= 15
    assert [name for name, sql in rows if "STRICT" not in sql] == []


async def test_commits_are_synced_in_full(tmp_path: Path) -> None:
    """`synchronous = FULL` (2): a commit that returned survives a power cut."""
    async with open_database(tmp_path / "x.db") as database:

        def pragma(db: sqlite3.Connection) -> tuple[int, str]:
            level = db.execute("PRAGMA synchronous").fetchone()[0]
            return level, db.execute("PRAGMA journal_mode").fetchone()[0]

        assert await database.write(pragma) == (2, "wal")
