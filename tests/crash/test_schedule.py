"""kill -9 around appointments: each instant is run, and none of them twice.

Jobs are put into the database before the daemon starts, which then dies at a point of an
undisturbed run's record, as in test_points.py; its heir must keep what was due. An answer may come
twice only if the second says so, and only if it was on its way when the daemon died.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
import trio
from attrs import define

from daemon.demo.replies import ChatRequest, Item, ModelFault, text_of
from daemon.schedule.recurrence import Cron, Interval, Once, Recurrence
from daemon.store import jobs, migrations, people
from daemon.store.db import _connect
from daemon.store.jobs import Plan, Whose
from daemon.store.values import Place
from tests.crash.conftest import Figures, choose_seed
from tests.crash.launcher import LAUNCHER
from tests.crash.oracle import LABEL, Kills, settled
from tests.crash.visiting import visit_all
from tests.harness.rig import Rig, open_rig

SAMPLE = 6  # points in the short form
RUNS = 300  # of the long one, with a kill each
TITLE = "kill -9 around appointments"
TIMES = 3  # that the interval comes
LIFE = 60.0  # seconds; only reached by a test that has failed

OPEN_OCCURRENCES = "SELECT count(*) FROM occurrences WHERE state IN ('open', 'retry')"
LEFT = "SELECT count(*) FROM jobs WHERE state = 'active' AND next_at IS NOT NULL AND name <> 'far'"


def plan(name: str, rule: Recurrence, **more: object) -> Plan:
    given = {"zone": "UTC", "missed": "all", **more}
    return Plan(name=name, prompt=f"say {name}", recurrence=rule, **given)  # type: ignore[arg-type]


def book(rig: Rig) -> None:
    """Appointments of all kinds in one chat, some due at once, and one that is far off.

    Its person says something, too: Telegram lets nobody be written to who never has.
    """
    rig.bot.user_says("/busy queue")
    path = rig.place.state / "famulus.db"
    path.parent.mkdir(exist_ok=True)
    migrations.bring_up_to_date(path)
    now = time.time()
    place = Place("telegram", rig.bot.token.split(":")[0], "1")
    with closing(_connect(path)) as db:
        user = people.ensure_user(db, "telegram", "1", "Ada", now)
        whose = Whose(people.ensure_session(db, place, now), user, "user")
        for each, first in (
            (plan("once", Recurrence(Once(now))), now),
            (plan("soon", Recurrence(Once(now + 1.0))), now + 1.0),
            (plan("often", Recurrence(Interval(1.0, now - 1.0), count=TIMES)), now),
            (plan("quiet", Recurrence(Once(now + 0.5)), silent=True), now + 0.5),
            (plan("far", Recurrence(Cron("0 0 1 1 *", "UTC"))), now + 30 * 86400.0),
        ):
            jobs.create(db, whose, each, first, now)


def answer(request: ChatRequest) -> Item:
    """Say what the prompt asks for."""
    told = text_of(request.messages[-1])
    name = told.partition("say ")[2].split()[0]
    return "NOTHING_TO_REPORT" if name == "quiet" else f"<{name}>"


@define
class Found:
    """What became of the appointments of a run."""

    ran: int
    twice: int
    lost: int
    unearned: int
    labelled: int

    @property
    def faults(self) -> int:
        return self.twice + self.lost + self.unearned


def judge(rig: Rig, kills: Kills) -> Found:
    """Look at a settled world: the chat's messages, and the rows of occurrences."""
    texts = [text for text in rig.bot.texts(1) if "<" in text]
    labelled = [text for text in texts if text.startswith(LABEL)]
    shown = Counter(text for text in texts if not text.startswith(LABEL))
    expected = Counter({"<once>": 1, "<soon>": 1, "<often>": TIMES})
    known = {text.removeprefix(LABEL) for text in labelled}
    done = rig.value("SELECT count(*) FROM occurrences WHERE state = 'done'")
    missing = expected - shown
    lost = sum(count for text, count in missing.items() if text not in known)
    twice = sum((shown - expected).values())
    lost += (sum(expected.values()) + 1) - done
    return Found(done, twice, lost, max(0, len(labelled) - kills.in_flight.total()), len(labelled))


async def kept(rig: Rig) -> bool:
    """Wait until every appointment but the far one has come to its end; False if it died."""
    with trio.move_on_after(LIFE):
        while True:
            if not await settled(rig) or not rig.runs:
                return False
            if not rig.value(LEFT) and not rig.value(OPEN_OCCURRENCES):
                return True
            await trio.sleep(0.05)
    rows = [dict(row) for row in rig.rows("SELECT * FROM occurrences WHERE ended_at IS NULL")]
    raise AssertionError(f"not kept: {rows}\n{rig.last_words()}")


async def keep(options: Sequence[str]) -> Found:
    """Keep all appointments with a daemon that dies by `options`, and with its heirs."""
    async with open_rig() as rig:
        rig.model.script = answer
        book(rig)
        kills = Kills()
        rig.spawn([*LAUNCHER, *options])
        while not (await kept(rig) and await rig.stop() == 0):
            kills.note(rig)
            await rig.start()
        return judge(rig, kills)


async def record(tmp_path: Path) -> list[str]:
    """The points that an undisturbed run reaches."""
    file = tmp_path / "points"
    undisturbed = await keep(["--record", str(file)])
    assert undisturbed.faults == 0, undisturbed
    return file.read_text().split("\n")[:-1]


async def test_every_appointment_is_kept_once(tmp_path: Path, figures: Figures) -> None:
    """Killed at some of the points, all those of the schedule's own transaction among them."""
    points = await record(tmp_path)
    dice = random.Random(seed := choose_seed())
    own = [each for each in points if each.startswith("run.advance ")]
    assert len(own) >= 3 * 3
    chosen = [*dice.sample(own, SAMPLE), *dice.sample(points, SAMPLE)]
    await visit(chosen, figures, seed)


@pytest.mark.slow
async def test_three_hundred_kills_around_appointments(tmp_path: Path, figures: Figures) -> None:
    """Each point at least once, as far as there are so many; else drawn again."""
    points = await record(tmp_path)
    dice = random.Random(seed := choose_seed())
    chosen = dice.sample(points, min(RUNS, len(points)))
    chosen += dice.choices(points, k=RUNS - len(chosen))
    await visit(chosen, figures, seed)


async def visit(points: Sequence[str], figures: Figures, seed: int) -> None:
    faulty: dict[str, Found] = {}
    total: Counter[str] = Counter()

    async def one(point: str) -> None:
        found = await keep(["--kill", point])
        total.update(runs=found.ran, twice=found.twice, lost=found.lost, labels=found.labelled)
        if found.faults:
            faulty[point] = found

    await visit_all(points, one)
    figures(TITLE, {"kills": len(points), **total, "faulty": len(faulty), "seed": seed})
    assert faulty == {}


async def test_a_failed_run_is_tried_again(tmp_path: Path) -> None:
    """A model that fails: the run waits for its next try, and no chat is told of it yet."""
    async with open_rig(model={"max_attempts": 1}) as rig:
        rig.model.script = answer
        rig.model.faults.add(ModelFault(status=400))
        book(rig)
        await rig.start()
        await rig.until(lambda: rig.value("SELECT count(*) FROM occurrences WHERE state = 'retry'"))
        with closing(sqlite3.connect(rig.place.state / "famulus.db", timeout=20)) as db, db:
            db.execute("UPDATE occurrences SET retry_at = 0 WHERE state = 'retry'")
        assert await rig.stop() == 0
        await rig.start()
        assert await kept(rig)
        assert await rig.stop() == 0
        assert judge(rig, Kills()).faults == 0
