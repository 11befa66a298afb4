"""The skills and specialists that are on hand: read at the start, and again when the owner says so.

`Shelf` is one value that changes as a whole, so that a turn never sees half of a change. Reading
looks at a few dozen small files and is done in a thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trio
from attrs import define, field, frozen

from agent import skills, specialists
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
        found = f"{len(self.skills)} skills, {len(self.specialists)} specialists"
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


@define
class Shelf:
    """Holds them for the process. `directory` is `[agent] dir`, `in_jobs` what jobs can read."""

    directory: Path | None = None
    in_jobs: Path | None = None
    holding: Holding = field(factory=Holding)

    async def load(self) -> None:
        """Read everything anew; what is broken is logged."""
        self.holding = await trio.to_thread.run_sync(look, self.directory)
        for warning in self.holding.warnings:
            _log.warning("left out", what=warning)

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
