"""Pages with buttons: what a chat is shown of something that it can change, and changes in place.

A page is made anew for each look, with buttons of its own. The command that asks for one sends it;
the press of a button edits the message that it stands in to the page that comes next. The buttons
of a page are for the person who asked for it, and one press uses up all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import field, frozen

from daemon.chat import menus
from daemon.chat.menus import Key
from daemon.chat.situation import Press, Situation
from daemon.store import buttons, outbox
from daemon.store.outbox import Draft
from daemon.store.values import Place
from daemon.telegram.render import PART_UNITS, plain

CHOSEN = "✓ "  # before the label of what holds now
MORE = "\n[there is more, which has no room here]"


@frozen
class Page:
    """Its text, cut to a message, and its rows of buttons."""

    text: str
    rows: Sequence[Sequence[Key]] = ()

    @property
    def params(self) -> dict[str, object]:
        text, *more = plain(self.text, PART_UNITS - len(MORE)) or ["..."]
        text += MORE if more else ""
        quiet = {"is_disabled": True}
        shown: dict[str, object] = {"text": text, "link_preview_options": quiet}
        if any(self.rows):
            shown["reply_markup"] = menus.keyboard(self.rows)
        return shown


@frozen
class Desk:
    """Where pages are made: for whom, in which chat, in which transaction."""

    situation: Situation
    place: Place
    user: str
    _group: str = field(factory=buttons.new_group, init=False)

    @classmethod
    def at(cls, situation: Situation, press: Press) -> Desk:
        """To make the page that follows on a press."""
        return cls(situation, press.place, press.user)

    def key(self, label: str, kind: str, payload: str = "") -> Key:
        """A button of the page."""
        now, group = self.situation.now, self._group
        ref = buttons.offer(self.situation.db, self.place, kind, payload, now, self.user, group)
        return Key(label, ref)

    def choice(self, label: str, kind: str, payload: str, *, chosen: bool) -> Key:
        """A button for one of several ways, of which one holds now."""
        return self.key(f"{CHOSEN if chosen else ''}{label}", kind, payload)

    def send(self, page: Page) -> None:
        """Show a page in a message of its own."""
        self._queue(Draft("sendMessage", dict(page.params)))

    def turn_to(self, page: Page, press: Press) -> None:
        """Show a page in the message whose button was pressed, if the network names that."""
        if press.message_id.isdecimal():
            here = {"message_id": int(press.message_id), **page.params}
            self._queue(Draft("editMessageText", here))
        else:
            self.send(page)

    def _queue(self, draft: Draft) -> None:
        outbox.enqueue(self.situation.db, self.place, [draft], self.situation.now)
        self.situation.effects.queued.append(self.place)
