"""One executor for all tests that only run jobs; each test uses a workspace of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.beneath import Beneath
from tests.executor import harness, trees
from tests.executor.harness import Running


@pytest.fixture(scope="session")
def running() -> Iterator[Running]:
    with harness.place() as where, harness.executor(where) as executor:
        yield executor


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Beneath]:
    """A workspace; no test leaves a descriptor open or a file of ours behind."""
    before = trees.descriptors()
    with Beneath.at(str(tmp_path)) as opened:
        yield opened
    assert trees.descriptors() == before
    assert not [one for one in tmp_path.iterdir() if one.name.startswith((".inc", ".rem"))]
