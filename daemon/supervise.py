"""Keeps the daemon's long-lived tasks alive, and knows when to stop trying.

What to do after a failure is a pure function of how often and how recently the task failed
(`after_failure`); `supervise` is the thin Trio loop around it. A task that fails is run again after
a delay that doubles; five good minutes forgive the past; too many failures in a row end the
process, so that systemd acts. A `Fatal` error, which no restart can cure, goes through at once.

`except Exception` here is the supervision boundary, the only place of its kind. Cancellation,
KeyboardInterrupt and SystemExit are no failures and always go through, also when they arrive in
one exception group together with a failure: then the failure is logged and the rest goes on up.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Final, NoReturn

import attrs
import trio
from attrs import define, field, frozen

from daemon import log
from daemon.errors import FamulusError, Fatal, leaves

__all__ = [
    "Escalated",
    "Fatal",
    "Health",
    "Policy",
    "after_failure",
    "exit_code",
    "leaves",
    "supervise",
]

EXIT_FAILED: Final = 1

_log = log.get("supervise")


class Escalated(FamulusError):
    """A task failed too often in a row. The process ends with 1, so that systemd restarts it."""

    exit_code: ClassVar[int] = EXIT_FAILED


class ReturnedError(FamulusError):
    """A task that should run for ever returned."""


# --- The policy, without time of its own ---


@frozen(kw_only=True)
class Policy:
    """When to try again. Times are seconds; `max_failures` None never gives up."""

    first_delay: float = 0.5
    max_delay: float = 60.0
    good_run: float = 300.0
    # With the delays above, ten failures in a row take at least three minutes: longer than a
    # reboot of the router, shorter than the patience of an owner.
    max_failures: int | None = 10


DEFAULT_POLICY: Final = Policy()


@frozen
class Restart:
    """Run it again after `delay` seconds; it has failed `failures` times in a row."""

    failures: int
    delay: float


@frozen
class GiveUp:
    failures: int


def after_failure(policy: Policy, failures: int, ran_for: float) -> Restart | GiveUp:
    """What to do now that a run of `ran_for` seconds failed, after `failures` earlier ones."""
    in_a_row = 1 if ran_for >= policy.good_run else failures + 1
    if policy.max_failures is not None and in_a_row >= policy.max_failures:
        return GiveUp(in_a_row)
    # The exponent is capped because 2.0 ** 1024 overflows, a day into a failure without limit.
    doubled = policy.first_delay * 2.0 ** min(in_a_row - 1, 64)
    return Restart(in_a_row, min(doubled, policy.max_delay))


# --- Health: what /status and `famulus status` show ---


@define
class TaskHealth:
    """One supervised task. `since` is when `state` began, in Unix seconds."""

    name: str
    state: str = "starting"  # starting, running, waiting (to be run again), stopped, failed
    failures: int = 0  # in a row
    restarts: int = 0  # since the start of the process
    last_error: str = ""
    note: str = ""  # the task's own words: "unreachable", "409: another poller"
    since: float = field(factory=time.time)
    delay: float | None = None  # seconds from `since` to the next run, while it is waiting for that

    def become(self, state: str) -> None:
        if state != self.state:
            self.state, self.since = state, time.time()


@define
class Health:
    """Every supervised task by name. Belongs to the Trio thread."""

    tasks: dict[str, TaskHealth] = field(factory=dict)

    def of(self, name: str) -> TaskHealth:
        return self.tasks.setdefault(name, TaskHealth(name))

    def note(self, name: str, note: str) -> None:
        """Let a task say what it is doing, in a word or two; shown beside its state."""
        self.of(name).note = note

    def retry_in(self, name: str, now: float) -> float | None:
        """Seconds from `now` (Unix seconds) to the next run of a task that waits for it."""
        task = self.of(name)
        return None if task.delay is None else max(0.0, task.since + task.delay - now)

    def report(self) -> list[dict[str, Any]]:
        """The table as plain values, in order of start."""
        return [attrs.asdict(task) for task in self.tasks.values()]


# --- The Trio loop ---


@define
class _Ready:
    """Stands in for the caller's task_status: passes on the first readiness, swallows others."""

    outer: trio.TaskStatus[Any]
    health: TaskHealth
    passed_on: bool = False

    def started(self, value: Any = None) -> None:  # noqa: ANN401 -- whatever the task gives
        self.health.become("running")
        if not self.passed_on:
            self.passed_on = True
            self.outer.started(value)


async def supervise(  # noqa: PLR0913 -- the call reads like a table row
    name: str,
    fn: Callable[..., Awaitable[object]],
    *args: Any,  # noqa: ANN401 -- the arguments of fn
    health: Health,
    policy: Policy = DEFAULT_POLICY,
    reports_ready: bool = False,
    task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Run `fn(*args)` for ever, again after each failure.

    Args:
      name: the task's name in the log and in the health table.
      fn: runs until it is cancelled. Returning is a failure like any other.
      *args: passed to fn at each run.
      health: the table that this task reports to.
      policy: how soon and how often to try again.
      reports_ready: pass `task_status` to fn, which calls `started(value)` once it is ready; the
        first value is passed on to the caller of `nursery.start(supervise, ...)`. Otherwise the
        task counts as ready when it is first run.
      task_status: Trio's, given by `nursery.start`.

    Raises:
      Fatal: raised by fn, alone or within an exception group.
      Escalated: fn failed `policy.max_failures` times in a row; the last error is its cause.

    Cancellation goes through at any point and marks the task as stopped.
    """
    mine = health.of(name)
    ready = _Ready(task_status, mine)
    run = _Run(name, fn, args, ready, reports_ready)
    try:
        await _for_ever(run, policy, mine)
    finally:
        if mine.state != "failed":
            mine.become("stopped")


@frozen
class _Run:
    """One supervised function with its arguments: what is run again and again."""

    name: str
    fn: Callable[..., Awaitable[object]]
    args: tuple[Any, ...]
    ready: _Ready
    reports_ready: bool

    async def once(self) -> Exception:
        """Run it until it fails, and return how. Raises what is no failure."""
        try:
            await self._call()
        except Exception as error:  # noqa: BLE001 -- the supervision boundary
            return error
        except BaseExceptionGroup as group:
            # A Cancelled (or KeyboardInterrupt, ...) came together with failures: it has the last
            # word, but the failures are told.
            failures, rest = group.split(Exception)
            if failures is None or rest is None or fatal_in(failures) is not None:
                raise
            _log.error("task failed while it was ending", task=self.name, exc_info=failures)
            raise rest from None
        return ReturnedError(f"{self.name} returned, though it should run for ever")

    async def _call(self) -> None:
        if self.reports_ready:
            await self.fn(*self.args, task_status=self.ready)
        else:
            self.ready.started()
            await self.fn(*self.args)


async def _for_ever(run: _Run, policy: Policy, health: TaskHealth) -> NoReturn:
    while True:
        begun = trio.current_time()
        error = await run.once()
        decision = after_failure(policy, health.failures, trio.current_time() - begun)
        health.failures = decision.failures
        health.last_error = describe(error)
        _raise_if_final(run.name, error, decision, health)
        assert isinstance(decision, Restart)  # noqa: S101 -- GiveUp has just been raised
        health.become("waiting")
        health.delay = decision.delay
        _log.warning(
            "task failed",
            task=run.name,
            retry_in=decision.delay,
            n=decision.failures,
            exc_info=error,
        )
        await trio.sleep(decision.delay)
        health.restarts += 1
        health.delay = None
        health.become("starting")


def _raise_if_final(
    name: str, error: Exception, decision: Restart | GiveUp, health: TaskHealth
) -> None:
    fatal = fatal_in(error)
    if fatal is None and isinstance(decision, Restart):
        return
    health.become("failed")
    if fatal is not None:
        _log.error("task cannot go on", task=name, cause=fatal.cause, remedy=fatal.remedy)
        raise error
    _log.error("task failed too often", task=name, n=decision.failures, exc_info=error)
    raise Escalated(
        f"{name} failed {decision.failures} times in a row: {describe(error)}"
    ) from error


# --- What an exception means for the process ---


def fatal_in(error: BaseException) -> Fatal | None:
    """The first `Fatal` in `error`, itself or within groups."""
    return next((leaf for leaf in leaves(error) if isinstance(leaf, Fatal)), None)


def describe(error: BaseException) -> str:
    """One line for people: the kind and text of each single exception, secrets masked."""
    texts = (f"{type(leaf).__name__}: {leaf}" for leaf in leaves(error))
    return log.one_line("; ".join(dict.fromkeys(texts)))


def exit_code(error: BaseException) -> int:
    """The process's exit code for an exception that ended it: 78 if no restart can cure it."""
    known = [leaf.exit_code for leaf in leaves(error) if isinstance(leaf, FamulusError)]
    return max(known, default=EXIT_FAILED)
