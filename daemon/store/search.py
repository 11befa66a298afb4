"""What a chat has said and kept, found by words: transcripts, notes and memory files.

Only passages of one home are looked at, by the word in the index that says whose they are. Words of
scripts without spaces are looked for in the texts of these passages, of which the newest count.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from attrs import frozen

from daemon.store import fts
from daemon.store.fts import BEST, excerpt, expression, home_word, words
from daemon.store.notes_schema import FILE, KINDS, MESSAGE, NOTE, NOTE_TEXT, row_of
from daemon.store.values import Home

MOST_READ = 50_000  # passages of a table whose texts are looked through, 1 us each for a word


@frozen
class Question:
    """What is asked, by whom and when; the turn that asks would only find its own words."""

    home: Home
    query: str
    asking_turn: int
    now: float


@frozen
class Hit:
    """A piece of what was found; `source` is in words, `at` the time in Unix seconds."""

    source: str
    at: float
    excerpt: str


@frozen
class Found:
    """The best hits; `loose` if none has all the words, so these have but some.

    `partly` if there were more than MOST_READ to look through, so the oldest were not.
    """

    hits: tuple[Hit, ...]
    loose: bool = False
    partly: bool = False


def search(db: sqlite3.Connection, question: Question, limit: int) -> Found:
    """The best `limit` passages; a question without a word finds none."""
    wanted = words(question.query)
    if not wanted:
        return Found(())
    if lettered := fts.lettered(wanted):
        return _look_through(db, question, lettered, limit)
    strict = _matches(db, question, wanted, limit, every=True)
    rowids = strict or _matches(db, question, wanted, limit, every=False)
    return Found(_hits(db, rowids, wanted), loose=not strict and len(wanted) > 1)


def _matches(
    db: sqlite3.Connection, question: Question, wanted: Sequence[str], limit: int, *, every: bool
) -> list[int]:
    homes = [home_word(kind, question.home) for kind in KINDS]
    rows = db.execute(
        "SELECT rowid FROM passages WHERE passages MATCH ?"
        f" AND NOT EXISTS (SELECT 1 FROM messages WHERE id = {row_of(MESSAGE)} AND turn_id = ?)"
        f" AND NOT EXISTS (SELECT 1 FROM notes WHERE id = {row_of(NOTE)} AND expires_at <= ?)"
        f" ORDER BY {BEST}, rowid DESC LIMIT ?",
        (expression(homes, wanted, every=every), question.asking_turn, question.now, limit),
    ).fetchall()
    return [int(row[0]) for row in rows]


def _look_through(
    db: sqlite3.Connection, question: Question, wanted: Sequence[str], limit: int
) -> Found:
    """Those that hold all the words, or else those with the most of them; of equals the newest."""
    rows = [row for kind in KINDS for row in _holding(db, kind, question, wanted, limit)]
    rows.sort(key=lambda row: (row["words"], row["at"]), reverse=True)
    loose = bool(rows) and rows[0]["words"] < len(wanted)
    rowids = [row["rowid"] for row in rows if loose or row["words"] == len(wanted)]
    partly = any(_is_more(db, home_word(kind, question.home)) for kind in KINDS)
    return Found(_hits(db, rowids[:limit], wanted), loose, partly)


def _holding(
    db: sqlite3.Connection, kind: str, question: Question, wanted: Sequence[str], limit: int
) -> list[sqlite3.Row]:
    """The best passages of one table, with how many of the words each holds, and its time."""
    source = _SOURCES[kind]
    patterns = {f"word{number}": fts.pattern(word) for number, word in enumerate(wanted)}
    count = " + ".join(f"({source.whole} LIKE :{name})" for name in patterns)
    return db.execute(
        f"SELECT * FROM (SELECT p.rowid, t.{source.at} AS at, {count} AS words FROM"
        " (SELECT rowid FROM passages WHERE passages MATCH :home ORDER BY rowid DESC LIMIT :most)"
        f" AS p CROSS JOIN {source.table} AS t ON t.id = p.rowid / {len(KINDS)}"
        f" WHERE {source.counts}) WHERE words > 0 ORDER BY words DESC, at DESC LIMIT :limit",
        {
            **patterns,
            "home": fts.of_home(home_word(kind, question.home)),
            "most": MOST_READ,
            "asking": question.asking_turn,
            "now": question.now,
            "limit": limit,
        },
    ).fetchall()


def _is_more(db: sqlite3.Connection, home: str) -> bool:
    (count,) = db.execute(
        "SELECT count(*) FROM (SELECT 1 FROM passages WHERE passages MATCH ? LIMIT ?)",
        (fts.of_home(home), MOST_READ + 1),
    ).fetchone()
    return bool(count > MOST_READ)


def _hits(db: sqlite3.Connection, rowids: Sequence[int], wanted: Sequence[str]) -> tuple[Hit, ...]:
    hits = (_hit(db, rowid, wanted) for rowid in rowids)
    return tuple(hit for hit in hits if hit is not None)


def _hit(db: sqlite3.Connection, rowid: int, wanted: Sequence[str]) -> Hit | None:
    """A passage with its source; None if a writer has taken it away since it was found."""
    ident, number = divmod(rowid, len(KINDS))
    source = _SOURCES[KINDS[number]]
    row = db.execute(
        f"SELECT {source.name}, {source.at}, {source.text} FROM {source.table} WHERE id = ?",
        (ident,),
    ).fetchone()
    if row is None:
        return None
    name, at, text = row
    return Hit(source.label(name), at, excerpt(text, wanted))


@frozen
class _Source:
    """A table that passages are from: its columns, all that is indexed, and which rows count."""

    table: str
    name: str
    at: str
    text: str
    whole: str
    counts: str
    label: Callable[[str], str]


def _speaker(role: str) -> str:
    return "said to you" if role == "user" else "you answered"


_SOURCES = {
    MESSAGE: _Source(
        *("messages", "role", "created_at", "content", "t.content"),
        "t.turn_id <> :asking",
        _speaker,
    ),
    NOTE: _Source(
        *("notes", "title", "updated_at", "text", NOTE_TEXT.format("t")),
        "(t.expires_at IS NULL OR t.expires_at > :now)",
        "note {!r}".format,
    ),
    FILE: _Source(*("memory_files", "path", "modified", "text", "t.text"), "1", "file {!r}".format),
}
