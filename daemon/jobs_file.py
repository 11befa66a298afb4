"""Files of scheduled prompts, as `famulus jobs` exports and imports them. Pure.

A file is one JSON object, {"famulus_jobs": 1, "jobs": [...]}. What is exported says all of a job,
so that it is the same after it was imported; a file by hand needs little more than a prompt, a rule
and a chat. Every problem is told with its place ("jobs[3].rule: ..."), and none is passed over.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any, Final

from attrs import define, field, frozen

from agent.preview import bare
from agent.text import clean
from daemon.jobs_fields import MOST_WORDS, Fields, is_number, quoted
from daemon.schedule import booking, recurrence
from daemon.schedule.limits import Limits
from daemon.schedule.recurrence import BadRecurrence, Interval, Once, Recurrence, Rule
from daemon.store.jobs import Kept, Plan
from daemon.store.jobs_listed import Listed

FORMAT: Final = 1
HEAD: Final = '{"famulus_jobs": 1, "jobs": ['
TAIL: Final = "]}"

NAMELESS: Final = "scheduled prompt"
STATES: Final = ("active", "paused", "ended")
ROLES: Final = ("owner", "user", "guest")
MOST_COUNT: Final = 1_000_000
MOST_TOKENS: Final = 1_000_000_000
MOST_TOOL: Final = 128  # characters
KEYS: Final = (
    *("id", "name", "prompt", "rule", "zone", "until", "count", "begun", "missed", "silent"),
    *("model", "tools", "tokens", "state", "why", "chat", "user", "role", "created_at"),
)
WAYS: Final = ("cron", "every", "at")

_ID: Final = re.compile(r"[0-9a-z][0-9a-z-]{0,31}")
_PERSON: Final = re.compile(r"[1-9][0-9]{0,18}")
_CHAT: Final = re.compile(r"-?[1-9][0-9]{0,18}")
_TOPIC: Final = re.compile(r"[0-9]{0,18}")
_RULES: Final = '{"cron": "0 9 * * 1-5"}, {"every": 3600} or {"at": "2030-12-01T09:00"}'


# --- Out ---


def record(listed: Listed) -> dict[str, Any]:
    """A job as it stands in a file."""
    job, place = listed.job, listed.place
    plan, wanted = job.plan, job.plan.recurrence
    return {
        "id": job.ref,
        "name": plan.name,
        "prompt": plan.prompt,
        "rule": json.loads(recurrence.to_json(wanted.rule)),
        "zone": plan.zone,
        "until": wanted.until,
        "count": wanted.count,
        "begun": job.begun,
        "missed": plan.missed,
        "silent": plan.silent,
        "model": plan.model,
        "tools": None if plan.tools is None else list(plan.tools),
        "tokens": plan.tokens,
        "state": job.state,
        "why": job.why,
        "chat": {
            "channel": place.channel,
            "account": place.account,
            "chat": place.chat,
            "topic": place.topic,
        },
        "user": {"id": listed.person, "name": listed.person_name},
        "role": job.whose.role,
        "created_at": job.created_at,
    }


# --- In ---


@frozen
class Terms:
    """What a file is read by. `chat` and `user`, if there are any, take the place of its own."""

    limits: Limits
    now: float
    chat: str = ""
    user: str = ""


@frozen
class Target:
    """Where a job is to answer, and whose it is to be; an `account` '' is this bot's.

    A `role` '' is what the person has in that chat, and it is never more than that.
    """

    account: str
    chat: str
    topic: str
    user: str
    user_name: str
    role: str


@frozen
class Entry:
    """A job of a file, in order as far as that can be seen without the database."""

    index: int
    plan: Plan
    kept: Kept
    target: Target


@define
class Found:
    """What a file holds; `over` are the names of jobs that have nothing left to come."""

    entries: list[Entry] = field(factory=list)
    over: list[str] = field(factory=list)
    problems: list[str] = field(factory=list)


def parse(data: bytes, terms: Terms) -> Found:
    """Read a file. Raises nothing, whatever is in it."""
    found = Found()
    try:
        whole = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        found.problems.append(f"it is no JSON: {_why(error)}")
        return found
    records = _records(whole, found.problems)
    taken: set[str] = set()
    for index, value in enumerate(records):
        fields = Fields(value, f"jobs[{index}]", found.problems)
        before = len(found.problems)
        entry = _entry(index, fields, terms) if fields.values else None
        _note_twice(fields, entry, taken)
        if len(found.problems) == before and entry is not None:
            _sort(found, entry)
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _why(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _records(whole: object, problems: list[str]) -> list[Any]:
    if not isinstance(whole, dict) or whole.get("famulus_jobs") != FORMAT:
        problems.append(f'it does not begin with {{"famulus_jobs": {FORMAT}')
        return []
    unknown = sorted(set(whole) - {"famulus_jobs", "jobs"})
    problems += [f"{quoted(key)} is not known" for key in unknown]
    records = whole.get("jobs")
    if not isinstance(records, list):
        problems.append("jobs: a list is wanted")
        return []
    return records


def _note_twice(fields: Fields, entry: Entry | None, taken: set[str]) -> None:
    ref = entry.kept.ref if entry else ""
    if ref and ref in taken:
        fields.note("id", f"there are two of {ref}")
    taken.add(ref)


def _sort(found: Found, entry: Entry) -> None:
    if entry.kept.next_at is None and entry.kept.state != "ended":
        found.over.append(entry.plan.name)
    else:
        found.entries.append(entry)


def _entry(index: int, fields: Fields, terms: Terms) -> Entry | None:
    fields.only(KEYS)
    zone = fields.zone("zone", terms.limits.zone)
    rule = _rule(fields, zone, terms)
    target = _target(fields, terms)
    if rule is None:
        _ = _plan(fields, None, zone, terms), _kept(fields, None, terms)  # for their problems
        return None
    plan = _plan(fields, rule, zone, terms)
    try:
        if not fields.bad:
            _check_gap(fields, plan.recurrence, terms)
        return Entry(index, plan, _kept(fields, plan.recurrence, terms), target)
    except BadRecurrence as error:
        fields.note("rule", str(error))
        return None


def _plan(fields: Fields, rule: Rule | None, zone: str, terms: Terms) -> Plan:
    prompt = fields.text("prompt", "", booking.MOST_PROMPT).strip()
    if not prompt and "prompt" not in fields.bad:
        fields.note("prompt", "say what is to be done")
    until = fields.moment("until", zone, terms.now)
    if until is not None and isinstance(rule, Once):
        fields.note("until", "what comes once has no end")
    count = fields.whole("count", None, 1, MOST_COUNT)
    return Plan(
        name=_name(fields.text("name", "", booking.MOST_NAME), prompt),
        prompt=prompt,
        recurrence=Recurrence(rule or Once(0.0), until, count),
        zone=zone,
        missed=fields.word(
            "missed", booking.MISSED, "skip" if isinstance(rule, Interval) else "once"
        ),
        silent=fields.flag("silent"),
        model=_model(fields, terms.limits),
        tools=_tools(fields),
        tokens=fields.whole("tokens", 0, 0, MOST_TOKENS) or 0,
    )


def _name(name: str, prompt: str) -> str:
    """A name on one line, in which nothing hides; the beginning of the prompt if there is none."""
    shown = (bare(" ".join(each.split())).strip() for each in (name, prompt))
    line = next(filter(None, shown), NAMELESS)
    return line if len(line) <= booking.MOST_NAME else f"{line[: booking.MOST_NAME - 1].rstrip()}…"


def _model(fields: Fields, limits: Limits) -> str:
    model = fields.text("model", "", MOST_WORDS)
    if model and model not in limits.models:
        known = ", ".join(limits.models) or "none to choose from"
        fields.note("model", f"there is no {quoted(model)}; there are: {known}")
    return model


def _tools(fields: Fields) -> tuple[str, ...] | None:
    tools = fields.values.get("tools")
    if tools is None:
        return None
    if not isinstance(tools, list) or len(tools) > booking.MOST_TOOLS:
        fields.note("tools", f"a list of {booking.MOST_TOOLS} names at most is wanted")
        return None
    if not all(isinstance(one, str) and 0 < len(one) <= MOST_TOOL for one in tools):
        fields.note("tools", "each must be a name")
        return None
    return tuple(map(clean, tools)) or None


def _kept(fields: Fields, wanted: Recurrence | None, terms: Terms) -> Kept:
    state = fields.word("state", STATES, "active")
    begun = fields.whole("begun", 0, 0) or 0
    created_at = fields.moment("created_at", "UTC", terms.now)
    next_at = None
    if wanted is not None and state != "ended" and not fields.bad:
        next_at = _next(wanted, terms.now, begun)
    return Kept(
        ref=_ref(fields),
        state=state,
        why=fields.text("why", "", MOST_WORDS),
        begun=begun,
        next_at=next_at,
        created_at=terms.now if created_at is None else created_at,
    )


def _ref(fields: Fields) -> str:
    ref = fields.values.get("id")
    if ref is None:
        return ""
    if not isinstance(ref, str) or not _ID.fullmatch(ref):
        fields.note("id", "small letters, digits and dashes are wanted, 32 at most")
        return ""
    return ref


# --- When ---


def _rule(fields: Fields, zone: str, terms: Terms) -> Rule | None:
    """The rule of a job, in the words of an export or in those of a person."""
    value = fields.values.get("rule")
    if not isinstance(value, dict):
        fields.note("rule", f"say when: {_RULES}")
        return None
    inner = Fields(value, f"{fields.where}.rule", fields.problems)
    ways = [way for way in WAYS if way in value]
    if len(ways) != 1:
        fields.note("rule", f"say when in one way: {_RULES}")
        return None
    try:
        rule = _RULE_OF[ways[0]](inner, zone, terms)
    except BadRecurrence as error:
        fields.note("rule", str(error))
        return None
    if inner.bad:
        fields.bad.add("rule")
        return None
    return rule


def _check_gap(fields: Fields, wanted: Recurrence, terms: Terms) -> None:
    gap, least = _gap(wanted), terms.limits.shortest
    if gap < least:
        fields.note("rule", f"that is every {gap:g} seconds; {least:g} is the least between runs")


def _once(fields: Fields, zone: str, terms: Terms) -> Rule | None:
    fields.only(("at",))
    at = fields.moment("at", zone, terms.now)
    if at is None and not fields.bad:
        fields.note("at", "a time is wanted")
    return None if at is None else Once(at)


def _interval(fields: Fields, zone: str, terms: Terms) -> Rule | None:
    """Every so many seconds, counted from `anchor`, which is now unless something is said."""
    fields.only(("every", "anchor"))
    every = fields.values["every"]
    if not is_number(every) or not 0 < every <= booking.FARTHEST:
        fields.note("every", "seconds are wanted: more than 0, and less than ten years")
        return None
    anchor = fields.moment("anchor", zone, terms.now)
    return Interval(float(every), terms.now if anchor is None else anchor)


def _cron(fields: Fields, zone: str, _terms: Terms) -> Rule | None:
    fields.only(("cron", "zone"))
    expression = fields.text("cron", "", MOST_WORDS)
    zone = fields.zone("zone", zone)
    return None if fields.bad else recurrence.parse_cron(expression, zone)


_RULE_OF: Final = {"at": _once, "every": _interval, "cron": _cron}


@lru_cache(maxsize=4096)
def _gap(wanted: Recurrence) -> float:
    """The seconds between two runs, at least; many jobs have one rule, and it takes a while."""
    return recurrence.shortest_gap(wanted)


@lru_cache(maxsize=4096)
def _next(wanted: Recurrence, now: float, begun: int) -> float | None:
    return recurrence.next_after(wanted, now, begun)


# --- Where, and whose ---


def _target(fields: Fields, terms: Terms) -> Target:
    account, chat, topic = _chat(fields, terms)
    user, name = _user(fields)
    private = not chat.startswith("-")
    if terms.chat:
        account, chat, topic = "", terms.chat, ""
        private = not chat.startswith("-")
        if private and user != chat:
            user, name = chat, ""
    if terms.user and terms.user != user:
        user, name = terms.user, ""
    elif not user and private and "user" not in fields.bad:
        user = chat  # a private chat has its person's id
    if not user and chat and "user" not in fields.bad:
        fields.note("user", "say whose it is, by the network's id, or give --user")
    return Target(account, chat, topic, user, name, fields.word("role", ROLES, ""))


def _chat(fields: Fields, terms: Terms) -> tuple[str, str, str]:
    """The account, chat and topic."""
    value = fields.values.get("chat")
    if not isinstance(value, dict) or not value:
        value = {"chat": value or None}
    inner = Fields(value, f"{fields.where}.chat", fields.problems)
    inner.only(("channel", "account", "chat", "topic"))
    inner.word("channel", ("telegram",), "telegram")
    account, topic = inner.number("account", _PERSON), inner.number("topic", _TOPIC)
    chat = inner.number("chat", _CHAT)
    if not chat and not inner.bad and not terms.chat:
        fields.note("chat", "say where it is to answer, by the network's id, or give --chat")
    fields.bad |= inner.bad
    return account, chat, topic


def _user(fields: Fields) -> tuple[str, str]:
    """The person's id and name."""
    value = fields.values.get("user")
    if not isinstance(value, dict) or not value:
        value = {"id": value or None}
    inner = Fields(value, f"{fields.where}.user", fields.problems)
    inner.only(("id", "name"))
    user = inner.number("id", _PERSON)
    if inner.bad:
        fields.bad.add("user")
    return user, inner.text("name", "", MOST_WORDS)
