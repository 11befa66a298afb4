"""What the disk takes for a commit: six of them are in every turn's own time."""

from __future__ import annotations

import os
import statistics
import time

from tests.bench.subjects import scratch
from tests.bench.table import percentile

WRITES = 200
PAGE = bytes(4096)


def disk_line() -> str:
    """The time of a synchronous write of a page, in words."""
    times = sorted(sync_seconds(WRITES))
    median, p99 = statistics.median(times) * 1e3, percentile(times, 0.99) * 1e3
    return f"disk: write and fdatasync of a page {median:.2f} ms, p99 {p99:.1f} ms"


def sync_seconds(count: int) -> list[float]:
    """How long each of `count` such writes took, where the subjects keep their databases."""
    with scratch() as place:
        fd = os.open(place / "pages", os.O_CREAT | os.O_WRONLY)
        try:
            return [_timed_write(fd) for _ in range(count)]
        finally:
            os.close(fd)


def _timed_write(fd: int) -> float:
    begun = time.monotonic()
    os.pwrite(fd, PAGE, 0)
    os.fdatasync(fd)
    return time.monotonic() - begun
