"""The demo's configuration, its place, and what it says of the sandbox."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import config
from daemon.demo.botapi import BotApiServer
from daemon.demo.model import ModelServer
from daemon.demo.place import Place, temporary_place, toml, write_private
from daemon.demo.sandbox import Sandbox, failure, refusal
from daemon.demo.setup import Setup, SetupError, choose, document

keys = st.text("abcdefghij_", min_size=1, max_size=8)
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
plain = texts | st.booleans() | st.integers(-(10**9), 10**9) | st.lists(texts, max_size=3)
tables = st.dictionaries(keys, plain | st.dictionaries(keys, plain, max_size=3), max_size=4)


@given(st.dictionaries(keys, plain | tables, max_size=4))
def test_toml_is_read_back_as_written(values: dict[str, Any]) -> None:
    """What is written is TOML, whatever the texts contain."""
    assert tomllib.loads(toml(values)) == values


def servers() -> tuple[BotApiServer, ModelServer]:
    bot, model = BotApiServer(), ModelServer()
    bot.base_url, model.base_url = "http://127.0.0.1:1", "http://127.0.0.1:2/v1"
    return bot, model


def loaded(setup: Setup) -> config.Config:
    """Let the daemon's own reader judge the demo's configuration."""
    return config.parse(toml(document(setup, Place(Path("/tmp/x")), *servers())))


def test_the_offline_model_is_the_default() -> None:
    """Without a word from the owner nothing leaves the machine."""
    found = loaded(choose({}, None))
    assert found.model.base_url == "http://127.0.0.1:2/v1"
    assert found.telegram.api_base_url == "http://127.0.0.1:1"
    assert found.telegram.allowed_users == (1,)
    assert str(found.executor.socket).startswith("/tmp/x/")


def test_a_model_of_the_environment_wins(tmp_path: Path) -> None:
    """Address, name and key come from FAMULUS_MODEL_*; the key stays a reference."""
    file = tmp_path / "c.toml"
    file.write_text('[model]\nname = "other"\n[agent]\nmax_steps = 3\n')
    environ = {
        "FAMULUS_MODEL_BASE_URL": "https://example.org/v1",
        "FAMULUS_MODEL_NAME": "big",
        "FAMULUS_MODEL_KEY": "hidden",
    }
    setup = choose(environ, file)
    found = loaded(setup)
    assert (found.model.name, found.model.base_url) == ("big", "https://example.org/v1")
    assert found.agent.max_steps == 3
    assert "hidden" not in toml(document(setup, Place(Path("/tmp/x")), *servers()))
    assert setup.model_in_words == "big at https://example.org/v1"


def test_a_model_of_the_file_is_used(tmp_path: Path) -> None:
    """The file's model answers; its paths and its bot stay out of the demo."""
    file = tmp_path / "c.toml"
    file.write_text(
        'state_dir = "/var/lib/famulus"\n[telegram]\ntoken = { env = "T" }\n'
        '[model]\nname = "own"\nbase_url = "http://127.0.0.1:8080/v1"\n'
        '[executor]\nsocket = "/run/real.sock"\njobs_at_once = 7\n'
    )
    found = loaded(choose({}, file))
    assert (found.model.name, found.executor.jobs_at_once) == ("own", 7)
    assert found.state_dir == Path("/tmp/x/state")
    assert found.executor.socket != "/run/real.sock"


def test_half_a_model_is_refused(tmp_path: Path) -> None:
    """An address without a name, or a file that is none, is the owner's to correct."""
    with pytest.raises(SetupError, match="FAMULUS_MODEL_NAME"):
        choose({"FAMULUS_MODEL_BASE_URL": "http://x/v1"}, None)
    with pytest.raises(SetupError, match="cannot be read"):
        choose({}, tmp_path / "missing")
    broken = tmp_path / "broken"
    for text, problem in (("=", "not valid TOML"), ("model = 3", "expected a table")):
        broken.write_text(text)
        with pytest.raises(SetupError, match=problem):
            choose({}, broken)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_place_is_private_and_goes_away() -> None:
    """Nobody can list it or read its files; after the block it is gone."""
    with temporary_place(user="root") as place:
        write_private(place.token, "secret")
        assert mode(place.token) == 0o600
        assert mode(place.state) == mode(place.workspaces) == 0o700
        for directory in (place.root, place.socket.parent):
            assert mode(directory) & 0o066 == 0
        assert len(os.fsencode(place.socket)) <= 107
    assert not place.root.exists()


def test_the_place_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `keep` it stays, for somebody to look at."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("daemon.demo.place.MAX_ROOT", 1000)
    with temporary_place(user="no-such-user", keep=True) as place:
        pass
    assert place.root.parent == tmp_path
    assert place.log.parent.exists()


def test_the_sandbox_in_words() -> None:
    """The banner says what isolates, or why nothing runs."""
    assert str(Sandbox(("rlimit", "firejail"))) == "runs in a sandbox of rlimit + firejail"
    log = 'a=1\nevent="executor refuses" cause="no firejail" remedy="apt install firejail"\nb=2'
    why = refusal(log)
    assert why == "no firejail; apt install firejail"
    assert not Sandbox(why=why).works
    assert refusal("all is well") == ""
    assert "executor refuses" in refusal('event="executor refuses" cause="broken')
    died = 'event="task failed" task=executor error="it ended: no module named trio"'
    assert failure(died) == ": it ended: no module named trio"
    assert "the log may say" in failure("all is well")
