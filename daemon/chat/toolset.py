"""Which tools a turn is offered: one line a group, from what the daemon has.

A group that is not configured is not offered, so that nobody pays for its schemas. Tools are made
anew for each turn, as closures over its place: what a model writes can never name another chat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from attrs import field, frozen

from agent.mcp.server import Server
from agent.parts import Takes
from agent.tools.agents import agent_tools
from agent.tools.audio import Transcriber, audio_tools
from agent.tools.clock import clock_tools
from agent.tools.code import code_tools
from agent.tools.files import file_tools
from agent.tools.history import history_tools
from agent.tools.mcp import mcp_tools
from agent.tools.memory import memory_tools
from agent.tools.notes import notes_tools
from agent.tools.registry import Registry, Tool
from agent.tools.skills import skill_tools
from agent.tools.sums import sums_tools
from agent.tools.view import view_tools
from agent.tools.web import web_tools
from agent.web.fetch import Web
from agent.web.searching import Engine
from daemon.chat.records import Records
from daemon.shelf import Shelf
from daemon.store.db import Database
from daemon.store.journal import TurnPages
from daemon.store.values import Address
from executor.client import FileClient
from executor.file_client import Way

# Causes of turns that nobody waits for.
UNATTENDED = frozenset({"schedule", "heartbeat"})


def blind(_model: str) -> Takes:
    """Where no model is asked, none takes more than text."""
    return Takes()


@frozen
class Scope:
    """Whose turn it is: where it answers, which conversation it belongs to, what began it.

    `root` is what began the turn that began this one, if a turn did.
    """

    address: Address
    conversation: str
    turn_id: int
    cause: str = "update"
    specialist: str = ""
    root: str = ""

    @classmethod
    def of(cls, turn_id: int, pages: TurnPages) -> Scope:
        began = pages.cause, pages.specialist, pages.root
        return cls(pages.address, pages.conversation, turn_id, *began)

    @property
    def child(self) -> bool:
        """Whether another turn began it; such a turn begins none itself."""
        return self.cause == "child"

    @property
    def attended(self) -> bool:
        """Whether somebody is there who can be asked."""
        return UNATTENDED.isdisjoint({self.cause, self.root})

    @property
    def workspace(self) -> str:
        return self.address.workspace


@frozen
class Toolset:
    """Makes the tools of a turn; has what they need of the process."""

    executor: Way
    database: Database
    mcp: tuple[Server, ...] = ()
    web: Web | None = None
    engine: Engine | None = None
    shelf: Shelf = field(factory=Shelf)
    transcriber: Transcriber | None = None
    sees: Callable[[str], Takes] = blind  # what the model of a name takes besides text

    def registry(self, scope: Scope) -> Registry:
        return Registry.of(self._permitted(scope), attended=scope.attended)

    def _permitted(self, scope: Scope) -> Iterator[Tool]:
        """All tools, or those that its file permits a specialist: none if the file is gone."""
        specialist = self.shelf.holding.specialists.get(scope.specialist)
        for each in self._tools(scope):
            if not scope.specialist or (specialist and specialist.may_use(each.name)):
                yield each

    def _model(self, scope: Scope) -> str:
        """The model that a specialist's file names; '' for the configured one."""
        specialist = self.shelf.holding.specialists.get(scope.specialist)
        return (specialist and specialist.model) or ""

    def _tools(self, scope: Scope) -> Iterator[Tool]:
        yield from clock_tools()
        yield from sums_tools()
        yield from code_tools(self.executor, scope.workspace, scope.conversation)
        files = FileClient(self.executor, scope.workspace)
        yield from file_tools(files)
        yield from view_tools(files, partial(self.sees, self._model(scope)))
        if self.transcriber is not None:
            yield from audio_tools(files, self.transcriber)
        yield from skill_tools(self.shelf.holding.skills, self.shelf.in_jobs)
        records = Records(self.database, scope.address.home, scope.turn_id)
        yield from notes_tools(records)
        yield from memory_tools(records)
        if self.web is not None:
            yield from web_tools(self.web, self.engine)
        if not scope.child:
            yield from history_tools(records)
            yield from agent_tools(self.shelf.holding.purposes())
        yield from mcp_tools(self.mcp)
