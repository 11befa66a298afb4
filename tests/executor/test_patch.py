"""Applying a diff to a workspace: all of it, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from executor import files, incoming, patch
from executor.beneath import Beneath
from executor.errors import FileRefused
from tests.executor.trees import ROOMY


def test_a_patch_changes_makes_renames_and_removes(workspace: Beneath, tmp_path: Path) -> None:
    """Several files at once; permissions are kept over a renaming."""
    for name in ("change", "gone", "from"):
        (tmp_path / name).write_text("1\n2\n")
    (tmp_path / "from").chmod(0o755)
    text = (
        "--- a/change\n+++ b/change\n@@ -1,2 +1,2 @@\n 1\n-2\n+3\n"
        "--- /dev/null\n+++ b/d/made\n@@ -0,0 +1 @@\n+new\n"
        "--- a/gone\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-1\n-2\n"
        "rename from from\nrename to to\n"
    )
    done = patch.patch(workspace, text, ROOMY)
    assert set(done.changed) == {"change"}
    assert set(done.made) == {"d/made", "to"}
    assert set(done.removed) == {"gone", "from"}
    assert (tmp_path / "change").read_text() == "1\n3\n"
    assert (tmp_path / "d" / "made").read_text() == "new\n"
    assert files.look(workspace, "to").mode == 0o755
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize(
    "second",
    [
        "--- a/b\n+++ b/b\n@@ -1 +1 @@\n-other\n+x\n",
        "--- a/none\n+++ b/none\n@@ -1 +1 @@\n-x\n+y\n",
        "--- /dev/null\n+++ b/b\n@@ -0,0 +1 @@\n+x\n",
        "--- /dev/null\n+++ b/link/x\n@@ -0,0 +1 @@\n+x\n",
        "--- a/b\n+++ /dev/null\n@@ -1 +0,0 @@\n-b\n",
        "rename from b\nrename to a\n",
        "rename from b\nrename to ../b\n",
    ],
)
def test_a_patch_whose_second_change_fails_changes_nothing(
    workspace: Beneath, tmp_path: Path, second: str
) -> None:
    """Hunks that do not fit, files that are missing or in the way, paths that lead out."""
    (tmp_path / "a").write_text("a\n")
    (tmp_path / "b").write_text("b\nb\n")
    (tmp_path / "link").symlink_to("/tmp")
    with pytest.raises(FileRefused):
        patch.patch(workspace, "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-a\n+A\n" + second, ROOMY)
    assert (tmp_path / "a").read_text() == "a\n"
    assert (tmp_path / "b").read_text() == "b\nb\n"


def test_a_patch_that_fails_when_it_takes_its_place_is_undone(
    workspace: Beneath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the second rename finds a directory, as one that was made in between would be."""
    for name in ("a", "b"):
        (tmp_path / name).write_text(f"{name}\n")
    commit = incoming.Incoming.commit

    def late(file: incoming.Incoming, mode: int | None = None) -> None:
        if file.path == "b":
            (tmp_path / "b").unlink()
            (tmp_path / "b").mkdir()
        commit(file, mode)

    monkeypatch.setattr(incoming.Incoming, "commit", late)
    change = "--- {0}\n+++ {0}\n@@ -1 +1 @@\n-{0}\n+x\n"
    with pytest.raises(FileRefused, match="directory"):
        patch.patch(workspace, change.format("a") + change.format("b"), ROOMY)
    assert (tmp_path / "a").read_text() == "a\n"
