"""What the offline model makes of reminders: their times, in words, and the runs that they become.

Only what comes in so long, or again at an hour of the day or after a while, is understood; of a
place, those that are known. A language model would understand far more.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from daemon.demo.cities import PLACE, zone_of
from daemon.demo.replies import ToolCall

SECONDS: Final = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
DAYS: Final = {"day": "*", "weekday": "MON-FRI"}  # others are named by their first letters

_UNIT = r"(seconds?|minutes?|hours?|days?)"
_DAY = r"(day|weekday|(?:mon|tues|wednes|thurs|fri|satur|sun)day)"
_DELAY = re.compile(rf"(?i)in (\d{{1,6}}) {_UNIT}")
_OFTEN = re.compile(rf"(?i)every (?:(\d{{1,6}}) )?{_UNIT}")
_DAILY = re.compile(rf"(?i)every {_DAY} at (\d{{1,2}})(?::(\d\d))?(?: in ({PLACE}))?")


def _bare(pattern: re.Pattern[str]) -> str:
    """The same without its groups, to stand within a sentence."""
    return re.sub(r"\((?!\?)", "(?:", pattern.pattern.removeprefix("(?i)"))


WHEN: Final = "|".join(map(_bare, (_DAILY, _DELAY, _OFTEN)))  # what is longest comes first

# Between what stands before a task in a run's message and behind it, see `agent.schedule`.
_RUN = re.compile(
    r"\[A scheduled prompt: .*? What is to be done:\]\n\n(.+?)\n\n?"
    r"\[(?:What you answered last time|Do it now)",
    re.DOTALL,
)
REMIND: Final = "Remind the person to {what}."
_REMIND = re.compile(r"Remind the person to (.+?)\.?")
_END = r"[\s.?!]*"
_CANCEL_ALL = re.compile(rf"(?i)cancel all(?: (?:my |the )?(?:reminders|scheduled prompts))?{_END}")
_ID = re.compile(r"(?m)^- id (\w+):")


def _time(when: str) -> dict[str, Any]:
    """The arguments that say when."""
    if found := _DAILY.fullmatch(when):
        day, hour, minute, place = found.groups()
        days = DAYS.get(day.lower(), day[:3].upper())
        cron = f"{int(minute or 0)} {int(hour)} * * {days}"
        return {"cron": cron, **({"zone": zone_of(place)} if place else {})}
    found = _DELAY.fullmatch(when) or _OFTEN.fullmatch(when)
    assert found is not None  # noqa: S101  (WHEN is made of these)
    key = "delay_seconds" if when.lower().startswith("in ") else "every_seconds"
    return {key: int(found[1] or 1) * SECONDS[found[2].lower().removesuffix("s")]}


def _reminder(found: re.Match[str]) -> ToolCall:
    what = found["what"].strip().rstrip(".!")
    said = {"prompt": REMIND.format(what=what), "name": what}
    return ToolCall("schedule_prompt", {**said, **_time(found["when"])})


def _task(found: re.Match[str]) -> ToolCall:
    return ToolCall("schedule_prompt", {"prompt": found["what"], **_time(found["when"])})


def _move(found: re.Match[str]) -> ToolCall:
    return ToolCall("schedule_prompt", {"job": found["job"], **_time(found["when"])})


def _list(_found: re.Match[str]) -> ToolCall:
    return ToolCall("list_scheduled_prompts", {})


def _end(found: re.Match[str]) -> ToolCall:
    verb = "delete" if found[1].lower() == "delete" else "cancel"
    return ToolCall(f"{verb}_scheduled_prompt", {"job": found[2]})


_WHEN = rf"(?P<when>{WHEN})"
_JOB = r"(?:the |my )?(?:reminder|scheduled prompt) "

Maker: TypeAlias = Callable[[re.Match[str]], ToolCall]

REMINDERS: Final[tuple[tuple[re.Pattern[str], Maker], ...]] = (
    (re.compile(rf"(?is)(?:please )?remind me {_WHEN},? to (?P<what>.+)"), _reminder),
    (re.compile(rf"(?is)(?:please )?remind me to (?P<what>.+?),? {_WHEN}{_END}"), _reminder),
    (re.compile(rf"(?is){_WHEN}[,:]? remind me to (?P<what>.+)"), _reminder),
    (re.compile(rf"(?is){_WHEN}[,:] (?P<what>.+)"), _task),
    (re.compile(rf"(?is)(?P<when>{_bare(_DAILY)}) (?P<what>.+)"), _task),
    (re.compile(rf"(?i)(?:move|change) {_JOB}(?P<job>.+?) to {_WHEN}{_END}"), _move),
    (
        re.compile(
            r"(?i)what(?: is|'s) scheduled(?: here)?[\s.?!]*"
            rf"|(?:list |show )?(?:me )?(?:my |the )(?:reminders|schedule|scheduled prompts){_END}"
        ),
        _list,
    ),
    (_CANCEL_ALL, _list),
    (re.compile(rf"(?i)(cancel|delete) {_JOB}(.+?){_END}"), _end),
)


def ending(asked: str, tool: str, result: str) -> list[ToolCall]:
    """The calls that end all that was listed, if that was asked for."""
    if tool != "list_scheduled_prompts" or not _CANCEL_ALL.fullmatch(asked):
        return []
    return [ToolCall("cancel_scheduled_prompt", {"job": each}) for each in _ID.findall(result)]


def promise(result: str) -> str:
    """What is said of a reminder that was made or moved; the chat has been shown its times."""
    found = re.search(r"\bid (\w+)", result)
    return f"I will. (Its id is {found[1]}.)" if found else result


def task(text: str) -> str:
    """What is to be done in a run of a scheduled prompt; any other text as it is."""
    found = _RUN.match(text)
    return found[1].strip() if found else text


def reminder(text: str) -> str:
    """What a person is told who wanted to be reminded; '' if the text is about something else."""
    found = _REMIND.fullmatch(text)
    return f"Time to {found[1]}." if found else ""
