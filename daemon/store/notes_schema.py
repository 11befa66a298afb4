"""The tables of what a chat remembers, and the one full-text index over all of it.

A *home* is where memory belongs: an agent in a chat (agent_id, channel, account, chat), whatever
the topic and whoever speaks. A group's notes are the group's, and no private chat's are read there.

`passages` indexes what was said (by people and in answers, not the work of tools), notes and
memory files. It is contentless: the texts stay where they are, and only an index is added. Its
rowid is three times the id in the table that the text is from, plus that table's number. Its
column `home` holds one word, the letter of that table and the home in hex, so that a search walks
through the index of its own chat alone, however much the others have said.

Triggers keep it in step. From a contentless index a row is taken out by saying again what was put
in, to the letter. So they are AFTER triggers, which fire only for what has really happened (an
UPDATE OR IGNORE runs the others for rows that it then leaves), and the three tables are never
written by INSERT OR REPLACE, which fires no trigger for the row that it replaces.
"""

from __future__ import annotations

from typing import Final

MESSAGE, NOTE, FILE = "m", "n", "f"  # the letters of the tables; the place is the number
KINDS: Final = (MESSAGE, NOTE, FILE)


def row_of(kind: str) -> str:
    """SQL for the id of the row of a kind's table that a passage is; NULL if it is another's."""
    return (
        f"CASE passages.rowid % {len(KINDS)} WHEN {KINDS.index(kind)}"
        f" THEN passages.rowid / {len(KINDS)} END"
    )


TABLES = (
    """CREATE TABLE notes (
        id INTEGER PRIMARY KEY,
        agent_id TEXT NOT NULL REFERENCES agents (id),
        channel TEXT NOT NULL,
        account TEXT NOT NULL,
        chat TEXT NOT NULL,
        key TEXT NOT NULL,                 -- the title without regard to case
        title TEXT NOT NULL,
        text TEXT NOT NULL,
        created_at REAL NOT NULL,
        updated_at REAL NOT NULL,
        expires_at REAL,                   -- NULL: never
        UNIQUE (channel, account, chat, agent_id, key)   -- the chat first, since chats move
    ) STRICT""",
    "CREATE INDEX notes_expiring ON notes (expires_at) WHERE expires_at IS NOT NULL",
    # What the memory files of a workspace said when they were last read. The id is there because
    # VACUUM gives new rowids to a table that has no such column, and the index knows rows by them.
    """CREATE TABLE memory_files (
        agent_id TEXT NOT NULL REFERENCES agents (id),
        channel TEXT NOT NULL,
        account TEXT NOT NULL,
        chat TEXT NOT NULL,
        path TEXT NOT NULL,
        text TEXT NOT NULL,
        revision INTEGER NOT NULL,         -- the workspace's, when it was read
        modified REAL NOT NULL,            -- the file's own time
        id INTEGER PRIMARY KEY,
        UNIQUE (agent_id, channel, account, chat, path)
    ) STRICT""",
    """CREATE VIRTUAL TABLE passages USING fts5 (
        home, text, content='', tokenize='unicode61 remove_diacritics 2'
    )""",
    # Turns before this id are out of context, too; unlike /new, it begins no new conversation.
    "ALTER TABLE sessions ADD COLUMN trimmed_before INTEGER NOT NULL DEFAULT 0",
)


def _home(kind: str, row: str) -> str:
    """SQL for the word in `passages.home`; `daemon.store.fts.home_word` makes the same one."""
    hexed = (f"hex({row}.{column})" for column in ("agent_id", "channel", "account", "chat"))
    return f"'{kind}' || " + " || 'x' || ".join(hexed)


def _passage(kind: str, row: str, home: str, text: str) -> str:
    return f"{row}.id * {len(KINDS)} + {KINDS.index(kind)}, {_home(kind, home)}, {text}"


def _put(passage: str, source: str = "") -> str:
    return f"INSERT INTO passages (rowid, home, text) SELECT {passage}{source}"


def _take(passage: str, source: str = "") -> str:
    return f"INSERT INTO passages (passages, rowid, home, text) SELECT 'delete', {passage}{source}"


def _on(name: str, event: str, *writes: str, when: str = "") -> str:
    condition = f" WHEN {when}" if when else ""
    return f"CREATE TRIGGER {name} AFTER {event}{condition} BEGIN {'; '.join(writes)}; END"


def _triggers(table: str, kind: str, text: str) -> tuple[str, ...]:
    """Keep a table of homes in step; `text` is SQL for what is indexed of the row `{0}`."""
    put = _put(_passage(kind, "new", "new", text.format("new")))
    take = _take(_passage(kind, "old", "old", text.format("old")))
    return (
        _on(f"{table}_put", f"INSERT ON {table}", put),
        _on(f"{table}_taken", f"DELETE ON {table}", take),
        _on(f"{table}_changed", f"UPDATE ON {table}", take, put),
    )


NOTE_TEXT = "{0}.title || char(10) || {0}.text"

# --- What was said: of a session's own turns, for a child turn's is not said in the chat ---


def _of_message(row: str) -> tuple[str, str]:
    source = (
        " FROM turns AS t JOIN sessions AS s ON s.id = t.session_id"
        f" WHERE t.id = {row}.turn_id AND t.lane = s.id AND {_is_said(row)}"
    )
    return _passage(MESSAGE, row, "s", f"{row}.content"), source


def _of_session(row: str) -> tuple[str, str]:
    source = (
        f" FROM turns AS t JOIN messages AS m ON m.turn_id = t.id WHERE t.session_id = {row}.id"
        f" AND t.lane = {row}.id AND {_is_said('m')}"
    )
    return _passage(MESSAGE, "m", row, "m.content"), source


def _is_said(row: str) -> str:
    return f"{row}.role <> 'tool' AND {row}.content <> ''"


SAID = (
    # The condition is in what is put as well; here it spares the results of tools the rest.
    _on("messages_put", "INSERT ON messages", _put(*_of_message("new")), when=_is_said("new")),
    _on("messages_taken", "DELETE ON messages", _take(*_of_message("old"))),
    # One trigger for both: of two it is not said which comes first.
    _on(
        "messages_changed",
        "UPDATE ON messages",
        _take(*_of_message("old")),
        _put(*_of_message("new")),
    ),
    # A group that became a supergroup has another id, and all that was said in it belongs there.
    _on(
        "sessions_moved",
        "UPDATE OF agent_id, channel, account, chat ON sessions",
        _take(*_of_session("old")),
        _put(*_of_session("new")),
    ),
)

# What was said before there was an index.
BACKFILL = _put(
    _passage(MESSAGE, "m", "s", "m.content"),
    " FROM messages AS m JOIN turns AS t ON t.id = m.turn_id"
    f" JOIN sessions AS s ON s.id = t.session_id WHERE t.lane = s.id AND {_is_said('m')}",
)

NOTES = (
    *TABLES,
    *_triggers("notes", NOTE, NOTE_TEXT),
    *_triggers("memory_files", FILE, "{0}.text"),
    *SAID,
    BACKFILL,
)
