"""A system booted by systemd-nspawn: a real systemd as PID 1, on the host's kernel.

It has no resource controllers (the emulated machine has those), and no network but its own
loopback. The leader is a child of the host's, started in a control group of its own, and
everything in it dies with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from attrs import frozen

CGROUPS = Path("/sys/fs/cgroup")
_BOOT_SECONDS = 60.0
# nsenter, into every namespace of the leader, its root and its directory.
_INTO = ("-m", "-p", "-u", "-i", "-n", "-C", "-r", "-w")
_COMMAND_SECONDS = 120.0
# What is executed joins the groups first, so that nothing of the system is ever outside of them.
_JOIN = 'for group in $GROUPS_TO_JOIN; do echo $$ >"$group/cgroup.procs"; done; exec "$0" "$@"'


@frozen
class Machine:
    """A running system. `leader` is the host's pid of its PID 1."""

    root: Path
    leader: int

    def try_run(self, *command: str, user: str = "root") -> subprocess.CompletedProcess[str]:
        """Run a command inside, as its PID 1 sees the world."""
        enter = ("nsenter", f"--target={self.leader}", *_INTO)
        become = () if user == "root" else ("setpriv", f"--reuid={user}", f"--regid={user}")
        groups = () if user == "root" else ("--clear-groups",)
        return subprocess.run(
            [*enter, "--", *become, *groups, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "SYSTEMD_PAGER": ""},
            text=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )

    def run(self, *command: str, user: str = "root") -> str:
        """The same for a command that must succeed; gives what it said."""
        done = self.try_run(*command, user=user)
        assert done.returncode == 0, f"{command}: {done.stdout}\n{self.journal()}"
        return done.stdout

    def journal(self) -> str:
        return self.try_run("journalctl", "--no-pager", "--lines=60").stdout

    def show(self, unit: str, name: str) -> str:
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def processes_of(self, account: str) -> list[str]:
        return self.try_run("ps", "-o", "pid=,args=", "-u", account).stdout.splitlines()

    def wait_for(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait until something is so; fails with the journal."""
        deadline = time.monotonic() + _BOOT_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"{what}: never\n{self.journal()}"
            time.sleep(0.1)


@contextlib.contextmanager
def booted(root: Path) -> Iterator[Machine]:
    """Boot the system in `root`; it is dead when the block ends."""
    console = root.with_name(root.name + ".console")
    with _own_cgroups() as groups, console.open("wb") as output:
        nspawn = subprocess.Popen(
            ["sh", "-euc", _JOIN, *_command(root)],
            env={
                **os.environ,
                "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
                "GROUPS_TO_JOIN": " ".join(map(str, groups)),
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            machine = Machine(root, _leader(nspawn, console))
            machine.wait_for("a booted system", lambda: _is_up(machine))
            yield machine
        finally:
            _end(nspawn)


def _command(root: Path) -> list[str]:
    options = ("--quiet", "--register=no", "--keep-unit", "--console=pipe", "--private-network")
    return ["systemd-nspawn", *options, "--machine", root.name, "--directory", str(root), "--boot"]


def _leader(nspawn: subprocess.Popen[bytes], console: Path) -> int:
    """The pid of the system's init, once it has been executed."""
    deadline = time.monotonic() + _BOOT_SECONDS
    while time.monotonic() < deadline and nspawn.poll() is None:
        for pid in _descendants(nspawn.pid):
            if Path(f"/proc/{pid}/comm").read_text() == "systemd\n":
                return pid
        time.sleep(0.05)
    raise AssertionError(f"the system does not boot: {console.read_text(errors='replace')}")


def _descendants(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield int(child)
            yield from _descendants(int(child))


def _is_up(machine: Machine) -> bool:
    state = machine.try_run("systemctl", "is-system-running").stdout.strip()
    return state in {"running", "degraded"}


def _end(nspawn: subprocess.Popen[bytes]) -> None:
    """SIGTERM makes nspawn power the system off; killed, it takes the system with it."""
    nspawn.send_signal(signal.SIGTERM)
    try:
        nspawn.wait(20)
    except subprocess.TimeoutExpired:
        nspawn.kill()
        nspawn.wait()


@contextlib.contextmanager
def _own_cgroups() -> Iterator[list[Path]]:
    """Groups that nspawn may fill, in the trees that systemd uses; removed in the end."""
    trees = [tree for tree in (CGROUPS, *CGROUPS.iterdir()) if (tree / "cgroup.procs").exists()]
    named = [tree for tree in trees if tree.name in {"cgroup", "systemd", "unified"}]
    groups = [tree / f"famulus-rig-{os.getpid()}" for tree in named]
    for group in groups:
        group.mkdir()
    try:
        yield groups
    finally:
        for group in groups:
            _remove(group)


def _remove(group: Path) -> None:
    """Remove a group and those below it, which an ended system leaves empty."""
    for path in sorted(group.rglob("*"), reverse=True):
        if path.is_dir():
            with contextlib.suppress(OSError):
                path.rmdir()
    with contextlib.suppress(OSError):
        group.rmdir()
