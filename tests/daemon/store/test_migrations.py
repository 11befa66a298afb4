"""A database of an earlier version is brought up to date, whenever that is cut off."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from daemon.store import migrations, search
from daemon.store.db import migrate
from daemon.store.search import Question

HOME = ("house", "telegram", "42", "1")
OLD = (migrations.first, migrations.files, migrations.cuts)

CONVERSATION = """
    INSERT INTO agents (id, name, created_at) VALUES ('house', 'Famulus', 0);
    INSERT INTO sessions (id, channel, account, chat, agent_id, created_at)
        VALUES ('s', 'telegram', '42', '1', 'house', 0);
    INSERT INTO turns (id, ref, session_id, lane, cause, state, asked_at, created_at)
        VALUES (1, 'a', 's', 's', 'update', 'ended', 0, 0);
    INSERT INTO messages (turn_id, role, content, created_at)
        VALUES (1, 'user', 'Where is the fern?', 1), (1, 'assistant', 'In the hall.', 2);
"""


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file as the version before notes left it, with a conversation."""
    path = tmp_path / "old.db"
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "STEPS", OLD)
        migrate(path)
    with closing(sqlite3.connect(path)) as db:
        db.executescript(CONVERSATION)
    return path


def found(path: Path, query: str) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        db.row_factory = sqlite3.Row
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        hits = search.search(db, Question(HOME, query, 0, 9.0), 5).hits
    return [hit.excerpt for hit in hits]


def test_what_was_said_before_is_found(old: Path) -> None:
    """The index is filled from the messages that are there."""
    migrate(old)
    assert found(old, "fern") == ["Where is the fern?"]
    assert found(old, "hall") == ["In the hall."]


def copies(path: Path, into: Path, patch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file as a kill would leave it, after each statement that brings it up to date."""
    made: list[Path] = []

    class Connection(sqlite3.Connection):
        def execute(self, *args: object) -> sqlite3.Cursor:
            result = super().execute(*args)  # type: ignore[arg-type]  # passed on as they came
            made.append(into / f"{len(made)}.db")
            for end in ("", "-wal"):
                if path.with_name(path.name + end).exists():
                    shutil.copy(path.with_name(path.name + end), f"{made[-1]}{end}")
            return result

    connect = sqlite3.connect
    with patch.context() as patched:
        patched.setattr(sqlite3, "connect", lambda *a: connect(*a, factory=Connection))
        migrate(path)
    yield from made


def test_it_may_be_cut_off_anywhere(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after any statement, it is brought up to date by the next start."""
    into = tmp_path / "copies"
    into.mkdir()
    cut = list(copies(old, into, monkeypatch))
    assert len(cut) > len(migrations.NOTES)
    for path in cut:
        migrate(path)
        assert found(path, "fern") == ["Where is the fern?"], path


def test_what_took_the_place_of_another_edits_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what was an edit already when the earlier version ended."""
    path = tmp_path / "old.db"
    before = migrations.STEPS[: migrations.STEPS.index(migrations.one_edit)]
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "STEPS", before)
        migrate(path)
    row = "INSERT INTO outbox (ref, channel, account, chat, seq, method, params, state, created_at,"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(f"""
            {row} id) VALUES ('p', 't', '1', '5', 1, 'sendMessage', '{{}}', 'sent', 0, 1);
            {row} replaces) VALUES ('e', 't', '1', '5', 2, 'editMessageText',
                '{{"text":"a","message_id":31}}', 'queued', 0, 1);
        """)
    migrate(path)
    with closing(sqlite3.connect(path)) as db:
        found = db.execute("SELECT edits, method, params FROM outbox WHERE ref = 'e'").fetchone()
    assert found == ("p", "sendMessage", '{"text":"a"}')
