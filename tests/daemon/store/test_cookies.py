"""The rows of sessions' cookies."""

from __future__ import annotations

import sqlite3

import pytest

from daemon.store import cookies, people
from daemon.store.values import Place

OLD = cookies.KEPT + 1


@pytest.fixture
def session(db: sqlite3.Connection) -> str:
    return people.ensure_session(db, Place("telegram", "42", "1"), 0.0)


def test_cookies_that_ended_or_are_old_are_forgotten(db: sqlite3.Connection, session: str) -> None:
    """No row is left of them."""
    cookies.save(db, session, {"x": "a=1", "y": "b=2"}, 0.0)
    assert cookies.load(db, 1.0) == {session: {"x": "a=1", "y": "b=2"}}
    cookies.save(db, session, {"x": ""}, 1.0)
    assert cookies.load(db, 1.0) == {session: {"y": "b=2"}}
    assert cookies.load(db, OLD) == {}
    cookies.save(db, session, {"z": "c=3"}, OLD)
    rows = db.execute("SELECT address FROM session_cookies").fetchall()
    assert [row[0] for row in rows] == ["z"]
