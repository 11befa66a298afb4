"""Hypercorn's Trio worker around one application, as a block that owns it."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, cast

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from hypercorn.typing import ASGIFramework
from starlette.types import ASGIApp

from daemon.config_server import split_listen
from daemon.errors import FamulusError, leaves

# Seconds in which requests that are under way may end; what is cut off comes again.
GRACE: Final = 3.0
# Idle connections of a proxy; also how long a request's header may take to arrive.
KEEP_ALIVE: Final = 30
MAX_HEADER: Final = 16 * 1024


class CannotListen(FamulusError):
    """The address is taken, or not this machine's."""


@asynccontextmanager
async def listening(app: ASGIApp, listen: str) -> AsyncIterator[str]:
    """Serve during the block; gives the base URL.

    Leaving lets requests under way come to their end within `GRACE`, also when the block is
    cancelled. Raises CannotListen.
    """
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope(shield=True)
        try:
            base_url = await nursery.start(_serve, app, listen, stop, scope)
            yield base_url
        finally:
            stop.set()
            scope.deadline = trio.current_time() + GRACE + 1.0


async def _serve(
    app: ASGIApp,
    listen: str,
    stop: trio.Event,
    scope: trio.CancelScope,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    try:
        with scope:
            async with trio.open_nursery() as nursery:
                # Each of the two has types of its own for what an application is.
                asgi = cast("ASGIFramework", app)
                run = partial(serve, asgi, _config(listen), shutdown_trigger=stop.wait)
                (base_url,) = await nursery.start(run)
                task_status.started(base_url)
    except* OSError as group:
        first = next(leaves(group))
        raise CannotListen(
            f"cannot listen on {listen}: {first}", "choose another server.listen"
        ) from None


def _config(listen: str) -> Config:
    config = Config()
    config.bind = [f"fd://{_bind(listen)}"]
    config.graceful_timeout = GRACE
    config.keep_alive_timeout = KEEP_ALIVE
    # Of HTTP/2, which nothing here asks for and Hypercorn speaks, the one above does not count a
    # connection that has begun no request.
    config.read_timeout = KEEP_ALIVE
    config.h11_max_incomplete_size = MAX_HEADER
    config.include_server_header = False
    config.accesslog = None
    # Through the log of the daemon, which masks secrets.
    config.errorlog = logging.getLogger("hypercorn.error")
    return config


def _bind(listen: str) -> int:
    """The descriptor of a socket that listens there: Hypercorn's own would leak if it could not."""
    host, port = split_listen(listen) or ("", 0)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.create_server((host, port), family=family)
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound.detach()
