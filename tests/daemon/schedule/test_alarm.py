"""The alarm on the wall clock: it rings at its time, and what the kernel says is understood."""

from __future__ import annotations

import ctypes
import errno
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio

from daemon.schedule import alarm as alarms
from daemon.schedule.alarm import WallAlarm


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def told_of(fd: int | None) -> dict[str, str]:
    """What the kernel tells of a descriptor, proc(5)."""
    lines = Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii").splitlines()
    return dict(line.split(": ", 1) for line in lines if ": " in line)


@pytest.mark.parametrize("after", [-1e9, -1.0, 0.0, 0.05])
async def test_it_rings_at_its_time(after: float) -> None:
    """At once if that has passed."""
    until = time.time() + after
    with WallAlarm() as alarm, trio.fail_after(20):
        await alarm.wait(until)
    assert time.time() >= until


async def test_one_alarm_rings_often() -> None:
    """A wait that was cancelled leaves nothing behind for the next."""
    with WallAlarm() as alarm:
        with trio.move_on_after(0.05) as early:
            await alarm.wait(time.time() + 3600)
        assert early.cancelled_caught
        with trio.fail_after(20):
            await alarm.wait(time.time() + 0.02)
            await alarm.wait(time.time() + 0.02)


async def test_a_time_beyond_all_clocks_is_far_away() -> None:
    """It is no error, and does not ring."""
    with WallAlarm() as alarm:
        with trio.move_on_after(0.05) as early:
            await alarm.wait(1e300)
        assert early.cancelled_caught


@pytest.mark.parametrize(("number", "rings"), [(errno.ECANCELED, True), (errno.EBADF, False)])
async def test_a_clock_that_is_set_rings(
    number: int, rings: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel says ECANCELED (timerfd_create(2)); anything else is an error."""

    def read(_fd: int, _size: int) -> bytes:
        raise OSError(number, os.strerror(number))

    with WallAlarm() as alarm:
        monkeypatch.setattr(alarms.os, "read", read)
        if rings:
            await alarm.wait(0.0)
        else:
            with pytest.raises(OSError, match="Bad file"):
                await alarm.wait(0.0)


async def test_a_clock_that_was_set_between_two_waits_rings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel refuses to set a timer whose clock was set since it was last set: it has rung."""

    def settime(*_values: object) -> int:
        ctypes.set_errno(errno.ECANCELED)
        return -1

    with WallAlarm() as alarm, trio.fail_after(20):
        await alarm.wait(0.0)
        with monkeypatch.context() as patched:
            patched.setattr(alarms, "_libc", lambda: SimpleNamespace(timerfd_settime=settime))
            await alarm.wait(time.time() + 3600)
        await alarm.wait(time.time() + 0.02)


async def test_its_descriptor_is_closed() -> None:
    """At the end of its context, whatever it waits for."""
    before = open_files()
    with WallAlarm() as alarm:
        await alarm.wait(0.0)
        assert open_files() == before + 1
    assert open_files() == before


async def test_the_flags_are_what_the_kernel_takes() -> None:
    """A timer that is asked to say when the clock is set is shown as such in /proc."""
    with WallAlarm() as alarm:
        with trio.move_on_after(0.01):
            await alarm.wait(time.time() + 3600)
        shown = told_of(alarm._fd)
    assert int(shown["clockid"]) == time.CLOCK_REALTIME
    assert int(shown["settime flags"], 8) == 3
