"""Stops what a session does, at a person's word; what was said as yet stays, in chat and in mind.

The words of a turn that runs are in memory alone, and shown as a preview at best. The transaction
that ends the turn makes them its last answer, which takes the place of what the chat was shown.
"""

from __future__ import annotations

import sqlite3

from attrs import evolve

from agent import activity
from agent.transcript import Answer
from daemon.chat.drafts import answer_drafts, text_drafts
from daemon.chat.situation import Situation, reply
from daemon.store import acks, approvals, journal, outbox, previews, questions, stops, turnrow
from daemon.store.outbox import Draft
from daemon.store.values import Place
from daemon.telegram.live import Said
from daemon.telegram.parts import units
from daemon.telegram.render import PART_UNITS

# For the model, below what it had said.
BROKEN_OFF = "[The person stopped this answer here.]"
STOPPED = "Stopped."
NOTHING = "There is nothing to stop."


def stop(situation: Situation, place: Place, session: str) -> None:
    """End what the session does, or else what it has in the background, and say what that was."""
    doing = _doing(situation.db, session)
    stopped = _end(situation, session)
    if stopped.turns:
        said = Said() if stopped.background else _said(situation, stopped.turns[0])
        _conclude(situation, place, stopped.turns[0], said, _sentence(stopped, doing))
    else:
        reply(situation, place, NOTHING)


def interrupt(situation: Situation, place: Place, session: str) -> None:
    """End what the session does, for something else; only where words break off is that told."""
    turn_id = _end(situation, session).turns[0]
    said = _said(situation, turn_id)
    _conclude(situation, place, turn_id, said, STOPPED if said.text else "")


def give_up(situation: Situation, place: Place, session: str) -> bool:
    """End what the session does if it needs a person's answer; False if it does not.

    The message that asked is edited to say so (`daemon.chat.settling`).
    """
    db, head = situation.db, turnrow.head(situation.db, session)
    needs = head and (approvals.holds_up(db, head.id) or questions.is_open(db, head.id))
    if needs:
        interrupt(situation, place, session)
    return bool(needs)


def _end(situation: Situation, session: str) -> stops.Stopped:
    stopped = stops.stop(situation.db, session, situation.now)
    situation.effects.dropped += stopped.turns
    situation.effects.begun += stopped.freed
    situation.effects.compact.append(session)
    return stopped


def _said(situation: Situation, turn_id: int) -> Said:
    """What the turn has said that is not kept; what was kept a moment ago, memory has not heard of.

    Words with calls are kept and not sent; without any, they are on their way to the chat, too.
    """
    said, (last, calls) = situation.said(turn_id), journal.last_answer(situation.db, turn_id)
    if last.strip() != said.text:
        return said
    return evolve(said, kept=True) if calls else Said()


def _conclude(situation: Situation, place: Place, turn_id: int, said: Said, sentence: str) -> None:
    """Keep what the turn had said, and tell the chat that it was stopped."""
    db, now = situation.db, situation.now
    if said.text and not said.kept:
        journal.add_answer(db, turn_id, Answer(f"{said.text}\n\n{BROKEN_OFF}"), now)
    drafts = previews.in_place(db, turn_id, concluded(said.text, sentence))
    outbox.enqueue(db, place, drafts, now, turn_id=turn_id if said.text else None)
    situation.effects.queued += [place, acks.beside(place)]


def concluded(text: str, sentence: str) -> list[Draft]:
    """The messages that show what was said as yet, and below it that it was stopped."""
    if not text:
        return text_drafts(sentence) if sentence else []
    *before, last = answer_drafts(text)
    together = f"{last.params.get('text', '')}\n\n{sentence}"
    if last.method != "sendMessage" or units(together) > PART_UNITS:
        return [*before, last, *text_drafts(sentence)]
    return [*before, evolve(last, params={**last.params, "text": together})]


def _doing(db: sqlite3.Connection, session: str) -> str:
    """What the session is doing now, in words; '' if that has none."""
    head = turnrow.head(db, session)
    if head is not None and head.waiting_for in {"approval", "question"}:
        return "waiting for your answer"
    calls = stops.under_way(db, session)
    return ", ".join(dict.fromkeys(activity.line(each).removesuffix(" ...") for each in calls))


def _sentence(stopped: stops.Stopped, doing: str) -> str:
    if stopped.background:
        return f"Stopped in the background: {len(stopped.turns)}."
    what = f"Stopped: {doing}." if doing else STOPPED
    return f"{what} Going on with what waits: {stopped.waiting}." if stopped.waiting else what
