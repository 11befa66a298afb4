"""Giving memory back to the kernel once start-up is over."""

from __future__ import annotations

import ctypes
import gc

# Loaded when the module is, because the interpreter's own files may be out of reach after the
# process has given up root.
_LIBC = ctypes.CDLL(None, use_errno=True)


def give_back_memory() -> None:
    """Let the kernel have what start-up used once: half a megabyte of an executor that waits."""
    gc.collect()
    trim = getattr(_LIBC, "malloc_trim", None)  # glibc's; another libc has none
    if trim is not None:
        trim(0)
