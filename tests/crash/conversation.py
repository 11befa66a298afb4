"""Questions that can be told apart, and the model that answers them.

A question names itself and its kind: `q2.5 sum` is the fifth of chat 2 and wants a tool. Every
message of an answer begins with a tag, `[q2.5/1]`, so what a chat shows says by itself what is
missing, what came twice and what is out of order.

Some kinds need somebody else: `pay` calls a tool that asks for permission, `dine` has a specialist
do that and waits for it, `brew` has a helper do something in the background, and `choose` asks the
person.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from attrs import frozen

from daemon.demo.botapi import BotApiServer
from daemon.demo.replies import ChatRequest, Item, Reply, ToolCall, text_of

QUESTION = re.compile(r"(q(\d+)\.(\d+)) (\w+)")
LONG_PARTS = 3
# So long that no two of them fit into one message.
PARAGRAPH = 3900

COOK = "cook"  # the specialist
SPECIALIST = f"---\nname: {COOK}\ndescription: Cooks.\n---\nYou cook.\n"

Key = tuple[str, int]  # the question's name, and the part of the answer


@frozen
class Question:
    chat: int
    number: int
    kind: str = "plain"

    @property
    def name(self) -> str:
        return f"q{self.chat}.{self.number}"

    @property
    def keys(self) -> list[Key]:
        """What must be shown for it, in this order."""
        return [(self.name, part + 1) for part in range(LONG_PARTS if self.kind == "long" else 1)]

    @property
    def beside(self) -> list[Key]:
        """What must be shown for it at any time, beside the conversation."""
        return [(self.name, 2)] if self.kind == "brew" else []

    @property
    def text(self) -> str:
        return f"{self.name} {self.kind}"

    def ask(self, bot: BotApiServer) -> None:
        bot.user_says(self.text, user_id=self.chat)


def questions(chats: Iterable[int], kinds: Iterable[str]) -> list[Question]:
    """One of each kind in each chat, the chats taking turns."""
    numbered = list(enumerate(kinds, 1))
    chats = list(chats)
    return [Question(chat, number, kind) for number, kind in numbered for chat in chats]


def answer(request: ChatRequest) -> Item:
    """The model: what is asked last decides, and results of tools end the matter."""
    last = request.messages[-1]
    name, kind = asked(request)
    if last["role"] == "tool":
        said = " and ".join(_results(request))
        return said if kind == "cooking" else f"[{name}/1] {said}"
    if kind == "long":
        return "\n\n".join(_paragraph(name, part + 1) for part in range(LONG_PARTS))
    if kind == "brewing":
        return f"[{name}/2] brewed"
    if calls := _calls(name, kind):
        return Reply(f"one moment for {name}", calls=calls)
    return f"[{name}/1] answered"


def asked(request: ChatRequest) -> tuple[str, str]:
    """The name and the kind of the newest question."""
    texts = [text_of(each) for each in request.messages if each["role"] == "user"]
    found = [match for text in texts for match in QUESTION.finditer(text)]
    return (found[-1][1], found[-1][4]) if found else ("", "")


def _paragraph(name: str, part: int) -> str:
    return f"[{name}/{part}] ".ljust(PARAGRAPH, "x")


def _results(request: ChatRequest) -> list[str]:
    """The results that end the transcript."""
    found: list[str] = []
    for message in reversed(request.messages):
        if message["role"] != "tool":
            break
        found.append(text_of(message))
    return found[::-1]


def _calls(name: str, kind: str) -> tuple[ToolCall, ...]:
    number = int(name.rpartition(".")[2])
    total = ToolCall("calculate_expression", {"expression": f"{number} * 7"}, f"sum-{name}")
    clock = ToolCall("current_datetime", {"timezone": "Asia/Tokyo"}, f"clock-{name}")
    code = f"with open('ran', 'a') as f: f.write('{name}\\n')\nprint('done')"
    job = ToolCall("python_execute", {"code": code}, f"job-{name}")
    pay = ToolCall("pay", {"bill": name}, f"pay-{name}")
    dine = ToolCall("delegate", {"agent": COOK, "task": f"{name} cooking"}, f"dine-{name}")
    cook = ToolCall("pay", {"bill": f"{name} of the cook"}, f"cook-{name}")
    brew = ToolCall("spawn", {"task": f"{name} brewing", "label": "brew"}, f"brew-{name}")
    choices = {"question": f"{name} wants to know which", "choices": ["this one", "that one"]}
    choose = ToolCall("ask_user", choices, f"choose-{name}")
    return {
        "choose": (choose, clock),
        "sum": (total,),
        "both": (total, clock),
        "code": (job,),
        "pay": (pay, clock),
        "dine": (dine, clock),
        "cooking": (cook,),
        "brew": (brew,),
    }.get(kind, ())
