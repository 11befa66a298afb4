"""The spool: whole files or none, private, and nothing that nobody waits for."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon import spool as module
from daemon.spool import Spool, SpoolFull


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def test_a_file_comes_back_as_it_was_kept(spool: Spool) -> None:
    """Under a name that is not its own, for nobody but us."""
    data = bytes(range(256)) * 5000
    key = spool.keep(data)
    with spool.open(key) as file:
        assert file.read() == data
    assert (spool.path / key).stat().st_mode & 0o777 == 0o600
    assert spool.path.stat().st_mode & 0o777 == 0o700
    spool.remove([key, key])
    with pytest.raises(FileNotFoundError):
        spool.open(key)


def test_the_start_removes_what_no_row_names(spool: Spool) -> None:
    """What a kill left: a file before its row, and half of one."""
    assert spool.sweep([]) == 0
    kept, orphan = spool.keep(b"a"), spool.keep(b"b")
    (spool.path / f"{orphan}.new").write_bytes(b"half")
    assert spool.sweep({kept}) == 2
    assert [path.name for path in spool.path.iterdir()] == [kept]


@pytest.mark.parametrize("key", ["../famulus.db", "", "a" * 31, "A" * 32])
def test_only_names_of_our_own_are_opened(spool: Spool, key: str) -> None:
    """A key from a row is a name, never a path."""
    spool.path.mkdir()
    (spool.path.parent / "famulus.db").write_text("secrets")
    with pytest.raises(FileNotFoundError):
        spool.open(key)


def test_a_spool_that_cannot_be_made_is_an_error(spool: Spool) -> None:
    """The error is the caller's, who tells the model."""
    spool.path.touch()
    with pytest.raises(OSError, match="exists"):
        spool.keep(b"a")


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files and directories that were synced, in order; in the place of a power failure."""
    seen: list[Path] = []
    fsync: Callable[[int], None] = os.fsync

    def note(descriptor: int) -> None:
        seen.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    return seen


def test_a_new_directory_is_as_durable_as_what_is_in_it(spool: Spool, synced: list[Path]) -> None:
    """Its own name lies in the directory above, which must be synced for it to be there."""
    first, second = spool.keep(b"a"), spool.keep(b"b")
    named = [(spool.path / f"{key}.new") for key in (first, second)]
    made = [spool.path.parent, named[0], spool.path]
    assert synced == [*made, named[1], spool.path]
    spool.sweep({first, second})  # a kill may have come before the first of these
    assert synced[len(made) + 2 :] == [spool.path.parent]


def test_a_file_that_cannot_be_made_durable_is_not_left_behind(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has its name already when the directory fails; nobody would ever remove it."""
    spool.keep(b"a")
    left = list(spool.path.iterdir())

    def fail(_path: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(module, "_sync_directory", fail)
    with pytest.raises(OSError, match="error"):
        spool.keep(b"b")
    assert list(spool.path.iterdir()) == left


def test_the_start_leaves_alone_what_is_not_ours(spool: Spool) -> None:
    """Where the spool is a file system of its own there is a `lost+found`, and it is no fault."""
    orphan = spool.keep(b"a")
    (spool.path / "lost+found").mkdir()
    (spool.path / "notes.txt").write_text("an owner's")
    (spool.path / ("0" * 32)).mkdir()
    assert spool.sweep([]) == 1
    names = {path.name for path in spool.path.iterdir()}
    assert names == {"lost+found", "notes.txt", "0" * 32}
    assert orphan not in names


def test_it_takes_no_more_than_its_size(tmp_path: Path) -> None:
    """It lies on the database's disk, which must not be full; what goes makes room."""
    spool = Spool(tmp_path / "spool", most_bytes=10)
    first = spool.keep(b"12345")
    spool.keep(b"1234")
    with pytest.raises(SpoolFull):
        spool.keep(b"12")
    assert len(list(spool.path.iterdir())) == 2
    spool.keep(b"1")
    spool.remove([first])
    spool.keep(b"12345")


# --- Files that come in pieces ---


def test_a_file_that_comes_in_pieces_is_there_when_it_is_whole(spool: Spool) -> None:
    growing = spool.begin()
    growing.write(b"one ")
    growing.write(b"two")
    with pytest.raises(FileNotFoundError):
        spool.open(growing.key)
    assert (growing.finish(), growing.size) == (growing.key, 7)
    with spool.open(growing.key) as file:
        assert file.read() == b"one two"
    assert (spool.path / growing.key).stat().st_mode & 0o777 == 0o600


def test_a_file_that_breaks_off_leaves_nothing(spool: Spool) -> None:
    """Whether it was finished or not, and however often it is said."""
    growing, finished = spool.begin(), spool.begin()
    growing.write(b"half")
    finished.finish()
    for each in (growing, finished, growing):
        each.drop()
    assert list(spool.path.iterdir()) == []


def test_what_grows_counts_while_it_grows(tmp_path: Path) -> None:
    """Side by side they take no more than the spool may."""
    spool = Spool(tmp_path / "spool", most_bytes=10)
    first, second = spool.begin(), spool.begin()
    first.write(b"12345")
    second.write(b"1234")
    with pytest.raises(SpoolFull):
        second.write(b"12")
    with pytest.raises(SpoolFull):
        spool.keep(b"12")
    first.drop()
    second.write(b"12")
    assert second.finish()


def test_a_kill_in_the_middle_is_swept_at_the_start(spool: Spool) -> None:
    growing = spool.begin()
    growing.write(b"half")
    assert spool.sweep([]) == 1
    growing.drop()


def test_a_finished_file_is_as_durable_as_one_that_came_at_once(
    spool: Spool, synced: list[Path]
) -> None:
    growing = spool.begin()
    growing.write(b"data")
    growing.finish()
    assert synced == [spool.path.parent, spool.path / f"{growing.key}.new", spool.path]
