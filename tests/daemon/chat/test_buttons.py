"""Buttons: of all presses at most one counts, and every one is answered, whatever it was."""

from __future__ import annotations

import json
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from agent.transcript import Answer, Approval, CallRequest
from daemon.chat import buttons, commands, recovery, roles, settling, steps
from daemon.chat.intake import CALLBACKS, CHANNEL, Command, Pressed, Speaker
from daemon.chat.situation import Effects, Press, Situation
from daemon.store import approvals, boots, journal, migrations, people, turnrow, turns
from daemon.store import buttons as rows
from daemon.store import settings as chosen
from daemon.store.values import Claim, Place

BOT = "42"
ADA, BOB = Speaker("1", "Ada"), Speaker("2", "Bob")
HERE, THERE = Place(CHANNEL, BOT, "-100", "7"), Place(CHANNEL, BOT, "-200")
LIFE = 100.0


def connect(path: Path) -> sqlite3.Connection:
    migrations.bring_up_to_date(path)
    db = sqlite3.connect(path)
    db.row_factory = sqlite3.Row
    return db


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    db = connect(tmp_path / "famulus.db")
    yield db
    db.close()


@define
class Presser:
    """Presses buttons as the router does; `seen` are the presses that counted."""

    db: sqlite3.Connection
    now: float = 1000.0
    queries: int = 0

    def press(self, data: str, speaker: Speaker = ADA, place: Place | None = HERE) -> str:
        self.queries += 1
        situation = Situation(self.db, self.now, list, Effects())
        buttons.press(situation, Pressed(place, speaker, str(self.queries), data, "5"), BOT)
        assert situation.effects.queued[-1].chat == CALLBACKS
        return str(self.answers()[-1][1])

    def answers(self) -> list[tuple[str, str]]:
        found = self.db.execute(
            "SELECT json_extract(params, '$.callback_query_id'), json_extract(params, '$.text')"
            " FROM outbox WHERE method = 'answerCallbackQuery' ORDER BY id"
        )
        return [(row[0], row[1]) for row in found.fetchall()]

    def user(self, speaker: Speaker) -> str:
        return people.ensure_user(self.db, CHANNEL, speaker.external_id, speaker.name, self.now)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Press]:
    """The presses that counted."""
    seen: list[Press] = []

    def note(_situation: Situation, press: Press) -> str:
        seen.append(press)
        return "Noted."

    monkeypatch.setitem(buttons.HANDLERS, "note", note)
    return seen


def test_a_press_is_told_whose_it_was_and_where_it_was_offered(
    db: sqlite3.Connection, counted: list[Press]
) -> None:
    """The topic is the one of the offer: an old message's is not told any more."""
    presser = Presser(db)
    ref = rows.offer(db, HERE, "note", "what", 1000.0)
    assert presser.press(ref, BOB, Place(CHANNEL, BOT, HERE.chat)) == "Noted."
    assert counted == [Press(HERE, "what", presser.user(BOB), BOB, "5", ref)]


def test_one_press_uses_up_all_that_was_offered_together(
    db: sqlite3.Connection, counted: list[Press]
) -> None:
    presser, group = Presser(db), rows.new_group()
    yes, no = (rows.offer(db, HERE, "note", each, 1000.0, group=group) for each in ("yes", "no"))
    assert [presser.press(yes), presser.press(no), presser.press(yes)] == [
        "Noted.",
        *["This was answered already."] * 2,
    ]
    assert [each.payload for each in counted] == ["yes"]


def test_what_is_withdrawn_can_not_be_pressed(db: sqlite3.Connection, counted: list[Press]) -> None:
    presser, group = Presser(db), rows.new_group()
    ref = rows.offer(db, HERE, "note", "", 1000.0, group=group)
    rows.withdraw(db, group)
    assert presser.press(ref) == "This was answered already."
    assert not counted


def test_a_handler_may_offer_it_again(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_yet(situation: Situation, press: Press) -> str:
        rows.offer_again(situation.db, press.ref)
        return "Not yet."

    monkeypatch.setitem(buttons.HANDLERS, "note", not_yet)
    presser, ref = Presser(db), rows.offer(db, HERE, "note", "", 1000.0)
    assert [presser.press(ref), presser.press(ref)] == ["Not yet."] * 2


@pytest.mark.parametrize("data", ["", "x" * 64, "show:1", "\x00", "' OR 1=1 --"])
def test_a_forged_press_is_told_so(db: sqlite3.Connection, data: str) -> None:
    assert Presser(db).press(data) == "This button is no longer valid."


def test_a_press_without_a_message_is_answered(db: sqlite3.Connection) -> None:
    ref = rows.offer(db, HERE, "note", "", 1000.0)
    assert Presser(db).press(ref, place=None) == "This button is no longer valid."


def test_a_button_of_a_later_version_is_answered(db: sqlite3.Connection) -> None:
    ref = rows.offer(db, HERE, "of tomorrow", "", 1000.0)
    assert Presser(db).press(ref) == "This button is no longer valid."


def test_who_was_made_a_guest_has_no_use_of_older_buttons(db: sqlite3.Connection) -> None:
    """What they might command when the page was shown they may not now."""
    presser, guest = Presser(db), Speaker("1", "Ada", roles.GUEST)
    ref = rows.offer(db, HERE, "busy", "busy:steer", 1000.0, presser.user(ADA))
    assert presser.press(ref, guest) == buttons.NOT_FOR_GUESTS
    assert chosen.get(db, HERE, "while_busy") is None


def test_a_ref_fits_into_a_button_and_tells_nothing(db: sqlite3.Connection) -> None:
    refs = {rows.offer(db, HERE, "note", "payload", 1000.0) for _ in range(100)}
    assert len(refs) == 100
    assert all(len(ref) <= 64 and ref.isascii() and "note" not in ref for ref in refs)


def test_buttons_are_forgotten_when_they_are_long_over(db: sqlite3.Connection) -> None:
    """Until then it is told that they have expired."""
    presser, ref = Presser(db), rows.offer(db, HERE, "note", "", 1000.0, life=LIFE)
    presser.now += LIFE
    assert rows.prune(db, presser.now) == 0
    assert presser.press(ref) == "This button has expired."
    presser.now += rows.KEEP_SECONDS + 1
    assert rows.prune(db, presser.now) == 1
    assert presser.press(ref) == "This button is no longer valid."


def test_buttons_come_along_to_a_supergroup(db: sqlite3.Connection, counted: list[Press]) -> None:
    ref = rows.offer(db, HERE, "note", "", 1000.0)
    people.move_chat(db, HERE, "-1007")
    assert Presser(db).press(ref, place=Place(CHANNEL, BOT, "-1007")) == "Noted."
    assert counted[0].place == Place(CHANNEL, BOT, "-1007", HERE.topic)


# --- Any presses in any order ---


@define
class Offer:
    """What the machine knows of a button: `group` is None where it stands alone."""

    ref: str
    place: Place
    owner: Speaker | None
    group: str | None
    at: float


class Presses(RuleBasedStateMachine):
    """Buttons of two chats pressed by two people, twice, late and by guess, over restarts."""

    offers = Bundle("offers")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "famulus.db"
        self.presser = Presser(connect(self.path))
        self.done: list[str] = []
        self.over: set[str] = set()
        buttons.HANDLERS["note"] = self.note

    def teardown(self) -> None:
        del buttons.HANDLERS["note"]
        self.presser.db.close()
        self.folder.cleanup()

    def note(self, _situation: Situation, press: Press) -> str:
        self.done.append(press.payload)
        return "Noted."

    @rule(
        target=offers,
        place=st.sampled_from([HERE, THERE]),
        owner=st.sampled_from([None, ADA, BOB]),
        group=st.sampled_from([None, "a", "b"]),
    )
    def offer(self, place: Place, owner: Speaker | None, group: str | None) -> Offer:
        user = None if owner is None else self.presser.user(owner)
        # The name of a group is as good as random, so one that is used up is not met again.
        name = None if group is None else f"{group}{len(self.over)}"
        now = self.presser.now
        payload = name or f"alone {time.monotonic_ns()}"
        ref = rows.offer(self.presser.db, place, "note", payload, now, user, name, LIFE)
        return Offer(ref, place, owner, payload, now)

    @rule(
        offer=offers,
        who=st.sampled_from([ADA, BOB]),
        where=st.sampled_from([HERE, THERE, None]),
    )
    def press(self, offer: Offer, who: Speaker, where: Place | None) -> None:
        said = self.presser.press(offer.ref, who, where)
        assert said == self.expected(offer, who, where)
        if said == "Noted.":
            assert self.done[-1] == offer.group
            self.over.add(str(offer.group))

    def expected(self, offer: Offer, who: Speaker, where: Place | None) -> str:
        if where is None or where.chat != offer.place.chat:
            return "This button is no longer valid."
        if offer.owner not in {None, who}:
            return "This button is for somebody else."
        if offer.group in self.over:
            return "This was answered already."
        expired = self.presser.now >= offer.at + LIFE
        return "This button has expired." if expired else "Noted."

    @rule(data=st.text(max_size=64), who=st.sampled_from([ADA, BOB]))
    def forge(self, data: str, who: Speaker) -> None:
        assert self.presser.press(data, who) == "This button is no longer valid."

    @rule(seconds=st.sampled_from([1.0, LIFE / 2, LIFE]))
    def wait(self, seconds: float) -> None:
        self.presser.now += seconds
        rows.prune(self.presser.db, self.presser.now)

    @rule()
    def restart(self) -> None:
        self.presser.db.commit()
        self.presser.db.close()
        self.presser.db = connect(self.path)

    @invariant()
    def nothing_counts_twice(self) -> None:
        assert len(self.done) == len(set(self.done))

    @invariant()
    def every_press_is_answered_once(self) -> None:
        queries = [query for query, _ in self.presser.answers()]
        assert queries == [str(number + 1) for number in range(self.presser.queries)]


Presses.TestCase.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
TestPresses: Any = Presses.TestCase


# --- Any answers to questions, from anywhere ---


@define
class Opened:
    """A question as the machine knows it: whose it is, where, its buttons, and how it stands."""

    ref: str
    payer: Speaker
    place: Place
    buttons: dict[str, str]
    turn: int
    state: str = "open"


class Answers(RuleBasedStateMachine):
    """Questions of two people in a group and in a private chat, answered in every way there is."""

    opened = Bundle("opened")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "famulus.db"
        self.presser = Presser(connect(self.path))
        self.known: list[Opened] = []

    def teardown(self) -> None:
        self.presser.db.close()
        self.folder.cleanup()

    @property
    def db(self) -> sqlite3.Connection:
        return self.presser.db

    @rule(target=opened, payer=st.sampled_from([ADA, BOB]), place=st.sampled_from([HERE, THERE]))
    def somebody_is_asked(self, payer: Speaker, place: Place) -> Opened:
        """As a turn does it; then it waits."""
        now, user = self.presser.now, self.presser.user(payer)
        session = people.ensure_session(self.db, place, now)
        turn = turns.create(self.db, session, text="pay", asked_at=1.0, now=now, payer_id=user)
        boot = boots.begin(self.db, "test", now)
        seen = journal.read_pages(self.db, turn.id).last_message
        # The head of its lane may be another; what is asked for is this one's.
        journal.hold(self.db, Claim(turn.id, boot, first=True, seen=seen), now)
        claim = Claim(turn.id, boot, first=False, seen=seen)
        (call,) = journal.add_answer(
            self.db, turn.id, Answer("", (CallRequest("", "pay", "{}"),)), now
        )
        wish, address = approvals.Wish("pay", "pay", "it"), journal.read_address(self.db, turn.id)
        if steps.ask(self.db, claim, address, call, wish, None, now) is Approval.GRANTED:
            turns.end(self.db, turn.id, "answered", now)  # allowed for good; nothing was asked
            opened = Opened("", payer, place, {}, turn.id, "granted")
        else:
            steps.park(self.db, claim, 1.0, child=False, now=now)
            ref, shown = self.db.execute(
                "SELECT ref, shown FROM approvals WHERE call_id = ?", (call.id,)
            ).fetchone()
            (params,) = self.db.execute(
                "SELECT params FROM outbox WHERE ref = ?", (shown,)
            ).fetchone()
            rows_ = json.loads(params)["reply_markup"]["inline_keyboard"]
            labels = {key["text"]: key["callback_data"] for row in rows_ for key in row}
            self.db.execute(
                "UPDATE outbox SET state = 'sent', message_id = id WHERE ref = ?", (shown,)
            )
            opened = Opened(ref, payer, place, labels, turn.id)
            self.known.append(opened)
        return opened

    @rule(
        question=opened,
        label=st.sampled_from(["Allow once", "Allow for this chat", "Deny"]),
        who=st.sampled_from([ADA, BOB]),
        where=st.sampled_from([HERE, THERE, None]),
    )
    def press(self, question: Opened, label: str, who: Speaker, where: Place | None) -> None:
        if not question.ref:
            return
        self.presser.press(question.buttons[label], who, where)
        here = where is not None and where.chat == question.place.chat
        if here and who == question.payer and question.state == "open":
            question.state = "denied" if label == "Deny" else "granted"

    @rule(question=opened, granted=st.booleans(), who=st.sampled_from([ADA, BOB]))
    def command(self, question: Opened, granted: bool, who: Speaker) -> None:
        if not question.ref:
            return
        situation = Situation(self.db, self.presser.now, list, Effects())
        name = "approve" if granted else "deny"
        commands.run(situation, Command(question.place, who, name, question.ref, 1.0))
        if who == question.payer and question.state == "open":
            question.state = "granted" if granted else "denied"

    @rule(question=opened)
    def stop(self, question: Opened) -> None:
        """Its turn ends, by whatever means."""
        if question.state == "open" and question.ref:
            turns.end(self.db, question.turn, "stopped", self.presser.now)
            question.state = "void"

    @rule(hours=st.sampled_from([1.0, 13.0, 25.0]))
    def wait(self, hours: float) -> None:
        self.presser.now += hours * 3600
        due = {each.ref for each in approvals.find(self.db) if each.deadline <= self.presser.now}
        recovery.pass_deadlines(self.db, self.presser.now)
        for each in self.known:
            if each.ref in due:
                each.state = "lapsed"

    @rule()
    def restart(self) -> None:
        self.db.commit()
        self.db.close()
        self.presser.db = connect(self.path)
        recovery.take_over(self.db, self.presser.now)
        # What waited too long for anybody is given up, with its question.
        for each in self.known:
            if each.state == "open" and turnrow.get(self.db, each.turn).state == "ended":
                each.state = "void"

    @invariant()
    def each_question_has_the_first_answer_that_counted(self) -> None:
        stands = dict(self.db.execute("SELECT ref, state FROM approvals").fetchall())
        assert {each.ref: each.state for each in self.known}.items() <= stands.items()

    @invariant()
    def each_message_is_edited_once_and_only_when_it_is_over(self) -> None:
        settling.settle(self.db, self.presser.now)
        edits = self.db.execute("SELECT edits FROM outbox WHERE edits IS NOT NULL").fetchall()
        over = [each for each in self.known if each.state != "open"]
        assert len({row[0] for row in edits}) == len(edits) == len(over)

    @invariant()
    def every_press_is_answered_once(self) -> None:
        queries = [query for query, _ in self.presser.answers()]
        assert queries == [str(number + 1) for number in range(self.presser.queries)]


Answers.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestAnswers: Any = Answers.TestCase
