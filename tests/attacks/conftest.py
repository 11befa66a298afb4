"""Targets and canaries for the attacks; `expected.py` says which test attacks which stack.

A test is marked `attack(NUMBER, ...)` and runs on each stack that holds these lines, or
`refusal(NUMBER, ...)` and runs on each that refuses. All run always on the first of these that this
host can have, which is the default stack if it is one; those marked `slow=True` run on the others
in the long form only.
Those marked `needs=...` are skipped where the host lacks that, and docs/attacks.md says so.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.attacks import canaries as canary_daemons
from tests.attacks import needs
from tests.attacks.canaries import Canaries
from tests.attacks.expected import BY_NUMBER, Word
from tests.attacks.stacks import DEFAULT, Stack, Target, Targets, stack_here
from tests.executor import harness
from tests.executor.harness import Running

_SHOWS: dict[str, Word] = {"attack": "held", "refusal": "refused"}
_GONE_SECONDS = 10.0  # only reached by a test that has failed
_numbers = itertools.count(1)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for mark in metafunc.definition.iter_markers():
        if mark.name in _SHOWS and "stack" in metafunc.fixturenames:
            stacks = _stacks(mark.args, _SHOWS[mark.name])
            always = {stack_here(stacks)} if mark.kwargs.get("slow", False) else set(stacks)
            lacking = needs.lacking(mark.kwargs.get("needs", ""))
            params = [_param(stack, stack not in always, lacking) for stack in stacks]
            metafunc.parametrize("stack", params)


def _stacks(numbers: tuple[str, ...], word: Word) -> tuple[Stack, ...]:
    """Give the stacks that show this word on these lines, which must be the same on each."""
    first, *others = (BY_NUMBER[number].stacks(word) for number in numbers)
    assert all(other == first for other in others), f"{numbers} are not {word} on the same stacks"
    return first


def _param(stack: Stack, slow: bool, lacking: str) -> Any:
    marks = [pytest.mark.slow] if slow else []
    marks += [pytest.mark.skip(reason=lacking)] if lacking else []
    return pytest.param(stack, id=stack.name, marks=marks)


@pytest.fixture(scope="session")
def targets() -> Iterator[Targets]:
    targets = Targets()
    yield targets
    targets.close()


@pytest.fixture
def target(stack: Stack, targets: Targets) -> Target:
    return targets.get(stack)


@pytest.fixture(scope="session")
def canary_processes() -> Iterator[Canaries]:
    harness.need_account()
    with canary_daemons.started() as both:
        yield both


@pytest.fixture
def canaries(canary_processes: Canaries) -> Iterator[Canaries]:
    """Both are well before and after, whatever the test has looked at."""
    canary_processes.assert_unharmed()
    yield canary_processes
    canary_processes.assert_unharmed()


@pytest.fixture
def mark() -> Iterator[str]:
    """A number of seconds that only this test's `sleep` processes have as their argument.

    In the end there is none; where a client has just hung up, that takes a moment.
    """
    number = f"9{os.getpid():07d}{next(_numbers):03d}"
    yield number
    deadline = time.monotonic() + _GONE_SECONDS
    while (left := harness.processes_with(number)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left == []


@pytest.fixture(scope="session")
def running(targets: Targets) -> Running:
    """The default stack's executor."""
    return targets.get(DEFAULT).running
