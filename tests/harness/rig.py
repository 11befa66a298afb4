"""The real daemon, as a process, against the demo's two servers in this one.

A `Rig` is one bot's whole world: the servers, a private directory with configuration and state,
and at most one daemon at a time, which can be started, killed and started again. The servers are
plain objects of the test, so what arrived is read and what goes wrong is arranged without a
further protocol; the database is read where it lies.

    async with open_rig(users=[1, 2]) as rig:
        await rig.start()                                # returns when it polls
        rig.bot.user_says("hello")
        await rig.bot.wait_for(lambda bot: bot.texts(1))
        rig.kill_now()
        await rig.start()
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import trio
from attrs import define, field

from daemon.demo.botapi import BotApiServer
from daemon.demo.model import MODEL_NAME, ModelServer
from daemon.demo.place import Place, temporary_place, toml, write_private
from daemon.demo.servers import DemoServers, open_demo_servers
from tests.harness import ledger

ROOT = Path(__file__).parents[2]
# What the model server wants, so that it goes over the wire and could be logged.
MODEL_KEY = "sk-no-secret-but-guarded-like-one-0000"

DAEMON = (sys.executable, "-m", "daemon")

# Seconds. Generous, because they only end tests that have failed; a busy machine is no failure.
START_TIMEOUT = 30.0
END_TIMEOUT = 30.0
LOOK_EVERY = 0.01  # at files, which ring no bell
LOOK_AGAIN = 0.2  # at the database, which rings none either

Tables = Mapping[str, Any]


class DaemonEnded(AssertionError):
    """The daemon ended by itself; the message has the end of its log."""


@define(eq=False)
class Rig:
    """One daemon after the other, all with the same configuration, state and servers.

    Made by `open_rig`, which ends what still runs. Starting and ending processes is for the main
    thread.
    """

    place: Place
    demo: DemoServers
    environment: dict[str, str] = field(factory=dict)
    with_executor: bool = False
    _popen: subprocess.Popen[bytes] | None = None

    @property
    def bot(self) -> BotApiServer:
        return self.demo.bot

    @property
    def model(self) -> ModelServer:
        return self.demo.model

    @property
    def pid(self) -> int:
        """The daemon's process id; it stays the daemon's until `ended` has reaped it."""
        assert self._popen is not None, "no daemon was started"
        return self._popen.pid

    @property
    def runs(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    # --- Processes ---

    def spawn(self, command: Sequence[str] = DAEMON) -> None:
        """Start a daemon and return at once. `command` takes the arguments of `famulus`."""
        assert not self.runs, "one daemon at a time"
        extra = ["--with-executor"] if self.with_executor else []
        with self.place.log.open("ab") as log:
            self._popen = subprocess.Popen(
                [*command, "run", "--config", str(self.place.config), *extra],
                cwd=ROOT,
                env={**os.environ, **self.environment, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def start(self, command: Sequence[str] = DAEMON) -> None:
        """Start a daemon and return when it has polled. Raises DaemonEnded."""
        polls = self.bot.count("getUpdates")
        self.spawn(command)
        await self.until(lambda: self.bot.count("getUpdates") > polls, START_TIMEOUT)

    async def until(self, happened: Any, timeout: float = END_TIMEOUT) -> Any:
        """Wait for a true `happened()`, and give its value.

        It is looked at after every call of the bot, and a few times a second: no call tells of
        what the daemon writes after its last one. Raises DaemonEnded if the daemon ends first,
        NeverHappened after `timeout` seconds.
        """
        result: list[Any] = []

        async def look(scope: trio.CancelScope) -> None:
            result.append(await self.bot.wait_for(lambda _: happened(), timeout))
            scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look, nursery.cancel_scope)
            nursery.start_soon(self._ring)
            await self._exited()
            nursery.cancel_scope.cancel()
        if not result:
            raise DaemonEnded(f"the daemon ended with {await self.ended()}:\n{self.last_words()}")
        return result[0]

    async def _ring(self) -> None:
        """Have everybody who waits look again, until cancelled."""
        while True:
            await trio.sleep(LOOK_AGAIN)
            self.bot.world.changes.tell()

    async def _exited(self) -> None:
        """Wait for the daemon's end, without reaping it."""
        assert self._popen is not None
        if self._popen.returncode is not None:
            return
        pidfd = os.pidfd_open(self._popen.pid)
        try:
            await trio.lowlevel.wait_readable(pidfd)
        finally:
            os.close(pidfd)

    async def ended(self, timeout: float = END_TIMEOUT) -> int:
        """Wait for the daemon's end and give its exit code. Raises trio.TooSlowError."""
        assert self._popen is not None
        with trio.fail_after(timeout):
            await self._exited()
        return self._popen.wait()

    def kill_now(self) -> None:
        """Kill it between two instructions, and return when the kernel has taken it apart.

        Blocks the servers for that moment: nothing that it sent is answered before it is gone.
        """
        if self._popen is not None:
            self.signal(signal.SIGKILL)
            self._popen.wait()

    async def stop(self, timeout: float = END_TIMEOUT) -> int:
        """Ask it to end, and give its exit code. Raises trio.TooSlowError."""
        self.signal(signal.SIGTERM)
        return await self.ended(timeout)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; one that has ended is past caring."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    # --- What is left of it ---

    @contextmanager
    def database(self) -> Iterator[sqlite3.Connection]:
        """A read-only connection to the daemon's database, whether it runs or not."""
        path = self.place.state / "famulus.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as connection:
            connection.row_factory = sqlite3.Row
            yield connection

    def rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        with self.database() as db:
            return db.execute(query, values).fetchall()

    def value(self, query: str, *values: object) -> Any:
        return self.rows(query, *values)[0][0]

    def log(self) -> str:
        return self.place.log.read_text(encoding="utf-8", errors="replace")

    async def log_says(self, words: str, timeout: float = START_TIMEOUT) -> None:
        """Wait until the log has `words`. Raises trio.TooSlowError."""
        with trio.fail_after(timeout):
            while True:
                if words in self.log():
                    return
                await trio.sleep(LOOK_EVERY)

    def last_words(self) -> str:
        return "\n".join(line[:400] for line in self.log().splitlines()[-12:])

    def memory(self) -> dict[str, int]:
        """The running daemon's VmRSS and VmHWM and the like, in kB."""
        text = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        lines = (line.split() for line in text.splitlines() if line.endswith(" kB"))
        return {name.rstrip(":"): int(size) for name, size, _ in lines}

    # --- Configuration ---

    def configure(self, users: Iterable[int], **tables: Tables | object) -> None:
        """Write the configuration; `tables` are laid over the usual ones, key by key."""
        document: dict[str, Any] = {
            "state_dir": str(self.place.state),
            "telegram": {
                "token": {"file": str(self.place.token)},
                "api_base_url": self.bot.base_url,
                "allowed_users": sorted(users),
            },
            "log": {"level": "debug"},
            "model": {
                "base_url": self.model.base_url,
                "name": MODEL_NAME,
                "api_key": {"file": str(self.place.root / "model.key")},
            },
            "executor": {
                "socket": str(self.place.socket),
                "workspaces": str(self.place.workspaces),
            },
        }
        for name, given in tables.items():
            under = document.get(name, {})
            document[name] = {**under, **given} if isinstance(given, Mapping) else given
        write_private(self.place.config, toml(document))
        write_private(self.place.token, self.bot.token)
        write_private(self.place.root / "model.key", MODEL_KEY)

    # --- Secrets ---

    def secrets_in_log(self) -> list[str]:
        """Lines of the log that hold the bot's token or the model's key, whole or in part."""
        _, secret = self.bot.token.split(":")
        return [line for line in self.log().splitlines() if secret in line or MODEL_KEY in line]

    def keep_log(self) -> None:
        """Copy the log to where the environment wants all logs, for a search over the suite."""
        if kept := os.environ.get("FAMULUS_TEST_LOGS"):
            shutil.copy(self.place.log, Path(kept, f"{self.place.root.name}.log"))


@asynccontextmanager
async def open_rig(
    users: Iterable[int] = (1,),
    *,
    latency: float = 0.0,
    with_executor: bool = False,
    **tables: Tables | object,
) -> AsyncIterator[Rig]:
    """Open the servers and a place, configure a daemon, and end whatever runs on the way out.

    `latency` is the model's, in seconds. `tables` go into the configuration: `agent={...}`,
    `shutdown_grace=2.0`. No daemon is started. An error within arrives in an ExceptionGroup.
    """
    with temporary_place() as place:
        async with open_demo_servers() as demo:
            demo.model.latency = latency
            rig = Rig(place, demo, with_executor=with_executor)
            rig.configure(users, **tables)
            demo.model.api_key = MODEL_KEY
            try:
                yield rig
            finally:
                rig.kill_now()
            ledger.note(rig.bot.calls)
            if rig.place.log.exists():
                rig.keep_log()
                assert rig.secrets_in_log() == []
