"""A timer on the wall clock, which ends early when that clock is set.

Trio's sleep counts monotonic time: it does not see that somebody has set the clock, and stands
still while the machine is suspended. timerfd_create(2) with TFD_TIMER_CANCEL_ON_SET tells the
first, and fires at once after the second if its time has passed.
"""

from __future__ import annotations

import errno
import os
from types import TracebackType
from typing import Any, Final, Self

import trio
from attrs import define

# <linux/timerfd.h> and <time.h>, the same on every architecture.
CLOCK_REALTIME: Final = 0
TFD_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC
TFD_TIMER_ABSTIME: Final = 1
TFD_TIMER_CANCEL_ON_SET: Final = 2

NANOSECONDS: Final = 1_000_000_000
COUNTER_BYTES: Final = 8
FARTHEST: Final = 2.0**40  # seconds; no clock shows more


@define
class WallAlarm:
    """One timer, which is opened by its first wait and closed at the end of its context."""

    _fd: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    async def wait(self, until: float) -> None:
        """Return at the time `until` (Unix seconds), or as soon as the clock is set."""
        if self._fd is None:
            self._fd = _create()
        try:
            _arm(self._fd, min(until, FARTHEST))
            await trio.lowlevel.wait_readable(self._fd)
            os.read(self._fd, COUNTER_BYTES)
        except OSError as error:
            # The clock was set, since the last wait perhaps, of which the kernel tells who sets the
            # timer anew; or a time that had come was taken back by that.
            if error.errno not in {errno.ECANCELED, errno.EAGAIN}:
                raise
            await trio.lowlevel.checkpoint()


def _create() -> int:
    fd: int = _libc().timerfd_create(CLOCK_REALTIME, TFD_FLAGS)
    return _checked(fd)


def _arm(fd: int, until: float) -> None:
    """Let the timer fire at `until`, at once if that has passed. Zero would turn it off."""
    import ctypes  # noqa: PLC0415

    nanoseconds = max(1, int(until * NANOSECONDS))
    spec = (ctypes.c_long * 4)(0, 0, *divmod(nanoseconds, NANOSECONDS))  # struct itimerspec
    flags = TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET
    _checked(_libc().timerfd_settime(fd, flags, spec, None))


def _checked(result: int) -> int:
    import ctypes  # noqa: PLC0415

    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _libc() -> Any:  # noqa: ANN401  (a library has no type of its own)
    import ctypes  # noqa: PLC0415  (a megabyte, which only those pay who have appointments)

    return ctypes.CDLL(None, use_errno=True)
