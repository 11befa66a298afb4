"""Jobs by the hundred, by clients of all manners: what `test_leaks.py` lets loose on an executor.

Each client has dice of its own, thrown from a fixed seed, so that a run can be had again. Some of
its jobs are honest, and what they give is checked; the others die, or their client goes away, at
any moment.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import trio
from attrs import frozen

from executor import messages, protocol
from executor.client import Job, Limits, Result
from executor.protocol import FrameType
from tests.executor import harness
from tests.executor.harness import Running

_PATIENCE = 120
LIMITS = Limits(wall_seconds=20.0, cpu_seconds=15, memory_bytes=128 << 20, output_bytes=1 << 20)
# What a client waits before it is gone, at most: a firejail takes as long to start. Seconds.
_MOMENT = 0.1
# What others left in places for temporary files; some stacks have none, and none of what is there.
# Of a sound server's folder on the host firejail shows the name, and no more (`test_reach.py`).
_LOOK_AROUND = """\
import os
for place in ('/tmp', '/var/tmp', '/dev/shm'):
    try: names = os.listdir(place)
    except OSError: continue
    print(end=' '.join(name for name in names if not name.startswith('pulse-')))
"""


@frozen
class Client:
    """Runs jobs in one workspace, one after another. `mark` is the argument of its sleeps."""

    running: Running
    workspace: str
    mark: str
    dice: random.Random

    async def act(self) -> None:
        with trio.fail_after(_PATIENCE):
            await self.dice.choice(_ACTS)(self)

    async def _job(self, language: str, code: str, limits: Limits = LIMITS) -> Result:
        return await self.running.client.run(Job(language, code, self.workspace, limits))

    # ---- what ends by itself ----

    async def python(self) -> None:
        result = await self._job("python", _LOOK_AROUND)
        assert (result.reason, result.stdout) == ("exit", b""), result

    async def bash(self) -> None:
        result = await self._job("bash", "echo $((6 * 7)) | cat")
        assert (result.reason, result.stdout) == ("exit", b"42\n"), result

    async def cell(self) -> None:
        """A session that lives on, and a cell that is stopped, which it survives."""
        states = []
        for code, seconds in (("x = 1", 20.0), ("while True: pass", 0.1), ("print(x)", 20.0)):
            limits = Limits(wall_seconds=seconds)
            job = Job("python", code, self.workspace, limits, session="s")
            result = await self.running.client.run(job)
            states.append(result.session)
        if states[1:] == ["kept", "kept"]:  # there are more clients than sessions
            assert (result.reason, result.stdout) == ("exit", b"1\n"), result

    async def artifact(self) -> None:
        code = "echo data > file; ln -sf /etc/passwd link"
        job = Job("bash", code, self.workspace, LIMITS, artifacts=("file", "link"))
        result = await self.running.client.run(job)
        assert [one.data for one in result.artifacts] == [b"data\n"], result

    async def writes_much(self) -> None:
        """Both streams, more than is kept, and bytes that are no text."""
        code = "import os\nfor n in range(300): os.write(1 + n % 2, bytes(range(256)) * 40)"
        result = await self._job("python", code)
        assert (result.reason, result.truncated) == ("exit", True), result

    async def leaves_processes(self) -> None:
        code = f"(setsid sleep {self.mark} &); sleep {self.mark} & echo left"
        result = await self._job("bash", code)
        assert (result.reason, result.stdout) == ("exit", b"left\n"), result

    async def leaves_files(self) -> None:
        """Where it may: on some stacks it has no /tmp."""
        await self._job("bash", "touch {/tmp,/var/tmp,/dev/shm}/left; mkfifo fifo; exit 0")

    # ---- what is stopped ----

    async def runs_out_of_time(self) -> None:
        code = f"setsid sleep {self.mark} & sleep {self.mark}"
        result = await self._job("bash", code, Limits(wall_seconds=0.1))
        assert result.reason == "timeout", result

    async def runs_out_of_memory(self) -> None:
        await self._job("python", "x = bytearray(300_000_000)", Limits(memory_bytes=64 << 20))

    async def kills_itself(self) -> None:
        await self._job("bash", "kill -9 $$")

    async def crashes(self) -> None:
        """A cell that does is killed; the session lives on without it."""
        job = Job("python", "import os; os.abort()", self.workspace, LIMITS, session="s")
        result = await self.running.client.run(job)
        assert result.reason == "signal", result

    async def kills_its_watcher(self) -> None:
        await self._job("bash", f"(setsid sleep {self.mark} &); kill -9 $PPID; kill -9 -1")

    async def is_killed(self) -> None:
        """By whoever may: its processes go one by one, in no order."""
        ended = trio.Event()

        async def run() -> None:
            await self._job("bash", f"for n in 1 2 3; do setsid sleep {self.mark} & done; wait")
            ended.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            while not ended.is_set():
                for pid in harness.processes_with(self.mark):
                    harness.kill_if_there(pid)
                await trio.sleep(0.01)

    # ---- what loses its client ----

    async def is_cancelled(self) -> None:
        """At any moment: before its box is there, while it runs, and while it is killed."""
        with trio.move_on_after(self.dice.random() * _MOMENT):
            await self._job("bash", f"while true; do setsid sleep {self.mark} & sleep 0.01; done")

    async def cell_is_cancelled(self) -> None:
        with trio.move_on_after(self.dice.random() * _MOMENT):
            job = Job("python", "while True: pass", self.workspace, LIMITS, session="s")
            await self.running.client.run(job)

    async def hangs_up(self) -> None:
        """After any part of its request, or all of it."""
        job = Job("bash", f"sleep {self.mark}", self.workspace, LIMITS)
        frame = protocol.encode(protocol.control(FrameType.RUN, messages.job_to_json(job)))
        async with await trio.open_unix_socket(self.running.settings.socket) as stream:
            await stream.send_all(frame[: self.dice.choice([len(frame), len(frame) // 2, 1])])
            await trio.sleep(self.dice.random() * _MOMENT)


_Act = Callable[[Client], Awaitable[None]]
_ACTS: tuple[_Act, ...] = (
    Client.python,
    Client.bash,
    Client.cell,
    Client.artifact,
    Client.writes_much,
    Client.leaves_processes,
    Client.leaves_files,
    Client.runs_out_of_time,
    Client.runs_out_of_memory,
    Client.kills_itself,
    Client.crashes,
    Client.kills_its_watcher,
    Client.is_killed,
    Client.is_cancelled,
    Client.cell_is_cancelled,
    Client.hangs_up,
)


@frozen
class Storm:
    """`at_once` clients, each in a workspace of its own, and what removes these again."""

    running: Running
    mark: str
    at_once: int

    async def blow(self, jobs: int) -> None:
        """Have that many jobs in all."""
        async with trio.open_nursery() as nursery:
            for number, workspace in enumerate(self._workspaces()):
                dice = random.Random(f"{self.at_once} {number}")
                client = Client(self.running, workspace, f"{self.mark}.{number}", dice)
                nursery.start_soon(_act, client, jobs // self.at_once)

    async def clear_up(self) -> None:
        """Remove the workspaces, and their sessions with them."""
        for workspace in self._workspaces():
            await self.running.client.files(workspace).discard()

    def _workspaces(self) -> list[str]:
        return [f"storm-{number}" for number in range(self.at_once)]


async def _act(client: Client, times: int) -> None:
    for _ in range(times):
        await client.act()
