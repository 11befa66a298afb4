"""Serving one operation on the files of a workspace: the other kind of connection.

The workspace is held meanwhile, as a job holds it, so all see the same files in the same order.
The work is done in a thread, because disks are slow, and a thread that has begun is waited for:
a client that leaves can no more cut an operation in half than a second client can.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import trio
from attrs import frozen

from executor import file_messages, files, incoming, patch, protocol, quota, removal
from executor.beneath import Beneath
from executor.errors import FileRefused, NoWorkspace
from executor.file_messages import (
    ALL_WORKSPACES,
    WITH_DATA,
    WRITING,
    Answer,
    Request,
    Value,
)
from executor.file_values import MOST_READ, Edit, Held, Overview, Removed, Written
from executor.protocol import Frame, FrameType, ProtocolError
from executor.settings import Limits
from executor.wire import FrameStream
from executor.workspace import WorkspaceMissing, WorkspaceRefused, Workspaces

# Who sends or takes nothing for so long gives the workspace back to others.
_IDLE_SECONDS = 10.0
# A client that is refused may still be sending: so long what it sends is thrown away.
_DRAIN_SECONDS = 5.0
_PIECE = 256 * 1024
_MOST_WORKSPACES = 2000
_OVERVIEW_FILES = 20_000
_OVERVIEW_SECONDS = 20.0

_T = TypeVar("_T")
_MAKING = frozenset({"write", "put", "patch"})


@frozen
class Place:
    """Where files are served: the workspaces, and what they may hold.

    `end_sessions` ends what lives in one; it is called while that is held, before it is discarded.
    """

    workspaces: Workspaces
    limits: Limits
    end_sessions: Callable[[str], Awaitable[None]]


async def serve(frames: FrameStream, opening: Frame, place: Place) -> None:
    """Do what a FILE frame asks for and send FILE_RESULT.

    Raises ProtocolError for a frame that makes no sense, BrokenResourceError if the client is gone.
    """
    request = file_messages.parse_request(protocol.control_values(opening))
    values = await _Serving(frames, request, place).outcome()
    with trio.move_on_after(_IDLE_SECONDS):
        await frames.send(protocol.control(FrameType.FILE_RESULT, values))
    await _hear_out(frames)


async def _hear_out(frames: FrameStream) -> None:
    """Read on until the client has closed: closing first could take the result from it."""
    with trio.move_on_after(_DRAIN_SECONDS):
        await frames.stream.send_eof()
        while await frames.stream.receive_some(_PIECE):
            pass


@frozen
class _Serving:
    frames: FrameStream
    request: Request
    place: Place

    @property
    def workspaces(self) -> Workspaces:
        return self.place.workspaces

    @property
    def revision(self) -> int:
        key = self.request.workspace
        return self.workspaces.revision(key) if key else 0

    async def outcome(self) -> dict[str, Any]:
        """Do it and give what to tell. A client that leaves ends it, but never within a step.

        Raises BrokenResourceError if it has left.
        """
        if self.request.op in WITH_DATA:
            return await self._outcome()
        values = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch_for_close, self.frames, nursery.cancel_scope)
            with contextlib.suppress(trio.BrokenResourceError):
                values = await self._outcome()
            nursery.cancel_scope.cancel()
        if values is None:
            raise trio.BrokenResourceError("the client has left")
        return values

    async def _outcome(self) -> dict[str, Any]:
        try:
            return file_messages.answer_to_json(await self._do())
        except FileRefused as error:
            return file_messages.refusal_to_json(error, self.revision)
        except WorkspaceMissing as error:
            return file_messages.refusal_to_json(NoWorkspace(str(error)), self.revision)
        except WorkspaceRefused as error:
            return file_messages.refusal_to_json(FileRefused(str(error)), self.revision)

    async def _do(self) -> Answer:
        key = self.request.workspace
        if self.request.op == ALL_WORKSPACES:
            return Answer(await _in_thread(partial(_overview, self.workspaces)), 0)
        async with self.workspaces.hold(key, make=self.request.op in _MAKING) as workspace:
            self._check_client()
            with Beneath.at(workspace.path) as beneath:
                if self.request.op in WRITING:
                    value = await self._write(beneath)
                else:
                    value = await self._read(beneath)
                return Answer(value, self.revision)

    def _check_client(self) -> None:
        """Nobody waits for the end of a request whose client has gone. Raises BrokenResourceError.

        Nor is anybody told while data is still to be read, so it has to be asked.
        """
        if self.frames.hung_up():
            raise trio.BrokenResourceError("the client has left")

    # ---- what only reads ----

    async def _read(self, beneath: Beneath) -> Value:
        asked = self.request
        if asked.op == "get":
            return await self._get(beneath)
        if asked.op == "read":
            limit = asked.limit or MOST_READ
            reading = partial(files.read, beneath, asked.path, asked.offset, limit, asked.unit)
            content = await _in_thread(reading)
            await self._send(content.data)
            return content
        ways: dict[str, Callable[[], Value]] = {
            "list": partial(files.listing, beneath, asked.path),
            "glob": partial(files.glob, beneath, asked.pattern, asked.path),
            "stat": partial(files.look, beneath, asked.path),
            "usage": partial(quota.measure, beneath),
        }
        return await _in_thread(ways[asked.op])

    async def _get(self, beneath: Beneath) -> Written:
        opening = partial(beneath.open_file, self.request.path, files.MOST_FILE)
        descriptor, found = await _in_thread(opening)
        try:
            pieces = files.pieces(descriptor, found.st_size)
            size = 0
            while piece := await _in_thread(partial(next, pieces, b"")):
                await self._send(piece)
                size += len(piece)
            return Written(size)
        finally:
            os.close(descriptor)

    async def _send(self, data: bytes) -> None:
        for start in range(0, len(data), _PIECE):
            with trio.move_on_after(_IDLE_SECONDS) as scope:
                await self.frames.send(Frame(FrameType.DATA, data[start : start + _PIECE]))
            if scope.cancelled_caught:
                raise trio.BrokenResourceError("the client does not read")

    # ---- what writes ----

    async def _write(self, beneath: Beneath) -> Value:
        """Count the revision up on both sides of the change, so that no reader is deceived."""
        self.workspaces.bump(self.request.workspace)
        try:
            if self.request.op in WITH_DATA:
                return await self._take_in(beneath)
            if self.request.op == "discard":
                await self.place.end_sessions(self.request.workspace)
            return await _in_thread(partial(self._change, beneath))
        finally:
            self.workspaces.bump(self.request.workspace)

    def _change(self, beneath: Beneath) -> Value:
        asked = self.request
        if asked.op == "edit":
            change = Edit(asked.old, asked.new, asked.everywhere)
            return files.edit(beneath, asked.path, change, self.place.limits)
        if asked.op == "patch":
            return patch.patch(beneath, asked.diff, self.place.limits)
        if asked.op == "remove":
            return Removed(removal.remove(beneath, asked.path))
        return Removed(self.workspaces.discard(asked.workspace))

    async def _take_in(self, beneath: Beneath) -> Written:
        measuring = partial(incoming.Allowance.of, beneath, self.place.limits)
        opening = partial(
            incoming.incoming, beneath, self.request.path, await _in_thread(measuring)
        )
        with await _in_thread(opening) as file:
            while data := await self._next_data():
                await _in_thread(partial(file.write, data))
            self._check_client()
            await _in_thread(file.commit)
            return Written(file.size)

    async def _next_data(self) -> bytes:
        """The next piece from the client; empty when it has sent all."""
        with trio.move_on_after(_IDLE_SECONDS):
            frame = await self.frames.receive()
            if frame is None:
                raise trio.BrokenResourceError("the client left before it had sent the file")
            if frame.type is not FrameType.DATA:
                raise ProtocolError(f"{frame.type.name} has no place in a file")
            return frame.body
        raise FileRefused(f"no data came for {_IDLE_SECONDS:g} s", "try again")


async def _in_thread(work: Callable[[], _T]) -> _T:
    """Do it in a thread; once it has begun it is waited for, whoever cancels."""
    return await trio.to_thread.run_sync(work)


async def _watch_for_close(frames: FrameStream, scope: trio.CancelScope) -> None:
    with contextlib.suppress(ProtocolError):
        await frames.receive()
    scope.cancel()


def _overview(workspaces: Workspaces) -> Overview:
    """What every workspace holds, as far as it can be found without waiting for its jobs."""
    until = time.monotonic() + _OVERVIEW_SECONDS
    keys = workspaces.keys()
    held: list[Held] = []
    for key in keys[:_MOST_WORKSPACES]:
        if time.monotonic() > until:
            break
        with contextlib.suppress(OSError), Beneath.at(str(workspaces.root / key)) as beneath:
            held.append(Held(key, quota.measure(beneath, most_files=_OVERVIEW_FILES)))
    return Overview(tuple(held), len(held) < len(keys))
