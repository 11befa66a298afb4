"""The command line: `famulus VERB`.

Parsing is all that this module does by itself; each verb imports what it needs when it is called,
so that `famulus --version` and a shell's completion do not pay for an event loop. Every error that
a person can cause is two lines on standard error, the cause and the remedy, without a traceback.

Exit codes: 0 done; 1 failed; 2 wrong usage; 69 something that is needed is not running (sysexits'
EX_UNAVAILABLE); 78 the configuration must be corrected (EX_CONFIG: no restart will help); 130
interrupted from the keyboard.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from daemon import (
    approvals_cli,
    jobs_cli,
    people_cli,
    prompt_cli,
    skills_cli,
    usage_cli,
    workspace_cli,
)
from daemon.errors import FamulusError, leaves
from daemon.version import VERSION

if TYPE_CHECKING:
    from executor.settings import Settings

    Parser = argparse.ArgumentParser
    Verbs = argparse._SubParsersAction[Parser]  # noqa: SLF001 -- it has no other name
    Verb = Callable[[argparse.Namespace], int]

EXIT_OK: Final = 0
EXIT_INTERRUPTED: Final = 130  # 128 + SIGINT, as a shell reports it

# Columns, indentation included: "    approvals".
LONGEST_VERB: Final = 13

LAST_PORT: Final = 65535

EXIT_CODES: Final = """\
exit codes:
  0   done                          69  what is needed is not running
  1   failed                        78  the configuration must be corrected
  2   wrong usage                   130 interrupted from the keyboard
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code."""
    options = _parser().parse_args(arguments)
    verb: Verb = options.verb
    try:
        code = verb(options)
        sys.stdout.flush()  # here, where a reader that is gone can still be told from a failure
    except BrokenPipeError:  # `famulus status | head`
        _abandon_stdout()
        return EXIT_OK
    except (FamulusError, KeyboardInterrupt, BaseExceptionGroup) as error:
        return _ended_by(error)
    return code


def _ended_by(error: BaseException) -> int:
    """The exit code for an error of known kind, told in two lines; others are raised again.

    A nursery wraps what ended it, so the kinds are looked for within groups as well.
    """
    parts = list(leaves(error))
    if any(isinstance(part, KeyboardInterrupt) for part in parts):
        return EXIT_INTERRUPTED
    known = [part for part in parts if isinstance(part, FamulusError)]
    if not known:
        raise error
    for part in known:
        _complain(part)
    return max(part.exit_code for part in known)  # 78 is the one that matters most


def _complain(error: FamulusError) -> None:
    from daemon import redact  # noqa: PLC0415 -- only for errors

    for number, line in enumerate(error.lines()):
        text = redact.redact(line)
        print(f"famulus: {text}" if number == 0 else f"  {text}", file=sys.stderr)


def _abandon_stdout() -> None:
    """Keep the interpreter from failing once more when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# --- What can be said ---


class _Help(argparse.RawDescriptionHelpFormatter):
    """Keeps a verb and its summary on one line; argparse forgets how far verbs are indented."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog)
        self._action_max_length = LONGEST_VERB


def _parser() -> Parser:
    parser = argparse.ArgumentParser(
        prog="famulus",
        description="A self-hosted assistant that lives in Telegram.",
        epilog=EXIT_CODES,
        formatter_class=_Help,
    )
    parser.add_argument("--version", action="version", version=f"famulus {VERSION}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    _add_demo(verbs)
    _add_run(verbs)
    _add_executor(verbs)
    _add_config(verbs)
    _add_status(verbs)
    approvals_cli.add(verbs, _add, _add_config_option)
    jobs_cli.add(verbs, _add, _add_config_option)
    people_cli.add(verbs, _add, _add_config_option)
    prompt_cli.add(verbs, _add, _add_config_option)
    skills_cli.add(verbs, _add, _add_config_option)
    workspace_cli.add(verbs, _add, _add_config_option)
    usage_cli.add(verbs, _add, _add_config_option)
    return parser


def _add(verbs: Verbs, name: str, verb: Verb, summary: str, details: str) -> Parser:
    parser = verbs.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.\n{details}",
        epilog=EXIT_CODES,
        formatter_class=_Help,
    )
    parser.set_defaults(verb=verb)
    return parser


def _add_config_option(parser: Parser) -> None:
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        required=True,
        help="the configuration; `famulus config example` prints one to begin with",
    )


def _add_demo(verbs: Verbs) -> None:
    from daemon.demo.play_format import PLAY_FORMAT  # noqa: PLC0415 -- text, and nothing else

    parser = _add(
        verbs,
        "demo",
        _demo,
        "talk to the real daemon here, without Telegram",
        "A local Bot API server and, unless a model is configured, an offline model take the\n"
        "places of the remote ones; nothing leaves this machine, unless you ask for a web page.",
    )
    parser.epilog = f"{PLAY_FORMAT.strip()}\n\n{EXIT_CODES}"
    chat = parser.add_mutually_exclusive_group()
    chat.add_argument(
        "--play",
        metavar="FILE",
        type=Path,
        help="play a written conversation and check the replies",
    )
    chat.add_argument(
        "--web", action="store_true", help="serve a page that is the chat, for a browser here"
    )
    parser.add_argument(
        "--port", metavar="N", type=_port, help="the page's port, with --web; else a free one"
    )
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help="take [model], [agent] and [executor] from here"
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep the directory with the demo's state and log"
    )


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) > LAST_PORT:
        raise argparse.ArgumentTypeError(f"not a port: {text}")
    return int(text)


def _add_run(verbs: Verbs) -> None:
    parser = _add(
        verbs,
        "run",
        _run,
        "run the daemon until it is told to stop",
        "SIGTERM or Ctrl-C stops it in order, a second one at once; SIGHUP reads secrets again.",
    )
    _add_config_option(parser)
    parser.add_argument(
        "--with-executor",
        action="store_true",
        help="start the executor too, as a child: for a terminal; use two units for a server",
    )


def _add_executor(verbs: Verbs) -> None:
    parser = _add(
        verbs,
        "executor",
        _executor,
        "run the executor, the process that runs code in a sandbox",
        "With `status`: ask the executor that is running what isolates its jobs.\n"
        "With `probe`: have it try, in a job, what no job may be able to do.",
    )
    parser.add_argument(
        "action",
        nargs="?",
        choices=["run", "status", "probe"],
        default="run",
        help="run, if nothing is said",
    )
    _add_config_option(parser)
    parser.add_argument(
        "--user",
        metavar="NAME",
        help="started as root: become this user before anything is read from a socket",
    )


def _add_config(verbs: Verbs) -> None:
    parser = _add(
        verbs,
        "config",
        _config_check,
        "check a configuration, or print an example",
        "`check` tells everything that is wrong with the file at once, its secrets included.",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    check = _add(actions, "check", _config_check, "check a configuration", "")
    _add_config_option(check)
    _add(actions, "example", _config_example, "print every key with its default", "")


def _add_status(verbs: Verbs) -> None:
    parser = _add(
        verbs,
        "status",
        _status,
        "show how the running daemon is",
        "Asks the daemon through the control socket in its state directory.",
    )
    _add_config_option(parser)
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object")


# --- What it does ---


def _demo(options: argparse.Namespace) -> int:
    from daemon.demo import run  # noqa: PLC0415 -- each verb imports what it needs

    if options.port is not None and not options.web:
        raise FamulusError("--port is the page's, and there is none", "add --web")
    return run.main(options)


def _run(options: argparse.Namespace) -> int:
    from daemon import config, log  # noqa: PLC0415

    settings = config.load(options.config)
    config.require_secrets(settings, source=str(options.config))
    os.umask(0o077)  # whatever the daemon writes is nobody else's business
    log.configure(settings.log.level)
    log.catch_everything()
    for warning in config.warnings(settings):
        log.get("config").warning("probably not meant", what=warning)

    from daemon import main as whole  # noqa: PLC0415 -- after errors that need no event loop

    return whole.run(settings, options.config, with_executor=options.with_executor)


def _config_check(options: argparse.Namespace) -> int:
    from daemon import config, tables  # noqa: PLC0415

    settings = config.load(options.config)
    config.require_secrets(settings, source=str(options.config))
    print(f"OK: {options.config}")
    print(tables.pairs([(f"  {key}", value) for key, value in config.summary(settings)]))
    for warning in config.warnings(settings):
        print(f"warning: {warning}")
    return EXIT_OK


def _config_example(_: argparse.Namespace) -> int:
    from daemon import config  # noqa: PLC0415

    print(config.example(), end="")
    return EXIT_OK


def _status(options: argparse.Namespace) -> int:
    from daemon import config, control_client  # noqa: PLC0415

    state_dir = config.load(options.config).state_dir
    _print_report(control_client.ask(state_dir, "status"), as_json=options.json)
    return EXIT_OK


def _print_report(report: dict[str, Any], *, as_json: bool) -> None:
    import json  # noqa: PLC0415

    from daemon import tables  # noqa: PLC0415

    print(json.dumps(report, ensure_ascii=True, indent=2) if as_json else tables.report(report))


def _executor(options: argparse.Namespace) -> int:
    if options.action == "run":
        return _become_executor(options)
    from daemon import config  # noqa: PLC0415

    settings = config.load(options.config).executor
    return (_executor_status if options.action == "status" else _executor_probe)(settings)


def _executor_status(settings: Settings) -> int:
    import attrs  # noqa: PLC0415
    import trio  # noqa: PLC0415

    from executor.client import ExecutorClient, ExecutorUnavailable  # noqa: PLC0415

    try:
        status = trio.run(ExecutorClient(settings.socket).status)
    except ExecutorUnavailable as error:
        raise FamulusError(error.cause, error.remedy) from error
    _print_report(attrs.asdict(status), as_json=False)
    return EXIT_OK


def _executor_probe(settings: Settings) -> int:
    from daemon import probe_cli  # noqa: PLC0415

    probed = probe_cli.run(settings)
    _print_report(probed.report, as_json=False)
    return EXIT_OK if probed.held else 1


def _become_executor(options: argparse.Namespace) -> NoReturn:
    """Replace this process: nothing of the command line's memory or environment is left."""
    from executor import launch  # noqa: PLC0415

    command = launch.command(_executor_settings(options.config), user=options.user)
    environment = {**command.env, **launch.from_manager()}
    os.execve(command.argv[0], list(command.argv), environment)  # noqa: S606 -- argv is a list: no shell


def _executor_settings(path: Path) -> Settings:
    """What the executor needs of the configuration. Who waits for it is told if there is none."""
    from daemon import config  # noqa: PLC0415

    try:
        return config.load(path).executor
    except FamulusError as error:
        from executor import activation  # noqa: PLC0415 -- only for errors

        activation.refuse_early(error.cause, error.remedy)
        raise
