"""Trying things in a forked child that has no more rights than a job has.

As root the child becomes the account of jobs first. It imports nothing: what an action needs is
imported before, because the account may not be able to read this interpreter's files.
"""

from __future__ import annotations

import ast
import os
import pwd
import resource
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import frozen

from executor.inside import kernel
from tests.executor import harness

Action = Callable[[], Any]


@frozen
class Ended:
    """How a child ended: its exit code, or the negative number of a signal, and what it said."""

    code: int
    said: str


def run(action: Action) -> Any:
    """Give what an action gives, a plain value, from a child that can gain no privileges."""
    ended = ending(action)
    assert ended.code == 0, ended
    return ast.literal_eval(ended.said)


def ending(action: Action) -> Ended:
    harness.need_account()
    reader, writer = os.pipe()
    pid = _fork()
    if pid == 0:
        os.close(reader)
        _be_the_child(action, writer)
    os.close(writer)
    with os.fdopen(reader) as said:
        text = said.read()
    return Ended(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text)


def errno_of(call: Callable[..., Any], *arguments: Any) -> int:
    """Give 0 if the call works, else the number of its error."""
    try:
        call(*arguments)
    except OSError as error:
        return error.errno or -1
    return 0


def give(path: Path) -> Path:
    """Hand a file or directory to the account of jobs."""
    if harness.IS_ROOT:
        entry = pwd.getpwnam(harness.USER)
        os.chown(path, entry.pw_uid, entry.pw_gid)
    return path


def _fork() -> int:
    with warnings.catch_warnings():
        # Other tests' worker threads idle on; the child takes no lock that they could hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _be_the_child(action: Action, writer: int) -> None:
    code = 1
    try:
        _give_up_privileges()
        said = repr(action())
        code = 0
    except BaseException:  # noqa: ASYNC103, BLE001 - it is for the parent to read
        said = traceback.format_exc()
    os.write(writer, said.encode())
    os._exit(code)


def _give_up_privileges() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if harness.IS_ROOT:
        entry = pwd.getpwnam(harness.USER)
        os.setgroups([])
        os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
        os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    kernel.no_new_privileges()
