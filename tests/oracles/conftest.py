"""Programs of others that know what we should know, in an environment of their own.

`scripts/prepare.py oracles` makes it, from `requirements-oracles.lock`, when a test first wants it.
Where that cannot be done (no network, or no rights), those tests are skipped, with pip's words.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.harness.ledger import Entry

ROOT = Path(__file__).parents[2]
VENV = ROOT / ".oracles"
MAKE = (sys.executable, str(ROOT / "scripts/prepare.py"), "oracles", "--venv", str(VENV))
MAKE_TIMEOUT = 300.0  # seconds, on a slow line

Judge = Callable[[Iterable[Entry]], list[list[str]]]


@pytest.fixture(scope="session")
def python() -> str:
    """The interpreter of the oracles' environment."""
    try:
        made = subprocess.run(
            MAKE, capture_output=True, text=True, check=False, timeout=MAKE_TIMEOUT
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"the environment of the oracles was not made in {MAKE_TIMEOUT:g} s")
    if made.returncode:
        last = (made.stdout + made.stderr).strip().splitlines()[-1:]
        pytest.skip(f"no environment of the oracles could be made: {' '.join(last)}")
    return str(VENV / "bin/python")


@pytest.fixture(scope="session")
def aiogram(python: str) -> Iterator[Judge]:
    """Asks aiogram about calls; gives what is wrong with each."""
    command = [python, str(Path(__file__).with_name("judge_calls.py"))]
    pipes = partial(subprocess.Popen, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with pipes(command) as child:
        assert child.stdin is not None
        assert child.stdout is not None

        def judge(calls: Iterable[Entry]) -> list[list[str]]:
            return [_ask(child, call) for call in calls]

        yield judge
        child.stdin.close()


def _ask(child: subprocess.Popen[str], call: Entry) -> list[str]:
    """One line there, and one back: neither pipe can be full."""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(json.dumps({"method": call.method, "params": call.params}) + "\n")
    child.stdin.flush()
    answer: list[str] = json.loads(child.stdout.readline())
    return answer
