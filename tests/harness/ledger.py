"""The calls that the daemon has made in this run of the tests, for others to judge at its end.

Each is kept once: what was called, and with which parameters. `tests/oracles` runs last; where a
run is several processes, each leaves what it noted in the folder that the environment names.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from attrs import asdict, frozen

from daemon.demo.calls import Call

FOLDER: Final = "FAMULUS_TEST_LEDGER"

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
        _keep(entry)


def noted() -> list[Entry]:
    """Every call that was made so far, without those that are the same."""
    for path in _left():
        for line in path.read_text(encoding="utf-8").splitlines():
            _keep(Entry(**json.loads(line)))
    return list(_entries.values())


def leave() -> None:
    """Leave what was noted here to the processes that come after this one, if there is a folder."""
    if folder := os.environ.get(FOLDER):
        lines = (json.dumps(asdict(entry)) + "\n" for entry in _entries.values())
        Path(folder, f"{os.getpid()}.jsonl").write_text("".join(lines), encoding="utf-8")


def _left() -> list[Path]:
    folder = os.environ.get(FOLDER)
    return sorted(Path(folder).glob("*.jsonl")) if folder else []


def _keep(entry: Entry) -> None:
    _entries.setdefault(json.dumps([entry.method, entry.params], sort_keys=True), entry)


def _short(value: object) -> object:
    return value[:TEXT] if isinstance(value, str) else value
