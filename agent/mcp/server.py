"""One MCP server as the rest of the program sees it: up with its tools, or down with a reason.

`run` is a task for the supervisor: one life of the server, from its start to its end, which it
raises as ServerDown. Between lives the tools stay as they were last listed, and a call is answered
at once with why the server is down and when it is tried again. So a server that is slow, broken or
gone never keeps a turn or the daemon's start waiting.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NoReturn

import trio
from attrs import define, field

from agent.importing import collector_resting
from agent.mcp.content import has_files, outcome
from agent.mcp.offer import Offer, choose, kept, read_kept
from agent.mcp.spec import CallFailed, ConnectionEnded, Host, NoAnswer, ServerDown, ServerSpec
from agent.ports import ToolOutcome
from agent.tools.registry import ToolError

if TYPE_CHECKING:
    from agent.mcp.session import Session

CALLS_AT_ONCE: Final = 8  # of one server; more wait
REFRESH_PAUSE: Final = 1.0  # seconds at least between two listings that a server asks for
FIRST_START: Final = 10.0  # seconds that a call waits for the first start of a server
LAST_WORDS: Final = 2.0  # seconds that a call which was cut off waits for the reason


@define
class Server:
    """A server that is configured: starting, up or down. `offer` is what it has listed last.

    Belongs to the Trio thread.
    """

    spec: ServerSpec
    host: Host
    offer: Offer = field(factory=Offer, init=False)
    state: str = field(default="starting", init=False)
    reason: str = field(default="", init=False)  # why it is down
    _session: Session | None = field(default=None, init=False)
    _ended: trio.Event = field(factory=trio.Event, init=False)  # the present life is over
    _settled: trio.Event = field(factory=trio.Event, init=False)  # the first start has ended
    _slots: trio.CapacityLimiter = field(
        factory=lambda: trio.CapacityLimiter(CALLS_AT_ONCE), init=False
    )

    async def run(self) -> NoReturn:
        """Live once. Raises ServerDown at the end, whatever ended it."""
        self._ended = trio.Event()
        why = "it broke; the log says how"
        try:
            why = await self._live()
        except ServerDown as error:
            why = str(error)
        finally:
            self._session = None
            self.state, self.reason = "down", self.host.mask(why)
            self._settled.set()
            self._ended.set()
        raise ServerDown(self.reason)

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> ToolOutcome:
        """Call a tool, by the server's own name for it. Raises ToolError.

        Cancelling it tells the server that nobody waits any more. Only the first start is waited
        for, for a while: an approved call may be the first thing that a daemon does.
        """
        with trio.move_on_after(FIRST_START):
            await self._settled.wait()
        async with self._slots:
            session = self._session
            if session is None:
                raise ToolError(self.down())
            try:
                result = await session.call(tool, arguments)
            except CallFailed as error:
                raise ToolError(str(error)) from error
            except NoAnswer as error:
                raise ToolError(self._late()) from error
            except ConnectionEnded as error:
                raise ToolError(await self._cut_off()) from error
        if has_files(result):  # in a thread, since a picture takes up to 50 ms to decode
            return await trio.to_thread.run_sync(outcome, result, tool)
        return outcome(result, tool)

    async def recall(self) -> None:
        """Offer what it has listed last, before it is started."""
        self.offer = choose(self.spec, read_kept(await self.host.recall()))

    def down(self) -> str:
        """That it is down, why, and when it is tried again."""
        if not self.reason:
            return f"the MCP server {self.spec.name} is still starting; try again in a while"
        return f"the MCP server {self.spec.name} is down ({self.reason}); {self._again()}"

    def line(self) -> str:
        """Its state for people."""
        if self.state == "up":
            skipped = f", {len(self.offer.warnings)} left out" if self.offer.warnings else ""
            return f"up, {len(self.offer.tools)} tools{skipped}"
        if self.reason:
            return f"down: {self.reason}; {self._again()}"
        return "starting"

    def _again(self) -> str:
        seconds = self.host.retry_in()
        if seconds is None:
            return "it is being started again"
        return f"it is started again in {max(1, round(seconds))} s"

    def _late(self) -> str:
        return (
            f"the MCP server {self.spec.name} did not answer within {self.spec.timeout:g} s and"
            " was told to stop; the call may or may not have taken effect"
        )

    async def _cut_off(self) -> str:
        with trio.move_on_after(LAST_WORDS):
            await self._ended.wait()
        why = f" ({self.reason})" if self.reason else ""
        return (
            f"the MCP server {self.spec.name} went down during the call{why};"
            " the call may or may not have taken effect"
        )

    # --- One life ---

    async def _live(self) -> str:
        """From start to end; returns what ended it."""
        self.state = "starting"
        if not self._settled.is_set():
            await self.recall()
        package = await trio.to_thread.run_sync(_load)
        async with package.opened(self.spec, self.host) as session:
            why = await self._begin(session)
            if not why:
                self._session, self.state, self.reason = session, "up", ""
                self._settled.set()
                why = await self._attend(session)
        return why

    async def _begin(self, session: Session) -> str:
        """Start the session and list the tools; returns why that was not possible, or ''."""
        with trio.move_on_after(self.spec.start_timeout):
            try:
                await session.start()
                await self._list(session)
                self.host.say("info", "MCP server up", tools=len(self.offer.tools))
            except ConnectionEnded:
                return await session.fate()
            except (CallFailed, NoAnswer) as error:
                return await session.fate() if session.lost.is_set() else str(error)
            return ""
        return f"it was not ready after {self.spec.start_timeout:g} s"

    async def _list(self, session: Session) -> None:
        session.changed = False
        listed = await session.tools()
        self.offer = choose(self.spec, listed)
        await self.host.remember(kept(listed))
        for each in self.offer.warnings:
            self.host.say("warning", "MCP tool left out", problem=each)

    async def _attend(self, session: Session) -> str:
        """See to whatever comes up, until the connection is lost; returns why it was."""
        while True:
            await session.attention.wait()
            session.attention = trio.Event()
            if session.lost.is_set():
                return await session.fate()
            if session.suspect and not await session.alive():
                return "it does not answer any more"
            session.suspect = False
            if session.changed:
                await self._list_anew(session)

    async def _list_anew(self, session: Session) -> None:
        """Take over a new list; turns see it from their next registry on."""
        try:
            with trio.fail_after(self.spec.start_timeout):
                await self._list(session)
            self.host.say("debug", "MCP tools listed anew", tools=len(self.offer.tools))
        except (CallFailed, NoAnswer, ConnectionEnded, trio.TooSlowError) as error:
            self.host.say("warning", "the tools could not be listed anew", error=repr(error))
        with trio.move_on_after(REFRESH_PAUSE):
            await session.lost.wait()


def _load() -> ModuleType:
    """In a thread: import what is slow to import."""
    with collector_resting():
        return importlib.import_module("agent.mcp.session")
