"""`famulus jobs list | show | export`: read from the database, beside a daemon or without one."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from daemon import jobs_file, tables
from daemon.errors import Refused
from daemon.prompt_cli import printable
from daemon.schedule import telling
from daemon.store import jobs_listed, occurrences
from daemon.store.db import ABSENT, StoreError, require_file
from daemon.store.jobs_listed import Listed

if TYPE_CHECKING:
    from daemon.config import Config

EXIT_OK: Final = 0
DATABASE: Final = "famulus.db"
BUSY_TIMEOUT: Final = 5.0  # seconds
MOST_RUNS: Final = 10
FRAME: Final = 2  # lines of a file around its jobs
LISTED: Final = "famulus jobs list names those that there are"


def list_(settings: Config, options: argparse.Namespace) -> int:
    """Print the table, or the object, of some."""
    with _reading(settings) as db:
        found = jobs_listed.some(db, options.limit, ended=options.all)
        more = jobs_listed.count(db, ended=options.all) - len(found)
    if options.json:
        print(json.dumps({"jobs": [_told(each) for each in found], "more": more}, indent=2))
        return EXIT_OK
    rows = [_row(each) for each in found]
    if len({row["bot"] for row in rows}) == 1:
        rows = [{**row, "bot": ""} for row in rows]  # an empty column is not shown
    print(tables.table(rows, time.time()) if rows else "There are no scheduled prompts.")
    if more:
        print(f"{more:,} more: --limit {options.limit + more} lists them all.")
    return EXIT_OK


def _row(listed: Listed) -> dict[str, str]:
    job, place = listed.job, listed.place
    times = telling.coming(job, 1) if job.state == "active" else []
    return {
        "id": job.ref,
        "name": job.plan.name,
        "person": _person(listed),
        "chat": f"{place.chat}/{place.topic}" if place.topic else place.chat,
        "bot": place.account,
        "rule": telling.rule(job),
        "next": f"{times[0]} {job.plan.zone}" if times else "",
        "state": f"{job.state}: {job.why}" if job.why else job.state,
    }


def _person(listed: Listed) -> str:
    return " ".join(part for part in (listed.person, listed.person_name) if part)


def show(settings: Config, options: argparse.Namespace) -> int:
    """Print one with its last runs. Raises Refused if it is not there."""
    with _reading(settings) as db:
        listed = jobs_listed.find(db, options.id.strip().lower())
        if listed is None:
            raise Refused(f"there is no scheduled prompt {options.id[:40]!r}", LISTED)
        runs = occurrences.history(db, listed.job.id, MOST_RUNS)
    zone = listed.job.plan.zone
    told = [telling.run(each, zone) for each in runs]
    if options.json:
        print(json.dumps({**_told(listed), "runs": told}, indent=2))
        return EXIT_OK
    print(tables.report(_facts(listed)))
    _say_block("prompt", listed.job.plan.prompt.split("\n"))
    if told:
        _say_block("last runs", told)
    return EXIT_OK


def _told(listed: Listed) -> dict[str, Any]:
    """A job for programs: as in a file, with what follows from that."""
    job = listed.job
    return {
        **jobs_file.record(listed),
        "when": telling.rule(job),
        "next_at": job.next_at,
        "next": telling.coming(job),
        "failures": job.failures,
    }


def _facts(listed: Listed) -> dict[str, Any]:
    """What `show` tells of a job beside its prompt; what it lacks is left out."""
    plan, job = listed.job.plan, listed.job
    wanted = plan.recurrence
    row = _row(listed)
    facts: dict[str, Any] = {
        **row,
        "next": [f"{each} {plan.zone}" for each in telling.coming(job)] if row["next"] else "",
        "count": f"{job.begun} of {wanted.count}" if wanted.count else job.begun or None,
        "missed": plan.missed,
        "silent": plan.silent,
        "model": plan.model,
        "tools": list(plan.tools or ()),
        "tokens": plan.tokens,
        "role": job.whose.role,
        "failures": job.failures,
    }
    named = {"count": "times so far", "missed": "if missed", "tokens": "tokens a run"}
    return {named.get(key, key): value for key, value in facts.items() if value or value is False}


def export(settings: Config, options: argparse.Namespace) -> int:
    """Write all of them. Raises Refused if the file cannot be made."""
    with _reading(settings) as db:
        pieces = _pieces(jobs_listed.each(db, ended=options.all))
        if options.file == "-":
            for piece in pieces:
                print(piece)
        else:
            _write(Path(options.file), pieces, force=options.force)
    return EXIT_OK


def _pieces(found: Iterator[Listed]) -> Iterator[str]:
    """The lines of a file: a job each, so that two files can be compared."""
    yield jobs_file.HEAD
    before = None
    for listed in found:
        if before is not None:
            yield f"{before},"
        before = json.dumps(jobs_file.record(listed))
    if before is not None:
        yield before
    yield jobs_file.TAIL


def _write(path: Path, pieces: Iterator[str], *, force: bool) -> None:
    """Put a file in place whole, or not at all."""
    if not force and os.path.lexists(path):
        raise Refused(f"{path} is there already", "give another name, or --force")
    try:
        count = _write_whole(path, pieces)
    except OSError as error:
        raise Refused(
            f"{path} cannot be written: {error.strerror}", "name a file in a directory of yours"
        ) from error
    _say(f"Written to {path}: {count - FRAME:,}")


def _write_whole(path: Path, pieces: Iterator[str]) -> int:
    """Write beside the place, and move it there; nobody else may read it. Returns the lines."""
    import tempfile  # noqa: PLC0415

    fd, name = tempfile.mkstemp(prefix=".famulus-", dir=path.parent)
    try:
        count = 0
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            for count, piece in enumerate(pieces, start=1):  # noqa: B007
                file.write(f"{piece}\n")
            file.flush()
            os.fsync(fd)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return count


@contextlib.contextmanager
def _reading(settings: Config) -> Iterator[sqlite3.Connection]:
    """The database as it is at this moment, to be read alone. Raises StoreError."""
    path = settings.state_dir / DATABASE
    require_file(path)
    try:
        uri = f"{path.resolve().as_uri()}?mode=ro"
        with contextlib.closing(
            sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT, isolation_level=None)
        ) as db:
            db.row_factory = sqlite3.Row
            db.execute("BEGIN")
            yield db
    except sqlite3.Error as error:
        raise StoreError(f"cannot read {path}: {error}", ABSENT) from error


def _say_block(heading: str, lines: Sequence[str]) -> None:
    print(f"\n{heading}")
    for line in lines:
        _say(f"  {line}")


def _say(line: str) -> None:
    print(printable(line))
