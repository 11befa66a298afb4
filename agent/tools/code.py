"""`python_execute` and `bash`: code, in the executor's sandbox.

Nothing is run here. A call becomes a job over the executor's socket; cancelling the call closes
the connection, and that kills the job. When no job can be run, the model is told why, so that it
can tell the person.
"""

from __future__ import annotations

from typing import Annotated, Protocol

from agent.tools.registry import Kind, Tool, ToolError, tool
from executor.client import ExecutorUnavailable, Job, Result

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


class Runner(Protocol):
    """Whatever runs jobs: `executor.client.ExecutorClient`, or a host's own way to it."""

    async def run(self, job: Job) -> Result: ...


def code_tools(executor: Runner, workspace: str) -> list[Tool]:
    """The tools that run code in `workspace`, which belongs to one agent in one chat."""

    @tool(kind=Kind.SANDBOXED)
    async def python_execute(
        code: Annotated[str, "A Python 3 program; print what you need"],
    ) -> str:
        """Run a Python program in the sandbox and return what it printed.

        It starts afresh each time; files in the working directory stay.
        """
        return await _run(executor, Job("python", code, workspace))

    @tool(kind=Kind.SANDBOXED)
    async def bash(command: Annotated[str, "A bash script"]) -> str:
        """Run a bash script in the sandbox and return what it printed."""
        return await _run(executor, Job("bash", command, workspace))

    return [python_execute, bash]


async def _run(executor: Runner, job: Job) -> str:
    try:
        result = await executor.run(job)
    except ExecutorUnavailable as error:
        raise ToolError(f"code cannot be run here: {error}") from error
    if ending(result):
        raise ToolError(describe(result))
    return describe(result)


def describe(result: Result) -> str:
    """A job's result as text for the model: how it ended if not well, its output, its errors."""
    output = result.stdout.decode("utf-8", "replace").rstrip()
    errors = result.stderr.decode("utf-8", "replace").rstrip()
    parts = [ending(result), output, f"[stderr]\n{errors}" if errors else ""]
    return "\n".join(part for part in parts if part) or "(no output)"


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
