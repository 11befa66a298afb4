"""What is expected of each stack under each attack: held, refused, or not covered, and why.

The one table: tests are parametrised by it, docs/attacks.md is printed from it, and a test sees to
it that no line stands here without one that shows it. Held means that the attack comes to nothing.
Refused means that what it needs is denied to honest code as well, or that nothing runs at all; it
has a reason. Not covered means that this stack does nothing about it.

Numbers are those of the attacks; a letter tells parts apart whose results differ, or which are
shown by different tests.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from attrs import frozen

from tests.attacks.stacks import (
    ALL,
    FIREJAIL,
    LANDLOCK,
    NAMESPACES,
    WITHOUT_CGROUP,
    Stack,
)

Word = Literal["held", "refused", "not covered"]


@frozen
class Expected:
    """What is expected, and a sentence that says why unless it is held."""

    word: Word
    why: str = ""


@frozen
class _Exception:
    stacks: tuple[Stack, ...]
    expected: Expected


@frozen
class Line:
    """One attack: its number, what the job does, and what is different from held."""

    number: str
    attack: str
    exceptions: tuple[_Exception, ...]

    def of(self, stack: Stack) -> Expected:
        found = (one.expected for one in self.exceptions if stack in one.stacks)
        return next(found, Expected("held"))

    def stacks(self, word: Word) -> tuple[Stack, ...]:
        return tuple(stack for stack in ALL if self.of(stack).word == word)


def _line(number: str, attack: str, *exceptions: _Exception) -> Line:
    return Line(number, attack, exceptions)


def _refused(stacks: Iterable[Stack], why: str) -> _Exception:
    return _Exception(tuple(stacks), Expected("refused", why))


def _open(stacks: Iterable[Stack], why: str) -> _Exception:
    return _Exception(tuple(stacks), Expected("not covered", why))


_NO_TOTAL = "Only a cgroup counts what belongs to no process or is spread over many."
_CPU_EACH = "RLIMIT_CPU counts each process by itself; all end at the time limit."
_NO_SOCKETS = "There is no network namespace: the filter denies every socket."
_NO_SHM = "POSIX semaphores need /dev/shm, which is the host's and out of reach."
_FIREJAIL_SHM = "firejail's /dev/shm has no size of its own, and only a cgroup counts it."
_FIREJAIL_TMP = "firejail's private /tmp has no size of its own, and only a cgroup counts it."
_FIREJAIL_ALONE = FIREJAIL[1:]

LINES = (
    _line("1", "Forks until it cannot"),
    _line("2", "Starts a new session again and again (setsid hydra)"),
    _line("3", "Leaves a daemonised grandchild behind and exits 0"),
    _line("4", "Leaves a grandchild that holds standard output"),
    _line("5", "Ignores every signal"),
    _line("6", "Stops itself with SIGSTOP"),
    _line("7a", "Spins on one processor"),
    _line("7b", "Spins in eight processes", _open(WITHOUT_CGROUP, _CPU_EACH)),
    _line("8a", "Sleeps"),
    _line("8b", "Kills the process that watches over it"),
    _line("9a", "Fills memory in one process"),
    _line("9b", "Fills memory in twenty processes"),
    _line("9c", "Fills memory through memfd", _open(WITHOUT_CGROUP, _NO_TOTAL)),
    _line("9d", "Fills /dev/shm", _open(_FIREJAIL_ALONE, _FIREJAIL_SHM)),
    _line("10a", "Fills its workspace with bytes"),
    _line("10b", "Fills its workspace with files"),
    _line("10c", "Fills /tmp", _open(_FIREJAIL_ALONE, _FIREJAIL_TMP)),
    _line("11", "Makes a sparse file of 1 TB"),
    _line("12a", "Writes 300 MB of output"),
    _line("12b", "Writes one line without an end"),
    _line("12c", "Writes NULs and bytes that are no UTF-8"),
    _line("13", "Closes standard input and output, and goes on"),
    _line("14a", "Reads the environment and memory of PID 1, daemon and executor in /proc"),
    _line("14b", "Goes through /proc/*/root, cwd and fd to other files"),
    _line("14c", "Reads /etc/shadow and what else is not the system's programs"),
    _line("14d", "Reads another chat's workspace"),
    _line("14e", "Reads the daemon's configuration, environment and socket"),
    _line("14f", "Closes workspaces and the executor's files beside them (chmod)"),
    _line("14g", "Changes the owner's skills, which it can read and every account could write"),
    _line("15a", "Signals daemon, executor and zygote"),
    _line("15b", "Traces daemon, executor, zygote and PID 1 (ptrace)"),
    _line("15c", "Reads and writes their memory (process_vm_readv, /proc/*/mem)"),
    _line("15d", "Takes their descriptors through a pidfd"),
    _line("15e", "Changes their limits, priority and processors"),
    _line("16a", "Offers a symlink as an artifact"),
    _line("16b", "Offers a hard link"),
    _line("16c", "Offers a fifo, a socket or a device"),
    _line("16d", "Offers a magic link of /proc"),
    _line("16e", "Swaps an artifact for a link while it is collected"),
    _line("16f", "Offers more than the limits allow, or a large sparse file"),
    _line("17", "Finds its workspace replaced by a link before the start"),
    _line("18a", "Runs a copy of a shell with the setuid bit"),
    _line("18b", "Runs su, sudo and other setuid programs"),
    _line("19a", "Connects by TCP: the internet, the host's loopback, the metadata address"),
    _line("19b", "Sends by UDP"),
    _line("19c", "Sends ICMP"),
    _line("19d", "Asks for a name (DNS)"),
    _line("20", "Opens vsock, netlink, packet, alg and other sockets"),
    _line("21a", "Connects to abstract sockets of daemon and executor"),
    _line("21b", "Connects to their sockets with a path"),
    _line("22a", "Looks for open descriptors besides 0 to 2"),
    _line("22b", "Reopens the control descriptor of the process that watches"),
    _line("23", "Looks for more in the environment than the allow-list"),
    _line("24a", "Makes devices (mknod)"),
    _line("24b", "Mounts, by the old calls and the new"),
    _line("24c", "Changes its root (chroot, pivot_root)"),
    _line("24d", "Changes its namespaces (setns, unshare, clone)"),
    _line("24e", "Writes anywhere but in its workspace and /tmp"),
    _line("25", "Makes a user namespace of its own"),
    _line("26", "Uses io_uring, bpf, perf and userfaultfd"),
    _line("27", "Uses the session's keyring"),
    _line("28a", "Leaves System V shared memory behind"),
    _line("28b", "Leaves a POSIX message queue behind"),
    _line("29", "Dumps core"),
    _line("30a", "Pushes characters into a terminal (TIOCSTI)"),
    _line("30b", "Has a controlling terminal"),
    _line("31a", "Raises its limits"),
    _line("31b", "Makes itself the last to be killed (oom_score_adj)"),
    _line("32", "Leaves its cgroup"),
    _line("33a", "Makes x32 system calls"),
    _line("33b", "Makes 32-bit system calls (int 0x80)"),
    _line("34a", "Leaves 3,000 directories, each in the other"),
    _line("34b", "Leaves 200,000 files"),
    _line("35", "Makes names with newlines, invalid bytes, 255 bytes"),
    _line("36a", "Leaves state in /tmp for the next job"),
    _line("36b", "Leaves state in /dev/shm for the next job"),
    _line("37", "Looks for another chat's files and processes while that runs"),
    _line("38a", "Its client cancels or is gone"),
    _line("38b", "Its executor is killed (SIGKILL)"),
    _line("38c", "Its zygote is killed (SIGKILL)"),
    _line("39a", "A client announces a frame that is too large"),
    _line("39b", "A client sends bad JSON"),
    _line("39c", "A client of another account connects"),
    _line("39d", "A client reads slowly or not at all"),
    _line("39e", "A client connects and says nothing, or half a frame"),
    _line(
        "40a",
        "The executor starts in a fresh pid namespace",
        _refused(FIREJAIL, "firejail there runs programs with no sandbox; the probe sees it."),
    ),
    _line(
        "40b",
        "The executor starts with no_new_privs",
        _refused(FIREJAIL, "firejail cannot work without its setuid bit."),
    ),
    _line(
        "40c",
        "firejail is not there",
        _refused(FIREJAIL, "It does not start without firejail."),
    ),
    _line(
        "40d",
        "firejail is replaced by something that runs programs unconfined",
        _refused(FIREJAIL, "The box is not verified, and never gets the code."),
    ),
    _line(
        "40e",
        "User namespaces are forbidden",
        _refused(NAMESPACES, "Without a user namespace an ordinary account can make no other."),
    ),
    _line("40f", "Landlock is absent", _refused(LANDLOCK, "It does not start without landlock.")),
    _line(
        "40g",
        "No cgroup is delegated, and a limit on all memory is required",
        _refused(ALL, "Only a cgroup has such a limit."),
    ),
    _line(
        "40h",
        "A part of /proc is hidden, as in containers",
        _refused(NAMESPACES, "The kernel then allows nobody a /proc of his own."),
    ),
    _line("41a", "Honest: threads"),
    _line("41b", "Honest: multiprocessing", _refused(LANDLOCK, _NO_SHM)),
    _line("41c", "Honest: subprocesses and pipes"),
    _line("41d", "Honest: asyncio on localhost", _refused(LANDLOCK, _NO_SOCKETS)),
    _line("41e", "Honest: numpy"),
    _line("41f", "Honest: pandas"),
    _line("41g", "Honest: plt.show()"),
    _line("41h", "Honest: copies 100 MB"),
)
BY_NUMBER = {line.number: line for line in LINES}
