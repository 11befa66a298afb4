"""The benchmark itself: it measures what it says, and would notice lost or reordered answers."""

from __future__ import annotations

import pytest

from daemon.demo.calls import Sent
from tests.bench import appointments, jobs, measures, rendering
from tests.bench.measures import SMALL, WrongAnswers, check
from tests.bench.subjects import FAMULUS, FLOOR, Subject
from tests.bench.table import percentile, table


def _sent(chat: int, text: str) -> Sent:
    return Sent("sendMessage", {}, chat, 1, text, 0.0, 200)


@pytest.mark.parametrize("subject", [FAMULUS, FLOOR], ids=lambda subject: subject.name)
async def test_a_tiny_run_is_counted_and_checked(subject: Subject) -> None:
    """Every message of a burst is answered in order, and the figures are possible ones."""
    found = await measures.burst(subject, SMALL)
    assert found[measures.BURST][0] > 0
    assert set(found) == {measures.BURST, measures.BURST_CPU}
    print(table(found, {}))


async def test_a_few_appointments_are_measured() -> None:
    """Each is answered once, and so are the people who talk meanwhile."""
    found = await appointments.appointments(many=200, at_once=100, starts=1)
    assert all(
        each > 0 for name in (appointments.PICKING, appointments.ORDINARY) for each in found[name]
    )
    print(table(found, {}))


@pytest.mark.slow
def test_rendering_is_measured() -> None:
    """Both figures are there, and possible."""
    found = rendering.rendering()
    assert set(found) == {rendering.ANSWER, rendering.WORST}
    assert all(value > 0 for name in found for value in found[name])


@pytest.mark.executor
async def test_a_few_jobs_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each case once: the figures are there, and possible."""
    monkeypatch.setattr(jobs, "_EACH", 2)
    found = await jobs.jobs(rounds=1)
    if not found:
        pytest.skip("no sandbox works here")
    wanted = {jobs.INSTRUCTION, jobs.FRAME, jobs.RESULT, jobs.CELL, jobs.KILL, jobs.PARALLEL}
    assert wanted <= found.keys()
    assert all(value > 0 for name in found for value in found[name])


@pytest.mark.slow
async def test_every_measurement_gives_plausible_figures() -> None:
    """Small loads, all kinds."""
    found = await measures.start_and_memory(FAMULUS)
    for measure in (measures.turns, measures.slow_model):
        found |= await measure(FAMULUS, SMALL)
    found |= await measures.first_turn(FAMULUS)
    assert len(found[measures.OWN]) == SMALL.turns
    assert all(value > 0 for name in set(found) - {measures.CPU} for value in found[name])
    assert 10 < found[measures.RSS_IDLE][0] < 200
    print(table(found, {}))


def test_an_answer_that_is_lost_is_noticed() -> None:
    """Each chat must have got all its answers."""
    with pytest.raises(WrongAnswers, match="chat 2"):
        check([_sent(1, "a")], {1: ["a"], 2: ["b"]})


def test_an_answer_too_many_is_noticed() -> None:
    """An answer to nobody's question is wrong, too."""
    with pytest.raises(WrongAnswers, match="chat 1"):
        check([_sent(1, "a"), _sent(1, "a")], {1: ["a"]})


def test_order_counts_within_a_chat_only() -> None:
    """Chats are independent of each other; within one, order is part of the promise."""
    mixed = [_sent(2, "c"), _sent(1, "a"), _sent(1, "b")]
    check(mixed, {1: ["a", "b"], 2: ["c"]})
    swapped = [_sent(1, "b"), _sent(1, "a")]
    check(swapped, {1: ["a", "b"]}, ordered=False)
    with pytest.raises(WrongAnswers):
        check(swapped, {1: ["a", "b"]})


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (99, 99), (100, 99), (200, 198)])
def test_the_99th_percentile_is_a_sample(count: int, expected: int) -> None:
    """Not interpolated: what is printed has happened."""
    assert percentile(list(range(1, count + 1)), 0.99) == expected


def test_a_figure_over_its_budget_is_marked() -> None:
    """The eye finds what must be mended: too slow, and too few."""
    text = table({measures.ENTRY: [0.6], measures.BURST: [200.0], measures.SLOW: [1.15]}, {})
    start, burst, slow = text.splitlines()[1:]
    assert "0.6 s !" in start
    assert "200 msg/s +" in burst
    assert "1.15 s" in slow
    assert "1.15 s +" not in slow
