"""/tasks: what is under way in the background of a chat, with a button that stops each."""

from __future__ import annotations

from daemon.chat.intake import Command
from daemon.chat.pages import Desk, Page
from daemon.chat.situation import Press, Situation
from daemon.store import children, people, stops, turnrow

NOTHING = "Nothing is under way in the background."


def tasks_command(situation: Situation, command: Command) -> None:
    desk = Desk(situation, command.place, situation.user(command.place, command.speaker))
    desk.send(_page(desk))


def _page(desk: Desk) -> Page:
    db = desk.situation.db
    session = people.ensure_session(db, desk.place, desk.situation.now)
    tasks = children.in_background(db, session)
    if not tasks:
        return Page(NOTHING)
    lines = [f"- {label}: {_state(turnrow.get(db, turn))}" for turn, label in tasks]
    rows = [[desk.key(f"Stop: {label}", "stop task", str(turn))] for turn, label in tasks]
    return Page("\n".join(["Under way in the background:", *lines]), rows)


def _state(turn: turnrow.TurnRow) -> str:
    if turn.state == "waiting":
        return (
            "waits for an answer of yours" if turn.waiting_for != "child" else "waits for another"
        )
    return "at work" if turn.state == "running" else "about to go on"


def stop(situation: Situation, press: Press) -> str:
    """One task is ended; the conversation is told, as by /stop."""
    stopped = stops.stop_task(situation.db, int(press.payload), situation.now)
    situation.effects.dropped += stopped.turns
    situation.effects.begun += stopped.freed
    desk = Desk.at(situation, press)
    desk.turn_to(_page(desk), press)
    return "Stopped." if stopped.turns else "It has ended by itself."
