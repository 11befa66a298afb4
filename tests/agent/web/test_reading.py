"""The process that makes text of pages, and its end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import trio

from agent.web.guard import Refused
from agent.web.reading import SCRIPT, Reader

ARTICLE = """<html><head><title> A  title </title><script>evil()</script></head><body>
<nav><a href="/home">Home</a> <a href="/about">About</a></nav>
<article><h1>Head</h1><p>This paragraph is long enough to be taken for the text of a page, and it
has <a href="../other?x=1">a link</a> in it, as paragraphs do.</p><p>So does the next one, which is
about <a href="https://far.test/">something else</a> and goes on for about as long.</p></article>
<footer>All rights reserved</footer></body></html>"""


async def test_a_page_becomes_its_main_text_with_links() -> None:
    """Links lead where they lead from the page; navigation and footer are left out."""
    found = await Reader().read(ARTICLE, "https://site.test/dir/page")
    assert found.title == "A title"
    assert "[a link](https://site.test/other?x=1)" in found.text
    assert "[something else](https://far.test/)" in found.text
    assert "evil" not in found.text
    assert "All rights reserved" not in found.text
    assert not found.cut


@pytest.mark.parametrize(
    "page",
    ["", " ", "<", "\0" * 100, "<html>", "<div>" * 100_000, "&#x0;\ud800", "<p>" + "x" * 10**6],
)
async def test_a_page_that_is_none_has_a_small_text_or_none(page: str) -> None:
    """Whatever comes, an answer comes back, or a refusal."""
    try:
        found = await Reader().read(page, "https://site.test/")
    except Refused:
        return
    assert len(found.text) <= 200_000


def script(tmp_path: Path, body: str) -> Path:
    path = tmp_path / "script.py"
    path.write_text(f"import sys, os, time\n{body}\n")
    return path


def alive(pid: int) -> bool:
    """Whether there is such a process, ended or not."""
    return Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    "body",
    ["time.sleep(60)", "sys.stdin.buffer.read(); time.sleep(60)", "while True: pass"],
)
async def test_a_process_that_does_not_end_is_ended(tmp_path: Path, body: str) -> None:
    """At the deadline, and nothing is left of it."""
    pid = tmp_path / "pid"
    slow = script(tmp_path, f"open({str(pid)!r}, 'w').write(str(os.getpid()))\n{body}")
    with pytest.raises(Refused, match="longer than 1 seconds"):
        await Reader(1.0, slow).read("x" * 1_000_000, "u")
    assert not alive(int(pid.read_text()))


async def test_a_cancelled_call_takes_its_process_along(tmp_path: Path) -> None:
    """At once."""
    pid = tmp_path / "pid"
    slow = script(tmp_path, f"open({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Reader(60.0, slow).read, "page", "u")
        with trio.fail_after(20):
            while not (pid.exists() and pid.read_text()):  # noqa: ASYNC110  (a file has no event)
                await trio.sleep(0.01)
        begun = trio.current_time()
        nursery.cancel_scope.cancel()
    assert trio.current_time() - begun < 1.0
    assert not alive(int(pid.read_text()))


async def test_what_a_process_says_is_bounded(tmp_path: Path) -> None:
    """It has read what a stranger wrote, and could be anything by now."""
    endless = script(tmp_path, "while True: sys.stdout.write('x' * 65536)")
    with trio.fail_after(20), pytest.raises(Refused):
        await Reader(60.0, endless).read("page", "u")


@pytest.mark.parametrize("said", ["", "nonsense", "[]", "{}", "[" * 50_000, '{"title": 1}'])
async def test_what_a_process_says_is_not_believed(tmp_path: Path, said: str) -> None:
    """Only an answer of the right form is one."""
    with pytest.raises(Refused):
        await Reader(20.0, script(tmp_path, f"print({said!r})")).read("page", "u")


async def test_a_process_gets_nothing_from_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No environment, and no argument that others could see: the URL comes like the page."""
    monkeypatch.setenv("SECRET", "x")
    told = (
        "import json; print(json.dumps({'title': repr(sys.argv[1:]) + repr('SECRET' in os.environ),"
    )
    told += " 'text': sys.stdin.read(), 'cut': False}))"
    found = await Reader(20.0, script(tmp_path, told)).read("page", "https://s.test/?key=1")
    assert found.title == "[]False"
    assert found.text == "https://s.test/?key=1\npage"


CONFINED = """
import ctypes, importlib.util, os, socket, sys
spec = importlib.util.spec_from_file_location("extract", sys.argv[1])
extract = importlib.util.module_from_spec(spec)
spec.loader.exec_module(extract)
extract.confine()
def tries(what, call, *args):
    try:
        call(*args)
    except (OSError, ValueError):
        return
    os.write(1, (what + " ").encode())
tries("open", os.open, "/etc/passwd", os.O_RDONLY)
tries("memory", os.open, f"/proc/{os.getppid()}/mem", os.O_RDONLY)
tries("socket", socket.socket, socket.AF_INET)
tries("unix", socket.socket, socket.AF_UNIX)
tries("pipe", os.pipe)
import resource
tries("raise", resource.setrlimit, resource.RLIMIT_NOFILE, (10, 10)) if os.getuid() else None
os.write(1, b"end")
"""


def test_a_process_that_has_begun_to_read_can_open_nothing() -> None:
    """Should a page take it over, it has its own memory and three pipes."""
    command = [sys.executable, "-I", "-c", CONFINED, str(SCRIPT)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "end"
