"""What turns need of the process, where something is missing."""

from __future__ import annotations

import pytest

from agent.web.connect import Tls
from daemon.config import Secret, Web
from daemon.equip import search_engine


def test_a_search_key_that_is_gone_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was there when the process was started. Search is not offered, and the log says why."""
    settings = Web(search="brave", search_key=Secret(env="THE_SEARCH_KEY"))
    monkeypatch.setenv("THE_SEARCH_KEY", "key-of-the-engine")
    engine = search_engine(settings, Tls())
    assert engine is not None
    assert engine.key == "key-of-the-engine"
    monkeypatch.delenv("THE_SEARCH_KEY")
    assert search_engine(settings, Tls()) is None
    assert "THE_SEARCH_KEY is not set" in capsys.readouterr().err


def test_an_engine_without_a_key_needs_none() -> None:
    """One of the owner's own, for example."""
    engine = search_engine(Web(search="searxng", search_url="http://127.0.0.1:1"), Tls())
    assert engine is not None
    assert engine.key == ""
