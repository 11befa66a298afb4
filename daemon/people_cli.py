"""`famulus pair CODE`, `famulus people list | remove ID | role ID ROLE`: who may talk to the bot.

The running daemon does it; without one, it is done in the database under the daemon's lock.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from daemon.config import Config

    Parser = argparse.ArgumentParser
    Add = Callable[..., Parser]

EXIT_OK: Final = 0
ROLES: Final = ("user", "guest")


def add(verbs: Any, add_verb: Add, add_config_option: Callable[[Parser], None]) -> None:  # noqa: ANN401 -- argparse has no public name for it
    """Add the verbs to the command line; `add_verb` and `add_config_option` are those of `cli`."""
    pair = add_verb(
        verbs,
        "pair",
        _pair,
        "let in somebody who was given a code",
        "With telegram.pairing a stranger who says /start to the bot gets a code of an hour.",
    )
    add_config_option(pair)
    pair.add_argument("code", metavar="CODE", help="as they were told it; case does not matter")
    pair.add_argument(
        "--role",
        choices=ROLES,
        default="user",
        help="a guest has no code, no files, a small budget",
    )
    _add_people(verbs, add_verb, add_config_option)


def _add_people(verbs: Any, add_verb: Add, add_config_option: Callable[[Parser], None]) -> None:  # noqa: ANN401 -- as above
    people = add_verb(
        verbs,
        "people",
        _people,
        "show and change who may talk to the bot",
        "Those of the configuration are changed there; this is for those who were let in since.",
    )
    actions = people.add_subparsers(metavar="ACTION", required=True)
    for name, summary in (
        ("list", "show who is answered, and who asks to be"),
        ("remove", "answer somebody, or a group, no more"),
        ("role", "give somebody another role"),
    ):
        parser = add_verb(actions, name, _people, summary, "")
        add_config_option(parser)
        parser.set_defaults(action=name)
        if name != "list":
            parser.add_argument("id", metavar="ID", help="their Telegram user id; a group's")
        if name == "role":
            parser.add_argument("role", metavar="ROLE", choices=ROLES, help="user or guest")


def _pair(options: argparse.Namespace) -> int:
    request = {"action": "pair", "code": options.code, "role": options.role}
    print(_printable(_ask(options, "pair", request)["sentence"]))
    return EXIT_OK


def _people(options: argparse.Namespace) -> int:
    given = {name: getattr(options, name) for name in ("id", "role") if hasattr(options, name)}
    found = _ask(options, "people", {"action": options.action, **given})
    lines = [found["sentence"]] if "sentence" in found else list(_lines(found))
    print("\n".join(map(_printable, lines)))
    return EXIT_OK


def _lines(found: dict[str, Any]) -> Iterator[str]:
    if not found["people"]:
        yield "Nobody is answered in private."
    for each in found["people"]:
        yield f"{each['id']}  {each['role']}  {each['name'] or '-'}  (by {each['by']})"
    for each in found.get("groups", ()):  # a daemon from before an upgrade tells of none
        yield f"{each['id']}  group, for {each['members']}s  {each['title'] or '-'}  (by a button)"
    for each in found["asking"]:
        yield f"{each['id']}  asks to be let in: {each['name']}, code {each['code']}"


def _printable(line: str) -> str:
    from daemon.redact import escape  # noqa: PLC0415 -- each verb imports what it needs

    return "".join(char if char.isprintable() else escape(char) for char in line)


def _ask(options: argparse.Namespace, verb: str, request: dict[str, Any]) -> dict[str, Any]:
    from daemon import config, control_client  # noqa: PLC0415

    settings = config.load(options.config)
    try:
        return control_client.ask(settings.state_dir, verb, request)
    except control_client.NotRunning:
        return _in_database(settings, request)


def _in_database(settings: Config, request: dict[str, Any]) -> dict[str, Any]:
    import trio  # noqa: PLC0415

    from daemon import people_verbs, statelock  # noqa: PLC0415
    from daemon.chat.access import access_of  # noqa: PLC0415
    from daemon.main import DATABASE  # noqa: PLC0415
    from daemon.store.db import open_database  # noqa: PLC0415
    from daemon.telegram.api import bot_id  # noqa: PLC0415

    account = bot_id(settings.telegram.token.reveal())

    async def act() -> dict[str, Any]:
        async with open_database(settings.state_dir / DATABASE) as database:
            keeper = people_verbs.Offline(database, account, access_of(settings.telegram))
            return await people_verbs.answer(keeper, request)

    with statelock.hold(settings.state_dir):
        return trio.run(act)
