"""Brings the files that came with messages from Telegram into the workspaces of their chats.

Each file is a row, and each step is in the row before or after it is made, see
`daemon.store.attachments`: a try is counted, its bytes are in the spool, the name in the workspace
is chosen, the file is there. A new process, or a new run of this task, goes on from the rows. The
turn waits meanwhile, by a row as well; the transaction that settles its last file lets it go on.

A few files are fetched side by side. They are put into a workspace one at a time, so that no two
choose the same name; a workspace in which a job runs holds up its own files alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import BinaryIO, NoReturn

import trio
from attrs import Factory, define, evolve, field

from daemon import log
from daemon.chat import filenames, filenotes, learning, views
from daemon.chat.learning import Senses
from daemon.spool import Spool, SpoolFull
from daemon.store import attachments, journal
from daemon.store.attachments import Attachment, Settled, unfetched
from daemon.store.db import Database
from daemon.store.turnrow import TurnRow
from daemon.telegram.api import ApiError, BotApi
from daemon.telegram.download import (
    MOST_BYTES,
    Unfetchable,
    download,
    retry_delay,
    too_large,
)
from executor.client import ExecutorUnavailable, FileClient, FileRefused

AT_ONCE = 4  # files; more of them would only share the line
PIECE = 256 * 1024
# Tries and seconds for an executor that is just being started by somebody else.
PLACING_TRIES, PLACING_DELAY = 2, 0.5
FAR = 60.0  # seconds between looks at the clock, which may have been changed
CLEANING = 5.0  # seconds for the removal of one file; the next start does it, too

NO_ROOM = "there is no room for it until files that wait to be sent have gone"
UNKEPT = "the disk did not take it; the log says why"
BROKEN = "it came broken"
LOST = "its bytes are gone from the spool"

_log = log.get("fetch")


@define
class Fetcher:
    """Fetches for one bot. `files` opens a workspace; `changed` is told of turns that may go on.

    `wake` is called when there are new rows; it never blocks.
    """

    database: Database
    api: BotApi
    spool: Spool
    files: Callable[[str], FileClient]
    changed: Callable[[TurnRow], None]
    senses: Senses
    _at_work: set[int] = Factory(set)
    _places: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(AT_ONCE))
    _placing: dict[str, trio.Lock] = Factory(dict)  # by workspace
    _woken: trio.Event = Factory(trio.Event)

    def wake(self) -> None:
        """There are files to fetch, or one is done with."""
        self._woken.set()
        self._woken = trio.Event()

    async def run(self) -> NoReturn:
        """Fetch for ever, what an earlier run has left first."""
        self._at_work = set()
        async with trio.open_nursery() as nursery:
            while True:
                woken = self._woken
                wait = self._start_what_is_due(nursery, await self._pending())
                with trio.move_on_after(wait):
                    await woken.wait()

    async def _pending(self) -> list[Attachment]:
        return await self.database.read(attachments.pending, frozenset(self._at_work))

    def _start_what_is_due(self, nursery: trio.Nursery, pending: list[Attachment]) -> float:
        """Begin with the files whose time has come; seconds to the next look."""
        now, wait = time.time(), FAR if len(pending) < attachments.MOST_PENDING else 0.0
        for each in pending:
            if each.not_before <= now or each.over:
                self._at_work.add(each.id)
                nursery.start_soon(self._attend_to, each)
            else:
                return min(FAR, each.not_before - now)  # the others are due later still
        return wait

    async def _attend_to(self, each: Attachment) -> None:
        """Take a file as far as it comes now."""
        if each.over:
            await self._clean(each)
        else:
            await self._bring(each)
        self._at_work.discard(each.id)
        self.wake()

    async def _bring(self, each: Attachment) -> None:
        found = await self.database.write(attachments.begin, each.id)
        if found.attempts > attachments.MAX_ATTEMPTS and not found.over:
            await self._settle(found, unfetched(found.told, attachments.TOO_OFTEN))
            return
        if not found.over and found.key is None:
            async with self._places:
                found = await self._fetch(found)
        if found.over or found.key is None or found.behind:
            return  # a file before it will wake us when it has its name
        await self._place(found)

    # --- From Telegram into the spool ---

    async def _fetch(self, found: Attachment) -> Attachment:
        """One try; the row as it then stands."""
        try:
            if found.size is not None and found.size > MOST_BYTES:
                raise Unfetchable(too_large(found.size))  # noqa: TRY301  (before it is asked for)
            fetched = await download(self.api, self.spool, found.file_id)
        except Unfetchable as why:
            await self._settle(found, unfetched(found.told, str(why)))
        except ApiError as error:
            await self._try_again(found, error)
        except SpoolFull:
            await self._settle(found, unfetched(found.told, NO_ROOM))
        except OSError as error:
            _log.error("a file could not be kept", error=error)
            await self._settle(found, unfetched(found.told, UNKEPT))
        else:
            await self._kept(found, fetched.key, fetched.size)
        return await self.database.read(attachments.get, found.id)

    async def _kept(self, found: Attachment, key: str, size: int) -> None:
        """The bytes are there; a turn that has not waited for them leaves them to nobody."""
        if not await self.database.finish(attachments.spooled, found.id, key, size):
            await self._discard(key)
        _log.info("file fetched", attachment=found.id, kind=found.kind, size=size)

    async def _try_again(self, found: Attachment, error: ApiError) -> None:
        delay = retry_delay(error, found.attempts)
        if delay is None or found.attempts >= attachments.MAX_ATTEMPTS:
            why = BROKEN if delay is None else f"Telegram could not be had ({error})"
            await self._settle(found, unfetched(found.told, why))
            return
        _log.warning("fetching failed", attachment=found.id, error=str(error), retry_in=delay)
        until = time.time() + delay
        await self.database.finish(attachments.postpone, found.id, until, str(error))

    # --- From the spool into the workspace ---

    async def _place(self, found: Attachment) -> None:
        path, why = "", ""
        try:
            path = await self._put(found)
        except ExecutorUnavailable as error:
            if found.attempts + 1 < PLACING_TRIES:
                until = time.time() + PLACING_DELAY
                await self.database.finish(attachments.postpone, found.id, until, str(error))
                return
            why = error.cause
        except FileRefused as refusal:
            why = refusal.cause
        except OSError as error:
            _log.error("a file of the spool cannot be read", error=error)
            await self._settle(found, unfetched(found.told, LOST))
            return
        await self._learn(found, path, why)

    async def _learn(self, found: Attachment, path: str, why: str) -> None:
        """Show the file to the model, which is told where it lies, or why nowhere."""
        name = PurePosixPath(path).name if path else filenames.plain_name(found.name)
        learnt = await learning.learn(self.spool, evolve(found, name=name), self.senses)
        if path:
            note = filenotes.placed(found.told, path, learnt)
        else:
            note = filenotes.unplaced(found.told, why, learnt)
        shown = () if learnt.view is None else (learnt.view,)
        state = "placed" if path else "failed"
        await self._settle(found, Settled(state, note, why or None, shown))

    async def _put(self, found: Attachment) -> str:
        """Put the file under the name that was chosen for it, or choose one."""
        address = await self.database.read(journal.read_address, found.turn_id)
        files = self.files(address.workspace)
        async with self._placing.setdefault(address.workspace, trio.Lock()):
            path = found.path or await self._choose(files, found)
            file = await trio.to_thread.run_sync(self.spool.open, found.key or "")
            with file:
                await files.put(path, _pieces(file))
        return path

    async def _choose(self, files: FileClient, found: Attachment) -> str:
        """Take the first name that nothing has, and say so in the row."""
        for path in filenames.paths(found.name):
            if await _is_free(files, path) and await self.database.write(
                attachments.choose, found.id, path
            ):
                return path
        raise FileRefused("too many files have its name", "remove some of them")

    # --- The end ---

    async def _settle(self, found: Attachment, settled: Settled) -> None:
        """End a file's way; its turn goes on if it was the last."""
        turn = await self.database.finish(attachments.settle, found.id, settled, time.time())
        _log.info("file settled", attachment=found.id, state=settled.state, error=settled.error)
        if turn is not None:
            self.changed(turn)

    async def _clean(self, over: Attachment) -> None:
        """Remove the bytes of a settled file. What cannot be, the next start tries again."""
        if over.key is not None:
            await self._discard(over.key)
            await self.database.finish(attachments.forget, over.key)

    async def _discard(self, key: str) -> None:
        with trio.move_on_after(CLEANING, shield=True):
            await trio.to_thread.run_sync(views.discard, self.spool, [key])


async def _is_free(files: FileClient, path: str) -> bool:
    """Whether nothing has this name. What cannot be looked at, the putting will be told of."""
    try:
        await files.stat(path)
    except FileRefused:
        return True
    return False


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    """A file that was just written, so that reading it does not wait for the disk."""
    while piece := file.read(PIECE):
        yield piece
