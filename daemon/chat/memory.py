"""Keeps what a chat's memory files say as rows, read anew only when the workspace has changed.

The executor holds the files, and may be busy with a job of the same chat, or not be there. A turn
waits for it for `PATIENCE` at most; then the last known texts serve, the snapshot says from when
they are, and the log says it once.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterable
from typing import Protocol

import trio
from attrs import define

from agent import memory
from agent.text import clean
from daemon import log
from daemon.store import memory as rows
from daemon.store.db import Database
from daemon.store.memory import Found, Kept, Known
from daemon.store.values import Address
from executor.errors import ExecutorUnavailable, FileRefused, NoWorkspace
from executor.file_client import Done
from executor.file_values import Content, Info, Listing

# Seconds that a turn waits for the files; a look takes some milliseconds. A chat of which nothing
# is known yet has hardly anything to wait for, while an executor may be just starting.
PATIENCE = 2.0
PATIENCE_AT_FIRST = 0.5
BATCH = 20  # files that are kept at once, so that a look that was cut short has not been in vain

_log = log.get("memory")


class Files(Protocol):
    """The files of a workspace: `executor.client.FileClient`."""

    async def glob(self, pattern: str, path: str = "") -> Done[Listing]: ...

    async def read(self, path: str, offset: int = 0, limit: int = ...) -> Done[Content]: ...


@define
class MemoryKeeper:
    """Has the memory of every chat; `files` opens the files of a workspace by its key."""

    database: Database
    files: Callable[[str], Files]
    _unread: bool = False  # the last look failed: it was said, and is not said again

    async def texts(self, address: Address, today: dt.date) -> tuple[dict[str, str], str]:
        """The memory that is shown, as new as can be had, and a remark if that is not new."""
        why = await self.refresh(address, today)
        texts = await self.database.read(rows.texts, address, memory.shown(today))
        return texts, await self._remark(address) if why else ""

    async def refresh(self, address: Address, today: dt.date) -> str:
        """Bring the rows up to date with the files; gives why that could not be done, or ''."""
        known = await self.database.read(rows.known, address)
        why = "they could not be read in time"
        with trio.move_on_after(PATIENCE_AT_FIRST if known.revision is None else PATIENCE):
            why = await self._look(address, today, known)
        self._tell(why)
        return why

    async def _look(self, address: Address, today: dt.date, known: Known) -> str:
        try:
            await self._compare(address, self.files(address.workspace), today, known)
        except NoWorkspace:
            # Before the first file, or since the owner has discarded it with all that it held.
            if known.times or known.revision is not None:
                await self.database.write(rows.forget, address)
        except (ExecutorUnavailable, FileRefused) as error:
            return error.cause
        return ""

    async def _compare(self, address: Address, files: Files, today: dt.date, known: Known) -> None:
        first, *others = memory.patterns(today)
        listing = await files.glob(first)
        revision = listing.revision
        if revision == known.revision:
            return
        entries = list(listing.value.entries)
        for pattern in others:
            entries += (await files.glob(pattern)).value.entries
        await self._take(address, files, known, _Look(revision, entries))

    async def _take(self, address: Address, files: Files, known: Known, look: _Look) -> None:
        """Read what has changed, and keep it in batches; the last one says that it is all."""
        changed = look.changed(known)
        for start in range(0, len(changed), BATCH):
            texts = await _texts(files, changed[start : start + BATCH])
            await self._keep(address, Found(look.revision, texts, ()), complete=False)
        await self._keep(address, Found(look.revision, {}, look.gone(known)), complete=True)
        _log.debug("memory read", files=len(look.entries), changed=len(changed))

    async def _keep(self, address: Address, found: Found, *, complete: bool) -> None:
        if complete or found.changed:
            await self.database.write(rows.keep, address, found, time.time(), complete=complete)

    async def _remark(self, address: Address) -> str:
        known = await self.database.read(rows.known, address)
        return f"(The files cannot be read now; {_since(known)}.)"

    def _tell(self, why: str) -> None:
        if why and not self._unread:
            _log.warning("memory files cannot be read; the last known text serves", why=why)
        self._unread = bool(why)


@define
class _Look:
    """One look at a workspace: its revision, and the memory files that there are."""

    revision: int
    entries: list[Info]

    def changed(self, known: Known) -> list[Info]:
        return [each for each in self._files() if known.times.get(each.path) != each.modified]

    def gone(self, known: Known) -> list[str]:
        there = {each.path for each in self._files()}
        return [path for path in known.times if path not in there]

    def _files(self) -> list[Info]:
        return [e for e in self.entries if e.kind == "file" and memory.is_memory(e.path)]


async def _texts(files: Files, infos: Iterable[Info]) -> dict[str, Kept]:
    """The files as they are now. One that is refused (a job has linked it, say) costs no other."""
    found = {}
    for info in infos:
        try:
            found[info.path] = await _text(files, info)
        except NoWorkspace:
            raise
        except FileRefused as error:
            _log.debug("a memory file is left as it was known", file=info.path, why=error.cause)
    return found


async def _text(files: Files, info: Info) -> Kept:
    content = (await files.read(info.path, limit=memory.FILE_CHARS)).value
    text = content.data.decode("utf-8", "replace").replace("\0", "")  # which some providers refuse
    return Kept(clean(text), info.modified)


def _since(known: Known) -> str:
    if known.revision is None:
        return "nothing is known"
    at = dt.datetime.fromtimestamp(known.seen_at, dt.UTC)
    return f"this is what was known at {at:%Y-%m-%d %H:%M} UTC"
