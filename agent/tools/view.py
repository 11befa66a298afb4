"""`view_file`: shows the model a picture or a document of the chat's files.

The bytes come from the executor, as for every file tool, and what they are is told by them alone.
The result is one line; what is shown stands beside it until the turn ends (`agent.context`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Annotated

import trio

from agent import parts, sight
from agent.parts import Takes
from agent.ports import ToolOutcome
from agent.sight import MOST_DOCUMENT, PDF, NotSeen
from agent.text import clean
from agent.tools.files import PATH, fetch, inside, told
from agent.tools.registry import WORKSPACE, Kind, Tool, ToolError, tool
from agent.transcript import View
from executor.client import FileClient

NO_PICTURES = (
    "the model configured here takes no pictures (model.images); say so, or look into it by code"
)
NO_DOCUMENTS = (
    "the model configured here takes no documents (model.documents); say so, or read it by code"
)


def view_tools(files: FileClient, sees: Callable[[], Takes]) -> list[Tool]:
    """The tool for one workspace; `sees` is asked what the model takes, as known by then."""

    @tool(kind=Kind.READ, queue=WORKSPACE)
    @told
    async def view_file(path: Annotated[str, PATH]) -> ToolOutcome:
        """Look at a picture or PDF yourself; at a plot after plt.savefig(path)."""
        taken = sees()
        if taken == Takes():
            raise ToolError(NO_PICTURES)  # it cannot become better by fetching it
        data = await fetch(files, path, MOST_DOCUMENT)
        shown = await trio.to_thread.run_sync(_seen, path, data)
        if not taken.has(shown):
            raise ToolError(NO_DOCUMENTS if shown.media == PDF else NO_PICTURES)
        return ToolOutcome(f"[{parts.what(shown)}, was shown]", shown=(shown,))

    return [view_file]


def _seen(path: str, data: bytes) -> View:
    """In a thread: the pages of ten megabytes are counted. Raises ToolError."""
    try:
        return sight.view(clean(PurePosixPath(inside(path)).name), data)
    except NotSeen as why:
        raise ToolError(f"{path} cannot be shown: {why}") from None
