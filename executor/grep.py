"""Searching in files, as a job: a regular expression can run for ever, so it runs in a box.

`grep_job` gives the Python code of such a job, `parse` reads what it prints. The code is our own
and still proves nothing: it runs where hostile code runs, so every field is checked.
"""

from __future__ import annotations

import json

from attrs import frozen

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
import fnmatch, json, os, re, sys
pattern, glob, top, flags, most = json.loads(%r)
out = sys.stdout
def said(values):
    out.write(json.dumps(values) + "\n")
try:
    wanted = re.compile(pattern.encode("utf-8", "surrogateescape"), flags)
except re.error as error:
    said({"error": "the pattern is no regular expression: %%s" %% error})
    sys.exit(0)
def fits(path):
    if not glob:
        return True
    return fnmatch.fnmatchcase(path if "/" in glob else os.path.basename(path), glob)
count = looked = size = 0
def files():
    if os.path.isfile(top):
        yield top
        return
    for here, names, found in os.walk(top):
        names[:] = sorted(one for one in names if not one.startswith("."))
        for name in sorted(found):
            path = os.path.normpath(os.path.join(here, name))
            if not name.startswith(".") and fits(os.path.relpath(path, ".")):
                yield path
for path in files():
    if os.path.islink(path) or not os.path.isfile(path):
        continue
    try:
        with open(path, "rb") as file:
            if b"\0" in file.read(4096):
                continue
            file.seek(0)
            looked += 1
            for number, line in enumerate(file, 1):
                if wanted.search(line.rstrip(b"\r\n")):
                    text = line.rstrip(b"\r\n")[:400].decode("utf-8", "replace")
                    shown = {"path": path, "line": number, "text": text}
                    size += len(json.dumps(shown))
                    if count == most or size > 400000:
                        said({"end": True, "cut": True, "looked_at": looked})
                        sys.exit(0)
                    count += 1
                    said(shown)
    except OSError:
        continue
said({"end": True, "cut": False, "looked_at": looked})
"""


def grep_job(
    pattern: str,
    glob: str = "",
    path: str = ".",
    *,
    ignore_case: bool = False,
    most: int = MOST_MATCHES,
) -> str:
    """Give code for `Job("python", ...)` that looks for a regular expression line by line.

    `glob` chooses files by name, or by path if it has a slash. Hidden files, binary ones and
    links are passed over.
    """
    flags = 2 if ignore_case else 0  # re.IGNORECASE
    return _CODE % json.dumps([pattern, glob, path, flags, most])


def parse(printed: bytes) -> Matches:
    """Read what the job printed. Raises FileRefused for a pattern that is none, or no answer."""
    matches: list[Match] = []
    for line in printed.splitlines():
        values = _values(line)
        if "error" in values:
            raise FileRefused(str(values["error"]), "correct the pattern")
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
