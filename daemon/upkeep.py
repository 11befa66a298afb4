"""What is thrown away because nobody asks for it any more: old rows, and files in the spool."""

from __future__ import annotations

import time
from typing import NoReturn

import trio

from daemon import log
from daemon.spool import Spool
from daemon.store import attachments, buttons, inbox, jobs, notes, outbox, overheard, sayings, views
from daemon.store.db import Database

PRUNE_SECONDS = 3600.0

_log = log.get("upkeep")


async def run(database: Database) -> NoReturn:
    """Forget what nobody can ask about any more."""
    while True:
        updates = await database.write(inbox.prune, time.time())
        parts = await database.write(outbox.prune, time.time())
        expired = await database.write(notes.prune, time.time())
        pressed = await database.write(buttons.prune, time.time())
        heard = await database.write(overheard.prune, time.time())
        await database.write(sayings.prune, time.time())
        while await database.write(jobs.prune, time.time()) == jobs.MOST_PRUNED:
            await trio.lowlevel.checkpoint()
        _log.debug(
            "pruned",
            inbox=updates,
            outbox=parts,
            notes=expired,
            buttons=pressed,
            overheard=heard,
        )
        await trio.sleep(PRUNE_SECONDS)


async def sweep_spool(database: Database, spool: Spool) -> None:
    """Remove what a kill left in the spool. Before all who put things there."""
    named = await database.read(outbox.files) | await database.read(views.files)
    named |= await database.read(attachments.files)
    try:
        removed = await trio.to_thread.run_sync(spool.sweep, named)
    except OSError as error:
        # What lies there too long is no reason to answer nobody.
        _log.error("the spool could not be swept", error=error)
        return
    if removed:
        _log.info("files that nobody waits for removed", count=removed)
