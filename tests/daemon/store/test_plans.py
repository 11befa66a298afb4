"""No statement reads a table whose rows are mostly over, however long the history."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator

import pytest

from agent.budget import Price, Tariff
from agent.ports import Inquiry, Subtask
from agent.sizes import Sizes
from agent.transcript import Answer, CallRequest, View
from daemon.chat import recovery, settling, summing
from daemon.schedule import advancing, booking
from daemon.schedule.advancing import News
from daemon.schedule.deciding import OLDEST, Clock
from daemon.schedule.recurrence import Interval, Recurrence
from daemon.store import (
    approvals,
    attachments,
    boots,
    buttons,
    children,
    compactions,
    corrections,
    grants,
    heartbeats,
    history,
    holding,
    inbox,
    jobs,
    journal,
    money,
    notes,
    occurrences,
    outbox,
    people,
    questions,
    sayings,
    search,
    sending,
    status,
    stops,
    turnrow,
    turns,
    usage,
    views,
)
from daemon.store.attachments import File, Settled
from daemon.store.holding import HOLD_AFTER
from daemon.store.notes import Cut, Note
from daemon.store.outbox import Draft, destination_of
from daemon.store.sayings import Imprint
from daemon.store.search import Question
from daemon.store.sending import Part
from daemon.store.values import Claim, Home, Place

HERE = Place("telegram", "42", "1")
HOME: Home = ("house", "telegram", "42", "1")
NEVER = 10**9  # an id that no row comes to
# Indexes over rows that are open, due or in trouble. All others are over the whole history.
SMALL = {
    "inbox_new",
    "inbox_dead",
    "turns_open",
    "turns_dead",
    "approvals_open",
    "approvals_shown",
    "questions_open",
    "questions_shown",
    "buttons_bundle",
    "model_calls_running",
    "compacting_wanted",
    "outbox_due",
    "outbox_trouble",
    "views_kept",
    "attachments_open",
    "attachments_kept",
    "jobs_due",
    "jobs_looked",
    "jobs_past",
    "occurrences_open",
    "occurrences_retry",
    "occurrences_under_way",
}
HISTORY = {"inbox", "turns", "messages", "tool_calls", "model_calls", "outbox", "compactions"} | {
    "approvals",
    "questions",
    "q",
    "a",
    "c",
    "child",
    "notes",
    "memory_files",
    "views",
    "v",
    "attachments",
    "sayings",
    "said",
    "t",  # the turns, where they are joined with what belongs to them
    "m",
    "jobs",
    "j",
    "occurrences",
    "o",
}
# Columns that nearly every row of a single bot has in common.
COMMON = {"channel=?", "account=?", "state=?"}


@pytest.fixture
def statements(db: sqlite3.Connection) -> Iterator[set[str]]:
    """What was executed, with its values."""
    seen: set[str] = set()
    db.set_trace_callback(lambda statement: seen.add(" ".join(statement.split())))
    yield seen
    db.set_trace_callback(None)


def take_in(db: sqlite3.Connection) -> None:
    inbox.receive(db, "telegram", "42", [{"update_id": 1}], 2, 1.0)
    inbox.next_offset(db, "telegram", "42")
    (row,) = inbox.new_rows(db, "telegram", "42", 10)
    inbox.count_attempt(db, row.id, 1.0)
    inbox.close(db, row.id, "turn", 1.0)
    inbox.prune(db, 2.0)


def work(db: sqlite3.Connection) -> int:
    """A turn from its update to its end; returns it."""
    boot = boots.begin(db, "test", 0.0)
    user = people.ensure_user(db, "telegram", "1", "Ada", 0.0)
    session = people.ensure_session(db, HERE, 0.0)
    turns.gathering(db, session, "text 1")
    turns.unanswered(db, session, 0.0, None)
    turn = turns.create(db, session, text="hi", asked_at=1.0, now=1.0, payer_id=user)
    address = journal.read_pages(db, turn.id).address
    journal.hold(db, Claim(turn.id, boot, first=True, seen=NEVER), 1.0)
    claim = Claim(turn.id, boot, first=False, seen=NEVER)
    tariff = Tariff((Price(model="*", input=1.0, output=1.0),))
    call = money.intend(db, claim, address, money.Request("model", 5, tariff), 1.0)
    money.settle(db, call, Answer("x"), None, 2.0)
    (tool,) = journal.add_answer(db, turn.id, Answer("", (CallRequest("a", "b", "{}"),)), 1.0)
    journal.intend_tool_call(db, claim, tool.id, 1.0)
    journal.finish_tool_call(db, claim, tool.id, "result", 2.0, failed=False)
    show(db, turn.id, tool.id)
    journal.release(db, claim, 1.0)
    turns.begin_afresh(db, turn.id)
    turns.ripen(db, 2.0)
    stops.stop(db, session, 2.0)
    people.begin_again(db, session)
    return turn.id


def show(db: sqlite3.Connection, turn_id: int, call_id: int) -> None:
    """A picture beside a result, up to the end of its file."""
    shown = [View("a.png", "image/png", "8x6", 255, b"data", "key")]
    assert views.fit(db, turn_id, shown)
    views.add_to_result(db, call_id, shown)
    ((message_id, _),) = views.of_turn(db, turn_id).items()
    views.follow(db, turn_id, [message_id], [message_id])
    views.files(db)
    views.forget(db, views.over(db) | {"key"})


def send(db: sqlite3.Connection, turn_id: int) -> None:
    boot = boots.begin(db, "test", 0.0)
    for_here = destination_of(HERE)
    drafts = [Draft("sendMessage", {"text": str(index)}) for index in range(4)]
    outbox.enqueue(db, HERE, drafts, 1.0, turn_id=turn_id)
    part = sending.claim_next(db, for_here, boot, 1.0)
    assert isinstance(part, Part)
    sending.doubtful(db, part, 0.0, "cut")
    sending.not_sent(db, part, 0.0, "cut")
    sending.sent(db, part.id, "9", 1.0)
    outbox.due(db)
    outbox.prune(db, 2.0)
    ((_, _, ref),) = holding.hold_old(db, HOLD_AFTER + 2)
    holding.drop_held(db, HOLD_AFTER + 2)
    holding.show_held(db, HERE, ref, 3.0)
    outbox.move_chat(db, for_here, "-1001")
    people.move_chat(db, HERE, "-1001")


def attach(db: sqlite3.Connection) -> None:
    """A file from its name to its end, and a correction of what came with it."""
    session = people.ensure_session(db, HERE, 0.0)
    turn = turns.create(db, session, text="look", asked_at=1.0, now=1.0, deadline=9.0)
    message = turnrow.first_message(db, turn.id)
    files = [File("photo", "id", "a.jpg", "a photo"), File("voice", "id", "b.ogg", "a voice")]
    attachments.add(db, turn.id, message, files, 1.0)
    sayings.note(db, HERE, "7", message, Imprint("w", "f"), 1.0)
    attachments.renew(db, 1.0)
    first = attachments.pending(db)[0]
    attachments.begin(db, first.id)
    attachments.postpone(db, first.id, 2.0, "cut")
    attachments.spooled(db, first.id, "key", 5)
    assert attachments.choose(db, first.id, "inbox/a.jpg")
    assert sayings.find(db, HERE, "7") is not None
    assert corrections.is_untouched(db, turn.id)
    message = corrections.reword(db, turn.id, message, "look here")
    shown = (View("a.jpg", "image/png", "8x6", 255, b"data", "key"),)
    assert attachments.settle(db, first.id, Settled("placed", "[a]", None, shown), 2.0) is None
    attachments.notes(db, message)
    attachments.paths(db, message)
    turns.ripen(db, 10.0)
    attachments.give_up(db, turn.id, 11.0)
    turnrow.gather_on(db, turn.id, 20.0, None)
    attachments.files(db)
    attachments.forget(db, "key")
    corrections.is_last(db, turn)
    stops.stop(db, session, 12.0)
    sayings.prune(db, 13.0)


def sum_up(db: sqlite3.Connection) -> None:
    """Everything that a summary reads and writes, and what /usage does."""
    session, user = people.ensure_session(db, HERE, 0.0), people.ensure_user(db, "t", "1", "A", 0.0)
    turn = turns.create(db, session, text="hi", asked_at=1.0, now=1.0, payer_id=user)
    boot = boots.begin(db, "test", 0.0)
    address = journal.read_address(db, turn.id)
    claim = Claim(turn.id, boot, first=False, seen=0)
    call = money.intend(db, claim, address, money.Request("model", 5), 1.0)
    money.settle(db, call, Answer("x"), None, 2.0)
    turns.end(db, turn.id, "answered", 2.0)
    compactions.want(db, session, 1.0)
    compactions.wanted(db)
    sizes = Sizes()
    case = summing.find(db, session, sizes, 3.0)
    assert case is not None
    terms = summing.Terms()
    call = summing.intend(db, case, money.Request("model", 5), boot, 3.0)
    new = compactions.New(session, turn.id, 1, "summary", call, 9, 3)
    assert summing.put(db, case, new, Answer("summary"), terms, 4.0)
    assert summing.find(db, session, sizes, 5.0) is None
    usage.of_person(db, user, Tariff(), 5.0)
    journal.read_pages(db, turn.id)


def remember(db: sqlite3.Connection, turn_id: int) -> None:
    """What the tools over a chat's records do."""
    notes.save(db, HOME, Note("title", "words", 1.0, 5.0))
    notes.get(db, HOME, "title", 2.0)
    notes.newest(db, HOME, Cut(5, 0), 2.0)
    assert notes.search(db, HOME, "words", Cut(5, 0), 2.0).total == 1
    assert len(search.search(db, Question(HOME, "hi words", NEVER, 2.0), 5).hits) == 2
    unspaced = "\u6771\u4eac \u65c5"
    assert notes.search(db, HOME, unspaced, Cut(5, 0), 2.0).total == 0
    assert search.search(db, Question(HOME, unspaced, NEVER, 2.0), 5).hits == ()
    notes.delete(db, HOME, "title", 2.0)
    notes.prune(db, 9.0)
    history.extents(db, turn_id)
    history.trim(db, turn_id, 0)


def wait(db: sqlite3.Connection) -> None:
    """A turn that asks a person and hands work over, and all that ends such waits."""
    session, boot = people.ensure_session(db, HERE, 0.0), boots.begin(db, "test", 0.0)
    turn = turns.create(db, session, text="pay and cook", asked_at=1.0, now=1.0)
    journal.hold(db, Claim(turn.id, boot, first=True, seen=NEVER), 1.0)
    claim = Claim(turn.id, boot, first=False, seen=NEVER)
    requests = tuple(CallRequest("", name, "{}") for name in ("pay", "pay", "hand", "spawn", "ask"))
    pay, again, hand, spawn, ask = journal.add_answer(db, turn.id, Answer("", requests), 1.0)
    wish = approvals.Wish("what", "pay", "the baker")
    refs = [approvals.ask(db, turn.id, call.id, wish, 1.0) for call in (pay, again)]
    question = questions.ask(db, turn.id, ask.id, Inquiry("Which?", ("a", "b")), 9.0)
    press(db, turn.id, refs[0], question)
    child = children.begin(db, turn.id, hand.id, Subtask("task", "cook", waits=True), 1.0)
    helper = children.begin(db, turn.id, spawn.id, Subtask("task", "brew"), 1.0)
    assert turns.park(db, claim, 1.0, child=False) == "waiting"
    approvals.find(db, HERE)
    assert approvals.holds_up(db, turn.id)
    assert approvals.answer(db, refs[0], "granted", 2.0).turn is not None
    assert approvals.standing(db, refs[0], None) == "unknown"
    recovery.pass_deadlines(db, approvals.WAIT_SECONDS + 2.0)
    journal.hold(db, Claim(turn.id, boot, first=True, seen=NEVER), 2.0)
    assert turns.park(db, claim, 1.0, child=True) == "waiting"
    assert approvals.holds_up(db, turn.id)
    assert questions.answer(db, question, "a", 2.0, None) is not None
    settling.settle(db, 2.0)
    journal.hold(db, Claim(turn.id, boot, first=True, seen=NEVER), 2.0)
    assert turns.park(db, claim, 1.0, child=True) == "waiting"
    children.report(db, helper.id, "brewed", 2.0)
    assert turns.end(db, child.id, "answered", 2.0, said="soup").parent is not None
    turns.bequeath(
        db, turn.id, [(turnrow.add_user_message(db, turn.id, "more", 2.0), "more", 2.0)], 2.0
    )
    stops.stop(db, session, 2.0)
    stops.stop(db, session, 2.0)
    stops.stop(db, session, 2.0)
    beat(db)


def press(db: sqlite3.Connection, turn_id: int, approval: str, question: str) -> None:
    """What buttons do, and the messages that they stand under."""
    (asked,) = outbox.enqueue(db, HERE, [Draft("sendMessage", {"text": "May I?"})], 1.0)
    approvals.shown_as(db, approval, asked)
    questions.shown_as(db, question, asked)
    group = buttons.new_group()
    ref = buttons.offer(db, HERE, "allow", approval, 1.0, group=group)
    user = people.ensure_user(db, "telegram", "1", "Ada", 1.0)
    assert isinstance(buttons.press(db, ref, HERE, user, 2.0), buttons.Button)
    buttons.offer_again(db, ref)
    buttons.withdraw(db, group)
    buttons.prune(db, 3.0)
    approvals.last(db, approval, user, 2.0)
    (grant,) = grants.of_user(db, HOME, user)
    assert grants.revoke(db, grant.ref)
    assert questions.find(db, question) == questions.open_of(db, turn_id)
    assert approvals.is_asked(db, approval)


def beat(db: sqlite3.Connection) -> None:
    heartbeats.due(db, 5.0, 10.0)
    due, *_ = heartbeats.due(db, 5.0, 20.0)
    heartbeats.begin(db, due, "look", 20.0)
    assert heartbeats.begin(db, due, "look", 20.0) is None


def schedule(db: sqlite3.Connection) -> None:
    """A job from its booking to its end: a run that arrives, one that fails, and one by hand."""
    user = people.ensure_user(db, "telegram", "1", "Ada", 0.0)
    whose = jobs.Whose(people.ensure_session(db, HERE, 0.0), user, "user")
    asker = booking.Asker(HERE, user, "user", whose.session_id)
    t = OLDEST
    rule = Recurrence(Interval(60.0, t))
    plan = jobs.Plan(name="n", prompt="p", recurrence=rule, zone="UTC", missed="once")
    job = jobs.create(db, whose, plan, t + 60, t)
    for now, outcome in ((t + 60, "answered"), (t + 120, "failed")):
        (begun,) = look(db, now)
        journal.read_pages(db, begun, now)
        children.begin(db, begun, "", Subtask("task", "brew"), now)
        turns.end(db, begun, outcome, now)
        look(db, now, begun)
    booking.visible(db, asker)
    jobs.count_of(db, user, 9)
    booking.run_now(db, booking.named(db, asker, job.ref), t + 125)
    occurrences.history(db, job.id, 5)
    booking.pause(db, job, "why", t + 126)
    booking.resume(db, jobs.get(db, job.id), t + 127)
    jobs.change(db, job.id, plan, t + 300, t + 128)
    jobs.lower_role(db, job.id, "user")
    look(db, t + 10)
    jobs.next_at(db)
    booking.cancel(db, jobs.get(db, job.id), "why", t + 130)
    jobs.prune(db, t + 131)
    booking.delete(db, job, t + 132)


def look(db: sqlite3.Connection, now: float, *over: int) -> list[int]:
    """A look at the schedule; returns the turns that it has begun."""
    step = advancing.advance(db, Clock(now, 0.0), News(over or None), lambda _place: True)
    return [turn.id for turn in step.begun]


def start(db: sqlite3.Connection) -> None:
    sending.recover(db)
    recovery.take_over(db, 5.0)
    status.counts(db)


def is_slow(step: str) -> bool:
    """Whether a step of a query plan goes through the history."""
    how, _, table = step.partition(" ")
    index = re.search(r"INDEX (\w+)", step)
    if table.split(" ")[0] not in HISTORY or (index and index[1] in SMALL):
        return False
    searched = re.search(r"\((.*)\)", step)
    return how == "SCAN" or (searched is not None and set(searched[1].split(" AND ")) <= COMMON)


def test_every_statement_finds_its_rows_by_an_index(
    db: sqlite3.Connection, statements: set[str]
) -> None:
    take_in(db)
    turn_id = work(db)
    remember(db, turn_id)
    attach(db)
    send(db, turn_id)
    sum_up(db)
    wait(db)
    schedule(db)
    start(db)
    db.set_trace_callback(None)
    # What is returned is shown as a scan of the whole table, which it is not.
    explained = [
        each.split(" RETURNING ")[0]
        for each in statements
        if re.match("SELECT|UPDATE|INSERT|DELETE", each)
    ]
    assert len(explained) > 50
    slow = [
        (statement, plan[3])
        for statement in explained
        for plan in db.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
        if is_slow(plan[3])
    ]
    assert slow == []
