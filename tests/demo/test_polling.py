"""getUpdates, as a bot sees it."""

from __future__ import annotations

import httpx
import pytest
import trio

from daemon.demo.faults import Fault
from daemon.demo.polling import OTHER_POLL
from daemon.demo.updates import UpdateQueue
from tests.demo.bots import Bot


async def waiting(bot: Bot, count: int = 1) -> None:
    """Wait until `count` polls have arrived, and the last of them waits for updates."""
    await bot.server.wait_for(lambda server: server.count("getUpdates") >= count)
    await bot.server.wait_for(lambda server: server._polling._current is not None)


async def test_updates_come_again_until_they_are_confirmed() -> None:
    """An update is forgotten when a higher offset is asked for, not before."""
    queue = UpdateQueue()
    first, second = queue.push({"message": 1}), queue.push({"message": 2})
    assert second == first + 1
    assert [u["message"] for u in queue.first(100)] == [1, 2]
    queue.confirm(first)
    assert [u["message"] for u in queue.first(100)] == [1, 2]
    queue.confirm(second)
    assert [u["message"] for u in queue.first(100)] == [2]
    queue.confirm(second + 1)
    assert queue.first(100) == []


def test_a_negative_offset_counts_from_the_end() -> None:
    """All but the last are forgotten."""
    queue = UpdateQueue()
    for number in range(5):
        queue.push({"message": number})
    queue.confirm(-2)
    assert [u["message"] for u in queue.first(100)] == [3, 4]


def test_an_offset_far_in_the_future_is_ignored() -> None:
    """A wrong offset does not lose updates."""
    queue = UpdateQueue(next_id=10)
    queue.push({"message": 1})
    queue.confirm(1_000_000)
    assert len(queue) == 1


def test_asking_in_a_hurry_is_slowed_down() -> None:
    """The same offset again within 0.5 s gets one update; within 3 s it waits longer."""
    queue = UpdateQueue()
    assert queue.paced(5, 100, 0, now=10.0) == (100, 0)
    assert queue.paced(5, 100, 0, now=10.1) == (1, 3)
    assert queue.paced(5, 100, 0, now=12.0) == (100, 3)
    assert queue.paced(6, 500, 900, now=12.1) == (100, 50)


async def test_a_waiting_poll_is_answered_at_once(bot: Bot) -> None:
    """A long poll ends when an update comes."""
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def poll() -> None:
            with trio.fail_after(20):
                updates = await bot.ok("getUpdates", timeout=50)
            assert [u["message"]["text"] for u in updates] == ["hello"]

        await waiting(bot)
        bot.server.user_says("hello")


async def test_a_poll_ends_empty_at_its_timeout(bot: Bot) -> None:
    """Nothing to tell is an empty list."""
    with trio.fail_after(20):
        assert await bot.ok("getUpdates", timeout=1) == []


async def test_the_older_of_two_polls_gets_the_409(bot: Bot) -> None:
    """A second poll takes over; the first is told of the conflict."""
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def older() -> None:
            assert await bot.refused("getUpdates", timeout=50) == (409, OTHER_POLL)
            bot.server.user_says("for the newer")

        await waiting(bot)
        assert len(await bot.ok("getUpdates", timeout=50, offset=1)) == 1


async def test_a_webhook_excludes_polling(bot: Bot) -> None:
    """While a webhook is set getUpdates is refused, and a waiting poll is ended."""
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def older() -> None:
            code, text = await bot.refused("getUpdates", timeout=50)
            assert (code, "setWebhook" in text) == (409, True)

        await waiting(bot)
        await bot.ok("setWebhook", url="https://example.org/hook")
    code, text = await bot.refused("getUpdates")
    assert (code, "webhook is active" in text) == (409, True)
    assert (await bot.ok("getWebhookInfo"))["url"] == "https://example.org/hook"
    await bot.ok("deleteWebhook")
    assert await bot.ok("getUpdates", offset=1) == []


async def test_allowed_updates_are_remembered(bot: Bot) -> None:
    """Kinds that were not asked for are not queued, also in later polls without the list."""
    await bot.ok("getUpdates", allowed_updates=["callback_query"])
    assert bot.server.user_says("unheard") == 0
    assert await bot.ok("getUpdates", offset=1) == []
    await bot.ok("getUpdates", offset=2, allowed_updates=[])
    assert bot.server.user_says("heard") > 0


async def test_a_poller_that_was_killed_leaves_nothing_behind(bot: Bot) -> None:
    """When the client's connection closes, the poll is over."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bot.call, "getUpdates")
        nursery.start_soon(lambda: bot.call("getUpdates", timeout=50))
        await waiting(bot, count=2)
        nursery.cancel_scope.cancel()
    await bot.server.wait_for(lambda server: server._polling._current is None)
    bot.server.user_says("later")
    assert len(await bot.ok("getUpdates")) == 1


async def test_a_cut_poll_loses_nothing(bot: Bot) -> None:
    """An answer that was lost comes again."""
    bot.server.user_says("precious")
    bot.server.faults.add(Fault.cut_after("getUpdates"))
    with pytest.raises(httpx.RemoteProtocolError):
        await bot.call("getUpdates")
    assert len(await bot.ok("getUpdates")) == 1
