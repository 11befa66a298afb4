"""How the daemon's command line starts the executor: what to execute, with what in hand.

The executor gets a clean environment and no descriptor but the standard ones and its settings,
which lie in a memory file so that nothing has to be written to disk. For `famulus executor` the
command is executed in place; for `run --with-executor` it is a child, and `owned=True` makes it
end when the parent does, however the parent dies: it is told to watch its standard input, so
give it a pipe there.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from executor.settings import Settings, to_json

EXIT_CONFIG = 78

_FROM_MANAGER = ("LISTEN_PID", "LISTEN_FDS", "NOTIFY_SOCKET")


@frozen
class Launch:
    """A command ready to run.

    `settings_fd` must be passed on under its own number (`pass_fds=[launch.settings_fd]`; for
    exec it is inheritable already). The caller owns it and closes it once the child is started.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    settings_fd: int

    def close(self) -> None:
        os.close(self.settings_fd)


@frozen
class Ready:
    """The executor accepts jobs; `status` is the JSON form of executor.messages.Status."""

    status: Mapping[str, Any]


@frozen
class Refusal:
    """The executor will not start; it exits with EXIT_CONFIG."""

    cause: str
    remedy: str


def command(settings: Settings, *, user: str | None = None, owned: bool = False) -> Launch:
    """Prepare to start an executor. `user` is the account to become, and needs root."""
    fd = _memory_file(json.dumps(to_json(settings)).encode())
    argv = [sys.executable, "-S", "-s", "-P", "-m", "executor", "--settings-fd", str(fd)]
    if user is not None:
        argv += ["--user", user]
    if owned:
        argv.append("--until-stdin-closes")
    return Launch(tuple(argv), environment(), fd)


def environment() -> dict[str, str]:
    """The executor's whole environment: nothing of the daemon's own, secrets least of all."""
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(_where_packages_are()),
        "PYTHONDONTWRITEBYTECODE": "1",
        "MALLOC_ARENA_MAX": "1",  # the few threads it has need no memory pools of their own
    }


def from_manager(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What systemd tells the process that it started, for the executor that takes its place.

    Not for a child: the sockets and the readiness are the parent's then.
    """
    return {name: environ[name] for name in _FROM_MANAGER if name in environ}


def _where_packages_are() -> list[str]:
    """The directories that hold this package and what it imports, however they got there."""
    specs = (importlib.util.find_spec(name) for name in ("executor", "attrs", "trio"))
    origins = (spec.origin for spec in specs if spec is not None and spec.origin is not None)
    return list(dict.fromkeys(str(Path(origin).resolve().parent.parent) for origin in origins))


def parse_announcement(line: bytes) -> Ready | Refusal:
    """Read the one line that the executor writes to its standard output.

    An empty line means that it ended without a word, which is a refusal too.
    """
    try:
        values = json.loads(line)
    except ValueError:
        return Refusal("the executor ended before it was ready", "its log says why")
    if "ready" in values:
        return Ready(values["ready"])
    return Refusal(str(values.get("refused")), str(values.get("remedy", "")))


def _memory_file(data: bytes) -> int:
    fd = os.memfd_create("executor-settings", 0)
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
