"""Every history that can arise in the rows is one that a strict provider takes.

A machine does to a real database whatever can happen to turns, in any order: people speak, to a
turn or behind it; models answer, with calls side by side, or fail; calls end in any order, ask, are
allowed, denied or forgotten; children begin and end; /stop, /new, trims, summaries, crashes. After
each step every request that could be made now is checked, and so is that nothing is left behind.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attrs import evolve
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent import compaction
from agent.budget import FREE
from agent.compaction import Frame
from agent.context import build_messages
from agent.fitting import Gauge, request
from agent.loop import Attend, CallModel, End, Limits, Park, decide
from agent.parts import Takes, fitted, views
from agent.ports import Inquiry, Opening, Policy, Subtask
from agent.sizes import Sizes
from agent.transcript import (
    Answer,
    CallRequest,
    CallState,
    Entry,
    ToolCall,
    ToolResult,
    View,
    open_calls,
)
from daemon.chat import recovery, settling, steps, summing
from daemon.chat.drafts import Finish, answer_drafts
from daemon.chat.steps import Ending
from daemon.chat.summing import Case, Failure, Terms
from daemon.demo.chatrules import check_messages
from daemon.schedule.limits import Limits as Allowed
from daemon.store import (
    approvals,
    boots,
    compactions,
    grants,
    history,
    journal,
    money,
    people,
    questions,
    stops,
    turnrow,
    turns,
)
from daemon.store.compactions import New
from daemon.store.db import migrate
from daemon.store.turnrow import TurnRow
from daemon.store.values import Claim, Place

HERE = Place("telegram", "42", "1")
DAY = 86400.0
LIMITS = Limits(steps=6)
SMALL = Sizes(window=40, answer=0, share=1.0, keep=0.6)  # a few turns are too many
PICTURE = View("a.png", "image/png", "8x6", 255, b"\x89PNG", "key")
EVERYTHING = Takes(images=True, documents=True)
TOOLS = ("look", "write", "pay", "hand", "spawn", "ask")

# What is left behind by nothing that can happen.
BEHIND = {
    "a call of an ended turn without one result": """SELECT c.id FROM tool_calls AS c
        JOIN turns AS t ON t.id = c.turn_id WHERE t.state = 'ended' AND (c.state <> 'done'
        OR 1 <> (SELECT count(*) FROM messages WHERE tool_call_id = c.id))""",
    "a call with two results": """SELECT tool_call_id FROM messages WHERE tool_call_id IS NOT NULL
        GROUP BY tool_call_id HAVING count(*) > 1""",
    "an open question of an ended turn": """SELECT a.id FROM approvals AS a
        JOIN turns AS t ON t.id = a.turn_id WHERE t.state = 'ended' AND a.state = 'open'""",
    "a wait for nobody's permission": """SELECT id FROM turns WHERE waiting_for = 'approval'
        AND NOT EXISTS (SELECT 1 FROM approvals WHERE turn_id = turns.id AND state = 'open')""",
    "an open question of the agent's in an ended turn": """SELECT q.id FROM questions AS q
        JOIN turns AS t ON t.id = q.turn_id WHERE t.state = 'ended' AND q.state = 'open'""",
    "a wait for nobody's answer": """SELECT id FROM turns WHERE waiting_for = 'question'
        AND NOT EXISTS (SELECT 1 FROM questions WHERE turn_id = turns.id AND state = 'open')""",
    "a wait for an answer until another time": """SELECT id FROM turns
        WHERE waiting_for = 'question' AND deadline <>
        (SELECT min(deadline) FROM questions WHERE turn_id = turns.id AND state = 'open')""",
    "a question that is over and whose call has no result, or another": """SELECT q.id
        FROM questions AS q WHERE q.state <> 'open' AND NOT EXISTS (SELECT 1 FROM messages
        WHERE tool_call_id = q.call_id AND (q.answer IS NULL OR content = q.answer))""",
    "a question that is open and whose call has a result": """SELECT q.id FROM questions AS q
        JOIN messages AS m ON m.tool_call_id = q.call_id WHERE q.state = 'open'""",
    "a message that still asks what is over": """SELECT id FROM questions WHERE state <> 'open'
        AND shown IS NOT NULL UNION ALL SELECT id FROM approvals WHERE state <> 'open'
        AND shown IS NOT NULL""",
    "a wait until another time than its question's": """SELECT id FROM turns
        WHERE waiting_for = 'approval' AND deadline <>
        (SELECT min(deadline) FROM approvals WHERE turn_id = turns.id AND state = 'open')""",
    "a wait for no child": """SELECT id FROM turns WHERE waiting_for = 'child' AND NOT EXISTS
        (SELECT 1 FROM tool_calls AS c JOIN turns AS child ON child.id = c.child_id
        WHERE c.turn_id = turns.id AND c.state <> 'done' AND child.state <> 'ended')""",
    "a child that nobody waits for any more": """SELECT child.id FROM tool_calls AS c
        JOIN turns AS child ON child.id = c.child_id WHERE c.state = 'done'
        AND child.state <> 'ended'""",
    "a report told twice": """SELECT parent_id FROM turns WHERE cause = 'child'
        AND lane = session_id GROUP BY parent_id HAVING count(*) > 1""",
    "a task in the background of which the conversation heard nothing": """SELECT task.id
        FROM turns AS task WHERE task.cause = 'child' AND task.lane <> task.session_id
        AND task.state = 'ended' AND NOT EXISTS (SELECT 1 FROM tool_calls WHERE child_id = task.id)
        AND NOT EXISTS (SELECT 1 FROM turns AS report WHERE report.parent_id = task.id
        AND report.lane = report.session_id)""",
    "a turn in two summaries": """SELECT a.id FROM compactions AS a JOIN compactions AS b
        ON a.session_id = b.session_id AND a.id < b.id AND a.through_turn >= b.through_turn""",
    "a call that is under way for an ended turn": """SELECT c.id FROM model_calls AS c
        JOIN turns AS t ON t.id = c.turn_id WHERE c.state = 'running' AND c.purpose = 'turn'
        AND t.state = 'ended'""",
    "a call that ran without leave": """SELECT c.id FROM tool_calls AS c
        LEFT JOIN approvals AS a ON a.call_id = c.id WHERE c.name = 'pay'
        AND c.started_at IS NOT NULL AND a.state IS NOT 'granted'""",
}


@cache
def empty() -> sqlite3.Connection:
    """A database with the schema, to be copied."""
    with TemporaryDirectory() as directory:
        path = Path(directory, "famulus.db")
        migrate(path)
        memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        sqlite3.connect(path).backup(memory)
    return memory


class Rules:
    """What the tools are: reading, writing, what needs leave, two that begin turns, a question."""

    def rerunnable(self, name: str) -> bool:
        return name in {"look", "hand", "spawn", "ask"}

    def policy(self, request: CallRequest) -> Policy:
        return Policy.ASK if request.name == "pay" else Policy.ALLOW


class Histories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        empty().backup(self.db)
        self.db.row_factory = sqlite3.Row
        self.db.execute("PRAGMA foreign_keys = ON")
        self.session = people.ensure_session(self.db, HERE, 0.0)
        self.payer = people.ensure_user(self.db, "telegram", "1", "Ada", 0.0)
        self.now = 1.0
        self.said: list[str] = []
        self.lasting = False
        self.shown: dict[int, list[dict[str, Any]]] = {}  # of a turn, as the model saw it last
        self._boot()

    def teardown(self) -> None:
        self.db.close()

    def _boot(self) -> None:
        self.boot = boots.begin(self.db, "test", self.now)
        self.seen: dict[int, int] = {}  # the last message read, of the turns that run
        self.asked: dict[int, int] = {}  # the model call that each has under way
        self.begun: set[int] = set()  # calls that run
        self.summing: tuple[Case, New] | None = None  # and the summary that is being made of it

    # --- Looking ---

    def open(self, *states: str) -> list[TurnRow]:
        return [turn for turn in turns.open_turns(self.db) if turn.state in states]

    def heads(self) -> list[TurnRow]:
        """The first of each lane: what waits behind it makes no requests yet."""
        lanes: dict[str, TurnRow] = {}
        for turn in turns.open_turns(self.db):
            lanes.setdefault(turn.lane, turn)
        return list(lanes.values())

    def turn(self, data: st.DataObject, *states: str) -> TurnRow | None:
        """One of the turns in these states, if there is one."""
        found = self.open(*states)
        return data.draw(st.sampled_from(found)) if found else None

    def entries(self, turn_id: int) -> tuple[Entry, ...]:
        return journal.read_pages(self.db, turn_id).turn

    def claim(self, turn_id: int, *, first: bool = False) -> Claim:
        return Claim(turn_id, self.boot, first, self.seen[turn_id])

    def say(self, text: str) -> str:
        self.said.append(text)
        return text

    # --- People ---

    @rule()
    def somebody_speaks(self) -> None:
        text = self.say(f"m{len(self.said)}")
        begun = {"asked_at": self.now, "now": self.now, "payer_id": self.payer}
        turns.create(self.db, self.session, text=text, **begun)

    @rule()
    def somebody_speaks_to_the_turn(self) -> None:
        head = turnrow.head(self.db, self.session)
        if head and (head.state == "running" or head.waiting_for == "child"):
            text = self.say(f"m{len(self.said)}")
            turnrow.add_user_message(self.db, head.id, text, self.now)

    @rule(granted=st.booleans(), data=st.data())
    def somebody_answers(self, granted: bool, data: st.DataObject) -> None:
        if found := approvals.find(self.db):
            chosen = data.draw(st.sampled_from(found))
            state = "granted" if granted else "denied"
            assert approvals.answer(self.db, chosen.ref, state, self.now).new
            if granted and self.lasting:
                approvals.last(self.db, chosen.ref, self.payer, self.now)
            assert not approvals.answer(self.db, chosen.ref, "granted", self.now).new
            settling.settle(self.db, self.now)

    @rule(lasting=st.booleans())
    def they_think_otherwise_of_lasting_permissions(self, lasting: bool) -> None:
        self.lasting = lasting
        home = HERE.channel, HERE.account, HERE.chat
        for given in grants.of_user(self.db, (people.HOUSE_AGENT, *home), self.payer):
            assert grants.revoke(self.db, given.ref)

    @rule(data=st.data())
    def somebody_tells(self, data: st.DataObject) -> None:
        """The answer to what the agent asks; a second one changes nothing."""
        if found := [
            q for turn in turns.open_turns(self.db) if (q := questions.open_of(self.db, turn.id))
        ]:
            ref = data.draw(st.sampled_from(found)).ref
            assert questions.answer(self.db, ref, "blue", self.now, self.payer)
            assert not questions.answer(self.db, ref, "red", self.now, self.payer)
            settling.settle(self.db, self.now)

    @rule(hours=st.sampled_from([0, 1, 13, 25]))
    def time_passes(self, hours: int) -> None:
        self.now += hours * 3600.0
        recovery.pass_deadlines(self.db, self.now)

    @rule()
    def stop(self) -> None:
        stops.stop(self.db, self.session, self.now)
        settling.settle(self.db, self.now)

    @rule()
    def begin_again(self) -> None:
        people.begin_again(self.db, self.session)

    # --- Turns ---

    @precondition(lambda self: not turns.is_busy(self.db, self.session))
    @rule(count=st.integers(1, 4))
    def they_talk_for_a_while(self, count: int) -> None:
        """Turns that are done at once: without a past there is nothing to trim or to sum up."""
        for _ in range(count):
            self.somebody_speaks()
            (turn,) = [each for each in self.open("ready") if each.lane == self.session]
            self.seen[turn.id] = journal.read_pages(self.db, turn.id).last_message
            journal.hold(self.db, self.claim(turn.id, first=True), self.now)
            self._ask_model(turn)
            ending = Ending("answered", Answer(f"re {turn.id}"), 1.0, self.asked.pop(turn.id))
            self._end(turn, ending)

    @rule(data=st.data(), times=st.integers(1, 8))
    def turns_go_on(self, data: st.DataObject, times: int) -> None:
        """A few steps of one turn or of several; without any work nothing else is of interest."""
        if not self.open("ready", "running", "waiting"):
            self.somebody_speaks()
        for _ in range(times):
            self._run_one(data)
            self._go_on_with_one(data)
            self.what_people_say_is_kept_once()
            self.nothing_is_left_behind()

    def _run_one(self, data: st.DataObject) -> None:
        ready = [turn for turn in self.heads() if turn.state == "ready"]
        if ready:
            turn = data.draw(st.sampled_from(ready))
            self.seen[turn.id] = journal.read_pages(self.db, turn.id).last_message
            journal.hold(self.db, self.claim(turn.id, first=True), self.now)

    def _go_on_with_one(self, data: st.DataObject) -> None:
        turn = self.turn(data, "running")
        if turn is None:
            return
        if turn.id in self.asked:
            self._model_answers(turn, data)
            return
        match decide(self.entries(turn.id), LIMITS, Rules()):
            case CallModel():
                self._ask_model(turn)
            case Attend() as attend:
                self._attend(turn, attend, data)
            case Park(child):
                running = [c for c in open_calls(self.entries(turn.id)) if c.id in self.begun]
                if not running:
                    steps.park(self.db, self.claim(turn.id), 1.0, child=child, now=self.now)
            case End(sentence, error):
                self._end(turn, Ending("failed", Answer(sentence), 1.0, None, error))

    def _ask_model(self, turn: TurnRow) -> None:
        asking = money.Request("model", 500)
        address = journal.read_address(self.db, turn.id)
        claim = self.claim(turn.id)
        call, news, _ = steps.intend_model_call(self.db, claim, address, asking, self.now)
        self.asked[turn.id] = call
        if news:
            self.seen[turn.id] = news[-1][0]
        shown = build_messages("x", (), self.entries(turn.id))
        before = self.shown.get(turn.id, [])
        assert shown[: len(before)] == before, "what a model was shown is not changed later"
        assert check_messages(fitted(shown, EVERYTHING)) is None
        self.shown[turn.id] = shown

    def _model_answers(self, turn: TurnRow, data: st.DataObject) -> None:
        call = self.asked.pop(turn.id)
        tools = TOOLS[:3] if turn.cause == "child" else TOOLS
        names = data.draw(st.lists(st.sampled_from(tools), min_size=1, max_size=4))
        if end := data.draw(st.sampled_from([0, 0, 0, 1, 2])):
            if end == 1:
                ending = Ending("answered", Answer(f"re {turn.id}"), 1.0, call)
            else:
                ending = Ending("failed", Answer("no"), 1.0, call, "x")
            self._end(turn, ending)
            return
        answer = Answer("", tuple(CallRequest("same", name, "{}") for name in names))
        steps.keep_answer(self.db, self.claim(turn.id), call, answer, tariff=FREE, now=self.now)

    def _end(self, turn: TurnRow, ending: Ending) -> None:
        pages = journal.read_pages(self.db, turn.id)
        claim = self.claim(turn.id)
        if words := steps.told(pages, ending):
            ending = evolve(ending, words=words, drafts=tuple(answer_drafts(words.text)))
        news, *_ = steps.end(self.db, claim, pages, ending, FREE, now=self.now)
        if news:
            self.seen[turn.id] = news[-1][0]

    def _attend(self, turn: TurnRow, attend: Attend, data: st.DataObject) -> None:
        """One thing of what is to be done, for what is done side by side ends in any order."""
        claim = self.claim(turn.id)
        address = journal.read_address(self.db, turn.id)
        under_way = [c for c in open_calls(self.entries(turn.id)) if c.id in self.begun]
        todo: list[ToolCall] = [*attend.ask, *attend.run, *(call for call, _ in attend.settle)]
        call = data.draw(st.sampled_from(list(dict.fromkeys([*todo, *under_way]))))
        if call.id in self.begun:
            self._finish(turn, call)
        elif call in attend.ask:
            wish = approvals.Wish("what", "pay", "the baker")
            steps.ask(self.db, claim, address, call, wish, None, now=self.now)
        elif call in attend.run:
            journal.intend_tool_call(self.db, claim, call.id, self.now)
            self.begun.add(call.id)
        else:
            self._settle(turn, call, Finish("settled", failed=True, drafts=(), subtask=None))

    def _finish(self, turn: TurnRow, call: ToolCall) -> None:
        name = call.request.name
        subtask = None
        if name in {"hand", "spawn"}:
            subtask = Subtask("task", name, waits=name == "hand")
        shown = (PICTURE,) if name == "look" else ()
        inquiry = Inquiry("Which colour?", ("blue", "red")) if name == "ask" else None
        self._settle(turn, call, Finish(f"did {name}", False, (), subtask, shown, inquiry))

    def _settle(self, turn: TurnRow, call: ToolCall, finish: Finish) -> None:
        address = journal.read_address(self.db, turn.id)
        self.begun.discard(call.id)
        claim = self.claim(turn.id)
        steps.finish_tool_call(self.db, claim, address, call, finish, Allowed(), now=self.now)

    # --- What happens to all of them ---

    @rule(worn=st.integers(0, 9))
    def the_daemon_crashes(self, worn: int) -> None:
        """Now and then once too often."""
        if not worn:
            self.db.execute("UPDATE turns SET attempts = 9 WHERE state = 'running'")
        self._boot()
        recovery.take_over(self.db, self.now)

    @precondition(lambda self: self.open("running"))
    @rule(data=st.data(), keep=st.integers(0, 3))
    def a_turn_trims(self, data: st.DataObject, keep: int) -> None:
        turn = self.turn(data, "running")
        assert turn is not None
        history.trim(self.db, turn.id, keep)

    @rule(whole=st.booleans(), beside=st.booleans())
    def the_older_part_is_summed_up(self, whole: bool, beside: bool) -> None:
        """As after a turn's end, or as somebody wants it; at once, or while other things happen."""
        if whole:
            compactions.want(self.db, self.session, self.now)
        if self.summing is None:
            self._begin_summary()
        if self.summing and not beside:
            self.a_summary_is_there(made=True)

    def _begin_summary(self) -> None:
        case = summing.find(self.db, self.session, SMALL, self.now)
        if case is None:
            return
        frame = Frame("x", (), case.summary.text)
        entries = [chapter.entries for chapter in case.chapters]
        wanted = case.pending.wanted
        draft = compaction.draft(frame, entries, SMALL, Gauge(SMALL.limit), whole=wanted)
        if draft is None:
            summing.reply(self.db, case, summing.REPLY_NOTHING, self.now)
            return
        assert check_messages(draft.messages) is None
        asking = money.Request("model", draft.estimate, purpose="compaction")
        call = summing.intend(self.db, case, asking, self.boot, self.now)
        covered = case.chapters[: draft.covered]
        through = covered[-1].turn_id
        new = New(self.session, through, len(covered), f"summary to {through}", call, 9, 3)
        self.summing = case, new

    @precondition(lambda self: self.summing)
    @rule(made=st.booleans())
    def a_summary_is_there(self, made: bool) -> None:
        assert self.summing is not None
        (case, new), self.summing = self.summing, None
        if not made:
            failure = Failure("no", "no", call=new.model_call)
            summing.give_up(self.db, case, failure, FREE, self.now)
            return
        before = journal.read_upcoming(self.db, self.session)
        assert before is not None
        queued = summing.put(self.db, case, new, Answer(new.text), Terms(), self.now)
        kept = compactions.latest(self.db, self.session, case.pending.oldest)
        assert (kept.text == new.text) is (queued is not None)

    # --- What must hold ---

    @invariant()
    def every_request_is_accepted(self) -> None:
        for turn in self.heads():
            pages = journal.read_pages(self.db, turn.id)
            own = () if open_calls(pages.turn) else pages.turn
            opening = Opening(pages.history, own, 0.0, pages.summary)
            messages = request("x", opening, 0, Gauge())
            assert check_messages(fitted(messages, EVERYTHING)) is None, (turn, messages)
            looked = [e for e in own if isinstance(e, ToolResult) and e.text == "did look"]
            assert len(views(messages)) == len(looked)
            # What is in the summary is in nothing else, and a turn never loses its own words.
            assert pages.turn
        upcoming = journal.read_upcoming(self.db, self.session)
        assert upcoming is not None
        if not turns.is_busy(self.db, self.session):
            messages = build_messages("x", upcoming.history, ())
            assert check_messages(messages) is None, messages

    @invariant()
    def nothing_is_left_behind(self) -> None:
        for what, query in BEHIND.items():
            assert not self.db.execute(query).fetchall(), what

    @invariant()
    def what_people_say_is_kept_once(self) -> None:
        rows = self.db.execute(
            "SELECT m.content FROM messages AS m JOIN turns AS t ON t.id = m.turn_id"
            " WHERE m.role = 'user' AND t.lane = t.session_id"
        )
        assert Counter(row[0] for row in rows.fetchall()) == Counter(self.said)

    @invariant()
    def what_has_begun_is_known(self) -> None:
        for turn in self.open("running"):
            for call in open_calls(self.entries(turn.id)):
                if call.id in self.begun:
                    assert call.state is CallState.RUNNING


Histories.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestHistories = Histories.TestCase
