"""An MCP server on standard input and output: a library of three books, for the demo.

`python -m daemon.demo.library`, which the demo's daemon starts. One of its tools only reads, and
is run without a question; the other lends, and asks first.
"""

from __future__ import annotations

from typing import Final

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

BOOKS: Final = {
    "Faust": "on the second shelf",
    "The Golden Pot": "on the third shelf, beside the parrot",
    "Frankenstein": "in the cellar",
}

server = MCPServer("library")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def find_book(title: str) -> str:
    """Where a book is."""
    return f"{title} is {_place(title)}"


@server.tool()
def lend_book(title: str, reader: str) -> str:
    """Lend a book to a reader."""
    return f"{title}, {_place(title)}, is lent to {reader}"


def _place(title: str) -> str:
    if title not in BOOKS:
        raise ToolError(f"there is no {title} here; there are: {', '.join(BOOKS)}")
    return BOOKS[title]


if __name__ == "__main__":
    server.run("stdio")
