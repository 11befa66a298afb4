"""Attacks 14a and 14e: a job that tries to read the daemon's configuration, environment, socket.

What it got stands in docs/attacks.md. The two daemons are real (`canaries.py`); one has the
executor's own uid, so that no permission of a file is in the way.
"""

from __future__ import annotations

import pytest

from tests.attacks import reads, snippets
from tests.attacks.canaries import Canaries
from tests.attacks.stacks import Target
from tests.executor import harness

pytestmark = pytest.mark.executor


@pytest.mark.attack("14a")
async def test_proc_tells_nothing_of_daemon_executor_and_pid_1(
    target: Target, canaries: Canaries
) -> None:
    """Environment, memory and open files of each, PID 1 and the job's own watcher included."""
    pids = [*(canary.pid for canary in canaries), target.pid, *harness.children(target.pid)]
    code = snippets.python(
        f"for pid in {pids!r} + [1, os.getppid()]:\n"
        "    for name in ('environ', 'mem', 'maps', 'fd/0', 'fd/1', 'root/etc/passwd', 'cwd/x'):\n"
        "        path = f'/proc/{pid}/{name}'\n"
        "        attempt(path, lambda: print(open(path, 'rb').read(1)))\n"
    )
    result = await target.python(code)
    canaries.assert_unharmed(result.stdout, result.stderr)
    assert snippets.done(result) == []


@pytest.mark.attack("14e")
async def test_the_daemons_secrets_and_sockets_are_out_of_reach(
    target: Target, canaries: Canaries
) -> None:
    """Config, environment, command line, abstract socket, socket with a path, TCP: none answers."""
    result = await target.python(reads.code(canaries))
    canaries.assert_unharmed(result.stdout, result.stderr)
    assert snippets.done(result) == []
