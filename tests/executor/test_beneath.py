"""Opening beneath a workspace: what is in it, and no way out of it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executor import beneath
from executor.beneath import Beneath
from executor.errors import FileRefused
from tests.executor import trees


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A workspace beside which lies a secret."""
    (tmp_path / "secret").write_text("secret")
    top = tmp_path / "workspace"
    top.mkdir()
    return top


@pytest.fixture
def workspace(top: Path) -> Iterator[Beneath]:
    with Beneath.at(str(top)) as opened:
        yield opened


def content(workspace: Beneath, path: str, most: int = 100) -> bytes:
    descriptor, _ = workspace.open_file(path, most)
    try:
        return os.read(descriptor, most)
    finally:
        os.close(descriptor)


def why(workspace: Beneath, path: str) -> str:
    with pytest.raises(FileRefused) as refused:
        workspace.open_file(path, 100)
    return refused.value.cause


@pytest.mark.parametrize("name", trees.NAMES)
def test_a_file_of_any_name_is_opened(workspace: Beneath, top: Path, name: str) -> None:
    """A name is bytes; it comes back as what it was, and a refusal shows it in one line."""
    (top / name).write_bytes(b"here")
    assert content(workspace, name) == b"here"
    assert "\n" not in beneath.shown(name)


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../secret", "a/../../secret", "..", "a\0b", "x" * 256, "\ud800"]
)
def test_a_path_that_can_name_nothing_in_the_workspace_is_refused(
    workspace: Beneath, path: str
) -> None:
    """Such a path never reaches the kernel."""
    assert why(workspace, path)


def test_no_link_is_followed_wherever_it_stands(workspace: Beneath, top: Path) -> None:
    """Neither the last name nor one on the way, neither out of the workspace nor within it."""
    (top / "out").symlink_to("../secret")
    (top / "up").symlink_to("..")
    (top / "file").write_text("mine")
    (top / "within").symlink_to("file")
    (top / "root").symlink_to("/proc/self/root")
    for path in ("out", "up/secret", "within", "root/etc/passwd"):
        assert "symbolic link" in why(workspace, path)


def test_the_kernel_refuses_by_itself_what_leads_out(workspace: Beneath) -> None:
    """The check of the text is for good messages; it is not what holds."""
    for path in ("..", "../secret", "/etc/passwd"):
        with pytest.raises(OSError, match="cross-device"):
            beneath.openat2(workspace.descriptor, path, os.O_RDONLY)


def test_nothing_but_a_file_with_one_name_is_opened(workspace: Beneath, top: Path) -> None:
    """And none of them blocks: a pipe without a writer is refused at once."""
    os.mkfifo(top / "pipe")
    (top / "directory").mkdir()
    (top / "file").write_text("x")
    os.link(top / "file", top / "other")
    (top / "large").write_bytes(bytes(101))
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(top / "socket"))
    assert "pipe" in why(workspace, "pipe")
    assert "directory" in why(workspace, "directory")
    assert "2 names" in why(workspace, "other")
    assert "more than 100" in why(workspace, "large")
    assert "socket" in why(workspace, "socket")
    assert "does not exist" in why(workspace, "nothing")


def test_another_mount_is_not_entered(workspace: Beneath) -> None:
    """What is mounted in a directory is not the workspace's; /proc is such a mount."""
    with Beneath.at("/") as root, pytest.raises(FileRefused, match="leads out"):
        root.open_file("proc/version", 100)


def test_a_path_longer_than_the_kernel_takes_is_opened_in_pieces(
    workspace: Beneath, top: Path
) -> None:
    """Forty names of 255 bytes are more than two such paths."""
    name = "n" * 255
    trees.deep(top, 40, name)
    before = trees.descriptors()
    assert content(workspace, "/".join([*[name] * 40, "last"])) == b"the end"
    assert trees.descriptors() == before


def test_a_kernel_without_openat2_opens_nothing(
    workspace: Beneath, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No second way is tried: a system call that does not exist is a refusal with the remedy."""
    (top / "file").write_text("x")
    monkeypatch.setattr(beneath, "_SYS_OPENAT2", 999_999)
    with pytest.raises(FileRefused, match=r"Linux 5\.6"):
        workspace.open_file("file", 100)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(codec=None), max_size=300))
def test_any_text_is_a_path_or_a_refusal(workspace: Beneath, path: str) -> None:
    """Nothing else is raised, and no descriptor is left open."""
    before = trees.descriptors()
    try:
        descriptor, _ = workspace.open_file(path, 100)
    except FileRefused as error:
        assert str(error)
    else:
        os.close(descriptor)
    assert trees.descriptors() == before
