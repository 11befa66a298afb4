"""What was used, for people: by the person who asks, by everybody, by day and by model."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from attrs import frozen

from agent.budget import Tariff, amount, day_of

_SUMS = (
    "coalesce(sum(calls), 0), coalesce(sum(prompt_tokens), 0), coalesce(sum(cached_tokens), 0),"
    " coalesce(sum(completion_tokens), 0), coalesce(sum(unknown_tokens + reserved_tokens), 0),"
    " coalesce(sum(cost + reserved_cost), 0.0)"
)


@frozen
class Use:
    """Calls, tokens and money. `unknown` is of calls under way, or whose outcome nobody knows."""

    calls: int
    prompt: int
    cached: int
    completion: int
    unknown: int
    cost: float

    @property
    def tokens(self) -> int:
        return self.prompt + self.completion + self.unknown


def of_person(db: sqlite3.Connection, user_id: str, tariff: Tariff, now: float) -> list[str]:
    """The person's own use, as lines."""
    today, month = _of_days(db, user_id, now)
    (role,) = db.execute("SELECT role FROM users WHERE id = ?", (user_id,)).fetchone()
    limits = tariff.limits("guest_day" if role == "guest" else "user_day")
    return [
        f"You, today (UTC): {_in_words(today, tariff)}",
        *_limit(*limits, tariff),
        f"You, this month: {_in_words(month, tariff)}",
    ]


def left_today(db: sqlite3.Connection, user_id: str, tariff: Tariff, now: float) -> list[str]:
    """The person's budget of today, in a line; none where nothing is limited."""
    limits = _limit(tariff.budget.user_day_tokens, tariff.budget.user_day_money, tariff)
    today, _ = _of_days(db, user_id, now)
    cost = f" and {amount(today.cost, tariff.currency)}" if tariff.budget.user_day_money else ""
    return [f"your budget today: {today.tokens:,} tokens{cost}{limit[1:]}" for limit in limits]


def of_everybody(db: sqlite3.Connection, tariff: Tariff, now: float) -> list[str]:
    """The use of all people and agents, and of each person this month, as lines."""
    today, month = _of_all(db, day_of(now)), _of_all(db, _month(now))
    rows = db.execute(
        f"SELECT (SELECT name FROM users WHERE id = user_id), {_SUMS} FROM usage"
        " WHERE day >= ? GROUP BY user_id ORDER BY sum(cost) DESC, sum(prompt_tokens) DESC"
        " LIMIT 20",
        (_month(now),),
    ).fetchall()
    budget = tariff.budget
    return [
        f"Everybody, today (UTC): {_in_words(today, tariff)}",
        *_limit(budget.agent_day_tokens, budget.agent_day_money, tariff),
        f"Everybody, this month: {_in_words(month, tariff)}",
        *(f"  {row[0]}: {_in_words(Use(*row[1:]), tariff)}" for row in rows),
    ]


def _of_days(db: sqlite3.Connection, user_id: str, now: float) -> tuple[Use, Use]:
    """Today's use, and that of the month."""
    uses = [
        Use(
            *db.execute(
                f"SELECT {_SUMS} FROM usage WHERE user_id = ? AND day >= ?", (user_id, since)
            ).fetchone()
        )
        for since in (day_of(now), _month(now))
    ]
    return uses[0], uses[1]


def _of_all(db: sqlite3.Connection, since: str) -> Use:
    row = db.execute(f"SELECT {_SUMS} FROM agent_usage WHERE day >= ?", (since,)).fetchone()
    return Use(*row)


def _month(now: float) -> str:
    return f"{day_of(now)[:8]}01"


def _in_words(use: Use, tariff: Tariff) -> str:
    calls = f"{use.calls:,} call{'' if use.calls == 1 else 's'}"
    cached = f", {use.cached:,} of them cached" if use.cached else ""
    cost = f", {amount(use.cost, tariff.currency)}" if tariff.prices else ""
    return f"{use.tokens:,} tokens{cached} in {calls}{cost}"


def _limit(tokens: int, money: float, tariff: Tariff) -> Sequence[str]:
    limits = [f"{tokens:,} tokens"] if tokens else []
    limits += [amount(money, tariff.currency)] if money else []
    return [f"  of {' and '.join(limits)}"] if limits else []


# --- For the command line ---

BY = {
    "day": "strftime('%Y-%m-%d', c.started_at, 'unixepoch')",
    "user": "coalesce((SELECT name FROM users WHERE id = c.user_id), '(nobody)')",
    "model": "c.model",
}
_APART = {**BY, "user": "c.user_id"}  # two people may have one name


def table(db: sqlite3.Connection, since: float, by: Sequence[str]) -> list[dict[str, Any]]:
    """The calls since `since` (Unix) in groups, as rows; `by` names keys of BY."""
    names = ", ".join(f"{BY[key]} AS {key}" for key in by)
    groups = ", ".join(_APART[key] for key in by)
    rows = db.execute(
        f"SELECT {names}, count(*) AS calls, coalesce(sum(prompt_tokens), 0) AS prompt,"
        " coalesce(sum(cached_tokens), 0) AS cached,"
        " coalesce(sum(completion_tokens), 0) AS completion,"
        " sum(tokens - coalesce(prompt_tokens + completion_tokens, 0)) AS unknown,"
        " sum(tokens) AS tokens, round(coalesce(sum(cost), 0.0), 6) AS cost,"
        " sum(cost IS NULL) AS unpriced"
        " FROM model_calls AS c WHERE started_at >= ?"
        f" GROUP BY {groups} ORDER BY {', '.join(by)}",
        (since,),
    ).fetchall()
    return [dict(row) for row in rows]
