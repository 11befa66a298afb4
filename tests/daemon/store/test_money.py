"""What model calls are reserved, settled and counted as; budgets that hold for all at once."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.budget import FREE, Price, Tariff
from agent.ports import Subtask
from agent.transcript import Answer, CallRequest, Usage
from daemon.store import boots, children, journal, money, people, stops, turns
from daemon.store.db import migrate
from daemon.store.values import Address, Claim, Place

HERE = Place("telegram", "42", "1")
NOON = 1_700_049_600.0
MINI = Price(model="mini", input=1.0, cached=0.1, output=10.0)
UNLIMITED = attrs.evolve(FREE.budget, answer_tokens=100)


def tariff(**limits: float) -> Tariff:
    """Prices for `mini` alone, and no limits but these."""
    return Tariff((MINI,), attrs.evolve(UNLIMITED, **limits))


class Desk:
    """Turns of one person, and the calls that they make."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self.boot = boots.begin(db, "test", 0.0)
        self.user = people.ensure_user(db, "telegram", "1", "Ada", 0.0)

    def turn(self, cause: str = "update") -> tuple[Claim, Address]:
        session = people.ensure_session(self.db, HERE, 0.0)
        made = turns.create(
            self.db, session, text="hi", asked_at=1.0, now=1.0, payer_id=self.user, cause=cause
        )
        return Claim(made.id, self.boot, first=False, seen=0), journal.read_address(
            self.db, made.id
        )

    def call(
        self, rules: Tariff, prompt: int = 1000, now: float = NOON, cause: str = "update"
    ) -> int:
        claim, address = self.turn(cause)
        return money.intend(self.db, claim, address, money.Request("mini", prompt, rules), now)

    def row(self, statement: str) -> tuple[object, ...]:
        return tuple(self.db.execute(statement).fetchone())


@pytest.fixture
def desk(db: sqlite3.Connection) -> Desk:
    return Desk(db)


USAGE = (
    "SELECT calls, reserved_tokens, prompt_tokens, cached_tokens, completion_tokens,"
    " unknown_tokens FROM {}"
)


def test_what_is_reserved_is_settled_by_what_was_used(desk: Desk) -> None:
    """For the person and for the agent, in tokens and in money."""
    rules = tariff()
    call = desk.call(rules)
    for table in ("usage", "agent_usage"):
        assert desk.row(USAGE.format(table)) == (0, 1100, 0, 0, 0, 0)
    assert desk.row("SELECT reserved_cost, cost FROM usage") == (pytest.approx(0.002), 0)
    money.settle(desk.db, call, Answer("hi", usage=Usage(900, 400, 50)), None, 1.0, tariff=rules)
    for table in ("usage", "agent_usage"):
        assert desk.row(USAGE.format(table)) == (1, 0, 900, 400, 50, 0)
    cost = (500 * 1.0 + 400 * 0.1 + 50 * 10.0) / 1e6
    assert desk.row("SELECT reserved_cost, cost FROM usage") == (pytest.approx(0), cost)
    assert desk.row("SELECT state, tokens, cost FROM model_calls") == ("done", 950, cost)


@pytest.mark.parametrize("how", ["abandoned", "failed", "turn stopped"])
def test_a_call_whose_outcome_is_not_known_counts_as_its_reservation(desk: Desk, how: str) -> None:
    """The provider may have been paid: a daemon that is killed over and over is not free."""
    call = desk.call(tariff())
    if how == "abandoned":
        money.abandon(desk.db, "killed", NOON)
    elif how == "failed":
        money.settle(desk.db, call, None, "HTTP 500", NOON)
    else:
        stops.stop(desk.db, people.ensure_session(desk.db, HERE, 0.0), NOON)
    for table in ("usage", "agent_usage"):
        assert desk.row(USAGE.format(table)) == (1, 0, 0, 0, 0, 1100)
    state = "failed" if how == "failed" else "unknown"
    assert desk.row("SELECT state, tokens FROM model_calls") == (state, 1100)
    assert desk.row("SELECT cost FROM usage") == (pytest.approx(0.002),)


def test_a_call_that_was_refused_costs_nothing(desk: Desk) -> None:
    """The provider says so by its status, and nobody who cannot be reached was at work."""
    call = desk.call(tariff())
    money.settle(desk.db, call, None, "HTTP 401", NOON, lost=())
    assert desk.row(USAGE.format("usage")) == (1, 0, 0, 0, 0, 0)
    assert desk.row("SELECT cost FROM usage") == (0,)


@pytest.mark.parametrize("answered", [True, False])
def test_each_attempt_that_was_lost_counts(desk: Desk, answered: bool) -> None:
    """As its reservation, or as what the provider had counted; beside the answer, if one came."""
    lost, answer = (Usage(), Usage(700, 0, 70), Usage()), None
    if answered:
        answer = Answer("hi", usage=Usage(900, 400, 50), lost=lost)
    money.settle(desk.db, desk.call(tariff()), answer, None, 1.0, tariff=tariff(), lost=lost)
    counted = (900, 400, 50) if answered else (0, 0, 0)
    assert desk.row(USAGE.format("usage")) == (1, 0, *counted, 2 * 1100 + 770)
    cost = 2 * 0.002 + (700 + 10 * 70) / 1e6 + (answered and (500 + 40 + 500) / 1e6)
    assert desk.row("SELECT cost FROM usage") == (pytest.approx(cost),)
    prompt, tokens = desk.row("SELECT prompt_tokens, tokens FROM model_calls")
    assert prompt == (900 if answered else None), "the size of a context is read from it"
    assert tokens == 2 * 1100 + 770 + (answered and 950)


def test_a_call_is_settled_once(desk: Desk) -> None:
    """Also when it was given up as unknown before its answer came."""
    call = desk.call(tariff())
    money.abandon(desk.db, "killed", NOON)
    money.settle(desk.db, call, Answer("late", usage=Usage(1, 0, 1)), None, NOON)
    assert desk.row(USAGE.format("usage")) == (1, 0, 0, 0, 0, 1100)


def test_what_a_provider_does_not_count_is_estimated(desk: Desk) -> None:
    """Else a server without figures would never come to any budget."""
    call = desk.call(tariff())
    answer = Answer("x" * 400, (CallRequest("", "bash", "y" * 396),))
    money.settle(desk.db, call, answer, None, NOON, tariff=tariff())
    assert desk.row(USAGE.format("usage")) == (1, 0, 1000, 0, 201, 0)


def test_the_price_is_that_of_the_model_which_answered(desk: Desk) -> None:
    """A stand-in's, where there is one; if that has none, what was set aside is counted."""
    dear = Price(model="dear", input=100.0, output=100.0)
    rules = Tariff((MINI, dear), UNLIMITED)
    used = Usage(1000, 0, 0)
    money.settle(desk.db, desk.call(rules), Answer("", (), used, "dear"), None, NOON, tariff=rules)
    assert desk.row("SELECT model, cost FROM model_calls") == ("dear", 0.1)
    money.settle(desk.db, desk.call(rules), Answer("", (), used, "other"), None, NOON, tariff=rules)
    (cost,) = desk.row("SELECT cost FROM model_calls WHERE model = 'other'")
    assert cost == pytest.approx(0.002)


def test_what_a_stand_in_lost_has_its_own_price(desk: Desk) -> None:
    """A dear one behind a cheap one would else be lost for nothing."""
    dear = Price(model="dear", input=100.0, output=100.0)
    rules = Tariff((MINI, dear), UNLIMITED)
    lost = (Usage(700, 0, 70, model="dear"), Usage(model="dear"), Usage(model="other"), Usage())
    money.settle(desk.db, desk.call(rules), None, "cut", NOON, tariff=rules, lost=lost)
    cost, tokens = desk.row("SELECT cost, tokens FROM model_calls")
    assert cost == pytest.approx(0.077 + 0.11 + 0.002 + 0.002)
    assert tokens == 770 + 3 * 1100


def test_without_prices_there_are_no_costs(desk: Desk) -> None:
    """Not zero: nobody knows them."""
    rules = attrs.evolve(tariff(), prices=())
    money.settle(desk.db, desk.call(rules), Answer("", (), Usage(5, 0, 5)), None, NOON)
    assert desk.row("SELECT cost, tokens FROM model_calls") == (None, 10)


def test_a_day_is_over_at_midnight_utc(desk: Desk) -> None:
    """What was spent yesterday is not held against today."""
    rules = tariff(user_day_tokens=1500)
    desk.call(rules)
    with pytest.raises(money.OverBudget, match="one person for one day"):
        desk.call(rules)
    desk.call(rules, now=NOON + 43_200)


def test_a_call_is_counted_for_the_day_of_its_start(desk: Desk) -> None:
    """Where it was reserved it is settled, though its answer comes after midnight."""
    rules = tariff()
    call = desk.call(rules, now=NOON)
    money.settle(desk.db, call, Answer("", (), Usage(5, 0, 5)), None, NOON + 86_400, tariff=rules)
    assert desk.row("SELECT day, reserved_tokens FROM usage") == ("2023-11-15", 0)


def test_a_turn_has_a_budget_over_all_its_calls(desk: Desk) -> None:
    """The next turn begins with a new one."""
    rules = tariff(turn_tokens=2500)
    claim, address = desk.turn()
    request = money.Request("mini", 1000, rules)
    for _ in range(2):
        call = money.intend(desk.db, claim, address, request, NOON)
        money.settle(desk.db, call, Answer("", (), Usage(1000, 0, 50)), None, NOON)
    with pytest.raises(money.OverBudget, match="for one task"):
        money.intend(desk.db, claim, address, request, NOON)
    desk.call(rules)
    # What is done after a turn for the next ones is not in its budget.
    after = attrs.evolve(request, purpose="compaction")
    money.intend(desk.db, claim, address, after, NOON)


def test_a_heartbeat_has_a_smaller_one(desk: Desk) -> None:
    """Nobody asked for it."""
    rules = tariff(turn_tokens=5000, heartbeat_tokens=1000)
    desk.call(rules)
    with pytest.raises(money.OverBudget, match="for one heartbeat"):
        desk.call(rules, cause="heartbeat")


def test_what_a_heartbeat_has_others_do_is_in_its_budget(desk: Desk) -> None:
    """Else each look at a file could begin tasks with the budget of a person's message."""
    rules = tariff(turn_tokens=5000, heartbeat_tokens=2500)
    request = money.Request("mini", 1000, rules)
    claim, address = desk.turn("heartbeat")
    child = children.begin(desk.db, claim.turn_id, 0, Subtask("look", "look"), NOON)
    theirs = attrs.evolve(claim, turn_id=child.id)
    money.intend(desk.db, claim, address, request, NOON)
    money.intend(desk.db, theirs, address, request, NOON)
    for who in (claim, theirs):
        with pytest.raises(money.OverBudget, match="for one heartbeat"):
            money.intend(desk.db, who, address, request, NOON)
    desk.call(rules, cause="heartbeat")


def test_a_specialist_has_the_smaller_of_two_budgets(desk: Desk) -> None:
    """Its own and a turn's, over all calls of the task."""
    claim, address = desk.turn()
    own = attrs.evolve(tariff(turn_tokens=3000), task_tokens=1500)
    money.intend(desk.db, claim, address, money.Request("mini", 1000, own), NOON)
    with pytest.raises(money.OverBudget, match="of this specialist"):
        money.intend(desk.db, claim, address, money.Request("mini", 1000, own), NOON)
    wide = attrs.evolve(own, task_tokens=100_000)
    money.intend(desk.db, claim, address, money.Request("mini", 1000, wide), NOON)
    with pytest.raises(money.OverBudget, match="for one task of 3,000"):
        money.intend(desk.db, claim, address, money.Request("mini", 1000, wide), NOON)


def test_an_agent_has_a_budget_over_all_people(desk: Desk) -> None:
    """Two of them share what it may spend in a day."""
    rules = tariff(agent_day_tokens=2000)
    desk.call(rules)
    desk.user = people.ensure_user(desk.db, "telegram", "2", "Bob", 0.0)
    with pytest.raises(money.OverBudget, match="of this assistant"):
        desk.call(rules)


def test_a_refused_call_leaves_no_trace(desk: Desk) -> None:
    """Nothing is reserved for what is not made."""
    with pytest.raises(money.OverBudget):
        desk.call(tariff(user_day_tokens=10))
    assert desk.db.execute("SELECT count(*) FROM model_calls").fetchone()[0] == 0
    assert desk.db.execute("SELECT count(*) FROM usage").fetchone()[0] == 0


# --- All at once ---


def connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=30.0)
    connection.row_factory = sqlite3.Row
    return connection


def test_turns_that_run_side_by_side_cannot_pass_a_limit_together(path: Path, desk: Desk) -> None:
    """Eight writers, each with its own connection, ask at the same moment for more than there is.

    Nothing is settled, so it is the reservations alone that hold the limit.
    """
    rules = tariff(user_day_tokens=11_000)  # ten calls of 1,100
    places = [desk.turn() for _ in range(8)]
    begin, refused = threading.Barrier(len(places)), []

    def ask(claim: Claim, address: Address) -> None:
        db = connect(path)
        begin.wait()
        for _ in range(4):
            db.execute("BEGIN IMMEDIATE")
            try:
                money.intend(db, claim, address, money.Request("mini", 1000, rules), NOON)
            except money.OverBudget:
                db.execute("ROLLBACK")
                refused.append(claim.turn_id)
            else:
                db.execute("COMMIT")
        db.close()

    threads = [threading.Thread(target=ask, args=place) for place in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert desk.row("SELECT count(*), sum(reserved_tokens) FROM model_calls") == (10, 11_000)
    assert desk.row("SELECT reserved_tokens FROM usage") == (11_000,)
    assert len(refused) == 8 * 4 - 10


events = st.lists(
    st.tuples(st.sampled_from(["ask", "answer", "fail", "refuse", "kill"]), st.integers(1, 3000)),
    max_size=30,
)


@given(events)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_the_books_agree_with_the_calls_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, story: list[tuple[str, int]]
) -> None:
    """Every day's use is the sum of its calls, nothing stays reserved, and no limit was passed."""
    file = tmp_path_factory.mktemp("books") / "famulus.db"
    migrate(file)
    db = connect(file)
    db.execute("PRAGMA synchronous = OFF")
    desk, rules, running = Desk(db), tariff(user_day_tokens=20_000), list[int]()
    for what, size in story:
        if what == "ask":
            try:
                running.append(desk.call(rules, size))
            except money.OverBudget:
                assert used(db) + size + 100 > 20_000
        elif what == "kill":
            money.abandon(db, "killed", NOON)
            running.clear()
        elif running:
            settle(db, running.pop(0), what, size, rules)
    money.abandon(db, "the end", NOON)
    whole = db.execute("SELECT coalesce(sum(tokens), 0), count(*) FROM model_calls").fetchone()
    for table in ("usage", "agent_usage"):
        row = db.execute(
            "SELECT coalesce(sum(prompt_tokens + completion_tokens + unknown_tokens), 0),"
            f" coalesce(sum(calls), 0), coalesce(sum(reserved_tokens), 0) FROM {table}"
        ).fetchone()
        assert tuple(row) == (*whole, 0)
    db.close()


def used(db: sqlite3.Connection) -> int:
    row = db.execute(
        "SELECT coalesce(sum(reserved_tokens + prompt_tokens + completion_tokens"
        " + unknown_tokens), 0) FROM usage"
    ).fetchone()
    return int(row[0])


def settle(db: sqlite3.Connection, call: int, how: str, size: int, rules: Tariff) -> None:
    if how == "answer":
        lost = (Usage(), Usage(size, 0, 1))[: size % 3]
        answer = Answer("x", (), Usage(size, size // 2, size % 100), lost=lost)
        money.settle(db, call, answer, None, NOON, tariff=rules)
    else:
        lost = () if how == "refuse" else (Usage(),) * (1 + size % 3)
        money.settle(db, call, None, "HTTP", NOON, tariff=rules, lost=lost)
