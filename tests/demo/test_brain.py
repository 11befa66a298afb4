"""What the offline model makes of a message."""

from __future__ import annotations

from typing import Any

import pytest

from agent import schedule
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
    "schedule_prompt",
    "list_scheduled_prompts",
    "cancel_scheduled_prompt",
    "delete_scheduled_prompt",
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


STRETCH = {"prompt": "Remind the person to stretch.", "name": "stretch"}
BERLIN = {"cron": "0 9 * * MON-FRI", "zone": "Europe/Berlin"}


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("remind me in 5 seconds to stretch", {**STRETCH, "delay_seconds": 5}),
        ("Please remind me to stretch in 2 hours.", {**STRETCH, "delay_seconds": 7200}),
        ("in 1 minute remind me to stretch!", {**STRETCH, "delay_seconds": 60}),
        ("remind me every day at 18:30 to stretch", {**STRETCH, "cron": "30 18 * * *"}),
        ("remind me to stretch every weekday at 9 in Berlin", {**STRETCH, **BERLIN}),
        ("every weekday at 9 in Berlin: tell me a story", {"prompt": "tell me a story", **BERLIN}),
        (
            "every Tuesday at 07:05 in new york what is 2 + 2?",
            {"prompt": "what is 2 + 2?", "cron": "5 7 * * TUE", "zone": "America/New_York"},
        ),
        ("every 2 hours: look around", {"prompt": "look around", "every_seconds": 7200}),
        ("every hour, look around", {"prompt": "look around", "every_seconds": 3600}),
        (
            "move the reminder stretch to every weekday at 9 in Berlin",
            {"job": "stretch", **BERLIN},
        ),
    ],
)
def test_reminders_are_asked_for_in_words(text: str, arguments: dict[str, Any]) -> None:
    """Relative times as seconds, times of the clock by cron, in the place that is named."""
    assert called(text) == [("schedule_prompt", arguments)]


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("what is scheduled?", "list_scheduled_prompts", {}),
        ("List my reminders", "list_scheduled_prompts", {}),
        ("cancel the reminder stand up.", "cancel_scheduled_prompt", {"job": "stand up"}),
        ("delete reminder 7k3m", "delete_scheduled_prompt", {"job": "7k3m"}),
        ("cancel all reminders", "list_scheduled_prompts", {}),
    ],
)
def test_what_is_scheduled_is_asked_for_in_words(
    text: str, name: str, arguments: dict[str, Any]
) -> None:
    assert called(text) == [(name, arguments)]


@pytest.mark.parametrize(
    "text", ["in 2026 I was there", "every day is a gift", "in 5 minutes I go", "in 5 apples, x"]
)
def test_a_sentence_about_time_schedules_nothing(text: str) -> None:
    assert called(text) == []


def after(text: str, name: str, result: str) -> Reply:
    """What follows the result of the one call that a text asked for."""
    call = {"id": "c1", "type": "function", "function": {"name": name, "arguments": "{}"}}
    messages = [
        {"role": "user", "content": text},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": result},
    ]
    offered = [{"type": "function", "function": {"name": each}} for each in ALL]
    return respond(ChatRequest({"messages": messages, "tools": offered}, {}, 0.0))


def test_what_became_of_a_reminder_is_told() -> None:
    """Its times not again, which the chat has been shown; what went wrong as it is."""
    made = after("remind me", "schedule_prompt", "scheduled: id 7k3m, once; next: today (UTC).")
    assert made.text == "I will. (Its id is 7k3m.)"
    refused = after("remind me", "schedule_prompt", "Error: say when")
    assert refused.text == "That did not work. Error: say when"
    cancelled = after("cancel it", "cancel_scheduled_prompt", "cancelled: stretch (id 7k3m)")
    assert cancelled.text == "cancelled: stretch (id 7k3m)"


def test_to_cancel_all_is_to_cancel_each() -> None:
    """Those that were listed; where there are none, that is said."""
    listed = "- id 7k3m: stretch: once (missed: once): x\n- id 8abc: news: daily (): - id 9: y"
    calls = after("cancel all reminders", "list_scheduled_prompts", listed).calls
    assert [(c.name, c.arguments) for c in calls] == [
        ("cancel_scheduled_prompt", {"job": "7k3m"}),
        ("cancel_scheduled_prompt", {"job": "8abc"}),
    ]
    none = after("cancel all reminders", "list_scheduled_prompts", "Nothing is scheduled here.")
    assert none.calls == ()
    assert "Nothing is scheduled here." in none.text
    only = after("what is scheduled?", "list_scheduled_prompts", listed)
    assert only.calls == ()
    assert "- id 7k3m: stretch" in only.text


@pytest.mark.parametrize("last", [None, ("Time to [stretch].", "yesterday")])
@pytest.mark.parametrize("silent", [True, False])
def test_a_run_of_a_scheduled_prompt_does_it(last: tuple[str, str] | None, *, silent: bool) -> None:
    """What it is told around the prompt is not for the chat."""

    def run(prompt: str) -> Reply:
        occasion = schedule.Occasion(
            name="a [b]", prompt=prompt, rule="once", due="now", now="now", last=last, silent=silent
        )
        return answer(schedule.prompt(occasion))

    assert run("Remind the person to stand up.").text == "Time to stand up."
    assert [call.name for call in run("what is 6 * 7?").calls] == ["calculate_expression"]
    assert run("two\n\nlines").text == "(offline demo model) You said: two\n\nlines"
