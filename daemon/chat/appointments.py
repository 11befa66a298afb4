"""What a chat is shown of its scheduled prompts: a list of them, a page of one, and questions.

Whose jobs somebody sees is decided by `daemon.schedule.booking`; what the buttons do is in
`daemon.chat.tasks`.
"""

from __future__ import annotations

import sqlite3
from typing import Final, Self

from attrs import frozen

from daemon.chat import roles
from daemon.chat.intake import Speaker
from daemon.chat.menus import Key
from daemon.chat.pages import Desk, Page
from daemon.chat.situation import Press
from daemon.schedule import booking, telling
from daemon.schedule.booking import Asker
from daemon.schedule.recurrence import Once
from daemon.store import buttons, occurrences, people
from daemon.store.jobs import Job, Plan
from daemon.store.outbox import Draft
from daemon.store.values import Place

MOST: Final = 8  # jobs on a page of the list: each has a line and a button
MOST_RUNS: Final = 5
MOST_OF_PROMPT: Final = 600  # characters
MISSED: Final = {
    "skip": "A run that was missed is left out.",
    "once": "Runs that were missed are made up for by one.",
    "all": "Runs that were missed are made up for.",
}
CANCEL: Final = "cancel job"
SHOW: Final = "show job"


@frozen
class Window:
    """A desk, as whom somebody asks there, and which page of the list they see or come from."""

    desk: Desk
    asker: Asker
    page: int = 0

    @classmethod
    def of(cls, desk: Desk, speaker: Speaker, page: int = 0) -> Self:
        """For the person of the desk, with the role that they have now."""
        situation, place = desk.situation, desk.place
        session = people.ensure_session(situation.db, place, situation.now)
        owner = speaker.role == roles.OWNER
        return cls(desk, Asker(place, desk.user, speaker.role, session, owner), page)

    @classmethod
    def at(cls, desk: Desk, press: Press) -> tuple[Self, str]:
        """The window that a button stands in, and the id of its job, '' if it is of none."""
        page, _, ref = press.payload.partition(" ")
        return cls.of(desk, press.speaker, int(page)), ref

    @property
    def db(self) -> sqlite3.Connection:
        return self.desk.situation.db

    def key(self, label: str, kind: str, job: Job) -> Key:
        """A button that does something with a job."""
        return self.desk.key(label, kind, _payload(self.page, job))

    def turn(self, label: str, page: int) -> Key:
        """A button that shows a page of the list."""
        return self.desk.key(label, "tasks", str(page))

    def whose(self, job: Job) -> str:
        """Whose job it is, if it is not that of who asks."""
        if job.whose.user_id == self.asker.user_id:
            return ""
        return f" (for {people.name(self.db, job.whose.user_id)})"


def _payload(page: int, job: Job) -> str:
    return f"{page} {job.ref}"


# --- The list ---


def listed(window: Window) -> Page | None:
    """A page of the jobs that may be seen here; the last one there is, if there are fewer."""
    found = booking.visible(window.db, window.asker)
    if not found:
        return None
    last = (len(found) - 1) // MOST
    page = min(window.page, last)
    here, first = Window(window.desk, window.asker, page), page * MOST
    shown = list(enumerate(found[first : first + MOST], first + 1))
    lines = [_heading(len(found), shown[0][0], shown[-1][0])]
    lines += [f"{number}. {_line(here, job)}" for number, job in shown]
    rows = [[here.key(f"{number}. {job.plan.name}", SHOW, job)] for number, job in shown]
    turns = [here.turn("Back", page - 1)] if page else []
    turns += [here.turn("More", page + 1)] if page < last else []
    return Page("\n".join(lines), [*rows, turns])


def _heading(count: int, first: int, last: int) -> str:
    many = f"the first {count}" if count >= booking.MOST_LISTED else str(count)
    part = f", {first} to {last}" if last - first + 1 < count else ""
    return f"Scheduled ({many}{part}):"


def _line(window: Window, job: Job) -> str:
    running = "; running now" if occurrences.open_runs(window.db, job.id) else ""
    return f"{telling.line(job)}{running}{window.whose(job)}"


# --- One of them ---


def of_one(window: Window, job: Job) -> Page:
    """All about a job, with what can be done with it."""
    plan = job.plan
    lines = [f"{plan.name}{window.whose(job)}", telling.rule(job), *_standing(job), *_terms(plan)]
    lines += ["", "What is to be done:", _cut(plan.prompt)]
    runs = occurrences.history(window.db, job.id, MOST_RUNS)
    lines += ["", "Last runs:"] if runs else []
    lines += [f"- {telling.run(each, plan.zone)}" for each in runs]
    lines += ["", f"Its id is {job.ref}."]
    return Page("\n".join(lines), [_actions(window, job), [window.turn("Back", window.page)]])


def _standing(job: Job) -> list[str]:
    if job.state != "active":
        return [f"It is {telling.when(job)}."]
    if isinstance(job.plan.recurrence.rule, Once):
        return []
    return [f"Next: {', '.join(telling.coming(job)) or telling.NOT_SCHEDULED}"]


def _terms(plan: Plan) -> list[str]:
    return [
        MISSED[plan.missed],
        *(["You hear of it only when there is something to tell."] if plan.silent else []),
        *([f"Model: {plan.model}"] if plan.model else []),
        *([f"Tools: {', '.join(plan.tools)}"] if plan.tools else []),
        *([f"Tokens for one run: {plan.tokens:,}"] if plan.tokens else []),
    ]


def _cut(prompt: str) -> str:
    return prompt if len(prompt) <= MOST_OF_PROMPT else f"{prompt[:MOST_OF_PROMPT].rstrip()} …"


def _actions(window: Window, job: Job) -> list[Key]:
    delete = window.key("Delete", "delete job", job)
    if job.state == "ended":
        return [delete]
    rest = ("Resume", "resume job") if job.state == "paused" else ("Pause", "pause job")
    return [window.key("Run now", "run job", job), window.key(*rest, job), delete]


def question(window: Window, job: Job) -> Page:
    """Nothing is deleted by one slip of a finger."""
    keys = [
        window.key("Delete it", "delete job for good", job),
        window.key("Keep it", "keep job", job),
    ]
    what = f"Shall I delete {job.plan.name!r}{window.whose(job)}?"
    return Page(
        f"{what} It is not run again then, and what became of its runs is forgotten.", [keys]
    )


# --- What is said of one that the model has made or changed ---


def confirmation(  # noqa: PLR0913  (one of them is the clock)
    db: sqlite3.Connection, place: Place, user_id: str, job: Job, now: float, *, changed: bool
) -> Draft:
    """What a chat is told of a job that was made or changed in it; the buttons are its person's."""
    group = buttons.new_group()
    keys = [
        Key(label, buttons.offer(db, place, kind, _payload(0, job), now, user_id, group))
        for label, kind in (("Cancel it", CANCEL), ("Show", SHOW))
    ]
    page = Page(telling.booked(job, changed=changed), [keys])
    return Draft("sendMessage", dict(page.params))


def cancelled(job: Job) -> Page:
    """What takes the place of that when the job was cancelled."""
    return Page(f"Cancelled: {job.plan.name}\n{telling.rule(job)}\nIt is not run again.")
