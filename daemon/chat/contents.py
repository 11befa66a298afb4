"""What a person's message holds, in words for the model, and the files that came with it: pure.

`contents` reads everything that a message may hold besides its routing: the words, whom it replies
to and which words of theirs, where a forward comes from, a place, a card, a poll, and the files,
which are only named here. It reads what Telegram sends without believing in it: a field that is
missing or of another type is passed over, and whatever is there, the text is kept.

Everything in brackets is said by us. Names and quotes inside them come from outside, so they are
made one bounded line without brackets of their own.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterator

from attrs import evolve, field, frozen

from daemon.chat.fields import Fields, line, quoted, utf16_slice
from daemon.chat.incoming import files_of, sticker_words
from daemon.store.attachments import File
from daemon.store.sayings import Imprint
from daemon.telegram.types import Message

MOST_LINKS = 10
MOST_OPTIONS = 12  # of a poll; the Bot API allows as many
MOST_TASKS = 30  # of a checklist
NAME_LENGTH = 80
QUOTE_LENGTH = 300

# What can be sent to a bot and is nothing that this program can open.
CLOSED = {
    "story": "a story",
    "paid_media": "paid media",
    "game": "a game",
    "invoice": "an invoice",
    "giveaway": "a giveaway",
    "gift": "a gift",
    "rich_message": "a formatted article",
}
UNOPENED = "[They sent {what}, which you cannot open; tell them so.]"


@frozen
class Contents:
    """A message in words: `before` them what they refer to, `after` them what came with them.

    `words` are the person's own, as written. `forwarded` if they are somebody else's.
    """

    words: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    files: tuple[File, ...] = ()
    forwarded: bool = False

    @property
    def text(self) -> str:
        """What the model reads, before anything is known of the files."""
        return "\n".join(part for part in (*self.before, self.words, *self.after) if part)

    def without_files(self, remark: str) -> Contents:
        """The same for somebody whose files are not fetched: a remark for each about what it is."""
        told = tuple(remark.format(told=each.told) for each in self.files)
        return evolve(self, after=(*self.after, *told), files=())

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to answer: a service message."""
        return not (self.words or self.after or self.files)

    @property
    def imprint(self) -> Imprint:
        """What an edit is compared by. A place that moves and a poll that is voted on are none."""
        own = [each.unique_id or each.file_id for each in self.files if not each.replied]
        return Imprint(_digest(self.words), _digest("\n".join(own)) if own else "")


NOTHING = Contents("")


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=8).hexdigest() if text else ""


def contents(message: Message, account: str) -> Contents:
    """Read a message to the bot whose id is `account`."""
    raw = Fields.of(message.raw)
    words = message.body.strip()
    reply = _reply(message, raw, account)
    origin = (_origin(raw.inner("forward_origin")),) if message.forward_origin is not None else ()
    bot = (_via(raw.inner("via_bot")),) if message.via_bot is not None else ()
    after = tuple(_links(raw, message.body)) + tuple(_things(raw))
    return Contents(
        words,
        (*reply.words, *origin, *bot),
        after,
        (*files_of(raw), *reply.files),
        forwarded=message.forward_origin is not None,
    )


# --- What it refers to ---


@frozen
class _Reply:
    words: tuple[str, ...] = ()
    files: tuple[File, ...] = field(default=())


def _reply(message: Message, raw: Fields, account: str) -> _Reply:
    """What the message replies to, in this chat or in another."""
    replied, elsewhere = raw.inner("reply_to_message"), raw.inner("external_reply")
    quote = _quote(raw.inner("quote"), _said(replied))
    if replied and not opens_topic(message, replied):
        ours = replied.inner("from").number("id") == int(account)
        whose = "your message" if ours else f"a message of {_sender(replied)}"
        files = () if ours else files_of(replied, replied=str(replied.number("message_id") or ""))
        return _Reply((f"[Replying to {whose}{quote or _what(replied)}]",), files)
    if elsewhere:
        whose = _whose(elsewhere.inner("origin")) or "somebody"
        where = f"[Replying to a message of {whose} in another chat"
        return _Reply((f"{where}{quote or _what(elsewhere)}]",), files_of(elsewhere, replied="?"))
    if raw.inner("reply_to_story"):
        return _Reply(("[Replying to a story, which you cannot open]",))
    return _Reply((f"[Replying{quote}]",) if quote else ())


def opens_topic(message: Message, replied: Fields) -> bool:
    """In a forum every message replies to what opened its topic, as far as Telegram goes."""
    topic = message.is_topic_message and replied.number("message_id") == message.message_thread_id
    return topic or "forum_topic_created" in replied.values


def _said(raw: Fields) -> str:
    return raw.text("text") or raw.text("caption")


def _quote(quote: Fields, whole: str) -> str:
    """The words that were picked from the message, with dots where it goes on."""
    text = quote.text("text")
    if not text:
        return ""
    at, units = quote.number("position") or 0, len(text.encode("utf-16-le", "replace")) // 2
    total = len(whole.encode("utf-16-le", "replace")) // 2
    before, after = ("... " if at > 0 else ""), (" ..." if at + units < total else "")
    return f": {quoted(text, QUOTE_LENGTH, before, after)}"


def _what(raw: Fields) -> str:
    """What a message that is replied to said or showed; '' if nothing of it is known."""
    if said := _said(raw):
        return f": {quoted(said, QUOTE_LENGTH)}"
    things = [f", {each.told}" for each in files_of(raw)[:1]]
    return things[0] if things else ""


def _sender(raw: Fields) -> str:
    """Who wrote a message: a chat where it speaks for itself, else a person."""
    return _chat(raw.inner("sender_chat")) or _person(raw.inner("from")) or "somebody"


def _person(raw: Fields) -> str:
    name = f"{raw.text('first_name')} {raw.text('last_name')}".strip()
    return line(name or raw.text("username"), NAME_LENGTH)


def _chat(raw: Fields) -> str:
    return line(raw.text("title") or raw.text("username"), NAME_LENGTH)


def _whose(origin: Fields) -> str:
    """Who first wrote what was forwarded or replied to; '' if that is not said."""
    name = (
        _person(origin.inner("sender_user"))
        or line(origin.text("sender_user_name"), NAME_LENGTH)
        or _chat(origin.inner("sender_chat"))
        or _chat(origin.inner("chat"))
    )
    signed = line(origin.text("author_signature"), NAME_LENGTH)
    return f"{name} ({signed})" if name and signed else name


def _origin(origin: Fields) -> str:
    whose, when = _whose(origin), _when(origin.number("date"))
    channel = "the channel " if origin.text("type") == "channel" and whose else ""
    source = f" from {channel}{whose}" if whose else ""
    return f"[Forwarded{source}{f', written {when}' if when else ''}]"


def _via(bot: Fields) -> str:
    """A result that the person has picked from another bot's list."""
    name = line(bot.text("username"), NAME_LENGTH)
    return f"[Written by another bot{f', @{name}' if name else ''}, which they have asked for it]"


def _when(seconds: int | None) -> str:
    if not seconds or seconds < 0:
        return ""
    try:
        at = dt.datetime.fromtimestamp(seconds, dt.UTC)
    except (ValueError, OverflowError, OSError):  # a year that no calendar has
        return ""
    return f"{at:%Y-%m-%d %H:%M} UTC"


# --- What came with it ---


def _links(raw: Fields, body: str) -> Iterator[str]:
    """The addresses behind words, which the words do not show."""
    entities = raw.objects("entities" if raw.text("text") else "caption_entities")
    links = [each for each in entities if each.text("type") == "text_link"]
    for each in links[:MOST_LINKS]:
        at, length = each.number("offset"), each.number("length")
        if url := line(each.text("url"), QUOTE_LENGTH):
            yield f"[{quoted(utf16_slice(body, at or 0, length or 0), NAME_LENGTH)} links to {url}]"


def _things(raw: Fields) -> Iterator[str]:
    """Everything that is no file, one line each."""
    for name, describe in THINGS.items():
        thing = raw.inner(name)
        if thing and not (name == "location" and raw.inner("venue")):
            yield describe(thing)
    for name, what in CLOSED.items():
        if raw.values.get(name):
            yield UNOPENED.format(what=what)


def _location(raw: Fields) -> str:
    live = "live location, now at" if raw.number("live_period") else "location"
    return f"[{live}: {_coordinates(raw)}]"


def _coordinates(raw: Fields) -> str:
    """Six decimals are a step of a person."""
    latitude, longitude = raw.decimal("latitude"), raw.decimal("longitude")
    if latitude is None or longitude is None:
        return "unknown"
    accuracy = raw.decimal("horizontal_accuracy")
    exact = f", exact to {accuracy:.0f} m" if accuracy else ""
    return f"latitude {latitude:.6f}, longitude {longitude:.6f}{exact}"


def _venue(raw: Fields) -> str:
    name = line(raw.text("title"), NAME_LENGTH)
    address = line(raw.text("address"), QUOTE_LENGTH)
    named = ", ".join(part for part in (name, address) if part)
    return f"[place: {named or 'unnamed'} ({_coordinates(raw.inner('location'))})]"


def _contact(raw: Fields) -> str:
    number = line(raw.text("phone_number"), NAME_LENGTH)
    return f"[contact: {', '.join(part for part in (_person(raw), number) if part) or 'unnamed'}]"


def _poll(raw: Fields) -> str:
    kind = "quiz" if raw.text("type") == "quiz" else "poll"
    options = raw.objects("options")[:MOST_OPTIONS]
    listed = "; ".join(line(each.text("text"), NAME_LENGTH) for each in options)
    return f"[{kind}: {quoted(raw.text('question'), QUOTE_LENGTH)} Options: {listed}]"


def _checklist(raw: Fields) -> str:
    tasks = raw.objects("tasks")[:MOST_TASKS]
    listed = "; ".join(line(each.text("text"), NAME_LENGTH) for each in tasks)
    return f"[checklist: {quoted(raw.text('title'), QUOTE_LENGTH)} Tasks: {listed}]"


def _dice(raw: Fields) -> str:
    return f"[dice {line(raw.text('emoji'), 8)}: {raw.number('value') or 0}]"


THINGS: dict[str, Callable[[Fields], str]] = {
    "location": _location,
    "venue": _venue,
    "contact": _contact,
    "poll": _poll,
    "checklist": _checklist,
    "dice": _dice,
    "sticker": sticker_words,
}
