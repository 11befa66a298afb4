"""Tables of figures: collected by the tests, printed at the end of the run.

A test takes `figures` and adds rows; rows of one title make one table. So a run shows what was
seen, not only that nothing was wrong.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping

import pytest

from tests.executor import harness

Figures = Callable[[str, Mapping[str, object]], None]

TABLES: pytest.StashKey[dict[str, list[dict[str, object]]]] = pytest.StashKey()


def choose_seed() -> int:
    """FAMULUS_CRASH_SEED of the environment, or any; shown with the figures."""
    return int(os.environ.get("FAMULUS_CRASH_SEED", "0")) or random.randrange(1, 10**6)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TABLES] = {}


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """Add a row to the table `title` of the run's summary."""
    tables = request.config.stash[TABLES]

    def add(title: str, row: Mapping[str, object]) -> None:
        tables.setdefault(title, []).append(dict(row))

    return add


@pytest.fixture(scope="session")
def sandbox() -> None:
    """Skip where this host cannot isolate jobs, with the executor's own reason."""
    with harness.place() as where, harness.executor(where):
        pass


@pytest.fixture(autouse=True)
def _sandbox_where_needed(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("executor"):
        request.getfixturevalue("sandbox")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for title, rows in config.stash[TABLES].items():
        terminalreporter.section(title)
        for line in lines(rows):
            terminalreporter.write_line(line)


def lines(rows: list[dict[str, object]]) -> list[str]:
    """The rows as columns; a single row reads better as a list of names and values."""
    if len(rows) == 1:
        width = max(len(name) for name in rows[0])
        return [f"{name.ljust(width)}  {value}" for name, value in rows[0].items()]
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = [names, *([str(row.get(name, "")) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(names))]
    return [
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) for line in table
    ]
