"""A fresh database, and the demo's Bot API server."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daemon.demo.servers import DemoServers, open_demo_servers
from daemon.spool import Spool
from daemon.store import boots
from daemon.store.db import Database, open_database
from daemon.telegram import failure
from daemon.telegram.api import BotApi, open_api
from daemon.telegram.outbox import Outbox
from tests.daemon.telegram.filebench import sending
from tests.harness import ledger


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "famulus.db") as opened:
        yield opened


@pytest.fixture
async def boot(database: Database) -> str:
    return await database.write(boots.begin, "test", time.time())


@pytest.fixture
async def demo() -> AsyncIterator[DemoServers]:
    async with open_demo_servers() as servers:
        yield servers
    ledger.note(servers.bot.calls)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


@pytest.fixture
async def api(demo: DemoServers) -> AsyncIterator[BotApi]:
    demo.bot.user_says("/start", chat_id=1, user_id=1)
    async with open_api(demo.bot.base_url, demo.bot.token) as opened:
        yield opened


@pytest.fixture
async def sender(
    database: Database, boot: str, api: BotApi, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Outbox]:
    monkeypatch.setattr(failure, "DOUBT_BACKOFF", 0.01)
    async with sending(database, boot, api, spool) as started:
        yield started
