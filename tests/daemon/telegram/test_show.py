"""What is shown of a turn and when: the core alone, by events and times."""

from __future__ import annotations

from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from agent.transcript import CallRequest
from daemon.store.outbox import Destination
from daemon.telegram.pace import (
    GROUP_GAP,
    GROUP_PREVIEWS,
    MANY,
    MINUTE,
    PRIVATE_GAP,
    Pace,
)
from daemon.telegram.previews import Fate
from daemon.telegram.show import (
    ACTION_EVERY,
    DRAFT_LIVES,
    PATIENCE,
    Act,
    Begin,
    Edit,
    Frame,
    Show,
    ShowDraft,
    Step,
    Way,
)

PERSON = Destination("telegram", "42", "7")
GROUP = Destination("telegram", "42", "-100")
PYTHON = CallRequest("id", "python_execute", "{}")
SLACK = 1e-6


def shown_at(show: Show, now: float, open_at: float = 0.0) -> Step:
    step = show.next(now, open_at)
    assert not isinstance(step, float)
    show.done(step, Fate.SHOWN, now)
    return step


def test_a_quick_turn_shows_nothing() -> None:
    """Before a turn has lasted a while, nothing is shown, whatever it says."""
    show = Show(Way.DRAFTS, begun=10.0)
    show.text("all there is to say")
    assert show.next(10.0 + PATIENCE - 0.01, 0.0) == 10.0 + PATIENCE


def test_a_draft_is_kept_alive_and_a_new_one_waits_for_its_time() -> None:
    """The same draft comes again before it fades; a newer one as soon as the chat takes it."""
    show = Show(Way.DRAFTS, begun=0.0)
    show.text("a")
    assert shown_at(show, 1.0) == ShowDraft(Frame("a"))
    again = show.next(1.0, 2.0)
    assert isinstance(again, float)
    assert 2.0 < again < 1.0 + DRAFT_LIVES
    show.text("ab")
    assert show.next(1.0, 2.0) == 2.0
    assert show.next(2.0, 2.0) == ShowDraft(Frame("ab"))


def test_a_group_has_one_message_that_is_changed() -> None:
    """The first is a message, later ones edits; what is shown already is not shown again."""
    show = Show(Way.EDITS, begun=0.0)
    show.text("a")
    assert shown_at(show, 1.0) == Begin(Frame("a"))
    assert show.next(5.0, 4.0) == inf
    show.text("ab")
    assert shown_at(show, 5.0) == Edit(Frame("ab"))


def test_typing_is_shown_only_while_nothing_else_is() -> None:
    """An action comes every few seconds until there are words."""
    show = Show(Way.DRAFTS, begun=0.0)
    assert shown_at(show, 1.0) == Act("typing")
    assert show.next(1.0, 0.0) == 1.0 + ACTION_EVERY
    show.text("a")
    shown_at(show, 2.0)
    assert show.next(6.0, 7.0) > 6.0 + ACTION_EVERY - 1


def test_a_tool_is_a_line_below_the_words() -> None:
    """The line comes and goes with the call; the words before it stay."""
    show = Show(Way.DRAFTS, begun=0.0)
    show.text("Let me see.")
    show.began(1, PYTHON)
    assert (show.kept, show.frame) == (True, Frame("Let me see.", "running Python ..."))
    show.began(2, CallRequest("", "web_search", "{}"))
    assert show.doing == "searching the web ..."
    show.ended(2)
    assert show.doing == "running Python ..."
    show.ended(1)
    assert show.frame == Frame("Let me see.")


def test_an_answer_that_may_be_silence_is_not_shown() -> None:
    """As long as the words could become NO_REPLY, nobody sees them."""
    show = Show(Way.EDITS, begun=0.0)
    for words in ("NO", "NO_REP", " NO_REPLY\n"):
        show.text(words)
        assert show.frame is None
    show.text("NO_ONE knows")
    assert show.frame == Frame("NO_ONE knows")


def test_what_became_a_message_is_shown_no_more() -> None:
    """After words are in the chat, the next ones begin a message of their own."""
    show = Show(Way.EDITS, begun=0.0)
    show.text("a")
    shown_at(show, 1.0)
    show.text("")
    assert show.next(1.5, 0.0) == Act("typing")
    show.text("b")
    assert show.next(6.0, 0.0) == Begin(Frame("b"))


def test_a_message_that_is_gone_is_begun_anew() -> None:
    """A placeholder that something has taken the place of is not changed any more."""
    show = Show(Way.EDITS, begun=0.0)
    show.text("a")
    shown_at(show, 1.0)
    show.text("ab")
    show.done(Edit(Frame("ab")), Fate.GONE, 4.0)
    assert show.next(4.0, 0.0) == Begin(Frame("ab"))


class Conversation(RuleBasedStateMachine):
    """Two turns of one chat, driven as by the shell: the chat is never shown too much."""

    way = Way.DRAFTS
    to = PERSON

    @initialize()
    def begin(self) -> None:
        self.now = 1000.0
        self.pace = Pace()
        self.shows = [Show(self.way, self.now), Show(self.way, self.now)]
        self.sent: list[float] = []
        self.previews: list[float] = []
        self.acted: dict[int, float] = {}
        self.ended: set[int] = set()

    @rule(which=st.integers(0, 1), text=st.text(alphabet="ab \n", max_size=5))
    def say(self, which: int, text: str) -> None:
        self.shows[which].text(text)

    @rule(which=st.integers(0, 1), call=st.integers(0, 2))
    def use(self, which: int, call: int) -> None:
        self.shows[which].began(call, PYTHON)

    @rule(which=st.integers(0, 1), call=st.integers(0, 2))
    def done(self, which: int, call: int) -> None:
        self.shows[which].ended(call)

    @rule(which=st.integers(0, 1))
    def end(self, which: int) -> None:
        self.shows[which].over = True
        self.ended.add(which)

    @rule()
    def answer(self) -> None:
        """An answer is sent whenever there is one."""
        self._send()

    @rule(seconds=st.floats(0.01, 40.0), fate=st.sampled_from([*Fate, *[Fate.SHOWN] * 6]))
    def pass_time(self, seconds: float, fate: Fate) -> None:
        self.now += seconds
        for index, show in enumerate(self.shows):
            step = show.next(self.now, self.pace.open_at(self.to))
            if not isinstance(step, float):
                self._make(index, step)
                show.done(step, fate, self.now)

    @precondition(lambda self: self.shows[0].frame is not None and not self.shows[0].over)
    @rule()
    def rest(self) -> None:
        """Left alone for as long as it asks for, the chat sees the newest words."""
        show = self.shows[0]
        for _ in range(4):
            step = show.next(self.now, self.pace.open_at(self.to))
            if isinstance(step, float):
                if step == inf:
                    break
                self.now = max(self.now, step)
            else:
                self._make(0, step)
                show.done(step, Fate.SHOWN, self.now)
        assert show._shown == show.frame or self.way is Way.ACTIONS

    def _make(self, index: int, step: Step) -> None:
        assert index not in self.ended, "nothing is shown of a turn that is over"
        assert self.now >= 1000.0 + PATIENCE
        if isinstance(step, Act):
            assert self.now >= self.acted.get(index, -inf) + ACTION_EVERY - SLACK
            self.acted[index] = self.now
            return
        gap = PRIVATE_GAP if self.to is PERSON else GROUP_GAP
        assert not self.sent or self.now >= self.sent[-1] + gap - SLACK
        self.previews.append(self.now)
        self._send()

    def _send(self) -> None:
        self.pace.note(self.to, self.now)
        self.sent.append(self.now)

    @invariant()
    def leaves_room_for_answers(self) -> None:
        if not hasattr(self, "now") or self.to is PERSON:
            return
        recent = [at for at in self.previews if at > self.now - MINUTE + SLACK]
        assert len(recent) <= GROUP_PREVIEWS


class GroupConversation(Conversation):
    way = Way.EDITS
    to = GROUP


class QuietConversation(Conversation):
    way = Way.ACTIONS


TestPrivate = Conversation.TestCase
TestGroup = GroupConversation.TestCase
TestQuiet = QuietConversation.TestCase
for case in (TestPrivate, TestGroup, TestQuiet):
    case.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.lists(st.floats(0.0, 30.0), max_size=80))
def test_a_group_keeps_room_for_answers(pauses: list[float]) -> None:
    """A group gets at most fifteen previews in any minute, and what is sent besides counts."""
    pace, now, sent = Pace(), 0.0, []
    for pause in pauses:
        now = max(now + pause, pace.open_at(GROUP))
        pace.note(GROUP, now)
        sent.append(now)
    for at in sent:
        assert sum(at <= other < at + MINUTE for other in sent) <= GROUP_PREVIEWS


def test_what_is_known_of_chats_is_bounded() -> None:
    """Chats that were sent nothing for a minute are forgotten."""
    pace = Pace()
    for number in range(10 * MANY):
        pace.note(Destination("telegram", "42", str(number)), float(number))
    assert len(pace._sent) <= MANY + 1
