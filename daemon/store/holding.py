"""Messages that waited too long to be sent unasked: set aside, shown if asked for, or dropped."""

from __future__ import annotations

import sqlite3

from attrs import evolve

from daemon.store.outbox import DUE, TROUBLE, destination_of, requeue
from daemon.store.outbox_files import WIDTH, keys
from daemon.store.sending import failed
from daemon.store.values import Place

# What a chat shows as messages of their own.
MESSAGES = (
    "sendMessage",
    "sendRichMessage",
    "sendPhoto",
    "sendDocument",
    "sendAnimation",
    "sendVideo",
    "sendVoice",
    "sendAudio",
    "sendMediaGroup",
)
HOLD_AFTER = 48 * 3600.0  # seconds; older parts are folded into one line and a button
KEEP_HELD = 14 * 86400.0  # seconds from its queueing, as long as its button; a file takes room


def hold_old(db: sqlite3.Connection, now: float) -> list[tuple[Place, int, str]]:
    """Set aside the messages that waited longer than `HOLD_AFTER`.

    Returns for each place (where, how many, the name by which `show_held` brings them back).
    """
    rows = db.execute(
        "SELECT id, channel, account, chat, topic, ref FROM outbox INDEXED BY outbox_due"
        f" WHERE {DUE} AND state = 'queued' AND created_at < ? AND stands_for IS NULL"
        f" AND method IN ({', '.join('?' * len(MESSAGES))})",
        (now - HOLD_AFTER, *MESSAGES),
    ).fetchall()
    db.executemany("UPDATE outbox SET state = 'held' WHERE id = ?", [(row[0],) for row in rows])
    refs: dict[Place, list[str]] = {}
    for row in rows:
        refs.setdefault(Place(*row[1:5]), []).append(row[5])
    return [(place, len(held), held[0]) for place, held in refs.items()]


def show_held(db: sqlite3.Connection, place: Place, ref: str, now: float) -> int:
    """Queue the parts that are held in the place where `ref` is held; returns how many."""
    rows = db.execute(
        f"SELECT id, {WIDTH} FROM outbox INDEXED BY outbox_trouble"
        f" WHERE {TROUBLE} AND state = 'held' AND channel = ?1 AND account = ?2 AND chat = ?3"
        " AND topic = (SELECT topic FROM outbox WHERE ref = ?4 AND chat = ?3) ORDER BY seq",
        (place.channel, place.account, place.chat, ref),
    ).fetchall()
    requeue(db, [tuple(row) for row in rows], destination_of(place))
    # They wait from now on, or the next look would hold them again.
    db.executemany("UPDATE outbox SET created_at = ? WHERE id = ?", [(now, r[0]) for r in rows])
    return len(rows)


def move(db: sqlite3.Connection, old: Place, new_chat: str) -> None:
    """Keep what is held of a group under the id that it has now, where its button asks for it."""
    rows = db.execute(
        f"SELECT id, {WIDTH} FROM outbox INDEXED BY outbox_trouble WHERE {TROUBLE}"
        " AND state = 'held' AND channel = ? AND account = ? AND chat = ? ORDER BY seq",
        (old.channel, old.account, old.chat),
    ).fetchall()
    requeue(db, [tuple(row) for row in rows], destination_of(evolve(old, chat=new_chat)), "held")


def drop_held(db: sqlite3.Connection, now: float) -> list[tuple[Place, int, list[str]]]:
    """End the parts that are held and were queued before `KEEP_HELD`: their button is over, too.

    Returns for each place how many, and the keys of the files, which nobody will send any more.
    """
    rows = db.execute(
        "SELECT id, channel, account, chat, topic, file, more_files"
        " FROM outbox INDEXED BY outbox_trouble"
        f" WHERE {TROUBLE} AND state = 'held' AND created_at < ?",
        (now - KEEP_HELD,),
    ).fetchall()
    places: dict[Place, list[sqlite3.Row]] = {}
    for row in rows:
        failed(db, row["id"], "held back for too long, and nobody asked to see it")
        places.setdefault(Place(*row[1:5]), []).append(row)
    return [
        (place, len(held), keys([row[5:7] for row in held if row["file"] is not None]))
        for place, held in places.items()
    ]
