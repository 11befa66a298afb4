"""`[telegram]` and `[[telegram.groups]]`: their values. `config_people` has the rules of most."""

from __future__ import annotations

from attrs import field, frozen

from daemon.config_server import Webhook
from daemon.secret import Secret


def without_final_slash(url: str) -> str:
    return url.rstrip("/")


@frozen(kw_only=True)
class GroupRule:
    """`[[telegram.groups]]`: how an allowed group is answered.

    `members` is the role of those of its members who have none of their own; `context` says whether
    what they say to each other is told to the model when it is next spoken to.
    """

    chat: int
    answer: str = "mention"
    members: str = "user"
    context: bool = True


@frozen(kw_only=True)
class Telegram:
    """`[telegram]`: the bot, and who may talk to it. Times are seconds.

    `owner_id` is the owner: who is said to be, or else the only one who may talk to the bot.
    """

    token: Secret
    api_base_url: str = field(default="https://api.telegram.org", converter=without_final_slash)
    mode: str = "poll"
    poll_timeout: int = 50
    webhook: Webhook | None = None
    owner: int = 0
    streaming: str = "auto"
    rich: str = "off"
    allowed_users: tuple[int, ...] = ()
    guests: tuple[int, ...] = ()
    allowed_chats: tuple[int, ...] = ()
    groups: tuple[GroupRule, ...] = ()
    pairing: bool = False

    @property
    def owner_id(self) -> int | None:
        others = self.guests or self.allowed_chats or self.pairing
        alone = len(self.allowed_users) == 1 and not others
        return self.owner or (self.allowed_users[0] if alone else None)
