"""Which directories of an interpreter every box sees, and which it must not."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from executor import interpreter
from executor.isolation.stack import Refused
from executor.settings import Settings


def python_in(prefix: Path, landmark: str = "pyvenv.cfg") -> str:
    """Make something that looks like an interpreter with its files, for all to run."""
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin" / "python3").write_text("#!/bin/sh\n")
    (prefix / "bin" / "python3").chmod(0o755)
    (prefix / landmark).parent.mkdir(parents=True, exist_ok=True)
    (prefix / landmark).touch()
    return str(prefix / "bin" / "python3")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home directory of an account that this host has now."""
    path = tmp_path / "home" / "alice"
    path.mkdir(parents=True)
    entry = pwd.struct_passwd(("alice", "x", 1234, 1234, "", str(path), "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwall", lambda: [entry])
    return path


def check(python: str) -> None:
    interpreter.check(python, "famulus-exec", "/nonexistent/workspaces")


@pytest.mark.parametrize("landmark", ["pyvenv.cfg", "lib/python3.11/os.py"])
def test_a_directory_of_its_own_is_seen_by_the_jobs(home: Path, landmark: str) -> None:
    """Of a virtual environment or of a whole interpreter, even where it lies in a home."""
    python = python_in(home / "venv", landmark)
    check(python)
    assert interpreter.prefixes(python) == (str(home / "venv"),)


def test_what_it_links_to_is_seen_too(home: Path) -> None:
    whole = python_in(home / "python", "lib/python3.11/os.py")
    (home / "venv" / "bin").mkdir(parents=True)
    (home / "venv" / "pyvenv.cfg").touch()
    (home / "venv" / "bin" / "python").symlink_to(whole)
    found = interpreter.prefixes(str(home / "venv" / "bin" / "python"))
    assert found == (str(home / "python"), str(home / "venv"))


def test_a_link_in_a_directory_of_programs_does_not_show_what_is_around_it(home: Path) -> None:
    """~/bin and ~/.local/bin, though pip keeps packages in the latter's lib."""
    (home / "bin").mkdir()
    (home / "bin" / "python3").symlink_to("/usr/bin/python3")
    (home / ".local" / "lib" / "python3.11" / "site-packages").mkdir(parents=True)
    (home / ".local" / "bin").symlink_to(home / "bin")
    for where in ("bin", ".local/bin"):
        assert interpreter.prefixes(str(home / where / "python3")) == ()


def test_the_systems_is_there_anyway() -> None:
    """Also by /bin, from where the way to its files leads over a link in the root directory."""
    assert interpreter.prefixes("/usr/bin/python3") == interpreter.prefixes("/bin/python3") == ()


@pytest.mark.parametrize("where", ["", ".."])
def test_a_whole_home_is_not_for_jobs_to_see(home: Path, where: str) -> None:
    """Neither the home itself nor a directory of homes."""
    python = python_in(home / where)
    with pytest.raises(Refused, match="open to every job") as caught:
        check(python)
    assert str(home) in caught.value.cause
    assert "/usr/bin/python3" in caught.value.remedy


def test_a_home_by_another_name_is_one(home: Path, tmp_path: Path) -> None:
    python_in(home)
    (tmp_path / "python").symlink_to(home)
    with pytest.raises(Refused, match="open to every job"):
        check(str(tmp_path / "python" / "bin" / "python3"))


def test_the_workspaces_and_an_interpreter_are_apart(home: Path) -> None:
    """Jobs neither see the workspaces with it, nor write what the next job runs."""
    python = python_in(home / "opt")
    for workspaces in (home / "opt" / "work", home / "opt", home):
        with pytest.raises(Refused):
            interpreter.check(python, "famulus-exec", str(workspaces))


def test_a_relative_name_is_none(home: Path) -> None:
    python = os.path.relpath(python_in(home / "venv"))
    with pytest.raises(Refused, match="cannot run the interpreter"):
        check(python)


def skills_at(path: Path, workspaces: Path) -> Settings:
    return Settings(workspaces=str(workspaces), skills=str(path))


def test_a_directory_of_skills_is_seen_by_the_jobs(home: Path, tmp_path: Path) -> None:
    """As long as it is there; without one nothing is, and that is no refusal."""
    (home / "skills").mkdir()
    settings = skills_at(home / "skills", tmp_path / "workspaces")
    interpreter.check_skills(settings, "famulus-exec")
    assert interpreter.skills(settings) == (str(home / "skills"),)
    (home / "skills").rmdir()
    assert interpreter.skills(settings) == ()
    interpreter.check_skills(Settings(), "famulus-exec")
    assert interpreter.skills(Settings()) == ()


def test_skills_are_refused_where_jobs_would_see_more(home: Path, tmp_path: Path) -> None:
    """What holds homes or workspaces, lies in a workspace, is a link, or is not there."""
    workspaces = tmp_path / "workspaces"
    (workspaces / "house-1").mkdir(parents=True)
    (tmp_path / "link").symlink_to(home)
    wrong = (home, tmp_path, workspaces / "house-1", tmp_path / "link", tmp_path / "none")
    for path in wrong:
        with pytest.raises(Refused):
            interpreter.check_skills(skills_at(path, workspaces), "famulus-exec")
