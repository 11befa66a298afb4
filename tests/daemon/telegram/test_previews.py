"""Previews: the least of what is sent, and never after the answer."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from daemon.spool import Spool
from daemon.store import outbox as rows
from daemon.store import people, previews, turns
from daemon.store.db import Database
from daemon.store.outbox import Draft, destination_of
from daemon.store.values import Place
from daemon.telegram.api import CONNECTIONS, NotSent, Refused, TooMany
from daemon.telegram.outbox import Outbox
from daemon.telegram.previews import ACTION, EDIT, Fate, Preview

HERE = Place("telegram", "42", "1")
GROUP = Place("telegram", "42", "-5", "7")


class Server:
    """Answers every method, after `hold` is let go for those in it, or with an error."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.ended: list[str] = []
        self.holds: dict[str, trio.Event] = {}
        self.errors: dict[str, Exception] = {}
        self.begun = trio.Event()
        self.more = trio.Event()

    async def reached(self, count: int) -> None:
        """Wait until there were so many calls."""
        while len(self.calls) < count:
            await self.more.wait()

    async def __call__(self, method: str, params: dict[str, Any], **_kw: Any) -> Any:
        self.calls.append((method, params))
        self.begun.set()
        self.more.set()
        self.more = trio.Event()
        try:
            if method in self.holds:
                await self.holds[method].wait()
            await trio.lowlevel.checkpoint()
            if method in self.errors:
                raise self.errors[method]
        finally:
            self.ended.append(method)
        return {"message_id": len(self.calls)}

    @property
    def methods(self) -> list[str]:
        return [method for method, _ in self.calls]


@asynccontextmanager
async def sending(database: Database, boot: str, server: Server) -> AsyncIterator[Outbox]:
    sender = Outbox(database, boot, server, Spool(database.path.parent / "spool"))
    async with trio.open_nursery() as nursery:
        await nursery.start(sender.run)
        yield sender
        nursery.cancel_scope.cancel()


async def running_turn(database: Database, boot: str, place: Place = HERE) -> int:
    def make(db: Any) -> int:
        session = people.ensure_session(db, place, 0.0)
        turn = turns.create(db, session, text="x", asked_at=0.0, now=0.0)
        db.execute("UPDATE turns SET state = 'running', boot = ? WHERE id = ?", (boot, turn.id))
        return turn.id

    return await database.write(make)


def draft(turn: int, place: Place = HERE) -> Preview:
    return Preview(place, turn, "sendMessageDraft", {"draft_id": 9, "text": "so far"})


async def conclude(database: Database, sender: Outbox, turn: int, place: Place = HERE) -> None:
    """End the turn with its answer, as its journal does."""

    def end(db: Any) -> None:
        now = time.time()
        turns.end(db, turn, "answered", now)
        drafts = previews.in_place(db, turn, [Draft("sendMessage", {"text": "the answer"})])
        rows.enqueue(db, place, drafts, now, turn_id=turn)

    await database.write(end)
    sender.wake(place)


async def drained(sender: Outbox) -> None:
    while sender._active:
        await sender._landed.wait()


async def test_a_draft_says_where_it_belongs(database: Database, boot: str) -> None:
    """The address is put to it, with the topic."""
    place, server = Place("telegram", "42", "1", "7"), Server()
    turn = await running_turn(database, boot, place)
    async with sending(database, boot, server) as sender:
        assert await sender.preview(draft(turn, place)) is Fate.SHOWN
    where = {"chat_id": 1, "message_thread_id": 7}
    assert server.calls == [("sendMessageDraft", {**where, "draft_id": 9, "text": "so far"})]


async def test_nothing_is_shown_after_the_answer(database: Database, boot: str) -> None:
    """A turn that has ended in its rows is not shown any more, whoever still asks for it."""
    server = Server()
    turn = await running_turn(database, boot)
    async with sending(database, boot, server) as sender:
        await conclude(database, sender, turn)
        await drained(sender)
        assert await sender.preview(draft(turn)) is Fate.OVER
    assert server.methods == ["sendMessage"]


async def test_nothing_is_shown_while_a_row_waits(database: Database, boot: str) -> None:
    """A row that is queued, or on its way, comes first."""
    server = Server()
    server.holds["sendMessage"] = trio.Event()
    turn = await running_turn(database, boot)
    async with sending(database, boot, server) as sender:
        await database.write(rows.enqueue, HERE, [Draft("sendMessage", {"text": "a"})], time.time())
        assert await sender.preview(draft(turn)) is Fate.LATER
        sender.wake(HERE)
        await server.begun.wait()
        assert await sender.preview(draft(turn)) is Fate.LATER
        server.holds["sendMessage"].set()
        await drained(sender)
        assert await sender.preview(draft(turn)) is Fate.SHOWN
    assert server.methods == ["sendMessage", "sendMessageDraft"]


async def test_an_answer_waits_for_a_draft_for_a_moment_only(database: Database, boot: str) -> None:
    """A draft whose request hangs is cut off, and then the answer is sent."""
    server = Server()
    server.holds["sendMessageDraft"] = trio.Event()
    turn = await running_turn(database, boot)
    fates: list[object] = []
    async with sending(database, boot, server) as sender, trio.open_nursery() as nursery:

        async def show() -> None:
            fates.append(await sender.preview(draft(turn)))

        nursery.start_soon(show)
        await server.begun.wait()
        began = trio.current_time()
        await conclude(database, sender, turn)
        await drained(sender)
        assert trio.current_time() - began < 2.0
    assert (server.ended, fates) == (["sendMessageDraft", "sendMessage"], [Fate.LATER])


async def test_an_answer_waits_for_an_edit_to_its_end(database: Database, boot: str) -> None:
    """A late edit would stand in the answer's place, so it is never overtaken."""
    server = Server()
    turn = await running_turn(database, boot, GROUP)
    async with sending(database, boot, server) as sender, trio.open_nursery() as nursery:
        await database.write(previews.begin, GROUP, turn, {"text": "so"}, time.time())
        sender.wake(GROUP)
        await drained(sender)
        hold = server.holds[EDIT] = trio.Event()
        server.begun = trio.Event()
        nursery.start_soon(sender.preview, Preview(GROUP, turn, EDIT, {"text": "so far"}))
        await server.begun.wait()
        await conclude(database, sender, turn, GROUP)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert server.methods == ["sendMessage", EDIT]
        hold.set()
        await drained(sender)
    assert server.calls[1:] == [
        (EDIT, {"chat_id": -5, "message_id": 1, "text": "so far"}),
        (EDIT, {"chat_id": -5, "message_id": 1, "text": "the answer"}),
    ]
    assert sender.pace.open_at(destination_of(GROUP)) > 0


async def test_there_is_no_edit_without_a_message(database: Database, boot: str) -> None:
    """Before there is a placeholder, and while it is on its way, nothing is changed."""
    server = Server()
    turn = await running_turn(database, boot, GROUP)
    edit = Preview(GROUP, turn, EDIT, {"text": "so far"})
    async with sending(database, boot, server) as sender:
        assert await sender.preview(edit) is Fate.GONE
        await database.write(previews.begin, GROUP, turn, {"text": "so"}, time.time())
        assert await sender.preview(edit) is Fate.LATER
    assert server.calls == []


async def test_a_chat_that_says_too_many_is_left_alone(database: Database, boot: str) -> None:
    """A 429 drops the preview, and holds for answers as well, since Telegram demands it."""
    server = Server()
    server.errors["sendMessageDraft"] = TooMany(30.0)
    turn = await running_turn(database, boot)
    async with sending(database, boot, server) as sender:
        assert await sender.preview(draft(turn)) is Fate.LATER
        assert await sender.preview(draft(turn)) is Fate.LATER
        assert server.methods == ["sendMessageDraft"], "the second was not tried"
        seen = await database.read(previews.look, destination_of(HERE), turn)
        assert 25.0 < seen.not_before - time.time() <= 30.0


@pytest.mark.parametrize(
    ("error", "fate"),
    [
        (NotSent("no route"), Fate.LATER),
        (Refused(400, "Bad Request: message is not modified"), Fate.SHOWN),
    ],
)
async def test_what_goes_wrong_with_a_preview_is_forgotten(
    database: Database, boot: str, error: Exception, fate: Fate
) -> None:
    """It leaves no row and no wait behind."""
    server = Server()
    server.errors["sendMessageDraft"] = error
    turn = await running_turn(database, boot)
    async with sending(database, boot, server) as sender:
        assert await sender.preview(draft(turn)) is fate
        assert (await database.read(previews.look, destination_of(HERE), turn)).not_before == 0.0


async def test_a_refusal_is_handed_back(database: Database, boot: str) -> None:
    """Whoever shows it decides what is not tried again."""
    server = Server()
    server.errors["sendMessageDraft"] = Refused(400, "Bad Request: no such thing")
    turn = await running_turn(database, boot)
    async with sending(database, boot, server) as sender:
        assert await sender.preview(draft(turn)) is server.errors["sendMessageDraft"]


async def test_previews_leave_connections_for_answers(database: Database, boot: str) -> None:
    """However many chats are shown something, half of the connections stay free."""
    server = Server()
    server.holds["sendMessageDraft"] = trio.Event()
    places = [Place("telegram", "42", str(chat)) for chat in range(1, CONNECTIONS + 1)]
    shown = [draft(await running_turn(database, boot, place), place) for place in places]
    fates: list[object] = []

    async def show(preview: Preview) -> None:
        fates.append(await sender.preview(preview))

    async with sending(database, boot, server) as sender, trio.open_nursery() as nursery:
        for preview in shown:
            nursery.start_soon(show, preview)
        await server.reached(CONNECTIONS // 2)
        assert fates == [Fate.LATER] * (CONNECTIONS // 2)
        last = places[-1]
        await database.write(rows.enqueue, last, [Draft("sendMessage", {"text": "a"})], time.time())
        sender.wake(last)
        await drained(sender)
        assert server.methods.count("sendMessage") == 1
        server.holds["sendMessageDraft"].set()
    assert len(server.calls) == CONNECTIONS // 2 + 1


async def test_an_action_does_not_count_as_a_message(database: Database, boot: str) -> None:
    """After "typing" a draft can be shown at once."""
    server = Server()
    turn = await running_turn(database, boot)
    async with sending(database, boot, server) as sender:
        assert await sender.preview(Preview(HERE, turn, ACTION, {"action": "typing"})) is Fate.SHOWN
        assert sender.pace.open_at(destination_of(HERE)) == 0.0
        await sender.preview(draft(turn))
        assert sender.pace.open_at(destination_of(HERE)) > trio.current_time()


async def test_a_child_is_shown_only_while_somebody_waits_for_it(
    database: Database, boot: str
) -> None:
    """A task in the background is nobody's business until it is done."""
    server = Server()
    turn = await running_turn(database, boot)
    await database.write(
        lambda db: db.execute("UPDATE turns SET cause = 'child' WHERE id = ?", (turn,)).rowcount
    )
    async with sending(database, boot, server) as sender:
        assert await sender.preview(Preview(HERE, turn, ACTION, {"action": "typing"})) is Fate.OVER
    assert server.calls == []
