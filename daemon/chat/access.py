"""Who is answered, where, and as what: a pure value, made of the configuration and of rows.

Deny is the default: in a private chat the person must be listed, elsewhere the chat must be,
whoever speaks there. The configuration says more than any row: what it lists is not changed by a
pairing, and what it does not allow can only be added to, by the owner's word (people, groups) or by
Telegram's (a group that has moved).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from attrs import evolve, field, frozen

from daemon.chat import roles, speakers
from daemon.store.admission import Admissions
from daemon.store.values import Place
from daemon.telegram.types import Chat

if TYPE_CHECKING:
    from daemon.config_telegram import Telegram

CHANNEL: Final = "telegram"

# Whom a group is answered: who addresses the bot; everybody; or administrators who address it.
MENTION: Final = "mention"
ALL: Final = "all"
ADMINS: Final = "admin-only"
POLICIES: Final = (MENTION, ALL, ADMINS)


@frozen
class Group:
    """How a group is answered; `members` is the role of people who have none of their own.

    `listens` says whether what is not said to the bot is kept until it is next spoken to. `admins`
    are the ids of the administrators, None while they are not known: then nobody is one.
    """

    answer: str = MENTION
    members: str = roles.USER
    listens: bool = True
    admins: frozenset[int] | None = None


PLAIN: Final = Group()

# What the bot answers to in groups, beside the name that its owner has given it.
NAME: Final = "Famulus"


def access_of(telegram: Telegram) -> Access:
    """What the configuration says."""
    groups = {each.chat: Group(each.answer, each.members, each.context) for each in telegram.groups}
    return Access(
        frozenset(telegram.allowed_users),
        frozenset(telegram.allowed_chats),
        telegram.owner_id,
        frozenset(telegram.guests),
        groups,
        telegram.pairing,
        frozenset({NAME}),
    )


@frozen
class Access:
    """Who is answered: ids of people (in private chats) and of group chats.

    `called` are the names that the bot answers to at the beginning of a message, and `known` those
    of listed people, folded, with their ids.
    """

    users: frozenset[int]
    chats: frozenset[int]
    owner: int | None = None
    guests: frozenset[int] = frozenset()
    groups: Mapping[int, Group] = field(factory=dict)
    pairing: bool = False
    called: frozenset[str] = frozenset()
    known: Mapping[str, int] = field(factory=dict)

    @property
    def people(self) -> frozenset[int]:
        """Everybody who is answered in private."""
        own = frozenset() if self.owner is None else frozenset({self.owner})
        return self.users | self.guests | own

    @property
    def asks_admins(self) -> frozenset[int]:
        """The groups of which one must know who administers them."""
        return frozenset(chat for chat in self.chats if self.group(chat).answer == ADMINS)

    def permits(self, user_id: int | None, chat: Chat) -> bool:
        return user_id in self.people if chat.private else chat.id in self.chats

    def reaches(self, place: Place, account: str) -> bool:
        """Whether the bot `account` may write there unasked; a private chat has its person's id."""
        if (place.channel, place.account) != (CHANNEL, account):
            return False
        return int(place.chat) in self.people | self.chats

    def group(self, chat_id: int) -> Group:
        return self.groups.get(chat_id, PLAIN)

    def role(self, user_id: int, chat: Chat) -> str:
        """What a person may do in a chat where they are answered."""
        if user_id == self.owner:
            return roles.OWNER
        if user_id in self.guests:
            return roles.GUEST
        if user_id in self.users:
            return roles.USER
        return roles.GUEST if chat.private else self.group(chat.id).members

    def named(self, name: str, user_id: int) -> str:
        """What a person is called in the transcript of a group."""
        return speakers.shown_name(name, user_id, self.known)

    def with_rows(self, rows: Admissions) -> Access:
        """What the configuration says, which this is, with what rows add to it."""
        listed = self.people
        paired = {int(each): role for each, role in rows.paired.items() if int(each) not in listed}
        moved = self._follow(rows)
        groups = {chat: self._ruled(chat, origin, rows) for chat, origin in moved.items()}
        users = {each for each, role in paired.items() if role == roles.USER}
        people = listed | paired.keys()
        names = ((speakers.plain(name), each) for name, each in rows.names if each in people)
        return evolve(
            self,
            users=self.users | users,
            guests=self.guests | (paired.keys() - users),
            chats=frozenset(groups),
            groups=groups,
            known={name.casefold(): each for name, each in names if name},
        )

    def _follow(self, rows: Admissions) -> dict[int, int]:
        """The allowed chats and those that they have become, each with the one it was at first."""
        found: dict[int, int] = {}
        for origin in (*self.chats, *rows.groups):
            chat: int | None = origin
            while chat is not None and chat not in found:
                found[chat] = origin
                chat = rows.moves.get(chat)
        return found

    def _ruled(self, chat: int, origin: int, rows: Admissions) -> Group:
        added = Group() if origin in self.chats else Group(members=rows.groups[origin])
        group = self.groups.get(chat) or self.groups.get(origin) or added
        answer = rows.answers.get(chat, group.answer)
        return evolve(group, answer=answer, admins=rows.admins.get(chat))
