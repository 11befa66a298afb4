"""The bytes of what turns show: kept in the spool, read back for a run, removed after the turn."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import trio
from attrs import evolve

from agent.context import Spoken
from agent.transcript import Assistant, Entry, View
from daemon import log
from daemon.spool import Spool
from daemon.store import views
from daemon.store.db import Database

LOST = "[What was shown here is lost: its file is gone from the spool.]"
# Seconds that a turn waits for the removal of its files; the next start does it, too.
CLEANING = 5.0

_log = log.get("turn")


def keep(spool: Spool, shown: Iterable[View]) -> tuple[View, ...]:
    """Put the bytes on the disk, in a thread. Raises OSError or SpoolFull, and leaves nothing."""
    kept: list[View] = []
    try:
        for view in shown:
            kept.append(evolve(view, key=spool.keep(view.data)))  # noqa: PERF401  (see below)
    except BaseException:
        discard(spool, [view.key for view in kept])
        raise
    return tuple(kept)


def discard(spool: Spool, keys: Collection[str]) -> bool:
    """Remove files, in a thread; False if that could not be done, and is left to the next start."""
    try:
        spool.remove(keys)
    except OSError as error:
        _log.error("files of the spool could not be removed", error=error)
        return False
    return True


def loaded(spool: Spool, entries: Iterable[Spoken]) -> tuple[Spoken, ...]:
    """The entries with the bytes of what they show, in a thread."""
    return tuple(_loaded(spool, entry) for entry in entries)


def any_in(entries: Iterable[Entry]) -> bool:
    """Whether the entries show something."""
    return any(not isinstance(entry, Assistant) and entry.shown for entry in entries)


def _loaded(spool: Spool, entry: Spoken) -> Spoken:
    if isinstance(entry, Assistant) or not entry.shown:
        return entry
    found = tuple(_read(spool, entry.shown))
    text = entry.text if len(found) == len(entry.shown) else f"{entry.text}\n{LOST}"
    return evolve(entry, text=text, shown=found)


def _read(spool: Spool, shown: Iterable[View]) -> Iterator[View]:
    """Those that are there: a turn goes on without a picture rather than not at all."""
    for view in shown:
        try:
            with spool.open(view.key) as file:
                yield evolve(view, data=file.read())
        except OSError as error:
            _log.error("what was shown cannot be read", error=error)


async def tidy(database: Database, spool: Spool) -> None:
    """Remove what turns have shown that have ended; a kill before that leaves it to the start."""
    with trio.move_on_after(CLEANING, shield=True):
        keys = await database.read(views.over)
        removed = bool(keys) and await trio.to_thread.run_sync(discard, spool, keys)
        if removed:
            await database.write(views.forget, keys)
