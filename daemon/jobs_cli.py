"""`famulus jobs list | show | run | pause | resume | delete | import | export`: scheduled prompts.

What changes them is done by the running daemon; without one, in the database under the daemon's
lock. What only reads opens the database read-only in either case: it is one consistent look at all
of them, which an answer at the control socket is too short for, and costs the daemon nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from daemon.errors import FamulusError, Refused

if TYPE_CHECKING:
    from daemon.config import Config
    from daemon.jobs_file import Found

    Parser = argparse.ArgumentParser
    Add = Callable[..., Parser]

EXIT_OK: Final = 0

DATABASE: Final = "famulus.db"
IMPORT_TIMEOUT: Final = 300.0  # seconds
MOST_LISTED: Final = 200
MOST_BYTES: Final = 256 * 1024 * 1024  # of a file
MOST_PROBLEMS: Final = 100


WHOLE: Final = """\
A scheduled prompt is made in a chat ("every weekday at 9 ..."); these are all of all chats.

  famulus jobs list --config FILE
  famulus jobs pause ID --config FILE
  famulus jobs export jobs.json --config FILE
"""

IMPORT: Final = """\
Takes what `export` has written, or a file by hand:

  {"famulus_jobs": 1, "jobs": [
    {"prompt": "tell me the weather", "rule": {"cron": "0 9 * * 1-5"},
     "zone": "Europe/Berlin", "chat": 123456789},
    {"id": "stretch", "prompt": "tell me to stretch", "rule": {"every": 3600},
     "chat": -1001234567890, "user": 123456789},
    {"prompt": "the tax is due", "rule": {"at": "2030-12-01T09:00"}, "chat": 123456789}]}

All of it is checked first, and all or nothing is taken in. A job whose id is there already is
left alone. What recurs goes on with its next time; what was to come once and has passed is left
out. A time without an offset is in `zone`, which is the configured one if it is not said.

  famulus jobs import jobs.json --dry-run --config FILE
  famulus jobs import old.json --chat 123456789 --config FILE
"""

EXPORT: Final = """\
One JSON object, to standard output or into FILE, which nobody else may read. All that is needed
to go on with the jobs elsewhere is in it; what became of their runs is not.
"""


class BadFile(FamulusError):
    """A file whose jobs are not taken in, with a sentence for each thing to correct."""

    exit_code: ClassVar[int] = 1

    def __init__(self, source: str, problems: Sequence[str], untold: int) -> None:
        self.problems = [*problems, *([f"and {untold:,} more"] if untold else [])]
        self.heading = f"{source}: nothing was taken in"
        remedy = "correct it, then try: famulus jobs import --dry-run; its --help has an example"
        super().__init__(f"{self.heading}: {'; '.join(self.problems)}", remedy)

    def lines(self) -> list[str]:
        return [self.heading, *self.problems, self.remedy]


# --- What can be said ---


def add(verbs: Any, add_verb: Add, add_config_option: Callable[[Parser], None]) -> None:  # noqa: ANN401 -- argparse has no public name for it
    """Add the verb to the command line; `add_verb` and `add_config_option` are those of `cli`."""
    whole = add_verb(verbs, "jobs", _look, "show and change scheduled prompts", WHOLE)
    actions = whole.add_subparsers(metavar="ACTION", required=True)

    def action(name: str, verb: Callable[..., int], summary: str, details: str = "") -> Parser:
        parser = add_verb(actions, name, verb, summary, details)
        add_config_option(parser)
        parser.set_defaults(action=name)
        return parser

    _add_reading(action)
    for name, summary in (
        ("run", "run one now, beside the times that it has"),
        ("pause", "let one rest until it is resumed"),
        ("resume", "go on with one that was paused"),
        ("delete", "end one, and forget what became of its runs"),
    ):
        _add_id(action(name, _change, summary))
    _add_export(action("export", _look, "write them into a file", EXPORT))
    _add_import(action("import", _import, "take in the jobs of a file", IMPORT))


def _add_reading(action: Callable[..., Parser]) -> None:
    listing = action("list", _look, "list them, those that come first first")
    listing.add_argument("--all", action="store_true", help="with those that have ended")
    listing.add_argument(
        "--limit", metavar="N", type=_limit, default=MOST_LISTED, help="so many at most (200)"
    )
    showing = action("show", _look, "show one: its prompt, its next times, its last runs")
    _add_id(showing)
    for parser in (listing, showing):
        parser.add_argument("--json", action="store_true", help="for programs: one JSON object")


def _add_id(parser: Parser) -> None:
    parser.add_argument("id", metavar="ID", help="as `famulus jobs list` shows it")


def _add_export(parser: Parser) -> None:
    parser.add_argument(
        "file", metavar="FILE", nargs="?", default="-", help="- for standard output"
    )
    parser.add_argument("--all", action="store_true", help="with those that have ended")
    parser.add_argument("--force", action="store_true", help="in place of a file that is there")


def _add_import(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="- for standard input")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, do nothing")
    parser.add_argument(
        "--replace", action="store_true", help="let a job of the file take the place of its like"
    )
    parser.add_argument("--chat", metavar="ID", type=_chat, help="put all jobs into this chat")
    parser.add_argument("--user", metavar="ID", type=_user, help="let all jobs be this person's")


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text[:9]) < 10**8:
        raise argparse.ArgumentTypeError("expected a number, 1 or more")
    return int(text)


def _user(text: str) -> str:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text[:20]) < 10**18:
        raise argparse.ArgumentTypeError("expected the network's id, a number")
    return str(int(text))


def _chat(text: str) -> str:
    return f"-{_user(text[1:])}" if text.startswith("-") else _user(text)


# --- What it does ---


def _look(options: argparse.Namespace) -> int:
    from daemon import jobs_read_cli  # noqa: PLC0415 -- each verb imports what it needs

    verbs = {
        "list": jobs_read_cli.list_,
        "show": jobs_read_cli.show,
        "export": jobs_read_cli.export,
    }
    return verbs[options.action](_settings(options), options)


def _change(options: argparse.Namespace) -> int:
    request = {"action": options.action, "id": options.id}
    reply, online = _ask(_settings(options), request)
    if options.action == "run" and not online:
        _say(f"{reply['name']} is run when the daemon is started, which does not run now.")
    else:
        _say(reply["sentence"])
    return EXIT_OK


def _import(options: argparse.Namespace) -> int:
    from daemon import jobs_file, jobs_staged  # noqa: PLC0415

    settings = _settings(options)
    limits = settings.booking_limits
    terms = jobs_file.Terms(limits, time.time(), options.chat or "", options.user or "")
    found = jobs_file.parse(_read(options.file), terms)
    reply: dict[str, Any] = {"new": 0, "replaced": 0, "there": 0, "problems": [], "untold": 0}
    if found.entries:
        with jobs_staged.staged(settings.state_dir, found.entries) as name:
            request = {
                "action": "import",
                "file": name,
                "most": limits.per_person,
                "replace": options.replace,
                "dry_run": options.dry_run or bool(found.problems),
            }
            reply, _ = _ask(settings, request)
    _complain(options.file, [*found.problems, *reply["problems"]], reply["untold"])
    _say_taken(found, reply, dry=options.dry_run)
    return EXIT_OK


def _complain(source: str, problems: list[str], untold: int) -> None:
    from daemon.prompt_cli import printable  # noqa: PLC0415

    if problems:
        told = [printable(each) for each in problems[:MOST_PROBLEMS]]
        raise BadFile(printable(source), told, untold + len(problems) - len(told))


def _say_taken(found: Found, reply: dict[str, Any], *, dry: bool) -> None:
    if dry:
        _say("Nothing was done; this is what would be:")
    _say(f"Taken in: {reply['new']:,}")
    if reply["replaced"]:
        _say(f"Replaced: {reply['replaced']:,}")
    if reply["there"]:
        _say(f"Left alone, since they are there already: {reply['there']:,} (see --replace)")
    if found.over:
        _say(f"Left out, since nothing of them is left to come: {len(found.over):,}")
        for name in found.over[:MOST_PROBLEMS]:
            _say(f"  {name}")
        if len(found.over) > MOST_PROBLEMS:
            _say(f"  and {len(found.over) - MOST_PROBLEMS:,} more")


def _read(name: str) -> bytes:
    try:
        if name == "-":
            data = sys.stdin.buffer.read(MOST_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise Refused(
            f"{name} cannot be read: {error.strerror}", "name a file, or - for standard input"
        ) from error
    if len(data) > MOST_BYTES:
        raise Refused(f"{name} has more than {MOST_BYTES:,} bytes", "divide it, and import each")
    return data


def _ask(settings: Config, request: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """The answer to a request, and whether a daemon gave it."""
    from daemon import control_client  # noqa: PLC0415

    try:
        reply = control_client.ask(settings.state_dir, "jobs", request, IMPORT_TIMEOUT)
    except control_client.NotRunning:
        return _in_database(settings, request), False
    return reply, True


def _in_database(settings: Config, request: dict[str, Any]) -> dict[str, Any]:
    import trio  # noqa: PLC0415

    from daemon import jobs_verbs, people_verbs, statelock  # noqa: PLC0415
    from daemon.chat.access import access_of  # noqa: PLC0415
    from daemon.store.db import open_database  # noqa: PLC0415

    async def act() -> dict[str, Any]:
        async with open_database(settings.state_dir / DATABASE) as database:
            access = access_of(settings.telegram)
            keeper = people_verbs.Offline(database, _account(settings), access)
            return await jobs_verbs.answer(keeper, request)

    with statelock.hold(settings.state_dir):
        return trio.run(act)


def _settings(options: argparse.Namespace) -> Config:
    from daemon import config  # noqa: PLC0415

    return config.load(options.config)


def _account(settings: Config) -> str:
    """The bot's id, which its token begins with."""
    return settings.telegram.token.reveal().partition(":")[0]


def _say(line: str) -> None:
    from daemon.prompt_cli import printable  # noqa: PLC0415

    print(printable(line))
