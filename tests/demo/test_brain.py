"""What the offline model makes of a message."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.demo.brain import HELP, find_expression, respond
from daemon.demo.recipes import FORK_BOMB, LOOP, PLOT
from daemon.demo.replies import ChatRequest, Reply

ALL = (
    "calculate_expression",
    "current_datetime",
    "python_execute",
    "bash",
    "kv_memory",
    "memory_search",
    "chat_memory_info",
    "chat_memory_trim",
    "read_file",
    "write_file",
    "edit_file",
    "list_dir",
    "glob",
    "grep",
    "apply_patch",
    "send_file",
    "python_environment_info",
    "transcribe_audio",
    "speak",
    "web_fetch",
    "http_client",
    "web_search",
    "read_skill",
    "spawn",
    "delegate",
    "library__find_book",
)


def answer(*texts: str, tools: tuple[str, ...] = ALL) -> Reply:
    """Give the reply to the last of a person's texts."""
    body: dict[str, Any] = {"messages": [{"role": "user", "content": text} for text in texts]}
    body["tools"] = [{"type": "function", "function": {"name": name}} for name in tools]
    return respond(ChatRequest(body, {}, 0.0))


def called(text: str) -> list[tuple[str, dict[str, Any]]]:
    return [(c.name, dict(c.arguments)) for c in answer(text).calls]  # type: ignore[arg-type]  # never text here


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("what is 17 * (3 + 4)?", "17 * (3 + 4)"),
        ("2+2", "2+2"),
        ("compute 3 plus 4 times 5 please", "3 + 4 * 5"),
        ("what is 10 divided by 4.", "10 / 4"),
        ("2^10", "2**10"),
        ("12 x 12", "12 * 12"),
        ("0.1 + 0.2 = ?", "0.1 + 0.2"),
        ("it costs (about 3 * 4) euros", "3 * 4"),
        ("I have 3 cats", ""),
        ("in 2026", ""),
        ("no sums here", ""),
    ],
)
def test_sums_are_found_in_sentences(text: str, expression: str) -> None:
    """The longest piece of arithmetic is what is calculated."""
    assert find_expression(text) == expression


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("what time is it in Tokyo?", "Asia/Tokyo"),
        ("time in Europe/Berlin", "Europe/Berlin"),
        ("What is the date in new york now", "America/New_York"),
        ("what time is it?", "UTC"),
        ("what time is it in Nowhere?", "Nowhere"),
    ],
)
def test_times_are_asked_of_the_clock(text: str, zone: str) -> None:
    """A city becomes its zone; an unknown place is for the tool to refuse."""
    assert called(text) == [("current_datetime", {"timezone": zone})]


def test_code_is_run_as_it_is() -> None:
    """Both ways to name Python and bash work, sums inside included."""
    code = "print(1 + 1)\nprint(2)"
    for text in (f"run python: {code}", f"Please:\n```python\n{code}\n```"):
        assert called(text) == [("python_execute", {"code": code})]
    for text in ("run bash: echo 1 + 1", "$ echo 1 + 1"):
        assert called(text) == [("bash", {"command": "echo 1 + 1"})]


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        (
            "note shopping: milk",
            "kv_memory",
            {"action": "save", "title": "shopping", "text": "milk"},
        ),
        ("notes", "kv_memory", {"action": "list"}),
        ("Show me my notes!", "kv_memory", {"action": "list"}),
        ("find note milk", "kv_memory", {"action": "search", "query": "milk"}),
        ("read note shopping", "kv_memory", {"action": "get", "title": "shopping"}),
        ("delete the note shopping", "kv_memory", {"action": "delete", "title": "shopping"}),
        ("search memory for a fern", "memory_search", {"query": "a fern"}),
        ("how long is our chat?", "chat_memory_info", {}),
        ("trim our chat to 3", "chat_memory_trim", {"keep_latest": 3}),
    ],
)
def test_what_is_kept_is_asked_of_its_tools(
    text: str, name: str, arguments: dict[str, Any]
) -> None:
    """Notes, the past and how much of it is in mind, in plain words."""
    assert called(text) == [(name, arguments)]


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("read file a/b.txt", "read_file", {"path": "a/b.txt"}),
        ("Read file a.txt from line 7.", "read_file", {"path": "a.txt", "offset": 7}),
        ("write file a.txt: one\ntwo", "write_file", {"path": "a.txt", "content": "one\ntwo"}),
        ("edit a.txt: one -> two", "edit_file", {"path": "a.txt", "old": "one", "new": "two"}),
        (
            "edit file a.txt: one -> two everywhere",
            "edit_file",
            {"path": "a.txt", "old": "one", "new": "two", "everywhere": True},
        ),
        ("list files", "list_dir", {}),
        ("list my files in out/plots", "list_dir", {"path": "out/plots"}),
        ("find files **/*.csv", "glob", {"pattern": "**/*.csv"}),
        ("grep two words", "grep", {"pattern": "two words"}),
        ("grep a in *.txt", "grep", {"pattern": "a", "glob": "*.txt"}),
        ("grep a in either case", "grep", {"pattern": "a", "ignore_case": True}),
        ("patch:\n--- a/a\n+++ b/a", "apply_patch", {"diff": "--- a/a\n+++ b/a"}),
        ("send file a.txt", "send_file", {"path": "a.txt"}),
        ("send the file a.txt: Here!", "send_file", {"path": "a.txt", "caption": "Here!"}),
        ("python packages", "python_environment_info", {}),
        ("which python packages num", "python_environment_info", {"prefix": "num"}),
        ("transcribe voice.ogg", "transcribe_audio", {"path": "voice.ogg"}),
        ("say aloud: Good morning.", "speak", {"text": "Good morning."}),
    ],
)
def test_files_are_asked_for_in_words(text: str, name: str, arguments: dict[str, Any]) -> None:
    """Each tool for them has its own."""
    assert called(text) == [(name, arguments)]


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("fetch http://a.example/b?c=1", "web_fetch", {"url": "http://a.example/b?c=1"}),
        ("get https://a.example", "http_client", {"method": "GET", "url": "https://a.example"}),
        (
            "post http://a.example:8/b: one: 1",
            "http_client",
            {"method": "POST", "url": "http://a.example:8/b", "body": "one: 1"},
        ),
        ("search the web for ripe apples", "web_search", {"query": "ripe apples"}),
        ("read the skill web-research.", "read_skill", {"name": "web-research"}),
        ("in the background: 6 * 7", "spawn", {"task": "6 * 7", "label": "6 * 7"}),
        ("have clerk do: 6 * 7", "delegate", {"agent": "clerk", "task": "6 * 7"}),
    ],
)
def test_the_world_is_asked_for_in_words(text: str, name: str, arguments: dict[str, Any]) -> None:
    """Pages, searches, skills, and work for others."""
    assert called(text) == [(name, arguments)]


def test_tools_of_mcp_servers_are_named_with_their_arguments() -> None:
    """The arguments are the person's own JSON, or none."""
    (call,) = answer('use library__find_book with {"title": "Faust"}').calls
    assert (call.name, call.raw) == ("library__find_book", '{"title": "Faust"}')
    (call,) = answer("use library__find_book").calls
    assert call.raw == "{}"


def test_two_questions_are_two_calls() -> None:
    """One message may need two tools."""
    assert len(called("what is 2 + 3, and what time is it in Paris?")) == 2


def test_only_offered_tools_are_called() -> None:
    """Without the tool the model says which it lacks."""
    reply = answer("$ ls", tools=("current_datetime",))
    assert (reply.calls, "bash" in reply.text) == ((), True)


def test_help_and_echo() -> None:
    """A greeting is answered with what it can do, anything else honestly repeated."""
    assert answer("Hello!").text == answer("/start").text == HELP
    assert answer("tell me a joke").text == "(offline demo model) You said: tell me a joke"


def test_earlier_messages_are_remembered() -> None:
    """The transcript is all the memory it has."""
    assert answer("my name is Ada", "what is my name?").text == "Your name is Ada."
    assert "not told me" in answer("what is my name?").text
    assert answer("blue", "what did I say?").text == "Before that you said: blue"


def test_results_become_sentences() -> None:
    """Results are worded in the order of their calls, errors as errors."""
    calls = [
        {
            "id": name,
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }
        for name, arguments in (
            ("calculate_expression", '{"expression": "1/3"}'),
            ("current_datetime", '{"timezone": "UTC"}'),
            ("bash", "{broken"),
            ("python_execute", "{}"),
            ("grep", "{}"),
            ("send_file", "{}"),
            ("other", "[]"),
        )
    ]
    contents = {
        "other": "x",
        "send_file": "[sent to the chat: a (1 B)]",
        "grep": "a:1: b",
        "python_execute": "Error: no sandbox",
        "bash": "",
        "current_datetime": '{"now": "noon"}',
        "calculate_expression": "about 0.3",
    }
    messages: list[Any] = [{"role": "assistant", "content": None, "tool_calls": calls}]
    messages += [
        {"role": "tool", "tool_call_id": name, "content": text} for name, text in contents.items()
    ]
    assert respond(ChatRequest({"messages": messages}, {}, 0.0)).text.split("\n") == [
        "1/3 = about 0.3",
        "In UTC it is noon.",
        "It ran:",
        "```",
        "(no output)",
        "```",
        "That did not work. Error: no sandbox",
        "It stands here:",
        "```",
        "a:1: b",
        "```",
        "sent to the chat: a (1 B)",
        "other says: x",
    ]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("remember x = 41 in python", 'x = 41\nprint("x =", x)'),
        ("what is x + 1 in python?", "print(x + 1)"),
        ("What is sum(xs) in Python", "print(sum(xs))"),
        ("loop forever", LOOP),
        ("Fork bomb!", FORK_BOMB),
        ("plot a sine", PLOT.format(function="sin")),
        ("Please draw me a cosine.", PLOT.format(function="cos")),
    ],
)
def test_recipes_are_asked_for_in_words(text: str, code: str) -> None:
    """A few programs by heart, run in the conversation's own session."""
    assert called(text) == [("python_execute", {"code": code})]
    compile(code, "recipe", "exec")


def test_a_file_is_made_and_sent() -> None:
    """Its words are the person's, and cannot end the quotation."""
    assert called("make a file hello.txt and send it") == [
        (
            "bash",
            {
                "command": "printf '%s\\n' 'Hello from the sandbox.' > hello.txt",
                "files": "hello.txt",
            },
        )
    ]
    assert called("write a file a.txt with it's me and send it") == [
        ("bash", {"command": "printf '%s\\n' 'it'\\''s me' > a.txt", "files": "a.txt"})
    ]


@pytest.mark.parametrize(
    "text", ["they plot a sine of the times", "do not loop forever, please", "look at this"]
)
def test_a_sentence_about_a_recipe_runs_nothing(text: str) -> None:
    """Only a message that is the request itself."""
    assert answer(text).calls == ()


def test_what_became_of_files_stands_below_the_output() -> None:
    """It is not what the code wrote."""
    call = {"id": "c", "type": "function", "function": {"name": "bash", "arguments": "{}"}}
    said = "a [line]\n[sent to the chat: p.png (picture)]\n[not sent: b: it is a link]"
    messages: list[Any] = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": said},
    ]
    assert respond(ChatRequest({"messages": messages}, {}, 0.0)).text == (
        "It ran:\n```\na [line]\n```\nsent to the chat: p.png (picture)\nnot sent: b: it is a link"
    )
