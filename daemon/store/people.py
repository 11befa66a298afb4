"""Who speaks, to which agent, and in which session."""

from __future__ import annotations

import sqlite3
from typing import TypeAlias

from agent.text import clean
from daemon.store.values import Place, new_ref

Where: TypeAlias = tuple[str, str, str, str]  # the columns of a Place

HOUSE_AGENT = "house"  # the agent that every chat talks to until it chooses another


def ensure_user(
    db: sqlite3.Connection, channel: str, external_id: str, name: str, now: float
) -> str:
    """The id of the user behind a network's identity; made as a plain `user` when first seen."""
    row = db.execute(
        "SELECT user_id FROM identities WHERE channel = ? AND external_id = ?",
        (channel, external_id),
    ).fetchone()
    if row is not None:
        return str(row[0])
    user_id = new_ref()
    db.execute(
        "INSERT INTO users (id, role, name, created_at) VALUES (?, 'user', ?, ?)",
        (user_id, clean(name), now),
    )
    db.execute("INSERT INTO identities VALUES (?, ?, ?)", (channel, external_id, user_id))
    return user_id


def is_owner(db: sqlite3.Connection, user_id: str) -> bool:
    row = db.execute("SELECT role = 'owner' FROM users WHERE id = ?", (user_id,)).fetchone()
    return row is not None and bool(row[0])


def ensure_session(db: sqlite3.Connection, place: Place, now: float) -> str:
    """The session of the agent that `place` is talking to; made when first spoken in."""
    where = (place.channel, place.account, place.chat, place.topic)
    agent = _focus(db, where)
    row = db.execute(
        "SELECT id FROM sessions WHERE channel = ? AND account = ? AND chat = ? AND topic = ?"
        " AND agent_id = ?",
        (*where, agent),
    ).fetchone()
    return str(row[0]) if row is not None else _make_session(db, where, agent, now)


def _focus(db: sqlite3.Connection, where: Where) -> str:
    """The agent that a place has chosen, or the household's."""
    row = db.execute(
        "SELECT agent_id FROM chat_focus WHERE channel = ? AND account = ? AND chat = ?"
        " AND topic = ?",
        where,
    ).fetchone()
    return HOUSE_AGENT if row is None else str(row[0])


def _make_session(db: sqlite3.Connection, where: Where, agent: str, now: float) -> str:
    if agent == HOUSE_AGENT:
        db.execute(
            "INSERT INTO agents (id, name, created_at) VALUES (?, 'Famulus', ?)"
            " ON CONFLICT DO NOTHING",
            (HOUSE_AGENT, now),
        )
    session_id = new_ref()
    db.execute(
        "INSERT INTO sessions (id, channel, account, chat, topic, agent_id, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (session_id, *where, agent, now),
    )
    return session_id


def begin_again(db: sqlite3.Connection, session_id: str) -> None:
    """Leave everything said so far out of the session's context, from the next turn on."""
    db.execute(
        "UPDATE sessions SET fresh_after ="
        " (SELECT coalesce(max(id), 0) FROM turns WHERE session_id = ?1) WHERE id = ?1",
        (session_id,),
    )


def move_chat(db: sqlite3.Connection, old: Place, new_chat: str) -> None:
    """A group became a supergroup: its sessions, notes and everything unsent go by the new id."""
    where = (new_chat, old.channel, old.account, old.chat)
    # Where the new chat has already spoken, both histories stay and the new one goes on.
    db.execute(
        "UPDATE OR IGNORE sessions SET chat = ? WHERE channel = ? AND account = ? AND chat = ?",
        where,
    )
    db.execute(
        "UPDATE OR IGNORE chat_focus SET chat = ? WHERE channel = ? AND account = ? AND chat = ?",
        where,
    )
    # Likewise its notes. Memory files are read from the workspace that the new id has.
    db.execute(
        "UPDATE OR IGNORE notes SET chat = ? WHERE channel = ? AND account = ? AND chat = ?",
        where,
    )
