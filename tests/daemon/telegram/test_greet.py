"""The greeting: who we are, told once, by an answer that is what it should be."""

from __future__ import annotations

import pytest

from daemon.demo.servers import DemoServers
from daemon.telegram.api import ApiError, open_api
from daemon.telegram.greet import greet, read_username


async def test_the_bots_name_and_menu_are_settled(demo: DemoServers) -> None:
    names: list[str] = []
    async with open_api(demo.bot.base_url, demo.bot.token) as api:
        menus = {"default": {"help": "what I can do"}, "all_group_chats": {"stop": "stop it"}}
        await greet(api, menus, names.append)
    assert names == ["famulus_demo_bot"]
    told = [call.params for call in demo.bot.calls if call.method == "setMyCommands"]
    assert [(each["scope"], each["commands"]) for each in told] == [
        ({"type": "default"}, [{"command": "help", "description": "what I can do"}]),
        ({"type": "all_group_chats"}, [{"command": "stop", "description": "stop it"}]),
    ]


@pytest.mark.parametrize("answer", [True, None, [], {}, {"username": 7}])
def test_an_answer_of_another_shape_is_a_failed_call(answer: object) -> None:
    """Which is tried again, and does not end the daemon."""
    with pytest.raises(ApiError):
        read_username(answer)
