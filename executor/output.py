"""What is kept of a job's output: the head, the tail, and a count of what lay between.

A job may write far more than anyone will read. The writer's pipe is always drained, so the job
never waits for its reader; what is kept is bounded. The head is handed out live, as fast as the
client takes it. Once the head is full, only the latest bytes are kept, and those are handed out
when the job has ended, after a note of how many bytes are missing in between.

`HeadTail` is pure bookkeeping; `Output` joins two of them with a way to wait for more.
"""

from __future__ import annotations

from collections import deque

import trio
from attrs import define, field

from executor.messages import Started


@define
class HeadTail:
    """Keeps the first and the last `limit // 2` bytes of one stream."""

    limit: int
    total: int = 0
    _head_room: int = field(init=False)
    _ready: bytearray = field(factory=bytearray, init=False)
    _tail: deque[bytes] = field(factory=deque, init=False)
    _tail_size: int = field(default=0, init=False)
    _dropped: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._head_room = self.limit - self.limit // 2

    def write(self, data: bytes) -> None:
        """Take in what the job has written."""
        self.total += len(data)
        head = data[: self._head_room]
        self._head_room -= len(head)
        self._ready += head
        if len(data) > len(head):
            self._keep_in_tail(data[len(head) :])

    def take(self, at_most: int) -> bytes:
        """Hand out live bytes of the head that nobody has had yet; empty when there are none."""
        piece = bytes(self._ready[:at_most])
        del self._ready[:at_most]
        return piece

    def end(self) -> tuple[int, bytes]:
        """Give the number of bytes missing after the head, and the tail."""
        return self._dropped, b"".join(self._tail)

    @property
    def dropped(self) -> int:
        return self._dropped

    def _keep_in_tail(self, data: bytes) -> None:
        self._tail.append(data)
        self._tail_size += len(data)
        excess = self._tail_size - self.limit // 2
        while excess > 0:
            excess -= self._drop_oldest(excess)

    def _drop_oldest(self, excess: int) -> int:
        """Drop up to `excess` bytes of the oldest piece; gives how many went."""
        oldest = self._tail.popleft()
        if len(oldest) > excess:
            self._tail.appendleft(oldest[excess:])
        gone = min(len(oldest), excess)
        self._tail_size -= gone
        self._dropped += gone
        return gone


@define
class Output:
    """Both streams of a job, and the news that there is more of them.

    `limit` bytes are kept in all, half of them of each stream.
    """

    limit: int
    stdout: HeadTail = field(init=False)
    stderr: HeadTail = field(init=False)
    started: Started | None = field(default=None, init=False)
    ended: bool = field(default=False, init=False)
    _news: trio.Event = field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self.stdout = HeadTail(self.limit // 2)
        self.stderr = HeadTail(self.limit // 2)

    @property
    def total(self) -> int:
        return self.stdout.total + self.stderr.total

    def begin(self, started: Started) -> None:
        """Say that the code is about to run."""
        self.started = started
        self.tell()

    def end(self) -> None:
        """Say that no more will be written."""
        self.ended = True
        self.tell()

    def tell(self) -> None:
        """Wake whoever waits for news."""
        self._news.set()
        self._news = trio.Event()

    async def news(self) -> None:
        """Wait until something has changed since this was called."""
        await self._news.wait()
