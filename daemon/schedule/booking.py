"""What people and models may do with scheduled prompts, checked here and nowhere else.

Whoever asks sees the jobs of the chat that they speak in, and of these their own; the owner of the
bot sees all of the chat, and the console all there are. What is not in sight is answered as if it
were not there. What somebody has changed may do no more than they may. Each function is part of a
transaction of its caller's.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from attrs import evolve, frozen

from agent.ports import Appointment
from agent.preview import bare
from agent.text import clean
from daemon.chat import roles
from daemon.schedule import recurrence
from daemon.schedule.deciding import Arrival
from daemon.schedule.limits import Limits
from daemon.schedule.occasion import words
from daemon.schedule.recurrence import BadRecurrence, Cron, Interval, Once, Recurrence, Rule
from daemon.store import jobs, occurrences, turns
from daemon.store.jobs import Job, Plan, Whose
from daemon.store.turnrow import TurnRow
from daemon.store.values import Place

MOST_NAME: Final = 60  # characters
MOST_PROMPT: Final = 8_000
MOST_TOOLS: Final = 100
MOST_LISTED: Final = 200
MOST_COUNT: Final = 10_000
MOST_TOKENS: Final = 1_000_000_000
PAUSED: Final = "by {name}"
NAMELESS: Final = "scheduled prompt"
MISSED: Final = ("skip", "once", "all")
WAYS: Final = ("run_at", "delay_seconds", "every_seconds", "cron")
# Who is a moment late has named a time all the same.
JUST_NOW: Final = 60.0
FARTHEST: Final = 10 * 366 * 86400.0  # seconds; nobody means a time further off than that


class NotBooked(Exception):
    """It is not done; the text says why, and what would be, to a person or a model."""


@frozen
class Asker:
    """Who asks, in which place; `session_id` is where the answers of a new job go.

    The `owner` of the bot sees the jobs of everybody in the chat, `everywhere` all there are.
    """

    place: Place
    user_id: str
    role: str
    session_id: str
    owner: bool = False
    everywhere: bool = False


# --- What is in sight ---


def visible(db: sqlite3.Connection, asker: Asker, most: int = MOST_LISTED) -> list[Job]:
    """The jobs that the asker may see here, those that come first first."""
    return jobs.of_chat(db, asker.place, None if asker.owner else asker.user_id, most)


def named(db: sqlite3.Connection, asker: Asker, name: str) -> Job:
    """The job of that id or, if only one is called so, of that name. Raises NotBooked.

    None but what the asker may see; at the console, where that is all, only ids are taken.
    """
    wanted = clean(name).strip()
    job = jobs.find(db, wanted.lower())
    if job is not None and _sees(db, asker, job):
        return job
    called = [] if asker.everywhere else _called(db, asker, wanted)
    if len(called) > 1:
        ids = ", ".join(each.ref for each in called)
        raise NotBooked(
            f"{len(called)} scheduled prompts are called {wanted!r}; say which id: {ids}"
        )
    if not called:
        raise NotBooked(
            f"there is no scheduled prompt {wanted[:20]!r} here; list them for their ids"
        )
    return called[0]


def _called(db: sqlite3.Connection, asker: Asker, name: str) -> list[Job]:
    folded = name.casefold()
    return [each for each in visible(db, asker) if each.plan.name.casefold() == folded]


def _sees(db: sqlite3.Connection, asker: Asker, job: Job) -> bool:
    if asker.everywhere:
        return True
    place = jobs.place_of(db, job)
    here = evolve(place, topic="") == evolve(asker.place, topic="")
    return here and (asker.owner or job.whose.user_id == asker.user_id)


# --- Booking ---


def book(
    db: sqlite3.Connection, asker: Asker, wish: Appointment, limits: Limits, now: float
) -> Job:
    """Make a job, or change the one that the wish names. Raises NotBooked."""
    if not asker.user_id or roles.least(asker.role) == roles.GUEST:
        raise NotBooked("nobody may schedule anything here but users of this bot; guests may not")
    if wish.job:
        return _change(db, asker, named(db, asker, wish.job), wish, limits, now)
    _check_room(db, asker, limits)
    if not wish.prompt or not wish.prompt.strip():
        raise NotBooked("prompt is empty: say what is to be done then")
    plan = _plan(wish, None, limits, now)
    whose = Whose(asker.session_id, asker.user_id, asker.role)
    return jobs.create(db, whose, plan, _first(plan.recurrence, wish, now), now)


def _check_room(db: sqlite3.Connection, asker: Asker, limits: Limits) -> None:
    if jobs.count_of(db, asker.user_id, limits.per_person) >= limits.per_person:
        raise NotBooked(
            f"there are {limits.per_person} scheduled prompts of this person, the most that there"
            " may be; cancel one first"
        )


def _change(  # noqa: PLR0913  (one of them is the clock)
    db: sqlite3.Connection, asker: Asker, job: Job, wish: Appointment, limits: Limits, now: float
) -> Job:
    _open(job)
    plan = _plan(wish, job, limits, now)
    jobs.lower_role(db, job.id, roles.least(asker.role, job.whose.role))
    if plan.recurrence != job.plan.recurrence:
        return jobs.change(db, job.id, plan, _first(plan.recurrence, wish, now), now)
    jobs.change(db, job.id, plan, job.next_at, now)
    jobs.passed(db, job.id, job.begun, job.next_at, now)
    return jobs.get(db, job.id)


def _open(job: Job) -> None:
    if job.state == "ended":
        raise NotBooked(f"{job.plan.name!r} has ended ({job.why}); make a new one")


def _first(wanted: Recurrence, wish: Appointment, now: float) -> float:
    """The first instant of a job; a time that was named and has just passed is now."""
    named_one = wish.run_at is not None or wish.delay_seconds is not None
    first = recurrence.next_after(wanted, now - JUST_NOW if named_one else now)
    if first is None:
        raise NotBooked("no time is left for it: see run_at, end_at and count")
    return first


def _plan(wish: Appointment, job: Job | None, limits: Limits, now: float) -> Plan:
    """The wish, checked, over what the job is now. Raises NotBooked."""
    zone = _zone(wish, job, limits)
    try:
        rule = _rule(wish, zone, now) or _old_rule(job, zone)
        wanted = _ended(wish, rule, job, zone, now)
        if job is None or wanted != job.plan.recurrence:
            _check_gap(wanted, limits)
    except BadRecurrence as error:
        raise NotBooked(str(error)) from None
    prompt = (wish.prompt or (job.plan.prompt if job else "")).strip()
    return Plan(
        name=_name(wish.name or (job.plan.name if job else ""), prompt),
        prompt=_short(prompt),
        recurrence=wanted,
        zone=zone,
        missed=_missed(wish, job, rule),
        silent=wish.silent if wish.silent is not None else bool(job and job.plan.silent),
        model=_model(wish, job, limits),
        tools=_tools(wish, job),
        tokens=_tokens(wish, job),
    )


def _zone(wish: Appointment, job: Job | None, limits: Limits) -> str:
    try:
        return recurrence.known_zone(wish.zone or (job.plan.zone if job else limits.zone))
    except BadRecurrence as error:
        raise NotBooked(str(error)) from None


def _rule(wish: Appointment, zone: str, now: float) -> Rule | None:
    """When the wish says it is to be run; None if it says nothing of that."""
    said = [way for way in WAYS if getattr(wish, way) is not None]
    if len(said) > 1 and said != ["run_at", "every_seconds"]:
        raise NotBooked(f"say when in one way, not by {' and '.join(said)}")
    if wish.every_seconds is not None:
        return _interval(wish, zone, now)
    if wish.cron is not None:
        return recurrence.parse_cron(wish.cron, zone)
    if wish.delay_seconds is not None:
        if not 0 <= wish.delay_seconds <= FARTHEST:
            raise NotBooked("delay_seconds must be 0 or more, and less than ten years")
        return Once(now + wish.delay_seconds)
    return None if wish.run_at is None else Once(_time(wish.run_at, zone, now))


def _old_rule(job: Job | None, zone: str) -> Rule:
    """When a job is run as it is; in another zone, that is another rule."""
    if job is None:
        raise NotBooked(f"say when: one of {', '.join(WAYS)}")
    rule = job.plan.recurrence.rule
    if isinstance(rule, Cron) and rule.zone != zone:
        return recurrence.parse_cron(rule.expression, zone)
    return rule


def _interval(wish: Appointment, zone: str, now: float) -> Interval:
    """Every so many seconds from now on, or from `run_at`, which is then the first time."""
    every = wish.every_seconds or 0.0
    if not 0 < every <= FARTHEST:
        raise NotBooked("every_seconds must be more than 0, and less than ten years")
    first = now + every if wish.run_at is None else _time(wish.run_at, zone, now)
    return Interval(every, first - every)


def _time(text: str, zone: str, now: float) -> float:
    return _to_come(text, recurrence.parse_at(text, zone, now), zone, now)


def _end(text: str, zone: str, now: float) -> float:
    return _to_come(text, recurrence.parse_end(text, zone, now), zone, now)


def _to_come(text: str, at: float, zone: str, now: float) -> float:
    if at < now - JUST_NOW:
        told = recurrence.moment(now, zone)
        raise NotBooked(f"{text.strip()[:40]} has passed: it is {told} ({zone}) now")
    if at > now + FARTHEST:
        raise NotBooked(f"{text.strip()[:40]} is more than ten years off")
    return at


def _ended(wish: Appointment, rule: Rule, job: Job | None, zone: str, now: float) -> Recurrence:
    """The rule with its end: what the wish says, or what the job has. What comes once has none."""
    old = job.plan.recurrence if job else Recurrence(rule)
    until = _end(wish.end_at, zone, now) if wish.end_at else old.until
    count = wish.count if wish.count is not None else old.count
    if count is not None and not 0 < count <= MOST_COUNT:
        raise NotBooked(f"count must be 1 to {MOST_COUNT:,}")
    if not isinstance(rule, Once):
        return Recurrence(rule, until, count)
    if (wish.end_at and until is not None and until < rule.at) or (wish.count or 1) > 1:
        raise NotBooked("it comes only once: end_at and count are for every_seconds and cron")
    return Recurrence(rule)


def _check_gap(wanted: Recurrence, limits: Limits) -> None:
    gap = recurrence.shortest_gap(wanted)
    if gap < limits.shortest:
        raise NotBooked(
            f"that is every {gap:g} seconds; {limits.shortest:g} is the least between two runs"
        )


def _name(name: str, prompt: str) -> str:
    """A name on one line, in which nothing hides; the beginning of the prompt if there is none."""
    shown = (bare(" ".join(each.split())).strip() for each in (name, prompt))
    line = next(filter(None, shown), NAMELESS)
    return line if len(line) <= MOST_NAME else line[: MOST_NAME - 1].rstrip() + "…"


def _short(prompt: str) -> str:
    if len(prompt) > MOST_PROMPT:
        raise NotBooked(f"prompt is longer than {MOST_PROMPT:,} characters")
    return prompt


def _missed(wish: Appointment, job: Job | None, rule: Rule) -> str:
    """What becomes of runs that could not be: intervals simply go on, appointments are kept."""
    if wish.missed is not None:
        if wish.missed not in MISSED:
            raise NotBooked(f"missed must be one of {', '.join(MISSED)}")
        return wish.missed
    if job and type(job.plan.recurrence.rule) is type(rule):
        return job.plan.missed
    return "skip" if isinstance(rule, Interval) else "once"


def _model(wish: Appointment, job: Job | None, limits: Limits) -> str:
    if wish.model is None:
        return job.plan.model if job else ""
    if wish.model and wish.model not in limits.models:
        known = ", ".join(limits.models) or "none to choose from"
        raise NotBooked(f"there is no model {wish.model[:60]!r}; there are: {known}")
    return wish.model


def _tools(wish: Appointment, job: Job | None) -> tuple[str, ...] | None:
    if wish.tools is None:
        return job.plan.tools if job else None
    if len(wish.tools) > MOST_TOOLS:
        raise NotBooked(f"tools names more than {MOST_TOOLS}")
    return wish.tools or None


def _tokens(wish: Appointment, job: Job | None) -> int:
    if wish.max_tokens is None:
        return job.plan.tokens if job else 0
    if not 0 <= wish.max_tokens <= MOST_TOKENS:
        raise NotBooked(f"max_tokens must be 0 (as configured) to {MOST_TOKENS:,}")
    return wish.max_tokens


# --- What else may be done with one ---


def pause(db: sqlite3.Connection, job: Job, why: str, now: float) -> Job:
    """Let a job rest; what runs goes on, what has failed is not tried again."""
    _open(job)
    if job.next_at is None:
        raise NotBooked(f"{job.plan.name!r} has no time left to wait for; delete it to end it")
    occurrences.stop_retries(db, job.id, now)
    jobs.set_state(db, job.id, "paused", why, job.next_at, now)
    return jobs.get(db, job.id)


def resume(db: sqlite3.Connection, job: Job, now: float) -> Job:
    """Go on with a paused job. Of what recurs, nothing that came meanwhile is made up for."""
    _open(job)
    if job.state == "active":
        return job
    rule = job.plan.recurrence.rule
    _zone(Appointment(), job, Limits())
    first = job.next_at
    if not isinstance(rule, Once):
        first = recurrence.next_after(job.plan.recurrence, now, job.begun)
    if first is None:
        raise NotBooked(f"no time is left for {job.plan.name!r}; give it a new one")
    jobs.set_state(db, job.id, "active", "", first, now)
    return jobs.get(db, job.id)


def call_off(db: sqlite3.Connection, job: Job, why: str, now: float) -> None:
    """Nothing of a job is begun any more; what runs goes on, and the history stays for a month."""
    occurrences.stop_retries(db, job.id, now)
    if job.state != "ended":
        jobs.set_state(db, job.id, "ended", why, None, now)


def cancel(db: sqlite3.Connection, job: Job, why: str, now: float) -> turns.Dropped:
    """`call_off`, and end what runs."""
    call_off(db, job, why, now)
    return turns.end_all(db, occurrences.open_turns(db, job.id), now)


def delete(db: sqlite3.Connection, job: Job, now: float) -> turns.Dropped:
    """End a job and what runs of it, and forget it."""
    dropped = turns.end_all(db, occurrences.open_turns(db, job.id), now)
    jobs.delete(db, job.id)
    return dropped


def run_now(db: sqlite3.Connection, job: Job, now: float) -> TurnRow:
    """Begin a run beside those that are due. Raises NotBooked."""
    _open(job)
    if occurrences.open_runs(db, job.id):
        raise NotBooked(f"{job.plan.name!r} is running already")
    occurrence = occurrences.begin(db, job, Arrival(now), now, by_hand=True)
    if occurrence is None:
        raise NotBooked(f"{job.plan.name!r} was begun this very moment")
    return occurrences.begin_turn(db, job, occurrence, words(db, job, now, now), now)
