"""What the configuration may say about people and groups beside the types of its keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from daemon.config_telegram import Telegram

# As `daemon.chat.access` and `daemon.chat.roles` name them; written out, since neither is needed
# to read a file.
POLICIES: Final = ("mention", "all", "admin-only")
MEMBERS: Final = ("user", "guest")


def broken_rule(value: list[Any]) -> str | None:
    """What tables of `telegram.groups` should be, if one of them is not."""
    tables = [each for each in value if isinstance(each, Mapping)]
    if any(each.get("answer", "mention") not in POLICIES for each in tables):
        return f"answer to be one of {', '.join(POLICIES)}"
    if any(each.get("members", "user") not in MEMBERS for each in tables):
        return f"members to be one of {', '.join(MEMBERS)}"
    counts = Counter(str(each.get("chat")) for each in tables)
    return "one table for each chat" if any(count > 1 for count in counts.values()) else None


def _user_ids(value: list[int]) -> str | None:
    return None if all(one > 0 for one in value) else "user ids, which are positive numbers"


def _chat_ids(value: list[int]) -> str | None:
    return None if all(value) else "chat ids, none of which is 0"


RULES: Final[Mapping[str, Callable[[Any], str | None]]] = {
    "telegram.owner": lambda value: None if value >= 0 else "a user id, which is a positive number",
    "telegram.allowed_users": _user_ids,
    "telegram.guests": _user_ids,
    "telegram.allowed_chats": _chat_ids,
    "telegram.groups": broken_rule,
}


def conflicts(telegram: Telegram) -> dict[str, str]:
    """What is refused though each key is right by itself, by key path."""
    found = {}
    users = {*telegram.allowed_users, telegram.owner} - {0}
    if both := users & set(telegram.guests):
        found["telegram.guests"] = f"expected nobody who is a user or the owner, found {min(both)}"
    if telegram.pairing and telegram.owner_id is None:
        found["telegram.pairing"] = "expected telegram.owner, too: nobody could let anybody in"
    strangers = {rule.chat for rule in telegram.groups} - set(telegram.allowed_chats)
    if strangers:
        chat = min(strangers)
        found["telegram.groups"] = f"expected chats of telegram.allowed_chats, found {chat}"
    return found


def warnings(telegram: Telegram) -> Iterator[str]:
    """Sentences about what is allowed but probably not meant."""
    if telegram.allowed_chats and telegram.owner_id is None:
        yield (
            "telegram.owner is not set: nobody can say /answer in a group, "
            "nor hears when the bot is added to one"
        )
    if not (telegram.allowed_users or telegram.allowed_chats or telegram.owner_id):
        yield (
            "telegram.allowed_users and telegram.allowed_chats are empty: "
            "nobody will be answered; add your own Telegram user id"
        )
