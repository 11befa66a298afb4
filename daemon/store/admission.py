"""What adds to the configuration's lists: people who were paired, groups that have moved, rules.

The rows are read as one value (`read`), of which `daemon.chat.access` makes who is answered. Every
change is made here, in a transaction of the caller's.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping

from attrs import field, frozen

from daemon.store.values import Place

# Seconds after which a list of administrators is no longer believed: nobody is one then.
ADMINS_HOLD = 3600.0

GROUPS = (
    # Who was let in by a word of the owner; their role here is that of the row in `users`.
    """CREATE TABLE paired (
        channel TEXT NOT NULL,
        account TEXT NOT NULL,
        external_id TEXT NOT NULL,
        role TEXT NOT NULL CHECK (role IN ('user', 'guest')),
        changed_at REAL NOT NULL,
        PRIMARY KEY (channel, account, external_id)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE pairings (
        id INTEGER PRIMARY KEY,
        channel TEXT NOT NULL,
        account TEXT NOT NULL,
        external_id TEXT NOT NULL,
        name TEXT NOT NULL,
        code TEXT NOT NULL,
        tries INTEGER NOT NULL DEFAULT 0,        -- wrong codes that were given meanwhile
        state TEXT NOT NULL DEFAULT 'open'
            CHECK (state IN ('open', 'granted', 'refused', 'lapsed', 'spent')),
        created_at REAL NOT NULL,
        decided_at REAL
    ) STRICT""",
    """CREATE UNIQUE INDEX pairings_open ON pairings (channel, account, external_id)
        WHERE state = 'open'""",
    "CREATE INDEX pairings_person ON pairings (channel, account, external_id, id)",
    # A group that became a supergroup, so that what was allowed stays so.
    """CREATE TABLE moves (
        channel TEXT NOT NULL,
        account TEXT NOT NULL,
        chat TEXT NOT NULL,
        new_chat TEXT NOT NULL,
        PRIMARY KEY (channel, account, chat)
    ) STRICT, WITHOUT ROWID""",
    # What the owner has said about a group, in place of what the configuration says.
    """CREATE TABLE group_rules (
        channel TEXT NOT NULL,
        account TEXT NOT NULL,
        chat TEXT NOT NULL,
        answer TEXT NOT NULL CHECK (answer IN ('mention', 'all', 'admin-only')),
        changed_at REAL NOT NULL,
        PRIMARY KEY (channel, account, chat)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE group_admins (
        channel TEXT NOT NULL,
        account TEXT NOT NULL,
        chat TEXT NOT NULL,
        ids TEXT NOT NULL,                 -- JSON
        asked_at REAL NOT NULL,
        PRIMARY KEY (channel, account, chat)
    ) STRICT, WITHOUT ROWID""",
    # What was said in a group to others, until the bot is next spoken to there.
    """CREATE TABLE overheard (
        id INTEGER PRIMARY KEY,
        channel TEXT NOT NULL,
        account TEXT NOT NULL,
        chat TEXT NOT NULL,
        topic TEXT NOT NULL,
        text TEXT NOT NULL,
        said_at REAL NOT NULL
    ) STRICT""",
    "CREATE INDEX overheard_place ON overheard (channel, account, chat, topic, id)",
    # The least role of those who have spoken in a turn, and the message that it answers.
    """ALTER TABLE turns ADD COLUMN role TEXT NOT NULL DEFAULT 'user'
        CHECK (role IN ('owner', 'user', 'guest'))""",
    "ALTER TABLE turns ADD COLUMN reply_to TEXT",
    # Why nothing can be sent there (blocked, kicked, rights), and since when; NULL: it can.
    "ALTER TABLE destinations ADD COLUMN closed TEXT",
    "ALTER TABLE destinations ADD COLUMN closed_at REAL",
)

ALLOWED_GROUPS = (
    # Groups that the owner has allowed by a button; `members` is the role of who has none.
    """CREATE TABLE allowed_groups (
        channel TEXT NOT NULL,
        account TEXT NOT NULL,
        chat TEXT NOT NULL,
        title TEXT NOT NULL,
        members TEXT NOT NULL CHECK (members IN ('user', 'guest')),
        changed_at REAL NOT NULL,
        PRIMARY KEY (channel, account, chat)
    ) STRICT, WITHOUT ROWID""",
)

# What goes by a chat's id and comes along when that changes.
OF_CHATS = ("group_rules", "group_admins", "overheard", "allowed_groups")


@frozen
class Team:
    """A group as it was allowed: its title then, and the role of its members."""

    title: str
    members: str


@frozen
class Admissions:
    """The rows of one account. `names` are those of people, as (name, id)."""

    paired: Mapping[str, str] = field(factory=dict)  # role, by id
    moves: Mapping[int, int] = field(factory=dict)
    answers: Mapping[int, str] = field(factory=dict)
    admins: Mapping[int, frozenset[int]] = field(factory=dict)
    names: tuple[tuple[str, int], ...] = ()
    groups: Mapping[int, str] = field(factory=dict)  # the role of members, by chat


def read(
    db: sqlite3.Connection, channel: str, account: str, listed: Collection[int], now: float
) -> Admissions:
    """All that adds to the configuration; `listed` are the people whose names are wanted, too."""
    whose = channel, account
    paired = db.execute(
        "SELECT external_id, role FROM paired WHERE channel = ? AND account = ?", whose
    ).fetchall()
    people = [*map(str, listed), *(row[0] for row in paired)]
    return Admissions(
        {row[0]: row[1] for row in paired},
        {int(old): int(new) for old, new in _of_chats(db, "moves", "new_chat", whose)},
        {int(chat): answer for chat, answer in _of_chats(db, "group_rules", "answer", whose)},
        _admins(db, whose, now),
        _names(db, channel, people),
        {int(chat): role for chat, role in _of_chats(db, "allowed_groups", "members", whose)},
    )


def _of_chats(
    db: sqlite3.Connection, table: str, column: str, whose: tuple[str, str]
) -> list[tuple[str, str]]:
    rows = db.execute(
        f"SELECT chat, {column} FROM {table} WHERE channel = ? AND account = ?", whose
    )
    return [(row[0], row[1]) for row in rows.fetchall()]


def _admins(
    db: sqlite3.Connection, whose: tuple[str, str], now: float
) -> dict[int, frozenset[int]]:
    rows = db.execute(
        "SELECT chat, ids FROM group_admins WHERE channel = ? AND account = ?"
        " AND asked_at BETWEEN ? AND ?",
        (*whose, now - ADMINS_HOLD, now + ADMINS_HOLD),
    )
    return {int(chat): frozenset(json.loads(ids)) for chat, ids in rows.fetchall()}


def _names(
    db: sqlite3.Connection, channel: str, people: Collection[str]
) -> tuple[tuple[str, int], ...]:
    rows = db.execute(
        "SELECT u.name, i.external_id FROM identities AS i JOIN users AS u ON u.id = i.user_id"
        " WHERE i.channel = ? AND i.external_id IN (SELECT value FROM json_each(?))"
        " ORDER BY u.created_at DESC",  # of two with one name, it is the older one's
        (channel, json.dumps(list(people))),
    )
    return tuple((str(name), int(external_id)) for name, external_id in rows.fetchall())


# --- Changes ---


def let_in(db: sqlite3.Connection, whose: tuple[str, str, str], role: str, now: float) -> None:
    """Answer a person (channel, account, external id) from now on, as `role`."""
    db.execute(
        "INSERT INTO paired VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " role = excluded.role, changed_at = excluded.changed_at",
        (*whose, role, now),
    )


def put_out(db: sqlite3.Connection, whose: tuple[str, str, str]) -> bool:
    """Answer a person no more; False if no row said that they are."""
    return bool(
        db.execute(
            "DELETE FROM paired WHERE channel = ? AND account = ? AND external_id = ?", whose
        ).rowcount
    )


def paired(db: sqlite3.Connection, channel: str, account: str) -> list[sqlite3.Row]:
    """Those who were let in: external_id, role, changed_at, name; the oldest first."""
    return db.execute(
        "SELECT p.external_id, p.role, p.changed_at, coalesce(u.name, '') AS name FROM paired AS p"
        " LEFT JOIN identities AS i USING (channel, external_id)"
        " LEFT JOIN users AS u ON u.id = i.user_id"
        " WHERE p.channel = ? AND p.account = ? ORDER BY p.changed_at",
        (channel, account),
    ).fetchall()


def let_group_in(db: sqlite3.Connection, place: Place, team: Team, now: float) -> None:
    """Answer a group from now on."""
    db.execute(
        "INSERT OR REPLACE INTO allowed_groups VALUES (?, ?, ?, ?, ?, ?)",
        (place.channel, place.account, place.chat, team.title, team.members, now),
    )


def put_group_out(db: sqlite3.Connection, place: Place) -> bool:
    """Answer a group no more; False if no row said that it is."""
    return bool(
        db.execute(
            "DELETE FROM allowed_groups WHERE channel = ? AND account = ? AND chat = ?",
            (place.channel, place.account, place.chat),
        ).rowcount
    )


def allowed_groups(db: sqlite3.Connection, channel: str, account: str) -> list[tuple[str, Team]]:
    """The groups that the owner has allowed by a button, by their chats; the oldest first."""
    rows = db.execute(
        "SELECT chat, title, members FROM allowed_groups WHERE channel = ? AND account = ?"
        " ORDER BY changed_at",
        (channel, account),
    )
    return [(row["chat"], Team(row["title"], row["members"])) for row in rows.fetchall()]


def rule(db: sqlite3.Connection, place: Place, answer: str, now: float) -> None:
    """The owner's word on whom a group is answered."""
    db.execute(
        "INSERT INTO group_rules VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " answer = excluded.answer, changed_at = excluded.changed_at",
        (place.channel, place.account, place.chat, answer, now),
    )


def keep_admins(db: sqlite3.Connection, place: Place, ids: Collection[int], now: float) -> None:
    db.execute(
        "INSERT INTO group_admins VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " ids = excluded.ids, asked_at = excluded.asked_at",
        (place.channel, place.account, place.chat, json.dumps(sorted(ids)), now),
    )


def move(db: sqlite3.Connection, old: Place, new_chat: str) -> None:
    """A group goes by another id: what was said about it holds on."""
    where = old.channel, old.account, old.chat
    if old.chat == new_chat:
        return
    db.execute("INSERT OR REPLACE INTO moves VALUES (?, ?, ?, ?)", (*where, new_chat))
    for table in OF_CHATS:
        db.execute(
            f"UPDATE OR IGNORE {table} SET chat = ? WHERE channel = ? AND account = ? AND chat = ?",
            (new_chat, *where),
        )


def has_moved(db: sqlite3.Connection, place: Place) -> bool:
    """Whether a group goes by another id now."""
    row = db.execute(
        "SELECT 1 FROM moves WHERE channel = ? AND account = ? AND chat = ?",
        (place.channel, place.account, place.chat),
    )
    return row.fetchone() is not None


def align(db: sqlite3.Connection, channel: str, account: str, listed: Mapping[str, str]) -> None:
    """Make the roles in `users` those of the configuration (`listed`: role, by id) and of rows.

    Who is in neither is a plain user, of groups that are answered.
    """
    known = {row["external_id"]: row["role"] for row in paired(db, channel, account)}
    wanted = {**known, **listed}
    rows = db.execute(
        "SELECT i.external_id, u.id, u.role FROM identities AS i"
        " JOIN users AS u ON u.id = i.user_id WHERE i.channel = ?",
        (channel,),
    ).fetchall()
    for external_id, user_id, role in rows:
        if (right := wanted.get(external_id, "user")) != role:
            db.execute("UPDATE users SET role = ? WHERE id = ?", (right, user_id))
