"""What the model is told when an appointment of a chat has come. Pure.

Each run is a conversation of its own: nobody has written, and nobody can be asked. What the run
before it has said comes along, so that a watch can tell what has changed.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from agent import silence
from agent.text import shorten

SILENT: Final = "NOTHING_TO_REPORT"
MOST_OF_THE_LAST: Final = 1_500  # characters of what the last run said

PROMPT: Final = """\
[A scheduled prompt: nobody has written just now. "{name}" was set up in this chat for {rule}; \
this run was due on {due}, and it is {now}.{late} What is to be done:]

{prompt}
{last}
[Do it now, with your tools. Nobody can be asked for permission, and it is scheduled already: do \
not schedule it. What you answer is sent to the chat, so write only what the person should read \
now, without a word about the schedule.{silent}]"""
LATE: Final = " It is {late} late, which the person is told above your answer."
LAST: Final = """
[What you answered last time, on {at}:]

{said}
"""
IF_NOTHING: Final = " If there is nothing to tell, answer {word} and not a word more."


@frozen(kw_only=True)
class Occasion:
    """A run: its job's name and prompt, its rule in words, and its times as a person reads them.

    `late` is how late it is, '' if it is in time; `last` what the last run said, and when.
    """

    name: str
    prompt: str
    rule: str
    due: str
    now: str
    late: str = ""
    last: tuple[str, str] | None = None
    silent: bool = False


def prompt(of: Occasion) -> str:
    """What the model is told."""
    said = LAST.format(said=shorten(of.last[0], MOST_OF_THE_LAST), at=of.last[1]) if of.last else ""
    return PROMPT.format(
        name=of.name,
        rule=of.rule,
        due=of.due,
        now=of.now,
        late=LATE.format(late=of.late) if of.late else "",
        prompt=of.prompt.strip(),
        last=said,
        silent=IF_NOTHING.format(word=SILENT) if of.silent else "",
    )


def worth_telling(answer: str) -> str:
    """What of a silent job's answer goes to the chat; '' if it says that there is nothing."""
    return silence.without(answer, SILENT)
