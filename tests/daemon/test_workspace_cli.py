"""`famulus workspace`: what an owner types, against a real executor."""

from __future__ import annotations

import errno
import io
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon import cli, config, workspace_cli
from tests.executor import harness, trees
from tests.executor.harness import Running

pytestmark = pytest.mark.executor

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with harness.place() as where, harness.executor(where) as executor:
        yield executor


@pytest.fixture
def file(tmp_path: Path, running: Running) -> Path:
    """A configuration that names the executor which is running."""
    path = tmp_path / "config.toml"
    text = config.example().replace("/run/famulus/executor.sock", running.settings.socket)
    path.write_text(text.replace("/var/lib/famulus", str(tmp_path / "state"), 1))
    return path


def workspace(file: Path, *arguments: object) -> int:
    action, *others = map(str, arguments)
    return cli.main(["workspace", action, "--config", str(file), "--", *others])


@pytest.mark.parametrize("name", trees.NAMES)
def test_a_file_goes_in_is_listed_comes_out_and_is_removed(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """To the byte, whatever its name; what the terminal gets is one line of printable text."""
    source = tmp_path / "source"
    source.write_bytes(os.urandom(300_000))
    assert workspace(file, "put", "cli", source, f"d/{name}") == 0
    assert workspace(file, "ls", "cli", "d") == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert out.strip().isprintable()
    assert "300.0 kB" in out
    assert workspace(file, "get", "cli", f"d/{name}", tmp_path / "copy") == 0
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()
    assert workspace(file, "rm", "cli", "d") == 0
    assert workspace(file, "ls", "cli") == 0
    assert capsys.readouterr().out == ""


def test_get_keeps_what_is_there_unless_forced(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Into a directory under its own name; a copy that fails leaves nothing behind."""
    (tmp_path / "new").write_text("new")
    out = tmp_path / "out"
    out.mkdir()
    assert workspace(file, "put", "keep", tmp_path / "new", "in/") == 0
    (out / "new").write_text("old")
    assert workspace(file, "get", "keep", "in/new", out) == 1
    assert "--force" in capsys.readouterr().err
    assert (out / "new").read_text() == "old"
    assert workspace(file, "get", "keep", "in/none", out) == 1
    assert [one.name for one in out.iterdir()] == ["new"]
    action = ["workspace", "get", "--force", "--config", str(file), "keep", "in/new", str(out)]
    assert cli.main(action) == 0
    assert (out / "new").read_text() == "new"
    mask = os.umask(0)
    os.umask(mask)
    assert (out / "new").stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_name_may_be_as_long_as_a_file_system_takes(file: Path, tmp_path: Path) -> None:
    """In bytes: a letter may have three of them."""
    name = "\u6f22" * 84
    (tmp_path / "new").write_text("new")
    assert workspace(file, "put", "long", tmp_path / "new", name) == 0
    assert workspace(file, "get", "long", name, tmp_path) == 0
    assert (tmp_path / name).read_text() == "new"


def refuse_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a FAT file system does, on a stick or a memory card."""

    def refuse(*_paths: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)


def test_get_needs_no_hard_links(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And leaves nothing else behind where there are none."""
    refuse_links(monkeypatch)
    (tmp_path / "new").write_text("new")
    out = tmp_path / "out"
    out.mkdir()
    assert workspace(file, "put", "nolinks", tmp_path / "new", "new") == 0
    assert workspace(file, "get", "nolinks", "new", out) == 0
    assert (out / "new").read_text() == "new"
    assert [one.name for one in out.iterdir()] == ["new"]


@pytest.mark.parametrize("links", [True, False])
def test_what_appears_during_a_copy_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """Looked for before the copy begins, and again when it has ended."""
    if not links:
        refuse_links(monkeypatch)
    dest = tmp_path / "file"

    def copy() -> None:
        with workspace_cli._appearing(dest, replace=False) as ours:
            ours.write(b"ours")
            dest.write_text("theirs")

    with pytest.raises(FileExistsError):
        copy()
    assert dest.read_text() == "theirs"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "modified", [0.0, -1e9, 2.0**40, 2.0**62, 1e300, float("inf"), float("nan")]
)
def test_any_time_of_a_file_has_words(modified: float) -> None:
    """A job may set any, and some are no dates."""
    assert len(workspace_cli.when(modified)) >= len("2026-01-01 00:00")


def test_standard_input_and_output_are_files_too(file: Path) -> None:
    """In a process of its own, with bytes that are no text."""
    command = [sys.executable, "-m", "daemon", "workspace"]
    options = ["--config", str(file), "pipe"]
    data = os.urandom(100_000)
    subprocess.run([*command, "put", *options, "-", "data"], input=data, cwd=ROOT, check=True)
    done = subprocess.run(
        [*command, "get", *options, "data", "-"], capture_output=True, cwd=ROOT, check=True
    )
    assert done.stdout == data
    assert done.stderr == b""
    nameless = subprocess.run(
        [*command, "put", *options, "-"], input=b"", capture_output=True, cwd=ROOT, check=False
    )
    assert nameless.returncode == 1
    assert b"has no name" in nameless.stderr


def test_the_probe_leaves_no_workspace(
    file: Path, running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither the one at start nor the one that is asked for: they are no chat's."""
    where = f"\nworkspaces = '{running.settings.workspaces}'\n"
    file.write_text(file.read_text().replace("\nworkspaces = ", f"{where}# ", 1))
    assert workspace(file, "ls") == 0
    assert cli.main(["executor", "probe", "--config", str(file)]) == 0
    assert "NOT HELD" not in capsys.readouterr().out
    assert workspace(file, "ls") == 0
    assert not running.workspace("probe").exists()
    assert "probe" not in capsys.readouterr().out


def test_all_workspaces_are_listed_with_what_they_hold(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line each."""
    (tmp_path / "f").write_bytes(bytes(10_000))
    workspace(file, "put", "listed", tmp_path / "f")
    assert workspace(file, "ls") == 0
    (line,) = [one for one in capsys.readouterr().out.splitlines() if one.startswith("listed")]
    assert line.split()[1:] == ["12.3", "kB", "1", "file"]


def test_a_whole_workspace_is_removed_only_with_a_yes(
    file: Path,
    tmp_path: Path,
    running: Running,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From a person at a terminal, or by --yes; nobody there is a no."""
    (tmp_path / "f").touch()
    workspace(file, "put", "precious", tmp_path / "f")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert workspace(file, "rm", "precious") == 1
    assert "--yes" in capsys.readouterr().err
    master, slave = pty.openpty()
    with os.fdopen(slave, "r") as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        os.write(master, b"n\n")
        assert workspace(file, "rm", "precious") == 1
        assert running.workspace("precious").exists()
        os.write(master, b"y\n")
        assert workspace(file, "rm", "precious") == 0
    os.close(master)
    assert "1 file (" in capsys.readouterr().err
    assert not running.workspace("precious").exists()
    monkeypatch.undo()
    workspace(file, "put", "precious", tmp_path / "f")
    assert cli.main(["workspace", "rm", "precious", "--yes", "--config", str(file)]) == 0
    assert not running.workspace("precious").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["ls", "no-such"], 1, "no workspace"),
        (["ls", "../x"], 1, "is not [a-z0-9-]"),
        (["get", "refused", "/etc/passwd"], 1, "absolute"),
        (["get", "refused", "../x", "x"], 1, "cannot be"),
        (["put", "refused", "/nowhere/file"], 1, "No such file"),
        (["rm", "refused", "none"], 1, "does not exist"),
        (["rm", "none", "--", "x"], 1, "no workspace"),
    ],
)
def test_what_is_refused_says_why_in_two_lines(
    file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    """Without a traceback, and the exit code tells it from an executor that is not there."""
    (tmp_path / "f").touch()
    workspace(file, "put", "refused", tmp_path / "f")
    assert cli.main(["workspace", arguments[0], "--config", str(file), *arguments[1:]]) == code
    err = capsys.readouterr().err
    assert err.startswith("famulus: ")
    assert said in err
    assert len(err.splitlines()) <= 2


def test_without_an_executor_it_exits_69(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And says how to start one."""
    path = tmp_path / "config.toml"
    path.write_text(config.example().replace("/run/famulus", str(tmp_path)))
    assert cli.main(["workspace", "ls", "--config", str(path)]) == 69
    assert "start it with" in capsys.readouterr().err


@pytest.mark.skipif(not harness.IS_ROOT, reason="needs root to be somebody else")
def test_a_stranger_is_told_whom_to_be(file: Path) -> None:
    """The socket is closed to other accounts, and the remedy is to be the right one."""
    script = (
        "import os, sys, trio, executor.client, daemon.config, daemon.config_read;"
        "import agent.heartbeat, daemon.demo.play_format;"
        "from daemon import cli, redact;"
        "os.setresuid(65534, 65534, 65534); sys.exit(cli.main(sys.argv[1:]))"
    )
    with harness.place() as where:
        (where / "config.toml").write_bytes(file.read_bytes())
        (where / "config.toml").chmod(0o644)
        command = [sys.executable, "-c", script, "workspace", "ls"]
        done = subprocess.run(
            [*command, "--config", str(where / "config.toml")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 69, done.stderr
    assert "root or as the daemon's user" in done.stderr


def test_a_long_copy_tells_a_terminal_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And wipes the line at the end; where there is no terminal nothing is said."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    progress = workspace_cli.Progress("file")
    with progress:
        progress.add(10)
        assert capsys.readouterr().err == ""
        progress._next = 0.0  # as if half a second had passed
        progress.add(1_500_000)
        assert capsys.readouterr().err == "\r\x1b[Kfile  1.5 MB"
    assert capsys.readouterr().err == "\r\x1b[K"
