"""Questions to the full-text index: any text is one, and none is more than words."""

from __future__ import annotations

import sqlite3
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.store.fts import EXCERPT, MOST_WORDS, excerpt, expression, home_word, words

HOME = ("house", "telegram", "42", "1")
MINE = home_word("n", HOME)
OTHER = home_word("n", ("house", "telegram", "42", "11"))
# Any character, lone surrogates and NUL too, and whatever means something to FTS5.
SPECIAL = st.sampled_from(['"', "'", "*", "(", ")", ":", "^", "+", "-", "\0", "\ud800", "_", " "])
OPERATORS = st.sampled_from([" OR ", " AND ", " NOT ", "NEAR(a b, 2)", "home:", "{home text} : "])
HOSTILE = st.lists(
    st.text(st.characters(exclude_categories=()), max_size=8) | SPECIAL | OPERATORS, max_size=12
).map("".join)


@pytest.fixture(scope="module")
def index() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:")
    db.execute(
        "CREATE VIRTUAL TABLE passages USING fts5 (home, text, content='',"
        " tokenize='unicode61 remove_diacritics 2')"
    )
    rows = [(1, MINE, "Käse, milk and well-kept jam"), (2, OTHER, "milk of another chat")]
    db.executemany("INSERT INTO passages (rowid, home, text) VALUES (?, ?, ?)", rows)
    return db


def found(index: sqlite3.Connection, query: str, *, every: bool = True) -> list[int]:
    match = expression([MINE], words(query), every=every)
    rows = index.execute("SELECT rowid FROM passages WHERE passages MATCH ?", (match,)).fetchall()
    return [row[0] for row in rows]


@pytest.mark.parametrize(
    "query",
    ["milk", "MILK jam", "kase", "KÄSE", "Ka\u0308se", "well-kept", "mil", '"jam"', "*jam*"],
)
def test_words_are_found_whatever_their_case_accents_and_ends(
    index: sqlite3.Connection, query: str
) -> None:
    """A word of three letters stands for all that begin with it."""
    assert found(index, query) == [1]


@pytest.mark.parametrize("query", ["m++", "w.", "jam-m", "mi!!", "(k)"])
def test_signs_make_no_word_longer(index: sqlite3.Connection, query: str) -> None:
    """A letter or two stand for no others, whatever stands beside them."""
    assert found(index, query) == []


def test_all_words_are_wanted_or_any(index: sqlite3.Connection) -> None:
    """One that is nowhere makes the strict question fail, and not the loose one."""
    assert found(index, "milk elephant") == []
    assert found(index, "milk elephant", every=False) == [1]


@given(query=HOSTILE, every=st.booleans())
def test_no_question_breaks_or_escapes(
    index: sqlite3.Connection,
    query: str,
    every: bool,
) -> None:
    """Whatever is asked, it is answered, and never from another chat."""
    if words(query):
        assert set(found(index, query, every=every)) <= {1}
    assert len(words(query)) <= MOST_WORDS


@pytest.mark.parametrize("query", ["", " ", "\0", "...", '"" * ( )', "😀"])
def test_what_has_no_letter_is_no_word(query: str) -> None:
    """Such a question has nothing to be looked for."""
    assert words(query) == ()


def test_two_homes_never_share_a_word() -> None:
    """Where one part ends and the next begins is part of it."""
    assert home_word("m", ("a", "b", "c", "d")) != home_word("m", ("ab", "", "c", "d"))
    assert home_word("m", HOME) != home_word("n", HOME)


def test_an_excerpt_shows_what_was_found() -> None:
    """In one line, with dots where the text goes on."""
    text = "a word\n" * 100 + "and then the Crème brûlée\0 came" + " more" * 100
    piece = excerpt(text, ("creme",))
    assert "Crème brûlée came" in piece
    assert piece.startswith("...")
    assert piece.endswith("...")
    assert "\n" not in piece
    assert excerpt("short", ("absent",)) == "short"


@given(text=HOSTILE, query=HOSTILE)
def test_any_text_has_an_excerpt(text: str, query: str) -> None:
    """A piece of it, no longer than it may be."""
    piece = excerpt(text, words(query))
    assert len(piece) <= EXCERPT + len("......")
    letters = [c for c in piece.replace("...", "") if not c.isspace()]
    assert set(letters) <= set(unicodedata.normalize("NFC", text)) | {"."}
