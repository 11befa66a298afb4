"""The one index over all that a chat said and kept: in step with its tables, and only its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.transcript import Answer, CallRequest
from daemon.store import journal, notes, people, search, turns
from daemon.store.notes import Note
from daemon.store.search import Found, Question
from daemon.store.values import Claim, Home, Place

HERE = Place("telegram", "42", "1")
HOME: Home = ("house", "telegram", "42", "1")
TOPIC = Place("telegram", "42", "1", "7")
THERE = Place("telegram", "42", "2")
NOBODY = 10**9  # a turn that is not there

Say = Callable[..., int]


@pytest.fixture
def say(db: sqlite3.Connection) -> Say:
    """Begin a turn somewhere with these words; gives its id."""

    def begin(text: str, place: Place = HERE, now: float = 1.0) -> int:
        session = people.ensure_session(db, place, now)
        return turns.create(db, session, text=text, asked_at=now, now=now).id

    return begin


def write_file(db: sqlite3.Connection, path: str, text: str, chat: str = "1") -> None:
    db.execute(
        "INSERT INTO memory_files (agent_id, channel, account, chat, path, text, revision,"
        " modified) VALUES ('house', 'telegram', '42', ?, ?, ?, 1, 5)",
        (chat, path, text),
    )


def look(db: sqlite3.Connection, query: str, *, asking: int = NOBODY, home: Home = HOME) -> Found:
    return search.search(db, Question(home, query, asking, 100.0), 20)


def sources(found: Found) -> set[str]:
    return {hit.source for hit in found.hits}


def test_everything_that_a_chat_has_is_found(db: sqlite3.Connection, say: Say) -> None:
    """Messages, answers, notes and files, each with its source, its time and the words around."""
    turn = say("Where is the fern?", now=3.0)
    journal.add_answer(db, turn, Answer("The fern is in the hall."), 4.0)
    notes.save(db, HOME, Note("plants", "water the fern", 6.0, None))
    write_file(db, "memory/MEMORY.md", "A fern, bought in May.")
    found = look(db, "fern")
    assert {(hit.source, hit.at, hit.excerpt) for hit in found.hits} == {
        ("said to you", 3.0, "Where is the fern?"),
        ("you answered", 4.0, "The fern is in the hall."),
        ("note 'plants'", 6.0, "water the fern"),
        ("file 'memory/MEMORY.md'", 5.0, "A fern, bought in May."),
    }
    assert not found.loose


def test_the_best_comes_first(db: sqlite3.Connection, say: Say) -> None:
    """What is more about the question than about other things, and of equals the newest."""
    say("a fern " + "and very much else " * 30, now=1.0)
    say("the fern", now=2.0)
    say("the fern", now=3.0)
    assert [hit.at for hit in look(db, "fern").hits] == [3.0, 2.0, 1.0]


def test_other_chats_are_never_seen(db: sqlite3.Connection, say: Say) -> None:
    """Neither the same person's nor another agent's in the same chat; a chat's topics are one."""
    say("fern of another chat", THERE)
    notes.save(db, (*HOME[:3], "2"), Note("n", "fern of another chat", 1.0, None))
    write_file(db, "memory/MEMORY.md", "fern of another chat", chat="2")
    say("fern of a topic", TOPIC)
    assert [hit.excerpt for hit in look(db, "fern").hits] == ["fern of a topic"]
    assert look(db, "another chat").loose
    db.execute("INSERT INTO agents (id, name, created_at) VALUES ('chef', 'Chef', 1)")
    assert look(db, "fern", home=("chef", *HOME[1:])).hits == ()


def test_some_of_the_words_are_better_than_none(db: sqlite3.Connection, say: Say) -> None:
    """If no passage has all, those that have some are given, and it is said."""
    say("the fern")
    found = look(db, "fern elephant")
    assert (len(found.hits), found.loose) == (1, True)
    assert look(db, "elephant giraffe").hits == ()
    assert look(db, "?!").hits == ()


def test_a_question_does_not_find_itself(db: sqlite3.Connection, say: Say) -> None:
    """The running turn's own words are no memory."""
    say("the fern")
    asking = say("search memory for fern")
    assert [hit.excerpt for hit in look(db, "fern", asking=asking).hits] == ["the fern"]


def test_the_work_of_tools_is_not_what_was_said(
    db: sqlite3.Connection, say: Say, boot: str
) -> None:
    """Results of tools are not searched, nor is what a child turn does."""
    turn = say("go")
    claim = Claim(turn, boot, first=True, seen=NOBODY)
    journal.hold(db, claim, 1.0)
    (call,) = journal.add_answer(db, turn, Answer("", (CallRequest("a", "bash", "{}"),)), 1.0)
    held = Claim(turn, boot, first=False, seen=NOBODY)
    journal.finish_tool_call(db, held, call.id, "a fern", 1.0, failed=False)
    child = say("unrelated")
    db.execute("UPDATE turns SET lane = 'child' WHERE id = ?", (child,))
    turns.add_user_message(db, child, "a fern", 1.0)
    assert look(db, "fern").hits == ()


def test_a_note_that_has_expired_is_not_found(db: sqlite3.Connection, say: Say) -> None:
    """Before it is pruned, too."""
    say("hello")
    notes.save(db, HOME, Note("plants", "the fern", 1.0, 99.0))
    assert look(db, "fern").hits == ()


def test_a_file_is_found_as_it_is_now(db: sqlite3.Connection, say: Say) -> None:
    """Its old words go with a change, and all with the file."""
    say("hello")
    write_file(db, "memory/MEMORY.md", "the fern")
    db.execute("UPDATE memory_files SET text = 'the cactus'")
    assert look(db, "fern").hits == ()
    assert sources(look(db, "cactus")) == {"file 'memory/MEMORY.md'"}
    db.execute("DELETE FROM memory_files")
    assert look(db, "cactus").hits == ()


def test_a_group_that_moves_takes_its_past_along(db: sqlite3.Connection, say: Say) -> None:
    """Under its new id all that was said is found, and under the old one nothing."""
    say("the fern", TOPIC)
    say("the fern")
    people.move_chat(db, HERE, "-1001")
    moved = (*HOME[:3], "-1001")
    assert len(look(db, "fern", home=moved).hits) == 2
    assert look(db, "fern").hits == ()
    say("another fern", Place("telegram", "42", "-1001"))
    assert len(look(db, "fern", home=moved).hits) == 3


def test_a_session_that_cannot_move_stays_found(db: sqlite3.Connection, say: Say) -> None:
    """Where the new chat has already spoken both keep their own past."""
    say("the old fern")
    say("the new fern", Place("telegram", "42", "-1001"))
    people.move_chat(db, HERE, "-1001")
    assert [hit.excerpt for hit in look(db, "fern").hits] == ["the old fern"]
    found = look(db, "fern", home=(*HOME[:3], "-1001"))
    assert [hit.excerpt for hit in found.hits] == ["the new fern"]


def test_messages_that_change_or_go_do_so_in_the_index(db: sqlite3.Connection, say: Say) -> None:
    """The program does neither, but a repair by hand may."""
    say("the fern")
    db.execute("UPDATE messages SET content = 'the cactus'")
    assert look(db, "fern").hits == ()
    assert len(look(db, "cactus").hits) == 1
    db.execute("UPDATE messages SET content = ''")
    db.execute("UPDATE messages SET content = 'the rose'")
    assert len(look(db, "rose").hits) == 1
    db.execute("DELETE FROM messages")
    db.execute("INSERT INTO passages (passages) VALUES ('integrity-check')")
    assert db.execute("SELECT count(*) FROM passages").fetchone()[0] == 0


def test_a_copy_made_by_vacuum_is_in_step(db: sqlite3.Connection, say: Say) -> None:
    """Rows keep the numbers by which the index knows them."""
    for path in ("a", "b", "c"):
        say(f"word of {path}")
        write_file(db, path, f"word of {path}")
    db.execute("DELETE FROM memory_files WHERE path = 'a'")
    db.execute("VACUUM")
    assert {"file 'b'", "file 'c'"} < sources(look(db, "word"))
    assert [hit.excerpt for hit in look(db, "word c").hits] == ["word of c"] * 2


def test_what_goes_while_it_is_searched_for_is_not_found(
    db: sqlite3.Connection, path: Path, say: Say
) -> None:
    """A writer may take a note away between the index's answer and the look at its row."""
    say("the fern")
    notes.save(db, HOME, Note("plants", "the fern", 1.0, None))
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        db.set_trace_callback(
            lambda statement: (
                writer.execute("DELETE FROM notes") if "SELECT title" in statement else 0
            )
        )
        assert sources(look(db, "fern")) == {"said to you"}


# --- Scripts without spaces between words ---

TOKYO = "\u6771\u4eac"
HOTEL = "\u65c5\u9928"
CHINESE = f"\u6211\u5011\u5728{TOKYO}\u7684{HOTEL}\u4f4f\u4e86\u4e09\u665a\u3002"
JAPANESE = "\u6628\u65e5\u30db\u30c6\u30eb\u3092\u4e88\u7d04\u3057\u307e\u3057\u305f"
KOREAN = "\uc5b4\uc81c \uc11c\uc6b8\uc5d0\uc11c \ub9cc\ub0ac\uc5b4\uc694"
THAI = "\u0e09\u0e31\u0e19\u0e01\u0e34\u0e19\u0e02\u0e49\u0e32\u0e27\u0e41\u0e25\u0e49\u0e27"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (CHINESE, TOKYO),
        (CHINESE, f"{HOTEL}\u3001{TOKYO}"),
        (JAPANESE, "\u30db\u30c6\u30eb"),
        (THAI, "\u0e02\u0e49\u0e32\u0e27"),
        (KOREAN, "\uc11c\uc6b8"),
        (f"Grand HOTEL {TOKYO}\u5ba4 100%", f"hotel 100% {TOKYO}"),
    ],
)
def test_a_word_is_found_within_a_text_without_spaces(
    db: sqlite3.Connection, say: Say, text: str, word: str
) -> None:
    """In all that a chat has, strictly, and seen in the piece that is shown."""
    padding = "\u65e5\u672c" * 300 if text != THAI else "x " * 300
    say(f"{padding}{text}{padding}", now=3.0)
    notes.save(db, HOME, Note("a", text, 4.0, None))
    notes.save(db, HOME, Note(text, "b", 4.0, None))
    write_file(db, "memory/MEMORY.md", text)
    found = look(db, word)
    assert sources(found) == {
        "said to you",
        "note 'a'",
        f"note {text!r}",
        "file 'memory/MEMORY.md'",
    }
    assert (found.loose, found.partly) == (False, False)
    (said,) = [hit for hit in found.hits if hit.source == "said to you"]
    assert text[:5] in said.excerpt


def test_some_of_such_words_are_better_than_none(db: sqlite3.Connection, say: Say) -> None:
    """Those with the most of them first, then the newest; with all of them, no others."""
    say(TOKYO, now=1.0)
    say(HOTEL, now=2.0)
    say(f"{HOTEL}x{TOKYO}", now=3.0)
    say(HOTEL, now=4.0)
    found = look(db, f"{TOKYO} {HOTEL} \u5348\u9910")
    assert ([hit.at for hit in found.hits], found.loose) == ([3.0, 4.0, 2.0, 1.0], True)
    assert [hit.at for hit in look(db, f"{TOKYO} {HOTEL}").hits] == [3.0]
    assert look(db, "\u5348\u9910").hits == ()


def test_such_words_are_not_found_elsewhere_either(db: sqlite3.Connection, say: Say) -> None:
    """Not in other chats, in the question itself, in what tools did, and in expired notes."""
    say(CHINESE, THERE)
    notes.save(db, HOME, Note("a", CHINESE, 1.0, 99.0))
    asking = say(CHINESE)
    child = say("unrelated")
    db.execute("UPDATE turns SET lane = 'child' WHERE id = ?", (child,))
    turns.add_user_message(db, child, CHINESE, 1.0)
    assert look(db, TOKYO, asking=asking).hits == ()


def test_a_long_past_is_looked_through_in_part(
    db: sqlite3.Connection, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest of it, which is said."""
    monkeypatch.setattr(search, "MOST_READ", 2)
    for now in (1.0, 2.0):
        say(CHINESE, now=now)
    assert not look(db, TOKYO).partly
    say(CHINESE, now=3.0)
    found = look(db, TOKYO)
    assert ([hit.at for hit in found.hits], found.partly) == ([3.0, 2.0], True)


TEXT = st.text(st.characters(exclude_categories=()) | st.sampled_from(f"%_{CHINESE}"), max_size=40)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(said=TEXT, query=TEXT)
def test_any_question_is_answered(db: sqlite3.Connection, say: Say, said: str, query: str) -> None:
    """Whatever was said and whatever is asked."""
    say(said)
    assert len(look(db, query).hits) <= 20
    assert len(look(db, said).hits) <= 20
