"""What of a request is shortened or left out, so that it is never too large."""

from __future__ import annotations

import json

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from agent.context import build_messages, estimate_tokens, summary_entry
from agent.fitting import LEAST_ROOM, OMITTED, UNSEEN, Gauge, fit, recent, squeeze, weight
from agent.transcript import Assistant, CallRequest, Entry, ToolCall, ToolResult, User
from daemon.demo.chatrules import check_messages
from tests.agent.histories import PICTURE, check_calls


def turn(text: str, *, size: int = 10, calls: int = 0) -> list[Entry]:
    """A whole turn: a question, some calls with results of `size` characters, an answer."""
    made = tuple(ToolCall(n, CallRequest("", "bash", "{}")) for n in range(calls))
    work: list[Entry] = [Assistant("", made)] if made else []
    return [
        User(text),
        *work,
        *(ToolResult(call.id, "r" * size) for call in made),
        Assistant(f"answer to {text}"),
    ]


def test_history_is_cut_before_a_turn_and_says_so() -> None:
    """The newest turns stay, whole, behind a line that says that there was more."""
    history = [*turn("one"), *turn("two"), *turn("three")]
    missing = [User(OMITTED)]
    assert recent(history, weight(history)) == history
    room = weight([*missing, *turn("two"), *turn("three")])
    assert recent(history, room) == [*missing, *turn("two"), *turn("three")]
    assert recent(history, room - 1) == [*missing, *turn("three")]
    assert recent([], 10) == []


def test_results_of_earlier_turns_are_shortened_first() -> None:
    """Then all but what was said; one long piece of work does not wipe out what was before it."""
    history = [*turn("one"), *turn("work", size=3000, calls=3), *turn("two")]
    shorter = recent(history, weight(history) - 5000)
    assert [type(entry) for entry in shorter] == [type(entry) for entry in history]
    assert "characters left out" in shorter[4].text
    said = [*turn("one"), *turn("work"), *turn("two")]
    assert recent(history, weight([User(OMITTED), *said])) == said


def test_texts_that_came_together_stay_together() -> None:
    """A comment and its forward are one turn."""
    history = [*turn("one"), User("look:"), *turn("the forward")]
    room = weight([User(OMITTED), *history[2:]])
    assert recent(history, room) == [User(OMITTED), User("look:"), *turn("the forward")]


def test_the_oldest_results_of_the_running_turn_give_way_first() -> None:
    """The newest is what the model waits for."""
    work = turn("q", size=30_000, calls=3)[:-1]
    squeezed = squeeze(work, 70_000)
    results = [len(entry.text) for entry in squeezed if isinstance(entry, ToolResult)]
    assert results[1:] == [30_000, 30_000]
    assert results[0] < 10_000
    assert weight(squeezed) <= 70_000


def test_what_was_cut_again_and_again_says_how_much_is_gone() -> None:
    """Of all that there was, and not of what the last cut but one had left."""
    (result,) = squeeze([ToolResult(1, "r" * 90_000)], 1_000)
    kept = result.text.count("r") - "characters".count("r")
    assert f"[... {90_000 - kept} characters left out ...]" in result.text


def test_long_arguments_give_way_and_stay_an_object() -> None:
    """A file that was written is in its arguments; what is left of them can still be parsed."""
    call = ToolCall(1, CallRequest("", "write_file", json.dumps({"text": "x" * 50_000})))
    squeezed = squeeze([User("q"), Assistant("", (call,)), ToolResult(1, "ok")], 5_000)
    assert weight(squeezed) <= 5_000
    assert isinstance(squeezed[1], Assistant)
    assert json.loads(squeezed[1].calls[0].request.arguments) == {"left_out": "50012 characters"}
    assert squeezed[2] == ToolResult(1, "ok")


def test_what_is_shown_gives_way_oldest_first_and_says_so() -> None:
    """Behind results that are longer than it, and before anything is cut to a few words."""
    large = evolve(PICTURE, tokens=2000)
    calls = tuple(ToolCall(n, CallRequest("", "view_file", "{}")) for n in range(3))
    work = [
        User("q"),
        Assistant("", calls),
        *(ToolResult(n, "x", shown=(large,)) for n in range(3)),
    ]
    assert squeeze(work, weight(work)) == work
    squeezed = squeeze(work, weight(work) - 1)
    assert weight(squeezed) < weight(work)
    first, *others = (entry for entry in squeezed if isinstance(entry, ToolResult))
    assert first == ToolResult(0, f"x\n{UNSEEN}")
    assert all(entry.shown == (large,) for entry in others)
    said = User("q", shown=(large,))
    assert squeeze([said], 1000) == [User(f"q\n{UNSEEN}")]


def test_what_would_not_fit_alone_costs_nothing_else() -> None:
    """Neither the pictures before it nor the results: they would be short for the whole turn."""
    before = ToolResult(0, "x" * 30_000, shown=(PICTURE,))
    hopeless = evolve(PICTURE, tokens=600_000)
    turn = [
        User("q"),
        Assistant("", tuple(ToolCall(n, CallRequest("", "view_file", "{}")) for n in range(2))),
        before,
        ToolResult(1, "y", shown=(hopeless,)),
    ]
    assert squeeze(turn, 100_000) == [*turn[:3], ToolResult(1, f"y\n{UNSEEN}")]


def test_the_running_turn_has_half_the_room_whatever_came_before() -> None:
    """A long past cannot silence a question, nor a large result the past."""
    history = [entry for n in range(50) for entry in turn(f"q{n}", size=1000, calls=1)]
    kept, now = fit(history, [User("x" * 40_000)], 50_000)
    assert weight([*kept, *now]) <= 50_000
    assert weight(now) > 7_000
    assert kept[-1] == Assistant("answer to q49")


def test_the_gauge_learns_from_what_was_counted() -> None:
    """Counted as twice the estimate, it leaves half the room for the next; zero is no count."""
    gauge = Gauge(limit=10_000)
    assert gauge.room(0) == (10_000 - 1) * 4
    assert gauge.seen(1000, 2000).room(0) == (5_000 - 1) * 4
    assert gauge.seen(1000, 0) == gauge
    assert gauge.room(50_000) == LEAST_ROOM, "tools alone are over the limit"
    assert gauge.seen(1, 10**9).ratio == 4.0
    assert gauge.seen(10**9, 1).ratio == 0.5


shapes = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3000), st.booleans()), max_size=6)


@given(shapes, st.integers(0, 6000), st.sampled_from(["", "a summary"]))
def test_no_cut_parts_a_call_from_its_result_and_what_is_left_fits(
    shapes: list[tuple[int, int, bool]], room: int, summary: str
) -> None:
    """Whatever the room, the rules are obeyed; whatever the past, it fits, the summary included."""
    whole = [turn(f"q{n}", size=size, calls=calls) for n, (calls, size, _) in enumerate(shapes)]
    # A turn that was stopped has no last answer.
    turns = [t if ended else t[:-1] for t, (_, _, ended) in zip(whole, shapes, strict=True)]
    history = [entry for each in turns for entry in each]
    kept, now = fit(history, [User("now")], room)
    check_calls(kept)
    assert not kept or isinstance(kept[0], User)
    messages = build_messages("s", [*summary_entry(summary), *kept], now)
    assert check_messages(messages) is None
    assert (summary in str(messages)) or not summary
    assert weight(kept) + weight(now) <= max(room, weight([User("now")]))


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 60_000)), min_size=1, max_size=6),
    st.integers(0, 400),
)
def test_a_running_turn_of_any_size_fits(steps: list[tuple[int, int]], past: int) -> None:
    """However much its tools have brought, the request keeps to the limit."""
    entries: list[Entry] = [User("begin")]
    for number, (calls, size) in enumerate(steps):
        made = tuple(ToolCall(number * 10 + n, CallRequest("", "t", "{}")) for n in range(calls))
        entries += [Assistant("", made), *(ToolResult(each.id, "r" * size) for each in made)]
    history = [entry for n in range(past) for entry in turn(f"q{n}")]
    gauge = Gauge(limit=9_000)
    kept, now = fit(history, entries, gauge.room(estimate_tokens([{"role": "s", "content": "s"}])))
    assert estimate_tokens(build_messages("s", kept, now)) <= 9_000
    check_calls(now)
