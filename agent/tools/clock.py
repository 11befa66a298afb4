"""`current_datetime`: the time, anywhere."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Callable
from typing import Annotated

from agent.tools.registry import Kind, Tool, ToolError, tool


def now_utc() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def clock_tools(now: Callable[[], dt.datetime] = now_utc) -> list[Tool]:
    """The clock's tools; `now` tells the present as an aware datetime."""

    @tool(kind=Kind.READ)
    async def current_datetime(
        timezone: Annotated[str | None, "IANA name such as Europe/Berlin; null for UTC"],
    ) -> str:
        """Tell the current date, time, weekday and UTC offset in a time zone."""
        moment = now().astimezone(_zone(timezone or "UTC"))
        return f"{moment:%A, %Y-%m-%d %H:%M:%S} {timezone or 'UTC'} (UTC{moment:%z})"

    return [current_datetime]


def _zone(name: str) -> zoneinfo.ZoneInfo:
    """The zone called `name`, whatever its case, or by its last part ("Tokyo")."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        pass
    wanted = name.strip().replace(" ", "_").casefold()
    known = sorted(zoneinfo.available_timezones())
    matches = [zone for zone in known if zone.casefold().split("/")[-1] == wanted.split("/")[-1]]
    if not matches:
        raise ToolError(f"{name!r} is not an IANA time zone; use a name such as Asia/Tokyo")
    return zoneinfo.ZoneInfo(matches[0])
