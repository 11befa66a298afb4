"""`python_execute` and `bash`: code, in the executor's sandbox.

Nothing is run here. A call becomes a job over the executor's socket; cancelling the call closes
the connection, and that kills the job. When no job can be run, the model is told why, so that it
can tell the person. Pictures and files that a job gives back go to the chat with the tool's result;
what became of each is for the host to say, which looks at the bytes and keeps them.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Protocol

from agent.ports import OutFile, ToolOutcome, Unsent
from agent.tools.files import SMALLER
from agent.tools.registry import WORKSPACE, Kind, Tool, ToolError, tool
from executor.client import ExecutorUnavailable, Job, Result, Skipped

ENDINGS = {
    "timeout": "stopped at its time limit",
    "cpu": "stopped: it used up its CPU time",
    "memory": "stopped: it used up its memory",
    "pids": "stopped: it started too many processes",
    "output": "stopped: it wrote too much",
    "disk": "stopped: it filled its disk space",
    "cancelled": "stopped: it was cancelled",
    "denied": "not run",
    "executor_error": "the executor failed",
}

LOST = (
    "[the variables of earlier calls are gone: this call began without them; import and compute"
    " again what is needed]"
)

FILES = "Names or globs of files in the working directory to send to the chat afterwards, by commas"


# What a package calls itself is not ours to trust: every name and version is checked when read.
INVENTORY = """\
import importlib.metadata, platform
print(platform.python_version(), platform.machine())
for each in importlib.metadata.distributions():
    print(each.metadata["Name"], each.version)
"""
# How the executor says that a file passes its limits.
_OVER = re.compile(r" bytes, more than |\bover the limit\b")
_PACKAGE = re.compile(r"[\w.-]{1,100} [\w.+!-]{1,60}")
MOST_PACKAGES = 50


class Runner(Protocol):
    """Whatever runs jobs: `executor.client.ExecutorClient`, or a host's own way to it."""

    async def run(self, job: Job) -> Result: ...


def code_tools(executor: Runner, workspace: str, session: str) -> list[Tool]:
    """The tools that run code in `workspace`, which belongs to one agent in one chat.

    `session` is the key of the conversation, whose Python variables live on between calls.
    """

    @tool(kind=Kind.SANDBOXED, queue=WORKSPACE)
    async def python_execute(
        code: Annotated[str, "A Python 3 program; print what you need"],
        fresh: Annotated[bool | None, "true: run it on its own, without the variables"] = None,
        files: Annotated[str | None, FILES] = None,
    ) -> ToolOutcome:
        """Run a Python program in the sandbox and return what it printed.

        Variables, functions and imports live on until the next call of this conversation, and
        files in the working directory stay. A call that crashes or is stopped at a limit loses
        its own changes to the variables, and nothing else. What matplotlib draws is sent to the
        chat as a picture by plt.show(); other files are sent if they are named in `files`.
        """
        kept = "" if fresh else session
        job = Job("python", code, workspace, session=kept, artifacts=patterns(files))
        return await _run(executor, job)

    @tool(kind=Kind.SANDBOXED, queue=WORKSPACE)
    async def bash(
        command: Annotated[str, "A bash script"],
        files: Annotated[str | None, FILES] = None,
    ) -> ToolOutcome:
        """Run a bash script in the sandbox and return what it printed.

        Files in the working directory stay. Those named in `files` are sent to the chat.
        """
        return await _run(executor, Job("bash", command, workspace, artifacts=patterns(files)))

    @tool(kind=Kind.READ, queue=WORKSPACE)
    async def python_environment_info(
        prefix: Annotated[str | None, "Only packages whose name begins so"] = None,
        limit: Annotated[int | None, "How many, 50 by default"] = None,
    ) -> str:
        """Tell the sandbox's Python and its packages, with versions."""
        outcome = await _run(executor, Job("python", INVENTORY, workspace))
        if outcome.failed:
            raise ToolError(outcome.text.removeprefix("Error: "))
        return inventory(outcome.text, prefix or "", max(1, limit or MOST_PACKAGES))

    return [python_execute, bash, python_environment_info]


def patterns(files: str | None) -> tuple[str, ...]:
    """The names and globs in a list by commas, without a leading `./`; a model writes both."""
    named = (name.strip().removeprefix("./") for name in (files or "").split(","))
    return tuple(dict.fromkeys(name for name in named if name))


def inventory(text: str, prefix: str, limit: int) -> str:
    """What INVENTORY printed, for the model: the packages that are wanted, by name."""
    first, *lines = text.splitlines() or ["unknown"]
    packages = sorted({line for line in lines if _PACKAGE.fullmatch(line)}, key=str.casefold)
    wanted = [line for line in packages if line.casefold().startswith(prefix.casefold())]
    more = [f"[{len(wanted) - limit} more; use a prefix]"] if len(wanted) > limit else []
    return "\n".join([f"Python {first}", *(wanted[:limit] or ["(no such package)"]), *more])


async def _run(executor: Runner, job: Job) -> ToolOutcome:
    try:
        result = await executor.run(job)
    except ExecutorUnavailable as error:
        raise ToolError(f"code cannot be run here: {error}") from error
    failed = bool(ending(result))
    text = f"Error: {describe(result)}" if failed else describe(result)
    files = tuple(OutFile(shown_name(each.name), each.data) for each in result.artifacts)
    return ToolOutcome(text, failed, files, unsent=tuple(map(unsent, too_large(result))))


def describe(result: Result) -> str:
    """A job's result as text for the model.

    How it ended if not well, its output, its errors, and what became of variables and of files that
    it could not give back, but for those that are too large.
    """
    output = result.stdout.decode("utf-8", "replace").rstrip()
    errors = result.stderr.decode("utf-8", "replace").rstrip()
    written = [ending(result), output, f"[stderr]\n{errors}" if errors else ""]
    said = [part for part in written if part] or ["(no output)"]
    return "\n".join([*said, *_notes(result)])


def too_large(result: Result) -> list[Skipped]:
    """Files that are there, and more than a job can give back: people wait for them."""
    return [each for each in result.skipped if _OVER.search(each.why)]


def unsent(skipped: Skipped) -> Unsent:
    return Unsent(shown_name(skipped.name), f"{skipped.why}; {SMALLER}")


def _notes(result: Result) -> list[str]:
    large = too_large(result)
    others = [each for each in result.skipped if each not in large]
    skipped = [f"[not sent: {each.name}: {each.why}]" for each in others]
    lost = [LOST] if result.session == "lost" else []
    return [*lost, *skipped]


def shown_name(name: str) -> str:
    """The last part of a path in the workspace: the directories are nobody's business."""
    return PurePosixPath(name).name or "file"


def ending(result: Result) -> str:
    """How the job ended, in a few words; '' if it ended well."""
    match result.reason:
        case "exit":
            return f"exit code {result.code}" if result.code else ""
        case "signal":
            return f"killed by signal {result.code}"
        case reason:
            how = ENDINGS.get(reason, reason)
            return f"{how}: {result.detail}" if result.detail else how
