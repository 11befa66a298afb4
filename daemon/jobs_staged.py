"""Jobs on their way from the command line into the database: a file in the state directory.

The command line has read and checked them; who has the database gets a row a line, so that it needs
neither the time nor the memory that a large file takes, nor a request that would hold it.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs

from daemon.errors import FamulusError
from daemon.jobs_file import Entry, Target
from daemon.schedule import recurrence
from daemon.schedule.recurrence import Recurrence
from daemon.store.jobs import Kept, Plan
from daemon.store.values import new_ref

OLD: Final = 3600.0  # seconds; no import takes that long

_NAME: Final = re.compile(r"import-[0-9a-z]{8}\.jobs")


@contextmanager
def staged(state_dir: Path, entries: Iterable[Entry]) -> Iterator[str]:
    """The name of a file in `state_dir` that holds the entries; it is removed at the end.

    Raises FamulusError if it cannot be written.
    """
    path = state_dir / f"import-{new_ref()}.jobs"
    try:
        try:
            _remove_old(state_dir)
            _write(path, entries)
        except OSError as error:
            raise FamulusError(
                f"{path} cannot be written: {error.strerror}",
                "run this as the daemon's user or as root, once the daemon was started",
            ) from error
        yield path.name
    finally:
        path.unlink(missing_ok=True)


def _remove_old(state_dir: Path) -> None:
    """Remove what a command that was killed has left behind."""
    for path in state_dir.glob("import-*.jobs"):
        if path.stat().st_mtime < time.time() - OLD:
            path.unlink(missing_ok=True)


def _write(path: Path, entries: Iterable[Entry]) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        if os.geteuid() == 0:  # the daemon is to read what root has written
            owner = path.parent.stat()
            os.fchown(fd, owner.st_uid, owner.st_gid)
        file.writelines(f"{_line(entry)}\n" for entry in entries)


def read(state_dir: Path, name: str) -> Iterator[Entry]:
    """The entries of a file that `staged` has made. Raises FamulusError if there is none."""
    if not _NAME.fullmatch(name):
        raise FamulusError("that is no file of an import", "use famulus jobs import")
    with (state_dir / name).open(encoding="utf-8") as file:
        yield from map(_entry, file)


def _line(entry: Entry) -> str:
    wanted = entry.plan.recurrence
    values = attrs.asdict(entry, recurse=True, filter=lambda field, _: field.name != "recurrence")
    rule = recurrence.to_json(wanted.rule), wanted.until, wanted.count
    return json.dumps({**values, "recurrence": rule})


def _entry(line: str) -> Entry:
    values: dict[str, Any] = json.loads(line)
    rule, until, count = values["recurrence"]
    wanted = Recurrence(recurrence.from_json(rule), until, count)
    tools = values["plan"].pop("tools")
    plan = Plan(**values["plan"], recurrence=wanted, tools=None if tools is None else tuple(tools))
    return Entry(values["index"], plan, Kept(**values["kept"]), Target(**values["target"]))
