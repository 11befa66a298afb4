"""Code that the offline model knows by heart, and the words by which a person asks for it.

A language model would write code of its own. These few programs show what the sandbox does with
any: variables that live on, pictures that reach the chat, and programs that must be stopped.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias

from daemon.demo.replies import ToolCall

PLOT: Final = """\
try:
    import matplotlib.pyplot as plt
except ImportError:
    print("There is no matplotlib for the sandbox's Python, so I cannot draw."
          " (Debian has it as python3-matplotlib.)")
else:
    import math
    steps = [n / 50 for n in range(-320, 321)]
    plt.figure(figsize=(6, 3))
    plt.plot(steps, [math.{function}(x) for x in steps])
    plt.grid(True)
    plt.title("{function} x")
    plt.show()
    print("I have drawn {function} x.")
"""

LOOP: Final = """\
n = 0
while True:
    n += 1
"""

FORK_BOMB: Final = """\
import os, time
made = 0
try:
    while made < 20000:  # far above what any job may have
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)
        made += 1
except OSError as error:
    print(f"after {made} processes: {error.strerror}")
    raise SystemExit("no more processes")
"""

_NAME = r"([A-Za-z_]\w*)"
_VALUE = r"([-+*/%().\w\s\[\],'\"]+?)"
_END = r"[\s.?!]*"

Maker: TypeAlias = Callable[[re.Match[str]], ToolCall]


def _python(code: str) -> ToolCall:
    return ToolCall("python_execute", {"code": code})


def _plot(found: re.Match[str]) -> ToolCall:
    name = {"sine": "sin", "cosine": "cos"}.get(found[1].lower(), found[1].lower())
    return _python(PLOT.format(function=name))


def _remember(found: re.Match[str]) -> ToolCall:
    name, value = found[1], found[2].strip()
    return _python(f'{name} = {value}\nprint("{name} =", {name})')


def _evaluate(found: re.Match[str]) -> ToolCall:
    return _python(f"print({found[1].strip()})")


def _file(found: re.Match[str]) -> ToolCall:
    name, text = found[1], (found[2] or "Hello from the sandbox.").replace("'", "'\\''")
    command = f"printf '%s\\n' '{text}' > {name}"
    return ToolCall("bash", {"command": command, "files": name})


# Asked for as a whole message, so that no sentence with such words in it runs anything.
RECIPES: Final[tuple[tuple[re.Pattern[str], Maker], ...]] = (
    (
        re.compile(rf"(?i)(?:please )?(?:plot|draw)(?: me)?(?: a| the)? (sine?|cosine|cos){_END}"),
        _plot,
    ),
    (re.compile(rf"(?i)remember {_NAME}\s*=\s*{_VALUE} in python{_END}"), _remember),
    (re.compile(rf"(?i)(?:what is|what's|print) {_VALUE} in python{_END}"), _evaluate),
    (
        re.compile(
            r"(?i)(?:please )?(?:make|write|create) (?:a|the) file ([\w-][\w.-]{0,60})"
            rf"(?: with (.{{1,200}}?))? and send it(?: to me)?{_END}"
        ),
        _file,
    ),
    (re.compile(rf"(?i)loop for ?ever{_END}"), lambda _found: _python(LOOP)),
    (re.compile(rf"(?i)(?:a |start a )?fork ?bomb{_END}"), lambda _found: _python(FORK_BOMB)),
)


def recipe_for(text: str) -> ToolCall | None:
    """The call that a message asks for in words; None if it asks for no program known here."""
    for pattern, make in RECIPES:
        if found := pattern.fullmatch(text.strip()):
            return make(found)
    return None
