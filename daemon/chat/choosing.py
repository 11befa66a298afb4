"""/settings, /busy and /model: what a chat or a person chooses, in words or by buttons."""

from __future__ import annotations

from typing import Final

from daemon.chat.intake import Command
from daemon.chat.menus import Key
from daemon.chat.pages import Desk, Page
from daemon.chat.situation import Press, Situation, reply
from daemon.schedule import booking
from daemon.schedule.wallclock import zone_of
from daemon.store import grants, jobs, people, settings
from daemon.store.values import Place

BUSY: Final = "while_busy"
MODEL: Final = "model"

# What happens to what is said while a turn runs, in words for a button and for a sentence.
POLICIES: Final = {
    "queue": "What you say while I work waits until I am done.",
    "steer": "What you say while I work is told to me at once.",
    "interrupt": "What you say while I work stops that.",
}
STREAMING: Final = "streaming"
OFF: Final = "off"
SHOWN: Final = "Answers appear here while I write them, where that is configured."
UNSHOWN: Final = "Answers appear here when they are done."
ZONES: Final = "/settings zone Europe/Berlin sets it, /settings zone default takes it back."
ZONE_KEPT: Final = (
    "What is scheduled here already keeps the zone that it was scheduled in (see /tasks); tell me"
    " if it is to be changed."
)
MOST_GRANTS: Final = 20  # of which each has a button
NOT_THERE: Final = "That is no longer to be chosen."


# --- What happens while a turn runs ---


def policy(situation: Situation, place: Place, configured: str) -> str:
    """What a chat wants done with what is said while a turn runs."""
    chosen = settings.get(situation.db, place, BUSY)
    return chosen if chosen in POLICIES else configured


def busy_command(situation: Situation, command: Command) -> None:
    wanted = command.rest.strip().lower()
    desk = Desk(situation, command.place, situation.user(command.place, command.speaker))
    if wanted in POLICIES:
        settings.put(situation.db, command.place, BUSY, wanted)
        reply(situation, command.place, POLICIES[wanted])
    else:
        desk.send(_busy_page(desk))


def busy_pressed(situation: Situation, press: Press) -> str:
    """One of the policies was pressed, on the page that asks for one or on the settings."""
    page, _, wanted = press.payload.partition(":")
    if wanted not in POLICIES:
        return NOT_THERE
    settings.put(situation.db, press.place, BUSY, wanted)
    desk = Desk.at(situation, press)
    desk.turn_to(_busy_page(desk) if page == BUSY else _settings_page(desk), press)
    return POLICIES[wanted]


def _busy_page(desk: Desk) -> Page:
    now = policy(desk.situation, desk.place, desk.situation.while_busy)
    return Page(POLICIES[now], [[_policy(desk, each, now, BUSY) for each in POLICIES]])


def _policy(desk: Desk, name: str, now: str, page: str) -> Key:
    return desk.choice(name, "busy", f"{page}:{name}", chosen=name == now)


# --- The settings ---


def settings_command(situation: Situation, command: Command) -> None:
    word, _, rest = command.rest.strip().partition(" ")
    if word.lower() == "zone" and rest.strip():
        _set_zone(situation, command, rest.strip())
        return
    desk = Desk(situation, command.place, situation.user(command.place, command.speaker))
    desk.send(_settings_page(desk))


def _set_zone(situation: Situation, command: Command, name: str) -> None:
    user = situation.user(command.place, command.speaker)
    if name.lower() == "default":
        people.set_zone(situation.db, user, None)
        told = "Your times are told in the configured zone."
        reply(situation, command.place, told + _kept(situation, command.place, user, None))
        return
    zone = known_zone(name)
    if zone is None:
        words = f"{name[:60]!r} is no time zone that I know; use a name such as Asia/Tokyo."
        reply(situation, command.place, words)
        return
    people.set_zone(situation.db, user, zone)
    told = f"Your times are told in {zone}, from the next message on."
    reply(situation, command.place, told + _kept(situation, command.place, user, zone))


def _kept(situation: Situation, place: Place, user: str, zone: str | None) -> str:
    """What is said of the person's scheduled prompts here that are of another zone, if some are."""
    mine = jobs.of_chat(situation.db, place, user, booking.MOST_LISTED)
    return f" {ZONE_KEPT}" if any(job.plan.zone != zone for job in mine) else ""


def known_zone(name: str) -> str | None:
    """The zone of that IANA name; None if there is none."""
    zone = zone_of(name)
    return None if zone is None else zone.key


def _settings_page(desk: Desk) -> Page:
    db = desk.situation.db
    now = policy(desk.situation, desk.place, desk.situation.while_busy)
    zone = people.zone(db, desk.user) or "as configured"
    given = _given(desk)
    shown = settings.get(db, desk.place, STREAMING) != OFF
    lines = [POLICIES[now], SHOWN if shown else UNSHOWN, f"Your time zone: {zone}. {ZONES}"]
    rows = [[_policy(desk, each, now, "settings") for each in POLICIES]]
    rows += [
        [desk.key("Only when done", STREAMING, OFF)]
        if shown
        else [desk.key("As I write", STREAMING)]
    ]
    if given:
        lines += ["", "Allowed in this chat without a question:"]
        lines += [f"- {each.kind}{_for_whom(each, desk)}" for each in given]
        lines.append("A button takes it back:")
    rows += [[desk.key(f"✗ {each.kind}", "revoke", each.ref)] for each in given[:MOST_GRANTS]]
    return Page("\n".join(lines), rows)


def _given(desk: Desk) -> list[grants.Given]:
    """The lasting permissions that are this person's to take back: the owner gives others, too."""
    db, home = desk.situation.db, people.home(desk.situation.db, desk.place)
    if people.is_owner(db, desk.user):
        return grants.of_home(db, home)
    return grants.of_user(db, home, desk.user)


def _for_whom(given: grants.Given, desk: Desk) -> str:
    return "" if given.kind.user in {"", desk.user} else f" (for {given.person})"


def streaming_pressed(situation: Situation, press: Press) -> str:
    """Whether answers are shown while they are written; '' is as configured."""
    settings.put(situation.db, press.place, STREAMING, press.payload or None)
    desk = Desk.at(situation, press)
    desk.turn_to(_settings_page(desk), press)
    return UNSHOWN if press.payload == OFF else SHOWN


def revoke(situation: Situation, press: Press) -> str:
    """A lasting permission is taken back."""
    gone = grants.revoke(situation.db, press.payload)
    desk = Desk.at(situation, press)
    desk.turn_to(_settings_page(desk), press)
    return "I will ask again." if gone else "That was taken back already."


# --- The model ---


def model_command(situation: Situation, command: Command) -> None:
    if (wanted := command.rest.strip()) in situation.models:
        reply(situation, command.place, _choose_model(situation, command.place, wanted))
        return
    desk = Desk(situation, command.place, situation.user(command.place, command.speaker))
    desk.send(_model_page(desk))


def chosen_model(situation: Situation, place: Place) -> str:
    """The model of a chat; the first of those configured, if it has not chosen."""
    models = situation.models
    chosen = settings.get(situation.db, place, MODEL)
    return chosen if chosen in models else models[0] if models else "unknown"


def _model_page(desk: Desk) -> Page:
    models, now = desk.situation.models, chosen_model(desk.situation, desk.place)
    text = f"This chat's model: {now}"
    if len(models) < 2:  # noqa: PLR2004
        return Page(f"{text}\nThere is no other: the configuration names one ([[model.fallback]]).")
    keys = [[desk.choice(each, MODEL, each, chosen=each == now)] for each in models]
    return Page(f"{text}\nIf it gives no answer, the others stand in for it.", keys)


def model_pressed(situation: Situation, press: Press) -> str:
    if press.payload not in situation.models:
        return NOT_THERE
    told = _choose_model(situation, press.place, press.payload)
    desk = Desk.at(situation, press)
    desk.turn_to(_model_page(desk), press)
    return told


def _choose_model(situation: Situation, place: Place, name: str) -> str:
    """A model was chosen for a chat; the first is that of all that have not chosen."""
    first = name == situation.models[0]
    settings.put(situation.db, place, MODEL, None if first else name)
    return f"From the next message on: {name}"
