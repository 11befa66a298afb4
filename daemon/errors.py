"""The daemon's error tree: every refusal carries a cause and a remedy.

The two halves are kept apart because they are read apart: a log line wants both, a table of tasks
wants the cause alone, and a chat wants neither the path nor the variable that the remedy names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import ClassVar


class FamulusError(Exception):
    """A refusal that says what is wrong (`cause`) and what the owner can do (`remedy`).

    `exit_code` is for a process that it ends.
    """

    exit_code: ClassVar[int] = os.EX_UNAVAILABLE

    def __init__(self, cause: str, remedy: str = "") -> None:
        super().__init__(cause, remedy)
        self.cause = cause
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.cause}; {self.remedy}" if self.remedy else self.cause

    def lines(self) -> list[str]:
        """For a terminal: what is wrong, line by line, and last what to do."""
        return [self.cause, self.remedy] if self.remedy else [self.cause]


class Refused(FamulusError):
    """What was asked for cannot be done, though all that it needs is running: it exits with 1."""

    exit_code: ClassVar[int] = 1


class Fatal(FamulusError):
    """What no restart can cure. The supervisor lets it through, and the process exits with 78."""

    exit_code: ClassVar[int] = os.EX_CONFIG


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The single exceptions in `error`, groups opened at every depth."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error
