"""Python sessions: variables live on, and nothing that a cell does takes more than the cell."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import trio
from trio.testing import MockClock

from executor.boxes import Box
from executor.client import Job, Limits, Result
from executor.sessions import Sessions
from tests.executor import harness
from tests.executor.harness import Running

pytestmark = pytest.mark.executor


async def cell(
    running: Running, code: str, *, session: str = "s", workspace: str = "cells", wall: float = 10.0
) -> Result:
    with trio.fail_after(60):
        limits = Limits(wall_seconds=wall)
        return await running.client.run(
            Job("python", code, workspace, limits, session=session),
        )


async def printed(running: Running, code: str, *, session: str = "s") -> str:
    result = await cell(running, code, session=session)
    assert (result.reason, result.code) == ("exit", 0), result
    return result.stdout.decode().strip()


async def test_a_variable_lives_on(running: Running) -> None:
    first = await cell(running, "x = 41", session="lives")
    assert (first.reason, first.session) == ("exit", "new")
    second = await cell(running, "print(x + 1)", session="lives")
    assert (second.stdout, second.session) == (b"42\n", "kept")


async def test_two_sessions_and_a_job_without_one_know_nothing_of_each_other(
    running: Running,
) -> None:
    await cell(running, "x = 1", session="one")
    await cell(running, "x = 2", session="two")
    assert await printed(running, "print(x)", session="one") == "1"
    assert await printed(running, "print(x)", session="two") == "2"
    result = await running.client.run(Job("python", "print('x' in globals())", "cells"))
    assert (result.stdout, result.session) == (b"False\n", "")


async def test_two_workspaces_never_share_a_session(running: Running) -> None:
    await cell(running, "x = 1", session="same", workspace="cells-a")
    result = await cell(running, "print('x' in globals())", session="same", workspace="cells-b")
    assert (result.stdout, result.session) == (b"False\n", "new")


@pytest.mark.parametrize(
    ("name", "code", "reason", "status"),
    [
        ("exit-hard", "x = 2; import os; os._exit(7)", "exit", 7),
        ("segfault", "x = 2; import os; os.kill(os.getpid(), 11)", "signal", 11),
        ("timeout", "x = 2\nwhile True: pass", "timeout", None),
    ],
)
async def test_a_cell_that_dies_loses_nothing_but_itself(
    running: Running, name: str, code: str, reason: str, status: int | None
) -> None:
    await cell(running, "x = 1", session=name)
    died = await cell(running, code, session=name, wall=0.5)
    assert (died.reason, died.code, died.session) == (reason, status, "kept")
    assert await printed(running, "print(x)", session=name) == "1"


@pytest.mark.parametrize(
    ("name", "code", "status"),
    [("raises", "x = 2\n1 / 0", 1), ("exits", "x = 2\nimport sys; sys.exit(5)", 5)],
)
async def test_a_cell_that_ends_by_itself_keeps_what_it_did(
    running: Running, name: str, code: str, status: int
) -> None:
    """As at a prompt: an exception says what went wrong and undoes nothing."""
    await cell(running, "x = 1", session=name)
    ended = await cell(running, code, session=name)
    assert (ended.reason, ended.code) == ("exit", status)
    assert await printed(running, "print(x)", session=name) == "2"


async def test_a_cell_that_kills_all_it_can_costs_the_session_and_says_so(
    running: Running,
) -> None:
    await cell(running, "x = 1", session="suicide")
    code = "import os; os.kill(-1, 9); os.kill(os.getpid(), 9)"
    result = await cell(running, code, session="suicide")
    assert (result.reason, result.session) == ("signal", "lost")
    after = await cell(running, "print('x' in globals())", session="suicide")
    assert (after.stdout, after.session) == (b"False\n", "new")


async def test_a_cell_that_kills_the_session_behind_it_goes_on_as_the_session(
    running: Running,
) -> None:
    """kill(2) of -1 spares the caller, who has all the variables."""
    await cell(running, "x = 1", session="regicide")
    result = await cell(running, "import os; os.kill(-1, 9)", session="regicide")
    assert (result.reason, result.session) == ("exit", "kept")
    assert await printed(running, "print(x)", session="regicide") == "1"


async def test_a_client_that_hangs_up_costs_the_cell_alone(running: Running) -> None:
    await cell(running, "x = 1", session="hang-up")
    with trio.move_on_after(0.3):
        await cell(running, "x = 2\nimport time; time.sleep(60)", session="hang-up")
    assert await printed(running, "print(x)", session="hang-up") == "1"


async def test_what_a_cell_leaves_running_ends_with_it(running: Running) -> None:
    code = "import subprocess; p = subprocess.Popen(['sleep', '86511']); print('started')"
    assert await printed(running, code, session="leaves") == "started"
    assert harness.processes_with("86511") == []


async def test_a_fork_bomb_costs_its_cell_and_no_process_is_missing_afterwards(
    running: Running,
) -> None:
    """Twice: what the first one left would be in the way of the second."""
    bomb = (
        "import os, time\n"
        "made = 0\n"
        "try:\n"
        "    while True:\n"
        "        if os.fork() == 0: time.sleep(86531)\n"
        "        made += 1\n"
        "except OSError: print(made)\n"
    )
    await cell(running, "x = 1", session="bomb")
    first = int(await printed(running, bomb, session="bomb"))
    assert first > 10
    assert int(await printed(running, bomb, session="bomb")) >= first - 1
    assert await printed(running, "print(x)", session="bomb") == "1"


async def test_a_thread_of_the_session_is_silent_between_cells(running: Running) -> None:
    """It is stopped with the session's process, and ends with the next cell."""
    code = (
        "import threading, time\n"
        "def talk():\n"
        "    while True: print('still here', flush=True)\n"
        "threading.Thread(target=talk, daemon=True).start()\n"
    )
    await cell(running, code, session="thread")
    second = await cell(running, "print('mine')", session="thread")
    assert second.stdout == b"mine\n"
    assert await printed(running, "print('mine')", session="thread") == "mine"


async def test_memory_that_runs_out_costs_the_cell_alone(running: Running) -> None:
    await cell(running, "x = 1", session="memory")
    hungry = await cell(running, "y = bytearray(900 * 1024**2)", session="memory", wall=30)
    assert hungry.reason == "memory"
    assert await printed(running, "print(x)", session="memory") == "1"


async def test_a_cell_sees_the_files_of_other_jobs(running: Running) -> None:
    await cell(running, "open('a', 'w').write('by the cell')", session="files")
    result = await running.client.run(Job("bash", "cat a; echo changed > a", "cells"))
    assert result.stdout == b"by the cell"
    assert await printed(running, "print(open('a').read())", session="files") == "changed"


async def test_forked_cells_draw_random_numbers_of_their_own(running: Running) -> None:
    await cell(running, "import random", session="dice")
    first = await printed(running, "print(random.random())", session="dice")
    assert first != await printed(running, "print(random.random())", session="dice")


async def test_the_longest_unused_session_makes_room() -> None:
    with harness.place() as where, harness.executor(where, sessions=2) as running:
        for name in ("first", "second", "third"):
            await cell(running, "x = 1", session=name)
        assert (await cell(running, "pass", session="second")).session == "kept"
        assert (await cell(running, "pass", session="first")).session == "new"


class _SlowToClose:
    """A box whose closing takes a while, in which others take and keep theirs."""

    def __init__(self) -> None:
        self.closed = False

    async def aclose(self) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
        self.closed = True


async def test_sessions_are_taken_and_kept_while_others_are_closed(
    autojump_clock: MockClock,
) -> None:
    """Two are due; while the first is being closed, the second's cell comes too late for it."""
    sessions = Sessions(most=4, idle_seconds=10)
    boxes = [_SlowToClose() for _ in range(3)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sessions.run)
        for number, box in enumerate(boxes[:2]):
            await sessions.keep(("w", str(number)), cast("Box", box))
        await trio.sleep(10.5)
        assert sessions.take(("w", "1")) is None
        await sessions.keep(("w", "1"), cast("Box", boxes[2]))
        await trio.sleep(5)
        assert [box.closed for box in boxes] == [True, True, False]
        nursery.cancel_scope.cancel()
    assert boxes[2].closed


async def test_an_unused_session_ends() -> None:
    short = {"session_idle_seconds": 0.2, "warm_boxes": 0}
    with harness.place() as where, harness.executor(where, **short) as running:
        await cell(running, "x = 1")
        (zygote,) = harness.children(running.pid)
        await harness.until(lambda: not harness.children(zygote))
        assert (await cell(running, "pass")).session == "new"


async def test_without_sessions_every_cell_is_a_job_of_its_own() -> None:
    with harness.place() as where, harness.executor(where, sessions=0) as running:
        await cell(running, "x = 1")
        result = await cell(running, "print('x' in globals())")
        assert (result.stdout, result.session) == (b"False\n", "")


def test_a_session_of_bash_is_refused_by_the_parser() -> None:
    from executor import messages, protocol  # noqa: PLC0415 - the one test of values here

    values = {"language": "bash", "code": "", "workspace": "w", "session": "s"}
    with pytest.raises(protocol.ProtocolError, match="only Python"):
        messages.parse_job(values)


def test_the_place_of_workspaces_is_the_tests_own(running: Running) -> None:
    """Nothing above was written anywhere but below the executor's own directory."""
    assert (Path(running.settings.workspaces) / "cells" / "a").is_file()


async def test_a_cell_that_is_cancelled_at_once_never_runs_as_the_next(running: Running) -> None:
    """Be it killed before it has read its code, or while the order to kill overtakes it."""
    await cell(running, "import time", session="hasty")
    for number in range(30):
        with trio.move_on_after(number / 2000):
            await cell(running, "time.sleep(10)", session="hasty")
        result = await cell(running, f"print({number})", session="hasty", wall=60.0)
        assert (result.reason, result.stdout) == ("exit", b"%d\n" % number), result
        if result.session == "new":  # it was cancelled before there was a cell
            await cell(running, "import time", session="hasty")


# What a session's processes may try between two cells, when nobody watches: `late` would be there.
_LATE = "open('late', 'w').write('x')"
_AFTER_THE_END = {
    "hook": (
        "import os, threading, time\n"
        "def late():\n"
        "    time.sleep(0.3)\n"
        f"    {_LATE}\n"
        "os.register_at_fork(after_in_child=lambda: threading.Thread(target=late).start())\n"
    ),
    "liar": (
        "import os, time\n"
        "os.write(3, b'done 0 0.0 0')\n"
        "time.sleep(0.3)\n"
        f"{_LATE}\n"
        "time.sleep(100)\n"
    ),
    "liar-with-a-thread": (
        "import os, threading, time\n"
        "threading.Thread(target=time.sleep, args=(100,), daemon=True).start()\n"
        "os.write(3, b'done 0 0.0 0')\n"
        "os.read(3, 3)\n"
        "if os.fork() == 0: os.write(3, b'next 0 0 0')\n"
        "time.sleep(0.3)\n"
        f"{_LATE}\n"
        "time.sleep(100)\n"
    ),
}


@pytest.mark.skipif(not harness.IS_ROOT, reason="others are not shown where a box is")
@pytest.mark.parametrize("name", _AFTER_THE_END)
async def test_nothing_of_a_session_runs_between_two_cells(running: Running, name: str) -> None:
    """No clock, no quota and no lock hold it then. All that is left of it is stopped."""
    key = f"between-{name}"
    result = await cell(running, _AFTER_THE_END[name], session=key, workspace=key)
    assert result.reason == "exit", result
    if result.session == "lost":
        assert _boxes_in(running, key) == []
        return
    (box,) = _boxes_in(running, key)
    states = [_state(pid) for pid in _below(box)]
    assert states
    assert set(states) == {"T"}
    assert not (running.workspace(key) / "late").exists()


def _boxes_in(running: Running, key: str) -> list[int]:
    """The first processes of the boxes that are in this workspace."""
    where = running.workspace(key)
    zygotes = harness.children(running.pid)
    boxes = [pid for zygote in zygotes for pid in harness.children(zygote)]
    return [pid for pid in boxes if where.samefile(f"/proc/{pid}/cwd")]


def _below(pid: int) -> list[int]:
    return [each for child in harness.children(pid) for each in (child, *_below(child))]


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_a_session_writes_again_when_there_is_room_again(running: Running) -> None:
    """One that began in a full workspace is not held to that for ever."""
    key = "room"
    small = Limits(workspace_files=2, wall_seconds=20)

    async def run(code: str) -> Result:
        job = Job("python", code, key, small, session=key)
        return await running.client.run(job)

    await running.client.run(Job("bash", "touch a b c; echo x > d", key))
    write = "with open('a', 'w') as file: print(file.write('more'))"
    full = await run(write)
    assert full.code == 1
    assert "none can be written" in full.detail
    assert (await run("import os; [os.unlink(name) for name in 'abcd']")).code == 0
    again = await run(write)
    assert (again.stdout, again.session) == (b"4\n", "kept"), again


async def test_each_cell_has_the_limits_of_its_own_job(running: Running) -> None:
    ask = "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    for files in (40, 90, 50):
        job = Job("python", ask, "limits", Limits(open_files=files), session="limits")
        assert (await running.client.run(job)).stdout == b"%d\n" % files
