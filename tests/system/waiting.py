"""Waiting for what a process says."""

from __future__ import annotations

import os
import select
import subprocess
import time

_PIECE = 65536


def line_with(process: subprocess.Popen[str], mark: str, seconds: float) -> str:
    """The first line of output that holds `mark`.

    It reads past the text layer, which would wait for the end of a line as long as it takes. Raises
    AssertionError with what was said instead, when that was all or `seconds` are over.
    """
    assert process.stdout is not None
    output, said = process.stdout.fileno(), b""
    deadline = time.monotonic() + seconds
    while select.select([output], [], [], max(0.0, deadline - time.monotonic()))[0]:
        piece = os.read(output, _PIECE)
        if not piece:
            break
        said += piece
        for line in said.decode(errors="replace").splitlines(keepends=True):
            if mark in line and line.endswith("\n"):
                return line
    raise AssertionError(f"no {mark!r} in {seconds:g} s: {said.decode(errors='replace')}")
