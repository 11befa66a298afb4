"""The commands of the chat: each a function inside the router's transaction, which replies.

A command is done when it is routed; it never waits behind a turn. What it must tell the rest of
the program (a turn was stopped) it adds to the effects that the router performs after the commit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from daemon.chat import (
    approvals,
    choosing,
    doors,
    hearing,
    remembered,
    roles,
    speakers,
    stopping,
    tasks,
)
from daemon.chat.intake import Command, Said
from daemon.chat.situation import Situation, reply
from daemon.store import compactions, people, status, turnrow, turns, usage
from daemon.store.values import Place
from daemon.telegram.live import draft_id

MENU = {
    "help": "what I can do",
    "new": "begin a new conversation",
    "stop": "stop what I am doing",
    "status": "how I am",
    "usage": "what this takes",
    "model": "which model answers here",
    "memory": "what I keep of this chat",
    "tasks": "what I do in the background, and what is scheduled",
    "settings": "what you can choose",
    "compact": "sum up what was said so far",
    "busy": "what happens to what you say while I work",
    "steer": "tell me something while I work",
    "approve": "allow what I asked about",
    "deny": "forbid what I asked about",
}
# What a group's menu shows: the rest is there, but is seldom wanted by many.
GROUP_MENU = ("help", "new", "stop", "status", "memory", "tasks", "approve", "deny")
# The menus by Telegram's kinds of scope. Who administers a group has the settings at hand.
MENUS = {
    "default": MENU,
    "all_private_chats": MENU,
    "all_group_chats": {name: MENU[name] for name in GROUP_MENU},
    "all_chat_administrators": {name: MENU[name] for name in (*GROUP_MENU, "busy", "settings")},
}

HELP = """\
Write to me as you would to a person. I can think along, calculate exactly, read the web, work \
with files, run Python and bash in a sandbox, and remember what you want kept.

/new begins a new conversation: what was said before is out of my mind, though not deleted, and \
so are Python's variables. Files stay.
/stop stops what I am doing now; a second one stops what I do in the background.
/steer TEXT tells me something while I work; /busy chooses what happens to all that you say then.
/approve and /deny answer when I ask whether I may do something.
/memory shows what I keep of this chat, and forgets it; /tasks what I do in the background, \
and what is scheduled.
/settings shows what you can choose, and what you have allowed for good; /model which model answers.
/compact sums up what was said so far, so that it takes less room; I do that by myself as well.
/usage tells how many tokens you have used, and what they cost.
/status tells how I am.
/help shows this."""

# What the help tells its owner beside that, and a guest in place of what it begins with.
HELP_OWNER = """

/answer mention, all or admins says, in a group, whom I answer there.
/pair CODE lets somebody in who was given that code, and /pair CODE guest as a guest."""
HELP_GUEST = "Write to me as you would to a person. I can think along, calculate and read the web."

NEW = "A new conversation. What was said before is out of my mind."
NEW_GIVEN_UP = "What I asked above needs no answer any more."
NEW_NOT_YOURS = "This conversation is the group's, and not a guest's to end."
NEW_BUSY = "What I am doing I shall finish; /stop ends it."
STEER_WHAT = "Say what I should know after the command: /steer use metres."


def run(situation: Situation, command: Command) -> None:
    """Carry out a command of an allowed speaker; an unknown one gets help, never a model call.

    In a group it may be meant for another bot, unless it names us.
    """
    handler = COMMANDS.get(command.name)
    if handler is None:
        if command.addressed:
            _unknown(situation, command)
    elif roles.may_command(command.speaker.role, command.name):
        handler(situation, command)
    else:
        reply(situation, command.place, roles.refusal(command.name))


def help_for(role: str) -> str:
    """The help without what this role may not do."""
    if role == roles.OWNER:
        return HELP + HELP_OWNER
    if role == roles.USER:
        return HELP
    _, *lines = HELP.splitlines()
    mine = [line for line in lines if not line or roles.may_command(role, _named(line))]
    return "\n".join([HELP_GUEST, *mine])


def _named(line: str) -> str:
    """The command that a line of the help is about."""
    return line.split(maxsplit=1)[0].removeprefix("/")


def _help(situation: Situation, command: Command) -> None:
    reply(situation, command.place, help_for(command.speaker.role))


def _start(situation: Situation, command: Command) -> None:
    speaker = command.speaker
    hello = f"Hello {speaker.name}, I am Famulus."
    reply(situation, command.place, f"{hello}\n\n{help_for(speaker.role)}")


def _unknown(situation: Situation, command: Command) -> None:
    told = help_for(command.speaker.role)
    reply(situation, command.place, f"I do not know the command /{command.name}.\n\n{told}")


def _new(situation: Situation, command: Command) -> None:
    """Begin a new conversation; what is asked of people in the old one has no answer in it."""
    if command.speaker.role == roles.GUEST and command.place.in_group:
        reply(situation, command.place, NEW_NOT_YOURS)
        return
    db, sentences = situation.db, [NEW]
    session = people.ensure_session(db, command.place, situation.now)
    may = _may_stop(situation, command, session)
    if may and stopping.give_up(situation, command.place, session):
        sentences.append(NEW_GIVEN_UP)
    if turns.is_busy(db, session):
        sentences.append(NEW_BUSY)
    people.begin_again(db, session)
    reply(situation, command.place, " ".join(sentences))


def _stop(situation: Situation, command: Command) -> None:
    session = people.ensure_session(situation.db, command.place, situation.now)
    if _may_stop(situation, command, session):
        stopping.stop(situation, command.place, session)
    else:
        reply(situation, command.place, "That is not yours to stop.")


def halt(situation: Situation, place: Place, draft: int) -> str:
    """Stop the turn that a draft shows; returns what became of that."""
    session = people.ensure_session(situation.db, place, situation.now)
    turn = turnrow.head(situation.db, session)
    if turn is None or draft_id(turn.ref) != draft:
        return "stopped before"
    stopping.stop(situation, place, session)
    return "button"


def _may_stop(situation: Situation, command: Command, session: str) -> bool:
    """A guest stops what guests have begun; in a group there is other work."""
    if command.speaker.role != roles.GUEST:
        return True
    head = turnrow.head(situation.db, session)
    return head is not None and turnrow.role(situation.db, head.id) == roles.GUEST


def _steer(situation: Situation, command: Command) -> None:
    """Tell what runs; what nothing runs for is said as any other message."""
    if not command.rest.strip():
        reply(situation, command.place, STEER_WHAT)
        return
    speaker, text = command.speaker, command.rest.strip()
    if command.place.in_group:
        text = speakers.spoken(speaker.shown or speaker.name, text)
    said = Said(command.place, speaker, text, command.asked_at, "steer", more=False)
    if hearing.steer(situation, said):
        reply(situation, command.place, "Told.")


def _approve(situation: Situation, command: Command) -> None:
    _answer(situation, command, granted=True)


def _deny(situation: Situation, command: Command) -> None:
    _answer(situation, command, granted=False)


def _answer(situation: Situation, command: Command, *, granted: bool) -> None:
    """Answer the question that is named, or the only one that is open here."""
    db = situation.db
    user = situation.user(command.place, command.speaker)
    owner = situation.is_owner(command.speaker, user)
    open_here = approvals.questions_for(db, command.place, user, owner=owner)
    given = approvals.Given(command.rest, granted, user, situation.now)
    verdict = approvals.decide(db, open_here, given)
    if verdict.turn is not None:
        situation.effects.begun.append(verdict.turn)
    reply(situation, command.place, verdict.sentence)


def _status(situation: Situation, command: Command) -> None:
    db = situation.db
    user = situation.user(command.place, command.speaker)
    here = [
        f"this chat's model: {choosing.chosen_model(situation, command.place)}",
        *usage.left_today(db, user, situation.tariff, situation.now),
    ]
    lines = [*situation.report(), *here, *status.lines(db)]
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
    db = situation.db
    user = situation.user(command.place, command.speaker)
    lines = usage.of_person(db, user, situation.tariff, situation.now)
    if situation.is_owner(command.speaker, user):
        lines += usage.of_everybody(db, situation.tariff, situation.now)
    reply(situation, command.place, "\n".join(lines))


Handler: TypeAlias = Callable[[Situation, Command], None]

COMMANDS: dict[str, Handler] = {
    "start": _start,
    "help": _help,
    "new": _new,
    "stop": _stop,
    "steer": _steer,
    "busy": choosing.busy_command,
    "approve": _approve,
    "deny": _deny,
    "status": _status,
    "model": choosing.model_command,
    "memory": remembered.memory_command,
    "tasks": tasks.tasks_command,
    "settings": choosing.settings_command,
    "compact": _compact,
    "usage": _usage,
    "answer": doors.answer,
    "pair": doors.pair_command,
}
