"""Makes a request fit: what of it is shortened or left out when all would be too large. Pure.

A `Gauge` says how large a request may be. Sizes are estimated from bytes, and corrected by what the
provider counted for the last request of the same conversation, since a token is four letters of
English, one of Chinese, and less of a hexadecimal dump.

What has to give, in this order: of earlier turns the results of tools, then all but what was said
in them, then long texts, then the oldest turns; of the running turn, which has half of the room to
itself whatever came before it, the results of tools, oldest first, then the arguments of its calls,
then texts. The summary of what came before is never given up. Nothing here is remembered: the rows
keep everything, and the same entries are shortened in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import attrs
from attrs import frozen

from agent import context
from agent.ports import Opening
from agent.text import shorten
from agent.transcript import Assistant, Entry, ToolCall, ToolResult, User

# Characters that a long text is cut to, as it gets tighter.
CAPS = (32_000, 8000, 2000, 500, 120)
LEAST_ROOM = 6000  # bytes
BRIEF = 400  # characters of a tool's result in an earlier turn
LEAST_SHOWN = 8000  # characters; what is shown is left out where its result would be cut to less
LONGEST_CALL = 300  # characters of a call's arguments, when it gets tight
# How far the estimate is corrected at most. Beyond that, what was counted was something else.
LEAST_RATIO, MOST_RATIO = 0.5, 4.0

UNSEEN = "[What was shown here is left out: it does not fit.]"
OMITTED = "[Earlier turns are left out here: they do not fit.]"


@frozen
class Gauge:
    """The most tokens of a request, and how many the model counts for each that we estimate."""

    limit: int = 20_000
    ratio: float = 1.0

    def seen(self, estimated: int, counted: int) -> Gauge:
        """The gauge after a request whose tokens were counted (0: they were not)."""
        if not counted or not estimated:
            return self
        return attrs.evolve(self, ratio=bounded(counted / estimated))

    def room(self, estimated: int) -> int:
        """Bytes that are left for entries beside what is estimated to have so many tokens.

        There are always some: where system and tools alone are over the limit, the window was
        probably set too small, and a model that is shown no question can answer none.
        """
        left = self.limit / self.ratio - estimated - 1  # estimates are rounded down
        return max(LEAST_ROOM, int(left * context.BYTES_PER_TOKEN))

    def tokens(self, estimated: int) -> int:
        """What the model will count."""
        return round(estimated * self.ratio)


def bounded(ratio: float) -> float:
    return min(max(ratio, LEAST_RATIO), MOST_RATIO)


def request(
    system: str, opening: Opening, tools: int, gauge: Gauge, kept: int = 0
) -> list[dict[str, Any]]:
    """The messages of a turn's next request, shortened where the gauge would not let them pass.

    `tools` are the bytes of the tools beside them, `kept` those that the caller will add.
    """
    summary = context.summary_entry(opening.summary)
    frame = context.build_messages(system, summary, ())
    room = gauge.room(context.tokens(context.size(frame) + tools)) - kept
    history, turn = fit(opening.history, opening.turn, room)
    return context.build_messages(system, [*summary, *history], turn)


def fit(
    history: Sequence[Entry], turn: Sequence[Entry], room: int
) -> tuple[list[Entry], list[Entry]]:
    """History and turn as they are sent, in at most `room` bytes as far as that can be."""
    before = weight(history)
    fitted = squeeze(turn, max(room - before, room // 2))
    left = room - weight(fitted)
    return list(history) if before <= left else recent(history, left), fitted


def recent(history: Sequence[Entry], room: int) -> list[Entry]:
    """The newest turns of `history` that fit into `room` bytes.

    A turn is kept whole, so no call is parted from its results; one that would not fit is reduced
    to what was said in it, so that one long piece of work does not wipe out the conversation.
    """
    if weight(history) <= room:
        return list(history)
    room -= weight([User(OMITTED)])
    kept: list[Sequence[Entry]] = []
    turns = list(split(history))
    for turn in reversed(turns):
        fitting = next((form for form in _forms(turn, room) if weight(form) <= room), None)
        if fitting is None:
            break
        room -= weight(fitting)
        kept.append(fitting)
    missing = [User(OMITTED)] if len(kept) < len(turns) and room >= 0 else []
    return [*missing, *(entry for turn in reversed(kept) for entry in turn)]


def _forms(turn: Sequence[Entry], room: int) -> Iterator[Sequence[Entry]]:
    """The turn in ever shorter forms; the last has a share of the room, if that makes it fit."""
    yield turn
    yield [_with_short_result(entry, BRIEF) for entry in turn]
    said = [e for e in turn if isinstance(e, User) or (isinstance(e, Assistant) and not e.calls)]
    yield said
    yield squeeze(said, room // 4)


def split(history: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """The turns: each begins with a user entry that follows something else."""
    start = 0
    for index in range(1, len(history)):
        if isinstance(history[index], User) and not isinstance(history[index - 1], User):
            yield history[start:index]
            start = index
    if history:
        yield history[start:]


def squeeze(turn: Sequence[Entry], room: int) -> list[Entry]:
    """The turn in at most `room` bytes, as far as shortening it can bring it there."""
    entries = list(turn)
    for shortened in _measures(room):
        excess = weight(entries) - room
        for index, entry in enumerate(entries):
            if excess <= 0:
                return entries
            shorter = shortened(entry)
            excess -= _weigh(entry) - _weigh(shorter)
            entries[index] = shorter
    return entries


def _measures(room: int) -> Iterator[Callable[[Entry], Entry]]:
    """What is done to each entry in turn, oldest first; a harsher one each time.

    What would not fit alone goes first: all else would be made short for it, and in vain.
    """
    yield partial(_without_giants, room=room)
    for cap in CAPS:
        yield partial(_with_short_result, cap=cap)
    yield _with_short_calls
    for cap in CAPS:
        yield partial(_capped, cap=cap)


def _with_short_result(entry: Entry, cap: int) -> Entry:
    return _capped(entry, cap) if isinstance(entry, ToolResult) else entry


def _capped(entry: Entry, cap: int) -> Entry:
    shorter = attrs.evolve(entry, text=shorten(entry.text, cap))
    return shorter if cap >= LEAST_SHOWN else _unseen(shorter)


def _without_giants(entry: Entry, room: int) -> Entry:
    if isinstance(entry, Assistant):
        return entry
    size = sum(view.tokens for view in entry.shown) * context.BYTES_PER_TOKEN
    return _unseen(entry) if size > room else entry


def _unseen(entry: Entry) -> Entry:
    """The entry without what it shows, which it says."""
    if isinstance(entry, Assistant) or not entry.shown:
        return entry
    return attrs.evolve(entry, text=f"{entry.text}\n{UNSEEN}", shown=())


def _with_short_calls(entry: Entry) -> Entry:
    if not isinstance(entry, Assistant):
        return entry
    return attrs.evolve(entry, calls=tuple(_short_call(call) for call in entry.calls))


def _short_call(call: ToolCall) -> ToolCall:
    """A call whose long arguments are left out; they stay a JSON object."""
    written = call.request.arguments
    if len(written) <= LONGEST_CALL:
        return call
    remark = json.dumps({"left_out": f"{len(written)} characters"})
    return attrs.evolve(call, request=attrs.evolve(call.request, arguments=remark))


def weight(entries: Iterable[Entry]) -> int:
    """Bytes of the entries as messages of a request."""
    return sum(map(_weigh, entries))


def _weigh(entry: Entry) -> int:
    return context.size(context.messages([entry]))
