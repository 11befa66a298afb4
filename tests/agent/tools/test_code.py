"""The tools that run code, over a real socket to an executor that is not there, or not one."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from attrs import Factory, define, evolve

from agent.ports import OutFile, ToolOutcome
from agent.tools.code import LOST, code_tools, describe, patterns, too_large, unsent
from agent.tools.registry import Registry
from agent.transcript import CallRequest
from executor import messages, protocol
from executor.artifacts import collect
from executor.beneath import Beneath
from executor.client import ExecutorClient, Job, Limits, Result
from executor.messages import Artifact, Skipped
from executor.protocol import Frame, FrameType
from executor.wire import FrameStream

TABLE = Artifact("out/t.csv", b"1,2")


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (Result("exit", 0, b"out\n"), "out"),
        (Result("exit", 0, b"  indented\n\n", b"warning\n"), "  indented\n[stderr]\nwarning"),
        (Result("exit", 0), "(no output)"),
        (Result("exit", 3), "exit code 3"),
        (Result("exit", 1, b"a", b"b"), "exit code 1\na\n[stderr]\nb"),
        (Result("signal", 11, b"a"), "killed by signal 11\na"),
        (Result("timeout", None, b"so far"), "stopped at its time limit\nso far"),
        (Result("memory", None, detail="512 MB"), "stopped: it used up its memory: 512 MB"),
        (Result("denied", None, detail="the code is too long"), "not run: the code is too long"),
        (
            Result("executor_error", None, b"a", detail="it hung up"),
            "the executor failed: it hung up\na",
        ),
        (Result("exit", 0, b"\xff\xfe ok"), "\ufffd\ufffd ok"),
        (
            Result("exit", 0, b"a", artifacts=(Artifact(".plots/plot-1.png", b""), TABLE)),
            "a",
        ),
        (
            Result("exit", 0, skipped=(Skipped("a.bin", "it has 60 MB"), Skipped("b", "a link"))),
            "(no output)\n[not sent: a.bin: it has 60 MB]\n[not sent: b: a link]",
        ),
        (Result("exit", 0, b"a", session="lost"), f"a\n{LOST}"),
        (Result("exit", 0, b"a", session="new"), "a"),
    ],
)
def test_a_result_says_how_the_job_ended(result: Result, text: str) -> None:
    """First what went wrong, then what was written."""
    assert describe(result) == text


def test_what_is_too_large_is_for_people_to_know() -> None:
    """They wait for it. What the model has named wrongly is between the model and the job."""
    skipped = (
        Skipped("out/a.zip", "out/a.zip has 60 bytes, more than 40"),
        Skipped("b", "over the limit of 20 files"),
        Skipped("c", "nothing matches"),
    )
    result = Result("exit", 0, b"a", skipped=skipped)
    assert describe(result) == "a\n[not sent: c: nothing matches]"
    told = [unsent(each) for each in too_large(result)]
    assert [each.name for each in told] == ["a.zip", "b"]
    assert all("split it" in each.why for each in told)


def test_the_executor_says_what_is_too_large_in_words_that_are_known(tmp_path: Path) -> None:
    """Which are all that crosses its socket."""
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(bytes(60))
    limits = Limits(artifact_bytes=70, artifact_files=1)
    for most in (limits, evolve(limits, artifact_files=20)):
        with Beneath.at(str(tmp_path)) as beneath:
            _, skipped = collect(beneath, ("?",), most)
        assert len(too_large(Result("exit", 0, skipped=tuple(skipped)))) == 2


@pytest.mark.parametrize("reason", messages.REASONS)
def test_every_ending_has_words(reason: str) -> None:
    """None is shown by its bare name but those that are words."""
    assert reason not in describe(Result(reason, 1, detail="why")).split()[0] or reason == "exit"


async def run(path: Path, name: str = "python_execute", code: str = "print(1)") -> ToolOutcome:
    registry = Registry.of(code_tools(ExecutorClient(str(path)), "agent-chat", "talk"))
    key = "code" if name == "python_execute" else "command"
    return await registry.run(CallRequest("x", name, f'{{"{key}": "{code}"}}'))


async def test_without_an_executor_the_model_is_told_why(tmp_path: Path) -> None:
    """Cause and remedy, in words that it can pass on."""
    outcome = await run(tmp_path / "none.sock")
    assert outcome.failed
    assert outcome.text.startswith("Error: code cannot be run here: no executor listens at ")
    assert "famulus executor" in outcome.text


Handler = Callable[[FrameStream, trio.SocketStream], Awaitable[None]]


@asynccontextmanager
async def executor(path: Path, handle: Handler) -> AsyncIterator[None]:
    """A socket that answers each connection by `handle`."""
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        bound.listen()
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(bound))

        async def connection(stream: trio.SocketStream) -> None:
            async with stream:
                await handle(FrameStream(stream), stream)

        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, connection, [listener])
            yield
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("name", "language"), [("python_execute", "python"), ("bash", "bash")])
async def test_a_call_is_a_job_in_the_chats_workspace(
    tmp_path: Path, name: str, language: str
) -> None:
    """The code goes as it was written; what it printed comes back."""
    jobs = []

    async def handle(frames: FrameStream, _stream: trio.SocketStream) -> None:
        frame = await frames.receive()
        assert frame is not None
        jobs.append(messages.parse_job(protocol.control_values(frame)))
        started = messages.started_to_json(messages.Started(("rlimit",)))
        await frames.send(protocol.control(FrameType.STARTED, started))
        await frames.send(Frame(FrameType.STDOUT, b"hello\n"))
        result = messages.result_to_json(Result("exit", 0))
        await frames.send(protocol.control(FrameType.RESULT, result))

    async with executor(tmp_path / "s", handle):
        assert await run(tmp_path / "s", name, "the code") == ToolOutcome("hello")
    session = "talk" if language == "python" else ""
    assert jobs == [messages.Job(language, "the code", "agent-chat", session=session)]


async def test_cancelling_a_call_closes_the_connection(tmp_path: Path) -> None:
    """That is what kills the job."""
    begun, closed = trio.Event(), trio.Event()

    async def handle(frames: FrameStream, stream: trio.SocketStream) -> None:
        await frames.receive()
        begun.set()
        assert await stream.receive_some() == b""
        closed.set()

    async with executor(tmp_path / "s", handle):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, tmp_path / "s")
            await begun.wait()
            nursery.cancel_scope.cancel()
        with trio.fail_after(20):
            await closed.wait()


async def test_an_executor_that_hangs_up_is_named(tmp_path: Path) -> None:
    """Before the job began it is an executor that is not there; after, a job that may have run."""

    async def hang_up(frames: FrameStream, _stream: trio.SocketStream) -> None:
        await frames.receive()

    async def hang_up_later(frames: FrameStream, _stream: trio.SocketStream) -> None:
        await frames.receive()
        started = messages.started_to_json(messages.Started(()))
        await frames.send(protocol.control(FrameType.STARTED, started))

    async with executor(tmp_path / "a", hang_up):
        assert "code cannot be run here" in (await run(tmp_path / "a")).text
    async with executor(tmp_path / "b", hang_up_later):
        outcome = await run(tmp_path / "b")
    assert outcome.failed
    assert outcome.text.startswith("Error: the executor failed: ")


@define
class Gives:
    """An executor that notes its jobs and gives one result."""

    result: Result
    jobs: list[Job] = Factory(list)

    async def run(self, job: Job) -> Result:
        await trio.lowlevel.checkpoint()
        self.jobs.append(job)
        return self.result


async def called(executor: Gives, name: str, **arguments: object) -> ToolOutcome:
    registry = Registry.of(code_tools(executor, "agent-chat", "talk"))
    return await registry.run(CallRequest("x", name, json.dumps(arguments)))


@pytest.mark.parametrize(
    ("name", "arguments", "session", "artifacts"),
    [
        ("python_execute", {"code": "x"}, "talk", ()),
        ("python_execute", {"code": "x", "fresh": None, "files": None}, "talk", ()),
        ("python_execute", {"code": "x", "fresh": False, "files": ""}, "talk", ()),
        ("python_execute", {"code": "x", "fresh": True, "files": "a.txt"}, "", ("a.txt",)),
        ("bash", {"command": "x", "files": "a b.txt, ./out/*.csv,,a b.txt"}, "", None),
    ],
)
async def test_sessions_and_files_of_a_job(
    name: str, arguments: dict[str, object], session: str, artifacts: tuple[str, ...] | None
) -> None:
    """Python lives on unless it is to be fresh; bash has no variables to keep."""
    executor = Gives(Result("exit", 0))
    assert not (await called(executor, name, **arguments)).failed
    (job,) = executor.jobs
    assert (job.session, job.workspace) == (session, "agent-chat")
    assert job.artifacts == (("a b.txt", "out/*.csv") if artifacts is None else artifacts)


async def test_files_come_with_the_outcome_of_a_job_that_failed_too() -> None:
    """A plot that was shown before the crash was shown; its directory is not part of its name."""
    result = Result("exit", 1, b"a", artifacts=(Artifact(".plots/plot-1.png", b"png"),))
    outcome = await called(Gives(result), "python_execute", code="x")
    assert outcome == ToolOutcome(
        "Error: exit code 1\na",
        failed=True,
        files=(OutFile("plot-1.png", b"png"),),
    )


@pytest.mark.parametrize(
    ("files", "names"), [(None, ()), (" , ", ()), ("a,b", ("a", "b")), ("./a, a", ("a",))]
)
def test_names_are_read_from_a_list(files: str | None, names: tuple[str, ...]) -> None:
    """As models write them."""
    assert patterns(files) == names
