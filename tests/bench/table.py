"""From samples to a table for people: one line a figure, with its budget and its floor."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from attrs import frozen

from tests.bench import appointments, jobs, measures, rendering

HEAD = ("what", "budget", "stretch", "median", "p99", "min - max", "n", "floor", "ratio")


@frozen
class Line:
    """A figure of the table. `scale` turns samples into `unit`; budgets are in that unit.

    A figure with `more` set is better when it is larger. `p99` are the budget and the stretch of
    the 99th percentile, where it has one. A figure without a budget is there for information.
    """

    name: str
    title: str
    unit: str
    budget: float | None = None
    stretch: float | None = None
    scale: float = 1.0
    more: bool = False
    p99: tuple[float, float] | None = None


# The executor had 25 MB (20) before it kept warm boxes; see ARCHITECTURE.md, "Budgets".
LINES = (
    Line(measures.ENTRY, "process start to first getUpdates", "s", 0.5, 0.4),
    Line(measures.VERY_FIRST, "  the very first one, which makes the database", "s"),
    Line(measures.RSS_IDLE, "daemon RSS idle", "MB", 45, 40),
    Line(measures.RSS_USED, "daemon RSS after the first turn", "MB", 85, 75),
    Line(measures.FIRST, "first turn after start, done (from process start)", "s", 1.5, 1.0),
    Line(measures.FIRST_IDLE, "first turn of an idle daemon, done", "s"),
    Line(measures.OWN, "own time per turn", "ms", 10, 8, scale=1e3, p99=(30, 20)),
    Line(measures.CPU, "CPU per message, one after another", "ms", 10, 8, scale=1e3),
    Line(measures.BURST, "50 chats x 10 messages at once", "msg/s", 90, 120, more=True),
    Line(measures.BURST_CPU, "  CPU per message", "ms", 10, 8, scale=1e3),
    Line(measures.SLOW, "20 messages, 10 chats, model takes 0.5 s", "s", 1.2, 1.1),
    Line(measures.TOOL, "print(1) end to end, in a session", "ms", 30, 25, scale=1e3),
    Line(measures.TOOL_FRESH, "  in a box of its own", "ms", 30, 25, scale=1e3),
    Line(measures.EXECUTOR, "executor PSS idle, beside its daemon, with warm boxes", "MB", 40, 35),
    Line(measures.EXECUTOR_ALONE, "  alone on the machine", "MB"),
    Line(appointments.PICKING, "picking the due of 1,000,000 jobs", "ms", 5, 1, scale=1e3),
    Line(appointments.START_MORE, "  start, more than with 10 jobs", "s", 0.2, 0.1),
    Line(appointments.RSS_BASE, "  daemon RSS idle, with 10 jobs", "MB"),
    Line(appointments.RSS_MORE, "  more of it with 1,000,000", "MB", 1, 0.5),
    Line(
        *(appointments.ORDINARY, "an ordinary message while 5,000 jobs are due at once", "s"),
        p99=(1.0, 0.5),
    ),
    Line(appointments.ALONE, "  before they are", "s"),
    Line(appointments.BURST, "  runs of theirs", "/s"),
    Line(rendering.ANSWER, "rendering an answer of 12 kB", "ms", 10, 8, scale=1e3),
    Line(rendering.WORST, "  100 kB, the worst of many", "ms", 200, 150, scale=1e3),
    Line(jobs.BASE, "a bare python3 -I -c pass, to which these are ratios", "ms", scale=1e3),
    Line(jobs.INSTRUCTION, "  job, first instruction", "x", 0.4, 0.4),
    Line(jobs.FRAME, "  job, first frame at the client", "x", 0.6, 0.5),
    Line(jobs.RESULT, "  job, trivial result", "x", 1.0, 0.8),
    Line(jobs.CELL, "  cell of a session", "x", 0.3, 0.3),
    Line(jobs.COLD, "  job in firejail, cold", "x", 4.5, 4.0),
    Line(jobs.KILL, "  kill to empty of 64 processes", "x", 3.0, 2.0),
    Line(jobs.PLOT, "a plot, preloaded to fresh", "x", 0.2, 0.1),
    Line(jobs.PARALLEL, "jobs/s of 8 clients to those of one", "x", 2.0, 2.5, more=True),
    Line(jobs.BUSY, "  share of the processors that they use", "", 0.9, 0.95, more=True),
    Line(jobs.SERIAL_RATE, "  with warm boxes, one client", "/s"),
    Line(jobs.PARALLEL_RATE, "  with warm boxes, 8 clients", "/s"),
    Line(jobs.WARM_PSS, "executor with its zygote and 3 warm boxes, PSS", "MB", 40, 35),
)


def table(ours: Mapping[str, Sequence[float]], floor: Mapping[str, Sequence[float]]) -> str:
    """The lines that there are samples for, in columns."""
    rows: list[tuple[str, ...]] = [HEAD]
    rows += [
        _row(line, ours[line.name], floor.get(line.name)) for line in LINES if line.name in ours
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    return "\n".join(_joined(row, widths) for row in rows)


def _joined(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = zip(row, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)])


def _row(line: Line, samples: Sequence[float], floor: Sequence[float] | None) -> tuple[str, ...]:
    values = sorted(sample * line.scale for sample in samples)
    median = statistics.median(values)
    below = statistics.median(floor) * line.scale if floor else None
    return (
        line.title,
        _bound(line.budget, line.p99 and line.p99[0], line.unit),
        _bound(line.stretch, line.p99 and line.p99[1], line.unit),
        f"{_number(median)} {line.unit} {_verdict(line, median)}".rstrip(),
        _percentile_cell(line, values),
        f"{_number(values[0])} - {_number(values[-1])}",
        str(len(values)),
        "" if below is None else _number(below),
        f"{median / below:.2f}" if below else "",
    )


def _bound(value: float | None, p99: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"{value:g} {unit}" if p99 is None else f"{value:g} {unit}, p99 {p99:g}"


def _percentile_cell(line: Line, values: Sequence[float]) -> str:
    return _number(percentile(values, 0.99)) if line.p99 else ""


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest of `ordered` that at least `share` of them do not exceed."""
    index = -int(-share * len(ordered) // 1) - 1
    return ordered[max(0, min(len(ordered) - 1, index))]


def _verdict(line: Line, median: float) -> str:
    """A mark for the eye: `+` within the stretch, `!` over the budget."""
    if line.budget is None or line.stretch is None:
        return ""
    sign = -1 if line.more else 1
    if sign * median <= sign * line.stretch:
        return "+"
    return "" if sign * median <= sign * line.budget else "!"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3g}"
