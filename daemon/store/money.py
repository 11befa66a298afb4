"""What model calls take: a row per call, and the use of each user and each agent per day.

What a call may take is reserved with its intent, and what it took is settled with its outcome, so
a budget is held against calls that are still under way: two of them cannot pass it together. A
call whose outcome is unknown (we were killed, or the turn was stopped) counts as what was reserved
for it, because the provider may well have been paid; a daemon that crashes in circles is not free.
So does each attempt of a call that brought no answer, unless the provider counted it, or answered
with an error before it had begun.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from attrs import frozen

from agent.budget import FREE, Account, Reservation, Spent, Tariff, day_of, refusal
from agent.text import clean
from agent.transcript import UNCOUNTED, Answer, Usage
from daemon.store import turnrow
from daemon.store.values import Address, Claim

BYTES_PER_TOKEN = 4  # of an answer whose tokens the provider did not count


class OverBudget(Exception):
    """The call may not be made; the text is a sentence for the person."""


@frozen
class Request:
    """A call that is about to be made: to which model, with a prompt of how many tokens."""

    model: str
    prompt_tokens: int
    tariff: Tariff = FREE
    purpose: str = "turn"


def intend(
    db: sqlite3.Connection, claim: Claim, address: Address, request: Request, now: float
) -> int:
    """Reserve what a model call may take, and record it; returns its id. Raises OverBudget."""
    wanted = request.tariff.reserve(request.model, request.prompt_tokens)
    role, day = turnrow.role(db, claim.turn_id), day_of(now)
    accounts = [*_of_turn(db, claim.turn_id, request), *_of_day(db, address, role, day)]
    if why := refusal(request.tariff, accounts, wanted, now):
        raise OverBudget(why)
    for book in _books(address.payer_id, address.agent_id, day_of(now)):
        _set_aside(db, book, wanted)
    (call_id,) = db.execute(
        "INSERT INTO model_calls (turn_id, user_id, agent_id, model, state, boot, reserved_tokens,"
        " answer_tokens, tokens, cost, purpose, started_at)"
        " VALUES (?, ?, ?, ?, 'running', ?, ?6, ?, ?6, ?, ?, ?) RETURNING id",
        (
            claim.turn_id,
            address.payer_id,
            address.agent_id,
            request.model,
            claim.boot,
            wanted.tokens,
            wanted.answer,
            wanted.cost,
            request.purpose,
            now,
        ),
    ).fetchone()
    return int(call_id)


def settle(
    db: sqlite3.Connection,
    call_id: int,
    answer: Answer | None,
    error: str | None,
    now: float,
    *,
    tariff: Tariff = FREE,
    lost: tuple[Usage, ...] = UNCOUNTED,
) -> None:
    """Record how a call ended, and turn what was reserved for it into what it took.

    `lost` is what its attempts took if there is no answer; one that nobody counted takes its
    reservation. An answer has its own.
    """
    row = db.execute(
        "SELECT * FROM model_calls WHERE id = ? AND state = 'running'", (call_id,)
    ).fetchone()
    if row is None:
        return
    taken = _taken(row, answer, tariff) if answer is not None else _lost(row, lost, tariff)
    db.execute(
        "UPDATE model_calls SET state = ?, model = ?, prompt_tokens = ?, cached_tokens = ?,"
        " completion_tokens = ?, tokens = ?, cost = ?, error = ?, ended_at = ? WHERE id = ?",
        (
            "done" if taken.usage else "failed",
            clean(answer.model) if answer is not None and answer.model else row["model"],
            taken.usage.prompt_tokens if taken.usage else None,
            taken.usage.cached_tokens if taken.usage else None,
            taken.usage.completion_tokens if taken.usage else None,
            taken.tokens,
            taken.cost,
            error,
            now,
            call_id,
        ),
    )
    for book in _books(row["user_id"], row["agent_id"], day_of(row["started_at"])):
        _enter(db, book, row, taken)


def abandon(db: sqlite3.Connection, reason: str, now: float, *, turn_id: int | None = None) -> None:
    """Close the calls that are under way, of one turn or of all; what they took is not known."""
    rows = db.execute(
        "SELECT id FROM model_calls WHERE state = 'running' AND turn_id = coalesce(?, turn_id)",
        (turn_id,),
    ).fetchall()
    for (call_id,) in rows:
        settle(db, call_id, None, reason, now)
        db.execute("UPDATE model_calls SET state = 'unknown' WHERE id = ?", (call_id,))


# --- What a call took ---


@frozen
class _Taken:
    """What a call counts for; `usage` is that of its answer, None if it has none."""

    tokens: int
    cost: float | None
    usage: Usage | None = None

    @property
    def unknown(self) -> int:
        """Tokens that went to no answer."""
        return self.tokens - (self.usage or Usage()).tokens


def _taken(row: sqlite3.Row, answer: Answer, tariff: Tariff) -> _Taken:
    usage = answer.usage
    if not usage.tokens:
        usage = Usage(row["reserved_tokens"] - row["answer_tokens"], 0, _length(answer))
    cost = tariff.cost(answer.model or row["model"], usage)
    # A stand-in without a price may have answered; its call costs what was set aside.
    cost = row["cost"] if cost is None else cost
    lost = _lost(row, answer.lost, tariff)
    whole = None if cost is None else cost + (lost.cost or 0.0)
    return _Taken(usage.tokens + lost.tokens, whole, usage)


def _lost(row: sqlite3.Row, attempts: Sequence[Usage], tariff: Tariff) -> _Taken:
    """What attempts took that brought no answer, each at the price of the model that made it."""
    reserved = Usage(row["reserved_tokens"] - row["answer_tokens"], 0, row["answer_tokens"])
    tokens = sum(each.tokens or reserved.tokens for each in attempts)
    costs = [
        tariff.cost(each.model or row["model"], each if each.tokens else reserved)
        for each in attempts
    ]
    known = [row["cost"] if cost is None else cost for cost in costs]
    return _Taken(tokens, None if None in known else sum(known))


def _length(answer: Answer) -> int:
    written = (answer.text, *(call.name + call.arguments for call in answer.calls))
    return 1 + sum(len(clean(text).encode()) for text in written) // BYTES_PER_TOKEN


# --- The books: a row per user and day, and one per agent and day ---


@frozen
class _Book:
    """A row of the use per day. The names are ours, and go into statements."""

    table: str
    key: str
    whose: str
    day: str


def _books(user_id: str | None, agent_id: str, day: str) -> Iterator[_Book]:
    if user_id is not None:
        yield _Book("usage", "user_id", user_id, day)
    yield _Book("agent_usage", "agent_id", agent_id, day)


def _set_aside(db: sqlite3.Connection, book: _Book, wanted: Reservation) -> None:
    db.execute(
        f"INSERT INTO {book.table} ({book.key}, day, reserved_tokens, reserved_cost)"
        " VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " reserved_tokens = reserved_tokens + excluded.reserved_tokens,"
        " reserved_cost = reserved_cost + excluded.reserved_cost",
        (book.whose, book.day, wanted.tokens, wanted.cost or 0.0),
    )


def _enter(db: sqlite3.Connection, book: _Book, row: sqlite3.Row, taken: _Taken) -> None:
    """Count what a call took, in place of what was set aside for it."""
    usage = taken.usage or Usage()
    db.execute(
        f"UPDATE {book.table} SET calls = calls + 1, reserved_tokens = reserved_tokens - ?,"
        " reserved_cost = reserved_cost - ?, prompt_tokens = prompt_tokens + ?,"
        " cached_tokens = cached_tokens + ?, completion_tokens = completion_tokens + ?,"
        " unknown_tokens = unknown_tokens + ?, cost = cost + ?"
        f" WHERE {book.key} = ? AND day = ?",
        (
            row["reserved_tokens"],
            row["cost"] or 0.0,
            usage.prompt_tokens,
            usage.cached_tokens,
            usage.completion_tokens,
            taken.unknown,
            taken.cost or 0.0,
            book.whose,
            book.day,
        ),
    )


def _of_turn(db: sqlite3.Connection, turn_id: int, request: Request) -> Iterator[Account]:
    """The budgets of the turn itself. What is done after it, for the next ones, is not in them."""
    if request.purpose != "turn":
        return
    spent = _spent_by(db, "SELECT ?1", turn_id)
    if request.tariff.task_tokens:
        yield Account("specialist", spent)
    yield Account("turn", spent)
    if (unasked := _unasked(db, turn_id)) is not None:
        family = "SELECT ?1 UNION ALL SELECT id FROM turns WHERE parent_id = ?1"
        root, cause = unasked
        yield Account(cause, _spent_by(db, family, root))


def _unasked(db: sqlite3.Connection, turn_id: int) -> tuple[int, str] | None:
    """The turn itself, or the one that has begun it, if that is one that nobody has asked for.

    Which is a heartbeat or an appointment; the second value says which.
    """
    row = db.execute(
        "SELECT id, cause FROM turns WHERE cause IN ('heartbeat', 'schedule')"
        " AND id IN (?1, (SELECT parent_id FROM turns WHERE id = ?1))",
        (turn_id,),
    ).fetchone()
    return None if row is None else (int(row[0]), str(row[1]))


def _spent_by(db: sqlite3.Connection, turns: str, turn_id: int) -> Spent:
    row = db.execute(
        "SELECT coalesce(sum(tokens), 0), coalesce(sum(cost), 0.0) FROM model_calls"
        f" WHERE turn_id IN ({turns}) AND purpose = 'turn'",
        (turn_id,),
    ).fetchone()
    return Spent(*row)


def _of_day(db: sqlite3.Connection, address: Address, role: str, day: str) -> Iterator[Account]:
    """A guest has a smaller budget beside that of every person."""
    for book in _books(address.payer_id, address.agent_id, day):
        spent = _spent(db, book)
        if role == "guest" and book.key == "user_id":
            yield Account("guest_day", spent)
        yield Account(f"{book.key.removesuffix('_id')}_day", spent)


def _spent(db: sqlite3.Connection, book: _Book) -> Spent:
    row = db.execute(
        "SELECT reserved_tokens + prompt_tokens + completion_tokens + unknown_tokens,"
        f" reserved_cost + cost FROM {book.table} WHERE {book.key} = ? AND day = ?",
        (book.whose, book.day),
    ).fetchone()
    return Spent() if row is None else Spent(*row)
