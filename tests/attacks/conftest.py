"""One executor for all tests that only run jobs; each test uses a workspace of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.executor import harness
from tests.executor.harness import Running


@pytest.fixture(scope="session")
def running() -> Iterator[Running]:
    with harness.place() as where, harness.executor(where) as executor:
        yield executor
