"""Who comes in and who goes: pairing, people and their roles, groups that move or close.

Each function is a part of a transaction. The chat, a button and the command line all come here; an
outcome is a sentence, or the refusal, which is given back and not raised: what the transaction has
written down by then (a wrong code) must stay.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from attrs import evolve

from daemon.chat import menus, roles
from daemon.chat.access import ADMINS, ALL, CHANNEL, MENTION, Access
from daemon.chat.fields import line
from daemon.chat.intake import Command, Knock, Moved, Standing
from daemon.chat.menus import Key
from daemon.chat.situation import Press, Situation, reply
from daemon.errors import Refused
from daemon.store import (
    acks,
    admission,
    buttons,
    closed,
    holding,
    outbox,
    pairing,
    people,
    sending,
    turns,
)
from daemon.store.admission import Team
from daemon.store.outbox import Draft
from daemon.store.pairing import Pairing
from daemon.store.values import Place

Outcome: TypeAlias = str | Refused

REFUSE: Final = "refuse"
MOST_TITLE: Final = 80  # characters

CODE = """\
I answer only those whom my owner has let in. Tell them this code, and they can let you in:

{code}

It holds for an hour."""

KNOCKS = """\
{name} (id {id}) asks to talk to me. Their code is {code}: let them in only if they have told you \
that themselves.

/pair {code} lets them in, too, and /pair {code} guest without code, files and much of the budget. \
It holds for an hour."""

WELCOME = "My owner has let you in: you can talk to me now. /help tells what I can do."
WELCOME_GUEST = "My owner has let you in as a guest: you can talk to me now."

UNINVITED = """\
You have added me to the group {title} (id {chat}). I say nothing there, since it is not among the \
groups that I answer.

If you allow it, all its members can talk to me: as users, or as guests without code, files and \
much of the budget. telegram.allowed_chats does the same."""
ALLOWED = """\
The group {title} (id {chat}) is answered now; its members are {role}s. /answer there says who of \
them, and famulus people remove {chat} puts it out."""

WRONG_CODE: Final = Refused(
    "no open code is that one",
    "see that it is written right; three that are wrong make all void, and /start gives no new one"
    " within the hour",
)
NO_ROLE: Final = Refused("there is no such role to be given", "say user or guest")

# What one says to /answer, and the policy that it is.
SAID: Final = {MENTION: MENTION, ALL: ALL, ADMINS: ADMINS, "admins": ADMINS}
ALLOW_GROUP: Final = "allow group"
NOT_OWNER: Final = "Only my owner lets people in."
ANSWERS: Final = {
    MENTION: "I answer here when I am mentioned, replied to, or given a command.",
    ALL: "I answer every message here that Telegram shows me.",
    ADMINS: "I answer only administrators here, when they speak to me.",
}


# --- Pairing ---


def knock(situation: Situation, asked: Knock) -> str:
    """Give a stranger a code and ask the owner, or say nothing; returns the update's outcome."""
    found = pairing.knock(situation.db, asked.place, asked.name, situation.now)
    if found is None or not situation.owner:
        return "stranger"
    closed.reopen(situation.db, asked.place)  # who had blocked us could not write
    reply(situation, asked.place, CODE.format(code=found.shown))
    _ask_owner(situation, found)
    _note(situation, "pairing asked for", user=asked.place.chat)
    return "pairing"


def _ask_owner(situation: Situation, found: Pairing) -> None:
    db, now = situation.db, situation.now
    owner, bundle = evolve(found.place, chat=situation.owner), buttons.new_group()

    def button(text: str, what: str) -> dict[str, str]:
        payload = f"{found.id}:{what}"
        ref = buttons.offer(db, owner, "pair", payload, now, group=bundle, life=pairing.HOLDS)
        return {"text": text, "callback_data": ref}

    keyboard = [
        [button("Allow", roles.USER), button("Allow as guest", roles.GUEST)],
        [button("Refuse", REFUSE)],
    ]
    text = KNOCKS.format(name=found.name, id=found.place.chat, code=found.shown)
    params = {
        "text": text,
        "reply_markup": {"inline_keyboard": keyboard},
        "link_preview_options": {"is_disabled": True},
    }
    outbox.enqueue(db, owner, [Draft("sendMessage", params)], now)
    situation.effects.queued.append(owner)


def answered(situation: Situation, press: Press) -> str:
    """The owner has pressed one of the buttons under a question of `_ask_owner`."""
    if press.speaker.role != roles.OWNER:
        return NOT_OWNER
    number, _, what = press.payload.partition(":")
    found = pairing.by_id(situation.db, int(number), situation.now)
    if found is None:
        return "That code is over."
    text = _settle(situation, found, what)
    _show_outcome(situation, press, text)
    return text


def _show_outcome(situation: Situation, press: Press, text: str) -> None:
    """Have the message that asked say what became of it, without its buttons."""
    if press.message_id:
        edit = Draft("editMessageText", {"message_id": int(press.message_id), "text": text})
        outbox.enqueue(situation.db, press.place, [edit], situation.now)
        situation.effects.queued.append(press.place)


def pair(situation: Situation, account: str, code: str, role: str = roles.USER) -> Outcome:
    """Let in whoever was given that code."""
    if role not in {roles.USER, roles.GUEST}:
        return NO_ROLE
    found = pairing.by_code(situation.db, CHANNEL, account, code, situation.now)
    return WRONG_CODE if found is None else _settle(situation, found, role)


def _settle(situation: Situation, found: Pairing, what: str) -> str:
    who = f"{found.name} (id {found.place.chat})"
    if what == REFUSE:
        pairing.refuse(situation.db, found, situation.now)
        _note(situation, "pairing refused", user=found.place.chat)
        return f"{who} is not let in."
    pairing.grant(situation.db, found, what, situation.now)
    situation.effects.regranted = True
    reply(situation, found.place, WELCOME_GUEST if what == roles.GUEST else WELCOME)
    _note(situation, "let in", user=found.place.chat, role=what)
    return f"{who} is let in as a {what}."


# --- People ---


def everybody(situation: Situation, account: str, access: Access) -> dict[str, Any]:
    """Who is answered in private, by what right, who asks to be, and groups allowed by a button."""
    db, now = situation.db, situation.now
    listed = [
        {"id": str(each), "role": role, "name": "", "by": "the configuration"}
        for each, role in sorted(roles_of(access).items())
    ]
    rows = [
        {"id": row["external_id"], "role": row["role"], "name": row["name"], "by": "pairing"}
        for row in admission.paired(db, CHANNEL, account)
        if int(row["external_id"]) not in access.people
    ]
    known = admission.read(db, CHANNEL, account, access.people, now).names
    names = {str(each): name for name, each in known}
    waits = [
        {"id": each.place.chat, "name": each.name, "code": each.shown}
        for each in pairing.waiting(db, CHANNEL, account, now)
    ]
    people_ = [{**each, "name": names.get(each["id"], each["name"])} for each in (*listed, *rows)]
    teams = admission.allowed_groups(db, CHANNEL, account)
    groups = [{"id": chat, "title": team.title, "members": team.members} for chat, team in teams]
    return {"people": people_, "asking": waits, "groups": groups}


def roles_of(access: Access) -> dict[int, str]:
    """The roles of those whom an Access lists, as `Access.role` has them."""
    found = dict.fromkeys(access.users, roles.USER) | dict.fromkeys(access.guests, roles.GUEST)
    return found if access.owner is None else {**found, access.owner: roles.OWNER}


def remove(situation: Situation, account: str, access: Access, person: str) -> Outcome:
    """Answer somebody no more, who was let in, or a group; what they are waiting for ends."""
    if person.startswith("-"):
        return _remove_group(situation, account, access, person)
    if refused := _not_paired(situation, account, access, person):
        return refused
    place = Place(CHANNEL, account, person)
    admission.put_out(situation.db, (CHANNEL, account, person))
    _set_role(situation, person, roles.USER)  # of a group, if they are in one that is answered
    _fall_silent(situation, place)
    situation.effects.regranted = True
    _note(situation, "put out", user=person)
    return f"{person} is answered no more."


def _remove_group(situation: Situation, account: str, access: Access, chat: str) -> Outcome:
    place = Place(CHANNEL, account, chat)
    if chat in {str(each) for each in access.chats}:
        return Refused(
            f"{chat} is answered because the configuration says so",
            "change telegram.allowed_chats and restart",
        )
    if not admission.put_group_out(situation.db, place):
        return Refused(f"no group with the id {chat!r:.30} was allowed", "see: famulus people list")
    _fall_silent(situation, place)
    situation.effects.regranted = True
    _note(situation, "group put out", chat=chat)
    return f"{chat} is answered no more."


def change(situation: Situation, account: str, access: Access, person: str, role: str) -> Outcome:
    """Give somebody who was let in another role."""
    if role not in {roles.USER, roles.GUEST}:
        return NO_ROLE
    if refused := _not_paired(situation, account, access, person):
        return refused
    admission.let_in(situation.db, (CHANNEL, account, person), role, situation.now)
    _set_role(situation, person, role)
    situation.effects.regranted = True
    _note(situation, "role changed", user=person, role=role)
    return f"{person} is a {role} now."


def _not_paired(situation: Situation, account: str, access: Access, person: str) -> Refused | None:
    """Why nothing can be changed about a person here."""
    if person.isdecimal() and int(person) in access.people:
        keys = "telegram.owner, telegram.allowed_users or telegram.guests"
        return Refused(
            f"{person} is answered because the configuration says so",
            f"change {keys} and restart",
        )
    known = {row["external_id"] for row in admission.paired(situation.db, CHANNEL, account)}
    if person in known:
        return None
    return Refused(f"nobody with the id {person!r:.30} was let in", "see: famulus people list")


def _fall_silent(situation: Situation, place: Place) -> None:
    """End all that is under way for a chat that is answered no more."""
    for turn_id in turns.open_in_chat(situation.db, place):
        ended = turns.end(situation.db, turn_id, "stopped", situation.now)
        situation.effects.dropped += [turn_id, *ended.dropped]
    for each in (place, acks.beside(place)):
        to, error = outbox.destination_of(each), "the chat is answered no more"
        situation.effects.unsent += sending.give_up(situation.db, to, error)


def shut_out(situation: Situation, account: str, access: Access) -> None:
    """At a start: end what is under way where the configuration allows nothing any more."""
    db = situation.db
    asking = {each.place.chat for each in pairing.waiting(db, CHANNEL, account, situation.now)}
    chats = {*turns.open_chats(db, CHANNEL, account), *outbox.due_chats(db, CHANNEL, account)}
    for chat in sorted(chats - asking):
        if not chat.removeprefix("-").isdecimal():  # a destination beside the chats
            continue
        place = Place(CHANNEL, account, chat)
        if not access.reaches(place, account):
            _fall_silent(situation, place)
            _note(situation, "chat answered no more", chat=chat)


def _set_role(situation: Situation, person: str, role: str) -> None:
    user = people.ensure_user(situation.db, CHANNEL, person, person, situation.now)
    people.set_role(situation.db, user, role)


# --- Groups ---


def follow(situation: Situation, moved: Moved) -> None:
    """Go on with a group where it has moved. What is unsent finds out by itself."""
    old, chat = moved.place, moved.chat
    people.move_chat(situation.db, old, chat)
    holding.move(situation.db, old, chat)
    situation.effects.regranted = True
    _note(situation, "group moved", outcome="moved", chat=old.chat, to=chat)


def stand(situation: Situation, standing: Standing) -> None:
    """A chat was closed to us, or opened; one that has moved is closed, and we are where it is."""
    place = standing.place
    if admission.has_moved(situation.db, place):
        return
    if standing.why is None:
        closed.reopen(situation.db, place)
    else:
        closed.close(situation.db, place, standing.why, situation.now)
        situation.effects.queued.append(place)  # what waits for it is given up
    _note(situation, "standing changed", chat=place.chat, closed=standing.why or "no")
    if standing.uninvited is not None and situation.owner:
        _offer_group(situation, place, standing.uninvited)


def _offer_group(situation: Situation, place: Place, title: str) -> None:
    """Ask the owner about a group to which they have added us, unless they are being asked."""
    db, now = situation.db, situation.now
    owner, bundle = evolve(place, chat=situation.owner, topic=""), buttons.new_group()
    asked = buttons.offered(db, owner, ALLOW_GROUP, now)
    if any(each.startswith(f"{place.chat}:") for each in asked):
        return

    def key(text: str, role: str) -> Key:
        payload = f"{place.chat}:{role}:{title}"
        return Key(text, buttons.offer(db, owner, ALLOW_GROUP, payload, now, group=bundle))

    rows = [[key("Allow this group", roles.USER)], [key("Allow it, for guests", roles.GUEST)]]
    text = UNINVITED.format(title=_titled(title), chat=place.chat)
    quiet = {"link_preview_options": {"is_disabled": True}}
    params = {"text": text, "reply_markup": menus.keyboard(rows), **quiet}
    outbox.enqueue(db, owner, [Draft("sendMessage", params)], now)
    situation.effects.queued.append(owner)


def _titled(title: str) -> str:
    shown = line(title, MOST_TITLE)
    return f"“{shown}”" if shown else "without a name"


def group_allowed(situation: Situation, press: Press) -> str:
    """The owner has pressed one of the buttons of `_offer_group`."""
    if press.speaker.role != roles.OWNER:
        return NOT_OWNER
    chat, role, title = press.payload.split(":", 2)
    place = evolve(press.place, chat=chat, topic="")
    admission.let_group_in(situation.db, place, Team(line(title, MOST_TITLE), role), situation.now)
    situation.effects.regranted = True
    text = ALLOWED.format(title=_titled(title), chat=chat, role=role)
    _show_outcome(situation, press, text)
    reply(situation, place, ANSWERS[MENTION])
    _note(situation, "group allowed", chat=chat, members=role)
    return text


def answer(situation: Situation, command: Command) -> None:
    """The owner says whom a group is answered."""
    place, said = command.place, command.rest.lower()
    if not place.in_group:
        reply(situation, place, "Say that in the group that it is about.")
        return
    policy = SAID.get(said)
    if policy is None:
        reply(situation, place, "Say /answer mention, /answer all or /answer admins.")
        return
    admission.rule(situation.db, place, policy, situation.now)
    situation.effects.regranted = True
    _note(situation, "group's rule changed", chat=place.chat, answer=policy)
    reply(situation, place, ANSWERS[policy])


def pair_command(situation: Situation, command: Command) -> None:
    """`/pair CODE [guest]`, in private: a code that others can read is not one."""
    code, _, role = command.rest.partition(" ")
    if command.place.in_group or not code:
        reply(situation, command.place, "Say to me in private: /pair CODE, or /pair CODE guest.")
        return
    said = pair(situation, command.place.account, code, role.strip().lower() or roles.USER)
    reply(situation, command.place, said if isinstance(said, str) else _shown(said))


def _shown(refused: Refused) -> str:
    return f"{refused.cause[0].upper()}{refused.cause[1:]}: {refused.remedy}."


def _note(situation: Situation, event: str, **values: object) -> None:
    situation.effects.logged.append((event, values))
