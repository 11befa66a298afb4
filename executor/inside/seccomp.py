"""The system call filter of a job: what it denies, and the classic BPF program that says so.

It is a deny list, made for honest programs to work under it: threads, subprocesses, numpy,
compilers. What is denied is what a job has no business with and what has been a way out of a
sandbox before. Denied calls answer EPERM. Two kinds answer ENOSYS, because programs then fall back
to something older: clone3, whose flags a filter cannot see, and every number above the newest that
was looked at here, so that a later kernel opens nothing by itself. Calls of another architecture
(x32 and 32-bit code have numbers of their own) kill the process.

There are two forms. Where the box has a network namespace a job may have sockets of three
families. Under landlock, which has none and confines neither datagrams nor sockets with a path nor
System V memory, it may have no socket at all but pairs, and nothing by which processes of one
account could meet, or disturb each other: there the account is the executor's own.

A filter sees each argument as 64 bits, the kernel looks at 32 of them: every argument judged here
is declared int, unsigned or shorter, or (clone's flags) cut to 32 bits. So the lower half alone is
compared, and nothing in the upper half can turn a denied call into another one.
"""

from __future__ import annotations

import errno
import struct

from executor.inside import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    # Code, operand, and the labels to go to if a comparison holds and if not; "" is the next step.
    Step = tuple[int, int, str, str]

# Number on x86_64, number on aarch64; where a machine lacks the call:
_NONE = -1
_COLUMNS = {"x86_64": 0, "aarch64": 1}

_DENIED = {
    # Kernel interfaces with many holes behind them, and of no use to a job.
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "modify_ldt": (154, _NONE),
    "fanotify_init": (300, 262),
    "lookup_dcookie": (212, 18),
    "nfsservctl": (180, 42),
    "uselib": (134, _NONE),
    "_sysctl": (156, _NONE),
    "sysfs": (139, _NONE),
    "ustat": (136, _NONE),
    "lsm_set_self_attr": (460, 460),
    # Keyrings are not namespaced: the session's may be the executor's.
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    # Other processes.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    # Mounts, roots, namespaces, and files by handle instead of by path.
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "statmount": (457, 457),
    "listmount": (458, 458),
    "setns": (308, 268),
    "unshare": (272, 97),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    # The machine itself.
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "settimeofday": (164, 170),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "syslog": (103, 116),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "iopl": (172, _NONE),
    "ioperm": (173, _NONE),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "vhangup": (153, 58),
}

# Denied besides where jobs may have no sockets.
_DENIED_WITHOUT_SOCKETS = {
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "shmdt": (67, 197),
    "semget": (64, 190),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "semctl": (66, 191),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "mq_timedsend": (242, 182),
    "mq_timedreceive": (243, 183),
    "mq_notify": (244, 184),
    "mq_getsetattr": (245, 185),
    # By path, and landlock does not look: it would tell the names of another job's files.
    "inotify_add_watch": (254, 27),
    # Takes any process or user.
    "ioprio_set": (251, 30),
}

# Denied or allowed by their arguments.
_JUDGED = {
    "clone": (56, 220),
    "ioctl": (16, 29),
    "mknod": (133, _NONE),
    "mknodat": (259, 33),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "prlimit64": (302, 261),
}

# Allowed on the caller itself only (these arguments 0), where jobs may have no sockets: they ask
# for no more than the same account, and a processor limit of 0 would kill the executor.
_OWN_ONLY_WITHOUT_SOCKETS = {
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "setpriority": (141, 140),
}

_CLONE3 = 435
# file_setattr of Linux 6.17. Machines agree on all numbers since 424.
_NEWEST = 469
# linux/audit.h; x32 calls come as those of x86_64 with this bit in the number.
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT = 0x40000000

# linux/socket.h, linux/net.h
_AF_UNIX = 1
_AF_INET = 2
_AF_INET6 = 10
_SOCK_STREAM = 1
_SOCK_SEQPACKET = 5
_SOCK_TYPE_MASK = 0xF
# linux/stat.h, asm-generic/ioctls.h
_S_IFMT = 0o170000
_S_IFCHR = 0o020000
_S_IFBLK = 0o060000
_TIOCSTI = 0x5412
_TIOCLINUX = 0x541C
_CLONE_NEW = (
    kernel.CLONE_NEWNS
    | kernel.CLONE_NEWCGROUP
    | kernel.CLONE_NEWUTS
    | kernel.CLONE_NEWIPC
    | kernel.CLONE_NEWUSER
    | kernel.CLONE_NEWPID
    | kernel.CLONE_NEWNET
)

# linux/bpf_common.h: load a word at an offset, "and" with the operand, conditional jumps, return.
_LOAD = 0x20
_AND = 0x54
_IF_EQUAL = 0x15
_IF_GREATER = 0x25
_IF_AT_LEAST = 0x35
_IF_ANY_BIT = 0x45
_RETURN = 0x06
_FARTHEST = 255
# struct seccomp_data, of a little-endian machine: nr, arch, instruction pointer, six arguments.
_NR = 0
_ARCH = 4
_ARGUMENTS = 16
# linux/seccomp.h
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_KILL_PROCESS = 0x80000000


def machines() -> list[str]:
    """Name the machines, as uname(2) calls them, that there is a filter for."""
    return list(_COLUMNS)


def numbers(machine: str) -> dict[str, int]:
    """Give the number of every system call that the filter knows on a machine."""
    tables = (_DENIED, _DENIED_WITHOUT_SOCKETS, _JUDGED, _OWN_ONLY_WITHOUT_SOCKETS)
    found = {"clone3": _CLONE3}
    for table in tables:
        found.update(_column(table, machine))
    return found


def program(machine: str, *, sockets: bool) -> bytes:
    """Build the filter: an array of struct sock_filter.

    Raises OSError (ENOSYS) for a machine whose numbers are not known here.
    """
    if machine not in _COLUMNS:
        raise OSError(errno.ENOSYS, f"no system call filter for {machine}")
    judged = _judgements(machine, sockets=sockets)
    denied = _column(_DENIED, machine)
    if not sockets:
        denied.update(_column(_DENIED_WITHOUT_SOCKETS, machine))
    parts = [("", _entrance(machine))]
    parts.append(("", [(_IF_EQUAL, number, str(number), "") for number in judged]))
    # The kernel keeps the answers that depend on the number alone (Linux 5.11), so a chain of
    # comparisons costs nothing on the calls that matter.
    parts.append(("", [(_IF_EQUAL, number, "deny", "") for number in denied.values()]))
    parts.append(("", [(_RETURN, _ALLOW, "", "")]))
    parts.extend((str(number), steps) for number, steps in judged.items())
    parts.append(("allow", [(_RETURN, _ALLOW, "", "")]))
    parts.append(("deny", [(_RETURN, _ERRNO | errno.EPERM, "", "")]))
    parts.append(("unknown", [(_RETURN, _ERRNO | errno.ENOSYS, "", "")]))
    parts.append(("kill", [(_RETURN, _KILL_PROCESS, "", "")]))
    return _assemble(parts)


def install(program: bytes) -> None:
    """Put this thread, and all that it will start, under a filter; there is no way back.

    Needs no_new_privs, and raises OSError (EACCES) without, (EINVAL) without kernel support.
    """
    kernel.filter_system_calls(program)


# ---- what is judged ----


def _column(table: dict[str, tuple[int, int]], machine: str) -> dict[str, int]:
    column = _COLUMNS[machine]
    return {name: row[column] for name, row in table.items() if row[column] != _NONE}


def _entrance(machine: str) -> list[Step]:
    """Turn away foreign and unknown calls, and leave the number loaded."""
    steps: list[Step] = [
        (_LOAD, _ARCH, "", ""),
        (_IF_EQUAL, _ARCHITECTURES[machine], "", "kill"),
        (_LOAD, _NR, "", ""),
    ]
    if machine == "x86_64":
        steps.append((_IF_AT_LEAST, _X32_BIT, "kill", ""))
    steps.append((_IF_GREATER, _NEWEST, "unknown", ""))
    steps.append((_IF_EQUAL, _CLONE3, "unknown", ""))
    return steps


def _judgements(machine: str, *, sockets: bool) -> dict[int, list[Step]]:
    """Give, by number, the steps that judge the calls that arguments decide."""
    by_name = {
        "clone": [_argument(0), (_IF_ANY_BIT, _CLONE_NEW, "deny", "allow")],
        "ioctl": [_argument(1), *_none_of(_TIOCSTI, _TIOCLINUX)],
        "mknod": _no_device(1),
        "mknodat": _no_device(2),
        "prlimit64": _zero(0),
    }
    if sockets:
        family = [_argument(0), *_one_of(_AF_UNIX, _AF_INET, _AF_INET6)]
        by_name.update({"socket": family, "socketpair": family})
    else:
        by_name["socketpair"] = _connected_pair()
        by_name.update({name: _zero(0) for name in _OWN_ONLY_WITHOUT_SOCKETS})
        by_name["setpriority"] = _zero(0, 1)  # PRIO_PROCESS, 0
    known = numbers(machine)
    return {known[name]: steps for name, steps in by_name.items() if name in known}


def _no_device(position: int) -> list[Step]:
    """Allow mknod of fifos, sockets and files; the kernel reads 16 bits of the mode."""
    kind = (_AND, _S_IFMT, "", "")
    return [_argument(position), kind, *_none_of(_S_IFCHR, _S_IFBLK)]


def _connected_pair() -> list[Step]:
    """Allow pairs that stay connected: a datagram socket could still send to any path."""
    return [
        _argument(0),
        (_IF_EQUAL, _AF_UNIX, "", "deny"),
        _argument(1),
        (_AND, _SOCK_TYPE_MASK, "", ""),
        *_one_of(_SOCK_STREAM, _SOCK_SEQPACKET),
    ]


def _zero(*positions: int) -> list[Step]:
    """Allow a call if all these arguments are 0."""
    steps: list[Step] = []
    for position in positions:
        steps += [_argument(position), (_IF_EQUAL, 0, "", "deny")]
    return [*steps, (_RETURN, _ALLOW, "", "")]


def _argument(position: int) -> Step:
    return (_LOAD, _ARGUMENTS + 8 * position, "", "")


def _one_of(*values: int) -> list[Step]:
    first = [(_IF_EQUAL, value, "allow", "") for value in values[:-1]]
    return [*first, (_IF_EQUAL, values[-1], "allow", "deny")]


def _none_of(*values: int) -> list[Step]:
    first = [(_IF_EQUAL, value, "deny", "") for value in values[:-1]]
    return [*first, (_IF_EQUAL, values[-1], "deny", "allow")]


# ---- the assembler ----


def _assemble(parts: list[tuple[str, list[Step]]]) -> bytes:
    """Join labelled parts; a label is where its part begins."""
    places: dict[str, int] = {}
    steps: list[Step] = []
    for label, part in parts:
        places[label] = len(steps)
        steps += part
    return b"".join(_instruction(place, step, places) for place, step in enumerate(steps))


def _instruction(place: int, step: Step, places: dict[str, int]) -> bytes:
    code, operand, then, otherwise = step
    jumps = [_jump(place, label, places) for label in (then, otherwise)]
    return struct.pack("=HBBI", code, *jumps, operand)


def _jump(place: int, label: str, places: dict[str, int]) -> int:
    """Count the steps to skip. Jumps go forward only, and no farther than a byte says."""
    if not label:
        return 0
    distance = places[label] - place - 1
    if not 0 <= distance <= _FARTHEST:
        raise ValueError(f"the label {label} is out of reach")
    return distance
