"""Collecting artifacts: what is given back, what is not and why, and that nothing leaks."""

from __future__ import annotations

import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from executor import artifacts
from executor.beneath import Beneath
from executor.messages import Artifact, Skipped
from executor.settings import Limits

LIMITS = Limits(artifact_bytes=1000, artifact_files=5)


def collected(
    top: Path, *patterns: str, limits: Limits = LIMITS
) -> tuple[list[Artifact], list[Skipped]]:
    with Beneath.at(str(top)) as workspace:
        return artifacts.collect(workspace, patterns, limits)


def test_plots_come_first_by_number_and_their_directory_goes(tmp_path: Path) -> None:
    """Ten comes after nine, and the next job begins without the plots of this one."""
    (tmp_path / ".plots").mkdir()
    for number in (10, 9, 1):
        (tmp_path / ".plots" / f"plot-{number}.png").write_bytes(b"%d" % number)
    (tmp_path / ".plots" / "other").touch()
    (tmp_path / "table.csv").write_bytes(b"a,b")
    found, skipped = collected(tmp_path, "*.csv")
    assert [one.data for one in found] == [b"1", b"9", b"10", b"a,b"]
    assert found[-1].name == "table.csv"
    assert not skipped
    assert not (tmp_path / ".plots").exists()


def test_what_is_no_plain_file_is_skipped_with_the_reason(tmp_path: Path) -> None:
    """Links, files with two names, pipes: none is followed, opened or waited for."""
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "first").touch()
    os.link(tmp_path / "first", tmp_path / "second")
    found, skipped = collected(tmp_path, "link", "pipe", "second", "none", "../x")
    reasons = {one.name: one.why for one in skipped}
    assert not found
    assert "symbolic link" in reasons["link"]
    assert "pipe" in reasons["pipe"]
    assert "hard links" in reasons["second"]
    assert reasons["none"] == "nothing matches"
    assert "cannot be" in reasons["../x"]


def test_a_socket_is_skipped(tmp_path: Path) -> None:
    """A job makes one with bind(2), and nobody connects to it."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
        found, skipped = collected(tmp_path, "sock")
    assert not found
    assert "a socket" in skipped[0].why


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make devices")
@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK])
def test_a_device_is_skipped_unopened(tmp_path: Path, kind: int) -> None:
    """No job can make one; here root does. Opening it could have effects: there is no driver."""
    os.mknod(tmp_path / "device", kind | 0o666, os.makedev(250, 250))
    found, skipped = collected(tmp_path, "device")
    assert not found
    assert "a device" in skipped[0].why


def test_the_limits_hold_for_all_files_together(tmp_path: Path) -> None:
    """A file that no longer fits is named, and smaller ones after it are still given."""
    for name, size in (("a", 600), ("b", 600), ("c", 400)):
        (tmp_path / name).write_bytes(bytes(size))
    found, skipped = collected(tmp_path, "?")
    assert [one.name for one in found] == ["a", "c"]
    assert "more than 400" in skipped[0].why
    few = Limits(artifact_files=1, artifact_bytes=1000)
    assert "limit of 1 files" in collected(tmp_path, "?", limits=few)[1][0].why


def test_a_file_that_matches_twice_is_given_once(tmp_path: Path) -> None:
    """However many patterns name it."""
    (tmp_path / "a").touch()
    assert len(collected(tmp_path, "a", "*", "**")[0]) == 1


def test_reasons_are_not_endless(tmp_path: Path) -> None:
    """A job that leaves a thousand pipes gets fifty of them told."""
    for number in range(100):
        os.mkfifo(tmp_path / f"pipe{number}")
    skipped = collected(tmp_path, "*")[1]
    assert len(skipped) == 51
    assert skipped[-1].why == "and 50 more"


def test_patterns_are_not_endless(tmp_path: Path) -> None:
    """Each is a walk through the workspace."""
    (tmp_path / "a").touch()
    found, skipped = collected(tmp_path, *["none"] * 100, "a")
    assert not found
    assert skipped[-1].why == "and 51 more"
    assert collected(tmp_path, *["a"] * 101)[1] == [
        Skipped("a", "there are more than 100 patterns")
    ]


def test_a_directory_of_plots_that_is_a_link_is_no_way_out(tmp_path: Path) -> None:
    """The link is removed, and what it pointed to stays."""
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (outside / "plot-1.png").write_bytes(b"secret")
    (inside / ".plots").symlink_to(outside)
    assert collected(inside) == ([], [])
    assert (outside / "plot-1.png").exists()


@pytest.mark.parametrize("rounds", [1500, pytest.param(20_000, marks=pytest.mark.slow)])
def test_a_name_that_is_swapped_for_a_link_never_leaks(tmp_path: Path, rounds: int) -> None:
    """While one thread swaps a file, a link to a secret and a directory, only files come back."""
    (tmp_path / "file").write_bytes(b"secret")
    top = tmp_path / "top"
    (top / "real").mkdir(parents=True)
    (top / "real" / "file").write_bytes(b"mine")
    done = threading.Event()
    swapper = threading.Thread(target=_swap, args=(top, done))
    swapper.start()
    try:
        seen = set()
        with Beneath.at(str(top)) as workspace:
            for _ in range(rounds):
                found, skipped = artifacts.collect(workspace, ("name", "way/file"), LIMITS)
                seen |= {one.data for one in found}
                assert all(one.why for one in skipped)
    finally:
        done.set()
        swapper.join()
    assert seen == {b"mine"}


def _swap(top: Path, done: threading.Event) -> None:
    """Rename in turn, into the places that are looked at, something good and something bad."""
    while not done.is_set():
        (top / "t1").symlink_to("../file")
        (top / "t1").rename(top / "name")
        (top / "t2").symlink_to("..")
        (top / "t2").rename(top / "way")
        (top / "t3").write_bytes(b"mine")
        (top / "t3").rename(top / "name")
        (top / "way").unlink()
        (top / "real").rename(top / "way")
        (top / "way").rename(top / "real")
