"""The executor's log: logfmt lines on standard error, for systemd or the daemon to keep.

A dozen lines instead of a logging library: this process is to stay small, and it has little to
say. It never logs code, output or file names.
"""

from __future__ import annotations

import json
import sys


def log(event: str, **values: object) -> None:
    """Write one line. Values are quoted where they need it, so that a line stays a line."""
    pairs = [f"{name}={_quoted(str(value))}" for name, value in values.items()]
    sys.stderr.write(" ".join(["executor", f"event={_quoted(event)}", *pairs]) + "\n")
    sys.stderr.flush()


def _quoted(text: str) -> str:
    if text and text.isprintable() and not set(text) & set(' "='):
        return text
    return json.dumps(text)
