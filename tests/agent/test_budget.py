"""Prices and budgets: what a call costs, and when it may not be made."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.budget import (
    FREE,
    UNPRICED,
    Account,
    Budget,
    Price,
    Reservation,
    Spent,
    Tariff,
    amount,
    day_of,
    refusal,
)
from agent.transcript import Usage

NOON = 1_700_049_600.0  # 2023-11-15 12:00 UTC
MINI = Price(model="gpt-5-mini", input=0.25, cached=0.025, output=2.0)
FAMILY = Price(model="gpt-5*", input=1.25, output=10.0)


def test_a_cached_prompt_costs_less() -> None:
    """Per million tokens: 600,000 fresh, 400,000 cached, 100,000 of the answer."""
    assert MINI.cost(Usage(1_000_000, 400_000, 100_000)) == pytest.approx(0.15 + 0.01 + 0.2)


def test_without_a_price_for_it_the_cached_part_costs_as_the_rest() -> None:
    """And more cached than there is of the prompt is nonsense that does not pay us."""
    assert FAMILY.cost(Usage(1_000_000, 400_000, 0)) == pytest.approx(1.25)
    assert MINI.cost(Usage(1000, 9000, 0)) == pytest.approx(0.025 / 1000)


def test_a_name_goes_before_a_pattern_and_the_first_pattern_counts() -> None:
    """However they are ordered in the file."""
    anything = Price(model="*", input=9.0, output=9.0)
    tariff = Tariff((FAMILY, anything, MINI))
    assert tariff.price("gpt-5-mini") is MINI
    assert tariff.price("gpt-5-mini-2025") is FAMILY
    assert tariff.price("llama") is anything
    assert Tariff((FAMILY,)).price("llama") is None


def test_what_is_set_aside_is_the_prompt_and_room_for_an_answer() -> None:
    """In tokens, and in money where there is a price."""
    tariff = Tariff((MINI,), Budget(answer_tokens=1000))
    cost = (500 * 0.25 + 2000) / 1e6
    assert tariff.reserve("gpt-5-mini", 500) == Reservation(500, 1000, cost, "gpt-5-mini")
    assert tariff.reserve("llama", 500).cost is None


def spent(key: str, tokens: int = 0, money: float = 0.0) -> list[Account]:
    return [Account(key, Spent(tokens, money))]


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("turn", ["for one task", "A new message begins with a new one", "budget.turn_tokens"]),
        ("user_day", ["of one person", "00:00 UTC, in 12 h 0 min", "budget.user_day_tokens"]),
        ("agent_day", ["of this assistant", "00:00 UTC", "budget.agent_day_tokens"]),
        ("heartbeat", ["for one heartbeat", "budget.heartbeat_tokens"]),
    ],
)
def test_a_refusal_says_which_budget_when_it_is_anew_and_what_to_change(
    key: str, words: list[str]
) -> None:
    """One token too many is refused, and exactly the rest is not."""
    tariff = Tariff((), Budget(**{f"{key}_tokens": 10_000}))  # type: ignore[arg-type]
    wanted = Reservation(2_000, 1_000)
    assert refusal(tariff, spent(key, 7_000), wanted, NOON) is None
    sentence = refusal(tariff, spent(key, 7_001), wanted, NOON)
    assert sentence is not None
    assert "10,000 tokens" in sentence
    assert "7,001 are used" in sentence
    assert all(each in sentence for each in words), sentence


def test_a_specialist_may_have_a_smaller_budget_for_a_task() -> None:
    """Beside that of a turn; the refusal says whose it is, and where it can be raised."""
    tariff = Tariff((), Budget(turn_tokens=10_000), task_tokens=5000)
    wanted = Reservation(2_000, 1_000)
    assert refusal(tariff, spent("specialist", 2_000), wanted, NOON) is None
    sentence = refusal(tariff, spent("specialist", 2_001), wanted, NOON)
    assert sentence is not None
    for words in ("of this specialist for one task of 5,000 tokens", "limits.tokens in its file"):
        assert words in sentence
    assert "budget." not in sentence, "which would not help"


def test_money_is_a_budget_of_its_own() -> None:
    """Tokens may be unlimited."""
    tariff = Tariff((MINI,), Budget(user_day_tokens=0, user_day_money=0.5))
    wanted = tariff.reserve("gpt-5-mini", 100_000)
    assert refusal(tariff, spent("user_day", 10**9, 0.4), wanted, NOON) is None
    sentence = refusal(tariff, spent("user_day", 0, 0.48), wanted, NOON)
    assert sentence is not None
    assert "0.5000 USD" in sentence
    assert "budget.user_day_money" in sentence


def test_a_model_without_a_price_is_refused_where_money_is_limited() -> None:
    """It could cost anything."""
    tariff = Tariff((MINI,), Budget(agent_day_money=5.0))
    told = refusal(tariff, [], tariff.reserve("llama", 1), NOON)
    assert told == UNPRICED.format(model="llama")
    assert refusal(tariff, [], tariff.reserve("gpt-5-mini", 1), NOON) is None
    assert refusal(Tariff(), [], Tariff().reserve("llama", 1), NOON) is None


@given(st.integers(0, 10**12), st.floats(0, 1e9), st.integers(0, 10**9))
def test_without_limits_nothing_is_refused(tokens: int, money: float, prompt: int) -> None:
    """0 is no limit."""
    accounts = [Account(key, Spent(tokens, money)) for key in ("turn", "user_day", "agent_day")]
    assert refusal(FREE, accounts, FREE.reserve("m", prompt), NOON) is None


def test_out_of_the_box_a_bill_cannot_run_away() -> None:
    """The defaults limit a turn, a person's day and an assistant's, and each the one before it."""
    budget = Budget()
    assert 0 < budget.turn_tokens < budget.user_day_tokens < budget.agent_day_tokens <= 5_000_000


@pytest.mark.parametrize(
    ("money", "words"),
    [
        *((0, "0.00 USD"), (1234.5, "1,234.50 USD"), (0.00123, "0.0012 USD")),
        *((-7e-18, "0.00 USD"), (3e-17, "0.00 USD")),
    ],
)
def test_sums_are_written_for_people(money: float, words: str) -> None:
    """Small ones with more digits; what is left of sums that were freed again is nothing."""
    assert amount(money, "USD") == words


def test_days_are_utc() -> None:
    """Whatever the machine's zone is."""
    assert day_of(NOON) == "2023-11-15"
    assert day_of(NOON + 43_200) == "2023-11-16"
