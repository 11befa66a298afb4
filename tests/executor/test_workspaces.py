"""What jobs leave in a workspace: its limits, its revision, and what they give back."""

from __future__ import annotations

import shutil

import pytest
import trio

from executor.client import Job, Limits, Result
from tests.executor import harness
from tests.executor.harness import Running

pytestmark = pytest.mark.executor
MIB = 1024 * 1024


async def run(running: Running, job: Job) -> Result:
    with trio.fail_after(60):
        return await running.client.run(job)


async def test_files_are_given_back_with_their_bytes(running: Running) -> None:
    """Of any size, from bash too, and with names that are not UTF-8."""
    code = "head -c 3000000 /dev/zero > big.bin; echo a > $'b\\xff.txt'; : > empty; ln -s big.bin l"
    job = Job("bash", code, "give", artifacts=("*", "no*"))
    result = await run(running, job)
    given = {one.name: one.data for one in result.artifacts}
    assert given == {"b\udcff.txt": b"a\n", "big.bin": bytes(3_000_000), "empty": b""}
    assert [one.name for one in result.skipped] == ["l", "no*"]


async def test_pictures_are_given_back_unasked_and_once(running: Running) -> None:
    code = "import os; os.mkdir('.plots'); open('.plots/plot-1.png', 'wb').write(b'png')"
    result = await run(running, Job("python", code, "pictures"))
    assert [(one.name, one.data) for one in result.artifacts] == [("plot-1.png", b"png")]
    assert (await run(running, Job("python", "pass", "pictures"))).artifacts == ()


async def test_a_secret_of_the_executors_is_not_given_out(running: Running) -> None:
    """A link to what the executor itself may read is skipped, as it stands and as a directory."""
    canary = f"{running.settings.workspaces}/.canary"
    code = f"ln -s {canary} a; ln -s {running.settings.workspaces} d; mkdir x; ln -s / .plots"
    result = await run(running, Job("bash", code, "thief", artifacts=("a", "d/.canary", "x/../a")))
    assert result.artifacts == ()
    assert len(result.skipped) == 3


async def test_a_job_that_fills_its_workspace_is_stopped(running: Running) -> None:
    """Bytes in many files, however fast; soon, and not much is there over the limit."""
    code = (
        "import os\nfor number in range(10**6):\n"
        "    with open(f'{number}', 'wb') as file: file.write(bytes(1 << 20))\n"
    )
    limits = Limits(workspace_bytes=20 * MIB)
    result = await run(running, Job("python", code, "fill", limits))
    assert result.reason == "disk"
    assert "20 MiB" in result.detail
    files = list(running.workspace("fill").iterdir())
    assert 20 <= len(files) < 2000


async def test_a_job_that_makes_too_many_files_is_stopped(running: Running) -> None:
    code = "i=0; while :; do : > $i; i=$((i+1)); done"
    result = await run(running, Job("bash", code, "inodes", Limits(workspace_files=100)))
    assert result.reason == "disk"


async def test_in_a_full_workspace_files_can_be_removed_and_not_written(running: Running) -> None:
    await run(running, Job("bash", "head -c 2000000 /dev/zero > big", "full"))
    limits = Limits(workspace_bytes=MIB)
    result = await run(running, Job("bash", "head -c 2000000 /dev/zero > more", "full", limits))
    assert result.code != 0 or result.reason == "disk"
    assert "can be removed" in result.detail
    result = await run(running, Job("bash", "rm big more; echo $?", "full", limits))
    assert (result.reason, result.stdout) == ("exit", b"0\n")
    result = await run(running, Job("bash", "echo text > more; cat more", "full", limits))
    assert (result.stdout, result.detail) == (b"text\n", "")


async def test_a_session_survives_a_cell_that_fills_the_workspace(running: Running) -> None:
    # So many that the cell is stopped before it has made twice as many: what holds more than that
    # is not counted to its end, and is no place for another cell.
    limits = Limits(workspace_files=2_000)
    session = {"workspace": "cells", "session": "s", "limits": limits}
    await run(running, Job("python", "x = 6", **session))
    code = "x = 7\nfor n in range(10**7): open(str(n), 'w').close()"
    result = await run(running, Job("python", code, **session))
    assert (result.reason, result.session) == ("disk", "kept")
    assert (await run(running, Job("python", "print(x)", **session))).stdout == b"6\n"


async def test_names_too_long_for_a_frame_do_not_hide_the_result(running: Running) -> None:
    """Skipped files lie so deep that their paths together would not fit."""
    code = """
import os
here = os.open(".", os.O_RDONLY)
for level in range(250):
    os.mkdir("x" * 250, dir_fd=here)
    below = os.open("x" * 250, os.O_RDONLY, dir_fd=here)
    os.close(here)
    here = below
for number in range(60): os.mkfifo("%d" % number, dir_fd=here)
"""
    patterns = tuple(f"**/{number}" for number in range(60))
    result = await run(running, Job("python", code, "names", artifacts=patterns))
    assert (result.reason, result.code) == ("exit", 0)
    assert result.skipped[-1].why.endswith("more")


async def test_the_revision_goes_up_with_each_job_of_the_workspace(running: Running) -> None:
    one = (await run(running, Job("bash", "true", "rev"))).revision
    assert one > 0
    await run(running, Job("bash", "true", "rev-other"))
    assert (await run(running, Job("bash", "true", "rev"))).revision > one


async def test_a_workspace_that_its_job_has_closed_is_open_again(running: Running) -> None:
    await run(running, Job("bash", "echo kept > file; chmod 0 .", "closed"))
    result = await run(running, Job("bash", "cat file", "closed"))
    assert result.stdout == b"kept\n"


async def test_a_job_may_close_its_workspace_while_it_is_watched(running: Running) -> None:
    """It is measured all the same: whoever owns a directory can open it."""
    code = "import os, time; os.chmod('.', 0); time.sleep(1.5); os.chmod('.', 0o700)"
    result = await run(running, Job("python", code, "closing"))
    assert (result.reason, result.code, result.detail) == ("exit", 0, "")


async def test_a_workspace_that_cannot_be_measured_is_said_to_be_that(running: Running) -> None:
    """One file with more names than there may be files: nobody says that it is too large."""
    code = (
        "import os, time; open('f', 'w').close(); [os.link('f', str(n)) for n in range(300)]; "
        "time.sleep(3)"
    )
    limits = Limits(workspace_files=100)
    result = await run(running, Job("python", code, "links", limits))
    assert (result.reason, "cannot be measured" in result.detail) == ("disk", True)
    result = await run(running, Job("bash", "true", "links", limits))
    assert "cannot be measured" in result.detail


async def test_what_a_killed_executor_was_removing_is_gone_after_the_next_start() -> None:
    """Beside the workspaces and in one; the revision of that one goes up."""
    aside = f".removing-{'0' * 16}-{'1' * 16}"
    with harness.place() as where:
        with harness.executor(where) as running:
            before = (await run(running, Job("bash", f"mkdir -p {aside}/d", "w"))).revision
            left = [running.workspace("w") / aside, running.workspace(aside)]
            shutil.copytree(left[0], left[1])
        with harness.executor(where) as running:
            await harness.until(lambda: not any(one.exists() for one in left))
            assert (await running.client.files("w").list()).revision > before


async def test_the_revision_survives_the_executor_being_killed() -> None:
    """In the middle of a job: what it may have written has counted."""
    with harness.place() as where:
        with harness.executor(where) as running:
            before = (await run(running, Job("bash", "true", "w"))).revision
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_job_that_is_lost, running)
                while not (running.workspace("w") / "begun").exists():  # noqa: ASYNC110
                    await trio.sleep(0.01)
                harness.kill(running.pid)
                nursery.cancel_scope.cancel()
        with harness.executor(where) as running:
            assert (await run(running, Job("bash", "true", "w"))).revision > before + 2


async def _job_that_is_lost(running: Running) -> None:
    await running.client.run(Job("bash", "echo > begun; sleep 30", "w"))
