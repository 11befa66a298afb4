"""`famulus executor probe`: try, as a job, what a job must not be able to do, and print the table.

The executor has done the same at its start and would not serve otherwise; this is for the person
who wants to see it, or has changed something on the host since.
"""

from __future__ import annotations

import contextlib
from typing import Any

import trio
from attrs import frozen

from daemon.errors import FamulusError
from executor import probe
from executor.boxes import ENVIRONMENT
from executor.client import ExecutorClient, ExecutorUnavailable, Job, Result, Status
from executor.errors import FileRefused
from executor.isolation.layer import Capability
from executor.settings import Settings

# A workspace of its own, which the probe at start uses too. It is no chat's, and so removed again.
_WORKSPACE = "probe"


@frozen
class Probed:
    """What was tried, and whether all of it held."""

    report: dict[str, Any]
    held: bool


def run(settings: Settings) -> Probed:
    """Ask the executor at `settings.socket`. Raises FamulusError if it runs no job."""
    try:
        status, result = trio.run(_ask, settings)
    except ExecutorUnavailable as error:
        raise FamulusError(error.cause, error.remedy) from error
    if result.reason != "exit" or result.code != 0:
        said = result.stderr.decode(errors="replace").strip()[-300:]
        raise FamulusError(f"the probe did not run: {result.detail or said or result.reason}", "")
    promised = frozenset(Capability(name) for name in status.capabilities)
    findings = probe.judge(probe.rows(ENVIRONMENT, status.uid), result.stdout, promised)
    return Probed(_report(status, findings), all(one.held for one in findings))


async def _ask(settings: Settings) -> tuple[Status, Result]:
    client = ExecutorClient(settings.socket)
    status = await client.status()
    code = probe.code(f"{settings.workspaces}/.canary", settings.workspaces)
    result = await client.run(Job("python", code, _WORKSPACE))
    with contextlib.suppress(FileRefused):  # another probe was quicker
        await client.files(_WORKSPACE).discard()
    return status, result


def _report(status: Status, findings: tuple[probe.Finding, ...]) -> dict[str, Any]:
    held = sum(one.held for one in findings)
    return {
        "layers": list(status.layers),
        "versions": dict(status.versions),
        "held": f"{held} of {len(findings)}",
        "probe": [
            {
                "tried": one.row.name,
                "for": one.row.promise.value if one.row.promise else "-",
                "found": one.outcome,
                "is": "held" if one.held else "NOT HELD",
            }
            for one in findings
        ],
    }
