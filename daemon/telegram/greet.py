"""Learns who the bot is and gives Telegram its menus of commands, once, when Telegram is there.

Nothing waits for this: the poll starts before, and until the name is known a command that
addresses a bot by name is taken to mean us.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import trio

from daemon import log
from daemon.telegram.api import ApiError, BotApi

RETRY = 60.0  # seconds; the poll says meanwhile what is wrong

# Commands and what each is for, by Telegram's kind of scope: who is shown that menu, and where.
Menus: TypeAlias = Mapping[str, Mapping[str, str]]

_log = log.get("greet")


def ignore(_name: str) -> None:
    """Nobody wants to know."""


async def greet(
    api: BotApi,
    menus: Menus,
    on_name: Callable[[str], None],
    on_called: Callable[[str], None] = ignore,
) -> None:
    """Ask for the bot's name, set its menus, and return; tries for as long as it takes.

    `on_name` is told its username, and `on_called` the name that people see.
    """
    while True:
        try:
            me = await api.call("getMe", {})
            username = read_username(me)
            on_name(username)
            on_called(str(me.get("first_name", "")))
            for scope, menu in menus.items():
                commands = {"commands": menu_of(menu), "scope": {"type": scope}}
                await api.call("setMyCommands", commands)
        except ApiError as error:
            _log.info("greeting failed", error=error, retry_in=RETRY)
            await trio.sleep(RETRY)
        else:
            _log.info("greeted", username=username)
            return


def read_username(answer: object) -> str:
    """The bot's name in the answer to getMe. Raises ApiError if there is none."""
    name = answer.get("username") if isinstance(answer, dict) else None
    if not isinstance(name, str):
        raise ApiError("getMe did not answer with a bot")
    return name


def menu_of(menu: Mapping[str, str]) -> list[dict[str, str]]:
    """The menu as setMyCommands wants it."""
    return [{"command": name, "description": text} for name, text in menu.items()]
