"""What every test needs: Ctrl-C means the same to the processes that tests start, everywhere.

A shell without job control starts background commands with SIGINT ignored, and whoever inherits
that stays deaf to it: a suite that runs so would wait for ever for a child to be interrupted.
"""

from __future__ import annotations

import signal

import pytest
from hypothesis import settings

from tests.harness import ledger


def pytest_configure() -> None:
    # How long an example takes on a busy machine says nothing.
    settings.register_profile("famulus", parent=settings.default, deadline=None)
    settings.load_profile("famulus")
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What judges the calls of all other tests runs after them."""
    items.sort(key=lambda item: "oracles" in item.path.parts)


def pytest_sessionfinish() -> None:
    ledger.leave()
