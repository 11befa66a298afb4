"""`famulus prompt`: through the daemon, and from the database alone."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from daemon import cli, config, control, statelock
from daemon.main import DATABASE, _assemble
from daemon.mcpservers import LISTED
from daemon.store import db as store
from daemon.store import people, turns
from daemon.store.values import Place

TOKEN = "12345678:AAHsecretsecretsecretsecretsecret00"
HERE = Place("telegram", "12345678", "7")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration, and a database in which one person has asked something."""
    monkeypatch.setenv("FAMULUS_TELEGRAM_TOKEN", TOKEN)
    path = tmp_path / "config.toml"
    text = config.example().replace("/var/lib/famulus", str(tmp_path / "state"), 1)
    path.write_text(text.replace("/run/famulus", str(tmp_path)))
    return path


@contextmanager
def writing(file: Path) -> Iterator[sqlite3.Connection]:
    state = config.load(file).state_dir
    state.mkdir(mode=0o700, exist_ok=True)
    store.migrate(state / DATABASE)
    with contextlib.closing(sqlite3.connect(state / DATABASE)) as db, db:
        db.row_factory = sqlite3.Row
        yield db


def asked(file: Path, text: str) -> str:
    with writing(file) as db:
        session = people.ensure_session(db, HERE, 0.0)
        turns.create(db, session, text=text, asked_at=60.0, now=60.0)
    return session


def prompt(file: Path, *arguments: str) -> int:
    return cli.main(["prompt", "--config", str(file), *arguments])


def test_without_a_session_they_are_listed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the workspace of each, as `famulus workspace` calls it."""
    session = asked(file, "hello")
    assert prompt(file) == 0
    out = capsys.readouterr().out
    assert session in out
    assert "telegram" in out
    assert "house-12345678-7" in out


def test_the_request_is_shown_with_its_tools_and_size(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Readable, with what a terminal might obey escaped; for programs as one object."""
    session = asked(file, 'say "hi" \x1b[31m')
    assert prompt(file, "--session", session) == 0
    out = capsys.readouterr().out
    assert out.startswith("--- system\nYou are Famulus")
    assert '--- user\nsay "hi" \\x1b[31m\n\n[Sent 1970-01-01 00:01 (UTC)]\n' in out
    assert '"name": "read_skill"' in out
    assert prompt(file, "--session", session, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["messages"][1]["content"].startswith('say "hi" \x1b[31m')
    assert f"about {found['estimated_tokens']} tokens" in out


def test_tools_of_servers_are_shown_as_they_were_listed_last(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No server is started, nor is its secret read; the daemon begins with the same."""
    with file.open("a") as config_file:
        config_file.write('[mcp.far]\nurl = "http://127.0.0.1:1/mcp"\ntools = ["read"]\n')
        config_file.write('headers = { Authorization = { env = "NO_SUCH_VARIABLE" } }\n')
    session = asked(file, "hello")
    kept = config.load(file).state_dir / LISTED
    kept.mkdir()
    (kept / "far.json").write_text('[["read", "Reads.", {"type": "object"}, true]]')
    assert prompt(file, "--session", session, "--json") == 0
    tools = json.loads(capsys.readouterr().out)["tools"]
    (tool,) = [each for each in tools if each["function"]["name"].startswith("far__")]
    assert tool["function"]["description"] == "[MCP server far] Reads."


def test_a_session_that_is_not_there_is_refused(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The program that was asked is well: that is another exit code than if none ran."""
    asked(file, "hello")
    assert prompt(file, "--session", "none") == 1
    assert "there is no session 'none'" in capsys.readouterr().err


def test_without_a_database_it_says_what_to_do(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And makes none."""
    assert prompt(file) == 69
    said = capsys.readouterr().err
    assert "there is no database" in said
    assert "start the daemon once" in said
    assert not config.load(file).state_dir.exists()


async def test_the_daemon_and_the_database_show_the_same(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As long as memory is known: there is one path to a request."""
    session = asked(file, "hello")
    arguments = (file, "--session", session, "--json")
    assert await trio.to_thread.run_sync(prompt, *arguments) == 0
    from_rows = json.loads(capsys.readouterr().out)
    settings = config.load(file)
    with statelock.hold(settings.state_dir) as held:
        async with _assemble(settings, file, with_executor=False) as daemon:
            from_daemon = await _through_the_socket(daemon, held, settings.state_dir, session)
    remark = "\n(The files cannot be read now; nothing is known.)"
    system = from_daemon["messages"][0]
    assert remark in system["content"]
    system["content"] = system["content"].replace(remark, "")
    shown = {**from_rows, "estimated_tokens": from_daemon["estimated_tokens"]}
    assert from_daemon == shown


async def _through_the_socket(
    daemon: Any, held: statelock.Held, state_dir: Path, session: str
) -> dict[str, Any]:
    verbs = control.Control()
    verbs.register("prompt", daemon._show_prompt)
    await daemon.shelf.load()
    async with trio.open_nursery() as nursery:
        await nursery.start(control.serve, verbs, held)
        answer: dict[str, Any] = await trio.to_thread.run_sync(
            control.ask, state_dir, "prompt", {"session": session}
        )
        nursery.cancel_scope.cancel()
    return answer
