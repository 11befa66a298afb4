"""Answers to what the agent has asked: by a button, or by what the person says next.

The person on whose behalf the agent works answers; by a button the owner may, too.
"""

from __future__ import annotations

from daemon.chat.intake import Said
from daemon.chat.situation import Press, Situation
from daemon.store import buttons, questions
from daemon.store.turnrow import TurnRow

OVER = "That question is over."
FOREIGN = "This question is for somebody else."


def choose(situation: Situation, press: Press) -> str:
    """The person has pressed one of the choices."""
    ref, _, number = press.payload.partition(":")
    question = questions.find(situation.db, ref)
    if question is None:
        return OVER
    mine = question.payer_id in {None, press.user}
    if not mine and not situation.is_owner(press.speaker, press.user):
        buttons.offer_again(situation.db, press.ref)
        return FOREIGN
    choice = question.choices[int(number)]
    turn = questions.answer(situation.db, ref, choice, situation.now, press.user)
    if turn is None:
        return OVER
    situation.effects.begun.append(turn)
    return f"You chose: {choice}"


def say(situation: Situation, said: Said, head: TurnRow) -> bool:
    """Take what was said as the answer to what the turn asks; False if it asks this person nothing.

    The answer of a group's member is theirs alone to give.
    """
    question = questions.open_of(situation.db, head.id)
    if question is None or not said.text.strip():
        return False
    user = situation.user(said.place, said.speaker)
    if question.payer_id not in {None, user}:
        return False
    turn = questions.answer(situation.db, question.ref, said.text, situation.now, user)
    if turn is None:
        return False
    situation.effects.begun.append(turn)
    return True
