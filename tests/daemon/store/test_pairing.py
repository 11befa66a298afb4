"""Pairing as a state machine over a real database: few codes, few tries, and the owner's word."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from attrs import define
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from daemon.store import admission, pairing
from daemon.store.migrations import bring_up_to_date
from daemon.store.pairing import ALPHABET, HOLDS, LENGTH, MOST_OPEN, REFUSED_FOR, TRIES
from daemon.store.values import Place

BOT = "42"
PEOPLE = [str(each) for each in range(1, 9)]


def private(person: str) -> Place:
    return Place("telegram", BOT, person)


def codes(db: sqlite3.Connection, now: float) -> list[str]:
    return [each.code for each in pairing.waiting(db, "telegram", BOT, now)]


def roles(db: sqlite3.Connection) -> dict[str, str]:
    return {row["external_id"]: row["role"] for row in admission.paired(db, "telegram", BOT)}


# --- Sentence by sentence ---


def test_a_code_can_be_read_aloud(db: sqlite3.Connection) -> None:
    """It has no sign that is taken for another, and is written in two halves."""
    found = pairing.knock(db, private("1"), "Eve", 0.0)
    assert found is not None
    assert len(found.code) == LENGTH
    assert set(found.code) <= set(ALPHABET)
    assert not set(ALPHABET) & set("01ILOUQ") - {"Q"}
    assert found.shown == f"{found.code[:4]}-{found.code[4:]}"


@pytest.mark.parametrize("written", [str, str.lower, lambda code: f" {code[:4]} - {code[4:]} "])
def test_a_code_counts_however_it_is_written(
    db: sqlite3.Connection, written: Callable[[str], str]
) -> None:
    """Small letters, blanks and lines are no mistake."""
    found = pairing.knock(db, private("1"), "Eve", 0.0)
    assert found is not None
    assert pairing.by_code(db, "telegram", BOT, written(found.code), 1.0) == found


def test_one_code_an_hour(db: sqlite3.Connection) -> None:
    """Whatever became of it; the next one is another."""
    first = pairing.knock(db, private("1"), "Eve", 0.0)
    assert first is not None
    assert pairing.knock(db, private("1"), "Eve", HOLDS - 1) is None
    second = pairing.knock(db, private("1"), "Eve", HOLDS + 1)
    assert second is not None
    assert second.code != first.code
    assert pairing.by_code(db, "telegram", BOT, first.code, HOLDS + 2) is None


def test_three_wrong_codes_end_all(db: sqlite3.Connection) -> None:
    """Also one that is nearly right; and what was right before is not any more."""
    found = pairing.knock(db, private("1"), "Eve", 0.0)
    assert found is not None
    for attempt in ("", "\ud83d", found.code[:-1]):
        assert pairing.by_code(db, "telegram", BOT, attempt, 1.0) is None
    assert pairing.by_code(db, "telegram", BOT, found.code, 1.0) is None


def test_who_was_refused_is_silent_for_a_week(db: sqlite3.Connection) -> None:
    """The owner is not asked again and again."""
    found = pairing.knock(db, private("1"), "Eve", 0.0)
    assert found is not None
    pairing.refuse(db, found, 10.0)
    assert pairing.knock(db, private("1"), "Eve", 2 * HOLDS) is None
    assert pairing.knock(db, private("1"), "Eve", REFUSED_FOR + 11) is not None


def test_another_bots_codes_are_not_ours(db: sqlite3.Connection) -> None:
    """Nor are its people."""
    found = pairing.knock(db, Place("telegram", "43", "1"), "Eve", 0.0)
    assert found is not None
    assert pairing.by_code(db, "telegram", BOT, found.code, 1.0) is None
    pairing.grant(db, found, "user", 1.0)
    assert roles(db) == {}


def test_a_clock_that_was_set_back_keeps_nobody_out(db: sqlite3.Connection) -> None:
    """A code of the future is over."""
    pairing.knock(db, private("1"), "Eve", 1e9)
    assert pairing.knock(db, private("1"), "Eve", 0.0) is not None


# --- All orders ---


@define
class Code:
    """What the machine knows of a code that was given out."""

    person: str
    code: str
    at: float
    tries: int = 0


class Pairings(RuleBasedStateMachine):
    """Strangers knock, codes are tried, the owner decides, time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        path = Path(self.directory.name, "famulus.db")
        bring_up_to_date(path)
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.row_factory = sqlite3.Row
        self.now = 1000.0
        self.open: list[Code] = []
        self.last: dict[str, float] = {}
        self.refused: dict[str, float] = {}
        self.roles: dict[str, str] = {}

    def teardown(self) -> None:
        with closing(self.db):
            pass
        self.directory.cleanup()

    @rule(seconds=st.sampled_from([1.0, HOLDS / 3, HOLDS, 86400.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.open = [each for each in self.open if self.now - each.at < HOLDS]

    @rule(person=st.sampled_from(PEOPLE))
    def knock(self, person: str) -> None:
        found = pairing.knock(self.db, private(person), f"User {person}", self.now)
        had = person in self.last and self.now - self.last[person] < HOLDS
        refused = person in self.refused and self.now - self.refused[person] < REFUSED_FOR
        assert (found is None) is (had or refused or len(self.open) >= MOST_OPEN)
        if found is not None:
            self.open.append(Code(person, found.code, self.now))
            self.last[person] = self.now

    @rule(guess=st.text("ABC", max_size=LENGTH))
    def guess(self, guess: str) -> None:
        if pairing.by_code(self.db, "telegram", BOT, guess, self.now) is None:
            for each in self.open:
                each.tries += 1
            self.open = [each for each in self.open if each.tries < TRIES]

    @rule(data=st.data(), role=st.sampled_from(["user", "guest"]))
    def let_in(self, data: st.DataObject, role: str) -> None:
        if not self.open:
            return
        chosen = data.draw(st.sampled_from(self.open))
        found = pairing.by_code(self.db, "telegram", BOT, chosen.code, self.now)
        assert found is not None
        assert found.place.chat == chosen.person
        pairing.grant(self.db, found, role, self.now)
        self.open.remove(chosen)
        self.roles[chosen.person] = role

    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        if not self.open:
            return
        chosen = data.draw(st.sampled_from(self.open))
        found = pairing.by_code(self.db, "telegram", BOT, chosen.code, self.now)
        assert found is not None
        pairing.refuse(self.db, found, self.now)
        self.open.remove(chosen)
        self.refused[chosen.person] = self.now

    @rule(person=st.sampled_from(PEOPLE))
    def put_out(self, person: str) -> None:
        put = admission.put_out(self.db, ("telegram", BOT, person))
        assert put is (self.roles.pop(person, None) is not None)

    @invariant()
    def codes_and_people_are_those_of_the_model(self) -> None:
        assert codes(self.db, self.now) == [each.code for each in self.open]
        assert roles(self.db) == self.roles
        people = [each.person for each in self.open]
        assert len(people) == len(set(people)) <= MOST_OPEN


TestPairings = Pairings.TestCase
TestPairings.settings = settings(
    max_examples=20,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
