"""Applying a diff to a workspace: all of it, or nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from executor import files, incoming, patch
from executor.beneath import Beneath
from executor.errors import FileRefused
from executor.settings import Limits
from tests.executor.trees import ROOMY, peak


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
    made = "--- /dev/null\n+++ d/e/made\n@@ -0,0 +1 @@\n+x\n"
    with pytest.raises(FileRefused, match="directory"):
        patch.patch(workspace, made + change.format("a") + change.format("b"), ROOMY)
    assert (tmp_path / "a").read_text() == "a\n"
    assert not (tmp_path / "d").exists()


def git(top: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=n", "-c", "user.email=e", *arguments]
    own = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
    done = subprocess.run(command, cwd=top, env=own, capture_output=True, check=True)
    return os.fsdecode(done.stdout)


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git to write diffs")
def test_what_git_writes_of_a_whole_tree_makes_the_old_one_the_new_one(
    workspace: Beneath, tmp_path: Path
) -> None:
    """Empty files, copies of what changes too, renamings, scripts, and names of any kind."""
    names = ("changed", "source", "ä\n.txt", "with a space", "gone", "empty", "script", "old name")
    for number, name in enumerate(names):
        text = "" if name == "empty" else "".join(f"{number} {line}\n" for line in range(30))
        (tmp_path / name).write_text(text)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "old")
    (tmp_path / "changed").write_text((tmp_path / "source").read_text())
    (tmp_path / "copy").write_text((tmp_path / "source").read_text() + "more\n")
    (tmp_path / "source").write_text("0\n" + (tmp_path / "source").read_text())
    for name in ("ä\n.txt", "with a space"):
        (tmp_path / name).write_text((tmp_path / name).read_text() + "end")
    (tmp_path / "gone").unlink()
    (tmp_path / "empty").unlink()
    (tmp_path / "script").chmod(0o755)
    (tmp_path / "old name").rename(tmp_path / "new name")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "made").touch()
    (tmp_path / "run").write_text("#!/bin/sh\n")
    (tmp_path / "run").chmod(0o755)
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "new")
    text = git(tmp_path, "format-patch", "-1", "--stdout", "-C", "--find-copies-harder")
    assert "copy from" in text
    git(tmp_path, "checkout", "-q", "HEAD~")
    patch.patch(workspace, text, ROOMY)
    git(tmp_path, "add", "-A")
    assert git(tmp_path, "diff", "--cached", git(tmp_path, "rev-parse", "HEAD@{1}").strip()) == ""


def test_a_patch_fits_where_it_makes_no_more_than_there_is_room_for(
    workspace: Beneath, tmp_path: Path
) -> None:
    """At the limit of files a change is no new file; new ones count with their directories."""
    (tmp_path / "a").write_text("a\n")
    limits = Limits(workspace_files=1)
    patch.patch(workspace, "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-a\n+b\n", limits)
    made = "--- /dev/null\n+++ b/d/{0}\n@@ -0,0 +1 @@\n+x\n"
    two = made.format("x") + made.format("y")
    with pytest.raises(FileRefused, match="no more files"):
        patch.patch(workspace, two, Limits(workspace_files=4))
    assert [one.name for one in tmp_path.iterdir()] == ["a"]
    patch.patch(workspace, two, Limits(workspace_files=5))


def test_a_diff_with_what_no_file_can_hold_is_refused(workspace: Beneath) -> None:
    with pytest.raises(FileRefused, match=r"a character that cannot be: '\\ud800'"):
        patch.patch(workspace, "--- a\n+++ a\n@@ -1 +1 @@\n-\ud800\n+b\n", ROOMY)


def test_a_small_change_to_a_large_file_takes_little_memory(
    workspace: Beneath, tmp_path: Path
) -> None:
    """A few times the file's size, though it has millions of lines and has to be searched."""
    (tmp_path / "large").write_bytes(b"ab\n" * 700_000 + b"end\n")
    text = "--- a/large\n+++ b/large\n@@ -1 +1 @@\n-end\n+END\n"
    assert peak(lambda: patch.patch(workspace, text, ROOMY)) < 16_000_000
    assert (tmp_path / "large").read_bytes().endswith(b"ab\nEND\n")
