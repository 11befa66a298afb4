"""`famulus skills list | show | add | remove | check`: the owner's hands on the skills.

Only here are skills put in place or taken away; no tool of a model's can. The verbs work on
`[agent] dir` itself, with or without a daemon; one that runs is told, and reads them anew.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from daemon.errors import FamulusError

if TYPE_CHECKING:
    from daemon.config import Config

    Parser = argparse.ArgumentParser
    Add = Callable[..., Parser]

EXIT_OK: Final = 0
EXIT_BROKEN: Final = 1


class NotDone(FamulusError):
    """A skill that cannot be shown, put in place or taken away."""

    exit_code: ClassVar[int] = 1


# --- What can be said ---


def add(verbs: Any, add_verb: Add, add_config_option: Callable[[Parser], None]) -> None:  # noqa: ANN401 -- argparse has no public name for it
    """Add the verb to the command line; `add_verb` and `add_config_option` are those of `cli`."""
    whole = add_verb(
        verbs,
        "skills",
        _list,
        "list the skills, and put yours in place",
        "A skill is a folder with a SKILL.md in the agentskills.io format. Some come along;\n"
        "yours are in `skills` of [agent] dir, and replace those of the same name.",
    )
    actions = whole.add_subparsers(metavar="ACTION", required=True)

    def action(
        name: str, verb: Callable[..., int], summary: str, *words: tuple[str, str]
    ) -> Parser:
        parser = add_verb(actions, name, verb, summary, "")
        add_config_option(parser)
        for word, about in words:
            parser.add_argument(word.lower(), metavar=word, help=about)
        return parser

    action("list", _list, "list the skills, and what is left out")
    action("show", _show, "show a skill and its files", ("NAME", "of the skill"))
    put = action(
        "add", _put, "put a skill in place", ("PATH", "its folder, or a .zip or .tar archive of it")
    )
    put.add_argument("--replace", action="store_true", help="take the place of one that is there")
    action("remove", _remove, "take away one of yours", ("NAME", "of the skill"))
    action("check", _check, "say what is wrong with skills and specialists; 1 if anything is")


# --- What it does ---


def _list(options: argparse.Namespace) -> int:
    from daemon import tables  # noqa: PLC0415 -- each verb imports what it needs
    from daemon.shelf import look  # noqa: PLC0415

    holding = look(_settings(options).agent.dir)
    rows = [
        {"skill": one.name, "from": "famulus" if one.shipped else "you", "for": one.description}
        for one in holding.skills.values()
    ]
    specialists = [
        {"specialist": one.name, "model": one.model or "", "for": one.description}
        for one in holding.specialists.values()
    ]
    found = {"skills": rows, "specialists": specialists}
    _say(tables.report({name: some for name, some in found.items() if some}))
    for warning in holding.warnings:
        _say(f"warning: {warning}")
    return EXIT_OK


def _show(options: argparse.Namespace) -> int:
    from agent import skills  # noqa: PLC0415
    from daemon.shelf import look  # noqa: PLC0415

    skill = look(_settings(options).agent.dir).skills.get(options.name)
    if skill is None:
        raise NotDone(f"there is no skill {options.name!r:.80}", "famulus skills list names them")
    try:
        page, files = skills.page_text(skill.folder), skills.files_of(skill)
    except skills.SkillError as error:
        raise NotDone(str(error), "famulus skills check says what is wrong") from error
    _say(page)
    for name in files:
        _say(f"file: {name}")
    return EXIT_OK


def _put(options: argparse.Namespace) -> int:
    from daemon import skill_files  # noqa: PLC0415

    settings = _settings(options)
    skill = skill_files.put(Path(options.path), _own(settings), replace=options.replace)
    _say(f"{skill.name} is in place: {skill.folder}")
    for remark in skill.remarks:
        _say(f"remark: {remark}")
    _tell_daemon(settings)
    return EXIT_OK


def _remove(options: argparse.Namespace) -> int:
    from daemon import skill_files  # noqa: PLC0415

    settings = _settings(options)
    skill_files.take_away(options.name, _own(settings))
    _say(f"{options.name} is gone")
    _tell_daemon(settings)
    return EXIT_OK


def _check(options: argparse.Namespace) -> int:
    from daemon.shelf import look, remarks  # noqa: PLC0415

    settings = _settings(options)
    holding = look(settings.agent.dir)
    for warning in holding.warnings:
        _say(f"warning: {warning}")
    for skill in holding.skills.values():
        for remark in skill.remarks:
            _say(f"remark: skill {skill.name}: {remark}")
    for remark in remarks(holding.specialists.values(), settings.tariff):
        _say(f"remark: {remark}")
    _say(f"{len(holding.skills)} skills and {len(holding.specialists)} specialists are in order")
    return EXIT_BROKEN if holding.warnings else EXIT_OK


def _settings(options: argparse.Namespace) -> Config:
    from daemon import config  # noqa: PLC0415

    return config.load(options.config)


def _own(settings: Config) -> Path:
    from daemon.shelf import SKILLS  # noqa: PLC0415

    if settings.agent.dir is None:
        raise NotDone(
            "there is no directory for skills of yours",
            'name one in the configuration: [agent] dir = "/etc/famulus-agent"',
        )
    return settings.agent.dir / SKILLS


def _tell_daemon(settings: Config) -> None:
    """Have a daemon that runs read them anew; one that does not will at its start."""
    from daemon import control_client  # noqa: PLC0415

    try:
        control_client.ask(settings.state_dir, "skills")
    except control_client.NotRunning:
        return
    except control_client.ControlError as error:
        _say(f"the daemon could not be told ({error.cause}); SIGHUP makes it read them")


def _say(line: str) -> None:
    from daemon.prompt_cli import printable  # noqa: PLC0415

    print("\n".join(map(printable, line.split("\n"))))
