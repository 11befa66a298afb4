"""`read_skill`: the instructions of a skill, and the files that they refer to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import trio

from agent import skills
from agent.skills import Skill, SkillError
from agent.text import clean
from agent.tools.registry import Kind, Tool, ToolError, tool

PART_LENGTH = 40_000  # characters: twice the length that the format advises for a page
OUTPUT_CAP = PART_LENGTH + 200  # a part, and which it is
MAX_LISTED = 50


def skill_tools(known: Mapping[str, Skill], in_jobs: Path | None = None) -> list[Tool]:
    """The tools of skills; none where there are none.

    `in_jobs` is the directory of the owner's skills if jobs can read it, under the same path.
    """

    @tool(kind=Kind.READ, output_cap=OUTPUT_CAP)
    async def read_skill(
        name: Annotated[str, "The skill's name"],
        file: Annotated[str | None, "A file of it; null for its instructions"] = None,
        part: Annotated[int | None, "Of a long text; null: 1"] = None,
    ) -> str:
        """Read the instructions of a skill, or a file that they refer to."""
        skill = known.get(name.strip())
        if skill is None:
            raise ToolError(f"there is no skill {name!r:.80}; there are: {', '.join(known)}")
        try:
            text = await trio.to_thread.run_sync(_read, skill, file and clean(file), in_jobs)
            return _part(text, 1 if part is None else part)
        except SkillError as error:
            raise ToolError(str(error)) from error

    return [read_skill] if known else []


def _read(skill: Skill, file: str | None, in_jobs: Path | None) -> str:
    if file is not None:
        return skills.read_file(skill.folder, file)
    return "\n\n".join([skills.page(skill.folder).body, *_about_files(skill, in_jobs)])


def _part(text: str, number: int) -> str:
    """A text as long as a result may be, or a part of it. Raises SkillError."""
    parts = max(1, -(-len(text) // PART_LENGTH))
    if not 1 <= number <= parts:
        raise SkillError(f"there is no part {number}: the last one is {parts}")
    piece = text[(number - 1) * PART_LENGTH : number * PART_LENGTH]
    return piece if parts == 1 else f"{piece}\n\n[part {number} of {parts}]"


def _about_files(skill: Skill, in_jobs: Path | None) -> list[str]:
    """What else is in the folder, and where code finds it."""
    names = skills.files_of(skill)
    if not names:
        return []
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    reach = (
        f"code finds them in {skill.folder}" if skill.folder.parent == in_jobs else "by read_skill"
    )
    return [f"[Its files, {reach}: {', '.join(names[:MAX_LISTED])}{more}]"]
