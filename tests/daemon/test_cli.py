"""The command line: what it prints, how it exits, and what it does not import."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from daemon import cli, config
from daemon.control_client import socket_path
from daemon.errors import FamulusError, Fatal
from daemon.version import VERSION

ROOT = Path(__file__).parents[2]
TOKEN = "12345678:AAHsecretsecretsecretsecretsecret00"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration whose token is set."""
    monkeypatch.setenv("FAMULUS_TELEGRAM_TOKEN", TOKEN)
    path = tmp_path / "config.toml"
    text = config.example().replace("/var/lib/famulus", str(tmp_path / "state"), 1)
    path.write_text(text.replace("/run/famulus", str(tmp_path)))
    return path


def famulus(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "daemon", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        **options,
    )


# --- Usage ---


def test_the_version_is_the_projects(capsys: pytest.CaptureFixture[str]) -> None:
    """The constant and pyproject.toml say the same."""
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])

    assert caught.value.code == 0
    assert capsys.readouterr().out == f"famulus {VERSION}\n"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION


HEAVY = {
    *("trio", "cattrs", "attr", "httpx", "openai", "sqlite_utils", "logging"),
    "agent.context",  # and with it all that makes requests
}


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["--version"], set()),
        (["config", "example"], {"attr"}),
        (["config", "check", "--config", "/nowhere"], {"attr"}),
        (["status", "--config", "config.toml.example"], {"attr", "cattrs"}),
    ],
)
def test_a_verb_imports_only_what_it_needs(arguments: list[str], allowed: set[str]) -> None:
    """So that it answers at once."""
    script = (
        "import sys\nfrom daemon import cli\n"
        f"try: cli.main({arguments})\nexcept SystemExit: pass\n"
        "print('MODULES', *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    modules = set(done.stdout.rpartition("MODULES")[2].split())

    assert modules & HEAVY - allowed == set()


@pytest.mark.parametrize(
    "arguments", [[], ["sing"], ["run"], ["config"], ["config", "check"], ["executor", "stop"]]
)
def test_wrong_usage_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With the usage on standard error."""
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)

    assert caught.value.code == 2
    assert "usage: famulus" in capsys.readouterr().err


@pytest.mark.parametrize(
    "verb", [[], ["demo"], ["run"], ["executor"], ["config"], ["config", "check"], ["status"]]
)
def test_every_verb_explains_itself(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """And the exit codes."""
    with pytest.raises(SystemExit) as caught:
        cli.main([*verb, "--help"])

    assert caught.value.code == 0
    assert "exit codes:" in capsys.readouterr().out


def test_each_verb_has_a_line_with_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    """The longest names as well."""
    with pytest.raises(SystemExit):
        cli.main(["--help"])

    out = capsys.readouterr().out
    assert "    approvals  show the tool calls" in out
    assert "    workspace  look into" in out


# --- config ---


def test_the_example_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """To be redirected into a file."""
    assert cli.main(["config", "example"]) == 0
    assert capsys.readouterr().out == config.example()


def test_a_good_configuration_is_ok(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a summary, warnings, and no secret."""
    assert cli.main(["config", "check", "--config", str(file)]) == 0

    out = capsys.readouterr().out
    assert out.startswith(f"OK: {file}\n")
    assert "env FAMULUS_TELEGRAM_TOKEN" in out
    assert "warning: telegram.allowed_users" in out
    assert TOKEN not in out


def test_a_bad_configuration_exits_78_with_all_problems(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On standard error, one line each."""
    file.write_text(file.read_text().replace("poll_timeout = 50", "poll_timout = 0\nx = 1"))
    assert cli.main(["config", "check", "--config", str(file)]) == 78

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        f"famulus: {file}: 2 problems",
        '  telegram.poll_timout: unknown key; did you mean "poll_timeout"?',
        (
            "  telegram.x: unknown key; known here: "
            "token, api_base_url, mode, poll_timeout, webhook, owner, streaming, rich, "
            "allowed_users, guests, allowed_chats, groups, pairing"
        ),
        f"  correct it, then try: famulus config check --config {file}",
    ]


@pytest.mark.parametrize("verb", [["config", "check"], ["run"]])
def test_a_token_that_is_not_set_exits_78(
    verb: list[str], file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is started."""
    monkeypatch.delenv("FAMULUS_TELEGRAM_TOKEN")

    assert cli.main([*verb, "--config", str(file)]) == 78
    assert "telegram.token: the environment variable" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [["config", "check"], ["run"], ["executor"], ["status"]])
def test_a_missing_file_exits_78(
    verb: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Never defaults."""
    assert cli.main([*verb, "--config", str(tmp_path / "none.toml")]) == 78
    assert "there is no such file" in capsys.readouterr().err


# --- status ---


@contextmanager
def a_daemon_that_says(reply: dict[str, Any], state_dir: Path) -> Iterator[None]:
    """A control socket that answers one request."""
    state_dir.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(socket_path(state_dir)))
        listener.listen(1)

        def answer() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(4096)
                client.sendall(json.dumps(reply).encode() + b"\n")

        # A daemon thread: if the test fails before it asks, nobody ever connects.
        thread = Thread(target=answer, daemon=True)
        thread.start()
        yield
        thread.join(10)


def test_status_is_a_table_or_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For people and for programs."""
    report = {"version": "1", "tasks": [{"name": "poll", "state": "running"}]}
    arguments = ["status", "--config", str(file)]
    with a_daemon_that_says({"ok": True, "result": report}, file.parent / "state"):
        assert cli.main(arguments) == 0
    assert capsys.readouterr().out == "version  1\n\ntasks\n  NAME  STATE\n  poll  running\n"

    socket_path(file.parent / "state").unlink()
    (file.parent / "state").rmdir()
    with a_daemon_that_says({"ok": True, "result": report}, file.parent / "state"):
        assert cli.main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == report


def test_status_without_a_daemon_exits_69(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Cause and remedy, no traceback."""
    assert cli.main(["status", "--config", str(file)]) == 69

    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("famulus: the daemon is not running: nobody answers at ")
    assert second == "  start it with: famulus run --config FILE"


def test_a_pipe_that_is_closed_early_is_no_error() -> None:
    """`famulus config example | head -1`."""
    command = f"{sys.executable} -m daemon config example | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


# --- executor ---


def test_executor_status_without_an_executor_exits_69(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the executor client's own words."""
    assert cli.main(["executor", "status", "--config", str(file)]) == 69
    assert capsys.readouterr().err.startswith("famulus: ")


def test_executor_replaces_the_process_by_the_launchers_command(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing of our environment, and settings from the configuration."""
    called: list[tuple[str, list[str], dict[str, str]]] = []

    def execve(path: str, argv: list[str], env: dict[str, str]) -> None:
        called.append((path, argv, env))
        raise KeyboardInterrupt  # exec does not return

    monkeypatch.setattr(os, "execve", execve)
    assert cli.main(["executor", "--config", str(file), "--user", "nobody"]) == 130

    ((path, argv, env),) = called
    assert path == argv[0]
    assert argv[argv.index("--user") + 1] == "nobody"
    settings_fd = int(argv[argv.index("--settings-fd") + 1])
    settings = json.loads(os.read(settings_fd, 65536))
    os.close(settings_fd)
    assert settings["socket"] == f"{file.parent}/executor.sock"
    assert "FAMULUS_TELEGRAM_TOKEN" not in env


# What systemd does: the socket becomes descriptor 3, for the very process that it executes.
ACTIVATED = """
import os, sys
listener, *command = sys.argv[1:]
os.dup2(int(listener), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, "-m", "daemon", *command])
"""


def test_a_client_that_waits_for_an_executor_without_a_configuration_is_told(
    file: Path,
) -> None:
    """Or else systemd, which starts it for whoever waits, would do so again at once, for ever."""
    file.write_text(file.read_text().replace("[executor]", "[executor]\npyton = 1", 1))
    path = str(file.parent / "executor.sock")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(path)
        listener.listen()
        client.settimeout(20)
        client.connect(path)
        client.sendall(b"\0\0\0\2\2{}")
        fd = listener.fileno()
        words = [sys.executable, "-c", ACTIVATED, str(fd), "executor", "--config", str(file)]
        with subprocess.Popen(words, cwd=ROOT, pass_fds=[fd], stderr=subprocess.PIPE) as process:
            listener.close()
            answer = json.loads(client.makefile("rb").read()[5:])
            client.close()
            _, said = process.communicate(timeout=20)
    assert process.returncode == 78
    assert b"executor.pyton" in said
    assert answer["reason"] == "denied"
    assert "executor.pyton" in answer["detail"]


# --- How things end ---


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (KeyboardInterrupt(), 130, ""),
        (BaseExceptionGroup("g", [KeyboardInterrupt(), FamulusError("x")]), 130, ""),
        (FamulusError("it is so", "do this"), 69, "famulus: it is so\n  do this\n"),
        (Fatal("it is so"), 78, "famulus: it is so\n"),
        (ExceptionGroup("g", [ValueError("v"), Fatal("it is so")]), 78, "famulus: it is so\n"),
    ],
)
def test_errors_are_told_and_become_exit_codes(
    error: BaseException,
    code: int,
    told: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Alone, or in the group that a nursery makes."""

    def verb(_: object) -> int:
        raise error

    monkeypatch.setattr(cli, "_config_example", verb)
    assert cli.main(["config", "example"]) == code
    assert capsys.readouterr().err == told


def test_other_errors_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are ours to mend, so nothing is hidden."""

    def verb(_: object) -> int:
        raise ExceptionGroup("g", [ValueError("bug")])

    monkeypatch.setattr(cli, "_config_example", verb)
    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="bug")):
        cli.main(["config", "example"])


def test_ctrl_c_ends_with_130_and_without_a_traceback() -> None:
    """A verb that waits is interrupted from the keyboard."""
    script = (
        "import signal, sys, time\nfrom daemon import cli\n"
        "def verb(_):\n    print('ready', flush=True)\n    signal.pause()\n"
        "cli._config_example = verb\nsys.exit(cli.main(['config', 'example']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        try:
            _, err = process.communicate(timeout=10)
        finally:
            process.kill()  # or leaving the block would wait for it for ever

    assert (process.returncode, err) == (130, "")


def test_python_m_daemon_is_the_command(tmp_path: Path) -> None:
    """Exit codes pass through."""
    assert famulus("--version").stdout == f"famulus {VERSION}\n"
    assert famulus("config", "check", "--config", tmp_path / "none").returncode == 78
