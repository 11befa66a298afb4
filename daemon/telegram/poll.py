"""The intake: long polling that confirms an update only when it is in the database.

One loop: ask for updates after `offset`, commit them together with the next offset, wake the
router, ask again. The poll has an HTTP client of its own, so that no send can hold it up, and a
hard deadline around it, so that no half-open connection can. What goes wrong is a `Pause`: a
state that is shown and a delay; nothing ends the loop but a fault of ours.

The watchdog is fed here and only here: by a completed poll, and by every state that is known and
shown (unreachable, another poller, a refused token).
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol

import trio
from attrs import define, field, frozen

from daemon import log
from daemon.chat.intake import CHANNEL
from daemon.store import inbox
from daemon.store.db import Database
from daemon.telegram.api import ApiError, BotApi, Refused, RefusedToken, TooMany
from daemon.telegram.types import ALLOWED_UPDATES, MAX_INTEGER, Json

LIMIT = 100  # updates in one answer; Telegram's most
ANSWER_SLACK = 10.0  # seconds beyond the poll's own timeout for the answer to arrive
HARD_SLACK = 20.0  # seconds beyond it after which the poll is cut off, whatever it does
FIRST_BACKOFF = 0.5
LONGEST_BACKOFF = 30.0
CONFLICT = 409
# Telegram ends the older of two polls. After our own restart the other is a ghost of ourselves
# and goes within seconds; one that stays is somebody else's, and is not to be fought with.
CONFLICT_PROBES = 3
CONFLICT_PROBE_DELAY = 2.0
CONFLICT_DELAY = 35.0
LONGEST_THROTTLE = 3600.0  # seconds; a number that is wrong must not make us deaf for days
# A webhook is in a poll's way. The configuration says to poll, so it is removed; but if it is back
# before these seconds are over, another program wants it, and is not to be fought with either.
UNHOOK_EVERY = 600.0
FEED_EVERY = 10.0  # seconds between feedings of the watchdog during a pause
# A server holds the poll until there is something. One that answers at once with nothing new (a
# test server that cannot hold it, or one that hands out the same for ever) is not to be asked in a
# busy loop; a few such answers are usual after a start.
QUICK = 0.5  # seconds
QUICK_ANSWERS = 3
IDLE_DELAY = 0.5

_log = log.get("poll")


# --- What to do when a poll fails ---


@frozen
class Pause:
    """Wait `delay` seconds (None: until told to go on) and say `state` meanwhile."""

    state: str
    delay: float | None


def after_failure(error: ApiError, failures: int, chance: float) -> Pause:
    """What becomes of the poll after `failures` (from 1) failures in a row.

    `chance` in [0, 1) spreads the delay.
    """
    match error:
        case RefusedToken():
            return Pause("the token was refused: put a new one in place and send SIGHUP", None)
        case Refused(code=code) if code == CONFLICT:
            base = CONFLICT_PROBE_DELAY if failures <= CONFLICT_PROBES else CONFLICT_DELAY
            return Pause(f"in conflict: {error.description}", base * (0.5 + chance))
        case TooMany(retry_after):
            return Pause("throttled by Telegram", min(retry_after, LONGEST_THROTTLE))
        case _:
            delay = min(LONGEST_BACKOFF, FIRST_BACKOFF * math.ldexp(1, min(failures, 10) - 1))
            return Pause(f"unreachable: {error}", delay * (0.5 + chance / 2))


def idle_delay(quick_answers: int) -> float:
    """Seconds to wait after so many quick answers in a row without anything new."""
    return IDLE_DELAY if quick_answers > QUICK_ANSWERS else 0.0


# --- The loop ---


class Intake(Protocol):
    """What lets updates in: this, or the webhook in its place."""

    name: str
    last_answer: float | None

    def resume(self, token: str) -> None: ...

    async def run(self, *, task_status: trio.TaskStatus[Any]) -> NoReturn: ...


@define
class Poll:
    """Polls for one bot.

    `wake` tells the router of new rows. `show` says that the intake lives, and in which state.
    """

    database: Database
    api: BotApi
    account: str
    timeout: int
    wake: Callable[[], None]
    show: Callable[[str], None]
    name: str = "poll"
    last_answer: float | None = None  # trio's clock, of the last completed poll
    _failures: int = 0
    _quick_answers: int = 0  # in a row, with nothing new
    _unhooked: float = -math.inf  # trio's clock, when a webhook was last removed
    _resume: trio.Event = field(factory=trio.Event)

    def resume(self, token: str) -> None:
        """Go on at once, with `token`: the owner has mended what stopped us."""
        self.api.token = token
        self._resume.set()
        self._resume = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[Any]) -> NoReturn:
        """Poll for ever; ready from the first request on, reachable or not."""
        offset = await self.database.read(inbox.next_offset, CHANNEL, self.account)
        task_status.started()
        while True:
            resume = self._resume  # a new token may come while the old one is still being refused
            asked = trio.current_time()
            try:
                updates = await self._ask(offset)
            except ApiError as error:
                if not await self._unhook(error):
                    pause = after_failure(error, self._failures + 1, random.random())  # noqa: S311
                    await self._pause(pause, resume)
                continue
            self._answered()
            offset, new = await self._keep(updates, offset)
            quick = not new and trio.current_time() - asked < QUICK
            self._quick_answers = self._quick_answers + 1 if quick else 0
            await trio.sleep(idle_delay(self._quick_answers))

    async def _ask(self, offset: int | None) -> list[Json]:
        params: Json = {
            "timeout": self.timeout,
            "limit": LIMIT,
            "allowed_updates": ALLOWED_UPDATES,
        }
        if offset is not None:
            params["offset"] = offset
        with trio.move_on_after(self.timeout + HARD_SLACK):
            answer = await self.api.call(
                "getUpdates", params, read_timeout=self.timeout + ANSWER_SLACK
            )
            return read_updates(answer)
        raise ApiError("the poll took longer than it can and was cut off")

    async def _unhook(self, error: ApiError) -> bool:
        """Remove the webhook that refused a poll, if one did; what waits for it is kept for us."""
        now = trio.current_time()
        if not is_webhook(error) or now - self._unhooked < UNHOOK_EVERY:
            return False
        self._unhooked = now
        try:
            await self.api.call("deleteWebhook", {"drop_pending_updates": False})
        except ApiError as failure:
            _log.warning("the webhook could not be removed", error=failure)
            return False
        _log.info("a webhook was set; removed, since telegram.mode is poll")
        return True

    async def _keep(self, updates: Sequence[Json], offset: int | None) -> tuple[int | None, int]:
        """Commit the updates; gives the next offset, and how many were new."""
        if not updates:
            return offset, 0
        offset = following(updates, offset)
        new = await self.database.write(
            inbox.receive, CHANNEL, self.account, updates, offset, time.time()
        )
        _log.debug("updates kept", new=new, of=len(updates))
        if new:
            self.wake()
        return offset, new

    def _answered(self) -> None:
        if self._failures or self.last_answer is None:
            _log.info("polling", failures=self._failures)
        self._failures = 0
        self.last_answer = trio.current_time()
        self.show("polling")

    async def _pause(self, pause: Pause, resume: trio.Event) -> None:
        self._failures += 1
        _log.warning("poll failed", state=pause.state, retry_in=pause.delay, n=self._failures)
        with trio.move_on_after(math.inf if pause.delay is None else pause.delay):
            while True:
                self.show(pause.state)
                with trio.move_on_after(FEED_EVERY):
                    await resume.wait()
                    return


def is_webhook(error: ApiError) -> bool:
    """Whether a poll was refused because a webhook is set."""
    return (
        isinstance(error, Refused)
        and error.code == CONFLICT
        and "webhook is active" in error.description
    )


def read_updates(answer: object) -> list[Json]:
    """The updates in an answer, whatever else is among them. Raises ApiError if there are none."""
    if not isinstance(answer, list):
        raise ApiError("getUpdates did not answer with a list of updates")
    updates = [each for each in answer if isinstance(each, dict)]
    if answer and not any(isinstance(each.get("update_id"), int) for each in updates):
        # Nothing in it could be confirmed, so it would come again at once, for ever.
        raise ApiError("getUpdates answered with updates that have no number")
    if len(updates) < len(answer):
        # They must not keep us from the others, which would come with them again, for ever.
        _log.warning("what is no update is ignored", count=len(answer) - len(updates))
    return updates


def following(updates: Sequence[Json], offset: int | None) -> int | None:
    """The offset that confirms `updates`: one past the last id, whatever it was before.

    Ids restart at a random value after a quiet week, so a smaller one is no mistake.
    """
    ids = [each.get("update_id") for each in updates]
    known = [each for each in ids if type(each) is int and 0 <= each <= MAX_INTEGER]
    return known[-1] + 1 if known else offset
