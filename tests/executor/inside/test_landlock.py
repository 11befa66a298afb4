"""What landlock takes away, tried in forked children that have a job's rights."""

from __future__ import annotations

import errno
import os
import signal
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from executor.inside import kernel, landlock
from tests.executor import harness
from tests.executor.inside import forked
from tests.executor.inside.forked import errno_of

_WHY = landlock.lacking(landlock.abi(), os.uname().release)
pytestmark = pytest.mark.skipif(bool(_WHY), reason=_WHY)

_SYSTEM = ["/usr", "/bin", "/lib", "/lib64", "/etc/passwd"]
READABLE = [path for path in _SYSTEM if Path(path).exists()]
DEVICE = "/dev/null"


@pytest.fixture
def outside() -> Iterator[Path]:
    """A directory that the account owns, with a file and a `workspace` in it."""
    with harness.place() as where:
        forked.give(where)
        (where / "secret").write_text("secret")
        forked.give(where / "secret")
        (where / "workspace").mkdir()
        (where / "workspace" / "file").write_text("mine")
        for path in (where / "workspace", where / "workspace" / "file"):
            forked.give(path)
        yield where


@pytest.fixture
def workspace(outside: Path) -> Path:
    return outside / "workspace"


def confined(action: Callable[[], object], workspace: Path) -> Callable[[], object]:
    """Do something with nothing but the system's files, a device and a workspace."""

    def in_the_domain() -> object:
        landlock.confine(READABLE, [DEVICE, str(workspace)])
        return action()

    return in_the_domain


def read(path: Path | str) -> int:
    return errno_of(lambda: Path(path).read_bytes())


def write(path: Path | str) -> int:
    return errno_of(lambda: Path(path).write_bytes(b"x"))


def test_files_outside_cannot_be_read(outside: Path, workspace: Path) -> None:
    """What was not granted cannot be read, though the account owns it; the rest can."""

    def work() -> dict[str, int]:
        return {
            "secret": read(outside / "secret"),
            "proc": read("/proc/self/status"),
            "list": errno_of(os.listdir, outside),
            "dots": read(workspace / ".." / "secret"),
            "granted": read("/etc/passwd"),
            "mine": read(workspace / "file"),
        }

    seen = forked.run(confined(work, workspace))
    assert (seen.pop("granted"), seen.pop("mine")) == (0, 0)
    assert set(seen.values()) == {errno.EACCES}, seen


def test_only_what_is_writable_can_be_written(outside: Path, workspace: Path) -> None:
    """Outside nothing is made, changed, cut or removed."""

    def work() -> dict[str, int]:
        return {
            "write": write(outside / "secret"),
            "truncate": errno_of(os.truncate, outside / "secret", 0),
            "create": write(outside / "new"),
            "remove": errno_of(os.unlink, outside / "secret"),
            "mkdir": errno_of(os.mkdir, outside / "directory"),
            "take in": errno_of(os.rename, outside / "secret", workspace / "secret"),
            "readable": write("/etc/passwd"),
        }

    seen = forked.run(confined(work, workspace))
    assert set(seen.values()) <= {errno.EACCES, errno.EXDEV}, seen
    assert (outside / "secret").read_text() == "secret"


def test_a_workspace_is_fully_usable(workspace: Path) -> None:
    """Files of every kind but devices are made, moved between directories, cut and removed."""

    def work() -> str:
        base = workspace / "directory"
        base.mkdir()
        (base / "old").write_text("text")
        (base / "old").rename(workspace / "new")
        os.link(workspace / "new", base / "second")
        os.truncate(workspace / "new", 2)
        os.mkfifo(workspace / "fifo")
        (workspace / "link").symlink_to("new")
        (base / "second").unlink()
        base.rmdir()
        return (workspace / "link").read_text()

    assert forked.run(confined(work, workspace)) == "te"


def test_programs_run(workspace: Path) -> None:
    """The system's programs are executed, with the device that they expect."""

    def work() -> object:
        script = 'echo $(cat file) 2>/dev/null; [ -c /dev/null ] && echo "$?"'
        done = subprocess.run(
            ["/bin/sh", "-c", script], cwd=workspace, capture_output=True, check=False
        )
        return done.returncode, done.stdout, done.stderr

    assert forked.run(confined(work, workspace)) == (0, b"mine\n0\n", b"")


def test_a_symlink_out_leads_nowhere(outside: Path, workspace: Path) -> None:
    """A link may point anywhere; what it points to stays out of reach. Hard links are refused."""

    def work() -> dict[str, int]:
        (workspace / "link").symlink_to(outside / "secret")
        (workspace / "up").symlink_to("..")
        return {
            "read": read(workspace / "link"),
            "write": write(workspace / "link"),
            "through": read(workspace / "up" / "secret"),
            "hard": errno_of(os.link, outside / "secret", workspace / "hard"),
        }

    seen = forked.run(confined(work, workspace))
    assert seen.pop("hard") in {errno.EXDEV, errno.EACCES}
    assert set(seen.values()) == {errno.EACCES}, seen


def test_a_rule_for_a_file_is_for_that_file(outside: Path) -> None:
    """A single file can be granted, to be read or written, without its directory."""

    def work() -> list[int]:
        landlock.confine([], [str(outside / "secret")])
        return [write(outside / "secret"), read(outside / "secret"), write(outside / "new")]

    assert forked.run(work) == [0, 0, errno.EACCES]


def test_abstract_sockets_of_the_host_are_unreachable(workspace: Path) -> None:
    """An abstract socket that was bound outside refuses; one of the domain's own does not."""
    name = f"\0famulus-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as host:
        host.bind(name)
        host.listen()

        def work() -> list[int]:
            own = socket.socket(socket.AF_UNIX)
            own.bind(name + "-own")
            own.listen()
            return [
                errno_of(socket.socket(socket.AF_UNIX).connect, one)
                for one in (name, name + "-own")
            ]

        assert forked.run(confined(work, workspace)) == [errno.EPERM, 0]


def test_tcp_is_denied(workspace: Path) -> None:
    """No connection is begun, and no port is taken."""
    with socket.socket() as host:
        host.bind(("127.0.0.1", 0))
        host.listen()

        def work() -> list[int]:
            return [
                errno_of(socket.socket().connect, host.getsockname()),
                errno_of(socket.socket().bind, ("127.0.0.1", 0)),
            ]

        assert forked.run(confined(work, workspace)) == [errno.EACCES, errno.EACCES]


def _reap(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _pausing_child() -> int:
    pid = os.fork()
    if pid == 0:
        kernel.die_with_parent(signal.SIGKILL)
        signal.pause()
        os._exit(0)
    return pid


def test_signals_stay_in_the_domain(workspace: Path) -> None:
    """A process of the same account outside is out of reach; a child is not."""

    def inner() -> None:
        before = errno_of(os.kill, os.getppid(), 0)
        landlock.confine(READABLE, [str(workspace)])
        child = _pausing_child()
        after = errno_of(os.kill, os.getppid(), 0)
        os.kill(child, signal.SIGKILL)
        fits = (before, after, _reap(child)) == (0, errno.EPERM, -signal.SIGKILL)
        os._exit(0 if fits else 1)

    def work() -> int:
        child = os.fork()
        if child == 0:
            inner()
        return _reap(child)

    assert forked.run(work) == 0


def test_a_nested_scope_protects_the_parent(workspace: Path) -> None:
    """From an inner domain the outer one cannot be signalled, but still can signal the inner."""

    def inner() -> None:
        landlock.confine([], [str(workspace)])
        refused = errno_of(os.kill, os.getppid(), 0) == errno.EPERM
        os._exit(0 if refused and read(workspace / "file") == 0 else 1)

    def work() -> object:
        child = os.fork()
        if child == 0:
            inner()
        other = _pausing_child()
        os.kill(other, signal.SIGKILL)
        return _reap(child), _reap(other)

    assert forked.run(confined(work, workspace)) == (0, -signal.SIGKILL)


def test_the_outer_domain_may_signal_the_inner(workspace: Path) -> None:
    """The trusted process above can end what runs in the nested domain."""

    def work() -> int:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            landlock.confine([], [str(workspace)])
            os.write(writer, b"x")
            signal.pause()
        os.read(reader, 1)
        os.kill(child, signal.SIGKILL)
        return _reap(child)

    assert forked.run(confined(work, workspace)) == -signal.SIGKILL


def test_devices_cannot_be_made(workspace: Path) -> None:
    """Neither by right nor by luck: mknod of a device is refused."""

    def work() -> int:
        return errno_of(os.mknod, workspace / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))

    assert forked.run(confined(work, workspace)) in {errno.EPERM, errno.EACCES}


def test_a_path_that_is_not_there_confines_nothing(outside: Path) -> None:
    """A mistake in the paths is an error, and leaves no descriptor and no half of a domain."""

    def work() -> object:
        before = list(Path("/proc/self/fd").iterdir())
        refused = errno_of(landlock.confine, [str(outside)], [str(outside / "nothing")])
        return refused, len(list(Path("/proc/self/fd").iterdir())) - len(before)

    assert forked.run(work) == (errno.ENOENT, 0)
