"""A server made with the package, on stdio or, with `http`, on a free port of this machine.

It tells on standard error what becomes of a slow call.
"""

from __future__ import annotations

import base64
import socket
import sys

import anyio
from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
server = MCPServer("good")


def mark(text: str) -> None:
    sys.stderr.write(f"mark {text}\n")
    sys.stderr.flush()


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def echo(text: str) -> str:
    """Give the text back."""
    return f"you said {text}"


@server.tool()
def fail(why: str) -> str:
    """Fail."""
    raise ToolError(why)


@server.tool()
def picture() -> Image:
    """Give a picture."""
    return Image(data=PNG, format="png")


@server.tool()
def numbers() -> dict[str, int]:
    """Give a structure."""
    return {"one": 1}


@server.tool()
async def slow() -> str:
    """Take for ever."""
    try:
        mark("begun")
        await anyio.sleep_forever()
    finally:
        mark("cancelled")
    return "never"


@server.tool()
async def grow(ctx: Context) -> str:
    """Add a tool and say so."""
    server.add_tool(lambda: "new", name="newcomer", description="New here.")
    await ctx.session.send_tool_list_changed()
    return "grown"


def serve_http() -> None:
    """Say the port first, to which one can connect from then on."""
    import uvicorn  # noqa: PLC0415  (slow, and only for this)

    listener = socket.create_server(("127.0.0.1", 0))
    mark(str(listener.getsockname()[1]))
    app = server.streamable_http_app(json_response="json" in sys.argv)
    config = uvicorn.Config(app, log_level="error", lifespan="on", timeout_graceful_shutdown=0)
    uvicorn.Server(config).run([listener])


if sys.argv[1:2] == ["http"]:
    serve_http()
else:
    server.run()
