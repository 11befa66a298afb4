"""`famulus approvals | approve | deny`: what an owner types, against a daemon's own socket."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from agent.transcript import Answer, CallRequest
from daemon import cli, config, control, statelock
from daemon.chat.approvals import Console
from daemon.store import approvals, journal, people, turns
from daemon.store.db import open_database
from daemon.store.turnrow import TurnRow
from daemon.store.values import Place

HERE = Place("telegram", "42", "7")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration whose state is in the test's directory."""
    (tmp_path / "state").mkdir(mode=0o700)
    path = tmp_path / "config.toml"
    path.write_text(config.example().replace("/var/lib/famulus", str(tmp_path / "state"), 1))
    return path


@asynccontextmanager
async def console(file: Path, *asked: str, label: str = "") -> AsyncIterator[list[TurnRow]]:
    """A daemon's answers, to questions that were asked; gives the turns that may go on."""
    state, freed = config.load(file).state_dir, list[TurnRow]()

    def ask(db: Any) -> None:
        session, now = people.ensure_session(db, HERE, 0.0), time.time()
        turn = turns.create(db, session, text="pay", asked_at=now, now=now)
        calls = tuple(CallRequest("", "pay", "{}") for _ in asked)
        made = journal.add_answer(db, turn.id, Answer("", calls), now)
        for what, call in zip(asked, made, strict=True):
            approvals.ask(db, turn.id, call.id, approvals.Wish(what), now)
        db.execute(
            "UPDATE turns SET label = ?, state = 'waiting', waiting_for = 'approval'", (label,)
        )

    with statelock.hold(state) as held:
        async with open_database(state / "famulus.db") as database, trio.open_nursery() as nursery:
            await database.write(ask)
            answers = Console(database, freed.append)
            verbs = control.Control()
            verbs.register("approvals", answers.list)
            verbs.register("answer", answers.answer)
            await nursery.start(control.serve, verbs, held)
            yield freed
            nursery.cancel_scope.cancel()


async def famulus(file: Path, verb: str, *arguments: str) -> int:
    run = partial(cli.main, [verb, "--config", str(file), *arguments])
    return await trio.to_thread.run_sync(run)


async def test_what_waits_is_shown_whole(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its task, the time that is left, and nothing that the terminal would obey."""
    async with console(file, "pay\nto: Ada\x1b[2J", "pay\nto: Bob", label="beer"):
        assert await famulus(file, "approvals") == 0
    first, second = capsys.readouterr().out.split("\n\n")
    assert "  chat 7, [beer], 24 h left\n  pay\n  to: Ada" in first
    assert "\x1b" not in first
    assert second.endswith("  pay\n  to: Bob\n")


async def test_questions_of_any_size_can_be_seen(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is left out of them is counted; a model cannot hide one behind another."""
    async with console(file, "ü" * 500_000, "pay\nto: Bob"):
        assert await famulus(file, "approvals") == 0
    first, second = capsys.readouterr().out.split("\n\n")
    assert "characters left out" in first
    assert "to: Bob" in second


async def test_nothing_that_waits_is_said(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with console(file):
        assert await famulus(file, "approvals") == 0
    assert capsys.readouterr().out == "Nothing waits.\n"


@pytest.mark.parametrize(("verb", "says"), [("approve", "Allowed."), ("deny", "Forbidden.")])
async def test_an_answer_is_taken_once(
    file: Path, capsys: pytest.CaptureFixture[str], verb: str, says: str
) -> None:
    """The turn goes on at once; who answers again hears how it stands."""
    async with console(file, "pay") as freed:
        await famulus(file, "approvals")
        ref = capsys.readouterr().out.split()[0]
        assert await famulus(file, verb, ref.upper()) == 0
        assert await famulus(file, "approve", ref) == 0
        assert [turn.state for turn in freed] == ["ready"]
    first, second = capsys.readouterr().out.splitlines()
    assert first == says
    assert second.endswith("already.")


async def test_a_question_that_is_not_there_is_an_error_with_a_remedy(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with console(file, "pay"):
        assert await famulus(file, "approve", "nonsense") != 0
    error = capsys.readouterr().err
    assert "there is no question 'nonsense'" in error
    assert "famulus approvals" in error
