"""A database with a person and their chat, and jobs in it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from daemon.store import db as store
from daemon.store import migrations


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new database, to be copied: to make one takes a tenth of a second."""
    path = tmp_path_factory.mktemp("schedule") / "famulus.db"
    migrations.bring_up_to_date(path)
    return path


@pytest.fixture
def db(empty: Path, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A new database's writer; what a test does is one transaction that nobody ends."""
    path = shutil.copy(empty, tmp_path)
    with closing(store._connect(Path(path))) as connection:
        yield connection
