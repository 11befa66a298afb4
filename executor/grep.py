"""Searching in files, as a job: a regular expression can run for ever, so it runs in a box.

`grep_job` gives the Python code of such a job, `parse` reads what it prints. The code is our own
and still proves nothing: it runs where hostile code runs, so every field is checked.
"""

from __future__ import annotations

import json
from pathlib import Path

from attrs import frozen

from executor import globs
from executor.errors import FileRefused

MOST_MATCHES = 200


@frozen
class Match:
    """A line (from 1) of a file in which the pattern was found; long lines are cut."""

    path: str
    line: int
    text: str


@frozen
class Matches:
    """What was found; `cut` if there was more, `looked_at` are files."""

    matches: tuple[Match, ...]
    cut: bool
    looked_at: int


_CODE = r"""
import json, os
glob, pattern, top, flags, most = json.loads(bytes.fromhex("%s"))
def say(**values):
    print(json.dumps(values))
def end(**values):
    say(**values)
    raise SystemExit
shown = ascii(top)
if top.startswith("/") or ".." in top.split("/"):
    end(error=shown + " is not in the workspace", remedy="give a path relative to it")
if os.path.islink(top):
    end(error=shown + " is a symbolic link", remedy="name what it points to")
if not os.path.lexists(top):
    end(error=shown + " does not exist", remedy="list the directory to see what there is")
try:
    matcher = Glob(glob)
except ValueError as error:
    end(error="%%s: %%s" %% (ascii(glob), error), remedy="")
try:
    wanted = re.compile(pattern.encode("utf-8", "surrogateescape"), flags)
except (re.error, ValueError, OverflowError, RecursionError) as error:
    end(error="the pattern is no regular expression: %%s" %% error, remedy="correct it")
count = looked = size = 0
def search(path):
    global count, looked, size
    with open(path, "rb") as file:
        if b"\0" in file.read(4096):
            return
        file.seek(0)
        looked += 1
        for number, line in enumerate(file, 1):
            if not wanted.search(line.rstrip(b"\r\n")):
                continue
            text = line.rstrip(b"\r\n")[:400].decode("utf-8", "replace")
            found = {"path": path, "line": number, "text": text}
            size += len(json.dumps(found))
            if count == most or size > 400000:
                end(end=True, cut=True, looked_at=looked)
            count += 1
            say(**found)
def below(directory):
    pending = [(directory, matcher.begin())]
    while pending:
        here, state = pending.pop()
        try:
            entries = sorted(os.scandir(here), key=lambda one: one.name)
        except OSError:
            continue
        within = [(one, matcher.step(state, one.name)) for one in entries]
        for one, state in within:
            if matcher.matches(state) and one.is_file(follow_symlinks=False):
                yield os.path.normpath(one.path)
        pending += [(one.path, state) for one, state in reversed(within)
                    if state and one.is_dir(follow_symlinks=False)]
for path in [top] if os.path.isfile(top) else below(top):
    try:
        search(path)
    except OSError:
        continue
end(end=True, cut=False, looked_at=looked)
"""
_MATCHER = Path(globs.__file__)


def grep_job(
    pattern: str,
    glob: str = "",
    path: str = ".",
    *,
    ignore_case: bool = False,
    most: int = MOST_MATCHES,
) -> str:
    """Give code for `Job("python", ...)` that looks for a regular expression line by line.

    `glob` chooses files below `path` as `FileClient.glob` does, or by name alone if it has no
    slash. Hidden files that it does not ask for, binary ones and links are passed over.
    """
    chosen = glob if "/" in glob else f"**/{glob}"
    flags = 2 if ignore_case else 0  # re.IGNORECASE
    # In hexadecimal digits: a pattern that speaks of numpy is no code that wants it loaded.
    values = json.dumps([chosen, pattern, path or ".", flags, most]).encode().hex()
    return _MATCHER.read_text() + _CODE % values


def parse(printed: bytes) -> Matches:
    """Read what the job printed. Raises FileRefused for a pattern that is none, or no answer."""
    matches: list[Match] = []
    for line in printed.splitlines():
        values = _values(line)
        if "error" in values:
            raise FileRefused(str(values["error"]), str(values.get("remedy")))
        if "end" in values:
            looked_at = values.get("looked_at")
            cut = values.get("cut") is True
            return Matches(tuple(matches), cut, looked_at if isinstance(looked_at, int) else 0)
        matches.append(_match(values))
    raise FileRefused("the search did not come to its end", "search in fewer files")


def _values(line: bytes) -> dict[str, object]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise FileRefused("the search printed what is none of its answers", "try again")
    return values


def _match(values: dict[str, object]) -> Match:
    path, line, text = (values.get(name) for name in ("path", "line", "text"))
    if not isinstance(path, str) or not isinstance(text, str) or type(line) is not int:
        raise FileRefused("the search printed what is none of its answers", "try again")
    return Match(path, line, text)
