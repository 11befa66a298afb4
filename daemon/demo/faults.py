"""Faults of the Bot API server, on request.

    server.faults.add(Fault(method="sendMessage", chat_id=7, status=429, retry_after=2))
    server.faults.add(Fault.cut_after(method="sendMessage"))        # sent, but the answer is lost
    stall = server.faults.add(Fault.stalled(method="getUpdates"))   # ... stall.release()

The first fault that fits a call is used up once and decides what happens to it. A fault comes
before the call has any effect, or, with `after_effect`, once the chat shows the message, or, by
`cut_during`, while the call itself is still on its way.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import trio
from attrs import define, field

from daemon.demo.calls import ApiError, Call
from daemon.demo.http import Answer, Cut, Request, Response

HTML_502 = b"""<html>\r
<head><title>502 Bad Gateway</title></head>\r
<body>\r
<center><h1>502 Bad Gateway</h1></center>\r
<hr><center>nginx/1.18.0</center>\r
</body>\r
</html>\r
"""

DESCRIPTIONS = {
    400: "Bad Request: message text is empty",
    401: "Unauthorized",
    403: "Forbidden: bot was blocked by the user",
    404: "Not Found",
    409: "Conflict: terminated by other getUpdates request; "
    "make sure that only one bot instance is running",
    500: "Internal Server Error: restart",
}


@define(eq=False)
class Fault:
    """What happens to the next `times` calls that fit (-1: to all until it is removed).

    A call fits when it has this `method`, this `chat_id` and satisfies `when`, as far as given.
    Then, in this order: `delay` seconds pass, a stall lasts until `release()`, the connection is
    cut, or `status` is answered. A fault with neither cut nor status only delays.

    With `body_bytes` all of that comes when so many bytes of the request's body, or all that there
    are, have been read. Its parameters are not known then, so such a fault is for a method only.
    """

    method: str | None = None
    chat_id: int | None = None
    when: Callable[[Call], bool] | None = None
    times: int = 1
    status: int = 0
    description: str = ""
    retry_after: int | None = None
    migrate_to_chat_id: int | None = None
    body: bytes | None = None
    delay: float = 0.0
    cut: bool = False
    reset: bool = False
    after_effect: bool = False
    body_bytes: int | None = None
    stall: trio.Event | None = None
    used: int = field(default=0, init=False)

    @classmethod
    def cut_before(cls, method: str | None = None, **more: Any) -> Fault:  # noqa: ANN401 (fields of this class)
        """The connection closes before the call has any effect."""
        return cls(method=method, cut=True, **more)

    @classmethod
    def cut_after(cls, method: str | None = None, **more: Any) -> Fault:  # noqa: ANN401 (fields of this class)
        """The chat shows the message, and the connection closes without an answer."""
        return cls(method=method, cut=True, after_effect=True, **more)

    @classmethod
    def cut_during(cls, method: str | None = None, *, body_bytes: int, **more: Any) -> Fault:  # noqa: ANN401 (fields of this class)
        """The connection closes when `body_bytes` of the request's body have come."""
        return cls(method=method, cut=True, body_bytes=body_bytes, **more)

    @classmethod
    def bad_gateway(cls, method: str | None = None, **more: Any) -> Fault:  # noqa: ANN401 (fields of this class)
        """A 502 with the HTML page of a proxy."""
        return cls(method=method, status=502, body=HTML_502, **more)

    @classmethod
    def stalled(cls, method: str | None = None, **more: Any) -> Fault:  # noqa: ANN401 (fields of this class)
        """Nothing is answered until `release()`; then the call goes on as usual."""
        return cls(method=method, stall=trio.Event(), **more)

    def release(self) -> None:
        """End the stall, also for calls to come."""
        if self.stall is not None:
            self.stall.set()

    def fits(self, call: Call) -> bool:
        """Whether this fault is for this call and not used up."""
        return (
            (self.times < 0 or self.used < self.times)
            and self.method in (None, call.method)
            and self.chat_id in (None, call.chat_id)
            and (self.when is None or self.when(call))
        )

    async def interrupt(self, request: Request) -> None:
        """Read a part of the body and then go wrong. Raises Cut."""
        left = self.body_bytes or 0
        async with aclosing(request.chunks()) as chunks:
            async for chunk in chunks:
                left -= len(chunk)
                if left <= 0:
                    break
        await self.wait(request)
        raise Cut(reset=self.reset)

    async def wait(self, request: Request) -> None:
        """Let the delay and the stall pass. Raises Cut when the client leaves meanwhile."""
        if self.delay or self.stall is not None:
            await request.unless_hung_up(self._wait)

    async def _wait(self) -> bool:
        await trio.sleep(self.delay)
        if self.stall is not None:
            await self.stall.wait()
        return True

    def answer(self) -> Answer | None:
        """Give the false answer, None to go on as usual. Raises Cut."""
        if self.cut or self.reset:
            raise Cut(reset=self.reset)
        if not self.status:
            return None
        if self.body is not None:
            return Response(self.status, self.body, "text/html")
        raise self._error()

    def _error(self) -> ApiError:
        text = self.description or DESCRIPTIONS.get(self.status, "")
        if self.retry_after is not None:
            text = text or f"Too Many Requests: retry after {self.retry_after}"
        known = {"retry_after": self.retry_after, "migrate_to_chat_id": self.migrate_to_chat_id}
        parameters = {name: value for name, value in known.items() if value is not None}
        return ApiError(self.status, text or f"Error {self.status}", parameters)


@define
class Faults:
    """The faults that wait for a call."""

    _waiting: list[Fault] = field(factory=list)

    def add(self, fault: Fault) -> Fault:
        """Arm a fault; gives it back, to be released or looked at."""
        self._waiting.append(fault)
        return fault

    def clear(self) -> None:
        """Disarm all faults and end their stalls."""
        for fault in self._waiting:
            fault.release()
        self._waiting.clear()

    def take(self, call: Call, *, in_body: bool = False) -> Fault | None:
        """Use up the first fault that fits the call, of those for its body or of the others."""
        for fault in self._waiting:
            if (fault.body_bytes is not None) is in_body and fault.fits(call):
                fault.used += 1
                return fault
        return None
