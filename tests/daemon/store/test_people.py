"""A group that becomes a supergroup keeps all that it has."""

from __future__ import annotations

import sqlite3

import pytest

from daemon.store import heartbeats, journal, memory, notes, people, search, turns
from daemon.store.memory import Found, Kept
from daemon.store.notes import Note
from daemon.store.search import Question
from daemon.store.values import Address, Place

GROUP = Place("telegram", "42", "-100")
TOPIC = Place("telegram", "42", "-1007", "5")
SUPER = Place("telegram", "42", "-1007")
FILE = "memory/MEMORY.md"


def speak(db: sqlite3.Connection, place: Place) -> Address:
    session = people.ensure_session(db, place, 0.0)
    turn = turns.create(db, session, text="hi", asked_at=1.0, now=1.0)
    return journal.read_address(db, turn.id)


def remember(db: sqlite3.Connection, place: Place, text: str) -> Address:
    address = speak(db, place)
    memory.keep(db, address, Found(7, {FILE: Kept(text, 1.0)}, ()), 1.0)
    return address


def texts(db: sqlite3.Connection, address: Address) -> dict[str, str]:
    return memory.texts(db, address, [FILE])


def test_files_and_memory_follow_a_group(db: sqlite3.Connection) -> None:
    """Its sessions, old and new, in whatever topic, have the workspace that it always had."""
    remember(db, GROUP, "a fact")
    heartbeats.due(db, 60.0, 5.0)
    people.move_chat(db, GROUP, "-1007")
    people.move_chat(db, GROUP, "-1007")  # as the outbox finds out what the router knows
    for place in (SUPER, TOPIC):
        address = speak(db, place)
        assert address.workspace == "house-42--100"
        assert texts(db, address) == {FILE: "a fact"}
        assert memory.known(db, address).revision == 7
        (hit,) = search.search(db, Question(address.home, "fact", 0, 9.0), 5).hits
        assert hit.source == f"file {FILE!r}"
    (session,) = db.execute("SELECT id FROM sessions WHERE topic = ''").fetchone()
    upcoming = journal.read_upcoming(db, session)
    assert upcoming is not None
    assert upcoming.address.workspace == "house-42--100"
    assert {beat.address.workspace for beat in heartbeats.due(db, 1.0, 9.0)} == {"house-42--100"}
    assert db.execute("SELECT chat FROM heartbeats").fetchall()[0][0] == "-1007"


def test_what_a_running_turn_keeps_under_the_old_id_comes_after(db: sqlite3.Connection) -> None:
    """Its answer is refused there, by which the outbox finds out, and moves what is left."""
    home = speak(db, GROUP).home
    people.move_chat(db, GROUP, "-1007")
    notes.save(db, home, Note("a", "words", 1.0, None))
    people.move_chat(db, GROUP, "-1007")
    assert notes.get(db, speak(db, SUPER).home, "a", 2.0) is not None


def test_a_chat_that_has_spoken_keeps_its_own(db: sqlite3.Connection) -> None:
    """The sessions that come to it share what it has; nothing of its own is lost."""
    remember(db, GROUP, "old")
    remember(db, TOPIC, "new")
    people.move_chat(db, GROUP, "-1007")
    for place in (SUPER, TOPIC):
        address = speak(db, place)
        assert address.workspace == "house-42--1007"
        assert texts(db, address) == {FILE: "new"}


def test_agents_take_only_their_own_along(db: sqlite3.Connection) -> None:
    """Each has files of its own in a chat, before and after."""
    remember(db, GROUP, "the house's")
    db.execute("INSERT INTO agents (id, name, created_at) VALUES ('chef', 'Chef', 1)")
    db.execute("INSERT INTO chat_focus VALUES ('telegram', '42', '-100', '', 'chef')")
    remember(db, GROUP, "the chef's")
    people.move_chat(db, GROUP, "-1007")
    assert texts(db, speak(db, SUPER)) == {FILE: "the chef's"}
    db.execute("DELETE FROM chat_focus")
    house = speak(db, SUPER)
    assert (house.workspace, texts(db, house)) == (
        "house-42--100",
        {FILE: "the house's"},
    )


@pytest.mark.parametrize("other", [Place("telegram", "43", "-100"), Place("link", "42", "-100")])
def test_other_networks_chats_stay_where_they_are(db: sqlite3.Connection, other: Place) -> None:
    """Ids of chats mean nothing outside of their account."""
    remember(db, other, "theirs")
    speak(db, GROUP)
    people.move_chat(db, GROUP, "-1007")
    assert texts(db, speak(db, other)) == {FILE: "theirs"}
