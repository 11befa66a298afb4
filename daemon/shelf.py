"""The skills and specialists that are on hand: read at the start, and again when the owner says so.

`Shelf` is one value that changes as a whole, so that a turn never sees half of a change. Reading
looks at a few dozen small files and is done in a thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from pathlib import Path
from typing import Any

import trio
from attrs import define, field, frozen

from agent import skills, specialists
from agent.budget import FREE, Tariff
from agent.skills import SHIPPED, Skill
from agent.specialists import Specialist
from daemon import log

SKILLS = "skills"  # in the owner's directory, beside specialists.FOLDER

_log = log.get("skills")


@frozen
class Holding:
    """What was found at one time; `warnings` name what is broken, and why."""

    skills: Mapping[str, Skill] = field(factory=dict)
    specialists: Mapping[str, Specialist] = field(factory=dict)
    warnings: tuple[str, ...] = ()

    def line(self) -> str:
        """For /status."""
        found = f"{_so_many(self.skills, 'skill')}, {_so_many(self.specialists, 'specialist')}"
        broken = f"; {len(self.warnings)} left out: see `famulus skills check`"
        return f"{found}{broken if self.warnings else ''}"

    def purposes(self) -> dict[str, str]:
        """What each specialist is for, by name: what `delegate` is offered with."""
        return {each.name: each.description for each in self.specialists.values()}

    def sections(self) -> list[str]:
        """The parts of the system prompt that name them; none that are empty."""
        parts = (
            skills.summary(self.skills.values()),
            specialists.summary(self.specialists.values()),
        )
        return [part for part in parts if part]


def _so_many(things: Sized, noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


@define
class Shelf:
    """Holds them for the process. `directory` is `[agent] dir`, `in_jobs` what jobs can read.

    `tariff` is what the limits of specialists are looked at beside.
    """

    directory: Path | None = None
    in_jobs: Path | None = None
    holding: Holding = field(factory=Holding)
    tariff: Tariff = FREE

    async def load(self) -> None:
        """Read everything anew; what is broken or will not work is logged."""
        self.holding = await trio.to_thread.run_sync(look, self.directory)
        for warning in self.holding.warnings:
            _log.warning("left out", what=warning)
        for remark in remarks(self.holding.specialists.values(), self.tariff):
            _log.warning("probably not meant", what=remark)

    async def verb(self, _request: dict[str, Any]) -> dict[str, Any]:
        """The answer to the control socket's `skills`, asked when the owner has changed them."""
        await self.load()
        return {"line": self.holding.line(), "warnings": self.holding.warnings}


def look(directory: Path | None) -> Holding:
    """What there is now. Reads files."""
    roots = [SHIPPED] if directory is None else [SHIPPED, directory / SKILLS]
    found, warnings = skills.load_skills(*roots)
    own: tuple[Specialist, ...] = ()
    more: tuple[str, ...] = ()
    if directory is not None:
        own, more = specialists.load_specialists(directory / specialists.FOLDER)
    return Holding(
        {each.name: each for each in found},
        {each.name: each for each in own},
        (*warnings, *more),
    )


def remarks(found: Iterable[Specialist], tariff: Tariff) -> Iterator[str]:
    """What specialists want that the prices and budgets do not allow."""
    for each in found:
        tokens, budget = each.limits.tokens or 0, tariff.budget
        if each.model and budget.limits_money and tariff.price(each.model) is None:
            yield (
                f"specialist {each.name}: a budget in money is set, but its model {each.model!r} "
                "has no price in [[prices]]: its tasks will be refused"
            )
        if 0 < budget.turn_tokens < tokens:
            yield (
                f"specialist {each.name}: limits.tokens ({tokens}) is above budget.turn_tokens "
                f"({budget.turn_tokens}), which holds for its tasks too"
            )
        if 0 < tokens <= budget.answer_tokens:
            yield (
                f"specialist {each.name}: limits.tokens ({tokens}) has no room beside what is set "
                f"aside for an answer, budget.answer_tokens ({budget.answer_tokens}): its tasks "
                "will be refused"
            )
