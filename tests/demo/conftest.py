"""Both servers, and the real clients that talk to them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from daemon.demo.servers import DemoServers, open_demo_servers
from tests.demo.bots import Bot


@pytest.fixture
async def demo() -> AsyncIterator[DemoServers]:
    async with open_demo_servers() as servers:
        yield servers


@pytest.fixture
async def bot(demo: DemoServers) -> AsyncIterator[Bot]:
    server = demo.bot
    async with httpx.AsyncClient(base_url=server.base_url, trust_env=False, verify=False) as http:
        yield Bot(server, http)
