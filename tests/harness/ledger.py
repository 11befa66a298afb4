"""The calls that the daemon has made in this run of the tests, for others to judge at its end.

Each is kept once: what was called, with which parameters, and where. `tests/oracles` runs last.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from attrs import frozen

from daemon.demo.calls import Call

# Long texts say no more about a call than short ones.
TEXT = 200

_entries: dict[str, Entry] = {}


@frozen
class Entry:
    """A call that was made, as JSON would carry it."""

    method: str
    params: dict[str, Any]


def note(calls: Iterable[Call]) -> None:
    """Keep the calls of a server, but for those of which it never had the parameters."""
    for call in calls:
        if not call.params and not call.status:
            continue  # cut off within its body
        entry = Entry(call.method, {name: _short(value) for name, value in call.params.items()})
        _entries.setdefault(json.dumps([entry.method, entry.params], sort_keys=True), entry)


def noted() -> list[Entry]:
    """Every call that was made so far, without those that are the same."""
    return list(_entries.values())


def _short(value: object) -> object:
    return value[:TEXT] if isinstance(value, str) else value
