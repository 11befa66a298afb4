"""What begins turns that nobody has just asked for, put together: appointments and heartbeats."""

from __future__ import annotations

import zoneinfo
from typing import TYPE_CHECKING

from agent.heartbeat import parse_hours
from daemon.schedule.run import Scheduler
from daemon.store.values import Place

if TYPE_CHECKING:
    from daemon.chat.heartbeat import Heartbeat
    from daemon.main import Daemon


def scheduler(daemon: Daemon) -> Scheduler:
    """What keeps the appointments of this process."""

    def permits(place: Place) -> bool:
        return _permits(daemon, place)

    return Scheduler(daemon.database, daemon.lanes.put, daemon.outbox.wake, permits)


def heartbeat(daemon: Daemon) -> Heartbeat:
    """What looks at the files HEARTBEAT.md, for those who want it."""
    from daemon.chat.heartbeat import Heartbeat  # noqa: PLC0415

    config = daemon.config
    return Heartbeat(
        daemon.database,
        daemon.files,
        daemon.lanes.put,
        lambda place: _permits(daemon, place),
        config.heartbeat.every_seconds,
        parse_hours(config.heartbeat.quiet_hours),
        zoneinfo.ZoneInfo(config.agent.zone),
    )


def _permits(daemon: Daemon, place: Place) -> bool:
    """Whether a place may be written to that nobody has just written in."""
    return daemon.router.current.reaches(place, daemon.account)
