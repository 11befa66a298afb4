"""The outbox's rows: order within a destination, and what is known after a crash."""

from __future__ import annotations

import sqlite3

import pytest

from daemon.store import closed, holding, outbox, sending
from daemon.store.holding import HOLD_AFTER
from daemon.store.outbox import Draft, destination_of
from daemon.store.sending import MAX_REPEATS, MAX_WAIT, Part, Shut
from daemon.store.values import Place

HERE = Place("telegram", "42", "1")
THERE = Place("telegram", "42", "2")
BESIDE = Place("telegram", "42", f"{outbox.BESIDE}1")


def say(db: sqlite3.Connection, *texts: str, place: Place = HERE, now: float = 0.0) -> None:
    outbox.enqueue(db, place, [Draft("sendMessage", {"text": text}) for text in texts], now)


def claim(db: sqlite3.Connection, boot: str, place: Place = HERE, now: float = 1.0) -> Part:
    part = sending.claim_next(db, destination_of(place), boot, now)
    assert isinstance(part, Part)
    return part


def states(db: sqlite3.Connection) -> list[tuple[str, int]]:
    rows = db.execute("SELECT state, doubts FROM outbox ORDER BY id").fetchall()
    return [tuple(row) for row in rows]


def test_parts_are_claimed_in_order_per_destination(db: sqlite3.Connection, boot: str) -> None:
    say(db, "a", "b")
    say(db, "x", place=THERE)
    first = claim(db, boot)
    assert first.params == {"text": "a"}
    assert claim(db, boot, THERE).params == {"text": "x"}
    sending.sent(db, first.id, "9", 1.0)
    assert claim(db, boot).params == {"text": "b"}


def test_topics_of_a_chat_share_its_order(db: sqlite3.Connection, boot: str) -> None:
    say(db, "a", place=Place("telegram", "42", "1", "7"))
    say(db, "b")
    assert claim(db, boot).place.topic == "7"


def test_nothing_waits_is_none(db: sqlite3.Connection, boot: str) -> None:
    assert sending.claim_next(db, destination_of(HERE), boot, 1.0) is None


def test_a_chat_that_must_wait_says_until_when(db: sqlite3.Connection, boot: str) -> None:
    say(db, "a")
    say(db, "x", place=THERE)
    sending.not_sent(db, claim(db, boot), 30.0, "429")
    assert sending.claim_next(db, destination_of(HERE), boot, 29.0) == 30.0
    assert claim(db, boot, THERE).params == {"text": "x"}
    assert claim(db, boot, now=30.0).attempts == 2


def test_what_is_beside_a_chat_waits_with_it(db: sqlite3.Connection, boot: str) -> None:
    """To come back too early, with a reaction too, makes the wait of the answers longer."""
    say(db, "a")
    say(db, "eyes", place=BESIDE)
    sending.not_sent(db, claim(db, boot), 30.0, "429 retry after 29 s")
    assert sending.claim_next(db, destination_of(BESIDE), boot, 29.0) == 30.0
    assert claim(db, boot, BESIDE, 30.0).params == {"text": "eyes"}


def test_a_chat_does_not_wait_for_what_is_beside_it(db: sqlite3.Connection, boot: str) -> None:
    """A reaction is a courtesy, and no answer is late for one."""
    say(db, "eyes", place=BESIDE)
    say(db, "a")
    sending.not_sent(db, claim(db, boot, BESIDE), 30.0, "429 retry after 29 s")
    assert claim(db, boot).params == {"text": "a"}


def test_the_longer_of_two_waits_counts(db: sqlite3.Connection, boot: str) -> None:
    """A message and a preview were on their way together, and each was told another time."""
    say(db, "a")
    message = claim(db, boot)
    db.execute("UPDATE destinations SET not_before = 30")
    sending.not_sent(db, message, 20.0, "429 retry after 19 s")
    assert sending.claim_next(db, destination_of(HERE), boot, 25.0) == 30.0


def test_a_wait_from_another_clock_does_not_silence_a_chat(
    db: sqlite3.Connection, boot: str
) -> None:
    """The clock was wrong when it was written, or is now."""
    say(db, "a")
    sending.not_sent(db, claim(db, boot), 1000.0 + MAX_WAIT + 1, "429")
    assert claim(db, boot, now=1000.0).params == {"text": "a"}


# --- Doubt ---


def test_what_was_being_sent_at_a_crash_is_sent_once_more(
    db: sqlite3.Connection, boot: str
) -> None:
    say(db, "a", "b")
    claim(db, boot)
    sending.recover(db)
    assert states(db) == [("queued", 1), ("queued", 0)]
    assert claim(db, boot).doubts == 1


def test_the_second_doubt_leaves_it_open_and_goes_on(db: sqlite3.Connection, boot: str) -> None:
    say(db, "a", "b")
    for _ in range(2):
        claim(db, boot)
        sending.recover(db)
    assert states(db) == [("unknown", 2), ("queued", 0)]
    assert claim(db, boot).params == {"text": "b"}


def test_a_doubtful_answer_and_a_crash_are_counted_together(
    db: sqlite3.Connection, boot: str
) -> None:
    say(db, "a")
    sending.doubtful(db, claim(db, boot), 0.0, "cut")
    claim(db, boot)
    sending.recover(db)
    assert states(db) == [("unknown", 2)]


def test_an_edit_carries_no_doubt(db: sqlite3.Connection, boot: str) -> None:
    outbox.enqueue(db, HERE, [Draft("editMessageText", {"message_id": 1, "text": "x"})], 0.0)
    claim(db, boot)
    sending.recover(db)
    sending.doubtful(db, claim(db, boot), 0.0, "cut")
    assert states(db) == [("queued", 0)]


@pytest.mark.parametrize("method", ["editMessageText", "deleteMessage", "setMessageReaction"])
def test_what_may_be_repeated_is_not_repeated_for_ever(
    db: sqlite3.Connection, boot: str, method: str
) -> None:
    """A server that chokes on one edit does not keep the chat from what is behind it."""
    outbox.enqueue(db, HERE, [Draft(method, {"message_id": 1})], 0.0)
    say(db, "b")
    for _ in range(MAX_REPEATS):
        sending.doubtful(db, claim(db, boot), 0.0, "500")
    assert claim(db, boot).params == {"text": "b"}
    assert outbox.troubles(db) == {"unknown": 1}


def test_what_certainly_was_not_sent_carries_no_doubt(db: sqlite3.Connection, boot: str) -> None:
    say(db, "a")
    for _ in range(20):
        sending.not_sent(db, claim(db, boot), 0.0, "refused connection")
    assert states(db) == [("queued", 0)]


# --- Old parts ---


def test_old_parts_are_held_and_come_back_when_asked_for(db: sqlite3.Connection, boot: str) -> None:
    say(db, "old 1", "old 2")
    say(db, "young", now=HOLD_AFTER)
    ((place, count, ref),) = holding.hold_old(db, HOLD_AFTER + 1)
    assert (place, count) == (HERE, 2)
    assert claim(db, boot, now=HOLD_AFTER + 1).params == {"text": "young"}
    assert holding.show_held(db, HERE, ref, HOLD_AFTER + 2) == 2
    assert holding.show_held(db, HERE, ref, HOLD_AFTER + 2) == 0
    queued = db.execute("SELECT params FROM outbox WHERE state = 'queued' ORDER BY seq").fetchall()
    assert [row[0] for row in queued] == ['{"text": "old 1"}', '{"text": "old 2"}']
    assert holding.hold_old(db, HOLD_AFTER + 3) == []


@pytest.mark.parametrize("place", [THERE, Place("telegram", "43", "1")])
def test_a_button_shows_only_what_is_held_in_its_own_chat(
    db: sqlite3.Connection, place: Place
) -> None:
    say(db, "secret")
    ((_, _, ref),) = holding.hold_old(db, HOLD_AFTER + 1)
    assert holding.show_held(db, place, ref, HOLD_AFTER + 2) == 0


def test_a_forged_name_shows_nothing(db: sqlite3.Connection) -> None:
    say(db, "secret")
    holding.hold_old(db, HOLD_AFTER + 1)
    assert holding.show_held(db, HERE, "nonsense", HOLD_AFTER + 2) == 0


def test_a_group_that_moved_takes_its_unsent_parts_along(db: sqlite3.Connection, boot: str) -> None:
    say(db, "a", "b")
    claim(db, boot)
    outbox.move_chat(db, destination_of(HERE), "-1001")
    assert sending.claim_next(db, destination_of(HERE), boot, 2.0) is None
    moved = Place("telegram", "42", "-1001")
    first = claim(db, boot, moved)
    assert first.params == {"text": "a"}


def test_what_is_held_of_a_group_that_moved_is_shown_there(
    db: sqlite3.Connection, boot: str
) -> None:
    """Its button has moved, too."""
    say(db, "old 1", "old 2")
    ((_, _, ref),) = holding.hold_old(db, HOLD_AFTER + 1)
    holding.move(db, HERE, "-1001")
    moved = Place("telegram", "42", "-1001")
    assert states(db) == [("held", 0)] * 2
    assert holding.show_held(db, moved, ref, HOLD_AFTER + 2) == 2
    assert claim(db, boot, moved, HOLD_AFTER + 3).params == {"text": "old 1"}


def test_a_menu_of_a_group_that_moved_is_not_turned_in_the_new_one(
    db: sqlite3.Connection, boot: str
) -> None:
    """The number that it names is another message's there."""
    outbox.enqueue(db, HERE, [Draft("editMessageText", {"message_id": 7, "text": "x"})], 0.0)
    say(db, "a")
    outbox.move_chat(db, destination_of(HERE), "-1001")
    assert claim(db, boot, Place("telegram", "42", "-1001")).params == {"text": "a"}


def test_what_nobody_asks_to_see_is_not_kept(db: sqlite3.Connection) -> None:
    """Texts neither: their button is over then."""
    say(db, "old")
    holding.hold_old(db, HOLD_AFTER + 1)
    assert holding.drop_held(db, holding.KEEP_HELD) == []
    assert holding.drop_held(db, holding.KEEP_HELD + 1) == [(HERE, 1, [])]
    assert states(db) == [("failed", 0)]


def test_a_part_in_doubt_stays_in_doubt_when_its_group_moves(
    db: sqlite3.Connection, boot: str
) -> None:
    """Its first send may have arrived, so the next one needs its label wherever it goes."""
    say(db, "a")
    sending.doubtful(db, claim(db, boot), 0.0, "cut")
    claim(db, boot)
    outbox.move_chat(db, destination_of(HERE), "-1001")
    assert claim(db, boot, Place("telegram", "42", "-1001")).doubts == 1


def test_the_answer_to_a_button_is_never_held(db: sqlite3.Connection) -> None:
    """It goes to no chat, so none could be told of it."""
    draft = Draft("answerCallbackQuery", {"callback_query_id": "1", "text": "late"})
    outbox.enqueue(db, Place("telegram", "42", "callback queries"), [draft], 0.0)
    assert holding.hold_old(db, HOLD_AFTER + 1) == []


def test_what_is_over_is_forgotten_after_its_time_and_the_rest_is_not(
    db: sqlite3.Connection, boot: str
) -> None:
    say(db, "sent", "refused", "held")
    sending.sent(db, claim(db, boot).id, "9", 1.0)
    sending.failed(db, claim(db, boot).id, "400")
    holding.hold_old(db, HOLD_AFTER + 1)
    assert outbox.prune(db, outbox.KEEP_SECONDS) == 0
    assert outbox.prune(db, outbox.KEEP_SECONDS + 1) == 2
    assert [state for state, _ in states(db)] == ["held"]


# --- Chats that cannot be written to ---


def test_what_waits_for_a_closed_chat_ends_with_the_look_at_it(
    db: sqlite3.Connection, boot: str
) -> None:
    """So what is queued after the chat has opened again is sent, however soon that is."""
    file = Draft("sendDocument", {}, "key", "a.txt")
    outbox.enqueue(db, HERE, [Draft("sendMessage", {"text": "a"}), file], 0.0)
    closed.close(db, HERE, closed.BLOCKED, 0.0)
    assert sending.claim_next(db, destination_of(HERE), boot, 1.0) == Shut("blocked", ["key"])
    closed.reopen(db, HERE)
    say(db, "b")
    assert claim(db, boot).params == {"text": "b"}
    assert states(db)[:2] == [("failed", 0)] * 2
