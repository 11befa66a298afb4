"""`python_execute` and `bash`: code, in the executor's sandbox.

Nothing is run here. A call becomes a job over the executor's socket; cancelling the call closes
the connection, and that kills the job. When no job can be run, the model is told why, so that it
can tell the person.
"""

from __future__ import annotations

from typing import Annotated

from agent.tools.registry import Kind, Tool, ToolError, tool
from executor.client import ExecutorClient, ExecutorUnavailable, Job, Result

ENDINGS = {
    "timeout": "It was stopped at its time limit.",
    "cpu": "It was stopped: it used up its CPU time.",
    "memory": "It was stopped: it used up its memory.",
    "pids": "It was stopped: it started too many processes.",
    "output": "It was stopped: it wrote too much.",
    "disk": "It was stopped: it filled its disk space.",
    "cancelled": "It was cancelled.",
}


def code_tools(executor: ExecutorClient, workspace: str) -> list[Tool]:
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


async def _run(executor: ExecutorClient, job: Job) -> str:
    try:
        result = await executor.run(job)
    except ExecutorUnavailable as error:
        raise ToolError(f"code cannot be run here: {error}") from error
    text = describe(result)
    if result.reason != "exit" or result.code != 0:
        raise ToolError(text)
    return text


def describe(result: Result) -> str:
    """A job's result as text for the model: its output, its errors, and how it ended."""
    output = result.stdout.decode("utf-8", "replace").rstrip()
    errors = result.stderr.decode("utf-8", "replace").rstrip()
    parts = [output, f"[stderr]\n{errors}" if errors else "", ending(result)]
    return "\n".join(part for part in parts if part) or "(no output)"


def ending(result: Result) -> str:
    """How the job ended, in a sentence; '' for success."""
    match result.reason:
        case "exit":
            return f"[exit code {result.code}]" if result.code else ""
        case "signal":
            return f"[killed by signal {result.code}]"
        case "denied" | "executor_error":
            return f"[not run properly: {result.detail}]"
        case reason:
            return f"[{ENDINGS.get(reason, reason)} {result.detail}".rstrip() + "]"
