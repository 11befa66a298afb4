"""The file tools against a real executor: what they do, and what they say when they cannot."""

from __future__ import annotations

import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from agent.ports import ModelFailed, OutFile, ToolOutcome
from agent.tools.audio import audio_tools
from agent.tools.code import code_tools, inventory
from agent.tools.files import (
    LINE_LENGTH,
    MOST_LINES,
    file_tools,
    fitting,
    inside,
    listed,
    numbered,
)
from agent.tools.registry import OUTPUT_CAP, Registry, ToolError
from agent.transcript import CallRequest
from executor.client import ExecutorClient, FileClient, Info, Listing
from tests.executor.harness import Running

PNG = b"\x89PNG\r\n\x1a\n\0\0"


async def call(files: FileClient, name: str, **arguments: Any) -> ToolOutcome:
    return await Registry.of(file_tools(files)).run(CallRequest("", name, json.dumps(arguments)))


async def said(files: FileClient, name: str, **arguments: Any) -> str:
    outcome = await call(files, name, **arguments)
    assert not outcome.failed, outcome.text
    return outcome.text


async def refused(files: FileClient, name: str, **arguments: Any) -> str:
    outcome = await call(files, name, **arguments)
    assert outcome.failed, outcome.text
    return outcome.text


# --- With the executor ---


async def test_a_file_is_written_and_read_with_numbers(files: FileClient) -> None:
    """The way of writing a path does not matter, as long as it means the workspace."""
    assert await said(files, "write_file", path="./notes/a.txt", content="one\ntwo\n") == (
        "written: notes/a.txt, 8 bytes"
    )
    assert await said(files, "read_file", path="/workspace/notes/a.txt") == "1\tone\n2\ttwo"
    assert await said(files, "read_file", path="~/notes/a.txt", offset=2) == "2\ttwo"


async def test_a_long_file_is_read_in_parts(files: FileClient) -> None:
    """Each part says how to go on."""
    await files.write("long", "".join(f"line {n}\n" for n in range(1, 1001)).encode())
    first = (await said(files, "read_file", path="long")).splitlines()
    assert (first[0], first[-2]) == ("1\tline 1", f"{MOST_LINES}\tline {MOST_LINES}")
    assert first[-1] == f"[the file goes on; read on with offset={MOST_LINES + 1}]"
    part = await said(files, "read_file", path="long", offset=999, limit=5)
    assert part == "999\tline 999\n1000\tline 1000"
    assert await said(files, "read_file", path="long", offset=5000) == "[nothing there]"


async def test_what_is_no_text_is_not_shown(files: FileClient) -> None:
    """Its size and kind are told."""
    await files.write("a.png", PNG)
    assert "a.png is no text: 10 bytes, a PNG picture" in await refused(
        files, "read_file", path="a.png"
    )


async def test_an_edit_needs_one_place(files: FileClient) -> None:
    """None and several are errors that say so; nothing is changed."""
    await files.write("a", b"red, red, blue")
    assert "2" in await refused(files, "edit_file", path="a", old="red", new="green")
    assert await refused(files, "edit_file", path="a", old="pink", new="green")
    assert await said(files, "edit_file", path="a", old="blue", new="grey") == (
        "replaced 1 place; the file has 14 bytes"
    )
    done = await said(files, "edit_file", path="a", old="red", new="green", everywhere=True)
    assert done == "replaced 2 places; the file has 18 bytes"
    assert (await files.read("a")).value.data == b"green, green, grey"


async def test_files_are_found_by_place_name_and_content(files: FileClient) -> None:
    """Listed with size and time; matches with file and line."""
    await files.write("src/one.py", b"import os\nprint(1)\n")
    await files.write("two.txt", b"PRINT\n")
    listing = await said(files, "list_dir")
    assert listing.splitlines()[0] == "src/"
    assert listing.splitlines()[1].startswith("two.txt  6 bytes, 20")
    assert (await said(files, "glob", pattern="**/*.py")).startswith("src/one.py  ")
    assert await said(files, "grep", pattern="print") == "src/one.py:2: print(1)"
    both = await said(files, "grep", pattern="print", ignore_case=True)
    assert len(both.splitlines()) == 2
    assert await said(files, "grep", pattern="nowhere", glob="*.txt") == "nothing found in 1 files"
    assert await said(files, "glob", pattern="*.rs") == "[nothing there]"
    assert "regular expression" in await refused(files, "grep", pattern="(")


async def test_a_patch_is_applied_whole_or_not_at_all(files: FileClient) -> None:
    """What was changed, made and removed is told."""
    await files.write("a", b"one\ntwo\n")
    diff = "--- a/a\n+++ b/a\n@@ -1,2 +1,2 @@\n one\n-two\n+three\n"
    new = "--- /dev/null\n+++ b/b\n@@ -0,0 +1 @@\n+new\n"
    assert await said(files, "apply_patch", diff=diff + new) == "changed: a\nmade: b"
    assert await refused(files, "apply_patch", diff=diff)
    assert (await files.read("a")).value.data == b"one\nthree\n"


async def test_a_file_is_sent_with_its_caption(files: FileClient) -> None:
    """By its name alone, and not at all if it is not there."""
    await files.write("out/a.png", PNG)
    outcome = await call(files, "send_file", path="out/a.png", caption="A picture")
    assert outcome.files == (OutFile("a.png", PNG, "A picture"),)
    assert await refused(files, "send_file", path="gone")
    assert await refused(files, "send_file", path="out")


async def test_a_file_that_is_too_large_is_not_taken_into_memory(
    files: FileClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused at the first piece that is too much; people are to be told why."""
    monkeypatch.setattr("agent.tools.files.MOST_SENT", 1000)
    await files.write("out/large", bytes(2_000_000))
    outcome = await call(files, "send_file", path="out/large")
    (unsent,) = outcome.unsent
    assert (outcome.failed, outcome.files, unsent.name) == (True, (), "large")
    assert unsent.why.startswith("it has 2,000,000 bytes, and 1,000 can be sent at once; make it")


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "/workspaces/x"])
async def test_nothing_outside_the_workspace_is_reached(files: FileClient, path: str) -> None:
    """Whoever asks is told that the place is another."""
    for name in ("read_file", "send_file", "list_dir"):
        assert await refused(files, name, path=path)


async def test_a_link_leads_nowhere(files: FileClient, running: Running) -> None:
    """Not even to a file of the workspace's own."""
    bash = Registry.of(code_tools(running.client, files.workspace, "s"))
    await bash.run(CallRequest("", "bash", json.dumps({"command": "ln -s /etc/passwd link"})))
    assert "symbolic link" in await said(files, "list_dir")
    assert await refused(files, "read_file", path="link")


async def test_the_sandbox_tells_its_packages(running: Running) -> None:
    """By name, with the version of Python first."""
    tools = Registry.of(code_tools(running.client, "inventory", "s"))
    outcome = await tools.run(CallRequest("", "python_environment_info", "{}"))
    assert outcome.text.startswith("Python 3.")


class Scribe:
    """Writes down what it is given, or fails."""

    def __init__(self, text: str | ModelFailed) -> None:
        self.text = text
        self.heard: list[tuple[str, bytes, str | None]] = []

    async def transcribe(self, name: str, data: bytes, language: str | None) -> str:
        self.heard.append((name, data, language))
        if isinstance(self.text, ModelFailed):
            raise self.text
        return self.text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (" Hello. ", "Hello."),
        ("", "[nothing was said]"),
        (ModelFailed("No key.", "401"), "Error: No key."),
    ],
)
async def test_a_recording_is_written_down(
    files: FileClient, text: str | ModelFailed, told: str
) -> None:
    """The provider gets the bytes, and the model its words or its sentence."""
    await files.write("voice/a.ogg", b"OggS")
    scribe = Scribe(text)
    request = CallRequest("", "transcribe_audio", '{"path": "voice/a.ogg", "language": "de"}')
    outcome = await Registry.of(audio_tools(files, scribe)).run(request)
    assert (outcome.text, scribe.heard) == (told, [("a.ogg", b"OggS", "de")])


async def test_every_line_of_a_long_file_is_read_in_the_end(files: FileClient) -> None:
    """Each part is shown whole, and what it says brings the next; long lines are cut and say so."""
    wanted = [f"{n} " + "ü" * (n * 37 % 700) for n in range(1, 301)]
    await files.write("long", "\n".join(wanted).encode())
    lines: list[str] = []
    offset: int | None = 1
    while offset:
        part = (await said(files, "read_file", path="long", offset=offset)).split("\n")
        assert not any("characters left out" in line for line in part)
        more = re.fullmatch(r"\[the file goes on; read on with offset=(\d+)\]", part[-1])
        offset = int(more[1]) if more else None
        lines += part[:-1] if more else part
    numbers, texts = zip(*(line.split("\t", 1) for line in lines), strict=True)
    assert numbers == tuple(str(n) for n in range(1, 301))
    assert [text[:LINE_LENGTH] for text in texts] == [line[:LINE_LENGTH] for line in wanted]


async def test_lines_longer_than_can_be_read_at_once_are_each_read(files: FileClient) -> None:
    """The executor stops within a line; that one is not taken for read."""
    await files.write("wide", b"\n".join([b"a" * 600_000, b"b" * 600_000, b"c"]))
    first = await said(files, "read_file", path="wide")
    assert first.endswith(" characters more]\n[the file goes on; read on with offset=2]")
    assert "\tb" not in first
    rest = await said(files, "read_file", path="wide", offset=2)
    assert rest.startswith("2\tbbb")
    assert rest.endswith("characters more]\n3\tc")


@pytest.mark.parametrize(("offset", "limit"), [(-5, 2), (0, 2), (1, 2), (1 << 80, 1 << 80)])
async def test_any_numbers_will_do(files: FileClient, offset: int, limit: int) -> None:
    """Those that make no sense are taken for the nearest that do."""
    await files.write("a", b"one\ntwo\nthree\n")
    shown = await said(files, "read_file", path="a", offset=offset, limit=limit)
    first = "1\tone\n2\ttwo\n[the file goes on; read on with offset=3]"
    assert shown == ("[nothing there]" if offset > 3 else first)


async def test_halves_of_characters_do_no_harm(files: FileClient) -> None:
    """JSON can carry them, and neither files nor messages can."""
    await said(files, "write_file", path="a", content="x\ud83d")
    assert (await files.read("a")).value.data == "x\ufffd".encode()
    outcome = await call(files, "send_file", path="a", caption="\ud83d")
    assert [each.caption for each in outcome.files] == ["\ufffd"]
    assert "cannot be" in await refused(files, "edit_file", path="a", old="\ud83d", new="b")
    assert await refused(files, "read_file", path="\ud83d")
    assert await refused(files, "grep", pattern="\ud83d")


async def test_what_a_job_made_of_a_directory_is_listed_in_lines(
    files: FileClient, running: Running
) -> None:
    """Names with line ends are quoted, and a time that no calendar has is none."""
    bash = Registry.of(code_tools(running.client, files.workspace, "s"))
    made = "touch $'a\\nb' && touch -d @99999999999999 late; mkdir d && touch d/x"
    await bash.run(CallRequest("", "bash", json.dumps({"command": made})))
    lines = (await said(files, "list_dir")).splitlines()
    assert lines[0].startswith("'a\\nb'  0 bytes, ")
    assert [line.split("  ")[0] for line in lines[1:]] in (["d/", "late"], ["d/"])
    assert (await said(files, "list_dir", path="d")).startswith("x  0 bytes")
    assert (await said(files, "glob", pattern="*", path="./d")).startswith("d/x  0 bytes")


async def test_a_line_that_is_found_is_cut_visibly(files: FileClient) -> None:
    """As in reading."""
    await files.write("a", b"needle" + b"y" * 1000)
    shown = await said(files, "grep", pattern="needle")
    assert shown == "a:1: needle" + "y" * 394 + " [...]"


async def test_what_is_too_large_is_given_up_as_it_comes(
    files: FileClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more of it is held than may be taken, and the workspace is free at once."""
    monkeypatch.setattr("agent.tools.files.MOST_SENT", 1_000_000)
    await files.put("huge", (bytes(1_000_000) for _ in range(100)))
    tracemalloc.start()
    try:
        assert await refused(files, "send_file", path="huge")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4_000_000
    with trio.fail_after(5):
        assert "huge" in await said(files, "list_dir")


async def test_a_call_that_is_cancelled_leaves_the_workspace_free(
    files: FileClient, running: Running
) -> None:
    """The search is a job, and ends with the connection."""
    bash = Registry.of(code_tools(running.client, files.workspace, "s"))
    await files.write("a", b"a" * 200)
    with trio.move_on_after(0.5) as scope:
        await call(files, "grep", pattern="(a*)*b")  # takes longer than the universe will last
    assert scope.cancelled_caught
    with trio.fail_after(5):
        outcome = await bash.run(CallRequest("", "bash", json.dumps({"command": "echo free"})))
    assert outcome.text == "free"


async def test_what_is_not_there_is_said_with_a_remedy(files: FileClient) -> None:
    """In words that fit the tools, whoever refuses."""
    await files.write("here", b"")
    for name, more in (("read_file", {}), ("grep", {"pattern": "a"})):
        text = await refused(files, name, path="gone", **more)
        assert text == "Error: 'gone' does not exist; list the directory to see what there is"


async def test_before_the_first_file_there_is_nothing(files: FileClient) -> None:
    """A new chat has no workspace; whoever looks need not know that there is such a thing."""
    assert await said(files, "list_dir") == "[nothing there]"
    assert await said(files, "glob", pattern="*", path=".") == "[nothing there]"
    none = "Error: there are no files yet; write one first"
    for name in ("read_file", "send_file", "list_dir"):
        assert await refused(files, name, path="a") == none
    assert await refused(files, "edit_file", path="a", old="b", new="c") == none
    assert await said(files, "write_file", path="a", content="")
    assert (await said(files, "list_dir")).startswith("a  0 bytes")


# --- Without ---


async def test_without_an_executor_the_model_is_told_why(tmp_path: Path) -> None:
    """Cause and remedy, in words that it can pass on."""
    files = FileClient(ExecutorClient(str(tmp_path / "none.sock")), "w")
    text = await refused(files, "read_file", path="a")
    assert text.startswith("Error: files cannot be used here: no executor listens at ")


@given(st.text(alphabet="ab./~ ", max_size=20))
def test_any_path_is_relative_or_refused(path: str) -> None:
    """With every step that leads on, and none that leads nowhere."""
    try:
        relative = inside(path)
    except ToolError:
        assert path.strip().startswith("/")
        return
    steps = relative.split("/") if relative else []
    assert not {"", "."} & set(steps)
    assert path.strip().count("..") == relative.count("..")


@given(st.lists(st.text(st.characters(blacklist_characters="\r\n"), max_size=900)), st.integers(1))
def test_every_line_has_its_number(lines: list[str], first: int) -> None:
    """Whatever they hold; a long one is cut and says so."""
    shown = numbered("".join(f"{line}\n" for line in lines), first, more=False)
    if not lines:
        assert shown == "[nothing there]"
        return
    for index, (line, text) in enumerate(zip(shown.split("\n"), lines, strict=True)):
        number, _, rest = line.partition("\t")
        assert number == str(first + index)
        assert rest == text or (len(text) > LINE_LENGTH and "characters more" in rest)


@pytest.mark.parametrize("seconds", [1e300, -1e300, 1e12, float("inf")])
def test_a_time_that_no_calendar_has_is_said_to_be_none(seconds: float) -> None:
    """A job can set it."""
    shown = listed(Listing((Info("a", "file", 1, seconds, 0),), cut=False))
    assert shown == "a  1 bytes, at no time that there is"


@given(
    st.lists(st.text(st.characters(blacklist_characters="\r\n"), max_size=900), max_size=80),
    st.booleans(),
    st.booleans(),
)
def test_what_is_shown_at_once_is_whole_lines(lines: list[str], ended: bool, more: bool) -> None:
    """The first ones, at least one, as many as fit; and nothing is lost without a word."""
    text = "\n".join(lines) + "\n" * ended
    shown, goes_on = fitting(text, more=more)
    assert text.startswith(shown)
    assert bool(shown) == bool(text)
    assert len(numbered(shown, 1, more=goes_on)) <= OUTPUT_CAP
    if shown != text:
        assert goes_on
        assert shown.endswith("\n")
    else:
        assert goes_on == more


def test_an_inventory_is_of_packages_alone() -> None:
    """Sorted, by prefix, and cut; what is no name and version is left out."""
    printed = "3.11.2 x86_64\nzlib 1\nNumPy 2.0\nnumexpr 3\n<b>bad</b>\nNone None!\n"
    assert inventory(printed, "num", 9) == "Python 3.11.2 x86_64\nnumexpr 3\nNumPy 2.0"
    assert inventory(printed, "", 1).splitlines()[1:] == ["None None!", "[3 more; use a prefix]"]
    assert inventory(printed, "q", 1).endswith("(no such package)")
