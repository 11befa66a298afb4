"""The spool: whole files or none, private, and nothing that nobody waits for."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.spool import Spool


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
