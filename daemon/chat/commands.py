"""The commands of the chat: each a function inside the router's transaction, which replies.

A command is done when it is routed; it never waits behind a turn. What it must tell the rest of
the program (a turn was stopped) it adds to the effects that the router performs after the commit.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TypeAlias

from attrs import Factory, define, frozen

from agent.budget import FREE, Tariff
from daemon.chat import approvals
from daemon.chat.drafts import text_drafts
from daemon.chat.intake import Command
from daemon.store import compactions, outbox, people, status, turns, usage
from daemon.store.turnrow import TurnRow
from daemon.store.values import Place

MENU = {
    "help": "what I can do",
    "new": "begin a new conversation",
    "stop": "stop what I am doing",
    "approve": "allow what I asked about",
    "deny": "forbid what I asked about",
    "status": "how I am",
    "compact": "sum up what was said so far",
    "usage": "what this takes",
}

HELP = """\
Write to me as you would to a person. I can think along, calculate exactly, read the web, work \
with files, run Python and bash in a sandbox, and remember what you want kept.

/new begins a new conversation: what was said before is out of my mind, though not deleted, and \
so are Python's variables. Files stay.
/stop stops what I am doing now; a second one stops what I do in the background.
/approve and /deny answer when I ask whether I may do something.
/compact sums up what was said so far, so that it takes less room; I do that by myself as well.
/usage tells how many tokens you have used, and what they cost.
/status tells how I am.
/help shows this."""


@define
class Effects:
    """What the router does after its commit, in memory only."""

    begun: list[TurnRow] = Factory(list)
    reread: list[int] = Factory(list)  # turns that were given more to read
    dropped: list[int] = Factory(list)  # turns that were ended
    queued: list[Place] = Factory(list)  # places that something was queued for
    compact: list[str] = Factory(list)  # sessions that may have to be summed up
    logged: list[tuple[str, dict[str, object]]] = Factory(list)


@frozen
class Situation:
    """What a command may use. `report` tells the state of the process, in lines.

    `owner` is the network's id of the person who may see everybody's use, '' if that is nobody.
    """

    db: sqlite3.Connection
    now: float
    report: Callable[[], list[str]]
    effects: Effects
    tariff: Tariff = FREE
    owner: str = ""


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
    stopped = turns.stop(situation.db, session, situation.now)
    if not stopped.turns:
        reply(situation, command.place, "There is nothing to stop.")
        return
    situation.effects.dropped += stopped.turns
    situation.effects.begun += stopped.freed
    situation.effects.compact.append(session)
    reply(situation, command.place, _stopped(stopped))


def _stopped(stopped: turns.Stopped) -> str:
    if stopped.background:
        return f"Stopped in the background: {len(stopped.turns)}."
    return (
        f"Stopped. Going on with what waits: {stopped.waiting}." if stopped.waiting else "Stopped."
    )


def _approve(situation: Situation, command: Command) -> None:
    _answer(situation, command, granted=True)


def _deny(situation: Situation, command: Command) -> None:
    _answer(situation, command, granted=False)


def _answer(situation: Situation, command: Command, *, granted: bool) -> None:
    """Answer the question that is named, or the only one that is open here."""
    db, speaker = situation.db, command.speaker
    user = people.ensure_user(
        db, command.place.channel, speaker.external_id, speaker.name, situation.now
    )
    open_here = approvals.questions_for(db, command.place, user)
    given = approvals.Given(command.rest, granted, user, situation.now)
    verdict = approvals.decide(db, open_here, given)
    if verdict.turn is not None:
        situation.effects.begun.append(verdict.turn)
    reply(situation, command.place, verdict.sentence)


def _status(situation: Situation, command: Command) -> None:
    lines = [*situation.report(), *status.lines(situation.db)]
    reply(situation, command.place, "\n".join(lines))


def _compact(situation: Situation, command: Command) -> None:
    """Have the conversation summed up; what became of it is told when that is done."""
    session = people.ensure_session(situation.db, command.place, situation.now)
    if not turns.has_any(situation.db, session):
        reply(situation, command.place, "There is nothing to sum up yet.")
        return
    compactions.want(situation.db, session, situation.now)
    situation.effects.compact.append(session)
    busy = turns.is_busy(situation.db, session)
    when = "When I am done with this, I will sum up" if busy else "I am summing up"
    reply(situation, command.place, f"{when} what was said so far.")


def _usage(situation: Situation, command: Command) -> None:
    speaker, db = command.speaker, situation.db
    user = people.ensure_user(
        db, command.place.channel, speaker.external_id, speaker.name, situation.now
    )
    lines = usage.of_person(db, user, situation.tariff, situation.now)
    if speaker.external_id == situation.owner or people.is_owner(db, user):
        lines += usage.of_everybody(db, situation.tariff, situation.now)
    reply(situation, command.place, "\n".join(lines))


Handler: TypeAlias = Callable[[Situation, Command], None]

COMMANDS: dict[str, Handler] = {
    "start": _start,
    "help": _help,
    "new": _new,
    "stop": _stop,
    "approve": _approve,
    "deny": _deny,
    "status": _status,
    "compact": _compact,
    "usage": _usage,
}
