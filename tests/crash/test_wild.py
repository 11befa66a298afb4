"""Thousands of hostile updates, swallowed by the real daemon: it lives, works, and does not grow.

They are made from the Bot API's reference by `tests.harness.wild`, and sent by the thousand, each
thousand numbered from somewhere else, as after a quiet week. FAMULUS_CRASH_SEED repeats a run.
"""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest

from daemon.demo.replies import ChatRequest, Item
from daemon.store import inbox
from tests.crash.conftest import Figures, choose_seed
from tests.crash.conversation import QUESTION, Question, answer, asked
from tests.crash.oracle import settled
from tests.harness.rig import Rig, open_rig
from tests.harness.wild.stream import Wild, WildQueue, wild_updates
from tests.harness.wild.valid import FORUM_TOPICS, Cast, Maker

CAST = Cast(people=(1, 2, 3, 4), groups=(-1001, -1002))
CHUNK = 1000
PATIENCE = 300.0  # seconds for a thousand; only reached by a test that has failed
ANSWER_TIME = 60.0  # seconds for an ordinary message; a lane that is stuck takes for ever
# The most that the daemon may have grown between the first fifth and the end. What its caches and
# its allocator take of it is a few megabytes; each update kept in memory would be a hundred.
GROWTH = 48 * 1024  # kB


def model(request: ChatRequest) -> Item:
    """Answer our own questions so that they are known again, and all else in a word."""
    name, _ = asked(request)
    last = str(request.messages[-1].get("content"))
    return answer(request) if name and QUESTION.search(last) else "noted"


def open_world(rig: Rig) -> None:
    """Make the chats known in which the updates are said to be."""
    rig.bot.world.updates = WildQueue()
    for person in CAST.people:
        rig.bot.open_chat(person)
    for group in CAST.groups:
        rig.bot.open_chat(group, is_forum=True).threads.update(FORUM_TOPICS)


async def swallow(rig: Rig, wilds: list[Wild]) -> None:
    """Send them, and wait until nothing of them is left to do."""
    queue = rig.bot.world.updates
    assert isinstance(queue, WildQueue)
    queue.restart_ids(wilds[0].slot)
    for wild in wilds:
        queue.add(wild)
    # The last has a number that can be confirmed, so that nothing hangs on a wrong one.
    rig.bot.push_update({"poll": {}})
    assert await settled(rig, PATIENCE), rig.last_words()


async def lanes_work(rig: Rig, number: int) -> float:
    """An ordinary message is answered in every chat; gives the longest time it took."""
    began, longest = time.monotonic(), 0.0
    for person in CAST.people:
        Question(person, number).ask(rig.bot)
    for person in CAST.people:
        expected = f"[q{person}.{number}/1] answered"
        await rig.until(lambda p=person, e=expected: e in rig.bot.texts(p), ANSWER_TIME)
        longest = max(longest, time.monotonic() - began)
    return longest


def outcomes(rig: Rig, wilds: list[Wild]) -> Counter[str]:
    """What became of the updates. Nothing that may come is refused, and nothing is given up."""
    found = {row["external_id"]: row["outcome"] for row in rig.rows("SELECT * FROM inbox")}
    for wild in wilds:
        name, body = inbox._named(wild.body)
        assert name in found, f"lost: {wild.fault!r} {body[:500]}"
        assert wild.fault or found[name] != "malformed", f"refused: {body[:2000]}"
    return Counter(found.values())


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
async def test_hostile_updates_by_the_thousand(figures: Figures, count: int) -> None:
    """No crash, no restart of a task, no stuck lane, no dead letter, and memory stays flat."""
    seed, wilds = choose_seed(), list[Wild]()
    maker = Maker(random.Random(seed), CAST, int(time.time()))
    async with open_rig(CAST.people, telegram={"allowed_chats": list(CAST.groups)}) as rig:
        rig.model.script = model
        open_world(rig)
        await rig.start()
        sizes, slowest, began = list[int](), 0.0, time.monotonic()
        for chunk in range(count // CHUNK):
            made = wild_updates(maker, CHUNK, slot=maker.draw.randrange(1, 2**40))
            await swallow(rig, made)
            wilds += made
            slowest = max(slowest, await lanes_work(rig, chunk))
            sizes.append(rig.memory()["VmRSS"])
        took = time.monotonic() - began
        ends = outcomes(rig, wilds)
        row = {"seed": seed, "updates": len(wilds), "seconds": f"{took:.1f}"}
        row |= {"slowest answer": f"{slowest:.2f}", "RSS after each thousand, MB": mb(sizes)}
        figures("hostile updates", {**row, **ends})
        assert ends["dead"] == 0
        assert not (log := complaints(rig)), "\n".join(log[:10])
        assert rig.bot.violations == []
        early = sizes[min(1, len(sizes) - 1)]
        assert sizes[-1] - early < GROWTH
        assert await rig.stop() == 0


def mb(sizes: list[int]) -> str:
    return " ".join(str(size // 1024) for size in sizes)


def complaints(rig: Rig) -> list[str]:
    """Lines of the log that tell of a fault of the program."""
    words = ("level=error", "Traceback", "task failed", "poll failed")
    return [line[:600] for line in rig.log().splitlines() if any(word in line for word in words)]
