"""`famulus usage`: what an owner types, with and without a database."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path

import pytest

from agent.budget import FREE, Price, Tariff
from agent.transcript import Answer, Usage
from daemon import cli, config
from daemon.store import boots, journal, money, people, turns
from daemon.store.db import migrate
from daemon.store.values import Claim, Place
from daemon.usage_cli import DAY

HERE = Place("telegram", "42", "1")
PRICED = Tariff((Price(model="mini", input=1.0, output=10.0),), FREE.budget)
PRICES = '\n[[prices]]\nmodel = "mini"\ninput = 1.0\noutput = 10.0\ncurrency = "EUR"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration whose state is in the test's directory."""
    path = tmp_path / "config.toml"
    text = config.example().replace("/var/lib/famulus", str(tmp_path), 1)
    path.write_text(text.replace("\nprices = []\n", "\n") + PRICES)
    return path


@pytest.fixture
def calls(tmp_path: Path) -> None:
    """Ada asks `mini` today and ten days ago; Bob asks `other`, and there is no answer."""
    migrate(tmp_path / "famulus.db")
    with sqlite3.connect(tmp_path / "famulus.db") as db:
        db.row_factory = sqlite3.Row
        boot = boots.begin(db, "test", 0.0)
        now = time.time()
        call(db, boot, "Ada", "mini", now)
        call(db, boot, "Ada", "mini", now - 10 * DAY)
        call(db, boot, "Bob", "other", now, answered=False)
    db.close()


def call(
    db: sqlite3.Connection, boot: str, name: str, model: str, at: float, *, answered: bool = True
) -> None:
    user = people.ensure_user(db, "telegram", name, name, at)
    session = people.ensure_session(db, HERE, at)
    turn = turns.create(db, session, text="hi", asked_at=at, now=at, payer_id=user)
    claim = Claim(turn.id, boot, first=False, seen=0)
    request = money.Request(model, 1000, PRICED)
    made = money.intend(db, claim, journal.read_address(db, turn.id), request, at)
    answer = Answer("", (), Usage(900, 300, 100)) if answered else None
    money.settle(db, made, answer, None, at, tariff=PRICED)


def usage(file: Path, *options: str) -> int:
    return cli.main(["usage", "--config", str(file), *options])


@pytest.mark.usefixtures("calls")
def test_days_are_lines_with_a_total(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Calls, tokens of each kind, and costs in the currency of the prices."""
    assert usage(file) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:5] == ["DAY", "CALLS", "PROMPT", "CACHED", "COMPLETION"]
    assert [line.split()[1] for line in lines[1:4]] == ["1", "2", "3"]
    assert lines[3].split()[0] == "total"
    assert lines[-1] == "Costs are in EUR; 1 calls had no price."


@pytest.mark.usefixtures("calls")
def test_people_and_models_are_told_apart(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What became of a call nobody knows; it is counted as what was set aside for it."""
    assert usage(file, "--user", "--model", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["days"], report["currency"]) == (30, "EUR")
    ada, bob = report["rows"]
    assert (ada["user"], ada["model"], ada["calls"]) == ("Ada", "mini", 2)
    assert (ada["prompt"], ada["cached"], ada["completion"]) == (1800, 600, 200)
    assert ada["cost"] == pytest.approx(2 * (900 + 1000) / 1e6)
    assert (bob["user"], bob["unknown"], bob["unpriced"]) == ("Bob", 1000 + 4096, 1)


@pytest.mark.usefixtures("calls")
def test_people_of_the_same_name_are_not_added_up(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name is what somebody has called himself."""
    with sqlite3.connect(tmp_path / "famulus.db") as db:
        db.execute("UPDATE users SET name = 'Ada'")
    db.close()
    assert usage(file, "--user", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert sorted((row["user"], row["calls"]) for row in rows) == [("Ada", 1), ("Ada", 2)]


@pytest.mark.usefixtures("calls")
def test_days_limit_what_is_counted(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One day is today, by UTC."""
    assert usage(file, "--days", "1", "--user", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["user"], row["calls"]) for row in rows] == [("Ada", 1), ("Bob", 1)]


def test_no_calls_are_a_sentence(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not an empty table."""
    migrate(tmp_path / "famulus.db")
    assert usage(file, "--days", "7") == 0
    assert capsys.readouterr().out == "No model was asked in the last 7 days.\n"


def test_without_a_database_the_remedy_is_told_and_none_is_made(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It only reads."""
    assert usage(file) == 69
    said = capsys.readouterr().err
    assert f"there is no database {tmp_path / 'famulus.db'} that uid" in said
    assert "start the daemon once" in said
    assert not (tmp_path / "famulus.db").exists()


@pytest.mark.usefixtures("calls")
def test_it_reads_beside_a_writer(file: Path, tmp_path: Path) -> None:
    """The daemon may be in the middle of a transaction."""
    db = sqlite3.connect(tmp_path / "famulus.db", isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    assert usage(file) == 0
    db.execute("ROLLBACK")
    db.close()


@pytest.mark.parametrize("days", ["0", "-1", "many", "99999"])
def test_days_that_make_no_sense_are_refused(file: Path, days: str) -> None:
    """With the usage, as every wrong option."""
    with pytest.raises(SystemExit) as refused:
        usage(file, "--days", days)
    assert refused.value.code == 2
