"""Notes: one for each title of a home, there until they expire."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.store import notes, people
from daemon.store.notes import Cut, Note
from daemon.store.values import Home, Place

HERE: Home = ("house", "telegram", "42", "1")
THERE: Home = ("house", "telegram", "42", "2")
ALL = Cut(100, 0)


@pytest.fixture(autouse=True)
def _house(db: sqlite3.Connection) -> None:
    people.ensure_session(db, Place("telegram", "42", "1"), 0.0)


def save(
    db: sqlite3.Connection, title: str, text: str, *, home: Home = HERE, now: float = 1.0
) -> bool:
    return notes.save(db, home, Note(title, text, now, None))


def titles(page: notes.Page) -> list[str]:
    return [note.title for note in page.notes]


def test_a_title_is_a_note(db: sqlite3.Connection) -> None:
    """Saving it again, in any case, puts the new text in its place."""
    assert save(db, "Straße", "old words") is True
    assert save(db, "STRASSE", "new words", now=2.0) is False
    assert notes.get(db, HERE, "strasse", 3.0) == Note("STRASSE", "new words", 2.0, None)
    assert notes.search(db, HERE, "old", ALL, 3.0).total == 0
    assert titles(notes.search(db, HERE, "new", ALL, 3.0)) == ["STRASSE"]


def test_saving_twice_is_saving_once(db: sqlite3.Connection) -> None:
    """A save that was interrupted can be done again."""
    save(db, "a", "words")
    save(db, "a", "words")
    assert notes.newest(db, HERE, ALL, 2.0) == notes.Page((Note("a", "words", 1.0, None),), 1)


def test_other_homes_have_their_own(db: sqlite3.Connection) -> None:
    """The same title, never seen from elsewhere, and not deleted from there."""
    save(db, "a", "words here")
    save(db, "a", "words there", home=THERE)
    for look in (
        notes.newest(db, HERE, ALL, 2.0),
        notes.search(db, HERE, "words", ALL, 2.0),
        notes.search(db, HERE, "there", ALL, 2.0),
    ):
        assert "words there" not in [note.text for note in look.notes]
    assert notes.delete(db, HERE, "a", 2.0) is True
    assert notes.delete(db, HERE, "a", 2.0) is False
    assert notes.get(db, THERE, "a", 2.0) is not None


def test_what_has_expired_is_nowhere(db: sqlite3.Connection) -> None:
    """Not got, listed, found or deleted, before it is pruned and after."""
    notes.save(db, HERE, Note("a", "words", 1.0, 10.0))
    save(db, "b", "words")
    assert notes.newest(db, HERE, ALL, 9.9).total == 2
    for _ in range(2):
        assert notes.get(db, HERE, "a", 10.0) is None
        assert titles(notes.newest(db, HERE, ALL, 10.0)) == ["b"]
        assert notes.search(db, HERE, "words", ALL, 10.0).total == 1
        notes.prune(db, 10.0)
    assert db.execute("SELECT count(*) FROM notes").fetchone()[0] == 1
    notes.save(db, HERE, Note("c", "words", 1.0, 10.0))
    assert notes.delete(db, HERE, "c", 10.0) is False


def test_an_expired_note_is_replaced_as_if_it_had_never_been(db: sqlite3.Connection) -> None:
    """The new one is new."""
    notes.save(db, HERE, Note("a", "old", 1.0, 10.0))
    assert save(db, "a", "new", now=11.0) is True


def test_there_is_a_most(db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one home; a note that is there can still be replaced."""
    monkeypatch.setattr(notes, "MOST_NOTES", 2)
    save(db, "a", "x")
    save(db, "b", "x")
    with pytest.raises(notes.TooManyNotes):
        save(db, "c", "x")
    assert save(db, "a", "y") is False
    assert save(db, "c", "x", home=THERE) is True


def test_lists_come_in_pieces(db: sqlite3.Connection) -> None:
    """The newest first, each once, with the number of all."""
    for index in range(7):
        save(db, f"note {index}", "word", now=float(index))
    pieces = [notes.newest(db, HERE, Cut(3, offset), 10.0) for offset in (0, 3, 6)]
    assert [piece.total for piece in pieces] == [7, 7, 7]
    assert [title for piece in pieces for title in titles(piece)] == [
        f"note {index}" for index in range(6, -1, -1)
    ]
    found = [notes.search(db, HERE, "word", Cut(4, offset), 10.0) for offset in (0, 4)]
    assert sorted(title for piece in found for title in titles(piece)) == [
        f"note {index}" for index in range(7)
    ]


def test_words_are_found_within_texts_without_spaces(db: sqlite3.Connection) -> None:
    """In pieces, the newest first; all the words, or else any of them; of this home alone."""
    tokyo, hotel = "\u6771\u4eac", "\u65c5\u9928"
    save(db, "a", f"\u5728{tokyo}\u7684{hotel}")
    save(db, f"b{tokyo}", "x", now=2.0)
    save(db, "c", f"\u5728{tokyo}", home=THERE)
    notes.save(db, HERE, Note("d", tokyo, 1.0, 2.5))
    assert titles(notes.search(db, HERE, tokyo, ALL, 3.0)) == [f"b{tokyo}", "a"]
    second = notes.search(db, HERE, tokyo, Cut(1, 1), 3.0)
    assert (titles(second), second.total) == (["a"], 2)
    assert titles(notes.search(db, HERE, f"{hotel}, {tokyo}", ALL, 3.0)) == ["a"]
    assert notes.search(db, HERE, f"{tokyo} \u5348\u9910", ALL, 3.0).total == 2
    assert notes.search(db, HERE, "\u5348\u9910", ALL, 3.0).total == 0


def test_a_group_that_moves_takes_its_notes_along(db: sqlite3.Connection) -> None:
    """Under its new id they are found, too."""
    save(db, "a", "words")
    people.move_chat(db, Place("telegram", "42", "1"), "-1001")
    moved = ("house", "telegram", "42", "-1001")
    assert titles(notes.search(db, moved, "words", ALL, 2.0)) == ["a"]
    assert notes.search(db, HERE, "words", ALL, 2.0).total == 0


TEXT = st.text(st.characters(exclude_categories=()), max_size=30)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(steps=st.lists(st.tuples(st.sampled_from("abAB"), TEXT | st.none()), max_size=8))
def test_the_index_holds_what_the_notes_say(
    db: sqlite3.Connection, steps: list[tuple[str, str | None]]
) -> None:
    """After any saves and deletes nothing is left in it of what is not there, and no row lacks."""
    for title, text in steps:
        if text is None:
            notes.delete(db, HERE, title, 2.0)
        else:
            save(db, title, text)
    kept = sorted(row[0] * 3 + 1 for row in db.execute("SELECT id FROM notes").fetchall())
    assert [r[0] for r in db.execute("SELECT rowid FROM passages ORDER BY rowid")] == kept
    db.execute("INSERT INTO passages (passages) VALUES ('integrity-check')")
    for title in "ab":
        notes.delete(db, HERE, title, 2.0)
    (terms,) = db.execute(
        'SELECT count(*) FROM passages(\'home : ("n" * OR "m" *) OR text : ("a" * OR "b" *)\')'
    ).fetchone()
    assert terms == 0
