"""`famulus prompt`: what would be sent to the model next, in one session.

The running daemon answers; without one, the database is read, and no daemon is kept from starting.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from daemon.config import Config

    Parser = argparse.ArgumentParser
    Add = Callable[..., Parser]

EXIT_OK: Final = 0


def add(verbs: Any, add_verb: Add, add_config_option: Callable[[Parser], None]) -> None:  # noqa: ANN401 -- argparse has no public name for it
    """Add the verb to the command line; `add_verb` and `add_config_option` are those of `cli`."""
    parser = add_verb(
        verbs,
        "prompt",
        _prompt,
        "show what would be sent to the model next",
        "Without --session: the sessions. Asks the daemon; if none runs, its database is read:\n"
        "memory is what was last known, and so are the tools of MCP servers.",
    )
    add_config_option(parser)
    parser.add_argument("--session", metavar="ID", help="the session, by its id")
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object")


def _prompt(options: argparse.Namespace) -> int:
    from daemon import config, control_client  # noqa: PLC0415 -- each verb imports what it needs

    settings = config.load(options.config)
    asked = {"session": options.session} if options.session else {}
    try:
        found = control_client.ask(settings.state_dir, "prompt", asked)
    except control_client.NotRunning:
        found = _from_database(settings, asked)
    print("\n".join(_lines(found, as_json=options.json)))
    return EXIT_OK


def _from_database(settings: Config, asked: dict[str, Any]) -> dict[str, Any]:
    import sqlite3  # noqa: PLC0415

    import trio  # noqa: PLC0415

    from daemon import equip  # noqa: PLC0415
    from daemon.main import DATABASE  # noqa: PLC0415
    from daemon.store.db import ABSENT, StoreError, look_into  # noqa: PLC0415

    with look_into(settings.state_dir / DATABASE) as database:
        try:
            return trio.run(equip.shown_prompt, settings, database, asked)
        except sqlite3.Error as error:  # of an older version
            raise StoreError(f"cannot read {database.path}: {error}", ABSENT) from error


def _lines(found: dict[str, Any], *, as_json: bool) -> Iterator[str]:
    from daemon import tables  # noqa: PLC0415

    if as_json:
        yield json.dumps(found, ensure_ascii=True, indent=2)
    elif "sessions" in found:
        yield tables.report(found) if found["sessions"] else "There are no sessions yet."
    else:
        for message in found["messages"]:
            yield from _message(message)
        yield f"--- {len(found['tools'])} tools"
        yield from (printable(json.dumps(tool, ensure_ascii=False)) for tool in found["tools"])
        yield f"--- about {found['estimated_tokens']} tokens"


def _message(message: dict[str, Any]) -> Iterator[str]:
    yield f"--- {message['role']}"
    yield from (printable(line) for line in (message["content"] or "").split("\n"))
    for call in message.get("tool_calls", ()):
        yield printable(f"-> {call['function']['name']}({call['function']['arguments']})")


def printable(line: str) -> str:
    """`line` with everything escaped that a terminal might obey."""
    from daemon.redact import escape  # noqa: PLC0415

    return "".join(char if char.isprintable() else escape(char) for char in line)
