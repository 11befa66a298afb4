"""The files of one workspace, from the caller's side: one connection for each operation.

Every method waits until nothing else happens in the workspace and gives `Done`: the value, and the
workspace's revision after it. What the executor will not do is `FileRefused`; an executor that is
not there, or hangs up, is `ExecutorUnavailable`. Cancelling closes the connection: an operation
that has begun is still done whole, one that has not never is. A file that is being written begins
with its last byte.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

import trio
from attrs import define, evolve, frozen

from executor import file_messages, grep, protocol
from executor.errors import ExecutorUnavailable, FileRefused
from executor.file_messages import Answer, Request
from executor.file_values import (
    MOST_READ,
    Content,
    Edit,
    Edited,
    Info,
    Listing,
    Overview,
    Patched,
    Removed,
    Usage,
    Written,
)
from executor.messages import Job, Result
from executor.protocol import Frame, FrameType, ProtocolError
from executor.wire import FrameStream

_PIECE = 256 * 1024
_RESTART = "look at the file before you try again"

_T = TypeVar("_T")
Take = Callable[[bytes], None]


class Way(Protocol):
    """A way to the executor: `executor.client.ExecutorClient`, or a host's own."""

    async def connect(self) -> trio.SocketStream:
        """Open a connection, which is the caller's. Raises ExecutorUnavailable."""
        ...

    async def run(self, job: Job) -> Result: ...


@frozen
class Done(Generic[_T]):
    """What an operation gave, and the revision of the workspace after it."""

    value: _T
    revision: int


@frozen
class FileClient:
    """Operations on the files of one workspace. Paths are relative to it."""

    executor: Way
    workspace: str

    async def read(
        self, path: str, offset: int = 0, limit: int = MOST_READ, unit: str = "bytes"
    ) -> Done[Content]:
        """Read `limit` bytes or lines after the first `offset`, at most 1 MiB."""
        request = Request("read", path=path, offset=offset, limit=limit, unit=unit)
        return await self._ask(request, Content)

    async def get(self, path: str, take: Take) -> Done[Written]:
        """Read a file of any size; `take` gets its bytes piece by piece, in the caller's task."""
        return await self._ask(Request("get", path=path), Written, take=take)

    async def list(self, path: str = "") -> Done[Listing]:
        return await self._ask(Request("list", path=path), Listing)

    async def glob(self, pattern: str, path: str = "") -> Done[Listing]:
        """What matches, such as `**/*.py`, below a directory."""
        return await self._ask(Request("glob", pattern=pattern, path=path), Listing)

    async def stat(self, path: str) -> Done[Info]:
        return await self._ask(Request("stat", path=path), Info)

    async def usage(self) -> Done[Usage]:
        return await self._ask(Request("usage"), Usage)

    async def write(self, path: str, data: bytes) -> Done[Written]:
        """Write a whole file; directories on the way are made."""
        return await self._ask(Request("write", path=path), Written, send=[data])

    async def put(self, path: str, pieces: Iterable[bytes]) -> Done[Written]:
        """Write a file of any size, from its pieces, which are taken as they are sent.

        An OSError that they raise is raised on, and nothing has been written.
        """
        return await self._ask(Request("put", path=path), Written, send=pieces)

    async def edit(self, path: str, change: Edit) -> Done[Edited]:
        request = Request(
            "edit", path=path, old=change.old, new=change.new, everywhere=change.everywhere
        )
        return await self._ask(request, Edited)

    async def patch(self, diff: str) -> Done[Patched]:
        """Apply a unified diff of several files: all of it, or nothing."""
        return await self._ask(Request("patch", diff=diff), Patched)

    async def remove(self, path: str) -> Done[Removed]:
        """Remove a file, or a directory with all that is in it."""
        return await self._ask(Request("remove", path=path), Removed)

    async def discard(self) -> Done[Removed]:
        """Remove the workspace itself."""
        return await self._ask(Request("discard"), Removed)

    async def grep(
        self, pattern: str, glob: str = "", path: str = ".", *, ignore_case: bool = False
    ) -> Done[grep.Matches]:
        """Look for a regular expression in files, as a job in a box: it can run for ever."""
        code = grep.grep_job(pattern, glob, path, ignore_case=ignore_case)
        result = await self.executor.run(Job("python", code, self.workspace))
        if result.reason != "exit" or result.code != 0:
            why = result.detail or f"it ended with {result.reason}"
            raise FileRefused(f"the search was not done: {why}", "search in fewer files")
        return Done(grep.parse(result.stdout), result.revision)

    async def overview(self) -> Overview:
        """What all workspaces hold."""
        request = Request(file_messages.ALL_WORKSPACES)
        return (await self._ask(request, Overview)).value

    async def _ask(
        self,
        request: Request,
        kind: type[_T],
        *,
        send: Iterable[bytes] | None = None,
        take: Take | None = None,
    ) -> Done[_T]:
        values = file_messages.request_to_json(evolve(request, workspace=self.workspace))
        opening = protocol.control(FrameType.FILE, values)
        if len(opening.body) > protocol.MAX_BODY:
            raise FileRefused("that is too much at once", "make the change in parts")
        async with await self.executor.connect() as stream:
            conversation = _Conversation(FrameStream(stream), request.op, take)
            answer = await conversation.hold(opening, send)
        if not isinstance(answer.value, kind):
            raise ExecutorUnavailable("the executor answers nonsense", "restart it")
        return Done(answer.value, answer.revision)


@define
class _Conversation:
    frames: FrameStream
    op: str
    take: Take | None
    failed: OSError | None = None

    async def hold(self, opening: Frame, send: Iterable[bytes] | None) -> Answer:
        """Send the request, and what is to be written while waiting for the answer.

        A refusal comes early, and ends the sending.
        """
        with contextlib.suppress(trio.BrokenResourceError):  # whoever reads finds out why
            await self.frames.send(opening)
        if send is None:
            return await self._answer()
        answer: Answer | FileRefused | ExecutorUnavailable | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send, send, nursery.cancel_scope)
            try:
                answer = await self._answer()
            except (FileRefused, ExecutorUnavailable) as error:
                answer = error
            nursery.cancel_scope.cancel()
        if isinstance(answer, Answer):
            return answer
        raise answer or self.failed or AssertionError("cancelled by nobody")

    async def _send(self, send: Iterable[bytes], scope: trio.CancelScope) -> None:
        try:
            for data in send:
                await self._send_pieces(data)
            await self.frames.send(Frame(FrameType.DATA))
        except trio.BrokenResourceError:
            return  # as above
        except OSError as error:  # of `send`, which reads a file
            self.failed = error
            scope.cancel()

    async def _send_pieces(self, data: bytes) -> None:
        for start in range(0, len(data), _PIECE):
            await self.frames.send(Frame(FrameType.DATA, data[start : start + _PIECE]))

    async def _answer(self) -> Answer:
        kept = bytearray()
        try:
            while (frame := await self.frames.receive()) is not None:
                if frame.type is FrameType.DATA:
                    self._data(frame.body, kept)
                    continue
                values = protocol.control_values(frame)
                if frame.type is FrameType.RESULT:
                    raise ExecutorUnavailable(str(values.get("detail")), "")
                return file_messages.parse_answer(self.op, values, bytes(kept))
        except ProtocolError as error:
            why = f"the executor answers nonsense: {error}"
            raise ExecutorUnavailable(why, "restart it") from error
        raise ExecutorUnavailable("the executor hung up before it said how it went", _RESTART)

    def _data(self, data: bytes, kept: bytearray) -> None:
        if self.take is not None:
            self.take(data)
            return
        if len(kept) + len(data) > MOST_READ:
            raise ProtocolError(f"more than {MOST_READ} bytes for {self.op}")
        kept += data
