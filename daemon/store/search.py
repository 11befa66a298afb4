"""What a chat has said and kept, found by words: transcripts, notes and memory files.

Only passages of one home are looked at, by the word in the index that says whose they are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from attrs import frozen

from daemon.store.fts import BEST, excerpt, expression, home_word, words
from daemon.store.notes_schema import FILE, KINDS, MESSAGE, NOTE, row_of
from daemon.store.values import Home


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
    """The best hits; `loose` if none has all the words, so these have but some."""

    hits: tuple[Hit, ...]
    loose: bool = False


def search(db: sqlite3.Connection, question: Question, limit: int) -> Found:
    """The best `limit` passages; a question without a word finds none."""
    wanted = words(question.query)
    if not wanted:
        return Found(())
    strict = _matches(db, question, wanted, limit, every=True)
    rowids = strict or _matches(db, question, wanted, limit, every=False)
    hits = tuple(_hit(db, rowid, wanted) for rowid in rowids)
    return Found(hits, loose=not strict and len(wanted) > 1)


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


def _hit(db: sqlite3.Connection, rowid: int, wanted: Sequence[str]) -> Hit:
    ident, number = divmod(rowid, len(KINDS))
    source, at, text = _READ[KINDS[number]](db, ident)
    return Hit(source, at, excerpt(text, wanted))


def _message(db: sqlite3.Connection, ident: int) -> tuple[str, float, str]:
    role, at, text = db.execute(
        "SELECT role, created_at, content FROM messages WHERE id = ?", (ident,)
    ).fetchone()
    return "said to you" if role == "user" else "you answered", at, text


def _note(db: sqlite3.Connection, ident: int) -> tuple[str, float, str]:
    title, at, text = db.execute(
        "SELECT title, updated_at, text FROM notes WHERE id = ?", (ident,)
    ).fetchone()
    return f"note {title!r}", at, text


def _file(db: sqlite3.Connection, ident: int) -> tuple[str, float, str]:
    path, at, text = db.execute(
        "SELECT path, modified, text FROM memory_files WHERE id = ?", (ident,)
    ).fetchone()
    return f"file {path!r}", at, text


_READ = {MESSAGE: _message, NOTE: _note, FILE: _file}
