"""What a command or the press of a button may use, and what is left to do after the commit."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from attrs import Factory, define, frozen

from agent.budget import FREE, Tariff
from daemon.chat import roles
from daemon.chat.drafts import text_drafts
from daemon.chat.intake import Speaker
from daemon.store import outbox, people
from daemon.store.turnrow import TurnRow
from daemon.store.values import Place
from daemon.telegram.live import Said


@define
class Effects:
    """What the router does after its commit, in memory only."""

    begun: list[TurnRow] = Factory(list)
    reread: list[int] = Factory(list)  # turns that were given more to read
    dropped: list[int] = Factory(list)  # turns that were ended
    queued: list[Place] = Factory(list)  # places that something was queued for
    unsent: list[str] = Factory(list)  # files of the spool that nobody will be sent any more
    compact: list[str] = Factory(list)  # sessions that may have to be summed up
    fetch: bool = False  # files were named that are to be fetched
    regranted: bool = False  # who is answered, or how, is another than before
    forgetting: bool = False  # whether there is something new to forget
    scheduled: bool = False  # whether the times of jobs have changed
    logged: list[tuple[str, dict[str, object]]] = Factory(list)


def nothing(_turn_id: int) -> Said:
    """Nobody listens to turns."""
    return Said()


@frozen
class Situation:
    """What a command may use. `report` tells the state of the process, in lines.

    `owner` is the network's id of the owner, '' if nobody is said to be that.
    `while_busy` and the first of the `models` are what holds for a chat that has not chosen. `said`
    tells what a running turn has said as yet.
    """

    db: sqlite3.Connection
    now: float
    report: Callable[[], list[str]]
    effects: Effects
    tariff: Tariff = FREE
    owner: str = ""
    while_busy: str = "queue"
    models: tuple[str, ...] = ()
    said: Callable[[int], Said] = nothing

    def user(self, place: Place, speaker: Speaker) -> str:
        """Our id of the person who speaks. In a group their role may be that of its members."""
        role = roles.USER if place.in_group and speaker.role != roles.OWNER else speaker.role
        return people.ensure_user(
            self.db, place.channel, speaker.external_id, speaker.name, self.now, role
        )

    def is_owner(self, speaker: Speaker, user: str) -> bool:
        return speaker.external_id == self.owner or people.is_owner(self.db, user)


@frozen
class Press:
    """A press that counts: what was offered to whom, and who has pressed it.

    `place` is where the button was offered. `message_id` is the network's id of the message that
    it stands under, '' where the network does not say.
    """

    place: Place
    payload: str
    user: str
    speaker: Speaker
    message_id: str = ""
    ref: str = ""


def reply(to: Situation, place: Place, text: str) -> None:
    outbox.enqueue(to.db, place, text_drafts(text), to.now)
    to.effects.queued.append(place)
