"""What is under way in the background of a chat, and a way to stop each: a part of /tasks."""

from __future__ import annotations

from daemon.chat.pages import Desk, Page
from daemon.chat.situation import Situation
from daemon.store import children, people, stops, turnrow


def under_way(desk: Desk) -> Page | None:
    """None if there is nothing."""
    db = desk.situation.db
    session = people.ensure_session(db, desk.place, desk.situation.now)
    tasks = children.in_background(db, session)
    if not tasks:
        return None
    lines = [f"- {label}: {_state(turnrow.get(db, turn))}" for turn, label in tasks]
    rows = [[desk.key(f"Stop: {label}", "stop task", str(turn))] for turn, label in tasks]
    return Page("\n".join(["Under way in the background:", *lines]), rows)


def _state(turn: turnrow.TurnRow) -> str:
    if turn.state == "waiting":
        return (
            "waits for an answer of yours" if turn.waiting_for != "child" else "waits for another"
        )
    return "at work" if turn.state == "running" else "about to go on"


def stop(situation: Situation, turn: int) -> str:
    """One task is ended; the conversation is told, as by /stop."""
    stopped = stops.stop_task(situation.db, turn, situation.now)
    situation.effects.dropped += stopped.turns
    situation.effects.begun += stopped.freed
    return "Stopped." if stopped.turns else "It has ended by itself."
