"""Calls that the offline model knows by heart, and the words by which a person asks for them.

A language model would write code of its own. These few programs show what the sandbox does with
any: variables that live on, pictures that reach the chat, and programs that must be stopped. The
others show what is kept: files, notes, and what was said.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias

from daemon.demo.reminders import REMINDERS
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


def _with(tool: str, **fixed: bool) -> Maker:
    """A call of `tool` with the named parts of the message that are there."""

    def make(found: re.Match[str]) -> ToolCall:
        said = {name: part for name, part in found.groupdict().items() if part is not None}
        return ToolCall(tool, {**said, **fixed})

    return make


def _from_line(found: re.Match[str]) -> ToolCall:
    return ToolCall("read_file", {"path": found[1], "offset": int(found[2])})


def _note(action: str) -> Maker:
    def make(found: re.Match[str]) -> ToolCall:
        return ToolCall("kv_memory", {"action": action, **found.groupdict()})

    return make


def _search(found: re.Match[str]) -> ToolCall:
    return ToolCall("memory_search", {"query": found[1]})


def _trim(found: re.Match[str]) -> ToolCall:
    return ToolCall("chat_memory_trim", {"keep_latest": int(found[1])})


_PATH = r"(?P<path>[^\s:]+)"

# What people say about the files of the chat.
_FILES: Final[tuple[tuple[re.Pattern[str], Maker], ...]] = (
    (re.compile(rf"(?i)read file ([^\s:]+) from line (\d{{1,9}}){_END}"), _from_line),
    (re.compile(rf"(?i)read (?:the )?file {_PATH}"), _with("read_file")),
    (re.compile(rf"(?is)write file {_PATH}: ?(?P<content>.+)"), _with("write_file")),
    (
        re.compile(rf"(?i)edit (?:file )?{_PATH}: (?P<old>.+?) -> (?P<new>.*?) everywhere"),
        _with("edit_file", everywhere=True),
    ),
    (
        re.compile(rf"(?i)edit (?:file )?{_PATH}: (?P<old>.+?) -> (?P<new>.*)"),
        _with("edit_file"),
    ),
    (re.compile(rf"(?i)list (?:the |my )?files(?: in {_PATH})?"), _with("list_dir")),
    (re.compile(r"(?i)find (?:the )?files (?P<pattern>\S+)"), _with("glob")),
    (
        re.compile(r"(?i)grep (?P<pattern>.+?)(?: in (?P<glob>\S+))? in either case"),
        _with("grep", ignore_case=True),
    ),
    (re.compile(r"(?i)grep (?P<pattern>.+?)(?: in (?P<glob>\S+))?"), _with("grep")),
    (re.compile(r"(?is)patch:\s*(?P<diff>.+)"), _with("apply_patch")),
    (re.compile(rf"(?i)send (?:the )?file {_PATH}(?:: (?P<caption>.+))?"), _with("send_file")),
    (
        re.compile(r"(?i)(?:which )?python packages(?: (?P<prefix>[\w.-]+))?"),
        _with("python_environment_info"),
    ),
    (re.compile(rf"(?i)transcribe {_PATH}"), _with("transcribe_audio")),
    (re.compile(rf"(?i)look at (?!(?:this|that|it|these|them)\b){_PATH}"), _with("view_file")),
    (re.compile(r"(?is)say aloud: (?P<text>.+)"), _with("speak")),
)

_URL = r"(?P<url>https?://\S+?)"


def _request(method: str) -> Maker:
    def make(found: re.Match[str]) -> ToolCall:
        return ToolCall("http_client", {"method": method, **found.groupdict()})

    return make


def _spawn(found: re.Match[str]) -> ToolCall:
    return ToolCall("spawn", {"task": found[1], "label": found[1][:40]})


def _ask(found: re.Match[str]) -> ToolCall:
    """Choices stand behind a colon, with "or" between them."""
    question, choices = found[1].strip(), re.split(r",\s*|\s+or\s+", found[2] or "")
    offered = [each.strip(" ?") for each in choices if each.strip(" ?")]
    return ToolCall("ask_user", {"question": f"{question}?", "choices": offered or None})


def _foreign(found: re.Match[str]) -> ToolCall:
    return ToolCall(found[1], found[2] or "{}")


# What people say about the world around the chat.
_WORLD: Final[tuple[tuple[re.Pattern[str], Maker], ...]] = (
    (re.compile(rf"(?i)fetch {_URL}"), _with("web_fetch")),
    (re.compile(rf"(?i)get {_URL}"), _request("GET")),
    (re.compile(rf"(?is)post {_URL}: (?P<body>.+)"), _request("POST")),
    (re.compile(r"(?i)search the web for (?P<query>.+)"), _with("web_search")),
    (re.compile(rf"(?i)read (?:the )?skill (?P<name>[\w-]+){_END}"), _with("read_skill")),
    (re.compile(r"(?is)ask me ([^:?]+)(?:: (.+?))?\??"), _ask),
    (re.compile(r"(?is)in the background: (.+)"), _spawn),
    (re.compile(r"(?is)have (?P<agent>[\w-]+) do: (?P<task>.+)"), _with("delegate")),
    (re.compile(r"(?s)use (\w+__\w+)(?: with (\{.*\}))?"), _foreign),
)

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
    (re.compile(r"(?is)note (?P<title>[^:\n]{1,80}):\s*(?P<text>.+)"), _note("save")),
    (re.compile(r"(?i)read (?:the )?note (?P<title>.+)"), _note("get")),
    (re.compile(r"(?i)(?:delete|forget) (?:the )?note (?P<title>.+)"), _note("delete")),
    (re.compile(r"(?i)find (?:the )?notes? (?P<query>.+)"), _note("search")),
    (re.compile(rf"(?i)(?:my |show (?:me )?(?:my |the )?)?notes{_END}"), _note("list")),
    (re.compile(r"(?i)search (?:my |your )?memory for (.+)"), _search),
    (
        re.compile(rf"(?i)how long is (?:our|this) (?:chat|conversation){_END}"),
        lambda _found: ToolCall("chat_memory_info", {}),
    ),
    (re.compile(rf"(?i)trim (?:our|this) (?:chat|conversation) to (\d{{1,6}}){_END}"), _trim),
    *_FILES,
    *_WORLD,
    *REMINDERS,
)


def recipe_for(text: str) -> ToolCall | None:
    """The call that a message asks for in words; None if it asks for no program known here."""
    for pattern, make in RECIPES:
        if found := pattern.fullmatch(text.strip()):
            return make(found)
    return None
