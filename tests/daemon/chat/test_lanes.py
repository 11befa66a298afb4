"""The lane board: order within a lane, places among them, and none taken for ever."""

from __future__ import annotations

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from daemon.chat.lanes import FOR_PEOPLE, KEPT_SHARE, LaneBoard
from daemon.store.turnrow import TurnRow

PLACES = 4


def turn(number: int, lane: str = "a", cause: str = "update", state: str = "ready") -> TurnRow:
    return TurnRow(number, f"ref{number}", lane, lane, cause, state, None, None)


def take_all(board: LaneBoard) -> list[int]:
    taken = []
    while (each := board.take()) is not None:
        taken.append(each.id)
    return taken


def test_lanes_run_side_by_side_and_each_in_order() -> None:
    board = LaneBoard(PLACES)
    for each in (turn(1, "a"), turn(2, "a"), turn(3, "b")):
        board.put(each)
    assert take_all(board) == [1, 3]
    board.ended(1)
    assert take_all(board) == [2]


def test_a_newer_turn_that_comes_first_still_runs_last() -> None:
    board = LaneBoard(PLACES)
    for each in (turn(3), turn(1), turn(2)):
        board.put(each)
    assert take_all(board) == [1]
    board.ended(1)
    assert take_all(board) == [2]


def test_a_waiting_turn_keeps_its_lane_and_frees_its_place() -> None:
    board = LaneBoard(1)
    for each in (turn(1, "a"), turn(2, "a"), turn(3, "b")):
        board.put(each)
    assert take_all(board) == [1]
    board.paused(turn(1, "a", state="waiting"))
    assert take_all(board) == [3]
    board.put(turn(1, "a"))
    board.ended(3)
    assert take_all(board) == [1]


def test_a_quarter_of_the_places_is_kept_for_people() -> None:
    board = LaneBoard(PLACES)
    for number in range(1, 10):
        board.put(turn(number, f"job {number}", "schedule"))
    assert len(take_all(board)) == PLACES - PLACES // KEPT_SHARE
    board.put(turn(100, "chat"))
    assert take_all(board) == [100]


def test_people_may_use_every_place() -> None:
    board = LaneBoard(PLACES)
    for number in range(1, 10):
        board.put(turn(number, f"chat {number}"))
    assert take_all(board) == [1, 2, 3, 4]


def test_a_turn_that_ended_in_the_queue_is_never_run() -> None:
    board = LaneBoard(1)
    for each in (turn(1), turn(2), turn(3)):
        board.put(each)
    assert take_all(board) == [1]
    board.ended(2)
    board.ended(1)
    assert take_all(board) == [3]


def test_what_is_not_on_the_board_is_none_of_its_business() -> None:
    board = LaneBoard(1)
    board.ended(7)
    board.paused(turn(7))
    assert board.take() is None
    assert (board.running, board.waiting) == (0, 0)


def test_the_earliest_deadline_of_a_waiting_turn_is_told() -> None:
    board = LaneBoard(1)
    board.put(attrs.evolve(turn(1, "a", state="waiting"), deadline=9.0))
    board.put(attrs.evolve(turn(2, "b", state="waiting"), deadline=5.0))
    board.put(attrs.evolve(turn(3, "c"), deadline=1.0))
    assert board.next_deadline() == 5.0


class Board(RuleBasedStateMachine):
    """The board against a plain list: any order of events, the same promises."""

    def __init__(self) -> None:
        super().__init__()
        self.board = LaneBoard(PLACES)
        self.open: dict[int, TurnRow] = {}
        self.running: list[int] = []
        self.number = 0

    @rule(
        lane=st.sampled_from("abcdef"),
        cause=st.sampled_from(["update", "schedule"]),
        state=st.sampled_from(["ready", "waiting"]),
    )
    def put(self, lane: str, cause: str, state: str) -> None:
        self.number += 1
        # A lane has turns of one cause here, as sessions mostly do.
        made = turn(self.number, f"{cause} {lane}", cause, state)
        self.open[made.id] = made
        self.board.put(made)

    @rule()
    def take(self) -> None:
        taken = self.board.take()
        if taken is None:
            assert not self.startable()
            return
        assert taken.id in self.startable()
        same_kind = [
            each
            for each in self.startable()
            if (self.open[each].cause in FOR_PEOPLE) == (taken.cause in FOR_PEOPLE)
        ]
        assert taken.id == min(same_kind)
        self.running.append(taken.id)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), state=st.sampled_from(["ready", "waiting"]))
    def pause(self, data: st.DataObject, state: str) -> None:
        chosen = data.draw(st.sampled_from(self.running))
        self.running.remove(chosen)
        self.open[chosen] = attrs.evolve(self.open[chosen], state=state)
        self.board.paused(self.open[chosen])

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        chosen = data.draw(st.sampled_from(sorted(self.open)))
        del self.open[chosen]
        if chosen in self.running:
            self.running.remove(chosen)
        self.board.ended(chosen)

    @precondition(lambda self: set(self.open) - set(self.running))
    @rule(data=st.data())
    def make_ready(self, data: st.DataObject) -> None:
        chosen = data.draw(st.sampled_from(sorted(set(self.open) - set(self.running))))
        self.open[chosen] = attrs.evolve(self.open[chosen], state="ready")
        self.board.put(self.open[chosen])

    @invariant()
    def counts_agree(self) -> None:
        assert self.board.running == len(self.running) <= PLACES
        assert self.board.waiting == len(self.open) - len(self.running)
        lanes = [self.open[each].lane for each in self.running]
        assert len(lanes) == len(set(lanes))
        others = [each for each in self.running if self.open[each].cause not in FOR_PEOPLE]
        assert len(others) <= PLACES - PLACES // KEPT_SHARE

    def startable(self) -> list[int]:
        """By the definition: ready, at the head of its lane, not running, and with a place."""
        if len(self.running) >= PLACES:
            return []
        others = [each for each in self.running if self.open[each].cause not in FOR_PEOPLE]
        full_of_others = len(others) >= PLACES - PLACES // KEPT_SHARE
        heads: dict[str, TurnRow] = {}
        for each in sorted(self.open):
            heads.setdefault(self.open[each].lane, self.open[each])
        return [
            each.id
            for each in heads.values()
            if each.state == "ready"
            and each.id not in self.running
            and not (full_of_others and each.cause not in FOR_PEOPLE)
        ]


TestBoard = Board.TestCase
TestBoard.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=30))
def test_every_turn_runs_in_the_end(puts: list[tuple[str, bool]]) -> None:
    board = LaneBoard(2)
    for number, (lane, person) in enumerate(puts, 1):
        board.put(turn(number, lane, "update" if person else "schedule"))
    ran = []
    while batch := take_all(board):
        ran += batch
        for each in batch:
            board.ended(each)
    assert sorted(ran) == list(range(1, len(puts) + 1))
