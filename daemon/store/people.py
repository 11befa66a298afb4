"""Who speaks, to which agent, and in which session."""

from __future__ import annotations

import sqlite3
from typing import TypeAlias

from agent.text import clean
from daemon.store import admission
from daemon.store.values import Home, Place, new_ref, workspace_key

Where: TypeAlias = tuple[str, str, str, str]  # the columns of a Place

_OF_HOME = "agent_id = ? AND channel = ? AND account = ? AND chat = ?"
HOUSE_AGENT = "house"  # the agent that every chat talks to until it chooses another


def ensure_user(
    db: sqlite3.Connection,
    channel: str,
    external_id: str,
    name: str,
    now: float,
    role: str = "user",
) -> str:
    """The id of the user behind a network's identity; made with that role when first seen."""
    row = db.execute(
        "SELECT user_id FROM identities WHERE channel = ? AND external_id = ?",
        (channel, external_id),
    ).fetchone()
    if row is not None:
        return str(row[0])
    user_id = new_ref()
    db.execute(
        "INSERT INTO users (id, role, name, created_at) VALUES (?, ?, ?, ?)",
        (user_id, role, clean(name), now),
    )
    db.execute("INSERT INTO identities VALUES (?, ?, ?)", (channel, external_id, user_id))
    return user_id


def is_owner(db: sqlite3.Connection, user_id: str) -> bool:
    row = db.execute("SELECT role = 'owner' FROM users WHERE id = ?", (user_id,)).fetchone()
    return row is not None and bool(row[0])


def name(db: sqlite3.Connection, user_id: str) -> str:
    row = db.execute("SELECT name FROM users WHERE id = ?", (user_id,)).fetchone()
    return str(row[0]) if row is not None and row[0] else "somebody"


def set_role(db: sqlite3.Connection, user_id: str, role: str) -> None:
    db.execute("UPDATE users SET role = ? WHERE id = ?", (role, user_id))


def zone(db: sqlite3.Connection, user_id: str) -> str | None:
    """The zone that a person has chosen; None: as configured."""
    row = db.execute("SELECT zone FROM users WHERE id = ?", (user_id,)).fetchone()
    return None if row is None else row[0]


def set_zone(db: sqlite3.Connection, user_id: str, name: str | None) -> None:
    db.execute("UPDATE users SET zone = ? WHERE id = ?", (name, user_id))


def private_place(db: sqlite3.Connection, near: Place, user_id: str) -> Place | None:
    """Where a person can be written to alone, in the network of `near`; None if that is not known.

    A private chat has the id of its person.
    """
    row = db.execute(
        "SELECT external_id FROM identities WHERE channel = ? AND user_id = ?",
        (near.channel, user_id),
    ).fetchone()
    return None if row is None else Place(near.channel, near.account, str(row[0]))


def home(db: sqlite3.Connection, place: Place) -> Home:
    """Where the memory of the agent belongs that a place talks to."""
    where = place.channel, place.account, place.chat
    return _focus(db, (*where, place.topic)), *where


def workspace(db: sqlite3.Connection, home: Home) -> str:
    """The executor's name for the files of a home."""
    agent, *where = home
    return _spoken(db, home)[1] or workspace_key(agent, Place(*where))


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
    # A chat's topics share its files, wherever these came from.
    _, workspace = _spoken(db, (agent, *where[:3]))
    db.execute(
        "INSERT INTO sessions (id, channel, account, chat, topic, agent_id, created_at, workspace)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (session_id, *where, agent, now, workspace),
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
    """A group became a supergroup: its sessions, notes, memory and files go by the new id.

    Where the new chat has already spoken, both histories stay and the new one goes on, with the
    memory and files that it has; notes come together. Nobody can speak in the old chat any more.
    """
    where = old.channel, old.account, old.chat
    # Messages have other numbers there, so nothing can be said in reply to one of these.
    db.execute(
        "UPDATE turns SET reply_to = NULL WHERE state <> 'ended' AND session_id IN"
        " (SELECT id FROM sessions WHERE channel = ? AND account = ? AND chat = ?)",
        where,
    )
    rows = db.execute(
        "SELECT DISTINCT agent_id FROM sessions WHERE channel = ? AND account = ? AND chat = ?",
        where,
    )
    for (agent,) in rows.fetchall():
        _move_home(db, agent, old, new_chat)
    for table in ("chat_focus", "notes", "buttons", "grants", "chat_settings", "forgetting"):
        db.execute(
            f"UPDATE OR IGNORE {table} SET chat = ? WHERE channel = ? AND account = ? AND chat = ?",
            (new_chat, *where),
        )
    admission.move(db, old, new_chat)


def _move_home(db: sqlite3.Connection, agent: str, old: Place, new_chat: str) -> None:
    """Move an agent's sessions, and what belongs to its workspace, if that can come along."""
    home = agent, old.channel, old.account, old.chat
    _, workspace = _spoken(db, home)
    spoken, theirs = _spoken(db, (*home[:3], new_chat))
    if spoken:
        workspace = theirs
    else:
        workspace = workspace or workspace_key(agent, old)
        for table in ("memory_files", "memory_seen", "heartbeats"):
            db.execute(f"UPDATE OR IGNORE {table} SET chat = ? WHERE {_OF_HOME}", (new_chat, *home))
    db.execute(
        f"UPDATE OR IGNORE sessions SET chat = ?, workspace = ? WHERE {_OF_HOME}",
        (new_chat, workspace, *home),
    )
    # What is scheduled in a session that stays behind is answered in the one that goes on.
    db.execute(
        "UPDATE jobs SET session_id = n.id FROM sessions AS s JOIN sessions AS n"
        " ON n.channel = s.channel AND n.account = s.account AND n.chat = ?"
        " AND n.topic = s.topic AND n.agent_id = s.agent_id"
        f" WHERE jobs.session_id = s.id AND s.id IN (SELECT id FROM sessions WHERE {_OF_HOME})",
        (new_chat, *home),
    )


def _spoken(db: sqlite3.Connection, home: Home) -> tuple[bool, str | None]:
    """Whether there are sessions of a home, and the name of its files if they came along."""
    sessions, workspace = db.execute(
        f"SELECT count(*), max(workspace) FROM sessions WHERE {_OF_HOME}", home
    ).fetchone()
    return bool(sessions), workspace
