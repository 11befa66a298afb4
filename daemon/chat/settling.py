"""Has the messages that asked something say what became of it.

However a question ends (a button, a command, the console, time, the end of its turn), its row is
what ends it; here every row whose message still asks is found and its message edited, in the same
transaction. So no caller has to know of messages, and a restart finds what is left to be told.
"""

from __future__ import annotations

import sqlite3

from daemon.chat.questions import answered, decided
from daemon.store import approvals, outbox, questions
from daemon.store.values import Place
from daemon.telegram.render import PART_UNITS, plain


def settle(db: sqlite3.Connection, now: float) -> list[Place]:
    """Queue the edits that are due; returns where."""
    told: list[Place] = []
    for over in approvals.take_closed(db):
        outbox.amend(db, over.place, over.message, decided(over), now)
        told.append(over.place)
    for closed in questions.take_closed(db):
        text = plain(answered(closed), PART_UNITS)[0]
        outbox.amend(db, closed.place, closed.message, {"text": text}, now)
        told.append(closed.place)
    return told
