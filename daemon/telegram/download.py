"""Fetching a file that somebody sent: getFile, then its bytes, counted, into the spool.

The server is not believed in: a size is checked before anything is fetched where it is told, the
bytes are counted as they come, and a body that has no end, another length than was promised, or
comes in drops, is cut off. No more than a piece of it is ever in memory. The token is in the URL
of a file as well; no error here carries one.
"""

from __future__ import annotations

import math
from http import HTTPStatus

import httpx
import trio
from attrs import define, field, frozen

from daemon.sizes import human
from daemon.spool import Growing, Spool, SpoolFull
from daemon.telegram.api import (
    Ambiguous,
    ApiError,
    BotApi,
    Refused,
    RefusedToken,
    ServerFailed,
    TooMany,
)

# What the Bot API lets bots download.
MOST_BYTES = 20 * 1024 * 1024
MOST_TOLD = "20 MB"  # as Telegram says it
PIECE = 1024 * 1024  # bytes that are written at once; each costs a visit to a thread
# Seconds for a file of the most bytes on the slowest line that is worth the wait.
PATIENCE = 300.0
FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0  # seconds between tries
BROKEN_TRIES = 3
SHUTTING = 5.0  # seconds for the removal of half a file
LONGEST_PATH = 1000

LOCAL = (
    "the Bot API server keeps its files on its own disk (it runs with --local), which this program"
    " does not read"
)
GONE = "Telegram does not have it any more"


class Broken(Ambiguous):
    """What came is not the file that was promised. A second try may bring it; a fourth will not."""


class Unfetchable(Exception):
    """There is no use in trying again; the text says why, for people."""


@frozen
class Fetched:
    """A file in the spool."""

    key: str
    size: int


def too_large(size: int) -> str:
    return f"too large ({human(size)} of {MOST_TOLD})"


async def download(api: BotApi, spool: Spool, file_id: str, most: int = MOST_BYTES) -> Fetched:
    """One attempt at a file.

    Raises Unfetchable, ApiError's children for what may be tried again, OSError and SpoolFull.
    Leaves nothing in the spool then.
    """
    path, promised = await _locate(api, file_id, most)
    growing = await trio.to_thread.run_sync(spool.begin)
    try:
        await _receive(api, path, growing, promised or most)
        _compare(growing.size, promised)
        return Fetched(await trio.to_thread.run_sync(growing.finish), growing.size)
    except BaseException:
        with trio.move_on_after(SHUTTING, shield=True):
            await trio.to_thread.run_sync(growing.drop)
        raise


async def _locate(api: BotApi, file_id: str, most: int) -> tuple[str, int | None]:
    """Where the file is, and how many bytes it has, if the server says so."""
    try:
        answer = await api.call("getFile", {"file_id": file_id})
    except Refused as refusal:
        raise _unfetchable(refusal) from None
    path, size = _told(answer)
    if size is not None and size > most:
        raise Unfetchable(too_large(size))
    if path.startswith("/"):
        raise Unfetchable(LOCAL)
    if not path or len(path) > LONGEST_PATH or ".." in path.split("/"):
        raise Broken("getFile does not say where the file is")
    return path, size


def _unfetchable(refusal: Refused) -> Exception:
    """A no for good; but a token that is refused may be put right."""
    if isinstance(refusal, RefusedToken):
        return refusal
    if "too big" in refusal.description:
        return Unfetchable(f"too large (Telegram lets bots fetch {MOST_TOLD})")
    return Unfetchable(f"Telegram says: {refusal.description}")


def _told(answer: object) -> tuple[str, int | None]:
    values = answer if isinstance(answer, dict) else {}
    path, size = values.get("file_path"), values.get("file_size")
    return path if isinstance(path, str) else "", size if type(size) is int and size >= 0 else None


async def _receive(api: BotApi, path: str, growing: Growing, most: int) -> None:
    """Write the body, of which `most` bytes are wanted, piece by piece."""
    with trio.move_on_after(PATIENCE):
        async with api.open_file(path) as response:
            _check(response)
            await _write(response, growing, most)
        return
    raise Ambiguous(f"the file did not come within {PATIENCE:g} s")


def _check(response: httpx.Response) -> None:
    status = response.status_code
    if status == HTTPStatus.NOT_FOUND:
        raise Unfetchable(GONE)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
        raise ServerFailed(f"HTTP {status} in place of a file")
    if status != HTTPStatus.OK:
        raise Unfetchable(f"the server answers HTTP {status} in place of the file")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise Broken("the file comes packed, which was not asked for")


async def _write(response: httpx.Response, growing: Growing, most: int) -> None:
    """Write the body piece by piece, up to its end or to what is wrong with it.

    A stream of httpx is generators within generators, which only end properly if they are read to
    their end. So what is refused has its connection closed first, at which they end.
    """
    intake = _Intake(growing, most)
    failed: Exception | None = None
    try:
        async for chunk in response.aiter_raw():
            if failed is None and (failed := await intake.take(chunk)) is not None:
                await response.aclose()
    except httpx.RequestError:
        if failed is None:
            raise
    if failed := failed or await intake.flush():
        raise failed


@define
class _Intake:
    """Counts what comes and writes it in pieces; what is wrong is returned, not raised."""

    growing: Growing
    most: int
    total: int = 0
    _held: bytearray = field(factory=bytearray)

    async def take(self, chunk: bytes) -> Exception | None:
        self.total += len(chunk)
        if self.total > self.most:
            return _overflow(self.most)
        self._held += chunk
        return await self.flush() if len(self._held) >= PIECE else None

    async def flush(self) -> Exception | None:
        piece = bytes(self._held)
        self._held.clear()
        try:
            await trio.to_thread.run_sync(self.growing.write, piece)
        except (OSError, SpoolFull) as error:
            return error
        return None


def _compare(size: int, promised: int | None) -> None:
    if promised is not None and size != promised:
        raise Broken(f"{size} bytes came in place of {promised}")


def _overflow(most: int) -> Exception:
    if most >= MOST_BYTES:
        return Unfetchable(f"too large (more than {MOST_TOLD})")
    return Broken(f"more than the {most} bytes that were promised came")


def retry_delay(error: ApiError, tries: int) -> float | None:
    """Seconds to the next try after `tries` (from 1) that brought nothing; None: there is none."""
    match error:
        case TooMany(retry_after):
            return retry_after
        case Broken() if tries >= BROKEN_TRIES:
            return None
        case _:
            return min(LONGEST_DELAY, FIRST_DELAY * math.ldexp(1, min(tries, 10) - 1))
