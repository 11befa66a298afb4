"""/memory: what is kept of a chat, with its size, and a way to have it forgotten.

A note is a row and is gone with the press that confirms it. A memory file is in the workspace,
which only the executor opens: its removal is a row that `daemon.chat.forgetting` works off.
"""

from __future__ import annotations

from daemon.chat.intake import Command
from daemon.chat.pages import Desk, Page
from daemon.chat.situation import Press, Situation
from daemon.sizes import human
from daemon.store import forgetting, memory, notes, people
from daemon.store.values import Home

MOST = 10  # of each kind that have a button
NOTHING = "I keep nothing of this chat but what was said in it."
NOTE, FILE = "note", "file"


def memory_command(situation: Situation, command: Command) -> None:
    desk = Desk(situation, command.place, situation.user(command.place, command.speaker))
    desk.send(_page(desk))


def _page(desk: Desk) -> Page:
    db, home = desk.situation.db, people.home(desk.situation.db, desk.place)
    files = memory.sizes(db, home)
    page = notes.newest(db, home, notes.Cut(MOST, 0), desk.situation.now)
    if not files and not page.total:
        return Page(NOTHING)
    lines = [f"Memory files ({len(files)}):"] if files else []
    lines += [f"- {path}, {human(size)}" for path, size in files[:MOST]]
    lines += [f"Notes ({page.total}):"] if page.total else []
    lines += [f"- {note.title}, {human(len(note.text.encode()))}" for note in page.notes]
    lines += _left_out(len(files), page.total)
    things = [(FILE, path) for path, _ in files[:MOST]]
    things += [(NOTE, note.title) for note in page.notes]
    rows = [[desk.key(f"Forget {name}", "forget", f"{kind}:{name}")] for kind, name in things]
    return Page("\n".join(lines), rows)


def _left_out(files: int, kept: int) -> list[str]:
    return ["Only the newest of them are shown."] if max(files, kept) > MOST else []


def ask(situation: Situation, press: Press) -> str:
    """Nothing is forgotten by one slip of a finger."""
    kind, _, name = press.payload.partition(":")
    desk = Desk.at(situation, press)
    row = [
        desk.key("Forget it", "forget it", press.payload),
        desk.key("Keep it", "keep it"),
    ]
    desk.turn_to(
        Page(f"Shall I forget the {kind} {name!r}? It cannot be brought back.", [row]), press
    )
    return ""


def forget(situation: Situation, press: Press) -> str:
    """It was confirmed."""
    kind, _, name = press.payload.partition(":")
    home = people.home(situation.db, press.place)
    said = (
        _forget_note(situation, home, name)
        if kind == NOTE
        else _forget_file(situation, press, home, name)
    )
    desk = Desk.at(situation, press)
    desk.turn_to(_page(desk), press)
    return said


def _forget_note(situation: Situation, home: Home, title: str) -> str:
    gone = notes.delete(situation.db, home, title, situation.now)
    return "Forgotten." if gone else "It was gone already."


def _forget_file(situation: Situation, press: Press, home: Home, path: str) -> str:
    forgetting.want(situation.db, press.place, home, path, situation.now)
    situation.effects.forgetting = True
    return "I am forgetting it."


def keep(situation: Situation, press: Press) -> str:
    desk = Desk.at(situation, press)
    desk.turn_to(_page(desk), press)
    return "It is kept."
