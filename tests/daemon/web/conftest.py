"""A fresh database, and the demo's Bot API server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daemon.demo.servers import DemoServers, open_demo_servers
from daemon.store.db import Database, open_database
from tests.harness import ledger


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "famulus.db") as opened:
        yield opened


@pytest.fixture
async def demo() -> AsyncIterator[DemoServers]:
    async with open_demo_servers() as servers:
        yield servers
    ledger.note(servers.bot.calls)
