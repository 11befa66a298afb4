"""The sender: every kind of failure touches only its own message, and order holds."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from daemon.chat.intake import CALLBACKS
from daemon.demo.botapi import BotApiServer
from daemon.demo.faults import Fault
from daemon.demo.servers import DemoServers
from daemon.spool import Spool
from daemon.store import closed, holding, people, turns
from daemon.store import outbox as rows
from daemon.store.db import Database
from daemon.store.outbox import Draft
from daemon.store.sending import MAX_WAIT, claim_next
from daemon.store.values import Place
from daemon.telegram import failure
from daemon.telegram import outbox as outbox_module
from daemon.telegram.api import (
    CONNECTIONS,
    Ambiguous,
    ApiError,
    BotApi,
    CutOff,
    NotSent,
    Refused,
    RefusedToken,
    ServerFailed,
    TooMany,
    open_api,
)
from daemon.telegram.failure import (
    LONGEST_BACKOFF,
    MAX_CUTS,
    TOKEN_BACKOFF,
    Again,
    Close,
    Doubt,
    GiveUp,
    Move,
    OutsideTopics,
    after_failure,
    is_harmless,
)
from daemon.telegram.outbox import Outbox
from daemon.telegram.render import MAYBE_TWICE


@pytest.mark.parametrize(
    ("error", "decision"),
    [
        (TooMany(7.0), Again(7.0)),
        (TooMany(1e9), Again(MAX_WAIT)),
        (RefusedToken(401, "Unauthorized"), Again(TOKEN_BACKOFF)),
        (Refused(400, "Bad Request: message text is empty"), GiveUp()),
        (Refused(403, "Forbidden: bot was blocked by the user"), Close("blocked")),
        (Refused(403, "Forbidden: bot was kicked from the supergroup chat"), Close("kicked")),
        (Refused(403, "Forbidden: bot is not a member of the channel chat"), Close("kicked")),
        (Refused(400, "Bad Request: not enough rights to send text messages"), Close("rights")),
        (Refused(400, "Bad Request: CHAT_WRITE_FORBIDDEN"), Close("rights")),
        (Refused(400, "Bad Request: not enough rights to send photos to the chat"), GiveUp()),
        (Refused(400, "Bad Request: chat not found"), Close("gone")),
        (Refused(400, "Bad Request: TOPIC_CLOSED"), OutsideTopics()),
        (Refused(400, "Bad Request: message thread not found"), OutsideTopics()),
        (Refused(400, "Bad Request: SLOWMODE_WAIT_30"), Again(30.0)),
        (Refused(400, "Bad Request: slow mode is enabled"), Again(60.0)),
        (Refused(400, "group upgraded", -1001), Move("-1001")),
        (NotSent("no route"), Again(0.5)),
        (ServerFailed("502"), Doubt(failure.DOUBT_BACKOFF)),
        (Ambiguous("cut"), Doubt(failure.DOUBT_BACKOFF)),
    ],
)
def test_the_phase_of_a_failure_decides(error: ApiError, decision: failure.Decision) -> None:
    assert after_failure(error, 1) == decision


def test_an_unreachable_network_is_tried_ever_less_often() -> None:
    delays = [after_failure(NotSent("x"), n) for n in range(1, 2000)]
    assert delays[:3] == [Again(0.5), Again(1.0), Again(2.0)]
    assert delays[-1] == Again(LONGEST_BACKOFF)


def test_an_edit_without_an_answer_is_repeated_ever_less_often() -> None:
    """It holds up what is behind it, so it is not asked for twice a second either."""
    delays = [after_failure(ServerFailed("500"), n, "editMessageText") for n in (1, 2, 3, 99)]
    assert delays == [Doubt(0.5), Doubt(1.0), Doubt(2.0), Doubt(LONGEST_BACKOFF)]


def test_a_request_that_is_cut_off_every_time_is_given_up() -> None:
    """The tries without a connection do not count: they say nothing about the line."""
    decisions = [after_failure(CutOff("x"), 1000, cuts=n) for n in range(MAX_CUTS)]
    again = Again(LONGEST_BACKOFF, cut=True)
    assert decisions == [*[again] * (MAX_CUTS - 1), GiveUp()]


@pytest.mark.parametrize(
    ("method", "description", "harmless"),
    [
        ("editMessageText", "Bad Request: message is not modified", True),
        ("editMessageText", "Bad Request: message to edit not found", False),
        ("setMessageReaction", "Bad Request: REACTION_INVALID", True),
        ("answerCallbackQuery", "Bad Request: query is too old", True),
        ("sendMessage", "Bad Request: chat not found", False),
    ],
)
def test_some_refusals_are_as_good_as_a_success(
    method: str, description: str, harmless: bool
) -> None:
    assert is_harmless(method, Refused(400, description)) is harmless
    assert not is_harmless(method, RefusedToken(401, "Unauthorized"))


CHATS = (1, 2, 3)


def place(chat: int) -> Place:
    return Place("telegram", "1000000001", str(chat))


async def say(database: Database, sender: Outbox, chat: int, *texts: str) -> None:
    drafts = [Draft("sendMessage", {"text": text}) for text in texts]
    await database.write(rows.enqueue, place(chat), drafts, time.time())
    sender.wake(place(chat))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failure, "DOUBT_BACKOFF", 0.01)


@asynccontextmanager
async def sending(
    database: Database, boot: str, call: Callable[[str, dict[str, Any]], Awaitable[Any]]
) -> AsyncIterator[Outbox]:
    sender = Outbox(database, boot, call, Spool(database.path.parent / "spool"))
    async with trio.open_nursery() as nursery:
        await nursery.start(sender.run)
        yield sender
        nursery.cancel_scope.cancel()


@pytest.fixture
async def api(demo: DemoServers) -> AsyncIterator[BotApi]:
    for chat in CHATS:
        demo.bot.user_says("/start", chat_id=chat, user_id=chat)
    async with open_api(demo.bot.base_url, demo.bot.token) as opened:
        yield opened


@pytest.fixture
async def sender(database: Database, boot: str, api: BotApi, quick: None) -> AsyncIterator[Outbox]:
    async with sending(database, boot, api.call) as started:
        yield started


def shows(chat: int, *texts: str) -> Callable[[BotApiServer], bool]:
    return lambda bot: bot.texts(chat) == list(texts)


async def states(database: Database) -> list[str]:
    def read(db: Any) -> list[str]:
        return [row[0] for row in db.execute("SELECT state FROM outbox ORDER BY id").fetchall()]

    return await database.read(read)


async def until(database: Database, expected: list[str]) -> None:
    """Wait for the rows to be in these states."""
    with trio.fail_after(20):
        while await states(database) != expected:  # noqa: ASYNC110  (rows ring no bell)
            await trio.sleep(0.005)


# --- Against a sender in our hands ---


async def test_only_parts_of_appointments_are_told_to_be_over(
    database: Database, boot: str
) -> None:
    """Whoever keeps those looks at the rows then, which ordinary messages need not pay for."""
    told: list[int | None] = []

    def enqueue(db: sqlite3.Connection, cause: str) -> int:
        session = people.ensure_session(db, place(1), 1.0)
        turn = turns.create(db, session, text="hi", asked_at=1.0, now=1.0, cause=cause)
        draft = Draft("sendMessage", {"text": cause})
        rows.enqueue(db, place(1), [draft], time.time(), turn_id=turn.id)
        return turn.id

    for cause in ("update", "schedule", "child"):
        await database.write(enqueue, cause)
    held = Held()
    held.let_go.set()
    async with sending(database, boot, held) as sender:
        sender.over = told.append
        await until(database, ["sent"] * 3)
        while sender._active:
            await sender._landed.wait()
    assert [each for each in told if each is not None] == [2]


class Held:
    """A method of the Bot API that answers when it is let go."""

    def __init__(self) -> None:
        self.begun = 0
        self.full = trio.Event()
        self.let_go = trio.Event()

    async def __call__(self, _method: str, _params: dict[str, Any]) -> dict[str, Any]:
        self.begun += 1
        if self.begun == CONNECTIONS:
            self.full.set()
        await self.let_go.wait()
        return {"message_id": self.begun}


async def test_only_what_is_on_its_way_would_be_in_doubt(database: Database, boot: str) -> None:
    """With more chats than connections the others wait unclaimed, and all are served."""
    held = Held()
    chats = range(1, CONNECTIONS + 5)
    for chat in chats:
        drafts = [Draft("sendMessage", {"text": text}) for text in "ab"]
        await database.write(rows.enqueue, place(chat), drafts, time.time())
    async with sending(database, boot, held) as sender:
        await held.full.wait()
        assert (await states(database)).count("sending") == CONNECTIONS
        held.let_go.set()
        while sender._active:
            await sender._landed.wait()
    assert await states(database) == ["sent"] * 2 * len(chats)


async def test_what_was_claimed_but_not_begun_at_the_end_is_given_back(
    database: Database, boot: str
) -> None:
    """Its row is committed only when the claim waits for the writer and the end has begun."""
    held = Held()
    entered, let_go = threading.Event(), threading.Event()

    def hold_the_writer(db: Any) -> None:
        rows.enqueue(db, place(1), [Draft("sendMessage", {"text": "a"})], time.time())
        entered.set()
        let_go.wait()

    async with sending(database, boot, held) as sender, trio.open_nursery() as nursery:
        nursery.start_soon(database.write, hold_the_writer)
        await trio.to_thread.run_sync(entered.wait)
        sender.wake(place(1))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(sender.close, 5.0)
        await trio.testing.wait_all_tasks_blocked()
        let_go.set()
    assert held.begun == 0
    assert await states(database) == ["queued"]


# --- Against the server ---


async def test_parts_arrive_in_order_in_every_chat(
    demo: DemoServers, database: Database, sender: Outbox
) -> None:
    texts = [f"line {index}" for index in range(20)]
    for chat in CHATS:
        await say(database, sender, chat, *texts)
    for chat in CHATS:
        await demo.bot.wait_for(shows(chat, *texts))
    assert demo.bot.violations == []


@pytest.mark.parametrize(
    ("fault", "first", "others"),
    [
        (Fault(method="sendMessage", status=429, retry_after=1), ["a", "b"], "sent"),
        (Fault(method="sendMessage", status=400), ["b"], "failed"),
        (Fault(method="sendMessage", status=500), [MAYBE_TWICE + "a", "b"], "sent"),
        (Fault.bad_gateway(method="sendMessage"), [MAYBE_TWICE + "a", "b"], "sent"),
        (Fault.cut_before(method="sendMessage"), [MAYBE_TWICE + "a", "b"], "sent"),
        (Fault.cut_after(method="sendMessage"), ["a", MAYBE_TWICE + "a", "b"], "sent"),
    ],
)
async def test_a_failure_touches_only_its_own_message(
    demo: DemoServers,
    database: Database,
    sender: Outbox,
    fault: Fault,
    first: list[str],
    others: str,
) -> None:
    fault.chat_id = 1
    demo.bot.faults.add(fault)
    await say(database, sender, 1, "a", "b")
    await say(database, sender, 2, "x")
    await demo.bot.wait_for(shows(2, "x"))
    await demo.bot.wait_for(shows(1, *first))
    await sender.close(5.0)
    assert await states(database) == [others, "sent", "sent"]


async def test_a_last_try_waits_until_telegram_answers(
    demo: DemoServers, database: Database, sender: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is down nothing is in doubt twice; that it refuses something is an answer, too."""
    monkeypatch.setattr(outbox_module, "SILENCE_SECONDS", 0.01)
    demo.bot.faults.add(Fault.bad_gateway(method="sendMessage"))
    demo.bot.faults.add(Fault.bad_gateway(method="getMe", times=2))
    demo.bot.faults.add(Fault.cut_before(method="getMe"))
    demo.bot.faults.add(Fault(method="getMe", status=400))
    await say(database, sender, 1, "a", "b")
    await demo.bot.wait_for(shows(1, MAYBE_TWICE + "a", "b"))
    await sender.close(5.0)
    assert await states(database) == ["sent", "sent"]
    assert (demo.bot.count("sendMessage"), demo.bot.count("getMe")) == (3, 4)


async def test_a_chat_that_has_blocked_us_is_let_be(
    demo: DemoServers, database: Database, sender: Outbox
) -> None:
    """One refusal ends all that waits there, and what comes after is not even tried."""
    demo.bot.open_chat(1).blocked = True
    await say(database, sender, 1, "a", "b", "c")
    await say(database, sender, 2, "x")
    await demo.bot.wait_for(shows(2, "x"))
    await until(database, ["failed"] * 3 + ["sent"])
    await say(database, sender, 1, "d")
    await until(database, ["failed"] * 3 + ["sent", "failed"])
    assert sum(call.params.get("chat_id") == 1 for call in demo.bot.calls) == 1


async def test_a_chat_that_is_not_there_is_let_be(
    demo: DemoServers, database: Database, sender: Outbox
) -> None:
    """As one that has blocked us: a deleted account, or a group that was deleted."""
    gone = Fault(method="sendMessage", status=400, description="Bad Request: chat not found")
    gone.chat_id = 1
    demo.bot.faults.add(gone)
    await say(database, sender, 1, "a", "b", "c")
    await until(database, ["failed"] * 3)
    assert len([call for call in demo.bot.calls if call.method == "sendMessage"]) == 1


async def test_an_answer_for_a_topic_that_is_gone_comes_in_the_chat_itself(
    demo: DemoServers, database: Database, sender: Outbox
) -> None:
    """A deleted topic loses nothing."""
    demo.bot.open_chat(-5, "supergroup", is_forum=True)
    there = attrs.evolve(place(-5), topic="77")
    await database.write(rows.enqueue, there, [Draft("sendMessage", {"text": "a"})], time.time())
    sender.wake(there)
    await demo.bot.wait_for(shows(-5, "a"))
    await until(database, ["sent"])


@pytest.mark.parametrize(
    ("chat", "why", "tried"),
    [
        (1, closed.BLOCKED, True),
        (1, closed.RIGHTS, True),
        (1, closed.GONE, True),
        (-1, closed.KICKED, True),
        (-1, closed.GONE, True),
        (-1, closed.RIGHTS, False),
    ],
)
async def test_a_chat_is_open_again_when_somebody_speaks_there(
    demo: DemoServers, database: Database, sender: Outbox, chat: int, why: str, *, tried: bool
) -> None:
    """But for a group where rights are lacking: that is tried ten minutes later."""
    demo.bot.open_chat(chat)
    here = place(chat)
    await database.write(closed.close, here, why, 1000.0)
    assert await database.write(closed.heard_from, here, 1001.0) is tried
    assert await database.write(closed.heard_from, here, 1000.0 + closed.TRY_AGAIN)
    await say(database, sender, chat, "a")
    await demo.bot.wait_for(shows(chat, "a"))


async def test_two_doubts_end_it_and_the_next_goes_on(
    demo: DemoServers, database: Database, sender: Outbox
) -> None:
    demo.bot.faults.add(Fault.cut_after(method="sendMessage", times=2))
    await say(database, sender, 1, "a", "b")
    await demo.bot.wait_for(shows(1, "a", MAYBE_TWICE + "a", "b"))
    await sender.close(5.0)
    assert await states(database) == ["unknown", "sent"]


async def test_what_an_earlier_run_was_sending_is_labelled(
    demo: DemoServers, database: Database, boot: str, api: BotApi
) -> None:
    draft = [Draft("sendMessage", {"text": "a"})]
    await database.write(rows.enqueue, place(1), draft, time.time())
    claimed = rows.destination_of(place(1))
    await database.write(claim_next, claimed, boot, time.time())
    async with sending(database, boot, api.call):
        await demo.bot.wait_for(shows(1, MAYBE_TWICE + "a"))


async def test_an_edit_that_changes_nothing_is_a_success(
    demo: DemoServers, database: Database, sender: Outbox
) -> None:
    await say(database, sender, 1, "a")
    await demo.bot.wait_for(shows(1, "a"))
    edit = Draft("editMessageText", {"message_id": demo.bot.sent[-1].message_id, "text": "a"})
    await database.write(rows.enqueue, place(1), [edit], time.time())
    sender.wake(place(1))
    await demo.bot.wait_for(lambda bot: any(c.method == "editMessageText" for c in bot.calls))
    await sender.close(5.0)
    assert await states(database) == ["sent", "sent"]


async def test_the_chat_hears_of_a_part_that_was_refused(
    demo: DemoServers, database: Database, sender: Outbox, boot: str
) -> None:
    """Except where the chat itself refuses us; and a notice is not about a notice."""

    def answer(db: Any) -> None:
        db.execute("INSERT INTO agents (id, name, created_at) VALUES ('a', 'a', 0)")
        db.execute(
            "INSERT INTO sessions (id, channel, account, chat, agent_id, created_at)"
            " VALUES ('s', 'telegram', '1000000001', '1', 'a', 0)"
        )
        db.execute(
            "INSERT INTO turns (id, ref, session_id, lane, cause, state, asked_at, created_at)"
            " VALUES (1, 'r', 's', 's', 'update', 'ended', 0, 0)"
        )
        drafts = [Draft("sendMessage", {"text": "a"})]
        rows.enqueue(db, place(1), drafts, time.time(), turn_id=1)

    demo.bot.faults.add(Fault(method="sendMessage", status=400, description="Bad Request: no"))
    await database.write(answer)
    sender.wake(place(1))
    await demo.bot.wait_for(lambda bot: len(bot.texts(1)) == 1)
    assert "refused" in demo.bot.texts(1)[0]
    assert "Bad Request: no" in demo.bot.texts(1)[0]


async def test_a_group_that_moved_is_followed(
    demo: DemoServers, database: Database, sender: Outbox
) -> None:
    fault = Fault(method="sendMessage", status=400, chat_id=1, migrate_to_chat_id=2)
    demo.bot.faults.add(fault)
    await say(database, sender, 1, "a", "b")
    await demo.bot.wait_for(shows(2, "a", "b"))


async def test_a_group_that_moved_to_itself_has_not(
    demo: DemoServers, database: Database, sender: Outbox
) -> None:
    """Following it would be a loop without a pause."""
    fault = Fault(method="sendMessage", status=400, chat_id=1, migrate_to_chat_id=1)
    demo.bot.faults.add(fault)
    await say(database, sender, 1, "a", "b")
    await demo.bot.wait_for(shows(1, "b"))
    await sender.close(5.0)
    assert await states(database) == ["failed", "sent"]


async def test_an_answer_to_a_button_that_comes_too_late_is_no_trouble(
    demo: DemoServers, database: Database, sender: Outbox
) -> None:
    buttons = Place("telegram", "1000000001", CALLBACKS)
    draft = Draft("answerCallbackQuery", {"callback_query_id": "77", "text": "late"})
    await database.write(rows.enqueue, buttons, [draft], time.time())
    sender.wake(buttons)
    await demo.bot.wait_for(lambda bot: any(c.method == "answerCallbackQuery" for c in bot.calls))
    await sender.close(5.0)
    assert await states(database) == ["sent"]


async def asked(database: Database, sender: Outbox, text: str) -> str:
    """A question with a button, which is queued; the name of its row."""
    markup = {"inline_keyboard": [[{"text": "Yes", "callback_data": "x"}]]}
    draft = Draft("sendMessage", {"text": text, "reply_markup": markup})
    (ref,) = await database.write(rows.enqueue, place(1), [draft], time.time())
    return ref


async def amended(database: Database, sender: Outbox, ref: str, text: str) -> None:
    await database.write(rows.amend, place(1), ref, {"text": text}, time.time())
    sender.wake(place(1))


async def test_what_was_sent_is_edited_by_the_row_that_sent_it(
    demo: DemoServers, database: Database, sender: Outbox
) -> None:
    """Its number is looked up when the edit is sent; the buttons go."""
    ref = await asked(database, sender, "May I?")
    sender.wake(place(1))
    await demo.bot.wait_for(lambda bot: len(bot.sent) == 1)
    await amended(database, sender, ref, "Allowed.")
    await demo.bot.wait_for(lambda bot: len(bot.sent) == 2)
    message = demo.bot.chat(1)[-1]
    assert (message.text, message.buttons) == ("Allowed.", [])
    assert demo.bot.violations == []


async def test_what_nobody_has_seen_is_never_shown_as_it_was(
    demo: DemoServers, database: Database, sender: Outbox
) -> None:
    """A question that was answered before it could be sent is sent with its answer."""
    ref = await asked(database, sender, "May I?")
    await amended(database, sender, ref, "Allowed.")
    await demo.bot.wait_for(lambda bot: len(bot.sent) == 1)
    await sender.close(5.0)
    assert [sent.text for sent in demo.bot.sent] == ["Allowed."]
    assert demo.bot.chat(1)[-1].buttons == []


async def test_an_edit_of_what_is_not_there_is_no_trouble(
    demo: DemoServers, database: Database, sender: Outbox
) -> None:
    """The person has deleted the question, or it never arrived: then nothing is to be said."""
    ref = await asked(database, sender, "May I?")
    sender.wake(place(1))
    await demo.bot.wait_for(lambda bot: len(bot.sent) == 1)
    demo.bot.world.chats[1].messages.clear()
    await amended(database, sender, ref, "Allowed.")
    await demo.bot.wait_for(lambda bot: any(c.method == "editMessageText" for c in bot.calls))

    def lose(db: Any) -> str:
        (ref,) = rows.enqueue(db, place(1), [Draft("sendMessage", {"text": "?"})], time.time())
        db.execute("UPDATE outbox SET state = 'failed' WHERE ref = ?", (ref,))
        return ref

    await amended(database, sender, await database.write(lose), "Allowed.")
    await say(database, sender, 1, "done")
    await demo.bot.wait_for(lambda bot: bot.texts(1) == ["done"])
    await sender.close(5.0)
    assert await states(database) == ["sent", "sent", "failed", "sent", "sent"]


async def test_messages_of_days_ago_are_one_line_with_a_button(
    demo: DemoServers, database: Database, boot: str, api: BotApi
) -> None:
    old = [Draft("sendMessage", {"text": "old"})] * 3
    long_ago = time.time() - holding.HOLD_AFTER - 60
    await database.write(rows.enqueue, place(1), old, long_ago)
    async with sending(database, boot, api.call):
        await demo.bot.wait_for(lambda bot: len(bot.texts(1)) == 1)
    assert "3" in demo.bot.texts(1)[0]
    (button,) = demo.bot.sent[0].params["reply_markup"]["inline_keyboard"][0]
    assert 0 < len(button["callback_data"].encode()) <= 64


async def test_closing_lets_a_send_in_flight_arrive_and_begins_no_other(
    demo: DemoServers, database: Database, sender: Outbox
) -> None:
    stall = demo.bot.faults.add(Fault.stalled(method="sendMessage"))
    await say(database, sender, 1, "a", "b")
    await demo.bot.wait_for(lambda bot: any(c.method == "sendMessage" for c in bot.calls))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.close, 10.0)
        stall.release()
    assert demo.bot.texts(1) == ["a"]
    assert await states(database) == ["sent", "queued"]


async def test_a_send_that_hangs_does_not_hold_up_the_end(
    demo: DemoServers, database: Database, sender: Outbox
) -> None:
    """It is cut off at the end of the grace, and stays `sending`: in doubt at the next start."""
    demo.bot.faults.add(Fault.stalled(method="sendMessage"))
    await say(database, sender, 1, "a")
    await demo.bot.wait_for(lambda bot: any(c.method == "sendMessage" for c in bot.calls))
    await sender.close(0.05)
    assert await states(database) == ["sending"]


async def test_cancelling_the_task_does_not_cancel_a_send(
    demo: DemoServers, database: Database, boot: str, api: BotApi
) -> None:
    stall = demo.bot.faults.add(Fault.stalled(method="sendMessage"))
    async with trio.open_nursery() as nursery:
        sender = Outbox(database, boot, api.call, Spool(database.path.parent / "spool"))
        await nursery.start(sender.run)
        await say(database, sender, 1, "a")
        await demo.bot.wait_for(lambda bot: any(c.method == "sendMessage" for c in bot.calls))
        nursery.cancel_scope.cancel()
        stall.release()
    assert await states(database) == ["sent"]


async def test_a_new_token_lets_what_met_the_old_one_go_at_once(
    demo: DemoServers, database: Database, sender: Outbox
) -> None:
    """Without it, the answer would wait the whole minute that a refused token is left alone."""
    fault = demo.bot.faults.add(Fault(method="sendMessage", status=401, times=-1))
    await say(database, sender, 1, "a")
    await demo.bot.wait_for(lambda bot: any(c.method == "sendMessage" for c in bot.calls))
    while await states(database) != ["queued"]:
        await trio.lowlevel.checkpoint()
    demo.bot.faults.clear()
    await sender.resume()
    await demo.bot.wait_for(shows(1, "a"))
    assert fault.used == 1
