"""The router: each row is closed once, by what it caused, and a bad one stops nobody."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.budget import Tariff, day_of
from agent.ports import TurnState
from daemon.chat import hearing, router
from daemon.chat.access import Access, Group
from daemon.chat.intake import CHANNEL
from daemon.chat.lanes import Lanes
from daemon.chat.router import Router
from daemon.store import boots, buttons, holding, inbox, journal, outbox, turns
from daemon.store.db import Database, open_database
from daemon.store.holding import HOLD_AFTER
from daemon.store.outbox import Draft
from daemon.store.turnrow import TurnRow
from daemon.store.values import Claim, Place

BOT = "42"
HERE = Place(CHANNEL, BOT, "1")


async def never(_turn: TurnRow) -> TurnState:
    await trio.sleep_forever()
    raise AssertionError


class Bench:
    """A router with real lanes on a real database; what it wakes is collected."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.woken: list[Place] = []
        self.lanes = Lanes(database, 4, never, self.woken.append)
        groups = {-100: Group("all")}
        access = Access(frozenset({1, 2}), frozenset({-100}), groups=groups)
        self.router = Router(
            database, BOT, access, self.lanes, self.woken.append, lambda: ["all is well"]
        )
        self.number = 0

    def update(self, text: str | None = "hi", chat: int = 1, **more: Any) -> dict[str, Any]:
        self.number += 1
        where = {"id": chat, "type": "private" if chat > 0 else "supergroup"}
        who = {"id": abs(chat) if chat > 0 else 1, "is_bot": False, "first_name": "Ada"}
        body = {"message_id": self.number, "date": 1000, "chat": where, "from": who, **more}
        return {"update_id": self.number, "message": {**body, "text": text}}

    async def receive(self, *updates: dict[str, Any]) -> None:
        """Put updates into the inbox and route them to the end."""
        await self.database.write(inbox.receive, CHANNEL, BOT, updates, None, time.time())
        while await self.router._route_some():
            pass

    async def say(self, text: str, chat: int = 1, **more: Any) -> None:
        await self.receive(self.update(text, chat, **more))

    async def all(self, statement: str) -> list[tuple[Any, ...]]:
        def read(db: Any) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in db.execute(statement).fetchall()]

        return await self.database.read(read)

    async def outcomes(self) -> list[str]:
        return [row[0] for row in await self.all("SELECT outcome FROM inbox ORDER BY id")]

    async def replies(self) -> list[str]:
        rows = await self.all(
            "SELECT json_extract(params, '$.text') FROM outbox"
            " WHERE method <> 'setMessageReaction' ORDER BY id"
        )
        return [row[0] for row in rows]

    async def texts(self) -> list[tuple[int, str]]:
        return await self.all("SELECT turn_id, content FROM messages ORDER BY id")


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_database(tmp_path / "famulus.db") as database:
        yield Bench(database)


async def test_a_message_becomes_a_turn_of_its_session(bench: Bench) -> None:
    await bench.say("hello")
    await bench.say("again")
    await bench.say("elsewhere", chat=2)
    assert await bench.outcomes() == ["turn"] * 3
    sessions = await bench.all("SELECT session_id FROM turns ORDER BY id")
    assert sessions[0] == sessions[1] != sessions[2]
    assert bench.lanes.board.waiting == 3


async def test_rows_name_the_turn_they_went_into(bench: Bench) -> None:
    await bench.say("hello")
    assert await bench.all("SELECT turn_id = (SELECT id FROM turns) FROM inbox") == [(1,)]


async def test_a_batch_is_routed_in_order(bench: Bench) -> None:
    await bench.receive(*[bench.update(f"line {n}") for n in range(router.BATCH + 20)])
    assert [text for _, text in await bench.texts()] == [
        f"line {n}" for n in range(router.BATCH + 20)
    ]


async def test_what_is_malformed_is_closed_and_the_rest_goes_on(bench: Bench) -> None:
    broken = {"update_id": 900, "message": {"chat": 5}}
    await bench.receive({"update_id": 901}, broken, {}, bench.update("fine"))
    assert await bench.outcomes() == ["unread kind", "malformed", "malformed", "turn"]


async def test_a_stranger_gets_silence(bench: Bench) -> None:
    await bench.say("let me in", chat=666)
    assert await bench.outcomes() == ["stranger"]
    assert (await bench.replies(), await bench.texts()) == ([], [])


async def test_a_text_of_a_megabyte_is_refused_in_words(bench: Bench) -> None:
    await bench.say("x" * 1_000_000)
    assert await bench.outcomes() == ["too long"]
    assert "1,000,000" in (await bench.replies())[0]


# --- Commands ---


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("/start", "Hello Ada"),
        ("/help", "/new"),
        ("/nonsense", "/nonsense"),
        ("/new", "new conversation"),
        ("/stop", "nothing to stop"),
        ("/status", "all is well"),
    ],
)
async def test_commands_are_answered_without_a_turn(bench: Bench, command: str, says: str) -> None:
    # /status asks the Trio thread for its report, so the router runs as it does in the daemon.
    await bench.say(command)
    assert says in (await bench.replies())[0]
    assert await bench.all("SELECT count(*) FROM turns") == [(0,)]
    assert bench.woken == [HERE]


async def test_stop_ends_the_turn_at_the_head_and_says_what_waits(bench: Bench) -> None:
    for text in ("one", "two", "three"):
        await bench.say(text)
    await bench.say("/stop")
    assert await bench.all("SELECT outcome FROM turns ORDER BY id") == [
        ("stopped",),
        (None,),
        (None,),
    ]
    assert (await bench.replies())[0] == "Stopped. Going on with what waits: 2."
    assert bench.lanes.board.waiting == 2


async def test_stop_ends_only_the_session_it_was_said_in(bench: Bench) -> None:
    await bench.say("one")
    await bench.say("/stop", chat=2)
    assert await bench.all("SELECT state FROM turns") == [("ready",)]


# --- Gathering ---


async def test_a_text_that_the_client_cut_is_one_turn(bench: Bench) -> None:
    await bench.say("a" * 4096)
    assert await bench.all("SELECT state FROM turns") == [("waiting",)]
    await bench.say("b" * 4096)
    await bench.say("and the end")
    assert await bench.all("SELECT state FROM turns") == [("ready",)]
    assert [text[0] for _, text in await bench.texts()] == ["a", "b", "a"]


async def test_an_album_is_one_turn_with_its_caption(bench: Bench) -> None:
    for caption in ("look", None, None):
        album = {"caption": caption, "photo": [{"file_id": "x"}], "media_group_id": "9"}
        await bench.receive(bench.update(None, **album))
    turns_and_texts = await bench.texts()
    assert len({turn for turn, _ in turns_and_texts}) == 1
    assert [text for _, text in turns_and_texts] == ["look", "", ""]
    assert await bench.all("SELECT turn_id, state FROM attachments") == [(1, "named")] * 3
    assert await bench.all("SELECT waiting_for FROM turns") == [("gathering",)]


async def test_a_forward_joins_the_comment_before_it(bench: Bench) -> None:
    origin = {"forward_origin": {"type": "user"}}
    await bench.say("what do you think of this?", date=1000)
    await bench.say("a long story", date=1000, **origin)
    assert await bench.texts() == [
        (1, "what do you think of this?"),
        (1, "[Forwarded]\na long story"),
    ]


async def test_a_forward_of_another_person_does_not_join(bench: Bench) -> None:
    """In a group; it would be done on the account of who wrote the comment."""
    await bench.say("what do you think of this?", chat=-100)
    bob = {"id": 2, "is_bot": False, "first_name": "Bob"}
    await bench.say("a story", chat=-100, forward_origin={"type": "user"}, **{"from": bob})
    assert [turn for turn, _ in await bench.texts()] == [1, 2]
    assert len(set(await bench.all("SELECT payer_id FROM turns"))) == 2


async def test_a_forward_of_its_own_is_a_turn_of_its_own(bench: Bench) -> None:
    await bench.say("good morning", date=1000)
    await bench.say("a long story", date=1100, forward_origin={"type": "user"})
    assert [turn for turn, _ in await bench.texts()] == [1, 2]


async def test_a_forward_takes_a_turn_that_has_begun_back_to_its_start(bench: Bench) -> None:
    """The model is asked again, with both; the run that read only the comment has lost it."""
    await bench.say("what of this?", date=1000)
    boot = await bench.database.write(boots.begin, "test", 0.0)
    held = Claim(1, boot, first=True, seen=1)
    await bench.database.write(journal.hold, held, 0.0)
    await bench.say("a story", date=1000, forward_origin={"type": "user"})
    assert await bench.all("SELECT state, boot FROM turns") == [("ready", None)]
    with pytest.raises(journal.NotOurs):
        await bench.database.write(journal.hold, Claim(1, boot, first=False, seen=1), 0.0)


async def test_a_forward_after_the_answer_is_a_turn_of_its_own(bench: Bench) -> None:
    await bench.say("what of this?", date=1000)
    await bench.database.write(turns.end, 1, "answered", 0.0)
    await bench.say("a story", date=1000, forward_origin={"type": "user"})
    assert [turn for turn, _ in await bench.texts()] == [1, 2]


# --- Buttons ---


def press(number: int, data: str, chat: int = 1) -> dict[str, Any]:
    where = {"message_id": 1, "date": 1, "chat": {"id": chat, "type": "private"}}
    who = {"id": chat, "is_bot": False, "first_name": "Ada"}
    query = {"id": "q", "from": who, "data": data, "message": where}
    return {"update_id": number, "callback_query": query}


async def test_the_button_shows_what_was_held_once(bench: Bench) -> None:
    draft = [Draft("sendMessage", {"text": "old"})]
    await bench.database.write(outbox.enqueue, HERE, draft, 0.0)
    ((_, _, ref),) = await bench.database.write(holding.hold_old, HOLD_AFTER + 1)
    shows = await bench.database.write(buttons.offer, HERE, "show held", ref, time.time())
    await bench.receive(press(1, shows), press(2, shows))
    answers = [text for text in await bench.replies() if text != "old"]
    assert answers == ["Here they are.", "This was answered already."]
    assert await bench.all("SELECT count(*) FROM outbox WHERE state = 'queued'") == [(3,)]


@pytest.mark.parametrize("data", ["show:forged", "approve:1", "", "x" * 64])
async def test_every_button_is_answered(bench: Bench, data: str) -> None:
    await bench.receive(press(1, data))
    assert await bench.replies() == ["This button is no longer valid."]
    assert await bench.outcomes() == ["button"]


# --- A row that makes us fail ---


async def test_a_group_that_moved_keeps_its_session(bench: Bench) -> None:
    """And stays allowed: the supergroup is the group that the owner has allowed."""
    await bench.say("hello", chat=-100)
    await bench.say("", chat=-100, migrate_to_chat_id=-1007)
    assert await bench.outcomes() == ["turn", "moved"]
    assert await bench.all("SELECT chat FROM sessions") == [("-1007",)]
    await bench.say("anybody?", chat=-1007)
    assert (await bench.outcomes())[-1] == "turn"
    await bench.say("anybody?", chat=-1008)
    assert (await bench.outcomes())[-1] == "stranger"


async def test_a_poison_row_is_given_up_and_stops_nobody(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor runs the router again after each failure; here the test does."""
    hear = hearing.hear

    def poisoned(situation: Any, said: Any, while_busy: str) -> int:
        if said.text == "poison":
            raise ZeroDivisionError("a fault of ours")
        return hear(situation, said, while_busy)

    monkeypatch.setattr(hearing, "hear", poisoned)
    updates = [bench.update(text) for text in ("one", "poison", "two")]
    await bench.database.write(inbox.receive, CHANNEL, BOT, updates, None, time.time())
    failures = 0
    more = True
    while more:
        try:
            more = await bench.router._route_some()
        except ZeroDivisionError:
            failures += 1
    assert failures == 1 + inbox.MAX_ATTEMPTS
    assert await bench.outcomes() == ["turn", "dead", "turn"]
    assert [text for _, text in await bench.texts()] == ["one", "two"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@settings(
    max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    fields=st.dictionaries(
        st.sampled_from(
            [
                *("text", "caption", "photo", "date", "media_group_id", "forward_origin"),
                *("from", "sender_chat", "migrate_to_chat_id"),
            ]
        ),
        JSON,
    )
)
def test_no_message_whatever_stops_the_router(tmp_path: Path, fields: dict[str, Any]) -> None:
    async def route() -> list[str]:
        async with open_database(tmp_path / "famulus.db") as database:
            bench = Bench(database)
            bench.number = abs(hash(str(fields))) % 10**9
            update = bench.update("hi")
            update["message"].update(fields)
            await bench.receive(update)
            return await bench.outcomes()

    assert None not in trio.run(route)


# --- What comes while a turn runs ---


async def busy(bench: Bench, while_busy: str) -> None:
    """A turn that runs, and then something more that its person says."""
    bench.router.while_busy = while_busy
    await bench.say("paint it")
    await bench.database.write(run_first)
    await bench.say("in blue")


def run_first(db: Any) -> None:
    db.execute("UPDATE turns SET state = 'running' WHERE id = 1")


@pytest.mark.parametrize(
    ("while_busy", "texts", "outcomes"),
    [
        ("queue", [(1, "paint it"), (2, "in blue")], [None, None]),
        ("steer", [(1, "paint it"), (1, "in blue")], [None]),
        ("interrupt", [(1, "paint it"), (2, "in blue")], ["stopped", None]),
    ],
)
async def test_a_message_during_a_turn_goes_where_the_owner_wants_it(
    bench: Bench, while_busy: str, texts: list[tuple[int, str]], outcomes: list[str | None]
) -> None:
    """Behind the turn, into it, or in its place."""
    await busy(bench, while_busy)
    assert await bench.texts() == texts
    assert [row[0] for row in await bench.all("SELECT outcome FROM turns")] == outcomes


async def test_a_message_behind_a_question_queues_and_says_so(bench: Bench) -> None:
    """Whoever forgot the question is reminded of it, whatever the policy."""
    bench.router.while_busy = "interrupt"
    await bench.say("pay")

    def wait(db: Any) -> None:
        db.execute("UPDATE turns SET state = 'waiting', waiting_for = 'approval'")

    await bench.database.write(wait)
    await bench.say("are you there?")
    assert await bench.replies() == [hearing.WAITING]
    assert len(await bench.all("SELECT 1 FROM turns WHERE state <> 'ended'")) == 2


# --- What it takes, and making room ---


async def use(bench: Bench, user: str, tokens: int) -> None:
    """Let somebody have used so many tokens today."""

    def enter(db: Any) -> None:
        today = day_of(time.time())
        for table, key, whose in (("usage", "user", user), ("agent_usage", "agent", "house")):
            db.execute(
                f"INSERT INTO {table} ({key}_id, day, calls, prompt_tokens) VALUES (?, ?, 1, ?)"
                " ON CONFLICT DO UPDATE SET prompt_tokens = prompt_tokens + excluded.prompt_tokens",
                (whose, today, tokens),
            )

    await bench.database.write(enter)


async def two_people(bench: Bench) -> None:
    await bench.say("hello", chat=1)
    await bench.say("hello", chat=2)
    (ada,), (bob,) = await bench.all("SELECT user_id FROM identities ORDER BY external_id")
    await use(bench, ada, 1234)
    await use(bench, bob, 777)


async def test_usage_tells_a_person_his_own(bench: Bench) -> None:
    """Today with the budget, and this month; nothing of anybody else."""
    bench.router.tariff = Tariff()
    await two_people(bench)
    await bench.say("/usage", chat=1)
    (reply,) = await bench.replies()
    assert "You, today (UTC): 1,234 tokens in 1 call" in reply
    assert "of 2,000,000 tokens" in reply
    assert "777" not in reply
    assert "Everybody" not in reply


@pytest.mark.parametrize("how", ["the only one allowed", "the role"])
async def test_usage_tells_the_owner_everything(bench: Bench, how: str) -> None:
    """Sums, and each person."""
    await two_people(bench)
    if how == "the role":
        await bench.database.write(
            lambda db: db.execute(
                "UPDATE users SET role = 'owner' WHERE id ="
                " (SELECT user_id FROM identities WHERE external_id = '1')"
            )
        )
    else:
        bench.router.owner = "1"
    await bench.say("/usage", chat=1)
    (reply,) = await bench.replies()
    assert "Everybody, today (UTC): 2,011 tokens" in reply
    assert "  Ada: 777 tokens" in reply


async def test_compact_is_a_row_and_tells_when(bench: Bench) -> None:
    """At once, or when the turn has ended; the rows outlive the process."""
    asked: list[str] = []
    bench.router.compact = asked.append
    await bench.say("/compact")
    await bench.say("hello")
    await bench.say("/compact")
    await bench.say("/stop")
    await bench.say("/compact")
    nothing, later, _, now = await bench.replies()
    assert nothing.startswith("There is nothing")
    assert later.startswith("When I am done")
    assert now.startswith("I am summing up")
    ((session,),) = await bench.all("SELECT id FROM sessions")
    assert asked == [session] * 3, "/stop ends what the summary waited for"
    assert await bench.all("SELECT wanted_at IS NOT NULL FROM compacting") == [(1,)]
