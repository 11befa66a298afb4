"""The intake by webhook: answered only when kept, closed to strangers, and known to Telegram."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio
from attrs import define, field

from daemon.config import Secret, Server
from daemon.config import Webhook as Settings
from daemon.demo.faults import Fault
from daemon.demo.servers import DemoServers
from daemon.errors import Fatal
from daemon.store import inbox
from daemon.store.db import Database
from daemon.supervise import leaves
from daemon.telegram.api import NotSent, Refused, RefusedToken, open_api
from daemon.telegram.poll import Poll
from daemon.telegram.types import ALLOWED_UPDATES
from daemon.web import app as app_module
from daemon.web import server
from daemon.web import webhook as module
from daemon.web.server import CannotListen
from daemon.web.webhook import Webhook, after_refusal, state_of

BOT = "1000000001"
SECRET = "a-secret_that-only-Telegram-knows"
URL = "https://bot.example.org/telegram"
HEADERS = {app_module.SECRET_HEADER: SECRET, "content-type": "application/json"}


@define
class Watched:
    """A webhook that listens, a client for it, and what it said."""

    hook: Webhook
    http: httpx.AsyncClient
    states: list[str] = field(factory=list)
    woken: list[bool] = field(factory=list)

    async def post(self, update: object, **more: Any) -> int:
        given = {"headers": HEADERS, "content": json.dumps(update)} | more
        return (await self.http.post("/telegram", **given)).status_code


@asynccontextmanager
async def listening(demo: DemoServers, database: Database) -> AsyncIterator[Watched]:
    """A webhook that has told Telegram of itself."""
    settings = Settings(url=URL, secret=Secret.of(SECRET), max_connections=7)
    states: list[str] = []
    woken: list[bool] = []
    async with open_api(demo.bot.base_url, demo.bot.token) as api, trio.open_nursery() as nursery:
        hook = Webhook(
            database,
            api,
            BOT,
            settings,
            Server(listen="127.0.0.1:0"),
            lambda: woken.append(True),
            states.append,
        )
        await nursery.start(hook.run)
        async with httpx.AsyncClient(base_url=hook.base_url, trust_env=False) as http:
            yield Watched(hook, http, states, woken)
        nursery.cancel_scope.cancel()


async def eventually(look: Callable[[], bool]) -> None:
    """Return when `look()` is true. Raises trio.TooSlowError."""
    with trio.fail_after(20):
        while True:
            if look():
                return
            await trio.sleep(0.01)


async def kept(database: Database) -> int:
    return await database.read(
        lambda db: int(db.execute("SELECT count(*) FROM inbox").fetchone()[0])
    )


def message(number: int, text: str = "hello") -> dict[str, Any]:
    return {"update_id": number, "message": {"message_id": number, "text": text}}


async def address(hook: Webhook) -> tuple[str, int]:
    url = httpx.URL(hook.base_url)
    return url.host, url.port or 0


# --- Decisions ---


def test_a_refused_webhook_is_told_with_telegrams_words() -> None:
    """The owner has to mend the address; trying every second would not."""
    pause = after_refusal(Refused(400, "bad webhook: Failed to resolve host"), 1, 0.5)
    assert pause.state == "Telegram refuses the webhook: bad webhook: Failed to resolve host"
    assert pause.delay == module.REFUSED_DELAY


def test_a_refused_token_and_a_lost_network_are_as_for_the_poll() -> None:
    """One waits for SIGHUP, the other is tried ever less often."""
    assert after_refusal(RefusedToken(401, "Unauthorized"), 1, 0.5).delay is None
    assert after_refusal(NotSent("x"), 1, 1.0).state.startswith("unreachable")


def test_the_state_says_what_telegram_says() -> None:
    """An error is told while it is new; another address is no state of ours."""
    info = {"url": URL, "last_error_date": 100, "last_error_message": "Connection refused"}
    assert state_of(info, URL, 50.0) == "Telegram cannot reach the webhook: Connection refused"
    assert state_of(info, URL, 150.0) == "listening"
    assert state_of({"url": "https://else.example"}, URL, 0.0) == ""
    assert state_of({}, URL, 0.0) == ""


# --- The door ---


async def test_an_update_is_answered_when_it_is_kept(demo: DemoServers, database: Database) -> None:
    """200 is a receipt: the row is there, the router is woken, and once is once."""
    async with listening(demo, database) as watched:
        assert await watched.post(message(5)) == 200
        assert await kept(database) == 1
        assert await watched.post(message(5)) == 200
        assert await watched.post(message(4)) == 200
        assert await kept(database) == 2
    assert watched.woken == [True, True]


@pytest.mark.parametrize("given", [None, "", "wrong", SECRET[:-1], SECRET + "x", "\u00e9"])
async def test_who_does_not_know_the_secret_is_refused(
    demo: DemoServers, database: Database, given: str | None
) -> None:
    """A missing header, a wrong one, and one that begins right."""
    headers = {} if given is None else {app_module.SECRET_HEADER: given.encode()}
    async with listening(demo, database) as watched:
        assert await watched.post(message(5), headers=headers) == 401
    assert await kept(database) == 0


async def test_the_secret_is_asked_for_before_the_body(
    demo: DemoServers, database: Database
) -> None:
    """A stranger who announces a gigabyte is answered before sending any of it."""
    async with listening(demo, database) as watched:
        stream = await trio.open_tcp_stream(*await address(watched.hook))
        async with stream:
            await stream.send_all(
                b"POST /telegram HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\n"
            )
            with trio.fail_after(20):
                assert (await stream.receive_some(1000)).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_the_cap_is_refused(
    demo: DemoServers, database: Database, declared: bool
) -> None:
    """By what it announces, and by what it is."""
    size = app_module.MAX_BODY + 1
    framing = f"content-length: {size}" if declared else "transfer-encoding: chunked"
    chunk = b"" if declared else b"10000\r\n" + b" " * 65536 + b"\r\n"
    async with listening(demo, database) as watched:
        async with await trio.open_tcp_stream(*await address(watched.hook)) as stream:
            await stream.send_all(head(framing) + chunk * (size // 65536 + 1))
            with trio.fail_after(20):
                assert (await stream.receive_some(1000)).startswith(b"HTTP/1.1 413")
        assert await watched.post(message(5)) == 200  # and the next one is well
    assert await kept(database) == 1


def head(framing: str) -> bytes:
    """The header of a request that knows the secret."""
    secret = f"{app_module.SECRET_HEADER}: {SECRET}"
    return f"POST /telegram HTTP/1.1\r\nhost: x\r\n{secret}\r\n{framing}\r\n\r\n".encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{broken",
        b"[]",
        b"7",
        b"{}",
        b'{"update_id": "5"}',
        b'{"update_id": true}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"update_id": 1' + b"0" * 5000 + b"}",
    ],
)
async def test_what_is_no_update_is_refused(
    demo: DemoServers, database: Database, body: bytes
) -> None:
    """Not JSON, not an object, or without a number."""
    async with listening(demo, database) as watched:
        assert await watched.post(None, content=body) == 400
    assert await kept(database) == 0


async def test_a_large_update_is_kept(demo: DemoServers, database: Database) -> None:
    """One that is parsed in a thread is an update like any other."""
    async with listening(demo, database) as watched:
        assert await watched.post(message(5, "x" * 200_000)) == 200
    assert await kept(database) == 1


async def test_a_body_that_trickles_is_cut_off(
    demo: DemoServers, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sender who never ends holds a connection for a while, and nothing for ever."""
    monkeypatch.setattr(app_module, "BODY_SECONDS", 0.05)
    async with listening(demo, database) as watched:
        async with await trio.open_tcp_stream(*await address(watched.hook)) as stream:
            await stream.send_all(head("content-length: 500") + b'{"update')
            with trio.fail_after(20):
                assert (await stream.receive_some(1000)).startswith(b"HTTP/1.1 408")
        assert await watched.post(message(5)) == 200


HTTP_2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"


@pytest.mark.parametrize("begun", [b"", b"POST /telegram HTTP/1.1\r\nhost: x\r\n", HTTP_2])
async def test_a_connection_on_which_nothing_comes_is_closed(
    demo: DemoServers, database: Database, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    """Whatever it began to speak: a header that has no end, or a protocol that proxies do not."""
    monkeypatch.setattr(server, "KEEP_ALIVE", 0.1)
    async with (
        listening(demo, database) as watched,
        await trio.open_tcp_stream(*await address(watched.hook)) as stream,
    ):
        if begun:
            await stream.send_all(begun)
        with trio.fail_after(5):
            while await stream.receive_some(1000):
                pass


@pytest.mark.parametrize(
    "framing",
    [
        "content-length: 5\r\ncontent-length: 16",
        "content-length: +16",
        "content-length: 0x10",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: xchunked",
        "content-length : 16",
        f"{app_module.SECRET_HEADER}: other\r\nx : y",
    ],
)
async def test_what_a_proxy_may_read_otherwise_is_no_request(
    demo: DemoServers, database: Database, framing: str
) -> None:
    """The connection is closed, so that nothing behind it is taken for another request."""
    body = b'{"update_id": 1}'
    again = head(f"content-length: {len(body)}") + body
    async with listening(demo, database) as watched:
        async with await trio.open_tcp_stream(*await address(watched.hook)) as stream:
            await stream.send_all(head(framing) + body + again)
            answer = b""
            with trio.fail_after(5):
                while got := await stream.receive_some(1000):
                    answer += got
        assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 501"))
        assert answer.count(b"HTTP/1.1 ") == 1
    assert await kept(database) == 0


@pytest.mark.parametrize("first", ["other", SECRET])
async def test_of_two_secrets_the_first_counts(
    demo: DemoServers, database: Database, first: str
) -> None:
    """One that is put behind it by somebody does not help."""
    pairs = [(app_module.SECRET_HEADER, first), (app_module.SECRET_HEADER, SECRET)]
    async with listening(demo, database) as watched:
        code = await watched.post(message(5), headers=pairs)
    assert code == (200 if first == SECRET else 401)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/telegram", 405),
        ("PUT", "/telegram", 405),
        ("POST", "/", 404),
        ("GET", "/telegram/x", 404),
        ("GET", "/health", 200),
        ("POST", "/health", 405),
    ],
)
async def test_there_is_nothing_else(
    demo: DemoServers, database: Database, method: str, path: str, status: int
) -> None:
    """One path takes posts, one says how we are."""
    async with listening(demo, database) as watched:
        answer = await watched.http.request(method, path, headers=HEADERS)
        assert answer.status_code == status
        assert "server" not in answer.headers


async def test_a_database_that_fails_is_a_500(
    demo: DemoServers, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Telegram keeps the update and sends it again, until it is kept here."""
    receive = inbox.receive

    def full(*_args: object) -> int:
        raise sqlite3.OperationalError("database or disk is full")

    async with listening(demo, database) as watched:
        monkeypatch.setattr(inbox, "receive", full)
        assert await watched.post(message(5)) == 500
        monkeypatch.setattr(inbox, "receive", receive)
        assert await watched.post(message(5)) == 200
    assert await kept(database) == 1


async def test_updates_come_side_by_side(demo: DemoServers, database: Database) -> None:
    """As many connections at once as Telegram opens, each update once."""
    async with listening(demo, database) as watched, trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(watched.post, message(number // 2))
    assert await kept(database) == 20


async def test_the_end_waits_for_what_is_under_way(
    demo: DemoServers, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that is being kept when we are told to stop is kept, and answered."""
    begun, go_on, answers = trio.Event(), threading.Event(), []
    receive = inbox.receive

    def slow(*args: Any) -> int:
        trio.from_thread.run_sync(begun.set)
        go_on.wait(5)
        return receive(*args)

    monkeypatch.setattr(inbox, "receive", slow)
    async with trio.open_nursery() as outer, listening(demo, database) as watched:

        @outer.start_soon
        async def ask() -> None:
            async with httpx.AsyncClient(trust_env=False) as client:
                url = f"{watched.hook.base_url}/telegram"
                answers.append(await client.post(url, headers=HEADERS, json=message(5)))

        await begun.wait()
        trio.lowlevel.current_trio_token().run_sync_soon(go_on.set)
    assert [answer.status_code for answer in answers] == [200]
    assert await kept(database) == 1


# --- Telegram's side ---


async def test_telegram_is_told_all_that_it_must_know(
    demo: DemoServers, database: Database
) -> None:
    """The address, the secret, the kinds of updates; and nothing that waits is dropped."""
    async with listening(demo, database):
        await demo.bot.wait_for(lambda bot: bot.world.webhook.url)
    (call,) = [call for call in demo.bot.calls if call.method == "setWebhook"]
    assert call.params == {
        "url": URL,
        "secret_token": SECRET,
        "max_connections": 7,
        "allowed_updates": list(ALLOWED_UPDATES),
    }
    assert demo.bot.violations == []


async def test_the_watchdog_is_fed_by_our_own_question(
    demo: DemoServers, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quiet chat feeds it; a server that does not answer itself does not."""
    monkeypatch.setattr(module, "SELF_EVERY", 0.01)
    async with listening(demo, database) as watched:
        await eventually(lambda: watched.states.count("listening") >= 3)
        assert watched.hook.last_answer is not None
        watched.hook.base_url = "http://127.0.0.1:9"  # where nobody listens
        await trio.sleep(0.05)
        fed = len(watched.states)
        await trio.sleep(0.1)
        assert len(watched.states) == fed


async def test_a_webhook_that_is_not_taken_is_tried_again(
    demo: DemoServers, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """We listen all the same, and say why nothing comes."""
    monkeypatch.setattr(module, "REFUSED_DELAY", 0.01)
    demo.bot.faults.add(Fault(method="setWebhook", status=400))
    async with listening(demo, database) as watched:
        await demo.bot.wait_for(lambda bot: bot.world.webhook.url)
        assert any("refuses the webhook" in state for state in watched.states)


async def test_another_webhook_is_put_right(
    demo: DemoServers, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who polled with our token, or set another address, does not make us deaf."""
    monkeypatch.setattr(module, "LOOK_EVERY", 0.01)
    async with listening(demo, database):
        await demo.bot.wait_for(lambda bot: bot.world.webhook.url)
        demo.bot.world.webhook.url = ""
        await demo.bot.wait_for(lambda bot: bot.world.webhook.url)
    assert demo.bot.count("setWebhook") >= 2


async def test_a_new_token_is_used_at_once(demo: DemoServers, database: Database) -> None:
    """SIGHUP sets the webhook anew, with the token and the secret as they are then."""
    async with listening(demo, database) as watched:
        await demo.bot.wait_for(lambda bot: bot.count("setWebhook") == 1)
        await demo.bot.wait_for(lambda bot: bot.calls[-1].status == 200)
        watched.hook.resume(demo.bot.token)
        await demo.bot.wait_for(lambda bot: bot.count("setWebhook") == 2)


async def test_a_secret_that_telegram_would_refuse_ends_the_start(
    demo: DemoServers, database: Database
) -> None:
    """It is the owner's to mend, and the error says how."""
    async with open_api(demo.bot.base_url, demo.bot.token) as api:
        settings = Settings(url=URL, secret=Secret.of("no spaces please"))
        server = Server(listen="127.0.0.1:0")
        hook = Webhook(database, api, BOT, settings, server, lambda: None, lambda _: None)
        with pytest.raises(Fatal) as raised:
            await hook.run(task_status=trio.TASK_STATUS_IGNORED)
    assert "openssl rand" in raised.value.remedy


async def test_an_address_that_is_taken_is_named(demo: DemoServers, database: Database) -> None:
    """The error says which address, and which key."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    taken = f"127.0.0.1:{listener.socket.getsockname()[1]}"
    async with listener, open_api(demo.bot.base_url, demo.bot.token) as api:
        settings = Settings(url=URL, secret=Secret.of(SECRET))
        hook = Webhook(
            database, api, BOT, settings, Server(listen=taken), lambda: None, lambda _: None
        )
        with pytest.RaisesGroup(CannotListen, flatten_subgroups=True) as raised:
            await hook.run(task_status=trio.TASK_STATUS_IGNORED)
    (error,) = leaves(raised.value)
    assert isinstance(error, CannotListen)
    assert taken in error.cause


# --- From one way to the other ---


async def test_a_poll_removes_the_webhook_that_is_in_its_way(
    demo: DemoServers, database: Database
) -> None:
    """What waited for the webhook is polled; what the webhook has brought is not kept twice."""
    async with listening(demo, database) as watched:
        await demo.bot.wait_for(lambda bot: bot.world.webhook.url)
        demo.bot.user_says("both ways")
        (update,) = demo.bot.world.updates.first(10)
        assert await watched.post(update) == 200  # and the answer was lost
    demo.bot.user_says("while we were away")
    async with open_api(demo.bot.base_url, demo.bot.token) as api, trio.open_nursery() as nursery:
        poll = Poll(database, api, BOT, 50, lambda: None, lambda _: None)
        await nursery.start(poll.run)
        await demo.bot.wait_for(lambda bot: bot.count("getUpdates") >= 3)
        nursery.cancel_scope.cancel()
    (call,) = [call for call in demo.bot.calls if call.method == "deleteWebhook"]
    assert call.params == {"drop_pending_updates": False}
    assert await kept(database) == 2


async def test_a_poll_does_not_fight_for_the_bot(
    demo: DemoServers, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A webhook that is back at once is another program's; the state says so."""
    monkeypatch.setattr("daemon.telegram.poll.CONFLICT_PROBE_DELAY", 0.01)
    demo.bot.world.webhook.url = "https://other.example/"
    states: list[str] = []
    async with open_api(demo.bot.base_url, demo.bot.token) as api, trio.open_nursery() as nursery:
        poll = Poll(database, api, BOT, 50, lambda: None, states.append)
        await nursery.start(poll.run)
        await demo.bot.wait_for(lambda bot: bot.count("deleteWebhook"))
        demo.bot.world.webhook.url = "https://other.example/"
        await demo.bot.wait_for(lambda bot: bot.count("getUpdates") >= 3)
        nursery.cancel_scope.cancel()
    assert demo.bot.count("deleteWebhook") == 1


async def test_the_offset_of_the_poll_is_forgotten(demo: DemoServers, database: Database) -> None:
    """Numbers may begin anew while nobody polls; an old one would lose what comes later."""
    await database.write(inbox.receive, "telegram", BOT, [message(5)], 900_000_000, 1.0)
    async with listening(demo, database) as watched:
        await eventually(lambda: watched.hook._state == "listening")
    assert await database.read(inbox.next_offset, "telegram", BOT) is None
