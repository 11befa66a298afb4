"""What a person stops: the words stay, once, and the chat is told what was stopped."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import Factory, define

from agent.transcript import Answer, CallRequest
from daemon.chat import commands, hearing, stopping
from daemon.chat.intake import Command, Speaker
from daemon.chat.intake import Said as Message
from daemon.chat.situation import Effects, Situation
from daemon.store import boots, journal, people, previews, turns
from daemon.store.values import Claim, Place
from daemon.telegram.live import Said
from tests.daemon.chat.test_buttons import connect

HERE, GROUP = Place("telegram", "42", "1"), Place("telegram", "42", "-100")
ADA = Speaker("1", "Ada")


@define
class Talk:
    """A turn that runs, and what it has said as yet."""

    db: sqlite3.Connection
    place: Place = HERE
    said: Said = Factory(Said)

    def begin(self) -> int:
        session = people.ensure_session(self.db, self.place, 0.0)
        turn = turns.create(self.db, session, text="a story", asked_at=1.0, now=1.0)
        boot = boots.begin(self.db, "test", 0.0)
        seen = journal.read_pages(self.db, turn.id).last_message
        journal.hold(self.db, Claim(turn.id, boot, first=True, seen=seen), 1.0)
        return turn.id

    def _do(self, what: Callable[[Situation], object]) -> Effects:
        effects = Effects()
        what(Situation(self.db, 2.0, list, effects, said=lambda _turn: self.said))
        return effects

    def stop(self) -> Effects:
        command = Command(self.place, ADA, "stop", "", 2.0)
        return self._do(lambda to: commands.run(to, command))

    def interrupt(self) -> Effects:
        message = Message(self.place, ADA, "no, a poem", 2.0, "")
        return self._do(lambda to: hearing.hear(to, message, "interrupt"))

    def sent(self) -> list[tuple[str, str | None]]:
        rows = self.db.execute("SELECT method, params FROM outbox ORDER BY id").fetchall()
        return [(row[0], json.loads(row[1]).get("text")) for row in rows]

    def answers(self) -> list[str]:
        rows = self.db.execute("SELECT content FROM messages WHERE role = 'assistant' ORDER BY id")
        return [row[0] for row in rows.fetchall()]


@pytest.fixture
def talk(tmp_path: Path) -> Talk:
    return Talk(connect(tmp_path / "famulus.db"))


@pytest.mark.parametrize("how", [Talk.stop, Talk.interrupt])
def test_what_was_said_stays(talk: Talk, how: Callable[[Talk], Effects]) -> None:
    """By whatever it was stopped; in the chat, and in mind with a word that it broke off."""
    turn = talk.begin()
    talk.said = Said("Once upon a time")
    effects = how(talk)
    assert effects.dropped == [turn]
    assert talk.place in effects.queued
    assert talk.sent() == [("sendMessage", "Once upon a time\n\nStopped.")]
    assert talk.answers() == [f"Once upon a time\n\n{stopping.BROKEN_OFF}"]


def test_an_interruption_before_the_first_word_is_not_told(talk: Talk) -> None:
    """What was said instead is answered at once."""
    talk.begin()
    talk.interrupt()
    assert (talk.sent(), talk.answers()) == ([], [])


def test_an_interruption_removes_what_a_group_was_shown(talk: Talk) -> None:
    """A message that grew, and has no words, does not stay behind."""
    talk.place = GROUP
    turn = talk.begin()
    assert previews.begin(talk.db, GROUP, turn, {"text": "running Python ..."}, 1.0)
    talk.db.execute("UPDATE outbox SET state = 'sent', message_id = '5'")
    talk.interrupt()
    assert talk.sent()[1:] == [("deleteMessage", None)]


@pytest.mark.parametrize(
    ("calls", "sent"),
    [((CallRequest("", "bash", "{}"),), ["Let me see.\n\nStopped."]), ((), ["Stopped."])],
)
def test_words_that_were_kept_a_moment_ago_are_not_kept_again(
    talk: Talk, calls: tuple[CallRequest, ...], sent: list[str]
) -> None:
    """Memory has not heard of it yet. An answer without calls was sent, too, and is not again."""
    turn = talk.begin()
    journal.add_answer(talk.db, turn, Answer("Let me see.", calls), 1.0)
    talk.said = Said("Let me see.")
    talk.stop()
    assert talk.answers() == ["Let me see."]
    assert [text for _, text in talk.sent()] == sent
