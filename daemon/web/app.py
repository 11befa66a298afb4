"""The web application: Telegram's webhook, and whether we are well.

A webhook's answer is a receipt. Telegram repeats an update until it is answered with 200, so that
is said only when the update is in the database, and a database that fails is a 500. Whoever does
not know the secret is refused before a byte of the body is read.
"""

from __future__ import annotations

import hmac
import json
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from http import HTTPStatus
from typing import Final

import trio
from attrs import frozen
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from daemon import log
from daemon.errors import FamulusError
from daemon.telegram.types import Json

SECRET_HEADER: Final = "x-telegram-bot-api-secret-token"  # noqa: S105 -- the name of a header
# An update has 50 kB at the very most; the official server's own limits are near this.
MAX_BODY: Final = 1024 * 1024
# Seconds for a body to arrive; Telegram sends it in one piece.
BODY_SECONDS: Final = 15.0
# Bytes that are parsed in less than the time that a step may take.
QUICK_BYTES: Final = 64 * 1024
HEALTH: Final = "/health"

_log = log.get("web")


class Unfit(Exception):
    """A request that is answered with `status` and nothing more."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


@frozen
class Webhook:
    """Where Telegram posts. `receive` commits an update; `secret` gives the one that holds now."""

    path: str
    secret: Callable[[], str]
    receive: Callable[[Json], Awaitable[None]]

    async def __call__(self, request: Request) -> Response:
        """Take one update in, and say so when it is kept."""
        try:
            update = await self._read(request)
            await self.receive(update)
        except Unfit as error:
            _log.warning("a request to the webhook was refused", why=str(error))
            return _plain(error.status)
        except (FamulusError, sqlite3.Error) as error:
            _log.error("an update could not be kept; Telegram will send it again", error=error)
            return _plain(HTTPStatus.INTERNAL_SERVER_ERROR)
        return _plain(HTTPStatus.OK)

    async def _read(self, request: Request) -> Json:
        given = request.headers.get(SECRET_HEADER, "")
        if not hmac.compare_digest(given.encode(), self.secret().encode()):
            raise Unfit(HTTPStatus.UNAUTHORIZED)
        body = await read_body(request)
        if len(body) < QUICK_BYTES:
            return parse_update(body)
        return await trio.to_thread.run_sync(parse_update, body)


async def read_body(request: Request) -> bytes:
    """The whole body. Raises Unfit once it is too large or too slow, or its sender has left."""
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared[:20]) > MAX_BODY:
        raise Unfit(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    body = bytearray()
    try:
        with trio.fail_after(BODY_SECONDS):
            async with aclosing(request.stream()) as chunks:
                async for chunk in chunks:
                    body += chunk
                    if len(body) > MAX_BODY:
                        raise Unfit(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    except trio.TooSlowError:
        raise Unfit(HTTPStatus.REQUEST_TIMEOUT) from None
    except ClientDisconnect:
        raise Unfit(HTTPStatus.BAD_REQUEST) from None
    return bytes(body)


def parse_update(body: bytes) -> Json:
    """The update in a body. Raises Unfit if it is none: an object with a number."""
    try:
        update = json.loads(body)
    except (ValueError, RecursionError):
        raise Unfit(HTTPStatus.BAD_REQUEST) from None
    if not isinstance(update, dict) or type(update.get("update_id")) is not int:
        raise Unfit(HTTPStatus.BAD_REQUEST)
    return update


def make_app(webhook: Webhook, is_well: Callable[[], Awaitable[bool]]) -> Starlette:
    """The application. `is_well` is what its health is."""

    async def health(_request: Request) -> Response:
        return _plain(HTTPStatus.OK if await is_well() else HTTPStatus.SERVICE_UNAVAILABLE)

    return Starlette(
        routes=[
            Route(HEALTH, health, methods=["GET"]),
            Route(webhook.path, _endpoint(webhook), methods=["POST"]),
        ]
    )


def _endpoint(webhook: Webhook) -> Callable[[Request], Awaitable[Response]]:
    """A function, since Starlette takes any other callable for an application."""

    async def post(request: Request) -> Response:
        return await webhook(request)

    return post


def _plain(status: HTTPStatus) -> Response:
    return PlainTextResponse(status.phrase, status)
