"""Write docs/attacks.md: `python -m tests.attacks`. Runs one job on each stack, for what it got."""

from __future__ import annotations

import sys
from functools import partial

import pytest
import trio

from tests.attacks import canaries as canary_daemons
from tests.attacks import document, reads
from tests.attacks.canaries import Canaries
from tests.attacks.stacks import ALL, Stack, Targets


def main() -> None:
    targets = Targets()
    try:
        with canary_daemons.started() as canaries:
            seen = {stack.name: _outcomes(targets, stack, canaries) for stack in ALL}
    finally:
        targets.close()
    document.PATH.parent.mkdir(exist_ok=True)
    absent = [name for name, outcomes in seen.items() if not outcomes]
    document.PATH.write_text(document.text(absent) + document.seen(seen))
    sys.stdout.write(f"{document.PATH} is written.\n")


def _outcomes(targets: Targets, stack: Stack, canaries: Canaries) -> dict[str, str]:
    """Run the job; nothing where this host cannot have the stack."""
    try:
        target = targets.get(stack)
    except pytest.skip.Exception:
        return {}
    result = trio.run(partial(target.python, reads.code(canaries)))
    canaries.assert_unharmed(result.stdout, result.stderr)
    return reads.outcomes(result.stdout)


if __name__ == "__main__":
    main()
