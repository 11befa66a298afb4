"""Recurrences as values, and as text for a column and an export. Times are Unix seconds."""

from __future__ import annotations

import json
from typing import TypeAlias

from attrs import frozen


class BadRecurrence(ValueError):
    """It is no time, or none that comes; the text says why, and what to write instead."""


@frozen
class Once:
    at: float


@frozen
class Interval:
    """Every so many seconds, counted from the anchor, which is not one of the instants."""

    every: float
    anchor: float


@frozen
class Cron:
    """By the clock on the wall of an IANA zone; the expression has five fields."""

    expression: str
    zone: str


Rule: TypeAlias = Once | Interval | Cron


@frozen
class Recurrence:
    """A rule and its end: no instant after `until`, and no more than `count` in all."""

    rule: Rule
    until: float | None = None
    count: int | None = None


@frozen
class Due:
    """The newest instants that have come, in order, and how many have; None: not counted."""

    instants: tuple[float, ...]
    total: int | None


def to_json(rule: Rule) -> str:
    match rule:
        case Once(at):
            return json.dumps({"at": at})
        case Interval(every, anchor):
            return json.dumps({"every": every, "anchor": anchor})
        case Cron(expression, zone):
            return json.dumps({"cron": expression, "zone": zone})


def from_json(text: str) -> Rule:
    """The rule that `to_json` has written."""
    told = json.loads(text)
    if "at" in told:
        return Once(told["at"])
    if "every" in told:
        return Interval(told["every"], told["anchor"])
    return Cron(told["cron"], told["zone"])
