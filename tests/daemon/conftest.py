"""What every test of the daemon needs: no secret of one test masks the text of another."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from daemon import redact


@pytest.fixture(autouse=True)
def _no_secrets_left() -> Iterator[None]:
    yield
    redact.forget_all()
