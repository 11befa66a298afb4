"""`famulus usage`: what the model calls of the last days took, read from the database.

It opens the file read-only, so it works beside a running daemon, and without one.
"""

from __future__ import annotations

import argparse
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from daemon.config import Config

DATABASE: Final = "famulus.db"
DAY: Final = 86400.0
BUSY_TIMEOUT: Final = 5.0  # seconds
MOST_DAYS: Final = 3660


def add(
    verbs: Any,  # noqa: ANN401 -- argparse has no public name for it
    add_verb: Callable[..., argparse.ArgumentParser],
    add_config_option: Callable[[argparse.ArgumentParser], None],
) -> None:
    """Add the verb to the command line."""
    parser = add_verb(
        verbs,
        "usage",
        run,
        "show what the model calls took, by day",
        "Tokens as the provider counted them; `unknown` are those of calls whose outcome nobody\n"
        "knows, which count as what had been set aside for them. Costs are by [[prices]].",
    )
    add_config_option(parser)
    parser.add_argument(
        "--days", metavar="N", type=_days, default=30, help="today and the days before (30 in all)"
    )
    parser.add_argument("--user", action="store_true", help="for each person")
    parser.add_argument("--model", action="store_true", help="for each model")
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object")


def _days(text: str) -> int:
    days = int(text)
    if not 1 <= days <= MOST_DAYS:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to {MOST_DAYS}")
    return days


def run(options: argparse.Namespace) -> int:
    """Print the table. Raises StoreError if there is no database that can be read."""
    import json  # noqa: PLC0415 -- each verb imports what it needs

    from daemon import config, tables  # noqa: PLC0415

    settings = config.load(options.config)
    by = [name for name in ("user", "model") if getattr(options, name)] or ["day"]
    now = time.time()
    rows = read(settings.state_dir / DATABASE, now - now % DAY - (options.days - 1) * DAY, by)
    if options.json:
        print(json.dumps(_report(settings, options.days, rows), ensure_ascii=True, indent=2))
    elif rows:
        print(tables.table([*rows, _total(rows)], now))
        print(_foot(settings, rows))
    else:
        print(f"No model was asked in the last {options.days} days.")
    return 0


def read(path: Path, since: float, by: list[str]) -> list[dict[str, Any]]:
    """The groups, from the file at `path`. Raises StoreError."""
    from daemon.store import usage  # noqa: PLC0415
    from daemon.store.db import ABSENT, StoreError, require_file  # noqa: PLC0415

    require_file(path)
    try:
        uri = f"{path.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT)) as db:
            db.row_factory = sqlite3.Row
            return usage.table(db, since, by)
    except sqlite3.Error as error:
        raise StoreError(f"cannot read {path}: {error}", ABSENT) from error


def _total(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The last line: sums under the numbers."""
    first = next(iter(rows[0]))
    sums = {
        key: round(sum(row[key] for row in rows), 6)
        for key, value in rows[0].items()
        if isinstance(value, int | float)
    }
    return {first: "total", **sums}


def _foot(settings: Config, rows: list[dict[str, Any]]) -> str:
    unpriced = sum(row["unpriced"] or 0 for row in rows)
    if not settings.prices:
        return "No prices are configured: [[prices]] in the configuration gives tokens a cost."
    currency = f"Costs are in {settings.prices[0].currency}"
    return f"{currency}; {unpriced} calls had no price." if unpriced else f"{currency}."


def _report(settings: Config, days: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
    currency = settings.prices[0].currency if settings.prices else None
    return {"days": days, "currency": currency, "rows": rows}
