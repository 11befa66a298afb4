"""The system calls that Python has no function for, as functions that raise OSError.

Numbers are those of x86_64 and of the generic table (aarch64), which agree for everything newer
than 2019. Sources: the kernel's include/uapi headers; each constant is named as there.
"""

from __future__ import annotations

import ctypes
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# linux/sched.h
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
_CLONE_PIDFD = 0x00001000
_CLONE_INTO_CGROUP = 0x200000000
_SIGCHLD = 17

# linux/mount.h
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2
MOUNT_ATTR_RDONLY = 1
MOUNT_ATTR_NOSUID = 2
MOUNT_ATTR_NODEV = 4
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000

# linux/prctl.h
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_SECCOMP = 22
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
# linux/seccomp.h
_SECCOMP_MODE_FILTER = 2
_SOCK_FILTER_BYTES = 8
# linux/capability.h: version 3 has two 32-bit words for each set.
_CAPABILITY_VERSION_3 = 0x20080522

_SYS_CLONE3 = 435
_SYS_MOUNT_SETATTR = 442
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_SYS_CAPSET = {"x86_64": 126, "aarch64": 91}

# linux/if.h and sockios.h
_SIOCSIFFLAGS = 0x8914
_IFF_UP_RUNNING = 0x41

_LIBC = ctypes.CDLL(None, use_errno=True)
# Holds the GIL across the call, as os.fork does: the child must not wait for it.
_LIBC_HOLDING_GIL = ctypes.PyDLL(None, use_errno=True)
_MACHINE = os.uname().machine


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, "%s: %s" % (what, os.strerror(number)))
    return result


def syscall(what: str, number: int, *arguments: Any) -> int:
    """Make a system call by number; `what` names it in the error."""
    return _check(_LIBC.syscall(ctypes.c_long(number), *arguments), what)


def supported() -> bool:
    """Whether this machine is one whose system call numbers are known here."""
    return _MACHINE in _SYS_PIVOT_ROOT


# ---- processes ----


def clone(namespaces: int, cgroup: int = -1) -> tuple[int, int]:
    """Fork a child into new namespaces; gives (0, -1) in the child and (pid, pidfd) in the parent.

    `cgroup` is a descriptor of the cgroup v2 directory that the child begins in, -1 for ours. Only
    for a process with a single thread.
    """
    pidfd = ctypes.c_int(-1)
    flags = namespaces | _CLONE_PIDFD | (_CLONE_INTO_CGROUP if cgroup >= 0 else 0)
    # struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls,
    # set_tid, set_tid_size, cgroup; eleven 64-bit words.
    arguments = struct.pack(
        "=11Q", flags, ctypes.addressof(pidfd), 0, 0, _SIGCHLD, 0, 0, 0, 0, 0, max(cgroup, 0)
    )
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = _LIBC_HOLDING_GIL.syscall(ctypes.c_long(_SYS_CLONE3), arguments, len(arguments))
    number = ctypes.get_errno()
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0, -1
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(number, "clone3: %s" % os.strerror(number))
    return pid, pidfd.value


def unshare(namespaces: int) -> None:
    _check(_LIBC.unshare(namespaces), "unshare")


def _prctl(what: str, option: int, *values: int) -> None:
    filled = [ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
    _check(_LIBC.prctl(option, *filled), what)


def die_with_parent(signal: int) -> None:
    """Have the kernel send `signal` when the thread that forked us ends. Last after id changes."""
    _prctl("PR_SET_PDEATHSIG", _PR_SET_PDEATHSIG, signal)


def be_opaque() -> None:
    """Close /proc/PID of this process (environment, memory, descriptors) to others of its uid."""
    _prctl("PR_SET_DUMPABLE", _PR_SET_DUMPABLE, 0)


def be_visible() -> None:
    """Undo `be_opaque`, for a fork that holds nothing to hide."""
    _prctl("PR_SET_DUMPABLE", _PR_SET_DUMPABLE, 1)


def become_subreaper() -> None:
    """Have orphaned descendants become this process's children instead of init's."""
    _prctl("PR_SET_CHILD_SUBREAPER", _PR_SET_CHILD_SUBREAPER, 1)


def no_new_privileges() -> None:
    _prctl("PR_SET_NO_NEW_PRIVS", _PR_SET_NO_NEW_PRIVS, 1)


def filter_system_calls(program: bytes) -> None:
    """Put this thread under a seccomp filter: an array of struct sock_filter."""
    instructions = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: a count, and a pointer after its natural alignment.
    count = len(program) // _SOCK_FILTER_BYTES
    packed = struct.pack("@HP", count, ctypes.addressof(instructions))
    handle = ctypes.create_string_buffer(packed, len(packed))
    _prctl("PR_SET_SECCOMP", _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(handle))


def drop_capabilities() -> None:
    """Empty every capability set, the bounding set included. Needs CAP_SETPCAP for the latter.

    The bounding set ends at the first number that the kernel does not know.
    """
    for number in range(64):
        if _LIBC.prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(number), 0, 0, 0) != 0:
            break
    _LIBC.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    syscall("capset", _SYS_CAPSET[_MACHINE], header, bytes(24))


# ---- mounts ----


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    result = _LIBC.mount(
        source.encode() or None,
        target.encode(),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        data.encode() or None,
    )
    _check(result, "mount %s" % target)


def set_mount_attributes(target: str, attributes: int) -> None:
    """Set MOUNT_ATTR_* on a mount and all below it; what is set already stays (Linux 5.12)."""
    arguments = struct.pack("=4Q", attributes, 0, 0, 0)
    syscall(
        "mount_setattr %s" % target,
        _SYS_MOUNT_SETATTR,
        _AT_FDCWD,
        target.encode(),
        ctypes.c_uint(_AT_RECURSIVE),
        arguments,
        ctypes.c_size_t(len(arguments)),
    )


def unmount(target: str) -> None:
    """Detach a mount and all below it."""
    _check(_LIBC.umount2(target.encode(), MNT_DETACH), "umount %s" % target)


def enter_root(path: str) -> None:
    """Make the mount at `path` the root directory, and let go of the former one."""
    os.chdir(path)
    syscall("pivot_root", _SYS_PIVOT_ROOT[_MACHINE], b".", b".")
    unmount(".")
    os.chdir("/")


# ---- network ----


def loopback_up() -> None:
    """Bring up `lo` in a new network namespace."""
    request = struct.pack("16sh14x", b"lo", _IFF_UP_RUNNING)
    descriptor = _check(_LIBC.socket(2, 2, 0), "socket")  # AF_INET, SOCK_DGRAM
    try:
        _check(_LIBC.ioctl(descriptor, ctypes.c_ulong(_SIOCSIFFLAGS), request), "SIOCSIFFLAGS")
    finally:
        os.close(descriptor)


def may_open_sockets() -> bool:
    """Whether any socket that could lead out of the box may be made."""
    for family in (1, 2, 10):  # AF_UNIX, AF_INET, AF_INET6
        descriptor = _LIBC.socket(family, 1, 0)
        if descriptor >= 0:
            os.close(descriptor)
            return True
    return False
