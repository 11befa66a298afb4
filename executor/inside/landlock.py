"""Landlock: a process gives up, for good and for all its children, what it was not granted.

Rules are about what is opened: descriptors that are open already stay as they are, and so does
what needs no opening: stat, chmod, chown and utime on any path, for whoever owns the file.
Connections are about TCP and abstract unix sockets only; datagrams and sockets with a path are for
the system call filter to deny. Domains nest: an inner one is within all the outer ones.

The signals of a process are kept within its domain from ABI 6 on (Linux 6.12), and without that
there is no confinement here.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct

from executor.inside import kernel

OLDEST_ABI = 6

# linux/landlock.h
_SYS_CREATE_RULESET = 444
_SYS_ADD_RULE = 445
_SYS_RESTRICT_SELF = 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_EXECUTE = 1 << 0
_WRITE_FILE = 1 << 1
_READ_FILE = 1 << 2
_READ_DIR = 1 << 3
_REMOVE_DIR = 1 << 4
_REMOVE_FILE = 1 << 5
_MAKE_DIR = 1 << 7
_MAKE_REG = 1 << 8
_MAKE_SOCK = 1 << 9
_MAKE_FIFO = 1 << 10
_MAKE_SYM = 1 << 12
_REFER = 1 << 13
_TRUNCATE = 1 << 14
_IOCTL_DEV = 1 << 15
# Everything up to ABI 6, making devices included, which is granted nowhere.
_HANDLED_FILES = (1 << 16) - 1
_HANDLED_TCP = 0b11  # bind and connect
_SCOPED = 0b11  # abstract unix sockets and signals

# What a rule on anything but a directory may carry.
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_READ = _EXECUTE | _READ_FILE | _READ_DIR
# IOCTL_DEV is for devices named one by one: below a directory it is not granted.
_WRITE = (
    _READ
    | _WRITE_FILE
    | _TRUNCATE
    | _IOCTL_DEV
    | _REMOVE_DIR
    | _REMOVE_FILE
    | _MAKE_DIR
    | _MAKE_REG
    | _MAKE_SOCK
    | _MAKE_FIFO
    | _MAKE_SYM
    | _REFER
)


def abi() -> int:
    """Give the version of the kernel's landlock, 0 where it has none or it is switched off."""
    try:
        return kernel.syscall(
            "landlock", _SYS_CREATE_RULESET, None, ctypes.c_size_t(0), _CREATE_RULESET_VERSION
        )
    except OSError as error:
        if error.errno in {errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}:
            return 0
        raise


def lacking(have: int, release: str) -> str:
    """Say why landlock of this ABI, in a kernel of this release, does not do; "" if it does."""
    if have >= OLDEST_ABI:
        return ""
    version = ".".join(release.split(".")[:2])
    if have == 0:
        return f"this kernel ({version}) has no landlock, or it is switched off"
    return f"landlock of this kernel ({version}, ABI {have}) cannot scope signals"


def confine(readable: list[str], writable: list[str]) -> None:
    """Leave this thread nothing but these paths and what is below them.

    What is readable may be executed, and so may what is writable. Links are followed here, and
    lead nowhere later. Leaves no TCP, no abstract socket and no signal to anyone outside of the
    domain. Needs no_new_privs. Raises OSError (EOPNOTSUPP) where landlock is too old or absent,
    and for a path that cannot be reached; nothing has changed then.
    """
    _need_it()
    ruleset = _create(_HANDLED_FILES, _HANDLED_TCP, _SCOPED)
    try:
        for path in readable:
            _allow(ruleset, path, _READ)
        for path in writable:
            _allow(ruleset, path, _WRITE)
        _restrict(ruleset)
    finally:
        os.close(ruleset)


def _need_it() -> None:
    why = lacking(abi(), os.uname().release)
    if why:
        raise OSError(errno.EOPNOTSUPP, why)


def _create(files: int, tcp: int, scoped: int) -> int:
    """Make a ruleset that denies all that it handles; gives its descriptor, the caller's."""
    attributes = struct.pack("=3Q", files, tcp, scoped)
    size = ctypes.c_size_t(len(attributes))
    return kernel.syscall("landlock", _SYS_CREATE_RULESET, attributes, size, 0)


def _allow(ruleset: int, path: str, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rights &= _fitting(os.fstat(descriptor).st_mode)
        # struct landlock_path_beneath_attr is packed.
        rule = struct.pack("=Qi", rights, descriptor)
        kernel.syscall(f"landlock {path}", _SYS_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(descriptor)


def _fitting(mode: int) -> int:
    """Give the rights that a rule on a path with this st_mode may carry."""
    return _HANDLED_FILES & ~_IOCTL_DEV if stat.S_ISDIR(mode) else _OF_FILES


def _restrict(ruleset: int) -> None:
    kernel.syscall("landlock", _SYS_RESTRICT_SELF, ruleset, 0)
