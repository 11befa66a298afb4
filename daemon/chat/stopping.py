"""What becomes of the words of a turn that a person stops: they stay, in the chat and in mind.

They were in memory alone, and shown as a preview at best. The transaction that ends the turn makes
them its last answer, which takes the place of what the chat was shown.
"""

from __future__ import annotations

import sqlite3

from attrs import evolve

from agent.transcript import Answer
from daemon.chat.drafts import answer_drafts, text_drafts
from daemon.store import journal, outbox, previews, stops
from daemon.store.outbox import Draft
from daemon.store.values import Place
from daemon.telegram.live import Said
from daemon.telegram.parts import units
from daemon.telegram.render import PART_UNITS

# For the model, below what it had said.
BROKEN_OFF = "[The person stopped this answer here.]"


def conclude(  # noqa: PLR0913  (one of them is the clock)
    db: sqlite3.Connection,
    place: Place,
    stopped: stops.Stopped,
    said: Said,
    sentence: str,
    now: float,
) -> None:
    """Keep what the turn had said, and tell the chat that it was stopped."""
    turn_id = stopped.turns[0]
    if stopped.background:
        said = Said()
    if said.text and not said.kept:
        journal.add_answer(db, turn_id, Answer(f"{said.text}\n\n{BROKEN_OFF}"), now)
    drafts = previews.in_place(db, turn_id, concluded(said.text, sentence))
    outbox.enqueue(db, place, drafts, now, turn_id=turn_id if said.text else None)


def concluded(text: str, sentence: str) -> list[Draft]:
    """The messages that show what was said as yet, and below it that it was stopped."""
    if not text:
        return text_drafts(sentence)
    *before, last = answer_drafts(text)
    together = f"{last.params.get('text', '')}\n\n{sentence}"
    if last.method != "sendMessage" or units(together) > PART_UNITS:
        return [*before, last, *text_drafts(sentence)]
    return [*before, evolve(last, params={**last.params, "text": together})]
