"""Fetching a file from a server that is not to be trusted: bounded in bytes, time and memory."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from daemon.demo.botapi import BotApiServer
from daemon.demo.http import Answer, Cut, Garbage, Request, Response, Stream, serve
from daemon.demo.servers import DemoServers
from daemon.spool import Spool, SpoolFull
from daemon.telegram import api as api_module
from daemon.telegram import download as module
from daemon.telegram.api import (
    Ambiguous,
    ApiError,
    BotApi,
    NotSent,
    RefusedToken,
    ServerFailed,
    TooMany,
    open_api,
)
from daemon.telegram.download import MOST_BYTES, Broken, Unfetchable, download, retry_delay

TOKEN = "42:a-token"
MB = 1024 * 1024

Handler = Callable[[Request], Awaitable[Answer]]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


@asynccontextmanager
async def server(handle: Handler) -> AsyncIterator[BotApi]:
    async with trio.open_nursery() as nursery:
        url = await nursery.start(partial(serve, handle, port=0))
        async with open_api(url, TOKEN) as api:
            yield api
        nursery.cancel_scope.cancel()


def telling(file: Answer | Handler, path: Any = "documents/a.pdf", **told: Any) -> Handler:
    """A server that says where the file is, and answers with `file` when it is asked for it."""

    async def handle(request: Request) -> Answer:
        if "/getFile" in request.path:
            found = {"file_id": "x", "file_path": path, **told}
            return Response(200, json.dumps({"ok": True, "result": found}).encode())
        return await file(request) if callable(file) else file

    return handle


async def attempt(spool: Spool, handle: Handler, most: int = MOST_BYTES) -> bytes:
    """What is in the spool after one attempt; what it raises comes out as it is."""
    raised: list[Exception] = []
    data = b""
    async with server(handle) as api:
        try:
            fetched = await download(api, spool, "x", most)
        except (Unfetchable, ApiError, SpoolFull) as error:
            raised.append(error)
        else:
            with spool.open(fetched.key) as file:
                data = file.read()
            assert fetched.size == len(data)
    if raised:
        assert not spool.path.exists() or list(spool.path.iterdir()) == [], "nothing is left"
        assert TOKEN not in str(raised[0])
        raise raised[0]
    return data


async def test_a_file_comes_whole_under_a_name_of_our_own(demo: DemoServers, spool: Spool) -> None:
    """The demo's server is as strict as Telegram's about the path and the token."""
    data = bytes(range(256)) * 10_000
    file_id = demo.bot.add_file(data, "report.pdf")
    async with open_api(demo.bot.base_url, demo.bot.token) as api:
        fetched = await download(api, spool, file_id)
    with spool.open(fetched.key) as file:
        assert file.read() == data


async def test_what_is_too_large_is_not_asked_for(spool: Spool) -> None:
    """Where the server says how large it is."""

    async def never(_request: Request) -> Answer:
        raise AssertionError("the file was asked for")

    with pytest.raises(Unfetchable, match=r"too large \(26.2 MB of 20 MB\)"):
        await attempt(spool, telling(never, file_size=25 * MB))


async def test_telegrams_own_refusal_is_told(demo: DemoServers, spool: Spool) -> None:
    large = demo.bot.add_file(bytes(MOST_BYTES + 1))
    async with open_api(demo.bot.base_url, demo.bot.token) as api:
        with pytest.raises(Unfetchable, match="too large"):
            await download(api, spool, large)
        with pytest.raises(Unfetchable, match="invalid file_id"):
            await download(api, spool, "no such file")


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_without_an_end_is_cut_off_and_takes_no_memory(
    spool: Spool, *, chunked: bool
) -> None:
    """Of a server that says nothing of its size, and of one that lied about it."""
    sent = 0

    async def pieces() -> AsyncGenerator[bytes, None]:
        nonlocal sent
        while sent < 200 * MB:
            sent += 64 * 1024
            yield bytes(64 * 1024)

    told = {} if chunked else {"file_size": 10 * MB}

    async def endless(_request: Request) -> Answer:
        return Stream(pieces(), content_type="application/octet-stream")

    tracemalloc.start()
    try:
        with pytest.raises(Unfetchable if chunked else Broken):
            await attempt(spool, telling(endless, **told))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sent < (25 if chunked else 15) * MB
    assert peak < 8 * MB


@pytest.mark.parametrize(
    "answer",
    [
        Response(200, bytes(900)),  # shorter than promised
        Response(200, bytes(1100)),  # longer
        Response(200, b"<html>log in to this network</html>", "text/html"),
        Response(200, bytes(1000), headers=(("content-encoding", "gzip"),)),
    ],
)
async def test_what_is_not_the_file_that_was_promised_is_dropped(
    spool: Spool, answer: Response
) -> None:
    with pytest.raises(Broken):
        await attempt(spool, telling(answer, file_size=1000))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Response(404, b"{}"), Unfetchable),
        (Response(302, b"", headers=(("location", "http://127.0.0.1:1/"),)), Unfetchable),
        (Response(403, b"{}"), Unfetchable),
        (Response(502, b"<html>"), ServerFailed),
        (Response(429, b""), ServerFailed),
        (Response(200, bytes(1000), cut_at=500), Ambiguous),
        (Garbage(), Ambiguous),
    ],
)
async def test_every_other_answer_is_an_error_of_its_kind(
    spool: Spool, answer: Answer, error: type[Exception]
) -> None:
    """A redirect is not followed: it could lead to a server within our own network."""
    with pytest.raises(error):
        await attempt(spool, telling(answer, file_size=1000))


async def test_a_connection_that_is_reset_is_an_error(spool: Spool) -> None:
    async def reset(_request: Request) -> Answer:
        raise Cut(reset=True)

    with pytest.raises(Ambiguous):
        await attempt(spool, telling(reset, file_size=1000))


async def test_a_file_in_drops_is_given_up(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each read is quick; all of them together would take for ever."""
    monkeypatch.setattr(module, "PATIENCE", 0.2)

    async def drops() -> AsyncGenerator[bytes, None]:
        while True:
            yield b"."
            await trio.sleep(0.01)

    async def slow(_request: Request) -> Answer:
        return Stream(drops(), content_type="application/octet-stream")

    with pytest.raises(Ambiguous, match="did not come"):
        await attempt(spool, telling(slow, file_size=1000))


async def test_a_server_that_falls_silent_is_given_up(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_module, "READ_TIMEOUT", 0.2)
    monkeypatch.setattr(api_module._timeouts, "__defaults__", (0.2,))

    async def silent(request: Request) -> Answer:
        async def wait() -> bool:
            await trio.sleep_forever()
            return True

        await request.unless_hung_up(wait)
        return Response()

    with pytest.raises(Ambiguous):
        await attempt(spool, telling(silent, file_size=1000))


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/var/lib/telegram/file_1", Unfetchable),
        ("../../bot42:x/getMe", Broken),
        ("a/../../b", Broken),
        ("", Broken),
        (None, Broken),
        (7, Broken),
        ("x" * 5000, Broken),
    ],
)
async def test_a_path_is_no_way_to_anything_else(
    spool: Spool, path: Any, error: type[Exception]
) -> None:
    """One of a local Bot API server is told for what it is."""

    async def never(_request: Request) -> Answer:
        raise AssertionError("something was asked for")

    with pytest.raises(error):
        await attempt(spool, telling(never, path))


async def test_an_address_in_the_place_of_a_path_leads_nowhere_else(spool: Spool) -> None:
    """It is a part of the address of the same server, whatever it looks like."""
    asked: list[str] = []

    async def file(request: Request) -> Answer:
        asked.append(request.path)
        return Response(404, b"")

    with pytest.raises(Unfetchable):
        await attempt(spool, telling(file, "http://evil.example/x?y#z"))
    assert len(asked) == 1
    assert asked[0].startswith("/file/bot42:a-token/")


async def test_a_full_spool_says_so_and_keeps_nothing_of_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", most_bytes=MB)
    with pytest.raises(SpoolFull):
        await attempt(spool, telling(Response(200, bytes(3 * MB)), file_size=3 * MB))


async def test_cancelling_leaves_nothing(spool: Spool) -> None:
    """A daemon that is told to stop in the middle of a file."""
    began = trio.Event()

    async def drops() -> AsyncGenerator[bytes, None]:
        yield bytes(2 * MB)
        began.set()
        await trio.sleep_forever()

    async def slow(_request: Request) -> Answer:
        return Stream(drops(), content_type="application/octet-stream")

    async with server(telling(slow)) as api, trio.open_nursery() as nursery:
        nursery.start_soon(download, api, spool, "x")
        await began.wait()
        nursery.cancel_scope.cancel()
    assert list(spool.path.iterdir()) == []


async def test_a_refused_token_may_be_put_right(spool: Spool) -> None:
    bot = BotApiServer()
    async with trio.open_nursery() as nursery:
        url = await nursery.start(bot.serve)
        async with open_api(url, f"{TOKEN}{'x' * 30}") as api:
            with pytest.raises(RefusedToken):
                await download(api, spool, "x")
        nursery.cancel_scope.cancel()


def test_when_a_file_is_tried_again() -> None:
    """As Telegram says, or soon and then seldom; what comes broken three times stays so."""
    delays = [retry_delay(NotSent("x"), tries) for tries in range(1, 12)]
    assert delays[:4] == [0.5, 1.0, 2.0, 4.0]
    assert max(delays) == 30.0  # type: ignore[type-var]  # tests are not typed
    assert retry_delay(TooMany(7.0), 1) == 7.0
    assert [retry_delay(Broken("x"), tries) for tries in (1, 2, 3)] == [0.5, 1.0, None]
