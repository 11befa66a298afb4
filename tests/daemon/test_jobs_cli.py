"""`famulus jobs`: looked at and changed, through the daemon's socket and without one."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from daemon import config, statelock
from daemon.schedule.deciding import Arrival
from daemon.store import jobs, occurrences
from daemon.store.values import Place
from tests.daemon.jobs_cli_of import (
    GROUP,
    SOON,
    STRETCH,
    add,
    daemon,
    jobs_cli,
    state,
    three,
)
from tests.daemon.test_people_cli import BOT, famulus, file, prepare

__all__ = ["file"]  # a fixture


# --- Looking ---


@pytest.mark.parametrize("runs", [True, False])
async def test_all_jobs_are_listed(
    file: Path, capsys: pytest.CaptureFixture[str], *, runs: bool
) -> None:
    """Of all chats, with whose they are, when they come, and why one does not."""
    await prepare(file, three)
    await prepare(file, add, STRETCH, "dddddddd", GROUP)
    assert await jobs_cli(file, "list", runs=runs) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()] == [
        *("ID", "aaaaaaaa", "cccccccc", "dddddddd", "bbbbbbbb")
    ]
    assert "1 person 1" in out
    assert "-55/7" in out
    assert "paused: by Ann" in out
    assert "BOT" not in out


async def test_what_has_ended_is_listed_if_asked_for(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it is exported only then."""
    await prepare(file, three)
    await prepare(file, lambda db: jobs.set_state(db, 1, "ended", "done", None, 2.0))
    assert await jobs_cli(file, "list") == 0
    assert "aaaaaaaa" not in capsys.readouterr().out
    assert await jobs_cli(file, "list", "--all") == 0
    assert "ended: done" in capsys.readouterr().out
    assert await jobs_cli(file, "export", "--all") == 0
    assert len(json.loads(capsys.readouterr().out)["jobs"]) == 3
    assert await jobs_cli(file, "export") == 0
    assert len(json.loads(capsys.readouterr().out)["jobs"]) == 2


async def test_a_long_list_is_cut_and_says_so(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table, and the object for programs."""
    await prepare(file, three)
    assert await jobs_cli(file, "list", "--limit", "1") == 0
    assert "2 more: --limit 3 lists them all" in capsys.readouterr().out
    assert await jobs_cli(file, "list", "--limit", "1", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["more"] == 2
    assert (found["jobs"][0]["id"], found["jobs"][0]["next_at"]) == ("aaaaaaaa", SOON)
    assert len(found["jobs"][0]["next"]) == 3


async def test_without_jobs_there_is_a_sentence(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And no empty table."""
    await prepare(file, lambda _db: None)
    assert await jobs_cli(file, "list") == 0
    assert capsys.readouterr().out == "There are no scheduled prompts.\n"


async def test_without_a_database_there_is_nothing_to_read(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is needed is not there, and the remedy says how it comes to be."""
    assert await jobs_cli(file, "list") == 69
    assert "start the daemon once" in capsys.readouterr().err


async def test_jobs_of_another_bot_are_told_apart(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where there are some."""
    await prepare(file, three)
    await prepare(file, add, STRETCH, "dddddddd", Place("telegram", "999", "1"))
    assert await jobs_cli(file, "list") == 0
    out = capsys.readouterr().out
    assert "BOT" in out
    assert "999" in out


async def test_one_is_shown_with_its_prompt_and_its_runs(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And nothing that a terminal would obey."""

    def run(db: sqlite3.Connection) -> None:
        job = jobs.find(db, "bbbbbbbb")
        assert job is not None
        occurrences.miss(db, job, Arrival(1e9), "nobody was \x1b there", 2.0)

    await prepare(file, three)
    await prepare(file, run)
    assert await jobs_cli(file, "show", " BBBBBBBB ") == 0
    out = capsys.readouterr().out
    assert "\n  the news\n  of \\x1b[2J today\n" in out
    assert "not run (nobody was \\x1b there)" in out
    assert "4 of 9" in out
    assert "\x1b" not in out
    assert await jobs_cli(file, "show", "aaaaaaaa", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["next"]) == 3


@pytest.mark.parametrize("runs", [True, False])
@pytest.mark.parametrize("action", ["show", "run", "pause", "resume", "delete"])
async def test_what_is_not_there_is_refused(
    file: Path, capsys: pytest.CaptureFixture[str], action: str, *, runs: bool
) -> None:
    """In two lines."""
    await prepare(file, three)
    assert await jobs_cli(file, action, "zzzzzzzz", runs=runs) == 1
    err = capsys.readouterr().err.splitlines()
    assert "no scheduled prompt 'zzzzzzzz'" in err[0]
    assert "famulus jobs list" in err[1]


# --- Changing one ---


@pytest.mark.parametrize("runs", [True, False])
async def test_one_is_paused_and_goes_on(
    file: Path, capsys: pytest.CaptureFixture[str], *, runs: bool
) -> None:
    """Each is a sentence, which names what undoes it."""
    await prepare(file, three)
    assert await jobs_cli(file, "pause", "aaaaaaaa", runs=runs) == 0
    assert await state(file) == "paused"
    assert "famulus jobs resume aaaaaaaa" in capsys.readouterr().out
    assert await jobs_cli(file, "pause", "aaaaaaaa", runs=runs) == 0
    assert "paused already" in capsys.readouterr().out
    assert await jobs_cli(file, "resume", "aaaaaaaa", runs=runs) == 0
    assert await state(file) == "active"
    assert "goes on; next " in capsys.readouterr().out


async def test_one_is_run_by_the_daemon_at_once(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its turn is told of, and a second run is refused meanwhile."""
    await prepare(file, three)
    async with daemon(file) as router:
        assert await famulus(file, "jobs", "run", "aaaaaaaa") == 0
        assert router.lanes.board.waiting == 1
        assert await famulus(file, "jobs", "run", "aaaaaaaa") == 1
    streams = capsys.readouterr()
    assert streams.out == "stretch is run now.\n"
    assert "running already" in streams.err


async def test_without_a_daemon_a_run_waits_for_its_start(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the row of a turn, which the next start takes up; the sentence says so."""
    await prepare(file, three)
    assert await jobs_cli(file, "run", "aaaaaaaa") == 0
    assert "when the daemon is started" in capsys.readouterr().out
    rows = await prepare(
        file, lambda db: db.execute("SELECT cause, state, lane FROM turns").fetchall()
    )
    assert [tuple(row) for row in rows] == [("schedule", "ready", "job-aaaaaaaa")]


@pytest.mark.parametrize("runs", [True, False])
async def test_nothing_is_run_for_a_chat_that_is_not_answered(
    file: Path, capsys: pytest.CaptureFixture[str], *, runs: bool
) -> None:
    """Of this bot's, or of another's."""
    await prepare(file, add, STRETCH, "aaaaaaaa", Place("telegram", BOT, "77"))
    await prepare(file, add, STRETCH, "bbbbbbbb", Place("telegram", "999", "1"))
    assert await jobs_cli(file, "run", "aaaaaaaa", runs=runs) == 1
    assert "the chat 77 is not answered" in capsys.readouterr().err
    assert await jobs_cli(file, "run", "bbbbbbbb", runs=runs) == 1


@pytest.mark.parametrize("runs", [True, False])
async def test_one_is_deleted_with_what_runs_of_it(file: Path, *, runs: bool) -> None:
    """Its turn has been stopped."""
    await prepare(file, three)
    assert await jobs_cli(file, "run", "aaaaaaaa") == 0
    assert await jobs_cli(file, "delete", "aaaaaaaa", runs=runs) == 0
    assert await state(file) == "gone"
    rows = await prepare(file, lambda db: db.execute("SELECT outcome FROM turns").fetchall())
    assert [row[0] for row in rows] == ["stopped"]


async def test_a_held_state_directory_is_not_written_to(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a process holds it and does not answer yet; looking is possible all the same."""
    await prepare(file, three)
    with statelock.hold(config.load(file).state_dir):
        assert await jobs_cli(file, "pause", "aaaaaaaa") == 69
        assert await jobs_cli(file, "list") == 0
    assert "in use" in capsys.readouterr().err
