"""What the press of a button does; its answer is shown to the person who pressed it.

Every press is answered, whatever it was: until then the network shows the button as being at work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from daemon.chat import (
    answering,
    approvals,
    asking,
    choosing,
    doors,
    remembered,
    roles,
    tasks,
)
from daemon.chat.intake import CALLBACKS, CHANNEL, Pressed
from daemon.chat.situation import Press, Situation
from daemon.store import buttons, holding, outbox
from daemon.store.buttons import Denial
from daemon.store.values import Place

MOST_SHOWN = 200  # characters of an answer to a press

DENIALS = {
    Denial.UNKNOWN: "This button is no longer valid.",
    Denial.FOREIGN: "This button is for somebody else.",
    Denial.USED: "This was answered already.",
    Denial.EXPIRED: "This button has expired.",
}

NOT_FOR_GUESTS = "This button is not for guests."

Handler: TypeAlias = Callable[[Situation, Press], str]


def _show_held(situation: Situation, press: Press) -> str:
    shown = holding.show_held(situation.db, press.place, press.payload, situation.now)
    situation.effects.queued.append(press.place)
    return "Here they are." if shown else "Nothing is held back any more."


# What a button of a kind does. It is used up by then, and is not offered again unless the handler
# does so (`buttons.offer_again`).
HANDLERS: dict[str, Handler] = {
    "show held": _show_held,
    "pair": doors.answered,
    doors.ALLOW_GROUP: doors.group_allowed,
    asking.ALLOW: approvals.allow,
    asking.ALLOW_HERE: approvals.allow_here,
    asking.DENY: approvals.deny,
    asking.CHOOSE: answering.choose,
    "busy": choosing.busy_pressed,
    "streaming": choosing.streaming_pressed,
    "revoke": choosing.revoke,
    "model": choosing.model_pressed,
    "forget": remembered.ask,
    "forget it": remembered.forget,
    "keep it": remembered.keep,
    **tasks.HANDLERS,
}
# What a guest may press. The others do what a command does that is not for guests; who was offered
# them has been made one since.
FOR_GUESTS = frozenset({"show held", asking.DENY, asking.CHOOSE})


def press(situation: Situation, pressed: Pressed, account: str) -> None:
    """Do what a button is for, and answer it whatever it was."""
    text = _press(situation, pressed)[:MOST_SHOWN]
    answer = outbox.Draft(
        "answerCallbackQuery", {"callback_query_id": pressed.query_id, "text": text}
    )
    place = Place(CHANNEL, account, CALLBACKS)
    outbox.enqueue(situation.db, place, [answer], situation.now)
    situation.effects.queued.append(place)


def _press(situation: Situation, pressed: Pressed) -> str:
    place, speaker = pressed.place, pressed.speaker
    if place is None:
        return DENIALS[Denial.UNKNOWN]
    user = situation.user(place, speaker)
    button = buttons.press(situation.db, pressed.data, place, user, situation.now)
    if isinstance(button, Denial):
        return DENIALS[button]
    handler = HANDLERS.get(button.kind)
    if handler is None:  # of a later version of this program
        return DENIALS[Denial.UNKNOWN]
    if speaker.role == roles.GUEST and button.kind not in FOR_GUESTS:
        buttons.offer_again(situation.db, button.ref)
        return NOT_FOR_GUESTS
    whose = button.place, button.payload, user, speaker
    return handler(situation, Press(*whose, pressed.message_id, button.ref))
