"""Scheduled prompts in words, for chats, models and the console. Pure."""

from __future__ import annotations

from typing import Final

from daemon.schedule import recurrence
from daemon.schedule.recurrence import Once
from daemon.store.jobs import Job
from daemon.store.occurrences import Occurrence

SHOWN_TIMES: Final = 3
NOT_SCHEDULED: Final = "no time is left"
MORE: Final = "(There are more than these; /tasks shows all.)"
MOST_SHOWN: Final = 160  # characters of a prompt

STATES: Final = {
    "open": "under way",
    "retry": "to be tried again",
    "done": "done",
    "failed": "failed",
    "undelivered": "done, but the answer did not arrive",
    "missed": "not run",
    "stopped": "stopped",
}


def rule(job: Job) -> str:
    """When a job is run, as its rule says."""
    return recurrence.describe(job.plan.recurrence, job.plan.zone)


def coming(job: Job, most: int = SHOWN_TIMES) -> list[str]:
    """The next times of a job, in its zone."""
    if job.next_at is None:
        return []
    wanted = job.plan.recurrence
    later = recurrence.upcoming(wanted, job.next_at, most - 1, job.begun + 1)
    return [recurrence.moment(each, job.plan.zone) for each in (job.next_at, *later)]


def when(job: Job) -> str:
    """What comes next of a job, in a few words."""
    if job.state != "active":
        return f"{job.state}: {job.why}" if job.why else job.state
    times = coming(job, 1)
    return f"next {times[0]}" if times else NOT_SCHEDULED


def line(job: Job) -> str:
    """A job on one line; one that comes once tells its time once."""
    if isinstance(job.plan.recurrence.rule, Once) and job.state == "active":
        return f"{job.plan.name}: {rule(job)}"
    return f"{job.plan.name}: {rule(job)}; {when(job)}"


def booked(job: Job, *, changed: bool) -> str:
    """What a chat is told of a job that was made or changed in it."""
    plan, shown = job.plan, _prompt(job)
    lines = [f"{'Changed' if changed else 'Scheduled'}: {plan.name}", rule(job)]
    if not isinstance(plan.recurrence.rule, Once):
        lines.append(f"Next: {', '.join(coming(job)) or NOT_SCHEDULED}")
    if shown.casefold() != plan.name.casefold():
        lines.append(f"To do: {shown}")
    if plan.silent:
        lines.append("You hear of it only when there is something to tell.")
    if job.state == "paused":
        lines.append(f"It is {when(job)}.")
    return "\n".join(lines)


def for_model(job: Job, *, changed: bool) -> str:
    """The result of the call that made or changed a job."""
    done = "changed" if changed else "scheduled"
    times = ", ".join(coming(job)) or NOT_SCHEDULED
    return (
        f"{done}: id {job.ref}, {rule(job)}; next: {times} ({job.plan.zone})."
        " The chat has been shown this; do not repeat the times."
    )


def listed(job: Job) -> str:
    """A job in a list for the model."""
    plan = job.plan
    more = [
        *(["silent"] if plan.silent else []),
        *([f"model {plan.model}"] if plan.model else []),
        *([f"tools {', '.join(plan.tools)}"] if plan.tools else []),
        f"missed: {plan.missed}",
    ]
    return f"- id {job.ref}: {line(job)} ({'; '.join(more)}): {_prompt(job)}"


def _prompt(job: Job) -> str:
    """The beginning of what is to be done, on one line."""
    words = " ".join(job.plan.prompt.split())
    return words if len(words) <= MOST_SHOWN else f"{words[: MOST_SHOWN - 1]}…"


def run(each: Occurrence, zone: str) -> str:
    """An occurrence on one line."""
    extra = [
        *(["by hand"] if each.by_hand else []),
        *([f"for {each.stands_for} before it, too"] if each.stands_for else []),
        *([f"{each.attempts} tries"] if each.attempts > 1 else []),
        *([each.error] if each.error else []),
    ]
    told = f" ({'; '.join(extra)})" if extra else ""
    return f"{recurrence.moment(each.instant, zone)}: {STATES[each.state]}{told}"


def failed(job: Job, each: Occurrence, sentence: str, *, paused: bool) -> str:
    """What the person is told of a run that came to nothing."""
    due = recurrence.moment(each.instant, job.plan.zone)
    tries = f"after {each.attempts} tries" if each.attempts > 1 else "at the first try"
    lines = [f'"{job.plan.name}" (due {due}) came to nothing, {tries}: {sentence}']
    if paused:
        lines.append("It has failed so often in a row that I have paused it; see /tasks.")
    elif job.state == "paused":
        lines.append(f"It is {when(job)}; see /tasks.")
    elif job.next_at is not None:
        lines.append(f"It is run again at {coming(job, 1)[0]} ({job.plan.zone}); see /tasks.")
    else:
        lines.append("It is not run again by itself; see /tasks.")
    return "\n".join(lines)


def lost(job: Job, why: str) -> str:
    """What the person is told of a job that was paused since nobody knows when it is to be run."""
    return f'I have paused "{job.plan.name}": {why}. Tell me in which zone it is to be run.'
