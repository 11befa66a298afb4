"""Questions to a chat, with their buttons: whether a call may run, and what the agent must know.

The buttons of a question go with it: of those offered together one press uses up all, and they end
when the question does.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from attrs import frozen

from agent.ports import Inquiry
from daemon.chat import menus
from daemon.chat.menus import Key
from daemon.chat.questions import AT_CONSOLE, IN_FILE, asked, block, put
from daemon.store import approvals, buttons, questions, turnrow
from daemon.store.outbox import Draft
from daemon.store.values import Address
from daemon.telegram.render import rendered

ALLOW, ALLOW_HERE, DENY = "allow", "allow here", "deny"
CHOOSE = "choose"
CHOOSE_OR_SAY = "Choose, or answer in words{how}. I wait for a day."
SAY = "Answer in words{how}. I wait for a day."
IN_REPLY = ", in reply to this"  # in a group, where else the bot may not be shown them

QUIET: dict[str, Any] = {"link_preview_options": {"is_disabled": True}}


@frozen
class Asked:
    """A question that was opened: its name, its turn and where that answers."""

    ref: str
    address: Address
    turn_id: int
    now: float


def permission(
    db: sqlite3.Connection, opened: Asked, wish: approvals.Wish, whole: Draft | None
) -> Draft:
    """The message that asks whether a call may run."""
    around = asked(opened.ref, turnrow.label(db, opened.turn_id))
    shown = block(wish.what, around, AT_CONSOLE if whole is None else IN_FILE)
    rows = [[("Allow once", ALLOW)], [("Deny", DENY)]]
    if wish.scope is not None:
        rows.insert(1, [("Allow for this chat", ALLOW_HERE)])
    group = buttons.new_group()
    keys = [
        [Key(label, _offer(db, opened, kind, opened.ref, group)) for label, kind in row]
        for row in rows
    ]
    return Draft("sendMessage", {**shown, **QUIET, "reply_markup": menus.keyboard(keys)})


def _offer(db: sqlite3.Connection, opened: Asked, kind: str, payload: str, group: str) -> str:
    """A button of a question. Who may press it is looked at when it is: the owner may, too."""
    life = max(approvals.WAIT_SECONDS, questions.WAIT_SECONDS)
    return buttons.offer(
        db, opened.address.place, kind, payload, opened.now, group=group, life=life
    )


def inquiry(db: sqlite3.Connection, opened: Asked, asks: Inquiry) -> Draft:
    """The message that asks what the agent must know."""
    how = IN_REPLY if opened.address.place.in_group else ""
    hint = (CHOOSE_OR_SAY if asks.choices else SAY).format(how=how)
    (shown, *_) = rendered(put(asks.question, hint))
    params = {**shown, **QUIET}
    if asks.choices:
        group = buttons.new_group()
        keys = [
            Key(choice, _offer(db, opened, CHOOSE, f"{opened.ref}:{number}", group))
            for number, choice in enumerate(asks.choices)
        ]
        params["reply_markup"] = menus.keyboard(menus.arranged(keys))
    return Draft("sendMessage", params)
