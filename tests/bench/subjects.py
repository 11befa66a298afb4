"""What is measured: a bot as a process of its own, and what the kernel says about it.

The servers live in the process that measures, so that on two cores they and the bot do not take
turns. A subject's processor time and memory are read from /proc: they count what it did, whatever
else the machine was doing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import trio
from attrs import define, frozen

from daemon.demo.botapi import BotApiServer
from daemon.demo.changes import NeverHappened
from daemon.demo.model import ModelServer
from daemon.demo.replies import ChatRequest
from daemon.demo.servers import DemoServers, open_demo_servers

ROOT = Path(__file__).resolve().parents[2]
# On the disk that holds the checkout: /tmp may be memory, where a commit costs nothing.
SCRATCH = ROOT / ".bench"
SCRATCH_VARIABLE = "FAMULUS_BENCH_SCRATCH"  # set by `--scratch`

MB = 1024 * 1024  # as ps and top print it
TICKS = os.sysconf("SC_CLK_TCK")
CORES = "FAMULUS_BENCH_CORES"  # set by `--pin`
END_TIMEOUT = 15.0  # seconds after SIGTERM before a subject is killed

CONFIG = """\
state_dir = "{place}/state"
[telegram]
token = {{ file = "{place}/token" }}
api_base_url = "{bot.base_url}"
allowed_users = {users}
[model]
base_url = "{model.base_url}"
name = "famulus-demo"
[executor]
socket = "{place}/executor.sock"
[budget]
user_day_tokens = 0
agent_day_tokens = 0
"""

INSTALLED = ("-m", "tests.bench.installed")  # see there

USERS = 64  # as many people as any measurement needs


@frozen
class Subject:
    """A bot that can be started: `arguments` for Python, given a folder of its own.

    One that is not `ordered` may answer the messages of a chat in any order.
    """

    name: str
    arguments: Callable[[Path, DemoServers], Sequence[str]]
    ordered: bool = True


def _daemon(place: Path, servers: DemoServers) -> Sequence[str]:
    return (*INSTALLED, "daemon", "run", "--config", str(write_config(place, servers)))


def _watched(place: Path, servers: DemoServers) -> Sequence[str]:
    config = str(write_config(place, servers))
    return (*INSTALLED, "tests.bench.watched", str(place / "steps"), "run", "--config", config)


def _floor(place: Path, servers: DemoServers) -> Sequence[str]:
    return (*INSTALLED, "tests.bench.floor", servers.bot.base_url, servers.bot.token)


FAMULUS = Subject("famulus", _daemon)
WATCHED = Subject("famulus, its loop watched", _watched)
FLOOR = Subject("floor", _floor, ordered=False)


def write_config(place: Path, servers: DemoServers) -> Path:
    """The daemon's configuration, in `place`."""
    token = place / "token"
    token.write_text(servers.bot.token)
    token.chmod(0o600)
    users = list(range(1, USERS + 1))
    text = CONFIG.format(place=place, bot=servers.bot, model=servers.model, users=users)
    path = place / "config.toml"
    path.write_text(text)
    return path


class Ended(AssertionError):
    """A subject has ended by itself; the message is its log."""


@define
class Running:
    """A subject that runs since `begun` (monotonic), with the servers that it talks to."""

    subject: Subject
    servers: DemoServers
    place: Path
    popen: subprocess.Popen[bytes]
    begun: float

    @property
    def bot(self) -> BotApiServer:
        return self.servers.bot

    @property
    def model(self) -> ModelServer:
        return self.servers.model

    def cpu_seconds(self) -> float:
        """Processor time so far, user and system, of all threads."""
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def rss_mb(self) -> float:
        return field_mb(self._proc("status"), "VmRSS:")

    def _proc(self, name: str) -> str:
        return Path(f"/proc/{self.popen.pid}/{name}").read_text()

    def log(self) -> str:
        return (self.place / "log").read_text()


def field_mb(text: str, name: str) -> float:
    """A field of a file in /proc that counts in kB, in MB."""
    lines = (line.split() for line in text.splitlines())
    return next(int(words[1]) for words in lines if words and words[0] == name) * 1024 / MB


@asynccontextmanager
async def servers() -> AsyncIterator[DemoServers]:
    """Fresh servers whose model says what it was asked, so that order can be checked."""
    model = ModelServer(script=repeat)
    async with open_demo_servers(model=model) as running:
        yield running


def repeat(request: ChatRequest) -> str:
    return request.user_text


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder on a disk, gone afterwards."""
    parent = Path(os.environ.get(SCRATCH_VARIABLE, SCRATCH))
    parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent) as name:
        yield Path(name)


@asynccontextmanager
async def running(subject: Subject, servers: DemoServers, place: Path) -> AsyncIterator[Running]:
    """Start a subject in `place` and end it with the block. Raises if it did not end by itself."""
    arguments = subject.arguments(place, servers)
    begun = time.monotonic()
    popen = start(arguments, place)
    try:
        yield Running(subject, servers, place, popen, begun)
    finally:
        end(popen)


def start(arguments: Sequence[str], place: Path) -> subprocess.Popen[bytes]:
    """Run Python with `arguments`; what it says is in `place/log`."""
    argv = [*_on_cores(), sys.executable, *arguments]
    with (place / "log").open("ab") as log:
        return subprocess.Popen(
            argv, cwd=ROOT, env=_compiled(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


def _compiled() -> dict[str, str]:
    """The environment of a subject that finds its modules compiled, as pip leaves them."""
    rest = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**rest, "PYTHONPYCACHEPREFIX": str(SCRATCH / "compiled")}


def _on_cores() -> Sequence[str]:
    """The words that keep a child to the cores that `--pin` left for it."""
    cores = os.environ.get(CORES)
    return ("taskset", "-c", cores) if cores else ()


def end(popen: subprocess.Popen[bytes]) -> None:
    """End it for certain. Nothing else runs here meanwhile, so this may block."""
    popen.send_signal(signal.SIGTERM)
    try:
        popen.wait(END_TIMEOUT)
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.wait()
        raise


async def answered(subject: Running, count: int, timeout: float = 60.0) -> None:
    """Wait until `count` messages in all were sent. Raises NeverHappened with the story."""
    await subject.bot.wait_for(lambda bot: len(bot.sent) >= count, timeout)


async def polling(subject: Running, after: int = 0, timeout: float = 30.0) -> float:
    """Wait for a getUpdates call beyond the first `after` calls; returns when it arrived.

    Raises Ended if the subject ends instead.
    """

    def found(bot: BotApiServer) -> float:
        return next((call.at for call in bot.calls[after:] if call.method == "getUpdates"), 0.0)

    with trio.fail_after(timeout):
        while True:
            with suppress(NeverHappened):
                return await subject.bot.wait_for(found, timeout=0.5)
            if subject.popen.poll() is not None:
                raise Ended(subject.log())


async def settled(seconds: float = 0.3) -> None:
    """Let what follows an answer (the last commits, collection) end before the next figure."""
    await trio.sleep(seconds)
