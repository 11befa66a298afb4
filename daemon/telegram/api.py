"""The raw Bot API over HTTP: one call, one answer, and errors that say what is known.

What matters about a failed call is how far it got, because that decides whether it may be made
again. There are four cases, each an exception:

- `NotSent`: the request never left, so nothing happened and the call may be repeated freely;
  `CutOff` is the one of which a part left, and the end did not;
- `Refused`: Telegram answered, and the answer is no (400, 403, ...); `RefusedToken` (401, 404) is
  the no that concerns every call;
- `TooMany`: a no that says when to come back (429);
- `Ambiguous`: the request was written and no usable answer came. It may have taken effect.

An error in the 500s is a `ServerFailed`, a case of `Ambiguous`: the reference does not promise
that the message was not sent, and "Bad Gateway" pages do come after one that was.

The token is part of every URL; no error of this module carries a URL, and nothing here logs.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx
import trio
from attrs import define, field

from daemon.errors import Fatal
from daemon.telegram.types import Json
from daemon.telegram.upload import Upload

CONNECT_TIMEOUT = 10.0  # seconds
WRITE_TIMEOUT = 20.0
READ_TIMEOUT = 30.0
# The timeouts above are for each read and write. One that brings a byte each time is none of
# them, so a call as a whole may take its read timeout and this much more.
CALL_SLACK = 45.0
# A file takes longer, at the pace of the slowest line that is worth the wait: ours, or that of a
# Bot API server of one's own, which answers when it has passed the file on.
UPLOAD_PACE = 64 * 1024  # bytes a second
# Telegram closes an idle connection after about a minute. Ours are dropped well before, because a
# request that meets the closing has an ambiguous end.
KEEPALIVE = 20.0
CONNECTIONS = 16  # more sends at once than Telegram's 30 a second can occupy
SHORTEST_WAIT = 1.0  # seconds that "too many requests" means where it names none that is one
LONGEST_WAIT = 10.0**9
MAX_DETAIL = 300  # characters of a description that are kept

# What httpx says when a request cannot have left; everything else it says is ambiguous.
UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)

HEADERS = {"content-type": "application/json", "user-agent": "famulus"}
FILE_HEADERS = {"user-agent": "famulus", "accept-encoding": "identity"}


class ApiError(Exception):
    """A call that brought no result; the text is fit for the log."""


class NotSent(ApiError):
    """The request never reached Telegram."""


class CutOff(NotSent):
    """An upload ended before its last byte: Telegram cannot have acted on what it has."""


class Ambiguous(ApiError):
    """The request was written and no usable answer came: it may have taken effect."""


class ServerFailed(Ambiguous):
    """Telegram answered with an error of its own (5xx)."""


@define(eq=False)
class Refused(ApiError):
    """Telegram's definite no."""

    code: int
    description: str
    migrate_to: int | None = None

    def __str__(self) -> str:
        return f"{self.code} {self.description}"


class RefusedToken(Refused):
    """401 (revoked) or 404 (never existed): the token is not a bot's."""


@define(eq=False)
class TooMany(ApiError):
    """429: come back after `retry_after` seconds."""

    retry_after: float

    def __str__(self) -> str:
        return f"429 retry after {self.retry_after:g} s"


@define
class BotApi:
    """Calls methods for one bot through one httpx client of its own; made by `open_api`.

    At most `CONNECTIONS` calls are under way: httpx 0.28 loses a pool's place for ever when a
    request is cancelled while it queues for one, so nothing is ever allowed to queue there.
    """

    client: httpx.AsyncClient
    base_url: str
    token: str = field(repr=False)
    _places: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(CONNECTIONS))

    async def call(
        self,
        method: str,
        params: Mapping[str, Any],
        *,
        read_timeout: float = READ_TIMEOUT,
        upload: Upload | None = None,
    ) -> Any:  # noqa: ANN401  (the method decides)
        """Make one attempt at `method` and return its `result`.

        Raises ApiError's children, and the OSError of an upload whose file cannot be read.
        """
        if upload is not None:
            read_timeout += upload.size / UPLOAD_PACE
        request = self._request(method, params, read_timeout, upload)
        try:
            async with self._places:
                response = await self._send(request, read_timeout + CALL_SLACK)
            return read_answer(response.status_code, response.content)
        except Ambiguous as error:
            if upload is None or upload.is_handed_over:
                raise
            raise CutOff(f"the upload broke off: {error}") from None

    @asynccontextmanager
    async def open_file(self, path: str) -> AsyncIterator[httpx.Response]:
        """The answer to a request for the file at `path`, which `getFile` gave, its body unread.

        Whatever goes wrong with the connection, also while the block reads, raises ApiError's
        children. Redirects are not followed, and no packing is asked for.
        """
        url = f"{self.base_url}/file/bot{quote(self.token, safe=':')}/{quote(path)}"
        request = self.client.build_request("GET", url, headers=FILE_HEADERS, timeout=_timeouts())
        try:
            async with self._places:
                response = await self.client.send(request, stream=True)
                try:
                    yield response
                finally:
                    await response.aclose()
        except UNSENT as error:
            raise NotSent(f"cannot reach the Bot API: {_cause(error)}") from None
        except httpx.RequestError as error:
            raise Ambiguous(f"the Bot API broke off: {_cause(error)}") from None

    def _request(
        self, method: str, params: Mapping[str, Any], read_timeout: float, upload: Upload | None
    ) -> httpx.Request:
        url = f"{self.base_url}/bot{quote(self.token, safe=':')}/{method}"
        post = partial(self.client.build_request, "POST", url, timeout=_timeouts(read_timeout))
        if upload is None:
            body = json.dumps(params, ensure_ascii=False).encode(errors="replace")
            return post(content=body, headers=HEADERS)
        request = post(headers={**HEADERS, **upload.headers(params)})
        request.stream = upload.body(params)
        return request

    async def _send(self, request: httpx.Request, patience: float) -> httpx.Response:
        try:
            with trio.move_on_after(patience):
                return await self.client.send(request)
        except UNSENT as error:
            raise NotSent(f"cannot reach the Bot API: {_cause(error)}") from None
        except httpx.RequestError as error:
            raise Ambiguous(f"no answer from the Bot API: {_cause(error)}") from None
        raise Ambiguous("the answer of the Bot API did not come to its end")


def _timeouts(read_timeout: float = READ_TIMEOUT) -> httpx.Timeout:
    return httpx.Timeout(
        connect=CONNECT_TIMEOUT, write=WRITE_TIMEOUT, read=read_timeout, pool=CONNECT_TIMEOUT
    )


def read_answer(status: int, content: bytes) -> Any:  # noqa: ANN401
    """The `result` in an answer of the Bot API. Raises ApiError's children; trusts no byte."""
    answer = _parse(content)
    if answer is None:
        # A proxy's page, or a body cut short. Below 500 too: whatever spoke was not Telegram.
        kind = ServerFailed if status >= HTTPStatus.INTERNAL_SERVER_ERROR else Ambiguous
        raise kind(f"HTTP {status} with a body that is not the Bot API's")
    if not answer["ok"]:
        raise _refusal(status, answer)
    if "result" not in answer:
        raise Ambiguous("the Bot API says that all is well, and no more")
    return answer["result"]


def _parse(content: bytes) -> Json | None:
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) and isinstance(answer.get("ok"), bool) else None


def _refusal(status: int, answer: Json) -> ApiError:
    code = answer.get("error_code")
    code = code if type(code) is int else status
    description = str(answer.get("description", ""))[:MAX_DETAIL]
    parameters = answer.get("parameters")
    parameters = parameters if isinstance(parameters, dict) else {}
    if code == HTTPStatus.TOO_MANY_REQUESTS:
        return TooMany(_seconds(parameters.get("retry_after")))
    if code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ServerFailed(f"{code} {description}")
    if code == HTTPStatus.NOT_FOUND and "method not found" in description:
        # A Bot API server of one's own, older than the method. The token is right.
        return Refused(code, description)
    if code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND}:
        return RefusedToken(code, description)
    migrate_to = parameters.get("migrate_to_chat_id")
    return Refused(code, description, migrate_to if type(migrate_to) is int else None)


def _seconds(value: object) -> float:
    """A wait in seconds; what is none is the shortest, what no clock can count the longest."""
    if not isinstance(value, int | float) or not value > 0:
        return SHORTEST_WAIT
    return float(min(value, LONGEST_WAIT))


def _cause(error: httpx.RequestError) -> str:
    """The error in words, without the request that httpx attaches (its URL holds the token)."""
    return str(error)[:MAX_DETAIL] or type(error).__name__


def preload() -> None:
    """Import what httpx imports with its first client: 40 modules, up to 60 ms.

    To be called before the event loop runs, where it would be one long step.
    """
    httpx.AsyncHTTPTransport(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


@asynccontextmanager
async def open_api(base_url: str, token: str, *, tls: Any = None) -> AsyncIterator[BotApi]:  # noqa: ANN401
    """A BotApi on a client of its own, closed on the way out. `tls` is a shared SSLContext."""
    limits = httpx.Limits(
        max_connections=CONNECTIONS,
        max_keepalive_connections=CONNECTIONS,
        keepalive_expiry=KEEPALIVE,
    )
    # Without a context there is no https to verify for; see `daemon.main`.
    verify = tls if tls is not None else base_url.startswith("https:")
    async with httpx.AsyncClient(
        http2=False, limits=limits, verify=verify, trust_env=False, follow_redirects=False
    ) as client:
        yield BotApi(client, base_url.rstrip("/"), token)


def bot_id(token: str) -> str:
    """The bot's id, which is the first part of its token. Raises Fatal if there is none."""
    number, colon, secret = token.partition(":")
    if not (number.isascii() and number.isdigit() and colon and secret):
        raise Fatal(
            "the Telegram token does not look like one (123456:ABC-DEF...)",
            "copy the whole token from @BotFather",
        )
    return number
