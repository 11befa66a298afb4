"""What appointments cost: many that are due at one moment, and a million that are not.

The jobs are put into the database before the daemon starts, as rows like any others. While five
thousand are run, people talk with the bot, one message after another in chats of their own.
"""

from __future__ import annotations

import sqlite3
import statistics
import time
from contextlib import closing
from pathlib import Path

import trio
from attrs import define

from daemon.demo.servers import DemoServers
from daemon.schedule.advancing import BATCH
from daemon.store import jobs, migrations, people
from daemon.store.db import _connect
from daemon.store.values import Place
from tests.bench.measures import Samples, WrongAnswers
from tests.bench.subjects import (
    FAMULUS,
    Running,
    answered,
    polling,
    running,
    scratch,
    servers,
    settled,
)

PICKING = "appointments: picking"
START_MORE = "appointments: start"
RSS_MORE = "appointments: rss"
RSS_BASE = "appointments: rss base"
ORDINARY = "appointments: ordinary message"
ALONE = "appointments: ordinary message, idle"
BURST = "appointments: burst"

MANY = 1_000_000
FEW = 10
AT_ONCE = 5_000
CHATS = 50  # that the burst goes to
PEOPLE = range(51, 55)  # who talk meanwhile
YEAR = 365 * 86400.0
SOON = 6.0  # seconds, in which a daemon starts
PATIENCE = 900.0  # seconds; only reached when something is broken

FILL = """WITH RECURSIVE numbers (n) AS (
    SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :many)
    INSERT INTO jobs (ref, session_id, user_id, role, name, prompt, rule, zone, missed, next_at,
    looked_at, created_at, updated_at) SELECT 'j' || n, :session, :user, 'user', 'job ' || n,
    'say number ' || n, :rule, 'UTC', 'once', :first + n * :apart, :now, :now, :now FROM numbers"""


def fill(db: sqlite3.Connection, chat: int, many: int, first: float, apart: float) -> None:
    """Jobs in one chat, the first of which is due at `first` and the others `apart`."""
    now = time.time()
    place = Place("telegram", "1000000001", str(chat))
    values = {
        "session": people.ensure_session(db, place, now),
        "user": people.ensure_user(db, "telegram", str(chat), f"person {chat}", now),
        "rule": f'{{"at": {first}}}',
    }
    db.execute(
        FILL.replace("'j' ||", f"'j{chat}-' ||"),
        {**values, "many": many, "first": first, "apart": apart, "now": now},
    )


def prepare(place: Path) -> sqlite3.Connection:
    """The daemon's database, to be filled before it starts."""
    path = place / "state" / "famulus.db"
    path.parent.mkdir()
    migrations.bring_up_to_date(path)
    db = _connect(path)
    db.execute("PRAGMA synchronous = OFF")
    return db


async def appointments(many: int = MANY, at_once: int = AT_ONCE, starts: int = 5) -> Samples:
    """All figures, once; of so many starts the median."""
    few = await _idle(FEW, starts)
    full = await _idle(many, starts)
    return {
        PICKING: full[PICKING],
        START_MORE: [full["start"][0] - few["start"][0]],
        RSS_BASE: few["rss"],
        RSS_MORE: [full["rss"][0] - few["rss"][0]],
        **await _burst(at_once),
    }


async def _idle(many: int, times: int) -> Samples:
    """A daemon with so many jobs, of which none is due for an hour."""
    async with servers() as place_of_talk:
        with scratch() as place:
            with closing(prepare(place)) as db:
                db.execute("BEGIN")
                fill(db, 1, many, time.time() + 3600, YEAR / many)
                db.execute("COMMIT")
                picking = _picking(db)
            starts = [await _start(place_of_talk, place) for _ in range(times)]
            return {
                PICKING: picking,
                "start": [statistics.median(each for each, _ in starts)],
                "rss": [statistics.median(each for _, each in starts)],
            }


async def _start(place_of_talk: DemoServers, place: Path) -> tuple[float, float]:
    """Seconds to the first getUpdates, and MB a moment later."""
    calls = len(place_of_talk.bot.calls)
    async with running(FAMULUS, place_of_talk, place) as bot:
        started = await polling(bot, after=calls) - bot.begun
        await settled(1.0)
        return started, bot.rss_mb()


def _picking(db: sqlite3.Connection) -> list[float]:
    """Seconds in which a batch of those that are due is found, at times all over the year."""
    found = []
    times = [row[0] for row in db.execute("SELECT next_at FROM jobs ORDER BY random() LIMIT 200")]
    for now in times:
        begun = time.perf_counter()
        assert jobs.due(db, now, BATCH)
        assert jobs.next_at(db)
        found.append(time.perf_counter() - begun)
    return found


async def _burst(at_once: int) -> Samples:
    """So many are due at one second; people talk from then on until all are done."""
    async with servers() as place_of_talk:
        with scratch() as place, closing(prepare(place)) as db:
            for chat in (*range(1, CHATS + 1), *PEOPLE):  # Telegram knows who has spoken
                place_of_talk.bot.user_says("/busy queue", user_id=chat)
            async with running(FAMULUS, place_of_talk, place) as bot:
                await polling(bot)
                await answered(bot, CHATS + len(PEOPLE))
                alone = [await _talk(bot, chat, f"alone {chat}") for chat in PEOPLE]
            due = time.time() + SOON
            db.execute("BEGIN")
            for chat in range(1, CHATS + 1):
                fill(db, chat, at_once // CHATS, due, 0.0)
            db.execute("COMMIT")
            calls = len(place_of_talk.bot.calls)
            async with running(FAMULUS, place_of_talk, place) as bot:
                await polling(bot, after=calls)
                await trio.sleep(max(0.0, due - time.time()))
                return {ALONE: alone, **await _talk_until_done(bot, at_once)}


async def _talk_until_done(bot: Running, at_once: int) -> Samples:
    begun, waits, runs = time.monotonic(), list[float](), Runs(bot)

    async def talk(chat: int) -> None:
        number = 0
        while not number or runs.count() < at_once:
            number += 1
            waits.append(await _talk(bot, chat, f"hello {number}"))
            await trio.sleep(0.1)

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            for chat in PEOPLE:
                nursery.start_soon(talk, chat)
    seconds = time.monotonic() - begun
    await settled(2.0)
    if runs.count() != at_once:
        raise WrongAnswers(f"{runs.count()} of {at_once} appointments were answered")
    return {ORDINARY: waits, BURST: [at_once / seconds]}


@define
class Runs:
    """Counts the answers of appointments, each message once."""

    bot: Running
    _seen: int = 0
    _count: int = 0

    def count(self) -> int:
        new = self.bot.bot.sent[self._seen :]
        self._seen += len(new)
        self._count += sum("[A scheduled prompt" in each.text for each in new)
        return self._count


async def _talk(bot: Running, chat: int, text: str) -> float:
    """Say something in a chat; seconds until that is answered there."""
    begun, before = time.monotonic(), len(bot.bot.sent)
    bot.bot.user_says(text, user_id=chat)

    def found(_: object) -> float:
        new = bot.bot.sent[before:]
        return next((each.at for each in new if (each.chat_id, each.text) == (chat, text)), 0.0)

    return await bot.bot.wait_for(found, timeout=PATIENCE) - begun
