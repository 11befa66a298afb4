"""A fresh database for each test: the real schema, in a real file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.store import boots
from daemon.store.db import Database, migrate


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "famulus.db"
    migrate(target)
    return target


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    opened = Database(path)
    yield opened
    opened.close()


@pytest.fixture
def db(path: Path) -> Iterator[sqlite3.Connection]:
    """A plain connection, for the synchronous functions of the table groups."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA foreign_keys = ON")
    yield connection
    connection.close()


@pytest.fixture
def boot(db: sqlite3.Connection) -> str:
    return boots.begin(db, "test", 0.0)
