"""What is posted to a provider when a request shows something: its JSON, with base64 put in."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator
from typing import Any, Final

import trio
from attrs import Factory, define

from agent.transcript import View

PIECE: Final = 3 * 256 * 1024  # bytes; base64 of as many, a multiple of three, needs no padding


@define
class Payload:
    """A request whose views are put in as it becomes bytes, behind marks that nobody can guess.

    Written with the rest, ten megabytes would hold the interpreter for a tenth of a second, in
    whichever thread; their base64 needs no escapes, and is made in pieces.
    """

    _views: dict[str, View] = Factory(dict)  # by their marks, in the order of the request

    def mark(self, view: View) -> str:
        mark = secrets.token_hex(16)
        self._views[mark] = view
        return mark

    async def of(self, body: dict[str, Any]) -> dict[str, Any] | bytes:
        """What is posted: the body as it is where it shows nothing, else its JSON."""
        if not self._views:
            return body
        return await trio.to_thread.run_sync(self._bytes, body)

    def _bytes(self, body: dict[str, Any]) -> bytes:
        rest = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        pieces: list[bytes] = []
        for mark, view in self._views.items():
            before, _, rest = rest.partition(mark.encode())
            pieces += [before, *_pieces(view.data)]
        return b"".join([*pieces, rest])


def _pieces(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), PIECE):
        yield base64.b64encode(data[at : at + PIECE])
