"""`famulus jobs export | import`: all or nothing, and as it was."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from daemon import cli, config, jobs_verbs
from daemon.schedule.deciding import Arrival
from daemon.schedule.recurrence import Once
from daemon.store import jobs, occurrences, turns
from tests.daemon.jobs_cli_of import (
    BOT,
    NEWS,
    SOON,
    STRETCH,
    add,
    by_hand,
    count,
    jobs_cli,
    left_behind,
    left_over,
    no_guest,
    put,
    three,
    written,
)
from tests.daemon.test_people_cli import file, prepare

__all__ = ["file"]  # a fixture


@pytest.mark.parametrize("runs", [True, False])
async def test_what_was_exported_comes_back_as_it_was(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, runs: bool
) -> None:
    """Byte for byte, into a database in which none of them are; nobody else may read the file."""
    await prepare(file, three)
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    assert await jobs_cli(file, "export", str(first), runs=runs) == 0
    assert first.stat().st_mode & 0o777 == 0o600
    await prepare(file, lambda db: db.execute("DELETE FROM jobs"))
    assert await jobs_cli(file, "import", str(first), runs=runs) == 0
    assert "Taken in: 3\n" in capsys.readouterr().out
    assert await jobs_cli(file, "export", str(second)) == 0
    assert second.read_bytes() == first.read_bytes()
    kept = await prepare(file, jobs.find, "bbbbbbbb")
    assert (kept.plan, kept.begun, kept.state) == (NEWS, 4, "paused")
    assert left_over(file) == []


async def test_a_new_database_knows_the_persons_of_a_file(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """If they are answered at all; so one moves to another machine."""
    await prepare(file, three)
    path = tmp_path / "jobs.json"
    assert await jobs_cli(file, "export", str(path)) == 0
    state_dir = config.load(file).state_dir
    for each in state_dir.glob("famulus.db*"):
        each.unlink()
    assert await jobs_cli(file, "import", str(path)) == 0
    capsys.readouterr()
    assert await jobs_cli(file, "export") == 0
    assert capsys.readouterr().out == path.read_text()


async def test_a_file_that_is_there_is_not_written_over(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unless one insists; what cannot be written leaves nothing behind."""
    await prepare(file, three)
    path = tmp_path / "jobs.json"
    path.write_text("mine")
    assert await jobs_cli(file, "export", str(path)) == 1
    assert path.read_text() == "mine"
    assert "--force" in capsys.readouterr().err
    assert await jobs_cli(file, "export", str(path), "--force") == 0
    assert len(json.loads(path.read_text())["jobs"]) == 3
    assert await jobs_cli(file, "export", str(tmp_path / "none" / "jobs.json")) == 1
    assert "cannot be written" in capsys.readouterr().err
    assert left_behind(tmp_path) == []


async def test_a_file_by_hand_needs_little(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt, a rule and a chat; it may come from standard input."""
    whole = {
        "famulus_jobs": 1,
        "jobs": [
            by_hand(),
            by_hand(id="stretch", rule={"every": 3600}, name="Up!"),
            by_hand(rule={"at": "2030-12-01T09:00"}, zone="Europe/Berlin", user=1),
        ],
    }
    text = SimpleNamespace(buffer=io.BytesIO(json.dumps(whole).encode()))
    monkeypatch.setattr("sys.stdin", text)
    assert await jobs_cli(file, "import", "-") == 0
    rows = await prepare(file, lambda db: db.execute("SELECT ref FROM jobs ORDER BY id").fetchall())
    cron, every, once = [await prepare(file, jobs.find, row[0]) for row in rows]
    assert (cron.plan.name, cron.plan.missed, cron.whose.role) == ("hello", "once", "owner")
    assert (every.ref, every.plan.name, every.plan.missed) == ("stretch", "Up!", "skip")
    assert abs(every.next_at - time.time() - 3600) < 60
    assert once.plan.recurrence.rule == Once(1922342400.0)
    assert once.next_at == 1922342400.0


@pytest.mark.parametrize("runs", [True, False])
async def test_what_is_there_already_is_left_alone(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, runs: bool
) -> None:
    """Or replaced, if that is said."""
    await prepare(file, three)
    path = written(tmp_path, by_hand(id="aaaaaaaa", prompt="other"), by_hand(id="new"))
    assert await jobs_cli(file, "import", path, runs=runs) == 0
    out = capsys.readouterr().out
    assert "Taken in: 1\n" in out
    assert "there already: 1 " in out
    assert (await prepare(file, jobs.find, "aaaaaaaa")).plan.prompt == STRETCH.prompt
    assert await jobs_cli(file, "import", path, "--replace", runs=runs) == 0
    assert "Replaced: 2\n" in capsys.readouterr().out
    assert (await prepare(file, jobs.find, "aaaaaaaa")).plan.prompt == "other"
    assert await count(file) == 4


@pytest.mark.parametrize("runs", [True, False])
async def test_a_dry_run_changes_nothing(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, runs: bool
) -> None:
    """And says what would be done."""
    await prepare(file, three)
    path = written(tmp_path, by_hand(), by_hand(id="aaaaaaaa"))
    assert await jobs_cli(file, "import", path, "--dry-run", runs=runs) == 0
    out = capsys.readouterr().out
    assert "Nothing was done; this is what would be:\nTaken in: 1\n" in out
    assert "there already: 1 " in out
    assert await count(file) == 3


async def test_what_has_nothing_left_to_come_is_left_out(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And named; what recurs goes on with its next time, and what has ended stays so."""
    path = written(
        tmp_path,
        by_hand(name="tax", rule={"at": 1e9}),
        by_hand(name="enough", count=3, begun=3),
        by_hand(name="daily", rule={"every": 86400, "anchor": 1e9}),
        by_hand(name="gone", rule={"at": 1e9}, state="ended", why="done"),
    )
    assert await jobs_cli(file, "import", path) == 0
    out = capsys.readouterr().out
    assert "Taken in: 2\n" in out
    assert "left to come: 2\n" in out
    assert "\n  tax\n  enough\n" in out
    rows = await prepare(
        file, lambda db: db.execute("SELECT name, next_at FROM jobs ORDER BY id").fetchall()
    )
    assert [row[0] for row in rows] == ["daily", "gone"]
    assert 0 < rows[0][1] - time.time() <= 86400
    assert rows[1][1] is None


@pytest.mark.parametrize("runs", [True, False])
async def test_every_problem_is_told_and_nothing_is_taken_in(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, runs: bool
) -> None:
    """Those of the file and those of the database, each with its place."""
    path = written(
        tmp_path,
        by_hand(),
        by_hand(rule={"cron": "99 9 * * *"}),
        by_hand(rule={"every": 5}),
        by_hand(chat=77),
        by_hand(chat={"chat": 1, "account": "999"}),
        by_hand(chat=3, user=1),
        by_hand(prompt="", colour="red"),
        by_hand(zone="Mars/Base"),
        by_hand(model="gpt-\x1b[2J"),
        by_hand(until="tomorrow-ish", count=True),
        by_hand(id="A B"),
        by_hand(chat=-55),
        7,
    )
    assert await jobs_cli(file, "import", path, runs=runs) == 1
    err = capsys.readouterr().err
    for wanted in (
        "jobs[1].rule: ",
        "jobs[2].rule: that is every 5 seconds; 60 is the least",
        "jobs[3].chat: 77 is not answered by this bot",
        "jobs[4].chat: it is of the bot 999",
        "jobs[5].user: 3 is the private chat of somebody else",
        "jobs[6].prompt: ",
        "jobs[6]: 'colour' is not known",
        "jobs[7].zone: ",
        "jobs[8].model: ",
        "jobs[9].until: ",
        "jobs[9].count: ",
        "jobs[10].id: ",
        "jobs[11].user: ",
        "jobs[12]: an object is wanted",
    ):
        assert wanted in err
    assert "\x1b" not in err
    assert "jobs[0]" not in err
    assert await count(file) == 0
    assert left_over(file) == []


@pytest.mark.parametrize("text", ["", "[]", "{", '{"famulus_jobs": 2}', "\xff", "[" * 100_000])
async def test_what_is_no_file_of_jobs_is_refused(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    """In words."""
    path = tmp_path / "jobs.json"
    path.write_text(text, encoding="latin-1")
    assert await jobs_cli(file, "import", str(path)) == 1
    assert "nothing was taken in" in capsys.readouterr().err


async def test_all_jobs_can_be_put_into_another_chat(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A private chat's person comes with it; so do those who move to another bot."""
    no_guest(file)
    path = written(
        tmp_path, by_hand(chat={"chat": 77, "account": "999"}), by_hand(chat=78, user=78)
    )
    assert await jobs_cli(file, "import", path, "--chat", "3") == 0
    capsys.readouterr()
    assert await jobs_cli(file, "export") == 0
    for each in json.loads(capsys.readouterr().out)["jobs"]:
        assert (each["chat"]["account"], each["chat"]["chat"]) == (BOT, "3")
        assert (each["user"]["id"], each["role"]) == ("3", "user")


async def test_nobody_gets_a_role_from_a_file_that_they_do_not_have(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that is less than theirs is kept; guests may not schedule anything."""
    put(file, "allowed_users = []", "allowed_users = [4]")
    path = written(
        tmp_path,
        by_hand(id="more", chat=4, role="owner"),
        by_hand(id="less", chat=1, role="guest"),
    )
    assert await jobs_cli(file, "import", path) == 0
    assert (await prepare(file, jobs.find, "more")).whose.role == "user"
    assert (await prepare(file, jobs.find, "less")).whose.role == "guest"
    path = written(tmp_path, by_hand(chat=3))
    assert await jobs_cli(file, "import", path) == 1
    assert "jobs[0].user: 3 is a guest there" in capsys.readouterr().err


@pytest.mark.parametrize("runs", [True, False])
async def test_nobody_gets_more_jobs_than_they_may_have(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, runs: bool
) -> None:
    """What is replaced counts once, and what has ended not at all."""
    await prepare(file, three)
    more = [by_hand(id=f"j{number}") for number in range(47)]
    assert await jobs_cli(file, "import", written(tmp_path, *more, by_hand()), runs=runs) == 1
    assert "1 would have 51 scheduled prompts, and 50" in capsys.readouterr().err
    ended = by_hand(rule={"at": 1e9}, state="ended")
    path = written(tmp_path, *more, by_hand(id="aaaaaaaa"), ended)
    assert await jobs_cli(file, "import", path, "--replace", runs=runs) == 0
    assert await count(file) == 51


async def test_what_is_replaced_by_a_paused_one_is_not_tried_again(
    file: Path, tmp_path: Path
) -> None:
    """As if it had been paused."""

    def fail(db: sqlite3.Connection) -> None:
        job = add(db, STRETCH, "aaaaaaaa")
        occurrence = occurrences.begin(db, job, Arrival(5.0), 5.0)
        assert occurrence is not None
        turn = occurrences.begin_turn(db, job, occurrence, "x", 5.0)
        turns.end(db, turn.id, "failed", 6.0)
        occurrences.retry(db, occurrence, 9.0, "it broke")

    await prepare(file, fail)
    path = written(tmp_path, by_hand(id="aaaaaaaa", state="paused", why="later"))
    assert await jobs_cli(file, "import", path, "--replace") == 0
    assert await prepare(file, occurrences.retry_at) is None


@pytest.mark.parametrize("runs", [True, False])
async def test_ten_thousand_jobs_go_out_and_come_in(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, runs: bool
) -> None:
    """Though no answer of the daemon's could hold them, and no request."""
    put(file, "max_jobs_per_person = 50", "max_jobs_per_person = 10000")
    kinds = ({"cron": "0 9 * * 1-5"}, {"every": 3600}, {"at": SOON})
    records = [
        by_hand(id=f"j{number}", prompt="x" * 200, rule=kinds[number % 3])
        for number in range(10_000)
    ]
    assert await jobs_cli(file, "import", written(tmp_path, *records), runs=runs) == 0
    assert "Taken in: 10,000\n" in capsys.readouterr().out
    path = tmp_path / "out.json"
    assert await jobs_cli(file, "export", str(path), runs=runs) == 0
    assert ": 10,000\n" in capsys.readouterr().out
    assert len(json.loads(path.read_text())["jobs"]) == 10_000
    assert await jobs_cli(file, "list", runs=runs) == 0
    assert "9,800 more" in capsys.readouterr().out


async def test_too_many_jobs_for_a_daemon_that_runs_wait_until_it_does_not(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would keep the writer from those who talk to the bot."""
    monkeypatch.setattr(jobs_verbs, "MOST_AT_ONCE", 1)
    path = written(tmp_path, by_hand(), by_hand())
    assert await jobs_cli(file, "import", path, runs=True) == 1
    assert "stop the daemon" in capsys.readouterr().err
    assert await jobs_cli(file, "import", path) == 0
    assert await count(file) == 2


async def test_a_groups_jobs_keep_their_persons(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Or get one by --user; somebody whom nobody knows is a problem."""
    put(file, "allowed_chats = []", "allowed_chats = [-55]")
    no_guest(file)
    path = written(tmp_path, by_hand(chat=7, user=1), by_hand(chat=8, user=8))
    assert await jobs_cli(file, "import", path, "--chat", "-55") == 1
    assert "jobs[1].user: 8 is not known" in capsys.readouterr().err
    assert await jobs_cli(file, "import", path, "--chat", "-55", "--user", "3") == 0
    capsys.readouterr()
    assert await jobs_cli(file, "export") == 0
    for each in json.loads(capsys.readouterr().out)["jobs"]:
        assert (each["chat"]["chat"], each["user"]["id"], each["role"]) == ("-55", "3", "user")


@pytest.mark.parametrize("id_", ["x", "", "1e3", "-", "0", "9" * 30])
def test_an_id_is_a_number(file: Path, id_: str) -> None:
    """Anything else is wrong usage."""
    with pytest.raises(SystemExit, match="2"):
        cli.main(["jobs", "import", "-", "--config", str(file), f"--chat={id_}"])


async def test_what_a_killed_command_has_left_is_removed(file: Path, tmp_path: Path) -> None:
    """By the next one, once it is so old that nobody can need it."""
    state_dir = config.load(file).state_dir
    old, young = state_dir / "import-aaaaaaaa.jobs", state_dir / "import-bbbbbbbb.jobs"
    for each in (old, young):
        each.touch()
    os.utime(old, (1.0, 1.0))
    assert await jobs_cli(file, "import", written(tmp_path, by_hand())) == 0
    assert left_over(file) == [young]
