"""Both servers together, in a nursery of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import trio
from attrs import frozen

from daemon.demo.botapi import BotApiServer
from daemon.demo.model import ModelServer


@frozen
class DemoServers:
    """Two servers that run."""

    bot: BotApiServer
    model: ModelServer


@asynccontextmanager
async def open_demo_servers(
    bot: BotApiServer | None = None,
    model: ModelServer | None = None,
    *,
    ports: tuple[int, int] = (0, 0),
) -> AsyncIterator[DemoServers]:
    """Run a Bot API server and a model server on 127.0.0.1 until the block ends.

    `bot.base_url` and `model.base_url` are the addresses to configure; by default each takes a free
    port. Leaving the block closes every connection; stalled faults need no release. An error of
    the block or of a server ends both, and arrives in an ExceptionGroup.
    """
    servers = DemoServers(bot or BotApiServer(), model or ModelServer())
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(servers.bot.serve, port=ports[0]))
        await nursery.start(partial(servers.model.serve, port=ports[1]))
        yield servers
        nursery.cancel_scope.cancel()
