"""What the clients of the executor raise, and what the operations on files refuse with."""

from __future__ import annotations


class _Refused(Exception):
    """`cause` says why, `remedy` what to do about it; '' where nothing can be done."""

    def __init__(self, cause: str, remedy: str = "") -> None:
        super().__init__(f"{cause}; {remedy}" if remedy else cause)
        self.cause = cause
        self.remedy = remedy


class ExecutorUnavailable(_Refused):
    """The executor cannot be had now. Raised in place of a job's result: no code was run."""


class FileRefused(_Refused):
    """A file operation that was not done, and has changed nothing."""


class NoWorkspace(FileRefused):
    """There is no such workspace: nothing was ever put into it, or it was discarded."""
