"""How the set-up speaks and runs commands: one line a step, output only where a step failed."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

# Variables that would bend another interpreter or a package tool that is run from here.
BENDING = frozenset({"PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "MAKEFLAGS", "MFLAGS"})


class PrepareError(Exception):
    """Set-up cannot go on; the message says why and what would help."""


def say(text: str) -> None:
    """One line for the person at the terminal."""
    print(f"prepare: {text}", flush=True)


def run(command: Sequence[str], failure: str, *, cwd: Path | None = None) -> None:
    """Runs a command to its end; shows what it said and raises PrepareError if it failed."""
    if not succeeds(command, show=True, cwd=cwd):
        raise PrepareError(f"{failure}\n  the command was: {shlex.join(command)}")


def succeeds(command: Sequence[str], *, show: bool = False, cwd: Path | None = None) -> bool:
    """Runs a command without input to its end; with `show`, a failure's output is printed."""
    done = subprocess.run(
        command,
        check=False,
        cwd=cwd,
        env=clean_environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode and show:
        print(done.stdout, end="", file=sys.stderr, flush=True)
    return done.returncode == 0


def clean_environ() -> dict[str, str]:
    """The environment of this process, less what would bend a command or make it ask."""
    environ = {key: value for key, value in os.environ.items() if key not in BENDING}
    return {**environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
