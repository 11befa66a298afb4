"""The places that are made with root's rights: nobody who owns their directory can turn them."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor import place
from executor.isolation.stack import Refused
from executor.privileges import Identity
from tests.executor import harness

needs_root = pytest.mark.skipif(not harness.IS_ROOT, reason="only root can give things away")
NOBODY = 65534


def ourselves() -> Identity:
    entry = pwd.getpwuid(os.getuid())
    return Identity(entry.pw_uid, entry.pw_name, entry.pw_uid, entry.pw_gid)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "executor.sock"


@pytest.fixture
def bound(path: Path) -> Iterator[place.Place]:
    found = place.bind(str(path))
    yield found
    found.listener.close()


def test_the_socket_is_ours_alone(path: Path, bound: place.Place) -> None:
    found = path.stat()
    assert (found.st_uid, found.st_mode & 0o777) == (os.getuid(), 0o600)
    bound.remove()
    assert not path.exists()


def test_the_socket_of_another_executor_stays(path: Path, bound: place.Place) -> None:
    """Ours does not listen any more but is not gone yet, and so a new one has replaced it."""
    bound.listener.close()
    for _ in range(20):  # file systems like to use the number of a file again at once
        other = place.bind(str(path))
        other.listener.close()
    bound.remove()
    assert path.exists()


def test_what_is_gone_already_needs_no_removing(path: Path, bound: place.Place) -> None:
    path.unlink()
    bound.remove()


def test_a_link_in_the_way_is_not_followed(path: Path) -> None:
    """Not even one that leads nowhere yet."""
    path.symlink_to(path.with_name("elsewhere"))
    with pytest.raises(Refused, match="in the way"):
        place.bind(str(path))
    assert not path.with_name("elsewhere").exists()


@needs_root
def test_a_socket_that_was_swapped_for_a_link_gives_nothing_else_away(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever owns the directory can do that between two steps of ours."""
    precious = path.with_name("shadow")
    precious.touch(mode=0o640)
    real = os.chown

    def swapped(*arguments: object, **options: object) -> None:
        path.unlink()
        path.symlink_to(precious)
        real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "chown", swapped)
    place.bind(str(path), NOBODY).listener.close()
    assert (precious.stat().st_uid, precious.stat().st_mode & 0o777) == (0, 0o640)


@needs_root
def test_the_daemons_socket_is_given_to_it(path: Path) -> None:
    with place.bind(str(path), NOBODY).listener:
        assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (NOBODY, 0o600)


# ---- workspaces ----


def test_the_workspaces_are_made_with_their_parents_and_for_the_account_alone(
    tmp_path: Path,
) -> None:
    root = tmp_path / "a" / "workspaces"
    place.make_workspaces(str(root), ourselves())
    assert root.stat().st_mode & 0o777 == 0o700


def test_workspaces_that_a_job_has_closed_are_opened_again(tmp_path: Path) -> None:
    tmp_path.chmod(0)
    place.make_workspaces(str(tmp_path), ourselves())
    assert tmp_path.stat().st_mode & 0o777 == 0o700


@needs_root
def test_root_gives_to_the_account_what_it_has_made_and_nothing_else(tmp_path: Path) -> None:
    nobody = Identity(0, "nobody", NOBODY, NOBODY)
    place.make_workspaces(str(tmp_path / "made"), nobody)
    assert (tmp_path / "made").stat().st_uid == NOBODY
    (tmp_path / "there").mkdir()
    with pytest.raises(Refused, match="not a directory of nobody"):
        place.make_workspaces(str(tmp_path / "there"), nobody)
    assert (tmp_path / "there").stat().st_uid == 0


@pytest.mark.parametrize("what", ["link", "file"])
def test_what_is_no_directory_is_refused_and_left_as_it_is(tmp_path: Path, what: str) -> None:
    aim = tmp_path / "aim"
    aim.mkdir(mode=0o755)
    root = tmp_path / "workspaces"
    if what == "link":
        root.symlink_to(aim)
    else:
        root.touch()
    with pytest.raises(Refused, match="not a directory of"):
        place.make_workspaces(str(root), ourselves())
    assert aim.stat().st_mode & 0o777 == 0o755


@needs_root
def test_a_root_that_is_swapped_for_a_link_gives_nothing_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its making and the rest the owner of the parent puts a link in its place."""
    aim = tmp_path / "etc"
    aim.mkdir(mode=0o755)
    root = tmp_path / "workspaces"

    def swapped(path: str, mode: int) -> None:
        Path(path).symlink_to(aim)

    monkeypatch.setattr(os, "makedirs", swapped)
    with pytest.raises(Refused, match="not a directory of"):
        place.make_workspaces(str(root), Identity(0, "nobody", NOBODY, NOBODY))
    assert (aim.stat().st_uid, aim.stat().st_mode & 0o777) == (0, 0o755)


@needs_root
@pytest.mark.executor
def test_anothers_directory_is_called_that() -> None:
    """An ordinary user may neither open it nor give it other permissions."""
    with harness.place() as where:
        (where / "workspaces").mkdir(mode=0o700)
        with harness.try_executor(where, harness.as_ordinary_user()) as outcome:
            assert isinstance(outcome, harness.Refused)
    assert "is not a directory of famulus-exec" in outcome.refusal.cause
    assert "choose another" in outcome.refusal.remedy
