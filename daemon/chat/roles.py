"""Roles, and what each may do: an owner, a user, a guest. Pure; what is not named is refused.

A turn has the least role of those who have spoken in it, so nobody gets more by joining in what
somebody else has begun.
"""

from __future__ import annotations

from typing import Final

OWNER: Final = "owner"
USER: Final = "user"
GUEST: Final = "guest"

_ASCENDING: Final = (GUEST, USER, OWNER)

# Commands of a guest; all others are for users.
GUEST_COMMANDS: Final = frozenset({"start", "help", "new", "stop", "usage"})
# Commands that are the owner's alone.
OWNER_COMMANDS: Final = frozenset({"answer", "pair"})

# Tools of a guest: what only reads, and nothing of the files, the code or the servers of others.
GUEST_TOOLS: Final = frozenset(
    {
        "current_datetime",
        "calculate_expression",
        "web_fetch",
        "web_search",
        "memory_search",
        "chat_memory_info",
    }
)
# And what keeps things for the chat, where that is the guest's own.
GUEST_TOOLS_ALONE: Final = GUEST_TOOLS | {"kv_memory", "chat_memory_trim"}


def least(*roles: str) -> str:
    """The role that may do no more than any of these; an unknown one is a guest's."""
    return min((role if role in _ASCENDING else GUEST for role in roles), key=_ASCENDING.index)


def may_command(role: str, name: str) -> bool:
    """Whether this role may give that command. An unknown one is answered with help by others."""
    if name in OWNER_COMMANDS:
        return role == OWNER
    return role in {OWNER, USER} or name in GUEST_COMMANDS


def may_use(role: str, tool: str, *, in_group: bool) -> bool:
    """Whether a turn of this role is offered that tool."""
    if role in {OWNER, USER}:
        return True
    return tool in (GUEST_TOOLS if in_group else GUEST_TOOLS_ALONE)


def refusal(name: str) -> str:
    """What is said to somebody who may not give a command."""
    if name in OWNER_COMMANDS:
        return f"/{name} is for the owner of this bot, whose id is telegram.owner in its settings."
    return f"/{name} is not for guests."
