"""What a job may see besides the system's own: an interpreter's files, and the owner's skills.

An interpreter outside of /usr needs its own directory in every box, and so does what it links to.
Such a *prefix* is known by the landmarks that CPython itself goes by. One that holds more than an
interpreter is refused: /home/alice, for a `python -m venv ~`, would be open to every job.
"""

from __future__ import annotations

import functools
import os
import pwd
import shutil
from collections.abc import Iterable
from pathlib import Path

from executor import place
from executor.isolation.stack import Refused
from executor.settings import Settings

_REMEDY = (
    "set [executor] python to one that every account can run, such as /usr/bin/python3, or to one "
    "in a virtual environment with a directory of its own"
)

_ELSEWHERE = "choose a directory that holds skills and nothing else"


@functools.cache
def prefixes(python: str) -> tuple[str, ...]:
    """The directories, besides /usr, that hold the library or the packages of an interpreter."""
    found = {os.path.dirname(os.path.dirname(path)) for path in (python, os.path.realpath(python))}
    found = {path for path in found if path != "/" and not _in(path, "/usr")}
    return tuple(sorted(path for path in found if _is_prefix(path)))


def check(python: str, user: str, workspaces: str) -> None:
    """Raise Refused where the jobs' account cannot run it, or jobs would see more with it."""
    if shutil.which(python) is None or not os.path.isabs(python):
        closed = place.closed_to_us(python) or place.closed_to_us(os.path.realpath(python))
        why = f"{closed} is closed to it" if closed else "there is no such program"
        raise Refused(f"{user} cannot run the interpreter {python}: {why}", _REMEDY)
    for prefix in prefixes(python):
        if _in(prefix, workspaces):
            raise Refused(f"the interpreter {python} is within the reach of jobs", _REMEDY)
        if inside := first_in(prefix, (workspaces, *_homes())):
            why = f"{inside} would be open to every job"
            raise Refused(f"with the interpreter {python} of {prefix}, {why}", _REMEDY)


def skills(settings: Settings) -> tuple[str, ...]:
    """The directory of skills, for jobs to read, while there is one."""
    path = settings.skills
    return (os.path.normpath(path),) if path and os.path.isdir(path) else ()


def check_skills(settings: Settings, user: str) -> None:
    """Raise Refused where the directory of skills is none, or would show jobs more than that."""
    path = os.path.normpath(settings.skills) if settings.skills else ""
    if not path:
        return
    named = f"[executor] skills {path}"
    if not os.access(path, os.R_OK | os.X_OK):
        raise Refused(f"{named} is no directory that {user} can read", f"chmod -R a+rX {path}")
    if os.path.realpath(path) != path:
        raise Refused(f"{named} is a link, or below one", "name the directory itself")
    if inside := first_in(path, (settings.workspaces, *_homes())):
        raise Refused(f"with {named}, {inside} would be open to jobs", _ELSEWHERE)
    if _in(path, settings.workspaces):
        raise Refused(f"{named} is within the reach of jobs", _ELSEWHERE)


def first_in(prefix: str, closed: Iterable[str]) -> str:
    """Give the first of these directories that is `prefix` or in it; else ''."""
    return next((path for path in closed if _in(path, prefix)), "")


def _homes() -> list[str]:
    """Of people, and of the daemon, whose state is in there. /nonexistent is nobody's."""
    homes = sorted({entry.pw_dir for entry in pwd.getpwall()})
    return [home for home in homes if os.path.isabs(home) and os.path.isdir(home)]


def _is_prefix(path: str) -> bool:
    top = Path(path)
    return (top / "pyvenv.cfg").is_file() or any(top.glob("lib/python3.*/os.py"))


def _in(path: str, top: str) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(top))
