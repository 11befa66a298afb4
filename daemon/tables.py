"""Reports as text for a terminal. Pure: plain values in, lines out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeGuard

from daemon.redact import escape

# Keys of a report that hold a moment in Unix seconds.
MOMENTS: Final = frozenset({"since", "started", "at"})

# Anything later is no moment: datetime ends with the year 9999.
LAST_MOMENT: Final = 2e11


def report(values: Mapping[str, Any], now: float | None = None) -> str:
    """`values` as aligned lines; a list of mappings becomes a table under its name.

    `now` (Unix seconds) is what moments are told relative to.
    """
    clock = time.time() if now is None else now
    plain = [(key, value) for key, value in _flat(values) if not _is_table(value)]
    parts = [pairs([(escape(key), _cell(key, value, clock)) for key, value in plain])]
    for key, value in _flat(values):
        if _is_table(value):
            parts.append(f"{escape(key)}\n{table(value, clock)}")
    return "\n\n".join(part for part in parts if part)


def pairs(rows: Sequence[tuple[str, str]]) -> str:
    """Two columns, the left one as wide as it must be."""
    width = max((len(key) for key, _ in rows), default=0)
    return "\n".join(f"{key:<{width}}  {value}".rstrip() for key, value in rows)


def table(rows: Sequence[Mapping[str, Any]], now: float) -> str:
    """Rows under the keys of the first one; columns that are empty everywhere are left out."""
    keys = [key for key in rows[0] if any(row.get(key) not in (None, "") for row in rows)]
    cells = [[_cell(key, row.get(key), now) for key in keys] for row in rows]
    lines = [[escape(key.upper().replace("_", " ")) for key in keys], *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(keys))]
    return "\n".join(_line(line, widths) for line in lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))
    return "  " + "  ".join(padded).rstrip()


def _flat(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping):
            yield from _flat(value, name)
        else:
            yield name, value


def _is_table(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(r, Mapping) for r in value)


def _cell(key: str, value: object, now: float) -> str:
    """One value for the eye. Escaped: it may quote what a stranger wrote."""
    if value is None:
        return ""
    if _is_moment(value, key):
        return _moment(value, now)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_cell("", one, now) for one in value)
    return escape(str(value))


def _is_moment(value: object, key: str) -> TypeGuard[float]:
    known = key.rpartition(".")[2] in MOMENTS
    return known and isinstance(value, int | float) and 0 < value < LAST_MOMENT


def _moment(at: float, now: float) -> str:
    ago = max(0, round(now - at))
    hours, minutes, seconds = ago // 3600, ago // 60 % 60, ago % 60
    if hours >= 48:  # noqa: PLR2004 -- beyond two days a date says more than hours do
        return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
    if hours:
        return f"{hours} h {minutes} min ago"
    return f"{minutes} min {seconds} s ago" if minutes else f"{seconds} s ago"
