"""How the offline model answers when no script tells it: a few skills, and honesty about the rest.

Deterministic and pure, from the request to a reply. A question in the last user message becomes
tool calls, if the tools are offered; tool results become sentences; and a question about an earlier
message is answered from the transcript, which shows that a conversation survives a restart. It is
no language model and says so.
"""

from __future__ import annotations

import json
import re
from typing import Any

from attrs import frozen

from daemon.demo import reminders
from daemon.demo.cities import zone_of
from daemon.demo.recipes import recipe_for
from daemon.demo.replies import ChatRequest, Reply, ToolCall, said_by_people, text_of

HELP = """\
Hello! I am Famulus, and this is the offline demo model: a few fixed skills and no network. Try:
- what is 17 * (3 + 4)?
- what time is it in Tokyo?
- run python: print(sum(range(10)))
- $ uname -s
- remember x = 41 in python (and later: what is x + 1 in python)
- plot a sine; make a file hello.txt and send it
- write file a.txt: two words (and later: read file a.txt; edit a.txt: two -> 2; send file a.txt)
- say aloud: good morning
- list files; find files *.txt; grep words; patch: (a diff); python packages
- loop forever (and then: /stop); fork bomb
- tell me a long story
- my name is Ada (and later: what is my name?)
- note shopping: milk (and later: notes; find note milk; delete note shopping)
- search memory for Ada; how long is our chat; trim our chat to 3
- ask me which colour: blue, red or green (and press a button, or say it)
- read skill web-research; in the background: what is 6 * 7?
- remind me in 5 seconds to stretch; every weekday at 9 in Berlin: what time is it in Berlin?
- what is scheduled? (and then: cancel the reminder stretch; cancel all reminders)
- fetch https://example.org/; post https://example.org/: words (it asks whether it may)

Any OpenAI-compatible model can take my place: FAMULUS_MODEL_NAME, FAMULUS_MODEL_BASE_URL and \
FAMULUS_MODEL_KEY name it before the demo begins."""

_GREETING = re.compile(
    r"(?i)(hello|hi|hey|help|/start|/help|good (morning|day|evening))\b[\s!.,?]*"
)
_ASKS_HELP = re.compile(r"(?i)\b(what can you do|help me|how do you work)\b")
_PYTHON = re.compile(r"(?is)run python:\s*(.+)|```(?:python|py)\n(.+?)```")
_BASH = re.compile(r"(?is)run bash:\s*(.+)|```(?:bash|sh)\n(.+?)```|^\$\s+(.+)")
_TIME = re.compile(r"(?is)\b(?:time|date|day)\b.*?\b(?:in|at)\s+([A-Za-z_/ .'-]+)")
_TIME_HERE = re.compile(r"(?i)\bwhat(?:'s| is) (?:the )?(?:time|date)\b|\bwhat time is it\b")
_NAME = re.compile(r"(?i)\bmy name is\s+([^\W\d_][\w'-]*)")
_ASKS_NAME = re.compile(r"(?i)\bwhat(?:'s| is) my name\b|\bwho am i\b")
# In a group a message begins with who speaks.
_STORY = re.compile(r"(?i)(?:[^:\n]{1,64}: )?(?:please )?tell (?:me )?a (?:long )?story[\s.?!]*")
_ASKS_BEFORE = re.compile(r"(?i)\bwhat did i (?:just )?(?:say|ask)\b")
_WORDS = (
    (re.compile(r"(?i)\bplus\b"), "+"),
    (re.compile(r"(?i)\bminus\b"), "-"),
    (re.compile(r"(?i)\b(?:times|multiplied by)\b|[x\u00d7](?=\s*\d)"), "*"),
    (re.compile(r"(?i)\b(?:divided by|over)\b|\u00f7"), "/"),
    (re.compile(r"(?i)\bto the power of\b|\^"), "**"),
)
_EXPRESSION = re.compile(r"[-+(]*\d[\d\s.+*/%()-]*")
# A story that is told slowly, to see how an answer comes; `/stop` ends it.
STORY_PAUSE = 0.15  # seconds between its pieces
STORY = """\
# The famulus and the lamp

Long ago a scholar kept a **famulus**, who copied her books by day and minded her lamp by night.

One evening she said: "Watch the flame. If it turns *blue*, wake me." So he sat down, and counted:

1. the moths, of which there were nine,
2. the pages that were still to be copied, of which there were `9 * 90`,
3. and the hours, of which there was always one more.

At midnight the flame turned blue. He did not dare to touch it, and he did not dare to look away; so
he wrote down what he saw, line by line, with the lamp's own light:

```python
while flame.is_blue():
    write(flame.height())
```

When the scholar woke, it was day, the lamp was cold, and on the table lay forty pages. She read
them all. "You should have woken me," she said. "I was still writing," said the famulus, "and I
thought that you would like to see it as it came."

She laughed, and from then on he read to her while he wrote. *That is the end of the story.*"""
# What the tools say about a job's files and variables stands in lines of its own.
_NOTE = re.compile(r"\[(?:sent to the chat: |not sent: |the variables ).*\]")
# Tools whose results are shown as they are, and what is said above them.
_FOUND = {
    "read_file": "It reads",
    "list_dir": "There is",
    "glob": "There is",
    "grep": "It stands here",
    "python_environment_info": "The sandbox has",
    "web_fetch": "The page says",
    "http_client": "The answer is",
    "web_search": "The web has",
    "read_skill": "The skill says",
    "ask_user": "You answered",
    "list_scheduled_prompts": "Scheduled here",
}
# What the daemon says of a file that a person sent.
_SENT_FILE = "[They sent "
# Lines that the daemon puts beside what a person said.
_BESIDE = re.compile(r"(?m)^\[[^\]\n]*\]$")
# Tools whose results say in words what was done.
_DONE = {
    *("write_file", "edit_file", "apply_patch", "send_file", "view_file", "speak"),
    *("cancel_scheduled_prompt", "delete_scheduled_prompt"),
}
_OPERATION = re.compile(r"[\d)]\s*(?:\*\*|//|[-+*/%])\s*[-+(]*\d")


def respond(request: ChatRequest) -> Reply:
    """Give the answer to a request."""
    messages, shown = _exhibits(request.messages)
    results = _results(messages)
    if results:
        if more := reminders.ending(_asked(messages), results[-1].name, results[-1].content):
            return _calling(more, request)
        return Reply("\n".join([*(_worded(result) for result in results), *shown]))
    told = _told(messages)
    text = reminders.task(_words(told[-1])) if told else ""
    calls = _wanted(_BESIDE.sub("", text))
    if calls:
        return _calling(calls, request)
    if _STORY.fullmatch(text):
        return Reply(STORY, pause=STORY_PAUSE)
    if text.startswith(_SENT_FILE):  # an album, say: each item is a message of its own
        text = "\n".join(_words(each) for each in told)
    pictures = [picture for each in told for picture in _pictures(each)]
    return Reply("\n".join([_said(text, request.messages), *pictures]))


def _asked(messages: list[dict[str, Any]]) -> str:
    """What a person has said last; '' if that is not in sight."""
    return next(reversed(said_by_people(messages)), "").strip()


def _told(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What people have said since the last answer."""
    told: list[dict[str, Any]] = []
    for message in reversed(messages):
        if message["role"] != "user":
            break
        told.append(message)
    return told[::-1]


def _words(message: dict[str, Any]) -> str:
    """What a person said, without the names that stand before what the message shows."""
    content = message.get("content")
    if not isinstance(content, list):
        return said_by_people([message])[0].strip()
    after = [*content[1:], {"type": "text"}]
    parts = [part for part, then in zip(content, after, strict=True) if then["type"] == "text"]
    return said_by_people([{**message, "content": parts}])[0].strip()


def _exhibits(messages: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """The transcript before what a tool shows at its end, and what that is, without eyes."""
    last = messages[-1]
    before = messages[-2]["role"] if len(messages) > 1 else ""
    if before != "tool" or not isinstance(last.get("content"), list):
        return messages, []
    return messages[:-1], _pictures(last)


def _pictures(message: dict[str, Any]) -> list[str]:
    """What a message shows, a sentence each."""
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    return [f"I see {_seen(part)}." for part in parts if _seen(part)]


def _seen(part: dict[str, Any]) -> str:
    """A part in words: its type and how large it is; '' for a text."""
    url = part.get("image_url", {}).get("url") or part.get("file", {}).get("file_data") or ""
    head, _, data = url.partition(";base64,")
    size = len(data) * 3 // 4 - data.count("=")
    return f"{head.removeprefix('data:')} of {size:,} bytes" if data else ""


@frozen
class _Result:
    """A tool's result together with the call that it answers."""

    name: str
    arguments: dict[str, Any]
    content: str


def _results(messages: list[dict[str, Any]]) -> list[_Result]:
    """Give the tool results that end the transcript, in the order of their calls."""
    contents: dict[str, str] = {}
    for message in reversed(messages):
        if message["role"] != "tool":
            calls = (message.get("tool_calls") or ()) if contents else ()
            return [_result(call, contents) for call in calls if call["id"] in contents]
        contents[message["tool_call_id"]] = text_of(message)
    return []


def _result(call: dict[str, Any], contents: dict[str, str]) -> _Result:
    function = call["function"]
    try:
        arguments = json.loads(function["arguments"])
    except ValueError:
        arguments = {}
    known = arguments if isinstance(arguments, dict) else {}
    return _Result(function["name"], known, contents[call["id"]])


def _wanted(text: str) -> list[ToolCall]:
    """Find what in a text needs a tool; code comes first, because it may contain the rest."""
    if found := _PYTHON.search(text):
        return [ToolCall("python_execute", {"code": (found[1] or found[2]).strip()})]
    if found := _BASH.search(text):
        return [ToolCall("bash", {"command": (found[1] or found[2] or found[3]).strip()})]
    if recipe := recipe_for(text):
        return [recipe]
    calls = []
    if expression := find_expression(text):
        calls.append(ToolCall("calculate_expression", {"expression": expression}))
    if zone := _zone_asked(text):
        calls.append(ToolCall("current_datetime", {"timezone": zone}))
    return calls


def find_expression(text: str) -> str:
    """Find the longest piece of arithmetic in a text; "" when there is none."""
    for pattern, sign in _WORDS:
        text = pattern.sub(sign, text)
    found = [match[0].strip(" .%\n\t") for match in _EXPRESSION.finditer(text)]
    sums = [_balanced(piece) for piece in found if _OPERATION.search(piece)]
    return max(sums, key=len, default="")


def _balanced(expression: str) -> str:
    """Drop the closing brackets that the sentence, not the sum, opened."""
    while expression.endswith(")") and expression.count(")") > expression.count("("):
        expression = expression[:-1].rstrip()
    return " ".join(expression.split())


def _zone_asked(text: str) -> str:
    if found := _TIME.search(text):
        return zone_of(found[1])
    return "UTC" if _TIME_HERE.search(text) else ""


def _calling(calls: list[ToolCall], request: ChatRequest) -> Reply:
    missing = [call.name for call in calls if call.name not in request.tool_names]
    if missing:
        return Reply(f"I would use {' and '.join(missing)} for this, but was not offered it.")
    count = len(request.messages)
    named = [
        ToolCall(call.name, call.arguments, f"call_{count:04d}{index:02d}")
        for index, call in enumerate(calls)
    ]
    return Reply(calls=tuple(named))


def _worded(result: _Result) -> str:
    content = result.content.strip()
    if content.startswith("Error:"):
        return f"That did not work. {content}"
    if result.name == "calculate_expression":
        return f"{result.arguments.get('expression', 'The result')} = {_value(content)}"
    if result.name == "current_datetime":
        return f"In {result.arguments.get('timezone', 'UTC')} it is {_value(content)}."
    if result.name in {"python_execute", "bash"}:
        return _ran(content)
    if result.name == "schedule_prompt":
        return reminders.promise(content)
    return _looked_at(result.name, content)


def _looked_at(name: str, content: str) -> str:
    """What a tool has found as it is; what it has done in its own words."""
    if name in _FOUND:
        return f"{_FOUND[name]}:\n```\n{content}\n```"
    if name in _DONE:
        return "\n".join(_unmarked(line) for line in content.splitlines())
    return f"{name} says: {content}"


def _unmarked(line: str) -> str:
    """A line of a result; a note in brackets without them."""
    return line[1:-1] if _NOTE.fullmatch(line) else line


def _ran(content: str) -> str:
    """What code wrote, and below it what became of its files and variables."""
    lines = content.splitlines()
    notes = [line[1:-1] for line in lines if _NOTE.fullmatch(line)]
    written = "\n".join(line for line in lines if not _NOTE.fullmatch(line))
    return "\n".join([f"It ran:\n```\n{written or '(no output)'}\n```", *notes])


def _value(content: str) -> str:
    """Give the value inside a result that is a JSON object with one obvious value."""
    try:
        parsed = json.loads(content)
    except ValueError:
        return content
    if isinstance(parsed, dict):
        for key in ("result", "value", "datetime", "now", "output", "error"):
            if key in parsed:
                return str(parsed[key])
    return content


def _said(text: str, messages: list[dict[str, Any]]) -> str:
    if reminder := reminders.reminder(text):
        return reminder
    earlier = said_by_people(messages)[:-1]
    if _GREETING.fullmatch(text) or _ASKS_HELP.search(text):
        return HELP
    if _ASKS_NAME.search(text):
        names = [found[1] for said in earlier if (found := _NAME.search(said))]
        return f"Your name is {names[-1]}." if names else "You have not told me your name."
    if found := _NAME.search(text):
        return f"Nice to meet you, {found[1]}."
    if _ASKS_BEFORE.search(text):
        return f"Before that you said: {earlier[-1]}" if earlier else "This is your first message."
    return f"(offline demo model) You said: {text[:500]}"
