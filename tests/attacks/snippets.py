"""Code that attackers have in common: system calls by number, and one line of output for each try.

`python` makes a job of it. In the job, `call(NAME, ...)` makes a system call and `attempt(WHAT,
FUNCTION)` calls a function; each prints its name and "done", or the error's name. `done` gives the
names of what has worked, which is what an attack must not have.
"""

from __future__ import annotations

import os

from executor.client import Result

# x86_64, aarch64. Written down here apart from the filter's own tables, which are under test.
_NUMBERS = {
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "mount_setattr": (442, 442),
    "setns": (308, 268),
    "unshare": (272, 97),
    "clone": (56, 220),
    "clone3": (435, 435),
    "mknodat": (259, 33),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "kcmp": (312, 272),
    "io_uring_setup": (425, 425),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "open_by_handle_at": (304, 265),
    "prlimit64": (302, 261),
    "setpriority": (141, 140),
    "sched_setaffinity": (203, 122),
    "shmget": (29, 194),
    "mq_open": (240, 180),
    "kexec_load": (246, 104),
    "init_module": (175, 105),
    "clock_settime": (227, 112),
}
_COLUMN = 1 if os.uname().machine == "aarch64" else 0

_PRELUDE = """
import ctypes, errno, os, signal, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
NUMBERS = {numbers!r}
def call(name, *arguments):
    ctypes.set_errno(0)
    arguments = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    found = libc.syscall(NUMBERS[name], *arguments)
    print(name, errno.errorcode[ctypes.get_errno()] if found < 0 else 'done', flush=True)
    return found
def attempt(what, function):
    try: function()
    except OSError as error: print(what, errno.errorcode.get(error.errno, error), flush=True)
    else: print(what, 'done', flush=True)
"""


def python(code: str) -> str:
    numbers = {name: row[_COLUMN] for name, row in _NUMBERS.items()}
    return _PRELUDE.format(numbers=numbers) + code


def done(result: Result) -> list[str]:
    """Name what has worked. The job must have come to its end, and have tried something."""
    assert (result.reason, result.code) == ("exit", 0), result
    lines = [line.rsplit(" ", 1) for line in result.stdout.decode().splitlines()]
    assert lines, "nothing was tried"
    return [what for what, outcome in lines if outcome == "done"]
