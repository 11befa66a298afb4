"""The intake: kept before confirmed, and never silent about why nothing comes."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from daemon.demo.faults import Fault
from daemon.demo.servers import DemoServers
from daemon.store import inbox
from daemon.store.db import Database
from daemon.telegram import poll as module
from daemon.telegram.api import ApiError, NotSent, Refused, RefusedToken, TooMany, open_api
from daemon.telegram.poll import CONFLICT_PROBES, Pause, Poll, after_failure, following

BOT = "1000000001"


# --- Decisions ---


def test_a_refused_token_stops_the_poll_until_it_is_mended() -> None:
    pause = after_failure(RefusedToken(401, "Unauthorized"), 1, 0.5)
    assert pause.delay is None
    assert "SIGHUP" in pause.state


def test_a_conflict_is_probed_a_few_times_and_then_left_alone() -> None:
    conflict = Refused(409, "Conflict: terminated by other getUpdates request")
    quick = [after_failure(conflict, n, 0.5).delay for n in range(1, CONFLICT_PROBES + 1)]
    slow = after_failure(conflict, CONFLICT_PROBES + 1, 0.5).delay
    assert quick == [module.CONFLICT_PROBE_DELAY] * CONFLICT_PROBES
    assert slow == module.CONFLICT_DELAY


def test_throttling_is_obeyed() -> None:
    assert after_failure(TooMany(9.0), 1, 0.9) == Pause("throttled by Telegram", 9.0)


@pytest.mark.parametrize("seconds", [1e9, math.inf])
def test_throttling_beyond_reason_is_not(seconds: float) -> None:
    pause = after_failure(TooMany(seconds), 1, 0.9)
    assert pause == Pause("throttled by Telegram", module.LONGEST_THROTTLE)


def test_an_unreachable_network_is_tried_ever_less_often() -> None:
    delays = [after_failure(NotSent("x"), n, 1.0).delay for n in (1, 2, 3, 5000)]
    assert delays == [0.5, 1.0, 2.0, module.LONGEST_BACKOFF]


@pytest.mark.parametrize(
    ("ids", "offset", "expected"),
    [
        ([5, 6], 5, 7),
        ([3], 1000, 4),  # ids restarted at random after a quiet week
        ([None, "x", True, -1, 10**400], 9, 9),
        ([], 9, 9),
    ],
)
def test_the_next_offset(ids: list[Any], offset: int, expected: int) -> None:
    assert following([{"update_id": each} for each in ids], offset) == expected


# --- Against the server ---


class Watched:
    """A poll and what it said."""

    def __init__(self, poll: Poll, states: list[str], woken: list[bool]) -> None:
        self.poll, self.states, self.woken = poll, states, woken


@asynccontextmanager
async def polling(demo: DemoServers, database: Database) -> AsyncIterator[Watched]:
    states: list[str] = []
    woken: list[bool] = []
    async with open_api(demo.bot.base_url, demo.bot.token) as api, trio.open_nursery() as nursery:
        poll = Poll(database, api, BOT, 50, lambda: woken.append(True), states.append)
        await nursery.start(poll.run)
        yield Watched(poll, states, woken)
        nursery.cancel_scope.cancel()


def polls(count: int) -> Callable[[Any], bool]:
    return lambda bot: sum(call.method == "getUpdates" for call in bot.calls) >= count


async def kept(database: Database) -> int:
    return await database.read(
        lambda db: int(db.execute("SELECT count(*) FROM inbox").fetchone()[0])
    )


async def test_updates_are_kept_and_only_then_confirmed(
    demo: DemoServers, database: Database
) -> None:
    demo.bot.user_says("one")
    async with polling(demo, database) as watched:
        await demo.bot.wait_for(polls(2))
        assert await kept(database) == 1
        assert watched.woken == [True]
    offset = await database.read(inbox.next_offset, "telegram", BOT)
    assert demo.bot.calls[-1].params["offset"] == offset


async def test_the_explicit_list_of_kinds_is_sent_at_the_start(
    demo: DemoServers, database: Database
) -> None:
    async with polling(demo, database):
        await demo.bot.wait_for(polls(1))
    (first, *_) = [call for call in demo.bot.calls if call.method == "getUpdates"]
    assert "message" in first.params["allowed_updates"]
    assert demo.bot.violations == []


async def test_what_is_handed_out_twice_is_kept_once(demo: DemoServers, database: Database) -> None:
    """The offset was lost with us: Telegram begins again."""
    demo.bot.user_says("one")
    async with polling(demo, database):
        await demo.bot.wait_for(polls(2))

    def forget(db: Any) -> None:
        db.execute("DELETE FROM polls")

    await database.write(forget)
    demo.bot.user_says("two")
    async with polling(demo, database):
        await demo.bot.wait_for(polls(4))
    assert await kept(database) == 2


@pytest.mark.parametrize(
    "fault",
    [
        Fault(method="getUpdates", status=500),
        Fault.bad_gateway(method="getUpdates"),
        Fault.cut_before(method="getUpdates"),
        Fault.cut_after(method="getUpdates"),
        Fault(method="getUpdates", status=200, body=b"{broken"),
        Fault(method="getUpdates", status=200, body=b'{"ok":true,"result":{}}'),
        Fault(method="getUpdates", status=200, body=b'{"ok":true,"result":[7]}'),
        Fault(method="getUpdates", status=200, body=b'{"ok":true,"result":[{"message":{}}]}'),
        Fault(method="getUpdates", status=200, body=b'{"ok":true,"result":null}'),
        Fault(method="getUpdates", status=200, body=b'{"ok":false,"error_code":400}'),
        Fault(method="getUpdates", status=301, body=b"moved"),
        Fault(method="getUpdates", status=429, retry_after=1),
    ],
)
async def test_a_bad_poll_is_said_and_the_next_one_works(
    demo: DemoServers, database: Database, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_BACKOFF", 0.01)
    demo.bot.faults.add(fault)
    demo.bot.user_says("one")
    async with polling(demo, database) as watched:
        await demo.bot.wait_for(polls(3))
        assert watched.states[0] != "polling"
        assert watched.states[-1] == "polling"
    assert await kept(database) == 1


async def test_what_is_no_update_hides_no_other(demo: DemoServers, database: Database) -> None:
    """Garbage would come again with the updates beside it, until they are confirmed."""
    body = b'{"ok":true,"result":[7,{"update_id":5,"poll":{}},null,[],{"poll":{}},"x"]}'
    demo.bot.faults.add(Fault(method="getUpdates", status=200, body=body))
    async with polling(demo, database) as watched:
        await demo.bot.wait_for(polls(2))
    assert watched.states[0] == "polling"
    assert await kept(database) == 2
    assert demo.bot.calls[-1].params["offset"] == 6


async def test_an_update_twice_in_one_answer_is_kept_once(
    demo: DemoServers, database: Database
) -> None:
    """And one with the same number that says something else is another."""
    update, other = b'{"update_id":5,"poll":{"id":"1"}}', b'{"update_id":5,"poll":{"id":"2"}}'
    body = b'{"ok":true,"result":[' + b",".join([update, other, update, update]) + b"]}"
    demo.bot.faults.add(Fault(method="getUpdates", status=200, body=body))
    async with polling(demo, database):
        await demo.bot.wait_for(polls(2))
    assert await kept(database) == 2


async def test_a_number_that_is_none_is_kept_as_no_number(
    demo: DemoServers, database: Database
) -> None:
    """A text that no column can hold stands in its place, and is a part of the body alone."""
    body = b'{"ok":true,"result":[{"update_id":"\\ud83d","poll":{}},{"update_id":5,"poll":{}}]}'
    demo.bot.faults.add(Fault(method="getUpdates", status=200, body=body))
    async with polling(demo, database):
        await demo.bot.wait_for(polls(2))
    assert await kept(database) == 2


async def test_a_new_token_resumes_at_once(demo: DemoServers, database: Database) -> None:
    right, demo.bot.token = demo.bot.token, "1000000001:AAnotherTokenOfTheSameBot00000000"
    async with open_api(demo.bot.base_url, right) as api, trio.open_nursery() as nursery:
        states: list[str] = []
        refused = trio.Event()

        def show(state: str) -> None:
            states.append(state)
            if "refused" in state:
                refused.set()

        poll = Poll(database, api, BOT, 50, lambda: None, show)
        await nursery.start(poll.run)
        await refused.wait()
        poll.resume(demo.bot.token)
        demo.bot.user_says("one")
        await demo.bot.wait_for(polls(2))
        nursery.cancel_scope.cancel()
    assert states[-1] == "polling"
    assert await kept(database) == 1


async def test_a_new_token_that_comes_before_the_refusal_of_the_old_counts(
    database: Database,
) -> None:
    """The poll under way has the old token, and hears the no only after the signal."""

    class Revoked:
        token = "1:old"

        def __init__(self) -> None:
            self.asked, self.go_on, self.resumed = trio.Event(), trio.Event(), trio.Event()

        async def call(self, *_args: object, **_more: object) -> None:
            if self.token == "1:new":
                self.resumed.set()
                await trio.sleep_forever()
            self.asked.set()
            await self.go_on.wait()
            raise RefusedToken(401, "Unauthorized")

    api = Revoked()
    poll = Poll(database, api, BOT, 50, lambda: None, lambda _state: None)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        await nursery.start(poll.run)
        await api.asked.wait()
        poll.resume("1:new")
        api.go_on.set()
        with trio.fail_after(20):
            await api.resumed.wait()
        nursery.cancel_scope.cancel()


async def test_a_poll_that_hangs_beyond_its_time_is_cut_off(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A half-open connection must not make the daemon deaf: the deadline is ours."""
    monkeypatch.setattr(module, "HARD_SLACK", 0.01)

    class Deaf:
        token = "1:x"

        async def call(self, *_args: object, **_more: object) -> None:
            await trio.sleep_forever()

    poll = Poll(database, Deaf(), BOT, 0, lambda: None, lambda _state: None)  # type: ignore[arg-type]
    with pytest.raises(ApiError, match="cut off"):
        await poll._ask(None)


async def test_a_server_that_cannot_hold_a_poll_is_not_asked_in_a_busy_loop(
    database: Database, autojump_clock: object
) -> None:
    """Some answer at once that there is nothing; a minute is a hundred polls then, no million."""

    class Hasty:
        token = "1:x"
        asked = 0

        async def call(self, *_args: object, **_more: object) -> list[object]:
            await trio.lowlevel.checkpoint()
            self.asked += 1
            return []

    api = Hasty()
    poll = Poll(database, api, BOT, 50, lambda: None, lambda _state: None)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        await nursery.start(poll.run)
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert 60 <= api.asked <= 60 / module.IDLE_DELAY + module.QUICK_ANSWERS + 1


async def test_every_pause_feeds_the_watchdog_and_names_its_reason(
    demo: DemoServers, database: Database, autojump_clock: object
) -> None:
    async with open_api(demo.bot.base_url, demo.bot.token) as api:
        states: list[str] = []
        poll = Poll(database, api, BOT, 50, lambda: None, states.append)
        await poll._pause(Pause("in conflict", module.CONFLICT_DELAY), trio.Event())
    assert states == ["in conflict"] * 4
