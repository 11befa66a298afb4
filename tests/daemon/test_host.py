"""The host's view: notifications, the watchdog, and signals in a real process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from daemon import host


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket as systemd makes it, and its address as NOTIFY_SOCKET gives it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@famulus-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        sock.settimeout(5)
        yield sock, name


def test_notifications_arrive(
    systemd: tuple[socket.socket, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a path or in the abstract namespace, one datagram each."""
    sock, address = systemd
    monkeypatch.setenv("NOTIFY_SOCKET", address)

    assert host.notify_ready("polling\nMAINPID=1")
    assert host.notify_status("idle")
    assert host.notify_stopping()
    assert host.notify_reloading()

    assert sock.recv(4096) == b"READY=1\nSTATUS=polling MAINPID=1"
    assert sock.recv(4096) == b"STATUS=idle"
    assert sock.recv(4096) == b"STOPPING=1\nSTATUS="
    assert sock.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC=")


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/at/all", "/" + "x" * 200])
def test_without_systemd_nothing_happens(address: str) -> None:
    """A terminal, a container, a socket that is gone."""
    assert host.notify("READY=1", {"NOTIFY_SOCKET": address}) is False


def test_a_full_queue_does_not_block(
    systemd: tuple[socket.socket, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Notifications are dropped and not waited for."""
    _, address = systemd
    monkeypatch.setenv("NOTIFY_SOCKET", address)

    assert not all(host.notify("STATUS=" + "x" * 10_000) for _ in range(1000))


# --- The watchdog ---


def watchdog(interval: float | None) -> tuple[host.Watchdog, list[str], list[float]]:
    """A watchdog with a list in place of systemd, and a clock to set."""
    sent: list[str] = []
    now = [100.0]
    return host.Watchdog(interval, sent.append, lambda: now[0]), sent, now


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "180000000"}, 180.0),
        ({"WATCHDOG_USEC": "180000000", "WATCHDOG_PID": str(os.getpid())}, 180.0),
        ({"WATCHDOG_USEC": "180000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "²"}, None),
    ],
)
def test_the_interval_is_read_for_this_process(
    environ: dict[str, str], interval: float | None
) -> None:
    """WATCHDOG_PID names who must feed it; a child must not."""
    assert host.Watchdog.from_environment(environ).interval == interval


def test_feeding_is_sent_at_most_once_a_second() -> None:
    """Except when the reason changes, which people see in `systemctl status`."""
    dog, sent, now = watchdog(180.0)
    dog.feed("polling")
    now[0] += 0.5
    dog.feed("polling")
    dog.feed("unreachable")
    now[0] += 1.0
    dog.feed("unreachable")

    assert sent == [
        "WATCHDOG=1\nSTATUS=polling",
        "WATCHDOG=1\nSTATUS=unreachable",
        "WATCHDOG=1\nSTATUS=unreachable",
    ]
    assert (dog.fed_at, dog.reason) == (101.5, "unreachable")


def test_without_a_watchdog_feeding_is_only_noted() -> None:
    """The status shows it all the same."""
    dog, sent, _ = watchdog(None)
    dog.feed("polling")

    assert (sent, dog.reason) == ([], "polling")


def test_an_interval_shorter_than_three_polls_is_a_problem() -> None:
    """It would kill a healthy daemon between two feeds."""
    assert watchdog(None)[0].problem(50) is None
    assert watchdog(150.0)[0].problem(50) is None
    assert "set WatchdogSec=150" in (watchdog(60.0)[0].problem(50) or "")


# --- Signals ---


async def test_signals_are_events() -> None:
    """SIGHUP reloads, SIGTERM and SIGINT stop; the earlier handlers come back."""
    before = signal.getsignal(signal.SIGTERM)
    for number, event in (
        (signal.SIGHUP, host.Event.RELOAD),
        (signal.SIGTERM, host.Event.STOP),
        (signal.SIGINT, host.Event.STOP),
    ):
        with host.signals() as signals, trio.fail_after(20):
            os.kill(os.getpid(), number)
            assert await anext(signals) is event
    assert signal.getsignal(signal.SIGTERM) is before


STUBBORN = """
import trio
from daemon import host

async def main():
    with host.signals() as signals:
        print("ready", flush=True)
        async for event in signals:
            print(event.value, flush=True)

trio.run(main)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(number: signal.Signals) -> None:
    """Even a daemon that would never end by itself."""
    with subprocess.Popen(
        [sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == "reload\n"
        process.send_signal(number)
        assert process.stdout.readline() == "stop\n"
        process.send_signal(number)

        assert process.wait(10) == -number
