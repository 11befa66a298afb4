"""Wall clocks and instants: what a local time means where clocks are changed. Pure.

A time that a clock skips means the first instant after the gap. One that a clock shows twice means
the first of the two, unless both are asked for. Instants are Unix seconds; what a clock shows is a
datetime without a zone.
"""

from __future__ import annotations

import datetime as dt
import zoneinfo
from typing import Final

# No clock was ever set by more than a day: that was done in Samoa, across the date line.
REACH: Final = 26 * 3600.0

# Beside the zones, and none: they count leap seconds, or mean another zone on another host.
NO_ZONES: Final = frozenset({"localtime", "posix", "posixrules", "right"})


def zone_of(name: str) -> zoneinfo.ZoneInfo | None:
    """The zone of an IANA name; None if there is none."""
    if name.partition("/")[0] in NO_ZONES:
        return None
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None


def shown(at: float, zone: zoneinfo.ZoneInfo) -> dt.datetime:
    """What the clock shows at an instant."""
    return dt.datetime.fromtimestamp(at, zone).replace(tzinfo=None, fold=0)


def meant(wall: dt.datetime, zone: zoneinfo.ZoneInfo) -> tuple[float, ...]:
    """The instants at which a clock shows that, or the end of the gap in which that lies.

    Two if the clock is set back over it. PEP 495: `fold` chooses the offset before or after a
    change, and in a gap the one after the change leads to an instant before it.
    """
    early, late = (wall.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))
    if early <= late:
        return (early,) if early == late else (early, late)
    return (_end_of_gap(int(late), int(early), zone),)


def _end_of_gap(before: int, after: int, zone: zoneinfo.ZoneInfo) -> float:
    """The instant of the one change of the offset between two instants."""
    old = ahead(before, zone)
    while after - before > 1:
        middle = (before + after) // 2
        if ahead(middle, zone) == old:
            before = middle
        else:
            after = middle
    return float(after)


def ahead(at: float, zone: zoneinfo.ZoneInfo) -> float:
    """Seconds by which the clock is ahead of UTC."""
    offset = dt.datetime.fromtimestamp(at, zone).utcoffset()
    return offset.total_seconds() if offset else 0.0


def set_back_near(at: float, zone: zoneinfo.ZoneInfo) -> float:
    """Seconds by which the clock may be set back within a day of an instant; mostly 0."""
    offsets = [ahead(at + away, zone) for away in (-REACH, 0.0, REACH)]
    return max(offsets) - min(offsets)
