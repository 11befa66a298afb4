"""`current_datetime`: the time, anywhere."""

from __future__ import annotations

import datetime as dt
import functools
import zoneinfo
from collections.abc import Callable, Mapping
from typing import Annotated

from agent.tools.registry import Kind, Tool, ToolError, tool

# Not places: "GMT+2" there is two hours *behind* Greenwich, as POSIX has it and nobody means it.
NO_PLACE = "Etc/"


def now_utc() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def clock_tools(now: Callable[[], dt.datetime] = now_utc) -> list[Tool]:
    """The clock's tools; `now` tells the present as an aware datetime."""

    @tool(kind=Kind.READ)
    async def current_datetime(
        timezone: Annotated[str | None, "IANA name such as Europe/Berlin; null for UTC"],
    ) -> str:
        """Tell the current date, time, weekday and UTC offset in a time zone."""
        zone = find_zone(timezone or "UTC")
        return f"{now().astimezone(zone):%A, %Y-%m-%d %H:%M:%S {zone.key} (UTC%z)}"

    return [current_datetime]


def find_zone(name: str) -> zoneinfo.ZoneInfo:
    """The zone called `name`, whatever its case, or by its place alone ("Tokyo", "new york").

    Raises ToolError if there is none.
    """
    wanted = name.strip().replace(" ", "_")
    try:
        return zoneinfo.ZoneInfo(wanted)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        pass
    found = _places().get(wanted.casefold().split("/")[-1])
    if found is None:
        raise ToolError(f"{name!r:.80} is not an IANA time zone; use a name such as Asia/Tokyo")
    return zoneinfo.ZoneInfo(found)


@functools.cache
def _places() -> Mapping[str, str]:
    """Zones by their last part, folded. Looked up once: it means reading the zones' folders."""
    names = sorted(zoneinfo.available_timezones(), reverse=True)
    return {name.casefold().split("/")[-1]: name for name in names if not name.startswith(NO_PLACE)}
