"""Placeholders: what a group is shown of an answer, and how the answer takes its place."""

from __future__ import annotations

import sqlite3

import pytest
from attrs import evolve

from daemon.store import holding, outbox, people, previews, sending, turns
from daemon.store.outbox import Draft, destination_of
from daemon.store.sending import Part
from daemon.store.values import Place

HERE = Place("telegram", "42", "-5", "7")
WORDS = {"text": "Once upon"}
FINAL = [Draft("sendMessage", {"text": "Once upon a time."}), Draft("sendMessage", {"text": "End"})]


@pytest.fixture
def turn(db: sqlite3.Connection, boot: str) -> int:
    session = people.ensure_session(db, HERE, 0.0)
    made = turns.create(db, session, text="a story", asked_at=0.0, now=0.0)
    db.execute("UPDATE turns SET state = 'running', boot = ? WHERE id = ?", (boot, made.id))
    return made.id


def claim(db: sqlite3.Connection, boot: str, now: float = 1.0) -> Part:
    part = sending.claim_next(db, destination_of(HERE), boot, now)
    assert isinstance(part, Part)
    return part


def conclude(db: sqlite3.Connection, turn: int, drafts: list[Draft] = FINAL) -> None:
    outbox.enqueue(db, HERE, previews.in_place(db, turn, drafts), 2.0, turn_id=turn)


def sent_placeholder(db: sqlite3.Connection, boot: str, turn: int) -> None:
    assert previews.begin(db, HERE, turn, WORDS, 1.0)
    part = claim(db, boot)
    assert (part.method, part.params, part.is_placeholder) == ("sendMessage", WORDS, True)
    sending.sent(db, part.id, "31", 1.0)


def test_the_answer_is_an_edit_of_the_placeholder(
    db: sqlite3.Connection, boot: str, turn: int
) -> None:
    """Its first part changes the message that is there; the others follow as their own."""
    sent_placeholder(db, boot, turn)
    assert previews.look(db, destination_of(HERE), turn).message_id == "31"
    conclude(db, turn)
    part = claim(db, boot)
    assert (part.method, part.doubts) == ("editMessageText", 0)
    assert (part.params, part.target) == ({"text": "Once upon a time."}, "31")
    sending.sent(db, part.id, "31", 3.0)
    assert claim(db, boot).method == "sendMessage"
    assert not previews.look(db, destination_of(HERE), turn).has_placeholder


def test_an_edit_that_a_crash_interrupts_is_made_again_without_a_label(
    db: sqlite3.Connection, boot: str, turn: int
) -> None:
    """That it was an edit is known by the message that it was to change."""
    sent_placeholder(db, boot, turn)
    conclude(db, turn)
    claim(db, boot)
    sending.recover(db)
    part = claim(db, boot)
    assert (part.method, part.target, part.doubts) == ("editMessageText", "31", 0)


def test_a_placeholder_that_nobody_has_seen_is_taken_out(
    db: sqlite3.Connection, boot: str, turn: int
) -> None:
    """An answer that comes first is sent as if there had been none."""
    previews.begin(db, HERE, turn, WORDS, 1.0)
    conclude(db, turn)
    part = claim(db, boot)
    assert (part.method, part.params) == ("sendMessage", FINAL[0].params)


def test_a_placeholder_on_its_way_is_waited_for(
    db: sqlite3.Connection, boot: str, turn: int
) -> None:
    """What becomes of it is known when the answer's turn has come."""
    previews.begin(db, HERE, turn, WORDS, 1.0)
    under_way = claim(db, boot)
    conclude(db, turn)
    sending.sent(db, under_way.id, "31", 3.0)
    assert claim(db, boot).method == "editMessageText"


@pytest.mark.parametrize(
    ("sent", "method", "doubts"), [(True, "sendMessage", 0), (False, "sendMessage", 0)]
)
def test_without_a_placeholder_the_answer_is_a_message(
    db: sqlite3.Connection, boot: str, turn: int, sent: bool, method: str, doubts: int
) -> None:
    """One that was refused, or dropped because there was too much, leaves nothing to change."""
    previews.begin(db, HERE, turn, WORDS, 1.0)
    under_way = claim(db, boot)
    conclude(db, turn)
    previews.fail(db, under_way.id, "no", sent=sent)
    part = claim(db, boot)
    assert (part.method, part.doubts) == (method, doubts)
    assert part.target is None


def test_a_placeholder_in_doubt_is_not_sent_again_and_the_answer_says_so(
    db: sqlite3.Connection, boot: str, turn: int
) -> None:
    """Killed while it was on its way, it may stand there, and nobody can change it."""
    previews.begin(db, HERE, turn, WORDS, 1.0)
    claim(db, boot)
    sending.recover(db)
    assert sending.claim_next(db, destination_of(HERE), boot, 1.0) is None
    db.execute("UPDATE turns SET state = 'running'")
    assert previews.begin(db, HERE, turn, WORDS, 2.0), "it counts as the turn's placeholder"
    assert sending.claim_next(db, destination_of(HERE), boot, 2.0) is None
    conclude(db, turn)
    part = claim(db, boot)
    assert (part.method, part.doubts) == ("sendMessage", 1)
    assert outbox.troubles(db) == {}


def test_a_doubt_about_the_placeholder_is_not_one_about_the_answer(
    db: sqlite3.Connection, boot: str, turn: int
) -> None:
    """The answer may still be in doubt once itself before it is left open."""
    previews.begin(db, HERE, turn, WORDS, 1.0)
    claim(db, boot)
    sending.recover(db)
    conclude(db, turn, FINAL[:1])
    claim(db, boot)
    sending.recover(db)
    assert claim(db, boot).doubts == 1
    sending.recover(db)
    assert outbox.troubles(db) == {"unknown": 1}


def test_a_message_that_was_deleted_is_not_changed_but_sent(
    db: sqlite3.Connection, boot: str, turn: int
) -> None:
    """The answer becomes a message of its own, and is not made an edit again."""
    sent_placeholder(db, boot, turn)
    conclude(db, turn)
    sending.as_message(db, claim(db, boot).id, "400 message to edit not found")
    part = claim(db, boot)
    assert (part.method, part.params) == ("sendMessage", FINAL[0].params)


def test_an_edit_of_which_nothing_is_ever_heard_becomes_a_message(
    db: sqlite3.Connection, boot: str, turn: int
) -> None:
    """It says that it may be there twice; what the placeholder shows may be the answer."""
    sent_placeholder(db, boot, turn)
    conclude(db, turn)
    for _ in range(sending.MAX_REPEATS):
        sending.doubtful(db, claim(db, boot), 0.0, "500")
    part = claim(db, boot)
    assert (part.method, part.doubts, part.params) == ("sendMessage", 1, FINAL[0].params)


def test_a_file_takes_no_messages_place(db: sqlite3.Connection, boot: str, turn: int) -> None:
    """The placeholder goes, so that the answer comes after the file that it speaks of."""
    sent_placeholder(db, boot, turn)
    conclude(db, turn, [Draft("sendPhoto", {}, "key", "a.png")])
    part = claim(db, boot)
    assert (part.method, part.target) == ("deleteMessage", "31")
    sending.sent(db, part.id, "31", 3.0)
    assert claim(db, boot).method == "sendPhoto"
    conclude(db, turn)
    assert db.execute("SELECT count(*) FROM outbox WHERE edits IS NOT NULL").fetchone()[0] == 1


def test_an_answer_without_a_word_removes_the_placeholder(
    db: sqlite3.Connection, boot: str, turn: int
) -> None:
    """A turn that says nothing leaves nothing behind."""
    sent_placeholder(db, boot, turn)
    conclude(db, turn, [])
    assert claim(db, boot).method == "deleteMessage"


def test_there_is_nothing_to_remove_of_what_never_arrived(
    db: sqlite3.Connection, boot: str, turn: int
) -> None:
    """The removal ends without a request, and what follows is claimed."""
    previews.begin(db, HERE, turn, WORDS, 1.0)
    under_way = claim(db, boot)
    conclude(db, turn, [Draft("sendPhoto", {}, "key", "a.png")])
    previews.fail(db, under_way.id, "no", sent=True)
    removal = claim(db, boot)
    assert removal.is_void
    sending.sent(db, removal.id, None, 3.0)
    assert claim(db, boot).method == "sendPhoto"
    assert outbox.troubles(db) == {}


def test_nothing_is_begun_where_it_would_be_in_the_way(
    db: sqlite3.Connection, boot: str, turn: int
) -> None:
    """Not for a turn that has ended, before an answer, or in a chat that is to be left alone."""
    previews.pause(db, destination_of(HERE), 9.0)
    assert not previews.begin(db, HERE, turn, WORDS, 8.0)
    outbox.enqueue(db, HERE, FINAL[:1], 9.0)
    assert not previews.begin(db, HERE, turn, WORDS, 9.0)
    sending.sent(db, claim(db, boot, 9.0).id, "1", 9.0)
    turns.end(db, turn, "answered", 9.0)
    assert not previews.begin(db, HERE, turn, WORDS, 9.0)


def test_a_pause_never_shortens_another(db: sqlite3.Connection) -> None:
    """The chat is left alone for as long as it has ever said."""
    to = destination_of(HERE)
    previews.pause(db, to, 50.0)
    previews.pause(db, to, 20.0)
    assert previews.look(db, to, 0).not_before == 50.0


def test_a_placeholder_is_never_held_back_as_an_old_message(
    db: sqlite3.Connection, boot: str, turn: int
) -> None:
    """Nobody is asked whether they want to see it."""
    previews.begin(db, HERE, turn, WORDS, 1.0)
    assert holding.hold_old(db, 2.0 + holding.HOLD_AFTER) == []


def test_a_group_that_moves_takes_no_number_of_a_message_along(
    db: sqlite3.Connection, boot: str, turn: int
) -> None:
    """There it may be that of another message: the answer is one of its own, and nothing goes."""
    sent_placeholder(db, boot, turn)
    conclude(db, turn)
    assert claim(db, boot).method == "editMessageText"
    (removal,) = outbox.enqueue(db, HERE, [Draft("deleteMessage", {}, edits=ref_of(db, "31"))], 3.0)
    outbox.move_chat(db, destination_of(HERE), "-1005")
    there = destination_of(evolve(HERE, chat="-1005"))
    told = sending.claim_next(db, there, boot, 4.0)
    assert isinstance(told, Part)
    assert (told.method, told.target, told.doubts) == ("sendMessage", None, 0)
    db.execute("UPDATE outbox SET state = 'sent' WHERE ref <> ?", (removal,))
    last = sending.claim_next(db, there, boot, 4.0)
    assert isinstance(last, Part)
    assert last.is_void


def test_a_placeholder_is_not_looked_for_where_its_group_has_moved(
    db: sqlite3.Connection, boot: str, turn: int
) -> None:
    """A turn that goes on there after a restart is shown by a new one."""
    sent_placeholder(db, boot, turn)
    there = evolve(HERE, chat="-1005")
    assert not previews.look(db, destination_of(there), turn).has_placeholder
    assert previews.begin(db, there, turn, WORDS, 2.0)
    assert isinstance(sending.claim_next(db, destination_of(there), boot, 3.0), Part)


def test_a_question_that_changes_before_it_is_shown_still_takes_the_place(
    db: sqlite3.Connection, boot: str, turn: int
) -> None:
    """Telegram had no time for it; by then it was answered, and its message says that."""
    sent_placeholder(db, boot, turn)
    conclude(db, turn, FINAL[:1])
    asked = claim(db, boot)
    sending.not_sent(db, asked, 1.0, "429 retry after 1 s")
    (ref,) = db.execute("SELECT ref FROM outbox WHERE id = ?", (asked.id,)).fetchone()
    outbox.amend(db, HERE, ref, {"text": "Allowed."}, 2.0)
    part = claim(db, boot, 3.0)
    assert (part.method, part.target, part.params) == (
        "editMessageText",
        "31",
        {"text": "Allowed."},
    )


def ref_of(db: sqlite3.Connection, message_id: str) -> str:
    row = db.execute("SELECT ref FROM outbox WHERE message_id = ?", (message_id,)).fetchone()
    return str(row[0])
