"""The first start may be cut off anywhere; a database that is not ours to use is refused."""

from __future__ import annotations

import random
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import trio

from tests.crash.conftest import Figures, choose_seed
from tests.crash.conversation import Question, answer
from tests.crash.launcher import LAUNCHER
from tests.crash.oracle import Kills, judge, settled
from tests.harness.rig import Rig, open_rig

SAMPLE, LARGE_SAMPLE = 2, 30


async def statements(path: Path) -> list[str]:
    """The points of the migration, from an undisturbed first start."""
    async with open_rig() as rig:
        await rig.start([*LAUNCHER, "--record", str(path)])
        assert await rig.stop() == 0
    lines = (await trio.Path(path).read_text()).splitlines()
    return [line for line in lines if line.startswith("statement")]


async def first_start_cut_off(point: str) -> None:
    """Die at `point`; the next start must make what is missing and answer."""
    async with open_rig() as rig:
        rig.model.script = answer
        asked = [Question(1, 1)]
        asked[0].ask(rig.bot)
        rig.spawn([*LAUNCHER, "--kill", point])
        assert await rig.ended() == -signal.SIGKILL, point
        await rig.start()
        assert await settled(rig)
        assert await rig.stop() == 0
        found = judge(rig, asked, Kills())
        assert found.faults == 0, (point, found.notes)
        assert rig.value("PRAGMA integrity_check") == "ok"


@pytest.mark.parametrize("kills", [SAMPLE, pytest.param(LARGE_SAMPLE, marks=pytest.mark.slow)])
async def test_the_first_start_is_cut_off(tmp_path: Path, figures: Figures, kills: int) -> None:
    """Killed at any statement that makes the tables, it starts again as if nothing had been."""
    seed = choose_seed()
    points = await statements(tmp_path / "points")
    for point in random.Random(seed).sample(points, kills):
        await first_start_cut_off(point)
    figures(
        "kill -9 while the tables are made",
        {
            "statements' ends": len(points),
            "kills": kills,
            "not usable after": 0,
            "seed": seed,
        },
    )


async def refusal(rig: Rig) -> str:
    """Start in vain, and give what is said: cause and remedy, and no traceback."""
    rig.spawn()
    code = await rig.ended()
    assert code == 78, (code, rig.last_words())
    assert "Traceback" not in rig.log()
    return rig.log()


async def test_a_file_that_is_no_database_is_refused() -> None:
    """It is named, with what to do, and left as it is."""
    async with open_rig() as rig:
        path = rig.place.state / "famulus.db"
        path.write_bytes(b"this is not a database\n" * 100)
        said = await refusal(rig)
        assert str(path) in said
        assert "not a database" in said
        assert path.read_bytes().startswith(b"this is not")


async def test_a_database_of_a_later_version_is_refused() -> None:
    """Nothing is changed that this version does not understand."""
    async with open_rig() as rig:
        await rig.start()
        assert await rig.stop() == 0
        with closing(sqlite3.connect(rig.place.state / "famulus.db")) as db, db:
            db.execute(
                "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
                " VALUES ('famulus', 'from_the_future', '2031-01-01')"
            )
        said = await refusal(rig)
        assert "from_the_future" in said
        assert "newer" in said


async def test_a_database_with_a_damaged_page_is_refused_or_works() -> None:
    """Damage is told, never answered with silence."""
    async with open_rig() as rig:
        rig.model.script = answer
        await rig.start()
        Question(1, 1).ask(rig.bot)
        assert await settled(rig)
        assert await rig.stop() == 0
        path = rig.place.state / "famulus.db"
        data = bytearray(path.read_bytes())
        data[4096 : 4096 * 4] = b"\xff" * 4096 * 3
        path.write_bytes(data)
        rig.spawn()
        code = await rig.ended()
        assert code != 0
        assert "malformed" in rig.log()
