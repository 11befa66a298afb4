"""Whatever becomes of the sends of a group, each answer is there: rows and a Telegram in memory.

Turns are shown by placeholders, speak, are stopped or end without a word, while sends fail in every
way there is, the process is killed around them, messages are deleted and the group moves.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, Final

from attrs import Factory, define
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from daemon.store import boots, outbox, people, previews, sending, turns
from daemon.store.db import migrate
from daemon.store.outbox import Destination, Draft
from daemon.store.sending import Part
from daemon.store.values import Place
from daemon.telegram import outcomes
from daemon.telegram.api import Ambiguous, ApiError, NotSent, Refused, TooMany
from daemon.telegram.outbox import Outbox, address
from daemon.telegram.outcomes import Record, Sent
from daemon.telegram.render import MAYBE_TWICE

CHATS: Final = ("-5", "-1005")  # before the group moves, and after
PARTIAL: Final = "as yet: "
# What can become of a request: whether it takes effect, and what we hear.
FATES: Final = {
    "fine": (True, None),
    "unsent": (False, NotSent("no route")),
    "too many": (False, TooMany(1.0)),
    "lost": (False, Ambiguous("no answer")),
    "unanswered": (True, Ambiguous("no answer")),
    "killed before": (False, None),
    "killed after": (True, None),
}


@define
class Telegram:
    """The chats: message ids and texts, in order. Ids of one chat mean others in the next."""

    chats: dict[str, dict[int, str]] = Factory(lambda: {chat: {} for chat in CHATS})
    moved: bool = False
    count: int = 0  # messages so far, in the chat that is written to

    def perform(self, part: Part, params: dict[str, Any]) -> int:
        """Do what is asked; the number of the message. Raises Refused."""
        chat = str(params["chat_id"])
        if self.moved and chat == CHATS[0]:
            raise Refused(400, "Bad Request: group chat was upgraded", int(CHATS[1]))
        messages = self.chats[chat]
        if part.method == "sendMessage":
            self.count += 1
            messages[self.count] = params["text"]
            return self.count
        number = params["message_id"]
        if number not in messages:
            raise Refused(400, "Bad Request: message to edit not found")
        if part.method == "deleteMessage":
            del messages[number]
        elif messages[number] == params["text"]:
            raise Refused(400, "Bad Request: message is not modified")
        else:
            messages[number] = params["text"]
        return int(number)

    @property
    def texts(self) -> list[str]:
        return [text for chat in CHATS for text in self.chats[chat].values()]


async def nothing(_method: str, _params: dict[str, Any]) -> None:
    """Nobody calls it: the machine makes the requests."""


class Sends(RuleBasedStateMachine):
    template: Path

    @initialize()
    def begin(self) -> None:
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        self.db.row_factory = sqlite3.Row
        with sqlite3.connect(self.template) as made:
            made.backup(self.db)
        self.db.execute("PRAGMA foreign_keys = ON")
        self.boot = boots.begin(self.db, "test", 0.0)
        self.telegram = Telegram()
        self.sender = Outbox(None, self.boot, nothing, None)  # type: ignore[arg-type]  # unused
        self.now = 0.0
        self.chat = CHATS[0]
        self.running: list[int] = []
        self.said: list[str] = []

    def place(self) -> Place:
        return Place("telegram", "42", self.chat)

    def say(self, turn: int, count: int) -> None:
        words = [f"{turn}.{len(self.said) + each}" for each in range(count)]
        self.said += words
        drafts = [Draft("sendMessage", {"text": text}) for text in words]
        placed = previews.in_place(self.db, turn, drafts)
        outbox.enqueue(self.db, self.place(), placed, self.now, turn_id=turn)

    # --- Turns ---

    @precondition(lambda self: len(self.running) < 2)
    @rule()
    def turn_begins(self) -> None:
        session = people.ensure_session(self.db, self.place(), self.now)
        turn = turns.create(self.db, session, text="?", asked_at=0.0, now=self.now)
        self.db.execute("UPDATE turns SET state = 'running' WHERE id = ?", (turn.id,))
        self.running.append(turn.id)
        self.show(turn.id)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def turn_is_shown(self, data: st.DataObject) -> None:
        self.show(data.draw(st.sampled_from(self.running)))

    def show(self, turn: int) -> None:
        to = outbox.destination_of(self.place())
        seen = previews.look(self.db, to, turn)
        if seen.message_id is None:
            shown = {"text": f"{PARTIAL}{turn}"}
            previews.begin(self.db, self.place(), turn, shown, self.now)
        elif not seen.busy and int(seen.message_id) in self.telegram.chats[self.chat]:
            self.telegram.chats[self.chat][int(seen.message_id)] = f"{PARTIAL}{turn}, {self.now}"

    @precondition(lambda self: self.running)
    @rule(data=st.data(), count=st.integers(0, 3), ends=st.booleans())
    def turn_speaks(self, data: st.DataObject, count: int, ends: bool) -> None:
        turn = data.draw(st.sampled_from(self.running))
        if ends:
            self.running.remove(turn)
            turns.end(self.db, turn, "answered", self.now)
        if ends or count:
            self.say(turn, count)

    # --- Sends ---

    @rule(fate=st.sampled_from(["fine"] * 5 + sorted(FATES)))
    def send(self, fate: str) -> None:
        self.now += 100.0
        for chat in CHATS:
            to = Destination("telegram", "42", chat)
            part = sending.claim_next(self.db, to, self.boot, self.now)
            if isinstance(part, Part):
                self._send(part, to, fate)

    def _send(self, part: Part, to: Destination, fate: str) -> None:
        record = self._request(part, fate)
        if fate.startswith("killed"):
            sending.recover(self.db)
        else:
            outcomes.record_and_claim(self.db, record, to, None, self.now)

    def _request(self, part: Part, fate: str) -> Record:
        if part.is_void:
            return Sent(part.id, None)
        works, heard = FATES[fate]
        number = None
        try:
            if works:
                number = self.telegram.perform(part, address(part, self.now))
            if heard is not None:
                raise heard
        except ApiError as error:
            return self.sender._failure(part, error)
        return Sent(part.id, None if number is None else str(number))

    # --- The group ---

    @precondition(lambda self: any(self.telegram.chats[self.chat]))
    @rule(data=st.data())
    def a_message_is_deleted(self, data: st.DataObject) -> None:
        partial = [
            number
            for number, text in self.telegram.chats[self.chat].items()
            if text.startswith(PARTIAL)
        ]
        if partial:
            del self.telegram.chats[self.chat][data.draw(st.sampled_from(partial))]

    @precondition(lambda self: self.telegram.count > 1 and not self.telegram.moved)
    @rule(told=st.booleans())
    def the_group_moves(self, told: bool) -> None:
        self.telegram.moved, self.telegram.count = True, 5
        self.telegram.chats[CHATS[1]] = dict.fromkeys(range(1, 6), "another's")
        if told:
            people.move_chat(self.db, self.place(), CHATS[1])
            self.chat = CHATS[1]

    # --- What holds ---

    @invariant()
    def nobody_else_is_spoken_over(self) -> None:
        others = self.telegram.chats[CHATS[1]]
        if self.telegram.moved:
            assert [others.get(number) for number in range(1, 6)] == ["another's"] * 5

    def teardown(self) -> None:
        if not hasattr(self, "db"):
            return
        for turn in self.running:
            turns.end(self.db, turn, "answered", self.now)
            outbox.enqueue(self.db, self.place(), previews.in_place(self.db, turn, []), self.now)
        while any(outbox.is_due(self.db, Destination("telegram", "42", chat)) for chat in CHATS):
            self.send("fine")
        self._look()
        self.db.close()

    def _look(self) -> None:
        rows = self.db.execute("SELECT * FROM outbox WHERE method = 'sendMessage'").fetchall()
        whole = [row for row in rows if row["stands_for"] is None]
        assert {row["state"] for row in whole} <= {"sent", "unknown"}
        texts = self.telegram.texts
        for row in whole:
            self._look_at(row, texts, rows)
        if (
            not any(row["state"] in {"unknown", "failed"} for row in rows)
            and not self.telegram.moved
        ):
            assert not [text for text in texts if text.startswith(PARTIAL)]

    def _look_at(self, row: sqlite3.Row, texts: list[str], rows: list[sqlite3.Row]) -> None:
        (text,) = (word for word in self.said if f'"{word}"' in row["params"])
        plain, labelled = texts.count(text), texts.count(MAYBE_TWICE + text)
        assert plain <= 1, "twice, and nothing says so"
        assert plain + labelled >= (row["state"] == "sent"), "lost"
        if labelled:
            stood = {each["ref"]: each["state"] for each in rows}.get(row["edits"])
            assert row["doubts"] or stood == "unknown", "a label that nothing explains"


def test_every_answer_is_there(tmp_path: Path) -> None:
    """Once, or a second time with a label where nobody could know; and nothing is left of it."""
    path = tmp_path / "template.db"
    migrate(path)
    machine = type("Sends", (Sends,), {"template": path})
    run = settings(max_examples=300, stateful_step_count=30, deadline=None)
    machine.TestCase.settings = run
    machine.TestCase("runTest").runTest()
