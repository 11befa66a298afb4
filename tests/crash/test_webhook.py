"""The webhook against `kill -9` and a change of mind: every update is done once, by either way."""

from __future__ import annotations

import json
import re
from typing import Any

import trio

from tests.crash.conversation import answer
from tests.crash.oracle import settled
from tests.crash.test_intake import message, next_is_answered
from tests.harness.rig import Rig, open_rig

SECRET = "a-secret-that-telegram-shows"
WEBHOOK = {
    "mode": "webhook",
    "webhook": {"url": "https://bot.example.org/telegram", "secret": {"env": "HOOK_SECRET"}},
}
SERVER = {"listen": "127.0.0.1:0"}
LISTENING = re.compile(r"event=listening url=http://127\.0\.0\.1:(\d+)")


async def started(rig: Rig) -> int:
    """Start a daemon that takes updates by webhook; gives its port."""
    rig.environment["HOOK_SECRET"] = SECRET
    told = rig.bot.count("setWebhook")
    rig.spawn()
    await rig.until(lambda: rig.bot.count("setWebhook") > told)
    return int(LISTENING.findall(rig.log())[-1])


def request(update: dict[str, Any]) -> bytes:
    body = json.dumps(update).encode()
    secret = f"x-telegram-bot-api-secret-token: {SECRET}"
    head = f"POST /telegram HTTP/1.1\r\nhost: x\r\n{secret}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def post(port: int, update: dict[str, Any]) -> bytes:
    """Send an update as Telegram does; gives the status line."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(request(update))
        with trio.fail_after(10):
            return (await stream.receive_some(4096)).partition(b"\r\n")[0]


async def test_an_update_whose_receipt_was_lost_is_done_once() -> None:
    """Killed when the row is there and before anybody has read the answer: Telegram repeats."""
    async with open_rig(telegram=WEBHOOK, server=SERVER) as rig:
        rig.model.script = answer
        rig.bot.open_chat(1)
        update = {"update_id": 7, "message": message("q1.1 plain")}
        port = await started(rig)
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(request(update))
            with trio.fail_after(10):
                await _row_is_there(rig)
            rig.kill_now()
        port = await started(rig)
        assert await post(port, update) == b"HTTP/1.1 200 "
        await rig.until(lambda: rig.bot.texts(1) == ["[q1.1/1] answered"])
        assert await settled(rig)
        assert rig.value("SELECT count(*) FROM turns") == 1
        assert rig.bot.count("getUpdates") == 0
        assert rig.bot.violations == []
        assert await rig.stop() == 0
        assert SECRET not in rig.log()


async def _row_is_there(rig: Rig) -> None:
    while True:
        if rig.value("SELECT count(*) FROM inbox"):
            return
        await trio.sleep(0.001)


async def test_the_way_can_be_changed_at_any_start() -> None:
    """From webhook to poll and back, with messages that come while nobody is there."""
    async with open_rig(telegram=WEBHOOK, server=SERVER) as rig:
        rig.model.script = answer
        port = await started(rig)
        rig.bot.open_chat(1)
        first = {"update_id": 5, "message": message("q1.1 plain")}
        assert await post(port, first) == b"HTTP/1.1 200 "
        await rig.until(lambda: rig.bot.texts(1) == ["[q1.1/1] answered"])
        assert await rig.stop() == 0

        rig.bot.push_update(first)  # its receipt was lost
        rig.configure([1])
        await rig.start()
        await next_is_answered(rig, 2)
        assert rig.bot.world.webhook.url == ""
        assert await rig.stop() == 0

        rig.configure([1], telegram=WEBHOOK, server=SERVER)
        port = await started(rig)
        third = {"update_id": 4, "message": message("q1.3 plain", message_id=903)}
        assert await post(port, third) == b"HTTP/1.1 200 "
        await rig.until(lambda: len(rig.bot.texts(1)) == 3)
        assert await settled(rig)
        assert rig.bot.texts(1) == [f"[q1.{n}/1] answered" for n in (1, 2, 3)]
        assert await rig.stop() == 0
