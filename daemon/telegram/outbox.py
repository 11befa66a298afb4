"""The only place that sends to a chat: rows in, messages out, in order within each chat.

A destination with something to send has one task that claims its parts one after another; the
claim is committed before the request, and its outcome before the next claim. Destinations are side
by side, as many at once as there are connections. What to do after a failed request is decided in
`daemon.telegram.failure`.

A part may be a file; its bytes lie in the spool from before its row was queued until it is over.

A request in flight is never cancelled: it is shielded until its own timeouts end it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any, NoReturn, TypeAlias

import attrs
import trio
from attrs import Factory, define, frozen

from daemon import log
from daemon.spool import Spool
from daemon.store import outbox as rows
from daemon.store import people
from daemon.store.db import Database
from daemon.store.outbox import Destination, Draft, Part
from daemon.store.values import Place
from daemon.telegram import media
from daemon.telegram.api import CONNECTIONS, ApiError
from daemon.telegram.failure import (
    Again,
    AsDocument,
    Decision,
    Doubt,
    GiveUp,
    Move,
    after_failure,
    backoff,
    is_harmless,
)
from daemon.telegram.render import label
from daemon.telegram.upload import Upload

TIDY_SECONDS = 5.0  # for one removal, on a disk that hangs
SWEEP_SECONDS = 600.0  # between searches for parts too old to send unasked

# What the button under a line about old messages sends back, before the name of what is held.
SHOW_HELD = "show:"

# Methods whose parameters do not name a chat.
UNADDRESSED = frozenset({"answerCallbackQuery"})

_log = log.get("outbox")


# --- The sender ---


@define
class Outbox:
    """Sends the rows of `daemon.store.outbox` through `call`, a method of the Bot API client."""

    database: Database
    boot: str
    call: Callable[..., Awaitable[Any]]
    spool: Spool
    _active: set[Destination] = Factory(set)
    _again: set[Destination] = Factory(set)
    _flights: set[trio.CancelScope] = Factory(set)
    _places: trio.CapacityLimiter = Factory(lambda: trio.CapacityLimiter(CONNECTIONS))
    _nursery: trio.Nursery | None = None
    _closing: trio.Event = Factory(trio.Event)
    _hurried: trio.Event = Factory(trio.Event)  # those that wait for a time look again
    _landed: trio.Event = Factory(trio.Event)

    def wake(self, place: Place) -> None:
        """Something was queued for `place`. Never blocks; without a running outbox, it waits."""
        self._start(rows.destination_of(place))

    async def run(self, *, task_status: trio.TaskStatus[Any]) -> NoReturn:
        """Send for ever; what an earlier run left in flight is in doubt."""
        await self._remove(await self.database.write(rows.recover))
        self._active.clear()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            try:
                await self._sweep_for_ever()
            finally:
                self._nursery = None
        raise AssertionError  # the sweep has no end

    async def resume(self) -> None:
        """Send at once what waits because the token was refused: there is a new one."""
        await self.database.write(rows.forget_refused_token)
        self._hurry()

    async def close(self, grace: float) -> None:
        """Begin no further send, and wait `grace` seconds at most for those in flight.

        One that takes longer is cut off, and will be in doubt at the next start.
        """
        self._closing.set()
        self._hurry()
        with trio.move_on_after(grace):
            while self._active:
                await self._landed.wait()
        for flight in self._flights:
            flight.cancel()

    def _hurry(self) -> None:
        self._hurried.set()
        self._hurried = trio.Event()

    async def _sweep_for_ever(self) -> NoReturn:
        while True:
            for place, count, ref in await self.database.write(_fold_old, time.time()):
                _log.warning("old messages held back", chat=place.chat, count=count, ref=ref)
            await self._remove(await self.database.write(_drop_held, time.time()))
            for to in await self.database.read(rows.due):
                self._start(to)
            await trio.sleep(SWEEP_SECONDS)

    def _start(self, to: Destination) -> None:
        if self._nursery is None or self._closing.is_set():
            return
        if to in self._active:
            self._again.add(to)
            return
        self._active.add(to)
        self._nursery.start_soon(self._drain, to)

    async def _drain(self, to: Destination) -> None:
        """Send what waits for one destination, until nothing does."""
        try:
            while not self._closing.is_set():
                not_before = await self._send_some(to)
                if not_before is None:
                    break
                with trio.move_on_after(max(0.0, not_before - time.time())):
                    await self._hurried.wait()
        finally:
            self._active.discard(to)
            self._landed.set()
            self._landed = trio.Event()
        if to in self._again:
            # Queued while the last look at the rows was on its way back.
            self._again.discard(to)
            self._start(to)

    async def _send_some(self, to: Destination) -> float | None:
        """Send one part after the other; returns when to go on, None if nothing waits.

        A part is claimed with a place to send it from: one that only queued for a place when we
        were killed would be in doubt without need.
        """
        async with self._places:
            claimed = await self.database.write(rows.claim_next, to, self.boot, time.time())
            while isinstance(claimed, Part):
                if self._closing.is_set():
                    return await self.database.finish(rows.give_back, claimed.id)
                claimed = await self._send(to, claimed)
            return claimed

    async def _send(self, to: Destination, part: Part) -> Part | float | None:
        """Make the request and record its outcome; the claim of the next part rides along."""
        with trio.CancelScope(shield=True) as flight:
            self._flights.add(flight)
            try:
                record = await self._request(part)
            finally:
                self._flights.discard(flight)
            self._again.discard(to)
            others_wait = self._places.statistics().tasks_waiting
            boot = None if self._closing.is_set() or others_wait else self.boot
            claimed = await self.database.finish(_record_and_claim, record, to, boot, time.time())
            await self._tidy(part)
            if isinstance(record, Failed) and isinstance(record.decision, Move):
                self.wake(attrs.evolve(part.place, chat=record.decision.chat))
            return claimed
        return None  # `close` cut the flight off: this destination is done

    async def _request(self, part: Part) -> Record:
        params = address(part, time.time())
        try:
            if part.file is None:
                result = await self.call(part.method, params)
            else:
                result = await self._call_with_file(part, part.file, params)
        except ApiError as error:
            return self._failure(part, error)
        except FileNotFoundError:
            _log.error("a file is gone", chat=part.place.chat, file=part.file)
            return Failed(part, GiveUp(), "its bytes are gone")
        except OSError as error:
            # Too many open files, or a disk in trouble. The bytes are there: it may pass.
            _log.error("a file cannot be read", chat=part.place.chat, error=error)
            again = Again(backoff(part.attempts))
            return Failed(part, again, f"its file cannot be read: {error.strerror}")
        message_id = result.get("message_id") if isinstance(result, dict) else None
        return Sent(part.id, None if message_id is None else str(message_id))

    async def _call_with_file(self, part: Part, key: str, params: dict[str, Any]) -> Any:  # noqa: ANN401
        with await trio.to_thread.run_sync(self.spool.open, key) as file:
            upload = Upload(media.FIELDS[part.method], part.file_name, file)
            try:
                return await self.call(part.method, params, upload=upload)
            except trio.Cancelled:
                # `close` does not wait for it. There is no doubt before the last byte.
                if not upload.is_handed_over:
                    # It has a shield and a deadline of its own.
                    await self.database.finish(rows.give_back, part.id)  # noqa: ASYNC102
                raise

    async def _tidy(self, part: Part) -> None:
        """Remove the file of a part that is over; a kill before that leaves it to the sweep."""
        if part.file is None:
            return
        # Cancelled here, we would forget the part that is claimed already.
        with trio.move_on_after(TIDY_SECONDS, shield=True):
            if await self.database.read(rows.is_over, part.id):
                await self._remove([part.file])

    async def _remove(self, files: Collection[str]) -> None:
        """Remove files that no row will send any more; the next start does what we cannot."""
        if not files:
            return
        try:
            await trio.to_thread.run_sync(self.spool.remove, files)
        except OSError as error:
            _log.error("a file could not be removed", error=error)

    def _failure(self, part: Part, error: ApiError) -> Record:
        if is_harmless(part.method, error):
            return Sent(part.id, None)
        decision = after_failure(error, part.attempts, part.method, part.cuts)
        _log.warning(
            "send failed",
            chat=part.place.chat,
            method=part.method,
            error=error,
            then=type(decision).__name__,
        )
        return Failed(part, decision, str(error))


def address(part: Part, now: float) -> dict[str, Any]:
    """The parameters of a part's request: what was queued, its address, and its labels."""
    params = dict(part.params)
    if part.method not in UNADDRESSED:
        params["chat_id"] = int(part.place.chat)
        if part.place.topic:
            params["message_thread_id"] = int(part.place.topic)
    line = label(doubts=part.doubts, about=part.about, asked_at=part.asked_at, now=now)
    if "text" in params and part.method == "sendMessage":
        params["text"] = line + params["text"]
    elif part.method in media.FIELDS and line:
        params["caption"] = (line + params.get("caption", "")).rstrip()
    return params


# --- Transactions ---


@frozen
class Sent:
    part_id: int
    message_id: str | None


@frozen
class Failed:
    part: Part
    decision: Decision
    error: str


Record: TypeAlias = Sent | Failed


def _record_and_claim(
    db: sqlite3.Connection, record: Record, to: Destination, boot: str | None, now: float
) -> Part | float | None:
    """Record how a send ended, and claim the destination's next part.

    Without a `boot` nothing is claimed: the answer is that one may go on now.
    """
    match record:
        case Sent(part_id, message_id):
            rows.sent(db, part_id, message_id, now)
        case Failed(part, Again(delay, cut), error):
            rows.not_sent(db, part, now + delay, error, cut=cut)
        case Failed(part, Doubt(delay), error):
            rows.doubtful(db, part, now + delay, error)
        case Failed(part, AsDocument(), error):
            rows.as_document(db, part.id, error)
        case Failed(part, Move(chat), _) if chat != part.place.chat:
            _follow(db, part.place, chat)
        case Failed(part, _, error):
            rows.failed(db, part.id, error)
            _tell_of_refusal(db, part, error, now)
    return now if boot is None else rows.claim_next(db, to, boot, now)


def _tell_of_refusal(db: sqlite3.Connection, part: Part, error: str, now: float) -> None:
    """Tell the chat that a part of an answer is missing, unless the chat is what was refused."""
    if part.turn_id is not None and not error.startswith("403"):
        text = f"A part of my answer was refused by Telegram and is missing here: {error}"
        if part.file is not None:
            text = f"I could not send the file {part.file_name}: {error}"
        rows.enqueue(db, part.place, [Draft("sendMessage", {"text": text})], now)


def _follow(db: sqlite3.Connection, old: Place, chat: str) -> None:
    people.move_chat(db, old, chat)
    rows.move_chat(db, rows.destination_of(old), chat)


def _fold_old(db: sqlite3.Connection, now: float) -> list[tuple[Place, int, str]]:
    """Put one line with a button in the place of parts that waited for more than two days."""
    held = rows.hold_old(db, now)
    for place, count, ref in held:
        text = f"Held back, because I could not send for over two days: {count} message(s)."
        button = {"text": "Show", "callback_data": f"{SHOW_HELD}{ref}"}
        keyboard = {"inline_keyboard": [[button]]}
        params = {"text": text, "reply_markup": keyboard}
        rows.enqueue(db, place, [Draft("sendMessage", params)], now)
    return held


def _drop_held(db: sqlite3.Connection, now: float) -> list[str]:
    """End the files that were held back for too long, and say so; gives their keys."""
    keys = []
    for place, files in rows.drop_held(db, now):
        days = rows.KEEP_HELD // 86400
        text = f"Dropped, because nobody asked to see them for {days:g} days: {len(files)} file(s)."
        rows.enqueue(db, place, [Draft("sendMessage", {"text": text})], now)
        keys += files
    return keys
