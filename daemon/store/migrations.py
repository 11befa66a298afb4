"""The schema, as a list of steps that each file takes once.

A step is a function that receives a sqlite-utils database; its name is its identity, so a step
is never renamed or edited after a release: the next change is the next function. sqlite-utils
keeps the record of what was applied. It takes 80 ms to import, so a file that is already up to
date is recognised with plain SQL and never loads it.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.store.admission import ALLOWED_GROUPS, GROUPS
from daemon.store.approvals import LASTING
from daemon.store.attachments import ATTACHMENTS
from daemon.store.buttons import BUTTONS
from daemon.store.cookies import COOKIES
from daemon.store.forgetting import FORGETTING
from daemon.store.grants import GRANTS
from daemon.store.jobs import JOBS
from daemon.store.memory import MIND
from daemon.store.notes_schema import NOTES
from daemon.store.occurrences import OCCURRENCES
from daemon.store.outbox import EDITS, ONE_EDIT
from daemon.store.outbox_files import ALBUMS
from daemon.store.overheard import PIECES
from daemon.store.previews import LIVE
from daemon.store.questions import QUESTIONS
from daemon.store.reach import LANES
from daemon.store.sayings import SAYINGS
from daemon.store.schema import ASKING, CUTS, FILES, FIRST, MOVED, RICH
from daemon.store.settings import SETTINGS
from daemon.store.spending_schema import SPENDING
from daemon.store.views import VIEWS

if TYPE_CHECKING:
    from sqlite_utils import Database

MIGRATION_SET = "famulus"


class NewerSchema(Exception):
    """The file was written by a later version of this program."""


def first(db: Database) -> None:
    """Everything that the first release keeps."""
    for statement in FIRST:
        db.execute(statement)


def files(db: Database) -> None:
    """Pictures and files in the outbox, named by their rows."""
    for statement in FILES:
        db.execute(statement)


def cuts(db: Database) -> None:
    """Uploads that broke off, counted in the outbox."""
    for statement in CUTS:
        db.execute(statement)


def asking(db: Database) -> None:
    """Approvals, turns that other turns begin, and heartbeats."""
    for statement in ASKING:
        db.execute(statement)


def notes(db: Database) -> None:
    """Notes, the text of memory files, and one index over them and all that was said."""
    for statement in NOTES:
        db.execute(statement)


def spending(db: Database) -> None:
    """Costs, budgets by agent, and summaries of conversations."""
    for statement in SPENDING:
        db.execute(statement)


def mind(db: Database) -> None:
    """What is known of memory files, and the snapshots of them that prompts show."""
    for statement in MIND:
        db.execute(statement)


def session_cookies(db: Database) -> None:
    """The cookies by which model providers know our sessions again."""
    for statement in COOKIES:
        db.execute(statement)


def lanes(db: Database) -> None:
    """Turns found by their lane."""
    for statement in LANES:
        db.execute(statement)


def moved_workspaces(db: Database) -> None:
    """Files that a chat which gets another id takes along."""
    for statement in MOVED:
        db.execute(statement)


def views(db: Database) -> None:
    """Pictures and documents that turns show their models."""
    for statement in VIEWS:
        db.execute(statement)


def albums(db: Database) -> None:
    """Several files in one part of the outbox."""
    for statement in ALBUMS:
        db.execute(statement)


def buttons(db: Database) -> None:
    """Buttons below messages, what they ask and allow, and what a chat chooses with them."""
    for statement in (*BUTTONS, *QUESTIONS, *LASTING, *GRANTS, *SETTINGS, *FORGETTING, *EDITS):
        db.execute(statement)


def inputs(db: Database) -> None:
    """Files on their way from the network into the workspace, and which message is which."""
    for statement in (*ATTACHMENTS, *SAYINGS):
        db.execute(statement)


def groups(db: Database) -> None:
    """Roles, pairing, rules of groups, and chats that cannot be written to."""
    for statement in GROUPS:
        db.execute(statement)


def live_answers(db: Database) -> None:
    """Messages that show an answer before it is there, and those that take their place."""
    for statement in LIVE:
        db.execute(statement)


def rich(db: Database) -> None:
    """Plain messages kept beside a rich one."""
    for statement in RICH:
        db.execute(statement)


def one_edit(db: Database) -> None:
    """One column for all that changes the message of another row."""
    for statement in ONE_EDIT:
        db.execute(statement)


def allowed_groups(db: Database) -> None:
    """Groups that the owner has allowed in the chat, and albums that were overheard."""
    for statement in (*ALLOWED_GROUPS, *PIECES):
        db.execute(statement)


def appointments(db: Database) -> None:
    """Scheduled prompts, and what became of each of their times."""
    for statement in (*JOBS, *OCCURRENCES):
        db.execute(statement)


STEPS = (
    first,
    files,
    cuts,
    asking,
    notes,
    spending,
    mind,
    session_cookies,
    lanes,
    moved_workspaces,
    views,
    buttons,
    inputs,
    groups,
    albums,
    live_answers,
    rich,
    one_edit,
    allowed_groups,
    appointments,
)


def bring_up_to_date(path: Path) -> None:
    """Apply the steps that the file at `path` lacks. Raises NewerSchema, sqlite3.DatabaseError."""
    # The file is made here, private from its first moment: it will hold conversations.
    path.touch(mode=0o600)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        names = [step.__name__ for step in STEPS]
        applied = _applied(connection)
        unknown = [name for name in applied if name not in names]
        if unknown:
            raise NewerSchema(f"it holds the step {unknown[0]!r}, which this version does not know")
        if applied != names:
            _apply(connection)


def _applied(connection: sqlite3.Connection) -> list[str]:
    known = connection.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '_sqlite_migrations'"
    ).fetchone()
    if not known:
        return []
    rows = connection.execute(
        "SELECT name FROM _sqlite_migrations WHERE migration_set = ? ORDER BY id", (MIGRATION_SET,)
    )
    return [row[0] for row in rows.fetchall()]


def _apply(connection: sqlite3.Connection) -> None:
    from sqlite_utils import Database, Migrations  # noqa: PLC0415  (80 ms, once in a file's life)

    steps = Migrations(MIGRATION_SET)
    for step in STEPS:
        steps()(step)
    steps.apply(Database(connection))
