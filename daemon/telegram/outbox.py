"""The only place that sends to a chat: rows in, messages out, in order within each chat.

A destination with something to send has one task that claims its parts one after another; the
claim is committed before the request, and its outcome before the next claim. Destinations are side
by side, as many at once as there are connections. What to do after a failed request is decided in
`daemon.telegram.failure`.

A part may be a file, or several as an album; their bytes lie in the spool from before its row was
queued until it is over.

A request in flight is never cancelled: it is shielded until its own timeouts end it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import ExitStack
from typing import Any, NoReturn

import attrs
import trio
from attrs import Factory, define

from daemon import log
from daemon.spool import Spool
from daemon.store import outbox as rows
from daemon.store import sending
from daemon.store.db import Database
from daemon.store.outbox import Destination
from daemon.store.sending import Part
from daemon.store.values import Place
from daemon.telegram import media, outcomes, rich
from daemon.telegram.api import CONNECTIONS, Ambiguous, ApiError, NotSent, Refused
from daemon.telegram.failure import (
    Again,
    AsMessage,
    GiveUp,
    Move,
    OneByOne,
    after_failure,
    backoff,
    is_gone,
    is_harmless,
)
from daemon.telegram.outcomes import Claimed, Failed, Record, Sent
from daemon.telegram.pace import Pace
from daemon.telegram.parts import units
from daemon.telegram.previews import Fate, Preview, Previews
from daemon.telegram.render import label, shifted
from daemon.telegram.upload import Attached, Upload

TIDY_SECONDS = 5.0  # for one removal, on a disk that hangs
SILENCE_SECONDS = 5.0  # between questions to a Telegram that does not answer
SWEEP_SECONDS = 600.0  # between searches for parts too old to send unasked

# Methods whose parameters do not name a chat, or name a message of it and so no topic.
UNADDRESSED = frozenset({"answerCallbackQuery"})
THREADLESS = frozenset({"editMessageText", "deleteMessage", "setMessageReaction"})

# Connections that previews leave alone.
KEPT_FOR_ROWS = CONNECTIONS // 2

_log = log.get("outbox")


# --- The sender ---


def nobody_waits(_turn_id: int | None) -> None:
    """Nobody keeps appointments here."""


@define
class Outbox:
    """Sends the rows of `daemon.store.outbox` through `call`, a method of the Bot API client.

    `over` is told the turn of each part of an appointment that a request was made for, and None
    when parts of whatever turns have ended without one.
    """

    database: Database
    boot: str
    call: Callable[..., Awaitable[Any]]
    spool: Spool
    pace: Pace = Factory(Pace)
    over: Callable[[int | None], None] = nobody_waits
    _previews: Previews = Factory(
        lambda self: Previews(self.database, self.call, self.pace), takes_self=True
    )
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

    def discard(self, files: Collection[str]) -> None:
        """Remove files of rows that have ended. Never blocks; without a running outbox, they stay.

        Then the next start removes them.
        """
        if files and self._nursery is not None:
            self._nursery.start_soon(self._remove, files)

    async def run(self, *, task_status: trio.TaskStatus[Any]) -> NoReturn:
        """Send for ever; what an earlier run left in flight is in doubt."""
        await self._remove(await self.database.write(sending.recover))
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
        await self.database.write(sending.forget_refused_token)
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

    async def preview(self, preview: Preview) -> Fate | Refused:
        """Show something without a row, unless a row comes first: `daemon.telegram.previews`."""
        to = rows.destination_of(preview.place)
        free = self._places.available_tokens > KEPT_FOR_ROWS and not self._closing.is_set()
        if not free or to in self._active or to in self._previews:
            return Fate.LATER
        self._places.acquire_on_behalf_of_nowait(preview)
        try:
            return await self._previews.show(to, preview)
        finally:
            self._places.release_on_behalf_of(preview)

    def _hurry(self) -> None:
        self._hurried.set()
        self._hurried = trio.Event()

    async def _sweep_for_ever(self) -> NoReturn:
        while True:
            for place, count, ref in await self.database.write(outcomes.fold_old, time.time()):
                _log.warning("old messages held back", chat=place.chat, count=count, ref=ref)
            await self._remove(await self.database.write(outcomes.drop_held, time.time()))
            self.over(None)
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
        await self._previews.clear(to)
        async with self._places:
            claimed: Claimed = await self._claim(to, careful=True)
            while isinstance(claimed, Part | sending.LastTry):
                if isinstance(claimed, sending.LastTry):
                    claimed = await self._claim_last(to)
                elif self._closing.is_set():
                    return await self.database.finish(sending.give_back, claimed.id)
                else:
                    claimed = await self._send(to, claimed)
            if isinstance(claimed, sending.Shut):
                _log.info("nothing can be sent there", chat=to.chat, why=claimed.why)
                self.over(None)
                await self._remove(claimed.files)
                return None
            return claimed

    async def _claim(self, to: Destination, *, careful: bool) -> Claimed:
        now = time.time()
        return await self.database.write(sending.claim_next, to, self.boot, now, careful=careful)

    async def _claim_last(self, to: Destination) -> Claimed:
        """Claim a part that another doubt would end, as soon as Telegram answers anything.

        Its failures come in rows: while it is down, a last try would be wasted.
        """
        try:
            await self.call("getMe", {})
        except (NotSent, Ambiguous) as error:
            _log.warning("Telegram does not answer", chat=to.chat, error=error)
            return time.time() + SILENCE_SECONDS
        except ApiError:
            pass  # that is an answer
        return await self._claim(to, careful=False)

    async def _send(self, to: Destination, part: Part) -> Claimed:
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
            claimed = await self.database.finish(
                outcomes.record_and_claim, record, to, boot, time.time()
            )
            if part.awaited:
                self.over(part.turn_id)
            await self._tidy(part)
            if isinstance(record, Failed) and isinstance(record.decision, Move):
                self.wake(attrs.evolve(part.place, chat=record.decision.chat))
            return claimed
        return None  # `close` cut the flight off: this destination is done

    async def _request(self, part: Part) -> Record:
        if part.is_void:
            return Sent(part.id, None)
        params = address(part, time.time())
        self.pace.note(rows.destination_of(part.place), trio.current_time())
        try:
            if part.file is None:
                result = await self.call(part.method, params)
            else:
                result = await self._call_with_files(part, params)
        except ApiError as error:
            return self._failure(part, error)
        except FileNotFoundError:
            _log.error("a file is gone", chat=part.place.chat, part=part.id)
            return Failed(part, OneByOne() if part.more else GiveUp(), "its bytes are gone")
        except OSError as error:
            # Too many open files, or a disk in trouble. The bytes are there: it may pass.
            _log.error("a file cannot be read", chat=part.place.chat, error=error)
            again = Again(backoff(part.attempts))
            return Failed(part, again, f"its file cannot be read: {error.strerror}")
        return Sent(part.id, _message_id(result))

    async def _call_with_files(self, part: Part, params: dict[str, Any]) -> Any:  # noqa: ANN401
        upload = Upload(())
        with ExitStack() as opened:
            try:
                names = media.parameters(part.method, len(part.files))
                for name, kept in zip(names, part.files, strict=True):
                    file = await trio.to_thread.run_sync(self.spool.open, kept.key)
                    opened.enter_context(file)
                    upload.files += (Attached(name, kept.name, file),)
                return await self.call(part.method, params, upload=upload)
            except trio.Cancelled:
                # `close` does not wait for it. There is no doubt before the last byte.
                if not upload.is_handed_over:
                    # It has a shield and a deadline of its own.
                    await self.database.finish(sending.give_back, part.id)  # noqa: ASYNC102
                raise

    async def _tidy(self, part: Part) -> None:
        """Remove the files of a part that is over; a kill before that leaves them to the sweep."""
        if part.file is None:
            return
        # Cancelled here, we would forget the part that is claimed already.
        with trio.move_on_after(TIDY_SECONDS, shield=True):
            if await self.database.read(rows.is_over, part.id):
                await self._remove([kept.key for kept in part.files])

    async def _remove(self, files: Collection[str]) -> None:
        """Remove files that no row will send any more; the next start does what we cannot."""
        if not files:
            return
        try:
            await trio.to_thread.run_sync(self.spool.remove, files)
        except OSError as error:
            _log.error("a file could not be removed", error=error)

    def _failure(self, part: Part, error: ApiError) -> Record:
        gone = part.edits is not None and is_gone(part.method, error)
        if is_harmless(part.method, error, part.attempts) or (gone and not part.in_place):
            return Sent(part.id, part.target)  # a question that was deleted needs no outcome
        decision = after_failure(error, part.attempts, part.method, part.cuts)
        if gone and isinstance(decision, GiveUp):
            decision = AsMessage()
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
    if part.method not in UNADDRESSED and "chat_id" not in params:
        params["chat_id"] = int(part.place.chat)
        if part.place.topic and part.method not in THREADLESS:
            params["message_thread_id"] = int(part.place.topic)
    if part.target is not None:
        params["message_id"] = int(part.target)
        params.pop("reply_parameters", None)  # the message shows already what it answers
    line = label(doubts=part.doubts, about=part.about, asked_at=part.asked_at, now=now)
    if "text" in params and part.method in {"sendMessage", "editMessageText"}:
        return params | labelled(params, line, "text", "entities")
    if part.method == rich.METHOD and line:
        markdown = f"{rich.literally(line.rstrip())}\n\n{params['rich_message']['markdown']}"
        return params | {"rich_message": {"markdown": markdown}}
    if part.method == media.ALBUM:
        first, *others = params["media"]
        return params | {"media": [_below(first, line), *others]}
    return _below(params, line) if part.method in media.FIELDS else params


def _below(item: dict[str, Any], line: str) -> dict[str, Any]:
    """A file with its labels, which are its caption or the beginning of it."""
    if not line:
        return item
    with_line = item | labelled(item, line, "caption", "caption_entities")
    return with_line | {"caption": with_line["caption"].rstrip()}


def labelled(params: dict[str, Any], line: str, text: str, entities: str) -> dict[str, Any]:
    """The text with a line in front of it, and its entities where they are then."""
    marks = shifted(params.get(entities, ()), units(line))
    return {text: line + params.get(text, ""), **({entities: marks} if marks else {})}


def _message_id(result: object) -> str | None:
    """The number of a message that was sent; of an album's, the first."""
    if isinstance(result, list) and result:
        result = result[0]
    number = result.get("message_id") if isinstance(result, dict) else None
    return None if number is None else str(number)
