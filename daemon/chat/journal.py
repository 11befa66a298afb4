"""The agent's journal, kept in our database: one turn, one object, every method a transaction."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import trio
from attrs import define, field, frozen

from agent.ports import Opening, ToolOutcome, TurnLost
from agent.text import clean
from agent.transcript import Answer, ToolCall
from daemon import log
from daemon.sizes import human
from daemon.spool import Spool, SpoolFull
from daemon.store import journal as rows
from daemon.store import money, outbox, turns
from daemon.store.db import Database
from daemon.store.values import Address, Claim, Place
from daemon.telegram import media
from daemon.telegram.render import split_text

T = TypeVar("T")

WORDLESS = "The answer has no words in it."
UNKEPT = "the disk did not take it; the log says why"
CROWDED = "too many files wait to be sent already; try again when they have arrived"

_log = log.get("turn")


def text_drafts(text: str) -> list[outbox.Draft]:
    """The messages that show `text` in a chat; never none, since somebody waits for them."""
    quiet = {"link_preview_options": {"is_disabled": True}}
    parts = split_text(text) or [WORDLESS]
    return [outbox.Draft("sendMessage", {"text": part, **quiet}) for part in parts]


@frozen
class Ending:
    """How a turn ended, and the words with which it did; `error` is None for an answer."""

    outcome: str
    answer: Answer
    ran_seconds: float
    model_call: int | None = None
    error: str | None = None


@frozen
class Finish:
    """How a tool call ended: its text, whether it failed, and its files for the chat."""

    text: str
    failed: bool
    drafts: tuple[outbox.Draft, ...]

    @property
    def keys(self) -> list[str]:
        return [draft.file for draft in self.drafts if draft.file is not None]


def _keep_files(spool: Spool, outcome: ToolOutcome) -> Finish:
    """Put the files on the disk; the text says which are sent as what, and why others are not."""
    sent, unsent, drafts = [], [], []
    for file in outcome.files:
        name = media.safe_name(file.name)
        try:
            draft = _keep(spool, name, file.data)
        except _NotKept as why:
            unsent.append(f"[not sent: {name}: {why}]")
        else:
            drafts.append(draft)
            picture = draft.method == media.PHOTO
            sent.append(f"{name} ({'picture' if picture else human(len(file.data))})")
    notes = [f"[sent to the chat: {', '.join(sent)}]"] if sent else []
    text = "\n".join([outcome.text, *notes, *unsent])
    return Finish(clean(text), outcome.failed, tuple(drafts))


class _NotKept(Exception):
    """Why a file does not go to the chat, for the model."""


def _keep(spool: Spool, name: str, data: bytes) -> outbox.Draft:
    if problem := media.refusal(data):
        raise _NotKept(problem)
    try:
        key = spool.keep(data)
    except SpoolFull:
        _log.warning("no room for another file", waiting=human(spool.most_bytes))
        raise _NotKept(CROWDED) from None
    except OSError as error:
        _log.error("a file could not be kept", error=error)
        raise _NotKept(UNKEPT) from None
    return outbox.Draft(media.method_for(data), {}, key, name)


@define
class TurnJournal:
    """Implements `agent.ports.Journal` for the turn `turn_id` in this boot.

    `on_queued` is told the place where an answer or a file was queued, after the commit. Files
    of a tool are in the `spool` before the transaction that queues them.
    """

    database: Database
    turn_id: int
    boot: str
    model: str
    on_queued: Callable[[Place], None]
    spool: Spool
    address: Address | None = None
    conversation: str = ""
    _claimed: bool = False
    _seen: int = 0
    _begun: float = field(factory=trio.current_time)

    async def load(self) -> Opening:
        pages = await self.database.read(rows.read_pages, self.turn_id)
        self.address, self.conversation = pages.address, pages.conversation
        self._seen = pages.last_message
        log.bind(chat=self.address.place.chat)
        return Opening(pages.history, pages.turn, pages.ran_seconds)

    async def intend_model_call(self, reserved_tokens: int) -> int:
        return await self._step(
            self.database.write,
            _intend_model_call,
            self._address(),
            self.model,
            reserved_tokens,
        )

    async def answered(self, model_call: int, answer: Answer) -> tuple[ToolCall, ...]:
        calls: tuple[ToolCall, ...] = await self._step(
            self.database.finish, _keep_answer, model_call, answer
        )
        _log.debug("model answered", calls=len(calls), tokens=answer.usage.completion_tokens)
        return calls

    async def concluded(self, model_call: int, answer: Answer) -> None:
        await self._end(Ending("answered", answer, self._ran(), model_call))

    async def failed(self, sentence: str, *, model_call: int | None = None, error: str) -> None:
        _log.warning("turn failed", error=error)
        answer = Answer(f"{sentence} (id {self._address().ref})")
        await self._end(Ending("failed", answer, self._ran(), model_call, error))

    async def _end(self, ending: Ending) -> None:
        await self._step(self.database.finish, _end, self._address(), ending)
        _log.info("turn ended", outcome=ending.outcome, seconds=ending.ran_seconds)
        self.on_queued(self._address().place)

    async def intend_tool_call(self, call: ToolCall) -> None:
        await self._step(self.database.write, rows.intend_tool_call, call.id)
        _log.debug("tool begun", job=call.id, tool=call.request.name)

    async def tool_finished(self, call: ToolCall, outcome: ToolOutcome) -> str:
        # No deadline for the files: a thread in fsync cannot be stopped. `finish` has its own.
        with trio.CancelScope(shield=True):
            kept = await trio.to_thread.run_sync(_keep_files, self.spool, outcome)
            try:
                await self._step(
                    self.database.finish, _finish_tool_call, self._address(), call, kept
                )
            except BaseException:
                # Removing a few files; the shield is the one above.
                await trio.to_thread.run_sync(self.spool.remove, kept.keys)  # noqa: ASYNC102
                raise
        _log.debug("tool ended", job=call.id, failed=kept.failed, files=len(kept.drafts))
        if kept.drafts:
            self.on_queued(self._address().place)
        return kept.text

    async def released(self) -> None:
        await self.database.finish(rows.release, self._claim(), self._ran())

    def _address(self) -> Address:
        assert self.address is not None  # noqa: S101  (a turn is loaded before it is stepped)
        return self.address

    def _ran(self) -> float:
        return trio.current_time() - self._begun

    def _claim(self) -> Claim:
        return Claim(self.turn_id, self.boot, first=not self._claimed, seen=self._seen)

    async def _step(
        self,
        how: Callable[..., Awaitable[T]],
        fn: Callable[..., T],
        *args: object,
        **kwargs: object,
    ) -> T:
        """Commit one step; `how` decides whether cancellation may still prevent it."""
        try:
            result = await how(fn, self._claim(), *args, now=time.time(), **kwargs)
        except rows.NotOurs as error:
            raise TurnLost from error
        self._claimed = True
        return result


# --- Transactions ---


def _intend_model_call(  # noqa: PLR0913  (a row has as many columns as it has)
    db: sqlite3.Connection, claim: Claim, address: Address, model: str, tokens: int, now: float
) -> int:
    rows.hold(db, claim, now)
    return money.intend(db, claim, address, model, tokens, now)


def _keep_answer(
    db: sqlite3.Connection, claim: Claim, model_call: int, answer: Answer, now: float
) -> tuple[ToolCall, ...]:
    rows.hold(db, claim, now)
    money.settle(db, model_call, answer, None, now)
    return rows.add_answer(db, claim.turn_id, answer, now)


def _finish_tool_call(  # noqa: PLR0913  (one of them is the clock)
    db: sqlite3.Connection,
    claim: Claim,
    address: Address,
    call: ToolCall,
    finish: Finish,
    now: float,
) -> None:
    """Keep the result, and queue the files: before the answer, since that is queued later."""
    rows.finish_tool_call(db, claim, call.id, finish.text, now, failed=finish.failed)
    if finish.drafts:
        _enqueue(db, claim, address, finish.drafts, now)


def _enqueue(
    db: sqlite3.Connection,
    claim: Claim,
    address: Address,
    drafts: Sequence[outbox.Draft],
    now: float,
) -> None:
    outbox.enqueue(
        db,
        address.place,
        drafts,
        now,
        turn_id=claim.turn_id,
        about=address.about,
        asked_at=address.asked_at,
    )


def _end(
    db: sqlite3.Connection, claim: Claim, address: Address, ending: Ending, now: float
) -> None:
    """End the turn, keep its last words after the results of all its calls, and queue them."""
    rows.hold(db, claim, now)
    if ending.model_call is not None:
        answered = ending.answer if ending.error is None else None
        money.settle(db, ending.model_call, answered, ending.error, now)
    turns.end(
        db, claim.turn_id, ending.outcome, now, error=ending.error, ran_seconds=ending.ran_seconds
    )
    rows.add_answer(db, claim.turn_id, ending.answer, now)
    _enqueue(db, claim, address, text_drafts(ending.answer.text), now)
