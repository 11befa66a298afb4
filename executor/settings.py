"""What the executor is told: where it listens, what must isolate its jobs, and their limits.

These classes are the `[executor]` table of the configuration. They live here, and not with the
rest of the configuration, because this package imports nothing from the daemon.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import asdict, field, frozen


@frozen
class Limits:
    """The most that one job may use. Sizes are bytes, times are seconds."""

    wall_seconds: float = 30.0
    cpu_seconds: int = 20
    memory_bytes: int = 512 * 1024 * 1024
    pids: int = 64
    file_bytes: int = 64 * 1024 * 1024
    open_files: int = 256
    output_bytes: int = 1024 * 1024
    workspace_bytes: int = 200 * 1024 * 1024
    workspace_files: int = 10_000
    artifact_bytes: int = 20 * 1024 * 1024
    artifact_files: int = 10


@frozen
class Settings:
    """The `[executor]` table.

    `user` is the account that is kept for jobs. `daemon_user` is the one that may connect when root
    or systemd starts us as `user`, besides root ('' for none).
    `stack` is "auto" or a list of layer names; `require` names the capabilities (FS, NET, PID,
    KILL_TREE, MEM_TOTAL, PIDS, CPU, DISK, SYSCALLS, NNP) without which nothing runs.
    `prefix` is the command that the layer of that name puts before a job's. `warm_boxes` are kept
    ready. At most `sessions` Python sessions live at once, the longest unused goes first, and each
    ends when it was not used for `session_idle_seconds`. `skills` is a directory that every job can
    read, under its own path, and none can write ('' for none).
    """

    socket: str = "/run/famulus/executor.sock"
    workspaces: str = "/var/lib/famulus-exec"
    user: str = "famulus-exec"
    daemon_user: str = ""
    stack: str | tuple[str, ...] = "auto"
    require: tuple[str, ...] = ("FS", "NET", "KILL_TREE", "SYSCALLS", "NNP", "PIDS")
    python: str = "/usr/bin/python3"
    jobs_at_once: int = 2
    prefix: tuple[str, ...] = ()
    warm_boxes: int = 3
    sessions: int = 4
    session_idle_seconds: float = 1800.0
    skills: str = ""
    limits: Limits = field(factory=Limits)


def to_json(settings: Settings) -> dict[str, Any]:
    """Give the settings as the launcher hands them to the executor's process."""
    return asdict(settings)


def from_json(values: Mapping[str, Any]) -> Settings:
    """Read what `to_json` wrote; raises TypeError for a name that is unknown."""
    stack = values.get("stack", "auto")
    known = {
        **values,
        "stack": stack if isinstance(stack, str) else tuple(stack),
        "require": tuple(values.get("require", Settings().require)),
        "prefix": tuple(values.get("prefix", ())),
        "limits": Limits(**values.get("limits", {})),
    }
    return Settings(**known)
