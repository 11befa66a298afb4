"""`view_file` against a real executor."""

from __future__ import annotations

import json

import pytest

from agent.parts import Takes
from agent.ports import ToolOutcome
from agent.sight import MOST_DOCUMENT, PDF
from agent.tools.code import code_tools
from agent.tools.registry import Registry
from agent.tools.view import NO_DOCUMENTS, NO_PICTURES, view_tools
from agent.transcript import CallRequest, View
from executor.client import ExecutorClient, FileClient
from tests.agent.test_sight import png
from tests.executor.harness import Running

ALL = Takes(images=True, documents=True)
PICTURE = png(640, 480)
# A program that makes a picture without any library, as matplotlib's savefig would.
DRAW = """
import struct, zlib
def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
rows = b"".join(b"\\0" + bytes(3 * 8) for _ in range(6))
head = struct.pack(">IIBBBBB", 8, 6, 8, 2, 0, 0, 0)
with open("drawn.png", "wb") as file:
    file.write(b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", head))
    file.write(chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
"""


async def look(files: FileClient, path: str, taken: Takes = ALL) -> ToolOutcome:
    tools = Registry.of(view_tools(files, lambda: taken))
    return await tools.run(CallRequest("", "view_file", json.dumps({"path": path})))


async def test_a_picture_is_shown_and_named_in_one_line(files: FileClient) -> None:
    """Its bytes are nowhere in the text; a name that lies is no matter."""
    await files.write("out/plot.txt", PICTURE)
    outcome = await look(files, "/workspace/out/plot.txt")
    assert outcome.text == "[picture plot.txt, 640x480, was shown]"
    assert outcome.shown == (View("plot.txt", "image/png", "640x480", 486, PICTURE),)
    assert not outcome.failed
    assert not outcome.files


async def test_a_document_is_shown(files: FileClient) -> None:
    """As what it is."""
    await files.write("a.pdf", b"%PDF-1.4 /Type /Page ")
    outcome = await look(files, "a.pdf")
    assert outcome.text == "[document a.pdf, 1 page, was shown]"
    assert [each.media for each in outcome.shown] == [PDF]


async def test_what_code_draws_into_a_file_can_be_looked_at(
    running: Running, files: FileClient
) -> None:
    """Both use the same working directory."""
    tools = Registry.of(code_tools(running.client, files.workspace, ""))
    ran = await tools.run(CallRequest("", "python_execute", json.dumps({"code": DRAW})))
    assert not ran.failed, ran.text
    assert (await look(files, "drawn.png")).text == "[picture drawn.png, 8x6, was shown]"


@pytest.mark.parametrize(
    ("taken", "path", "said"),
    [
        (Takes(), "a.png", NO_PICTURES),
        (Takes(documents=True), "a.png", NO_PICTURES),
        (Takes(images=True), "a.pdf", NO_DOCUMENTS),
    ],
)
async def test_a_model_that_does_not_take_it_says_so(
    files: FileClient, taken: Takes, path: str, said: str
) -> None:
    """A failed result, with the key that the owner can set; nothing is shown."""
    await files.write("a.png", PICTURE)
    await files.write("a.pdf", b"%PDF-1.4")
    assert await look(files, path, taken) == ToolOutcome(f"Error: {said}", failed=True)


@pytest.mark.parametrize(
    ("path", "data", "why"),
    [
        ("a.png", b"not at all", "it is no PNG"),
        ("large.pdf", b"%PDF-" + bytes(MOST_DOCUMENT), "larger than the 10,485,760 bytes"),
        ("missing.png", b"", "missing.png"),
        ("../../etc/passwd", b"", ""),
    ],
)
async def test_what_cannot_be_shown_is_a_failed_result(
    files: FileClient, path: str, data: bytes, why: str
) -> None:
    """With the reason, and nothing beside it."""
    await files.write("here", b"")
    if data:
        await files.write(path, data)
    outcome = await look(files, path)
    assert outcome.failed
    assert why in outcome.text
    assert outcome.shown == ()


async def test_a_link_to_a_file_of_the_host_shows_nothing(
    running: Running, files: FileClient
) -> None:
    """A job can leave one; the executor does not follow it."""
    tools = Registry.of(code_tools(running.client, files.workspace, ""))
    link = "import os; os.symlink('/usr/share/pixmaps/debian-logo.png', 'a.png')"
    assert not (
        await tools.run(CallRequest("", "python_execute", json.dumps({"code": link})))
    ).failed
    outcome = await look(files, "a.png")
    assert outcome.failed
    assert outcome.shown == ()


async def test_without_an_executor_it_says_so() -> None:
    """Nobody is left to wonder."""
    outcome = await look(FileClient(ExecutorClient("/nowhere"), "w"), "a.png")
    assert outcome.failed
    assert "files cannot be used here" in outcome.text
