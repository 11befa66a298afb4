"""Who administers a group is asked of Telegram, and nobody is believed to who was not named."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from daemon.demo import groups
from daemon.demo.faults import Fault
from daemon.demo.servers import DemoServers
from daemon.store import admission
from daemon.store.db import Database, open_database
from daemon.telegram.admins import Admins, read_ids
from daemon.telegram.api import BotApi, open_api

GROUP = -1001


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "famulus.db") as opened:
        yield opened


@pytest.fixture
async def api(demo: DemoServers) -> AsyncIterator[BotApi]:
    async with open_api(demo.bot.base_url, demo.bot.token) as opened:
        yield opened


async def known(database: Database) -> dict[int, frozenset[int]]:
    found = await database.read(admission.read, "telegram", "42", (), time.time())
    return dict(found.admins)


async def test_administrators_are_known_before_anything_is_routed(
    demo: DemoServers, api: BotApi, database: Database
) -> None:
    """And asked for anew when another group wants them."""
    groups.group(demo.bot, GROUP, "Team", admins=[1, 2])
    groups.group(demo.bot, -1002, "Other", admins=[3])
    wanted = {GROUP}
    admins = Admins(database, api.call, "42", lambda: wanted)
    async with trio.open_nursery() as nursery:
        await nursery.start(admins.run)
        assert await known(database) == {GROUP: {1, 2}}
        wanted.add(-1002)
        admins.wake()
        with trio.fail_after(20):
            while -1002 not in await known(database):  # noqa: ASYNC110  (rows ring no bell)
                await trio.sleep(0.01)
        assert (await known(database))[-1002] == {3}
        nursery.cancel_scope.cancel()
    assert demo.bot.violations == []


async def test_a_refusal_makes_nobody_an_administrator(
    demo: DemoServers, api: BotApi, database: Database
) -> None:
    """Nor does it end the asking."""
    demo.bot.faults.add(Fault(method="getChatAdministrators", status=403, times=-1))
    async with trio.open_nursery() as nursery:
        await nursery.start(Admins(database, api.call, "42", lambda: {GROUP}).run)
        assert await known(database) == {}
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("answer", "ids"),
    [
        ([{"user": {"id": 1, "is_bot": False}}, {"user": {"id": 2, "is_bot": True}}], {1}),
        ([{"user": {"id": "1", "is_bot": False}}, {"user": {"id": 2}}, {"user": 3}, None], set()),
        ({"user": {"id": 1, "is_bot": False}}, set()),
        (None, set()),
    ],
)
def test_an_answer_is_read_without_belief(answer: Any, ids: set[int]) -> None:
    """Whatever Telegram sends, who is not surely named is none."""
    assert read_ids(answer) == ids
