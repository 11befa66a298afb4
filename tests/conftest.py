"""What every test needs: Ctrl-C means the same to the processes that tests start, everywhere.

A shell without job control starts background commands with SIGINT ignored, and whoever inherits
that stays deaf to it: a suite that runs so would wait for ever for a child to be interrupted.
"""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
