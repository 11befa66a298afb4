"""Executes a command on a kernel that lacks something, as far as that command can tell.

A program by itself: `filtered.py LACKING COMMAND ...`. A system call filter, inherited by all that
the command starts, makes the kernel answer as one that forbids user namespaces (LACKING is
`user-namespaces`) or was built without landlock (`landlock`). Root needs no no_new_privs for that,
so setuid programs keep what they are.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

_LOAD, _IF_EQUAL, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_NR, _FIRST_ARGUMENT = 0, 16
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_CLONE_NEWUSER = 0x10000000
_UNSHARE, _CLONE = (97, 220) if os.uname().machine == "aarch64" else (272, 56)
_CLONE3 = 435
_LANDLOCK_CREATE_RULESET = 444
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2


def step(code: int, operand: int, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("=HBBI", code, then, otherwise, operand)


PROGRAMS = {
    "landlock": (
        step(_LOAD, _NR),
        step(_IF_EQUAL, _LANDLOCK_CREATE_RULESET, 0, 1),
        step(_RETURN, _ERRNO | errno.ENOSYS),
        step(_RETURN, _ALLOW),
    ),
    "user-namespaces": (
        step(_LOAD, _NR),
        step(_IF_EQUAL, _CLONE3, 5, 0),
        step(_IF_EQUAL, _UNSHARE, 1, 0),
        step(_IF_EQUAL, _CLONE, 0, 4),
        step(_LOAD, _FIRST_ARGUMENT),
        step(_IF_ANY_BIT, _CLONE_NEWUSER, 0, 2),
        step(_RETURN, _ERRNO | errno.EPERM),
        step(_RETURN, _ERRNO | errno.ENOSYS),
        step(_RETURN, _ALLOW),
    ),
}


def install(program: bytes) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if os.getuid() != 0:
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    text = ctypes.create_string_buffer(program, len(program))
    address = ctypes.addressof(text)
    rules = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, address))
    if libc.prctl(_PR_SET_SECCOMP, _FILTER, rules, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the filter cannot be installed")


if __name__ == "__main__":
    install(b"".join(PROGRAMS[sys.argv[1]]))
    os.execvp(sys.argv[2], sys.argv[2:])
