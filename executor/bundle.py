"""The trusted code for the zygotes, and the command lines that get it going.

The interpreter that runs the jobs may be another Python than ours, installed elsewhere, and may
have no way to our files. So it is started on a line of code that reads the rest, as text, from
descriptor 4. `-I` keeps the workspace and the environment out of the interpreter.
"""

from __future__ import annotations

import marshal
import os
from pathlib import Path

_INSIDE = Path(__file__).with_name("inside")
_PACKAGE = "executor.inside"

_ZYGOTE = (
    "import marshal\n"
    "with open(4, 'rb', closefd=False) as f: s, p = marshal.load(f)\n"
    "n = {'__name__': 'executor.inside.boot'}\n"
    "exec(compile(s['executor.inside.boot'], 'executor.inside.boot', 'exec'), n)\n"
    "n['zygote'](s, p)"
)
_BOX = (
    "import marshal\n"
    "with open(4, 'rb') as f: b, c = marshal.load(f), marshal.load(f)\n"
    "n = {'__name__': 'executor.inside.boot'}\n"
    "exec(b['codes']['executor.inside.boot'], n)\n"
    "n['box'](b, c)"
)


def zygote_command(python: str) -> tuple[str, ...]:
    return (python, "-I", "-c", _ZYGOTE)


def box_command(python: str) -> tuple[str, ...]:
    """The command of a box that is executed by what confines it."""
    return (python, "-I", "-c", _BOX)


def sources() -> dict[str, str]:
    """Read all modules of `executor.inside` by name. Done at start: later they may be hidden."""
    files = sorted(_INSIDE.glob("*.py"))
    return {
        f"{_PACKAGE}.{file.stem}": file.read_text() for file in files if file.stem != "__init__"
    }


def open_bundle(texts: dict[str, str], preload: tuple[str, ...]) -> int:
    """Give a descriptor, close-on-exec, with what `zygote_command` reads. The caller closes it."""
    memory = os.memfd_create("bundle", os.MFD_CLOEXEC)
    data = memoryview(marshal.dumps((texts, preload), 2))
    while data:
        data = data[os.write(memory, data) :]
    os.lseek(memory, 0, os.SEEK_SET)
    return memory
