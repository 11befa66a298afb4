"""What the packaging tests share: where the checkout is, and which files belong to it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

# What make and git leave behind, passed over where there is no git to ask.
MADE = frozenset({"build", "dist", "__pycache__"})


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def tracked(root: Path) -> list[Path]:
    """Every file that belongs to the project, relative to the checkout."""
    names = _from_git(root) if shutil.which("git") else None
    if names is None:
        names = [str(path.relative_to(root)) for path in root.rglob("*") if _belongs(path, root)]
    return sorted(Path(name) for name in names if (root / name).is_file())


def _from_git(root: Path) -> list[str] | None:
    """What git tracks, or None where this is no repository (or another user's)."""
    done = subprocess.run(
        ["git", "-C", root, "ls-files", "-z"], capture_output=True, text=True, check=False
    )
    return done.stdout.split("\0")[:-1] if done.returncode == 0 else None


def _belongs(path: Path, root: Path) -> bool:
    """Whether a file is one that git would track, judged by its place."""
    parts = path.relative_to(root).parts
    hidden = any(part.startswith(".") and part not in {".ci", ".gitignore"} for part in parts)
    return path.is_file() and not hidden and MADE.isdisjoint(parts)
