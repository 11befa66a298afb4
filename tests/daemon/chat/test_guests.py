"""A guest has no code, no files, nothing that sends something out, and a small budget."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.budget import Budget, Tariff
from agent.ports import Subtask
from agent.tools.registry import Kind
from agent.web.fetch import Caps, Web
from daemon.chat import roles
from daemon.chat.toolset import Scope, Toolset
from daemon.store import children, journal, money, people, turnrow, turns
from daemon.store.db import Database, open_database
from daemon.store.money import OverBudget, Request
from daemon.store.values import Address, Claim, Place
from executor.client import ExecutorClient

ALONE, GROUP = Place("telegram", "42", "3"), Place("telegram", "42", "-100")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "famulus.db") as opened:
        yield opened


def tools(database: Database, place: Place, role: str) -> dict[str, Kind]:
    web = Web(None, Caps(1000, 1.0), None)
    toolset = Toolset(ExecutorClient("/nowhere"), database, web=web)
    scope = Scope(Address(place, "house", None, "ref", "", 0.0), "talk", 1, role=role)
    return {each.name: each.kind for each in toolset._permitted(scope)}


async def test_a_guest_is_offered_what_reads(database: Database) -> None:
    """And, alone with the bot, notes of their own."""
    for place in (ALONE, GROUP):
        offered = tools(database, place, roles.GUEST)
        assert offered.keys() >= {"current_datetime", "web_fetch", "memory_search"}
        assert not offered.keys() & {"python_execute", "bash", "read_file", "http_client", "spawn"}
        assert set(offered.values()) <= {Kind.READ, Kind.LOCAL_WRITE}
    assert set(tools(database, GROUP, roles.GUEST).values()) == {Kind.READ}
    assert "kv_memory" in tools(database, ALONE, roles.GUEST)


async def test_an_unknown_role_is_a_guests(database: Database) -> None:
    """What is not named is not offered."""
    assert tools(database, ALONE, "emperor") == tools(database, ALONE, roles.GUEST)
    assert tools(database, ALONE, roles.USER) == tools(database, ALONE, roles.OWNER)


def begin(db: Any, role: str, of_user: str = "user") -> tuple[Claim, Address]:
    now = time.time()
    payer = people.ensure_user(db, "telegram", f"{role}-{of_user}", "X", now, of_user)
    session = people.ensure_session(db, ALONE, now)
    turn = turns.create(db, session, text="hi", asked_at=now, now=now, payer_id=payer, role=role)
    boot = db.execute("SELECT id FROM boots").fetchone()
    if boot is None:
        boot = db.execute("INSERT INTO boots VALUES ('b', 'x', 1.0, NULL) RETURNING id").fetchone()
    return Claim(turn.id, boot[0], first=True, seen=0), journal.read_address(db, turn.id)


@pytest.mark.parametrize(
    ("role", "of_user", "refused"),
    [("guest", "user", True), ("user", "guest", True), ("user", "user", False)],
)
async def test_a_guest_has_a_small_budget(
    database: Database, role: str, of_user: str, *, refused: bool
) -> None:
    """Whether they are one in this chat or everywhere; the sentence says which budget it is."""
    tariff = Tariff((), Budget(guest_day_tokens=1000, answer_tokens=100))

    def ask(db: Any) -> str:
        claim, address = begin(db, role, of_user)
        try:
            money.intend(db, claim, address, Request("m", 2000, tariff), time.time())
        except OverBudget as why:
            return str(why)
        return ""

    said = await database.write(ask)
    assert ("of one guest for one day" in said) is refused
    assert ("budget.guest_day_tokens" in said) is refused


async def test_what_a_guests_turn_begins_is_a_guests(database: Database) -> None:
    """A task in the background may do no more than who asked for it."""

    def spawn(db: Any) -> tuple[str, str]:
        claim, _ = begin(db, "guest")
        child = children.begin(db, claim.turn_id, 0, Subtask("work", "x"), time.time())
        said = [(0, "more", time.time())]
        heir = turns.bequeath(db, claim.turn_id, said, time.time())
        assert heir is not None
        return turnrow.role(db, child.id), turnrow.role(db, heir.id)

    assert await database.write(spawn) == ("guest", "guest")


@pytest.mark.parametrize(
    ("before", "speaker", "after"),
    [
        ("owner", "user", "user"),
        ("owner", "guest", "guest"),
        ("user", "guest", "guest"),
        ("user", "owner", "user"),
        ("guest", "owner", "guest"),
        ("guest", "user", "guest"),
    ],
)
async def test_a_turn_has_the_least_role_of_those_who_speak_in_it(
    database: Database, before: str, speaker: str, after: str
) -> None:
    """In whatever order they do."""

    def join(db: Any) -> str:
        claim, _ = begin(db, before)
        turnrow.lower_role(db, claim.turn_id, speaker)
        return turnrow.role(db, claim.turn_id)

    assert await database.write(join) == after == roles.least(before, speaker)
