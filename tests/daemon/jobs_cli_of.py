"""Jobs for tests of `famulus jobs`, and a daemon that answers it."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from attrs import evolve

from daemon import config, control, jobs_verbs, statelock
from daemon.chat.router import Router
from daemon.schedule.recurrence import Interval, Once, Recurrence, parse_cron
from daemon.store import jobs, people
from daemon.store.db import open_database
from daemon.store.jobs import Plan, Whose
from daemon.store.values import Place
from tests.daemon.test_people_cli import BOT, famulus, file, prepare, router_on

__all__ = ["file"]  # a fixture

HERE = Place("telegram", BOT, "1")
GROUP = Place("telegram", BOT, "-55", "7")
HOUR = 3600.0
SOON = time.time() + 1000 * HOUR

STRETCH = Plan(
    name="stretch",
    prompt="tell me to stretch",
    recurrence=Recurrence(Interval(HOUR, SOON - HOUR)),
    zone="UTC",
    missed="skip",
)
NEWS = Plan(
    name="news",
    prompt="the news\nof \x1b[2J today",
    recurrence=Recurrence(parse_cron("0 9 * * 1-5", "Europe/Berlin"), SOON + 1e6, 9),
    zone="Europe/Berlin",
    missed="once",
    silent=True,
    tools=("web_search",),
    tokens=5000,
)
TAX = evolve(STRETCH, name="tax", recurrence=Recurrence(Once(SOON)), missed="once")


def whose(db: sqlite3.Connection, place: Place = HERE, person: str = "1") -> Whose:
    user = people.ensure_user(db, "telegram", person, f"person {person}", 1.0)
    return Whose(people.ensure_session(db, place, 1.0), user, "user")


def add(
    db: sqlite3.Connection, plan: Plan = STRETCH, ref: str = "", place: Place = HERE
) -> jobs.Job:
    return jobs.create(db, whose(db, place), plan, SOON, 1.5, ref)


def three(db: sqlite3.Connection) -> None:
    """One each of what recurs and what comes once, of which one was paused."""
    add(db, STRETCH, "aaaaaaaa")
    news = add(db, NEWS, "bbbbbbbb")
    jobs.passed(db, news.id, 4, SOON, 2.0)
    jobs.set_state(db, news.id, "paused", "by Ann", SOON, 2.0)
    add(db, TAX, "cccccccc")


@asynccontextmanager
async def daemon(file: Path) -> AsyncIterator[Router]:
    """A daemon's socket with a router behind it."""
    settings = config.load(file)
    with statelock.hold(settings.state_dir) as held:
        async with open_database(settings.state_dir / "famulus.db") as database:
            router = router_on(database, settings)
            await router.reread()

            async def answer(request: dict[str, Any]) -> dict[str, Any]:
                return await jobs_verbs.answer(router, request, jobs_verbs.MOST_AT_ONCE)

            async with trio.open_nursery() as nursery:
                verbs = control.Control()
                verbs.register("jobs", answer)
                await nursery.start(control.serve, verbs, held)
                yield router
                nursery.cancel_scope.cancel()


async def jobs_cli(file: Path, *words: str, runs: bool = False) -> int:
    if not runs:
        return await famulus(file, "jobs", *words)
    async with daemon(file):
        return await famulus(file, "jobs", *words)


async def state(file: Path, ref: str = "aaaaaaaa") -> str:
    job = await prepare(file, jobs.find, ref)
    return "gone" if job is None else str(job.state)


async def count(file: Path) -> int:
    (row,) = await prepare(file, lambda db: db.execute("SELECT count(*) FROM jobs").fetchall())
    return int(row[0])


def written(tmp_path: Path, *records: Any, name: str = "jobs.json") -> str:
    path = tmp_path / name
    path.write_text(json.dumps({"famulus_jobs": 1, "jobs": list(records)}))
    return str(path)


def by_hand(**more: Any) -> dict[str, Any]:
    """As little as a file must say."""
    return {"prompt": "hello", "rule": {"cron": "0 9 * * 1-5"}, "chat": 1, **more}


def left_over(file: Path) -> list[Path]:
    return list(config.load(file).state_dir.glob("import-*"))


def left_behind(folder: Path) -> list[Path]:
    return list(folder.glob(".famulus-*"))


def put(file: Path, old: str, new: str) -> None:
    """Another word in the configuration."""
    file.write_text(file.read_text().replace(old, new))


def no_guest(file: Path) -> None:
    """Let who is a guest be a user."""
    put(file, "guests = [3]", "guests = []")
    put(file, "allowed_users = []", "allowed_users = [3]")
