"""`famulus pair` and `famulus people`: through the daemon's socket, and without a daemon."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from daemon import cli, config, control, people_verbs, statelock
from daemon.chat.access import access_of
from daemon.chat.lanes import Lanes
from daemon.chat.router import Router
from daemon.store import admission, outbox, pairing, people, turns
from daemon.store.db import Database, open_database
from daemon.store.outbox import Draft
from daemon.store.values import Place
from tests.daemon.chat.test_router import never

BOT = "1234567"
EVE = Place("telegram", BOT, "9")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with an owner and a guest, whose state is in the test's directory."""
    monkeypatch.setenv("FAMULUS_TELEGRAM_TOKEN", f"{BOT}:ABC-DEF1234ghIkl-zyx57W2v1u123ew11")
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    text = config.example().replace("/var/lib/famulus", str(state), 1)
    for key, value in (("owner = 0", "owner = 1"), ("guests = []", "guests = [3]")):
        text = text.replace(f"\n{key}\n", f"\n{value}\n")
    path = tmp_path / "config.toml"
    path.write_text(text.replace("pairing = false", "pairing = true"))
    return path


async def prepare(file: Path, act: Callable[..., Any], *args: Any) -> Any:
    """Change the database while nobody runs."""
    async with open_database(config.load(file).state_dir / "famulus.db") as database:
        return await database.write(act, *args)


async def code_of(file: Path, name: str = "Eve") -> str:
    found = await prepare(file, pairing.knock, EVE, name, time.time())
    return str(found.code)


@asynccontextmanager
async def daemon(file: Path) -> AsyncIterator[Router]:
    """A daemon's socket with a router behind it."""
    settings = config.load(file)
    with statelock.hold(settings.state_dir) as held:
        async with open_database(settings.state_dir / "famulus.db") as database:
            router = router_on(database, settings)
            async with trio.open_nursery() as nursery:
                verbs = control.Control()
                people_verbs.register(verbs, router)
                await nursery.start(control.serve, verbs, held)
                yield router
                nursery.cancel_scope.cancel()


def router_on(database: Database, settings: config.Config) -> Router:
    lanes = Lanes(database, 4, never, lambda _place: None)
    access = access_of(settings.telegram)
    return Router(database, BOT, access, lanes, lambda _place: None, list)


async def famulus(file: Path, *words: str) -> int:
    run = partial(cli.main, [*words, "--config", str(file)])
    return await trio.to_thread.run_sync(run)


def paired(db: sqlite3.Connection) -> dict[str, str]:
    return {row["external_id"]: row["role"] for row in admission.paired(db, "telegram", BOT)}


@pytest.mark.parametrize("runs", [True, False])
async def test_a_code_lets_its_bearer_in(
    file: Path, capsys: pytest.CaptureFixture[str], *, runs: bool
) -> None:
    """As what the owner says; the running daemon knows it at once."""
    code = await code_of(file)
    if runs:
        async with daemon(file) as router:
            assert await famulus(file, "pair", code, "--role", "guest") == 0
            assert router.current.guests == {3, 9}
    else:
        assert await famulus(file, "pair", code, "--role", "guest") == 0
    assert capsys.readouterr().out == "Eve (id 9) is let in as a guest.\n"
    assert await prepare(file, paired) == {"9": "guest"}
    told = "SELECT json_extract(params, '$.text') FROM outbox WHERE chat = '9'"
    rows = await prepare(file, lambda db: db.execute(told).fetchall())
    assert "let you in" in rows[0][0]


@pytest.mark.parametrize("runs", [True, False])
async def test_three_wrong_codes_are_enough(
    file: Path, capsys: pytest.CaptureFixture[str], *, runs: bool
) -> None:
    """They are counted though the command fails."""
    code = await code_of(file)

    async def wrong() -> None:
        for _ in range(3):
            assert await famulus(file, "pair", "AAAA-AAAA") == 1

    if runs:
        async with daemon(file):
            await wrong()
    else:
        await wrong()
    assert "no open code" in capsys.readouterr().err
    assert await famulus(file, "pair", code) == 1


async def test_people_are_listed_with_the_right_by_which_they_are_answered(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And who asks, with nothing that a terminal would obey."""
    await code_of(file, "Eve\x1b[2J")
    await prepare(file, admission.let_in, ("telegram", BOT, "5"), "user", 1.0)
    assert await famulus(file, "people", "list") == 0
    out = capsys.readouterr().out
    assert "1  owner  -  (by the configuration)" in out
    assert "3  guest  -  (by the configuration)" in out
    assert "5  user  -  (by pairing)" in out
    assert "9  asks to be let in: Eve" in out
    assert "\x1b" not in out


async def test_who_is_put_out_is_answered_no_more(file: Path) -> None:
    """What they wait for ends with it, and what was to be sent to them is not kept."""
    discarded: list[str] = []

    def talk(db: Any) -> None:
        admission.let_in(db, ("telegram", BOT, "9"), "user", 1.0)
        session = people.ensure_session(db, EVE, 1.0)
        turns.create(db, session, text="hi", asked_at=1.0, now=1.0)
        outbox.enqueue(db, EVE, [Draft("sendDocument", {}, "key", "a.txt")], 1.0)

    await prepare(file, talk)
    async with daemon(file) as router:
        router.discard = discarded.extend
        await router.reread()
        assert 9 in router.current.people
        assert await famulus(file, "people", "remove", "9") == 0
        assert 9 not in router.current.people
    rows = await prepare(file, lambda db: db.execute("SELECT outcome FROM turns").fetchall())
    assert [row[0] for row in rows] == ["stopped"]
    assert discarded == ["key"]


async def test_a_group_that_was_allowed_by_a_button_is_listed_and_put_out(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of the configuration is changed there."""
    team = Place("telegram", BOT, "-55")
    await prepare(file, admission.let_group_in, team, admission.Team("Team", "guest"), 1.0)
    async with daemon(file) as router:
        await router.reread()
        assert router.current.chats == {-55}
        assert await famulus(file, "people", "list") == 0
        assert "-55  group, for guests  Team" in capsys.readouterr().out
        assert await famulus(file, "people", "remove", "-55") == 0
        assert router.current.chats == frozenset()
        assert await famulus(file, "people", "remove", "-55") == 1
    assert "no group" in capsys.readouterr().err


async def test_a_role_can_be_changed(file: Path) -> None:
    """What is under way has the new one from its next run on."""

    def talk(db: Any) -> None:
        admission.let_in(db, ("telegram", BOT, "9"), "user", 1.0)
        user = people.ensure_user(db, "telegram", "9", "Eve", 1.0)
        session = people.ensure_session(db, EVE, 1.0)
        turns.create(db, session, text="hi", asked_at=1.0, now=1.0, payer_id=user)

    await prepare(file, talk)
    assert await famulus(file, "people", "role", "9", "guest") == 0
    assert await prepare(file, paired) == {"9": "guest"}

    def role(db: Any) -> str:
        from daemon.store import turnrow  # noqa: PLC0415

        return turnrow.role(db, 1)

    assert await prepare(file, role) == "guest"


@pytest.mark.parametrize("words", [("remove", "1"), ("remove", "77"), ("role", "3", "user")])
async def test_what_no_row_says_is_not_changed(
    file: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    """The configuration is the owner's file, and the remedy names it."""
    assert await famulus(file, "people", *words) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2


async def test_a_held_state_directory_is_not_written_to(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a process holds it and does not answer yet."""
    with statelock.hold(config.load(file).state_dir):
        assert await famulus(file, "people", "list") == 69
    assert "in use" in capsys.readouterr().err
