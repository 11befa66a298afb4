"""Learns who the bot is and gives Telegram its menu of commands, once, when Telegram is there.

Nothing waits for this: the poll starts before, and until the name is known a command that
addresses a bot by name is taken to mean us.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import trio

from daemon import log
from daemon.telegram.api import ApiError, BotApi

RETRY = 60.0  # seconds; the poll says meanwhile what is wrong

_log = log.get("greet")


async def greet(api: BotApi, menu: Mapping[str, str], on_name: Callable[[str], None]) -> None:
    """Ask for the bot's name, set the menu, and return; tries for as long as it takes."""
    while True:
        try:
            username = read_username(await api.call("getMe", {}))
            on_name(username)
            await api.call("setMyCommands", {"commands": menu_of(menu)})
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
