"""What a job can do, tried from the inside: the program of the probe at start.

Unlike the rest of this package it is not trusted code but a job like any other: its text is sent
as user code, with one line in it that sets `OUTSIDE` (a dict: the executor's `pid`, a `canary`
file, the `workspaces`). It prints a line for each thing tried, `name: outcome`, and
`executor.probe` has the table of what each outcome has to be.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import socket
import subprocess
import sys
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    OUTSIDE: dict[str, Any] = {}

_LIBC = ctypes.CDLL(None, use_errno=True)
_MACHINE = os.uname().machine
# Numbers on x86_64 and on aarch64.
_NUMBERS = {
    "add_key": (248, 217),
    "bpf": (321, 280),
    "clock_settime": (227, 112),
    "init_module": (175, 105),
    "io_uring_setup": (425, 425),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "mount": (165, 40),
    "open_by_handle_at": (304, 265),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "process_vm_readv": (310, 270),
    "ptrace": (101, 117),
    "setns": (308, 268),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "clone3": (435, 435),
}
_CLONE_NEWUSER = 0x10000000
_FIRST_ARGUMENT = {"unshare": _CLONE_NEWUSER, "userfaultfd": 1}
_NOBODY = 65534  # /proc/sys/kernel/overflowgid
_FAMILIES = {"netlink": 16, "packet": 17, "alg": 38, "vsock": 40}


def outcome(action: Callable[[], Any]) -> str:
    """What came of it: its value, or the name of the error."""
    try:
        return str(action())
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))


def call(name: str) -> str:
    """Make a system call with nothing in it, and say what came of it."""
    number = _NUMBERS[name][0 if _MACHINE == "x86_64" else 1]
    first = _FIRST_ARGUMENT.get(name, 0)
    result = _LIBC.syscall(ctypes.c_long(number), ctypes.c_ulong(first), *[ctypes.c_ulong(0)] * 4)
    return "allowed" if result >= 0 else errno.errorcode.get(ctypes.get_errno(), "?")


def read(path: str) -> str:
    with open(path, "rb") as file:
        return "%d bytes" % len(file.read(64))


def write(path: str) -> str:
    with open(path, "wb") as file:
        file.write(b"x")
    os.unlink(path)
    return "written"


def make_socket(family: int, kind: int = socket.SOCK_STREAM) -> str:
    socket.socket(family, kind).close()
    return "made"


def reach_the_net() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # reserved for documentation: nobody is there
        return "a route"


def status(name: str) -> str:
    with open("/proc/self/status") as file:
        found = [line.split(":")[1].strip() for line in file if line.startswith(name + ":")]
    return found[0].lstrip("0") or "0"


def groups() -> str:
    """How many there are besides our own; those that a user namespace does not know are nobody's.

    Such groups open nothing in namespaces, and where they might the executor does not start.
    """
    more = set(os.getgroups()) - {os.getgid()}
    if more != {_NOBODY}:
        return str(len(more))
    with open("/proc/self/gid_map") as file:
        ranges = [[int(word) for word in line.split()] for line in file]
    known = any(first <= _NOBODY < first + count for first, _, count in ranges)
    return "1" if known else "nobody's"


def interfaces() -> str:
    return ",".join(sorted(name for _, name in socket.if_nameindex()))


def run_a_thread() -> str:
    seen = []
    thread = threading.Thread(target=lambda: seen.append("ran"))
    thread.start()
    thread.join()
    return seen[0]


def run_a_program() -> str:
    done = subprocess.run(
        ["/bin/sh", "-c", "echo ran"], stdout=subprocess.PIPE, check=True, stdin=subprocess.DEVNULL
    )
    return done.stdout.decode().strip()


def descriptors() -> str:
    """Those that are open; looked at one by one, because /proc may be closed."""
    found = []
    for number in range(256):
        try:
            os.fstat(number)
        except OSError:
            continue
        found.append(str(number))
    return ",".join(found)


def workspaces() -> int:
    """How many workspaces are seen: firejail puts the job's own where the account's home was."""
    where = OUTSIDE["workspaces"]
    return 0 if os.path.samefile(where, ".") else len(os.listdir(where))


def others() -> str:
    """How many processes this one sees that are neither itself nor above it."""
    seen = {int(name) for name in os.listdir("/proc") if name.isdigit()}
    return str(len(seen - {os.getpid(), os.getppid()} - {1, 2, 3}))


def signal_outside(pid: int) -> None:
    """In a container the executor may be 1, and who is 1 in here is the box: it proves nothing."""
    if pid in {1, 2, 3}:
        raise ProcessLookupError(errno.ESRCH, "")
    os.kill(pid, 0)


def tries() -> dict[str, Callable[[], Any]]:
    pid = OUTSIDE["pid"]
    return {
        "uid": os.getuid,
        "groups": groups,
        "descriptors": descriptors,
        "environment": lambda: ",".join(sorted(os.environ)),
        "workspace": lambda: write("probe.tmp"),
        "tmp": lambda: write("/tmp/probe.tmp"),  # noqa: S108 - the box's own
        "thread": run_a_thread,
        "program": run_a_program,
        "core": lambda: resource.getrlimit(resource.RLIMIT_CORE)[1],
        "canary": lambda: read(OUTSIDE["canary"]),
        "workspaces": workspaces,
        "shadow": lambda: read("/etc/shadow"),
        "root": lambda: write("/probe.tmp"),
        "usr": lambda: write("/usr/probe.tmp"),
        "environ of init": lambda: read("/proc/1/environ"),
        "environ outside": lambda: read("/proc/%d/environ" % pid),
        "signal outside": lambda: signal_outside(pid),
        "processes": others,
        "interfaces": interfaces,
        "internet": reach_the_net,
        "NoNewPrivs": lambda: status("NoNewPrivs"),
        "Seccomp": lambda: status("Seccomp"),
        "CapEff": lambda: status("CapEff"),
        "CapBnd": lambda: status("CapBnd"),
        **{"socket %s" % name: _socket(number) for name, number in _FAMILIES.items()},
        **{name: _call(name) for name in _NUMBERS},
    }


def _socket(family: int) -> Callable[[], str]:
    return lambda: make_socket(family, socket.SOCK_SEQPACKET if family == 38 else socket.SOCK_RAW)  # noqa: PLR2004 - AF_ALG's own kind


def _call(name: str) -> Callable[[], str]:
    return lambda: call(name)


def main() -> None:
    for name, action in tries().items():
        sys.stdout.write("%s: %s\n" % (name, outcome(action)))


if __name__ == "__main__":
    main()
