"""`famulus approvals | approve REF | deny REF`: the owner's answers, at the console.

What waits for permission is shown with all that it would do, and answered through the running
daemon, which goes on with it at once.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any, Final

Parser = argparse.ArgumentParser
Add = Callable[..., Parser]

EXIT_OK: Final = 0


def add(verbs: Any, add_verb: Add, add_config_option: Callable[[Parser], None]) -> None:  # noqa: ANN401 -- argparse has no public name for it
    """Add the verbs to the command line; `add_verb` and `add_config_option` are those of `cli`."""
    whole = add_verb(
        verbs,
        "approvals",
        _list,
        "show the tool calls that wait for permission",
        "Each lapses a day after it was asked for. The chats can answer them, too.",
    )
    add_config_option(whole)
    for name, granted, summary in (
        ("approve", True, "allow a tool call that waits for permission"),
        ("deny", False, "forbid a tool call that waits for permission"),
    ):
        parser = add_verb(verbs, name, _answer, summary, "See what waits with: famulus approvals")
        add_config_option(parser)
        parser.add_argument("ref", metavar="REF", help="its name in `famulus approvals`")
        parser.set_defaults(granted=granted)


def _list(options: argparse.Namespace) -> int:
    questions = _ask(options, "approvals", {})["questions"]
    print("\n\n".join(_shown(each, time.time()) for each in questions) or "Nothing waits.")
    return EXIT_OK


def _shown(question: dict[str, Any], now: float) -> str:
    from daemon.redact import escape  # noqa: PLC0415 -- each verb imports what it needs

    hours = max(0.0, question["deadline"] - now) / 3600
    what = "\n".join(f"  {escape(line)}" for line in question["what"].splitlines())
    task = f", [{escape(question['label'])}]" if question["label"] else ""
    return f"{question['ref']}  chat {question['place']['chat']}{task}, {hours:.0f} h left\n{what}"


def _answer(options: argparse.Namespace) -> int:
    reply = _ask(options, "answer", {"ref": options.ref, "granted": options.granted})
    print(reply["sentence"])
    return EXIT_OK


def _ask(options: argparse.Namespace, verb: str, arguments: dict[str, Any]) -> dict[str, Any]:
    from daemon import config, control_client  # noqa: PLC0415

    return control_client.ask(config.load(options.config).state_dir, verb, arguments)
