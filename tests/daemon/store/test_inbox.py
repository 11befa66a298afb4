"""The inbox: what is kept once, what is recognised, and what is forgotten."""

from __future__ import annotations

import sqlite3
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.store import inbox

BOT = ("telegram", "42")


def update(number: int, text: str = "hi") -> dict[str, Any]:
    return {"update_id": number, "message": {"text": text}}


def bodies(db: sqlite3.Connection) -> list[str]:
    return [row.body for row in inbox.new_rows(db, *BOT, 1000)]


def test_updates_and_offset_are_kept_together(db: sqlite3.Connection) -> None:
    assert inbox.receive(db, *BOT, [update(7), update(8)], 9, 0.0) == 2
    assert inbox.next_offset(db, *BOT) == 9
    assert len(bodies(db)) == 2


def test_an_update_that_comes_again_is_recognised(db: sqlite3.Connection) -> None:
    """Also after it was closed: Telegram hands out again what it saw no offset for."""
    inbox.receive(db, *BOT, [update(7)], 8, 0.0)
    inbox.close(db, inbox.new_rows(db, *BOT, 1)[0].id, "turn", 1.0)
    assert inbox.receive(db, *BOT, [update(7)], 8, 2.0) == 0
    assert bodies(db) == []


def test_an_id_with_another_body_is_another_update(db: sqlite3.Connection) -> None:
    """Ids restart at random after a quiet week."""
    inbox.receive(db, *BOT, [update(7, "before the holidays")], 8, 0.0)
    assert inbox.receive(db, *BOT, [update(7, "after them")], 8, 0.0) == 1
    assert len(bodies(db)) == 2


def test_two_bots_do_not_share_ids_or_offsets(db: sqlite3.Connection) -> None:
    inbox.receive(db, *BOT, [update(7)], 8, 0.0)
    assert inbox.receive(db, "telegram", "43", [update(7)], 8, 0.0) == 1
    assert inbox.next_offset(db, "telegram", "44") is None


def test_an_update_without_an_id_is_kept_too(db: sqlite3.Connection) -> None:
    assert inbox.receive(db, *BOT, [{"message": {}}], None, 0.0) == 1
    assert inbox.next_offset(db, *BOT) is None


def test_what_a_stranger_wrote_is_not_kept(db: sqlite3.Connection) -> None:
    inbox.receive(db, *BOT, [update(7, "secret")], 8, 0.0)
    inbox.close(db, inbox.new_rows(db, *BOT, 1)[0].id, "stranger", 1.0)
    assert db.execute("SELECT body FROM inbox").fetchone()[0] == ""


def test_tombstones_are_forgotten_after_three_days_and_open_rows_never(
    db: sqlite3.Connection,
) -> None:
    inbox.receive(db, *BOT, [update(1), update(2)], 3, 0.0)
    inbox.close(db, inbox.new_rows(db, *BOT, 1)[0].id, "turn", 100.0)
    assert inbox.prune(db, 100.0 + inbox.TOMBSTONE_SECONDS) == 0
    assert inbox.prune(db, 101.0 + inbox.TOMBSTONE_SECONDS) == 1
    assert len(bodies(db)) == 1


def test_a_row_that_always_fails_becomes_a_dead_letter(db: sqlite3.Connection) -> None:
    inbox.receive(db, *BOT, [update(1)], 2, 0.0)
    row = inbox.new_rows(db, *BOT, 1)[0]
    tries = [inbox.count_attempt(db, row.id, 5.0) for _ in range(inbox.MAX_ATTEMPTS + 1)]
    assert tries == [True] * inbox.MAX_ATTEMPTS + [False]
    assert db.execute("SELECT outcome FROM inbox").fetchone()[0] == "dead"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.just("\ud800"),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )
)
def test_any_json_object_can_be_kept(db: sqlite3.Connection, content: object) -> None:
    """Lone surrogates and huge numbers included: refusing one would lose the whole batch."""
    body = {"update_id": 1, "content": content}
    db.execute("DELETE FROM inbox")
    assert inbox.receive(db, *BOT, [body], None, 0.0) == 1
    assert inbox.receive(db, *BOT, [body], None, 0.0) == 0
