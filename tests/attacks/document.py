"""docs/attacks.md as text: the table of `expected.py`, its reasons, the tests that show it."""

from __future__ import annotations

import platform
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from executor.inside import landlock
from tests.attacks import names, needs
from tests.attacks.expected import LINES, Line
from tests.attacks.stacks import ALL

PATH = Path(__file__).resolve().parent.parent.parent / "docs" / "attacks.md"
# What may be another on each machine: one line, all from a heading on, and a remark on a test.
VERSIONS = "Written on "
SEEN = "## What a job got"
SKIPPED = " (skipped: "

_HEAD = """\
# Attacks

What hostile code has tried in a job of the executor, on each stack of layers, with a cgroup and
without. `python -m tests.attacks` writes this file from `tests/attacks/expected.py`; the tests are
parametrised by the same table, so a line says what a test has seen, but where the machine that this
was written on lacked something: those tests say *skipped* below, and stacks that it could not have
are named.

- **held**: the attack comes to nothing.
- **refused**: what it needs is denied to honest code as well, or the executor does not start.
- **not covered**: this stack does nothing about it. The reasons are below the table.

All stacks have `seccomp`, `rlimit` and `subreaper` besides. The default, `stack = "auto"`, is
namespaces, with a cgroup where one is to be had.

"""

_SEEN = """

A job tried to read the configuration, environment and sockets of two daemons: one under the
executor's own uid, one under another. None was reached; this is what the job was told.

"""


def versions(absent: Sequence[str] = ()) -> str:
    """The line that says what it was written on, and which stacks were `absent` there."""
    firejail = _first_line("firejail", "--version").removeprefix("firejail version ")
    python = _first_line("/usr/bin/python3", "--version").removeprefix("Python ")
    cgroup = "v2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "v1"
    kernel = upstream(platform.release())
    lacked = f" It could not have {', '.join(absent)}." if absent else ""
    return (
        f"{VERSIONS}Linux {kernel} ({platform.machine()}), cgroup {cgroup}, "
        f"landlock ABI {landlock.abi()}, firejail {firejail or 'not installed'}, "
        f"Python {python} for jobs and {platform.python_version()} for the executor.{lacked}"
    )


def upstream(release: str) -> str:
    """The version of the kernel as its makers number it, without what a distributor adds."""
    found = re.match(r"\d+\.\d+", release)
    return found[0] if found else "unknown"


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.splitlines()[0].strip()


def text(absent: Sequence[str] = ()) -> str:
    """The file as far as it is the same on every machine, but for `versions` and `skipped`."""
    reasons = _reasons()
    parts = [_HEAD, versions(absent), "\n\n", *_table(reasons), "\n## Reasons\n\n"]
    parts += [f"{number}. {why}\n" for why, number in reasons.items()]
    parts += ["\n## Tests\n\n", *_tests()]
    return "".join(parts)


def seen(by_stack: Mapping[str, Mapping[str, str]]) -> str:
    """The part about what a job got: for each stack, what was tried and what came of it."""
    tried = dict.fromkeys(what for outcomes in by_stack.values() for what in outcomes)
    rows = [f"| | {' | '.join(by_stack)} |\n", f"|---|{'---|' * len(by_stack)}\n"]
    for what in tried:
        cells = [outcomes.get(what, "") for outcomes in by_stack.values()]
        rows.append(f"| {what} | {' | '.join(cells)} |\n")
    return "".join(["\n", SEEN, _SEEN, *rows])


def _reasons() -> dict[str, int]:
    """Number the reasons in the order in which the table comes upon them."""
    found = (line.of(stack).why for line in LINES for stack in ALL)
    return {why: number for number, why in enumerate(dict.fromkeys(filter(None, found)), 1)}


def _table(reasons: dict[str, int]) -> Iterator[str]:
    yield f"| | attack | {' | '.join(stack.name for stack in ALL)} |\n"
    yield f"|---|---|{'---|' * len(ALL)}\n"
    for line in LINES:
        cells = [_cell(line, number, reasons) for number in range(len(ALL))]
        yield f"| {line.number} | {line.attack} | {' | '.join(cells)} |\n"


def _cell(line: Line, column: int, reasons: dict[str, int]) -> str:
    expected = line.of(ALL[column])
    return f"{expected.word} ({reasons[expected.why]})" if expected.why else expected.word


def _tests() -> Iterator[str]:
    shown = names.all_shown()
    for line in LINES:
        for one in shown:
            if line.number in one.numbers:
                yield f"- {line.number} {one.word}: `{one.file}::{one.name}`{skipped(one.needs)}\n"


def skipped(need: str) -> str:
    """What is said of a test that this machine skips, after its name."""
    lacking = needs.lacking(need)
    return f"{SKIPPED}{lacking})" if lacking else ""
