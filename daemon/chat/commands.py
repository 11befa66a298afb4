"""The commands of the chat: each a function inside the router's transaction, which replies.

A command is done when it is routed; it never waits behind a turn. What it must tell the rest of
the program (a turn was stopped) it adds to the effects that the router performs after the commit.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TypeAlias

from attrs import Factory, define, frozen

from daemon.chat.intake import Command
from daemon.chat.journal import text_drafts
from daemon.store import outbox, people, status, turns
from daemon.store.turns import TurnRow
from daemon.store.values import Place

MENU = {
    "help": "what I can do",
    "new": "begin a new conversation",
    "stop": "stop what I am doing",
    "status": "how I am",
}

HELP = """\
Write to me as you would to a person. I can think along, calculate exactly, tell the time \
anywhere, and run Python and bash in a sandbox.

/new begins a new conversation: what was said before is out of my mind, though not deleted, and \
so are Python's variables. Files stay.
/stop stops what I am doing now.
/status tells how I am.
/help shows this."""


@define
class Effects:
    """What the router does after its commit, in memory only."""

    begun: list[TurnRow] = Factory(list)
    reread: list[int] = Factory(list)  # turns that were given more to read
    dropped: list[int] = Factory(list)  # turns that were ended
    queued: list[Place] = Factory(list)  # places that something was queued for
    logged: list[tuple[str, dict[str, object]]] = Factory(list)


@frozen
class Situation:
    """What a command may use. `report` tells the state of the process, in lines."""

    db: sqlite3.Connection
    now: float
    report: Callable[[], list[str]]
    effects: Effects


def reply(to: Situation, place: Place, text: str) -> None:
    outbox.enqueue(to.db, place, text_drafts(text), to.now)
    to.effects.queued.append(place)


def run(situation: Situation, command: Command) -> None:
    """Carry out a command of an allowed speaker; an unknown one gets help, never a model call."""
    handler = COMMANDS.get(command.name, _unknown)
    handler(situation, command)


def _help(situation: Situation, command: Command) -> None:
    reply(situation, command.place, HELP)


def _start(situation: Situation, command: Command) -> None:
    reply(situation, command.place, f"Hello {command.speaker.name}, I am Famulus.\n\n{HELP}")


def _unknown(situation: Situation, command: Command) -> None:
    reply(situation, command.place, f"I do not know the command /{command.name}.\n\n{HELP}")


def _new(situation: Situation, command: Command) -> None:
    session = people.ensure_session(situation.db, command.place, situation.now)
    people.begin_again(situation.db, session)
    reply(situation, command.place, "A new conversation. What was said before is out of my mind.")


def _stop(situation: Situation, command: Command) -> None:
    session = people.ensure_session(situation.db, command.place, situation.now)
    stopped, waiting = turns.stop(situation.db, session, situation.now)
    if stopped is None:
        reply(situation, command.place, "There is nothing to stop.")
        return
    situation.effects.dropped.append(stopped)
    more = f" Going on with what waits: {waiting}." if waiting else ""
    reply(situation, command.place, f"Stopped.{more}")


def _status(situation: Situation, command: Command) -> None:
    lines = [*situation.report(), *status.lines(situation.db)]
    reply(situation, command.place, "\n".join(lines))


Handler: TypeAlias = Callable[[Situation, Command], None]

COMMANDS: dict[str, Handler] = {
    "start": _start,
    "help": _help,
    "new": _new,
    "stop": _stop,
    "status": _status,
}
