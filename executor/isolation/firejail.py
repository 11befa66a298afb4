"""The `firejail` layer: a SUID helper that builds namespaces, mounts and a system call filter.

firejail fails open. Started where it believes it is already inside a sandbox (any fresh pid
namespace will do), it runs the program with no confinement at all and says nothing. So this layer
is believed only as far as the evidence from inside the box goes, on every job.

The rest is knowing its ways. It passes the environment on, so it is started with a clean one. It
reads profiles from the user's home, so it is started with none, and the lines of ours become
options. What it does not hide is there to be read, so every directory that is neither the
system's nor the job's is hidden by name (`hidden`). It needs the account's home directory to
exist and to belong to the account, because the workspace is mounted over it.
"""

from __future__ import annotations

import os
import pwd
import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ClassVar

from attrs import evolve

from executor.isolation.layer import Capability, Layer, Missing, Plan

BINARY = "/usr/bin/firejail"
# --keep-fd and --restrict-namespaces are as old as this.
_OLDEST = (0, 9, 72)
_VERSION_SECONDS = 5.0

# The operating system's own directories, and those that firejail replaces by its own.
_SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc")
_REPLACED = ("dev", "proc", "sys", "tmp", "var/tmp", "home", "root", "run/firejail")
# firejail hides these itself, and complains of being told twice.
_HIDDEN_ALREADY = ("boot", "mnt", "media", "run/mount", "run/media")

ListDirectory = Callable[[str], list[str]]


class Firejail(Layer):
    name: ClassVar[str] = "firejail"

    def __init__(self, profile: str, binary: str = BINARY) -> None:
        """`profile` is the text of firejail.profile; `binary` an absolute path."""
        self._options = options(profile)
        self._binary = binary
        self._home = pwd.getpwuid(os.getuid()).pw_dir
        self._version = ""

    def capabilities(self, _stack: frozenset[str]) -> frozenset[Capability]:
        return frozenset(
            {
                Capability.FS,
                Capability.NET,
                Capability.PID,
                Capability.SYSCALLS,
                Capability.NNP,
            }
        )

    def missing(self) -> Missing | None:
        if not os.access(self._binary, os.X_OK):
            return Missing(f"{self._binary} is not installed", "apt-get install firejail")
        self._version = _version_of(self._binary)
        if _numbers(self._version) < _OLDEST:
            return Missing(
                f"firejail {self._version or 'of unknown version'} is older than 0.9.72",
                "upgrade it: apt-get install firejail",
            )
        return self._missing_home()

    def version(self) -> str:
        return self._version

    def begin(self, plan: Plan) -> Plan:
        keep = (*plan.keep, self._home)
        argv = (
            self._binary,
            "--quiet",
            "--noprofile",
            "--keep-fd=3,4",
            f"--private={plan.workspace}",
            *self._options,
            *(f"--read-only={path}" for path in plan.keep),
            *(f"--blacklist={path}" for path in hidden(keep, _entries)),
        )  # no "--" at the end: it makes firejail start the account's shell
        return evolve(plan, argv=argv)

    def _missing_home(self) -> Missing | None:
        """The workspace is mounted over the home directory, which must be the account's."""
        try:
            owner = os.stat(self._home).st_uid
        except OSError:
            owner = None
        if owner == os.getuid():
            return None
        user = pwd.getpwuid(os.getuid()).pw_name
        return Missing(
            f"the home directory of {user}, {self._home}, does not exist or is not {user}'s",
            f"as root: install -d -o {user} -m 0700 {self._home}",
        )


def options(profile: str) -> tuple[str, ...]:
    """Turn the lines of a profile into command line options: `net none` into `--net=none`."""
    lines = (line.strip() for line in profile.splitlines())
    wanted = (line for line in lines if line and not line.startswith("#"))
    return tuple("--" + "=".join(line.split(maxsplit=1)) for line in wanted)


def hidden(keep: Iterable[str], entries: ListDirectory) -> list[str]:
    """List what to hide: everything from / down that is not kept and leads to nothing kept.

    `keep` are absolute paths; `entries` lists a directory. A directory on the way to something
    kept is entered, any other is hidden whole.
    """
    kept = {path.strip("/") for path in (*_SYSTEM, *_REPLACED, *_HIDDEN_ALREADY, *keep)}
    on_the_way = {str(parent) for path in kept for parent in Path(path).parents} - {"."}
    found: list[str] = []
    waiting = [""]
    while waiting:
        top = waiting.pop()
        for name in entries("/" + top):
            path = f"{top}/{name}".lstrip("/")
            if path in on_the_way and path not in kept:
                waiting.append(path)
            elif path not in kept:
                found.append("/" + path)
    return sorted(found)


def _entries(directory: str) -> list[str]:
    """List what needs hiding in a directory; a link needs none, for it leads to what is hidden."""
    try:
        with os.scandir(directory) as entries:
            return [one.name for one in entries if not one.is_symlink()]
    except OSError:
        return []


def _version_of(binary: str) -> str:
    """Ask the binary for its version; empty if it does not say."""
    try:
        done = subprocess.run(
            [binary, "--version"],
            check=False,
            capture_output=True,
            text=True,
            timeout=_VERSION_SECONDS,
            env={"PATH": "/usr/bin:/bin"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"version (\d+(?:\.\d+)+)", done.stdout)
    return found[1] if found else ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part)
