"""Why a job ended, in one word and, where it helps, one sentence.

A pure decision. What stopped the job (`cause`) is known for certain when it was the executor
itself; when the job ended by itself, the status of its main process and the kernel's own counts
say whether a limit had to do with it.
"""

from __future__ import annotations

import os
import signal

from attrs import frozen

from executor.settings import Limits

# What can end a job: itself, one of the executor's watchers, or the loss of the box.
ENDED = "ended"
TIMEOUT = "timeout"
CPU = "cpu"
OUTPUT = "output"
DISK = "disk"
UNNAMED = "unnamed"
UNMEASURED = "unmeasured"
STOPPING = "stopping"
LOST = "lost"

# A stream may be drained and thrown away for ever; a job that does this wastes two processors.
MOST_OUTPUT = 1024**3


@frozen
class Facts:
    """What is known at the end. `status` is the main process's wait(2) status, if it ended.

    `within_reach`: the job could have killed the box's first process.
    """

    cause: str
    status: int | None
    limits: Limits
    out_of_memory: bool = False
    out_of_pids: bool = False
    within_reach: bool = False


@frozen
class Verdict:
    reason: str
    code: int | None = None
    detail: str = ""


def decide(facts: Facts) -> Verdict:
    """Give the reason, the exit code or signal number, and a sentence if one is needed."""
    if facts.cause == ENDED:
        return _ended(facts)
    return _lost(facts) if facts.cause == LOST else _stopped(facts)


def _stopped(facts: Facts) -> Verdict:
    """One of the executor's own watchers ended it."""
    limits = facts.limits
    reason, detail = {
        TIMEOUT: ("timeout", f"stopped after {limits.wall_seconds:g} s" + _also(facts)),
        CPU: ("cpu", _cpu(limits)),
        DISK: ("disk", _disk(limits)),
        UNNAMED: ("disk", "the disk lost far more than the files in the workspace hold"),
        UNMEASURED: ("disk", unmeasured()),
        OUTPUT: ("output", f"stopped after {MOST_OUTPUT >> 20} MiB of output"),
        STOPPING: ("cancelled", "the executor is stopping"),
    }[facts.cause]
    return Verdict(reason, detail=detail)


def _ended(facts: Facts) -> Verdict:
    status = facts.status or 0
    if os.WIFSIGNALED(status):
        return _signalled(os.WTERMSIG(status), facts)
    return _exited(os.waitstatus_to_exitcode(status), facts)


def _lost(facts: Facts) -> Verdict:
    """The box's first process is gone without a report."""
    if facts.out_of_memory:
        return Verdict("memory", detail=_memory(facts.limits))
    if facts.within_reach:
        why = "the process that watches over the job was killed, by the job or from outside"
        return Verdict("signal", int(signal.SIGKILL), why)
    return Verdict("executor_error", detail="the box was lost while the job ran in it")


def _signalled(number: int, facts: Facts) -> Verdict:
    limits = facts.limits
    if number == signal.SIGXCPU:
        return Verdict("cpu", detail=_cpu(limits))
    if number == signal.SIGXFSZ:
        return Verdict("disk", detail=f"a file grew over {limits.file_bytes} bytes")
    if facts.out_of_memory and number == signal.SIGKILL:
        return Verdict("memory", detail=_memory(limits))
    return Verdict("signal", number)


def _exited(code: int, facts: Facts) -> Verdict:
    """A limit that was hit is the reason only if the job failed: it may well have coped."""
    if code != 0 and facts.out_of_memory:
        return Verdict("memory", code, _memory(facts.limits))
    if code != 0 and facts.out_of_pids:
        return Verdict("pids", code, _pids(facts.limits))
    return Verdict("exit", code)


def _also(facts: Facts) -> str:
    """What else a job that ran out of time had run into."""
    if facts.out_of_pids:
        return "; " + _pids(facts.limits)
    return "; " + _memory(facts.limits) if facts.out_of_memory else ""


def _memory(limits: Limits) -> str:
    return f"the job needed more than its {limits.memory_bytes >> 20} MiB of memory"


def _pids(limits: Limits) -> str:
    return f"the job needed more than its {limits.pids} processes"


def _cpu(limits: Limits) -> str:
    return f"the job used its {limits.cpu_seconds} s of processor time"


def _disk(limits: Limits) -> str:
    return f"the workspace grew over {_quota(limits)}; remove some"


def full(limits: Limits) -> str:
    """What to tell of a workspace in which nothing more can be written."""
    return f"the workspace is over {_quota(limits)}: files can be removed, none can be written"


def unmeasured() -> str:
    """What to tell of a workspace of which nobody knows how much it holds."""
    return (
        "the workspace cannot be measured, so nothing more can be written there: it has too many "
        "names, takes longer than 10 s to walk, or has a directory that cannot be read"
    )


def _quota(limits: Limits) -> str:
    return f"its {limits.workspace_bytes >> 20} MiB or {limits.workspace_files} files"
