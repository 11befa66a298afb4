"""The tools of MCP servers, as tools of ours.

What they are called, which of them are offered and what each may do without a question is decided
in `agent.mcp.offer`. The schema is the server's own, and so is the checking of arguments. All that
a server says is text from outside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agent.mcp.offer import Offered
from agent.mcp.server import Server
from agent.ports import ToolOutcome
from agent.tools.registry import OUTPUT_CAP, Tool


def mcp_tools(servers: Iterable[Server]) -> list[Tool]:
    """The tools that the servers have listed last, also of one that is down meanwhile."""
    return [_tool(server, each) for server in servers for each in server.offer.tools]


def _tool(server: Server, offered: Offered) -> Tool:
    async def call(arguments: dict[str, Any]) -> ToolOutcome:
        return await server.call(offered.tool, arguments)

    return Tool(
        offered.name,
        offered.description,
        (),
        offered.kind,
        offered.policy,
        OUTPUT_CAP,
        call,
        untrusted=True,
        given=offered.schema,
        scope=_any_call,
    )


def _any_call(_arguments: Mapping[str, Any]) -> str:
    """What arguments mean is the server's to know, so a lasting yes is for the tool."""
    return ""
