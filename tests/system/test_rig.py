"""The rig itself: what is a reason to skip, and what it waits for."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system import debian, waiting
from tests.system.conftest import need

APT = """#!/bin/sh
[ "$1" = indextargets ] && echo "$SITE trixie"
"""
NO_MIRROR = "#!/bin/sh\nexit 4\n"
WORKS = "#!/bin/sh\nexit 0\n"
BROKEN = "#!/bin/sh\necho 'W: a bug of ours' >&2; exit 1\n"


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs of our own before the system's: an apt that knows a mirror, which answers."""
    need()
    folder = tmp_path / "tools"
    folder.mkdir()
    for name, text in {"apt-get": APT, "wget": WORKS, "debootstrap": BROKEN}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/sbin:/usr/bin:/sbin:/bin")
    monkeypatch.setenv("SITE", "http://127.0.0.1:9/debian")
    return folder


def test_a_mirror_that_is_out_of_reach_is_a_reason_to_skip(tools: Path, tmp_path: Path) -> None:
    (tools / "wget").write_text(NO_MIRROR)
    with pytest.raises(debian.Unreachable, match="cannot be reached"):
        debian.make_base(tmp_path / "base")


def test_an_apt_without_a_mirror_is_one_too(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tools / "apt-get").write_text(WORKS)
    with pytest.raises(debian.Unreachable, match="names no mirror"):
        debian.make_base(tmp_path / "base")


def test_any_other_failure_is_one_of_the_rig(tools: Path, tmp_path: Path) -> None:
    """And says what debootstrap said."""
    with pytest.raises(AssertionError, match="a bug of ours"):
        debian.make_base(tmp_path / "base")


@pytest.fixture
def start() -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start Python on some code; ended with the test."""
    with contextlib.ExitStack() as stack:

        def start(code: str) -> subprocess.Popen[str]:
            words = [sys.executable, "-c", code]
            process = stack.enter_context(subprocess.Popen(words, stdout=-1, text=True))
            stack.callback(process.kill)
            return process

        yield start


Start = Callable[[str], subprocess.Popen[str]]


def test_a_line_is_waited_for(start: Start) -> None:
    process = start("import time; print('one'); print('two ready', flush=True); time.sleep(600)")
    assert waiting.line_with(process, "ready", 20.0) == "two ready\n"


@pytest.mark.parametrize(
    "said", ["", "print('one', flush=True); ", "print('rea', end='', flush=1);"]
)
def test_a_process_that_falls_silent_is_noticed(start: Start, said: str) -> None:
    """Also if it never said a word, or stopped in the middle of a line."""
    process = start(f"import time; {said}time.sleep(600)")
    with pytest.raises(AssertionError, match=r"no 'ready' in 0\.5 s"):
        waiting.line_with(process, "ready", 0.5)


def test_a_process_that_ends_without_the_line_is_noticed(start: Start) -> None:
    """With what it said instead."""
    with pytest.raises(AssertionError, match="refused"):
        waiting.line_with(start("print('refused')"), "ready", 20.0)
