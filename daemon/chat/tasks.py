"""/tasks: what is under way in the background of a chat and what is scheduled there, with buttons.

Whatever is pressed is looked up anew, as who presses may see it by now: a job that somebody else
has deleted, or that is another's, is answered with a sentence and the list.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from daemon.chat import appointments, background
from daemon.chat.appointments import Window
from daemon.chat.intake import Command
from daemon.chat.pages import Desk, Page
from daemon.chat.situation import Press, Situation
from daemon.schedule import booking, telling
from daemon.schedule.booking import NotBooked
from daemon.store import jobs, turns
from daemon.store.jobs import Job

NOTHING: Final = "Nothing is under way in the background, and nothing is scheduled."
GONE: Final = "That is not scheduled any more."
CANCELLED: Final = "cancelled by {name}"
PAUSED_ALREADY: Final = "it is paused already"
MOST_NAME: Final = 60  # characters of a person's name

# What is told to who has pressed, and what the message shows then.
Done: TypeAlias = tuple[str, Page]
Act: TypeAlias = Callable[[Window, Job, Press], Done]
Handler: TypeAlias = Callable[[Situation, Press], str]


def tasks_command(situation: Situation, command: Command) -> None:
    """The list; or the page of the job whose id is said."""
    desk = Desk(situation, command.place, situation.user(command.place, command.speaker))
    window, ref = Window.of(desk, command.speaker), command.rest.strip()
    try:
        page = _of_ref(window, ref) if ref else _page(window)
    except NotBooked as refusal:
        listed = _page(window)
        page = Page(f"{_sentence(refusal)}\n\n{listed.text}", listed.rows)
    desk.send(page)


def _of_ref(window: Window, ref: str) -> Page:
    return appointments.of_one(window, booking.named(window.db, window.asker, ref))


def _page(window: Window) -> Page:
    found = [background.under_way(window.desk), appointments.listed(window)]
    parts = [part for part in found if part is not None]
    if not parts:
        return Page(NOTHING)
    return Page(
        "\n\n".join(part.text for part in parts), [row for part in parts for row in part.rows]
    )


def _sentence(refusal: NotBooked) -> str:
    text = str(refusal)
    return f"{text[:1].upper()}{text[1:]}."


# --- Presses ---


def turn(situation: Situation, press: Press) -> str:
    """Another page of the list, or back to it."""
    desk = Desk.at(situation, press)
    window, _ = Window.at(desk, press)
    desk.turn_to(_page(window), press)
    return ""


def stop(situation: Situation, press: Press) -> str:
    """One task in the background is ended."""
    said = background.stop(situation, int(press.payload))
    desk = Desk.at(situation, press)
    desk.turn_to(_page(Window.of(desk, press.speaker)), press)
    return said


def _handler(act: Act) -> Handler:
    """The handler of a button of a job."""

    def handle(situation: Situation, press: Press) -> str:
        desk = Desk.at(situation, press)
        window, ref = Window.at(desk, press)
        job = _found(window, ref)
        said, page = (GONE, _page(window)) if job is None else _tried(act, window, job, press)
        desk.turn_to(page, press)
        return said

    return handle


def _found(window: Window, ref: str) -> Job | None:
    """The job of that id and no other, if it is there and may be seen."""
    try:
        job = booking.named(window.db, window.asker, ref)
    except NotBooked:
        return None
    return job if job.ref == ref else None


def _tried(act: Act, window: Window, job: Job, press: Press) -> Done:
    try:
        return act(window, job, press)
    except NotBooked as refusal:
        return _sentence(refusal), _now(window, job)


def _now(window: Window, job: Job) -> Page:
    """The page of a job as it is by now."""
    return appointments.of_one(window, jobs.get(window.db, job.id))


def _by(press: Press) -> str:
    return " ".join(press.speaker.name.split())[:MOST_NAME]


def _show(window: Window, job: Job, _press: Press) -> Done:
    return "", appointments.of_one(window, job)


def _run(window: Window, job: Job, _press: Press) -> Done:
    situation = window.desk.situation
    situation.effects.begun.append(booking.run_now(window.db, job, situation.now))
    situation.effects.scheduled = True
    return "It is begun.", _now(window, job)


def _pause(window: Window, job: Job, press: Press) -> Done:
    situation = window.desk.situation
    if job.state == "paused":
        raise NotBooked(PAUSED_ALREADY)
    booking.pause(window.db, job, booking.PAUSED.format(name=_by(press)), situation.now)
    situation.effects.scheduled = True
    return "It is paused.", _now(window, job)


def _resume(window: Window, job: Job, _press: Press) -> Done:
    situation = window.desk.situation
    resumed = booking.resume(window.db, job, situation.now)
    situation.effects.scheduled = True
    return f"It goes on; {telling.when(resumed)}.", appointments.of_one(window, resumed)


def _ask(window: Window, job: Job, _press: Press) -> Done:
    return "", appointments.question(window, job)


def _keep(window: Window, job: Job, _press: Press) -> Done:
    return "It is kept.", appointments.of_one(window, job)


def _delete(window: Window, job: Job, _press: Press) -> Done:
    situation = window.desk.situation
    _dropped(situation, booking.delete(window.db, job, situation.now))
    return "Deleted.", _page(window)


def _cancel(window: Window, job: Job, press: Press) -> Done:
    situation = window.desk.situation
    if job.state == "ended":
        raise NotBooked(f"it has ended already ({job.why})")
    why = CANCELLED.format(name=_by(press))
    _dropped(situation, booking.cancel(window.db, job, why, situation.now))
    return "Cancelled.", appointments.cancelled(job)


def _dropped(situation: Situation, dropped: turns.Dropped) -> None:
    ended, freed = dropped
    situation.effects.dropped += ended
    situation.effects.begun += freed
    situation.effects.scheduled = True


HANDLERS: Final[dict[str, Handler]] = {
    "stop task": stop,
    "tasks": turn,
    appointments.SHOW: _handler(_show),
    appointments.CANCEL: _handler(_cancel),
    "run job": _handler(_run),
    "pause job": _handler(_pause),
    "resume job": _handler(_resume),
    "delete job": _handler(_ask),
    "delete job for good": _handler(_delete),
    "keep job": _handler(_keep),
}
