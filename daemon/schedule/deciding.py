"""What becomes of the instants of a job that have come, and of a run that failed. Pure."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from daemon.schedule.recurrence import Recurrence, newest_due, next_after

# Seconds that an instant may lie back when the daemon begins to look: a restart is no absence.
GRACE: Final = 60.0
# No clock that was set shows less, which is 2026: a machine without a battery wakes up in 1970.
OLDEST: Final = 1_767_225_600.0
# How many instants of one job are made up for at most.
MOST_MADE_UP: Final = 10
# Seconds between a failed run and the next try of it.
RETRIES: Final = (60.0, 300.0, 1800.0)
# A job that came to nothing so often in a row is paused: somebody pays for it.
MOST_FAILURES: Final = 5


@frozen
class Clock:
    """What time it is, and since when we have looked without a break, in Unix seconds."""

    now: float
    awake_since: float

    def has_missed(self, instant: float) -> bool:
        """Whether nobody looked when the instant came; late by work that waits is not missed."""
        return instant < self.awake_since - GRACE


@frozen
class Arrival:
    """An instant and the number of older ones for which it stands."""

    instant: float
    stands_for: int = 0


@frozen
class Arrivals:
    """What to do about the instants that have come: which are run, and which are missed.

    `begun` are all that have come so far, and `next_at` is the one that comes next.
    """

    run: tuple[Arrival, ...]
    missed: Arrival | None
    begun: int
    next_at: float | None


@frozen
class Standing:
    """A job at an instant that has come: `first` is that, `open_runs` have not ended yet."""

    recurrence: Recurrence
    missed: str
    first: float
    begun: int
    open_runs: int


def arrivals(job: Standing, clock: Clock) -> Arrivals:
    """What to do about all instants from `first` to now.

    `skip` runs what comes in time while nothing of the job runs; `once` runs the newest for all,
    behind one that runs; `all` runs each, the newest `MOST_MADE_UP`.
    """
    due = newest_due(job.recurrence, job.first, clock.now, MOST_MADE_UP, job.begun)
    count = len(due.instants) if due.total is None else due.total
    begun = job.begun + count
    runs = _runs(job, clock, due.instants)
    older = count - len(runs)
    missed = None
    if runs and older:
        runs = (Arrival(runs[0].instant, older), *runs[1:])
    elif older:
        missed = Arrival(due.instants[-1], older - 1)
    return Arrivals(runs, missed, begun, next_after(job.recurrence, clock.now, begun))


def _runs(job: Standing, clock: Clock, instants: tuple[float, ...]) -> tuple[Arrival, ...]:
    match job.missed:
        case "all":
            room = max(0, MOST_MADE_UP - job.open_runs)
            chosen = instants[-room:] if room else ()
        case "once":
            chosen = instants[-1:] if job.open_runs <= 1 else ()
        case _:
            fits = not job.open_runs and not clock.has_missed(instants[-1])
            chosen = instants[-1:] if fits else ()
    return tuple(Arrival(each) for each in chosen)


def retry_after(attempts: int) -> float | None:
    """Seconds until a run that has failed so often is tried again; None: never."""
    return RETRIES[attempts - 1] if attempts <= len(RETRIES) else None


def lateness(seconds: float) -> str | None:
    """How late something is, in words; None if it is in time."""
    if seconds < GRACE:
        return None
    minutes = round(seconds / 60)
    if minutes < 120:  # noqa: PLR2004
        return f"{minutes} min"
    hours = round(seconds / 3600)
    return f"{hours} h" if hours < 48 else f"{round(seconds / 86400)} days"  # noqa: PLR2004
