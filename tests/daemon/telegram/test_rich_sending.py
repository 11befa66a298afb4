"""Rich messages on their way: plain ones take their place only if Telegram says no."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
import trio

from daemon.demo.botapi import BotApiServer
from daemon.demo.faults import Fault
from daemon.demo.servers import DemoServers
from daemon.spool import Spool
from daemon.store import closed
from daemon.store import outbox as rows
from daemon.store.db import Database
from daemon.store.outbox import Draft
from daemon.store.values import Place
from daemon.telegram import failure
from daemon.telegram.api import Refused, RefusedToken, ServerFailed, open_api
from daemon.telegram.failure import Again, Close, Doubt, Plainly, after_failure
from daemon.telegram.outbox import Outbox
from daemon.telegram.render import MAYBE_TWICE
from daemon.telegram.rich import METHOD

HERE = Place("telegram", "1000000001", "1")
TABLE = "|a|\n|-|\n|b|"
PLAINLY = ({"text": "first"}, {"text": "second"}, {"text": "third"})


@pytest.fixture
async def sender(
    database: Database, boot: str, demo: DemoServers, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Outbox]:
    monkeypatch.setattr(failure, "DOUBT_BACKOFF", 0.01)
    demo.bot.user_says("/start")
    async with open_api(demo.bot.base_url, demo.bot.token) as api, trio.open_nursery() as nursery:
        outbox = Outbox(database, boot, api.call, Spool(database.path.parent / "spool"))
        await nursery.start(outbox.run)
        yield outbox
        nursery.cancel_scope.cancel()


async def say(database: Database, sender: Outbox) -> None:
    rich = Draft(METHOD, {"rich_message": {"markdown": TABLE}}, instead=PLAINLY)
    drafts = [
        Draft("sendMessage", {"text": "before"}),
        rich,
        Draft("sendMessage", {"text": "after"}),
    ]
    await database.write(rows.enqueue, HERE, drafts, time.time())
    sender.wake(HERE)


def shown(bot: BotApiServer) -> list[str]:
    """What the bot has put into the chat, in order."""
    return [
        sent.params["rich_message"]["markdown"] if sent.method == METHOD else str(sent.text)
        for sent in bot.sent
    ]


@pytest.mark.parametrize(
    ("error", "decision"),
    [
        (Refused(400, "Bad Request: can't parse"), Plainly()),
        (Refused(403, "Forbidden: bot was blocked by the user"), Close(closed.BLOCKED)),
        (Refused(404, "Not Found: method not found"), Plainly()),
        (RefusedToken(404, "Not Found"), Again(failure.TOKEN_BACKOFF)),
        (ServerFailed("502"), Doubt(failure.DOUBT_BACKOFF)),
    ],
)
def test_only_a_definite_no_to_the_kind_makes_it_plain(
    error: Refused, decision: failure.Decision
) -> None:
    """It says nothing about the kind that the chat is gone, or the token wrong."""
    assert after_failure(error, 1, METHOD) == decision


async def test_a_rich_message_is_sent_as_one(
    database: Database, sender: Outbox, demo: DemoServers
) -> None:
    await say(database, sender)
    await demo.bot.wait_for(lambda bot: len(bot.sent) == 3)
    assert shown(demo.bot) == ["before", TABLE, "after"]
    assert demo.bot.violations == []


async def test_a_refused_one_is_plain_in_its_place(
    database: Database, sender: Outbox, demo: DemoServers
) -> None:
    """All its parts come before what was queued behind it."""
    demo.bot.faults.add(Fault(method=METHOD, status=400, times=1))
    await say(database, sender)
    await demo.bot.wait_for(lambda bot: len(bot.sent) == 5)
    assert shown(demo.bot) == ["before", "first", "second", "third", "after"]
    assert demo.bot.violations == []


async def test_one_in_doubt_stays_rich(
    database: Database, sender: Outbox, demo: DemoServers
) -> None:
    """It may have arrived, so the plain ones would be a second answer."""
    demo.bot.faults.add(Fault.cut_after(method=METHOD))
    await say(database, sender)
    await demo.bot.wait_for(lambda bot: len(bot.sent) == 4)
    again = shown(demo.bot)[2]
    assert again.startswith(MAYBE_TWICE.split(":")[0])
    assert again.endswith(TABLE)
