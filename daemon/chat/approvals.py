"""Answers to questions whether a tool call may run, from the chat and from the console.

In a chat only the person on whose behalf the call would run may answer, and the owner, wherever
the question can be read by others; at the console it is the owner of the machine who does.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any

import attrs
from attrs import frozen

from agent.text import shorten
from daemon.chat import settling
from daemon.chat.situation import Press, Situation
from daemon.errors import FamulusError
from daemon.store import approvals, buttons
from daemon.store.approvals import Question
from daemon.store.db import Database
from daemon.store.turnrow import TurnRow
from daemon.store.values import Place

# Characters of all questions together, at the console: what does not fit through its socket is no
# answer at all. The chat has been shown each of them whole.
SHOWN = 100_000

FOREIGN = "Only the person who asked for this, or the owner, may answer."
OVER = "That question is over."

STATES = {
    "granted": "That was allowed already.",
    "denied": "That was forbidden already.",
    "lapsed": "That question is over: nobody answered it within a day.",
    "void": "That question is over: what I was doing has ended.",
    "unknown": "There is no such question for you here.",
}


@frozen
class Verdict:
    """What an answer came to, in a sentence, and the turn that may go on."""

    sentence: str
    turn: TurnRow | None = None


def questions_for(
    db: sqlite3.Connection, place: Place, user: str, *, owner: bool = False
) -> list[Question]:
    """The open questions of a place that this user may answer; the `owner` all of them."""
    return [each for each in approvals.find(db, place) if owner or each.payer_id in {None, user}]


@frozen
class Given:
    """An answer as it was given: to which question ('' for the only one), what, by whom, when.

    A `lasting` yes covers all calls that the question's scope names, from now on.
    """

    ref: str
    granted: bool
    by: str | None
    now: float
    lasting: bool = False

    @property
    def state(self) -> str:
        return "granted" if self.granted else "denied"


def decide(db: sqlite3.Connection, questions: Sequence[Question], given: Given) -> Verdict:
    """Answer the one of `questions` that is meant."""
    ref = given.ref.strip().lower()
    if not ref and len(questions) != 1:
        return Verdict(_which(questions))
    chosen = next((each for each in questions if ref in {"", each.ref}), None)
    if chosen is None:
        # Whoever may not answer a question does not learn how it stands either.
        return Verdict(STATES[approvals.standing(db, ref, given.by)])
    answered = approvals.answer(db, chosen.ref, given.state, given.now, by=given.by)
    if answered.new and given.lasting:
        approvals.last(db, chosen.ref, given.by, given.now)
    return _verdict(answered)


# --- Buttons ---


def allow(situation: Situation, press: Press) -> str:
    return _pressed(situation, press, granted=True)


def allow_here(situation: Situation, press: Press) -> str:
    return _pressed(situation, press, granted=True, lasting=True)


def deny(situation: Situation, press: Press) -> str:
    return _pressed(situation, press, granted=False)


def _pressed(situation: Situation, press: Press, *, granted: bool, lasting: bool = False) -> str:
    """Answer the question that the button stands under, if this person may."""
    db, owner = situation.db, situation.is_owner(press.speaker, press.user)
    theirs = questions_for(db, press.place, press.user, owner=owner)
    if press.payload not in {each.ref for each in theirs}:
        if approvals.is_asked(db, press.payload):
            buttons.offer_again(db, press.ref)
            return FOREIGN
        return OVER
    given = Given(press.payload, granted, press.user, situation.now, lasting)
    verdict = decide(db, theirs, given)
    if verdict.turn is not None:
        situation.effects.begun.append(verdict.turn)
    return verdict.sentence


# --- Sentences ---


def _verdict(answered: approvals.Answered) -> Verdict:
    if not answered.new:
        return Verdict(STATES[answered.state])
    return Verdict("Allowed." if answered.state == "granted" else "Forbidden.", answered.turn)


def _which(questions: Sequence[Question]) -> str:
    if not questions:
        return "I am not waiting for an answer of yours."
    lines = "\n".join(map(_line, questions))
    return f"Which one? Name it after the command:\n{lines}"


def _line(question: Question) -> str:
    task = f"[{question.label}] " if question.label else ""
    return f"{question.ref}: {task}{' '.join(question.what.split())[:60]}"


def ignore(_place: Place) -> None:
    """Nobody sends here."""


@frozen
class Console:
    """The control socket's verbs about questions.

    `changed` is told of turns that may go on, `wake` of chats whose questions say how they ended.
    """

    database: Database
    changed: Callable[[TurnRow], None]
    wake: Callable[[Place], None] = ignore

    async def list(self, _request: dict[str, Any]) -> dict[str, Any]:
        questions = await self.database.read(approvals.find)
        cap = SHOWN // max(1, len(questions))
        shown = (attrs.evolve(each, what=shorten(each.what, cap)) for each in questions)
        return {"questions": [attrs.asdict(each) for each in shown]}

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """`ref` names the question, `granted` is the answer."""
        given = Given(
            str(request.get("ref", "")).strip().lower(),
            request.get("granted") is True,
            None,
            time.time(),
        )
        verdict, told = await self.database.write(_decide_any, given)
        if verdict.turn is not None:
            self.changed(verdict.turn)
        for place in told:
            self.wake(place)
        return {"sentence": verdict.sentence}


def _decide_any(db: sqlite3.Connection, given: Given) -> tuple[Verdict, list[Place]]:
    answered = approvals.answer(db, given.ref, given.state, given.now)
    if answered.state == "unknown":
        raise FamulusError(
            f"there is no question {given.ref!r}", "see the open ones with: famulus approvals"
        )
    return _verdict(answered), settling.settle(db, given.now)
