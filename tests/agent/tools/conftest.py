"""A real executor for the tools that work on files; each test has a workspace of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from executor.client import FileClient
from tests.executor import harness
from tests.executor.harness import Running


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with harness.place() as where, harness.executor(where) as executor:
        yield executor


@pytest.fixture
def files(running: Running, request: pytest.FixtureRequest) -> FileClient:
    """A workspace of the test's own."""
    return FileClient(running.client, f"w{abs(hash(request.node.nodeid))}")
