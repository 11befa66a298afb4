"""Sizes in words, the same in the chat, in the terminal and for the model. Pure."""

from __future__ import annotations


def files(count: int) -> str:
    """How many files, in words."""
    return f"{count} file{'' if count == 1 else 's'}"


def human(size: int) -> str:
    """Bytes as a person reads them, in powers of ten, as disks are sold: 999 B, 1.5 kB, 12.0 MB."""
    if size < 1000:  # noqa: PLR2004 -- the step between units
        return f"{size} B"
    value, unit = size / 1000, "kB"
    for larger in ("MB", "GB"):
        if round(value, 1) < 1000:  # noqa: PLR2004 -- as above; what is shown decides
            break
        value, unit = value / 1000, larger
    return f"{value:.1f} {unit}"
