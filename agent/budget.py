"""What model calls cost and what they may cost: prices and budgets, decided over plain values.

A budget is held before a call is made, against what was spent and what is set aside for calls that
are still under way: for each, an estimate of its prompt and an allowance for its answer. A call
that nobody has a price for is refused where money is limited, since it could cost anything.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from fnmatch import fnmatchcase

from attrs import field, frozen

from agent.transcript import Usage

MILLION = 1_000_000


@frozen(kw_only=True)
class Price:
    """What a model costs, per million tokens. `model` is its name, or a pattern such as "gpt-5*".

    `cached` is for the part of a prompt that the provider had kept; None: the same as `input`.
    """

    model: str
    input: float
    output: float
    cached: float | None = None
    currency: str = "USD"

    def cost(self, usage: Usage) -> float:
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        cheaper = self.input if self.cached is None else self.cached
        fresh = usage.prompt_tokens - cached
        answer = usage.completion_tokens * self.output
        return (fresh * self.input + cached * cheaper + answer) / MILLION


@frozen(kw_only=True)
class Budget:
    """The most that may be spent, in tokens and in money; 0 is no limit.

    The defaults are chosen so that a bill cannot run away: an ordinary message takes 2,000 to
    10,000 tokens, and a long piece of work with tools 100,000.
    """

    turn_tokens: int = 400_000
    turn_money: float = 0.0
    user_day_tokens: int = 2_000_000
    user_day_money: float = 0.0
    guest_day_tokens: int = 50_000
    guest_day_money: float = 0.0
    agent_day_tokens: int = 5_000_000
    agent_day_money: float = 0.0
    heartbeat_tokens: int = 50_000
    heartbeat_money: float = 0.0
    schedule_tokens: int = 200_000
    schedule_money: float = 0.0
    answer_tokens: int = 4096

    @property
    def limits_money(self) -> bool:
        return any(
            (
                self.turn_money,
                self.user_day_money,
                self.guest_day_money,
                self.agent_day_money,
                self.heartbeat_money,
                self.schedule_money,
            )
        )


@frozen
class Reservation:
    """What is set aside for a call: its prompt, its answer, and what both cost if that is known.

    `model` is the one that will be asked, for whom the price was looked up.
    """

    prompt: int
    answer: int = 0
    cost: float | None = None
    model: str = ""

    @property
    def tokens(self) -> int:
        return self.prompt + self.answer


@frozen
class Spent:
    """What an account has used, with what is set aside in it."""

    tokens: int = 0
    money: float = 0.0


@frozen
class Account:
    """One budget: its keys in the configuration begin with `key`; who it is for, when it is anew.

    `key` is one of turn, heartbeat, schedule, user_day, guest_day and agent_day; or specialist,
    whose budget is said in its own file.
    """

    key: str
    spent: Spent


@frozen
class Tariff:
    """The prices, the first that fits counting, and the budgets.

    `task_tokens` is what a specialist may take for one task beside them; 0 is no limit.
    """

    prices: tuple[Price, ...] = ()
    budget: Budget = field(factory=Budget)
    task_tokens: int = 0

    @property
    def currency(self) -> str:
        return self.prices[0].currency if self.prices else ""

    def price(self, model: str) -> Price | None:
        """The price of a model: by its name, else by the first pattern that it fits."""
        exact = (price for price in self.prices if price.model == model)
        fitting = (price for price in self.prices if fnmatchcase(model, price.model))
        return next(exact, None) or next(fitting, None)

    def reserve(self, model: str, prompt_tokens: int) -> Reservation:
        """What a call with such a prompt may take."""
        answer, price = self.budget.answer_tokens, self.price(model)
        whole = Usage(prompt_tokens, 0, answer)
        cost = None if price is None else price.cost(whole)
        return Reservation(prompt_tokens, answer, cost, model)

    def cost(self, model: str, usage: Usage) -> float | None:
        price = self.price(model)
        return None if price is None else price.cost(usage)

    def limits(self, key: str) -> tuple[int, float]:
        """The tokens and the money of an account."""
        if key == "specialist":
            return self.task_tokens, 0.0
        return getattr(self.budget, f"{key}_tokens"), getattr(self.budget, f"{key}_money")


# Nothing has a price and nothing is limited.
FREE = Tariff(
    (),
    Budget(
        turn_tokens=0,
        user_day_tokens=0,
        guest_day_tokens=0,
        agent_day_tokens=0,
        heartbeat_tokens=0,
        schedule_tokens=0,
    ),
)


def refusal(
    tariff: Tariff, accounts: Iterable[Account], wanted: Reservation, now: float
) -> str | None:
    """Why a call may not be made, as a sentence for the person; None if it may. `now` is Unix."""
    if tariff.budget.limits_money and wanted.cost is None:
        return UNPRICED.format(model=wanted.model)
    for account in accounts:
        if problem := _passed(tariff, account, wanted):
            return f"{problem} {_renewal(account.key, now)}"
    return None


UNPRICED = (
    "I did not ask the model {model!r}: a budget in money is set, and it has no price, so nobody"
    " knows what it would cost. The owner can add its price to [[prices]], or limit tokens instead."
)


def _passed(tariff: Tariff, account: Account, wanted: Reservation) -> str | None:
    """What would be passed, in words."""
    tokens, money = tariff.limits(account.key)
    if tokens and account.spent.tokens + wanted.tokens > tokens:
        used = f"{account.spent.tokens:,} are used, and this step may take {wanted.tokens:,}"
        return f"The budget {WHOSE[account.key]} of {tokens:,} tokens does not suffice: {used}."
    unit = tariff.currency
    if money and account.spent.money + (wanted.cost or 0.0) > money:
        used = f"{amount(account.spent.money, unit)} is used"
        step = f"this step may take {amount(wanted.cost or 0.0, unit)}"
        whole = amount(money, unit)
        return f"The budget {WHOSE[account.key]} of {whole} does not suffice: {used}, and {step}."
    return None


WHOSE = {
    "turn": "for one task",
    "specialist": "of this specialist for one task",
    "heartbeat": "for one heartbeat",
    "schedule": "for one run of a scheduled prompt",
    "user_day": "of one person for one day",
    "guest_day": "of one guest for one day",
    "agent_day": "of this assistant for one day",
}


def _renewal(key: str, now: float) -> str:
    if key == "specialist":
        return "A new task begins with a new one; the owner can raise limits.tokens in its file."
    keys = f"the owner can raise budget.{key}_tokens or budget.{key}_money"
    if not key.endswith("_day"):
        return f"A new message begins with a new one; {keys}."
    midnight = dt.datetime.fromtimestamp(now, dt.UTC).replace(hour=0, minute=0, second=0)
    left = max(60, int(midnight.timestamp()) + 86400 - int(now))
    return f"It is renewed at 00:00 UTC, in {left // 3600} h {left % 3600 // 60} min; {keys}."


def amount(money: float, currency: str) -> str:
    """A sum for people: cents, or as many digits as a small one needs."""
    money = max(0.0, round(money, 6))  # what is set aside and freed again leaves a trace
    digits = 2 if money >= 1 or money == 0 else 4
    return f"{money:,.{digits}f} {currency}".rstrip()


def day_of(now: float) -> str:
    """The UTC day that a call at `now` (Unix) is counted for."""
    return f"{dt.datetime.fromtimestamp(now, dt.UTC):%Y-%m-%d}"
