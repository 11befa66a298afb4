"""`schedule_prompt` and its like: prompts that are run later, and what is known of them.

A tool here does nothing but say what is wanted. The journal books or ends it in the same
transaction that keeps the call's outcome, which is then in words what became of it, so a call that
was interrupted can be made again, and nothing is booked twice.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import Annotated, Final, Literal, Protocol

from agent.ports import Appointment, Cancellation, ToolOutcome
from agent.tools.registry import Kind, Tool, ToolError, tool

# Of these a run has the last three; it books nothing itself.
NAMES: Final = (
    "schedule_prompt",
    "list_scheduled_prompts",
    "cancel_scheduled_prompt",
    "delete_scheduled_prompt",
)
QUEUE: Final = "schedule"  # calls see what earlier ones have booked and ended
NONE: Final = "Nothing is scheduled here."


class Schedules(Protocol):
    """What is scheduled in this chat, as far as the turn's person may see it."""

    async def listed(self) -> list[str]:
        """A line for each scheduled prompt, with its id; those that come first first."""
        ...


def schedule_tools(schedules: Schedules, known: Collection[str], *, may_book: bool) -> list[Tool]:
    """The tools for scheduled prompts; only who `may_book` is offered the one that makes them.

    `known` are the names of the other tools that a run may be offered.
    """
    booking = [_booking_tool({*known, *NAMES[1:]})] if may_book else []
    return [*booking, *_keeping_tools(schedules)]


def _booking_tool(offered: Collection[str]) -> Tool:
    """The tool that makes and changes scheduled prompts; their runs may have what is `offered`."""

    @tool(kind=Kind.READ, queue=QUEUE)
    async def schedule_prompt(  # noqa: PLR0913  (what a prompt is scheduled by)
        prompt: Annotated[str | None, "The whole task; a run sees no earlier message"],
        name: Annotated[str | None, "Short"],
        run_at: Annotated[str | None, "Local: 2026-12-24T18:00; with every_seconds the first"],
        delay_seconds: Annotated[float | None, "Once, from now"],
        every_seconds: Annotated[float | None, "Between runs"],
        cron: Annotated[str | None, "5 fields, local: 0 9 * * MON-FRI"],
        zone: Annotated[str | None, "IANA; null: the person's"],
        end_at: Annotated[str | None, "Not after"],
        count: Annotated[int | None, "At most so many runs"],
        silent: Annotated[bool | None, "Answer only with news"],
        missed: Annotated[Literal["skip", "once", "all"] | None, "Runs while I was off"],
        model: Annotated[str | None, "null: the chat's"],
        tools: Annotated[list[str] | None, "Only these"],
        max_tokens: Annotated[int | None, "Per run"],
        job: Annotated[str | None, "Id to change; null fields stay"],
    ) -> ToolOutcome:
        """Run a prompt later, once or again and again; this chat gets its answers.

        Give one of delay_seconds (if relative), run_at, every_seconds, cron.
        """
        wish = Appointment(
            job=_said(job),
            name=_said(name),
            prompt=_said(prompt),
            run_at=_said(run_at),
            delay_seconds=delay_seconds,
            every_seconds=every_seconds,
            cron=_said(cron),
            zone=_said(zone),
            end_at=_said(end_at),
            count=count,
            missed=missed,
            silent=silent,
            model=model,
            tools=_tools(tools, offered),
            max_tokens=max_tokens,
        )
        if wish.job is None and wish.prompt is None:
            raise ToolError("the prompt is empty; say what is to be done then")
        return ToolOutcome("", booking=wish)

    return schedule_prompt


def _keeping_tools(schedules: Schedules) -> list[Tool]:
    """The tools that list and end what is scheduled."""

    @tool(kind=Kind.READ, queue=QUEUE)
    async def list_scheduled_prompts() -> str:
        """List what is scheduled here, with ids."""
        return "\n".join(await schedules.listed()) or NONE

    @tool(kind=Kind.READ, queue=QUEUE)
    async def cancel_scheduled_prompt(job: Annotated[str, "Id"]) -> ToolOutcome:
        """End a scheduled prompt; its history stays."""
        return ToolOutcome("", booking=Cancellation(_id(job)))

    @tool(kind=Kind.READ, queue=QUEUE)
    async def delete_scheduled_prompt(job: Annotated[str, "Id"]) -> ToolOutcome:
        """End a scheduled prompt and forget it."""
        return ToolOutcome("", booking=Cancellation(_id(job), forget=True))

    return [list_scheduled_prompts, cancel_scheduled_prompt, delete_scheduled_prompt]


def _said(text: str | None) -> str | None:
    """What an argument says; models that cannot leave one out send an empty one."""
    return (text or "").strip() or None


def _id(job: str) -> str:
    if not job.strip():
        raise ToolError("the id is empty; list_scheduled_prompts tells it")
    return job.strip()


def _tools(tools: list[str] | None, known: Collection[str]) -> tuple[str, ...] | None:
    """The tools that a run is to have. Raises ToolError for one that no run can be offered."""
    if tools is None:
        return None
    wanted = tuple(dict.fromkeys(each.strip() for each in tools))
    unknown = next((each for each in wanted if each not in known), None)
    if unknown is not None:
        near = difflib.get_close_matches(unknown, known, n=3) or sorted(known)
        raise ToolError(f"a run has no tool {unknown!r:.80}; it may have: {', '.join(near)}")
    return wanted
