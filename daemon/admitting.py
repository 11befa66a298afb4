"""Who may talk to the bot: what rows say of people is kept in step with the configuration."""

from __future__ import annotations

from functools import partial
from typing import NoReturn

import trio

from daemon.chat import doors
from daemon.chat.access import CHANNEL
from daemon.chat.router import Router
from daemon.chat.situation import Situation
from daemon.store import admission
from daemon.store.db import Database

REREAD_SECONDS = 60.0


async def admit(
    database: Database, router: Router, *, task_status: trio.TaskStatus[None]
) -> NoReturn:
    """Bring what rows say of people in step with the configuration, and keep it known."""
    await database.write(admission.align, CHANNEL, router.account, _roles(router))
    await router.reread()
    await router.carry_out(partial(_shut_out, router=router))
    task_status.started()
    while True:
        await trio.sleep(REREAD_SECONDS)  # the router knows at once; heartbeats may wait
        await router.reread()


def _shut_out(situation: Situation, router: Router) -> None:
    doors.shut_out(situation, router.account, router.current)


def _roles(router: Router) -> dict[str, str]:
    listed = doors.roles_of(router.access)
    return {str(person): role for person, role in listed.items()}
