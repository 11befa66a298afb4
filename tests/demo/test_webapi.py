"""The chat page's server: whom it lets in, what it shows, and what can be done there."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio
import trio.testing
from attrs import define, field, frozen
from hypothesis import given
from hypothesis import strategies as st

from daemon.demo import webapi, webcast
from daemon.demo.servers import DemoServers
from daemon.demo.webacts import ACTS, MAX_PIECES, MAX_TEXT, BadAct, marks, read_act
from daemon.demo.webapi import ASSETS, ChatPage, shown_type
from daemon.demo.webview import difference
from daemon.demo.world import Message
from tests.demo.bots import Bot

ADA, BEN, GROUP = 1, 2, webcast.GROUP
PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 100
JSON = {"content-type": "application/json"}


@frozen
class Visitor:
    """A browser that has the page's address."""

    page: ChatPage
    http: httpx.AsyncClient

    async def act(self, kind: str, **what: Any) -> httpx.Response:
        body = {"kind": kind, "chat": ADA, "user": ADA, **what}
        return await self.http.post("act", json=body, headers={"origin": self.page.origin})

    async def upload(self, names: list[str], **what: Any) -> httpx.Response:
        act = {"kind": "say", "chat": ADA, "user": ADA, "names": names, **what}
        parts = {f"file{number:02d}": ("file", PNG) for number in range(len(names))}
        headers = {"origin": self.page.origin}
        return await self.http.post(
            "act", data={"act": json.dumps(act)}, files=parts, headers=headers
        )


@pytest.fixture
async def visitor(demo: DemoServers) -> AsyncIterator[Visitor]:
    webcast.gather(demo.bot)
    page = ChatPage(demo.bot, {"model": "a model"})
    async with trio.open_nursery() as nursery:
        await nursery.start(page.serve)
        async with httpx.AsyncClient(base_url=page.url, trust_env=False) as http:
            yield Visitor(page, http)
        nursery.cancel_scope.cancel()


def chat(visitor: Visitor, chat_id: int) -> list[Message]:
    return visitor.page.bot.chat(chat_id)


# --- Whom it lets in ---


async def test_the_page_and_its_files_are_there(visitor: Visitor) -> None:
    """Each with its type, and a policy that lets it load nothing else."""
    for name in ("", *ASSETS):
        answer = await visitor.http.get(name)
        assert answer.status_code == 200, name
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert (await visitor.http.get("app.js")).headers["content-type"].startswith("text/javascript")


async def test_a_page_has_nothing_inline(visitor: Visitor) -> None:
    """Scripts and styles are files, and nothing is fetched from elsewhere."""
    text = (await visitor.http.get("")).text
    assert "<script>" not in text
    assert "style=" not in text
    assert "http://" not in text
    assert "https://" not in text
    for name in ASSETS:
        if name.endswith(".js"):
            code = (await visitor.http.get(name)).text
            assert "innerHTML" not in code, name
            assert "eval(" not in code, name


@pytest.mark.parametrize("path", ["/", "/page.html", "/wrong/", "/wrong/events", "/wrong/act"])
async def test_nothing_is_there_without_the_key(visitor: Visitor, path: str) -> None:
    """A page in the same browser knows the port, at most."""
    for method in ("GET", "POST"):
        headers = {"origin": visitor.page.origin}
        answer = await visitor.http.request(method, visitor.page.origin + path, headers=headers)
        assert answer.status_code == 404


@pytest.mark.parametrize("path", ["act/", "../act", "file/", "file/nothing", "botapi.json", "x.js"])
async def test_what_is_not_there_is_not_found(visitor: Visitor, path: str) -> None:
    """Assets come from a list, files from the world: no path is ever opened."""
    assert (await visitor.http.get(path)).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "attacker.example:80"},
        {"host": "127.0.0.1"},
        {"origin": "http://attacker.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_other_names_and_other_pages_are_refused(
    visitor: Visitor, headers: dict[str, str]
) -> None:
    """A name that is made to lead here, and a page that knows the address."""
    assert (await visitor.http.get("", headers=headers)).status_code == 403
    given = {"origin": visitor.page.origin} | headers
    answer = await visitor.http.post("act", json={"kind": "say"}, headers=given)
    assert answer.status_code == 403


async def test_an_act_must_name_its_origin(visitor: Visitor) -> None:
    """Every browser does, for a POST."""
    assert (await visitor.http.post("act", json={"kind": "say"})).status_code == 403


async def test_a_file_that_is_no_picture_is_only_ever_saved(visitor: Visitor) -> None:
    """A page among the files must not run as one of ours."""
    page = visitor.page.bot.add_file(b"<script>alert(1)</script>", 'a \u00e9;".html')
    picture = visitor.page.bot.add_file(PNG, "a.html")
    answer = await visitor.http.get(f"file/{page}")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == (
        "attachment; filename*=UTF-8''a%20%C3%A9%3B%22.html"
    )
    assert (await visitor.http.get(f"file/{picture}")).headers["content-type"] == "image/png"


async def test_a_name_with_half_a_character_does_no_harm(visitor: Visitor) -> None:
    """JSON can name one; a header cannot carry it."""
    stored = visitor.page.bot.add_file(b"data", "a\ud800.bin")
    answer = await visitor.http.get(f"file/{stored}")
    assert answer.headers["content-disposition"].endswith("a%3F.bin")


def test_pictures_are_told_by_their_bytes() -> None:
    """Whatever a name or a sender says."""
    assert shown_type(b"RIFF1234WEBPVP8 ") == "image/webp"
    assert shown_type(b"RIFF1234WAVEfmt ") == "audio/wav"
    assert shown_type(b"RIFF1234AVI LIST") == ""
    assert shown_type(b"<svg xmlns='http://www.w3.org/2000/svg'/>") == ""
    assert shown_type(b"") == ""


# --- What it shows ---


@define
class Events:
    """A page's copy of what there is, on a connection of its own."""

    stream: trio.SocketStream
    values: dict[str, Any] = field(factory=dict)
    _held: bytes = b""

    async def until(self, key: str) -> Any:
        with trio.fail_after(20):
            while key not in self.values:
                await self.take()
        return self.values[key]

    async def gone(self, key: str) -> None:
        with trio.fail_after(20):
            while key in self.values:
                await self.take()

    async def take(self) -> None:
        """Read on, and apply the events that are whole."""
        *lines, self._held = (self._held + await self.stream.receive_some()).split(b"\n")
        for line in lines:
            if line.startswith(b"data: "):
                event = json.loads(line.removeprefix(b"data: "))
                self.values |= event["set"]
                for key in event["gone"]:
                    del self.values[key]


@asynccontextmanager
async def events(visitor: Visitor) -> AsyncIterator[Events]:
    url = httpx.URL(visitor.page.url)
    async with await trio.open_tcp_stream(url.host, url.port or 0) as stream:
        head = f"GET {url.path}events HTTP/1.1\r\nhost: {url.host}:{url.port}\r\n\r\n"
        await stream.send_all(head.encode())
        yield Events(stream)


async def test_the_stream_tells_all_and_then_what_changes(visitor: Visitor, bot: Bot) -> None:
    """Chats and people at once; then messages, their edits, reactions and ends."""
    async with events(visitor) as seen:
        assert (await seen.until(f"chat:{GROUP}"))["title"] == webcast.GROUP_TITLE
        assert (await seen.until("user:2"))["first_name"] == "Ben"
        assert seen.values["about"] == {"model": "a model"}
        await visitor.act("say", text="hello")
        assert (await seen.until("message:1:1"))["text"] == "hello"
        await bot.ok("sendMessage", chat_id=ADA, text="hi")
        assert (await seen.until("message:1:2"))["from"]["is_bot"]
        heart = [{"type": "emoji", "emoji": "\u2764"}]
        await bot.ok("setMessageReaction", chat_id=ADA, message_id=1, reaction=heart)
        while not seen.values["message:1:1"]["reaction"]:
            await seen.take()
        await bot.ok("deleteMessage", chat_id=ADA, message_id=2)
        await seen.gone("message:1:2")


async def test_a_late_page_sees_what_the_others_see(visitor: Visitor, bot: Bot) -> None:
    """An edit that happened before is not missed."""
    await visitor.act("say", text="hello")
    sent = await bot.ok("sendMessage", chat_id=ADA, text="first")
    await bot.ok("editMessageText", chat_id=ADA, message_id=sent["message_id"], text="second")
    async with events(visitor) as seen:
        assert (await seen.until(f"message:1:{sent['message_id']}"))["text"] == "second"


async def test_a_draft_and_an_action_are_there_until_the_message(
    visitor: Visitor, bot: Bot
) -> None:
    """What is being written gives way to what was written."""
    await visitor.act("say", text="hello")
    async with events(visitor) as seen:
        await bot.ok("sendChatAction", chat_id=ADA, action="typing")
        assert await seen.until("action:1") == "typing"
        await bot.ok("sendMessageDraft", chat_id=ADA, draft_id=7, text="I think")
        assert (await seen.until("draft:1"))["text"] == "I think"
        await bot.ok("sendMessage", chat_id=ADA, text="I think so.")
        await seen.gone("draft:1")
        await seen.gone("action:1")


async def test_commands_in_the_bots_texts_can_be_pressed(visitor: Visitor, bot: Bot) -> None:
    """Telegram finds them, but not in code."""
    await visitor.act("say", text="hello")
    code = [{"type": "code", "offset": 14, "length": 5}]
    await bot.ok("sendMessage", chat_id=ADA, text="/help and not /stop", entities=code)
    async with events(visitor) as seen:
        found = (await seen.until("message:1:2"))["entities"]
    assert {"type": "bot_command", "offset": 0, "length": 5} in found
    assert len(found) == 2


async def test_a_chat_has_the_menu_of_its_kind(visitor: Visitor, bot: Bot) -> None:
    """The narrowest that was set, else that for all."""

    def menu(name: str) -> list[dict[str, str]]:
        return [{"command": name, "description": "it"}]

    await bot.ok("setMyCommands", commands=menu("all"))
    await bot.ok("setMyCommands", commands=menu("here"), scope={"type": "all_group_chats"})
    async with events(visitor) as seen:
        assert await seen.until(f"commands:{ADA}") == menu("all")
        assert await seen.until(f"commands:{GROUP}") == menu("here")


entries = st.dictionaries(st.text(max_size=3), st.integers().map(str), max_size=5)


@given(entries, entries)
def test_a_difference_makes_the_new_of_the_old(old: dict[str, str], new: dict[str, str]) -> None:
    """Whatever was there, the page has afterwards what the server has; no news are no bytes."""
    text = difference(old, new)
    assert (text == "") == (old == new)
    if text:
        event = json.loads(text)
        page = {k: v for k, v in old.items() if k not in event["gone"]}
        page |= {k: json.dumps(v) for k, v in event["set"].items()}
        assert page == new


# --- What can be done ---


async def test_people_speak_in_their_chats_and_in_the_group(visitor: Visitor) -> None:
    """The update says who and where, and a command, a name and an address are marked."""
    assert (await visitor.act("say", text="/help me")).status_code == 200
    await visitor.act("say", chat=GROUP, user=BEN, text="@famulus_demo_bot hi")
    (mine,), (theirs,) = chat(visitor, ADA), chat(visitor, GROUP)
    assert mine.content["entities"] == [{"type": "bot_command", "offset": 0, "length": 5}]
    assert theirs.sender["first_name"] == "Ben"
    assert theirs.content["entities"][0]["type"] == "mention"
    assert len(visitor.page.bot.world.updates) == 2


@pytest.mark.parametrize("text", ["/etc/passwd", "a/b", "/ stop", "/x>"])
def test_a_path_is_no_command(text: str) -> None:
    """As with Telegram."""
    assert marks(text, "entities") == {}


def test_marks_count_utf16_units() -> None:
    """An emoji before them is two."""
    assert marks("\U0001f600 https://x.example/a", "entities") == {
        "entities": [{"type": "url", "offset": 3, "length": 19}]
    }
    assert marks("a/b and e@mail", "entities") == {}


async def test_pictures_become_an_album_and_the_words_go_with_the_first(visitor: Visitor) -> None:
    """One message each, one album, as Telegram does it; other files are documents."""
    answer = await visitor.upload(["a.png", "b.JPG", "../c;d.txt"], text="look")
    assert answer.status_code == 200
    first, second, third = chat(visitor, ADA)
    assert first.content["caption"] == "look"
    assert "caption" not in second.content
    assert "photo" in first.content
    assert "photo" in second.content
    assert third.content["document"]["file_name"] == "c;d.txt"
    assert len({m.content["media_group_id"] for m in (first, second, third)}) == 1


async def test_a_single_picture_is_no_album(visitor: Visitor) -> None:
    """And sent as a file it is a document."""
    await visitor.upload(["a.png"])
    await visitor.upload(["a.png"], as_files=True)
    photo, document = chat(visitor, ADA)
    assert "media_group_id" not in photo.content
    assert "document" in document.content


async def test_a_recording_is_a_voice_message(visitor: Visitor) -> None:
    """As one that was spoken into a telephone."""
    await visitor.upload(["note.ogg"])
    (message,) = chat(visitor, ADA)
    assert "voice" in message.content


async def test_replies_and_corrections(visitor: Visitor, bot: Bot) -> None:
    """A reply has what it answers, once; only one's own words can be corrected."""
    await visitor.act("say", text="helo")
    await bot.ok("sendMessage", chat_id=ADA, text="hi")
    await visitor.act("say", text="you", reply_to=2)
    await visitor.act("edit", message=1, text="hello")
    assert chat(visitor, ADA)[2].content["reply_to_message"]["text"] == "hi"
    assert chat(visitor, ADA)[0].text == "hello"
    assert (await visitor.act("edit", message=2, text="mine")).status_code == 400


async def test_a_correction_has_the_marks_of_its_own_words(visitor: Visitor) -> None:
    """Those of the old ones would lie beyond the new text."""
    await visitor.act("say", text="see https://example.org/a and /help")
    await visitor.act("edit", message=1, text="see")
    assert "entities" not in chat(visitor, ADA)[0].content
    await visitor.act("edit", message=1, text="/help")
    (mark,) = chat(visitor, ADA)[0].content["entities"]
    assert mark == {"type": "bot_command", "offset": 0, "length": 5}
    assert (await visitor.act("edit", message=1, text="x" * 4097)).status_code == 400


async def test_a_long_text_is_sent_in_pieces(visitor: Visitor) -> None:
    """As Telegram's clients do it, nothing lost; the words for a file are not cut."""
    text = "".join(f"{number} " for number in range(2500)).strip()
    await visitor.act("say", text=text)
    assert "".join(message.text for message in chat(visitor, ADA)) == text
    assert [len(message.text) for message in chat(visitor, ADA)][:2] == [4096, 4096]
    assert (await visitor.upload(["a.png"], text="x" * 1025)).status_code == 400


async def test_a_button_is_pressed_by_whoever_presses_it(visitor: Visitor, bot: Bot) -> None:
    """The page is told which query to watch; a forged one is not passed on."""
    await visitor.act("say", chat=GROUP, text="hello")
    board = {"inline_keyboard": [[{"text": "Yes", "callback_data": "yes:1"}]]}
    await bot.ok("sendMessage", chat_id=GROUP, text="?", reply_markup=board)
    answer = await visitor.act("press", chat=GROUP, user=BEN, message=2, data="yes:1")
    (query,) = visitor.page.bot.world.open_queries
    assert answer.json() == {"query": query}
    forged = await visitor.act("press", chat=GROUP, user=BEN, message=2, data="yes:2")
    assert forged.status_code == 400


async def test_the_daemon_is_killed_once_at_a_time(visitor: Visitor) -> None:
    """The page asks whoever can; a second wish while that happens is refused."""
    assert (await visitor.act("kill")).status_code == 400
    visitor.page.kill, wishes = trio.open_memory_channel[None](0)
    assert (await visitor.act("kill")).text == "it is being started again just now"
    async with events(visitor) as seen, trio.open_nursery() as nursery:
        assert await seen.until("alive") is True
        nursery.start_soon(wishes.receive)
        await trio.testing.wait_all_tasks_blocked()
        assert (await visitor.act("kill")).status_code == 200


async def test_a_draft_can_be_stopped(visitor: Visitor, bot: Bot) -> None:
    """The update names the draft; with nothing being written there is nothing to stop."""
    visitor.page.bot.world.updates.allowed = ("message", "stopped_message_generation")
    await visitor.act("say", text="hello")
    assert (await visitor.act("stop")).status_code == 400
    await bot.ok("sendMessageDraft", chat_id=ADA, draft_id=7, text="I think", can_stop=True)
    assert (await visitor.act("stop")).status_code == 200
    last = visitor.page.bot.world.updates.first(10)[-1]
    assert last["stopped_message_generation"]["draft_id"] == 7
    await bot.ok("sendMessage", chat_id=ADA, text="I think so.")
    assert (await visitor.act("stop")).status_code == 400


@pytest.mark.parametrize(
    "what",
    [
        {"kind": "nothing"},
        {"kind": "say", "text": ""},
        {"kind": "say", "text": "x" * (MAX_PIECES * MAX_TEXT + 1)},
        {"kind": "say", "text": "in the chat of another", "user": BEN},
        {"kind": "say", "text": "x", "user": 99},
        {"kind": "say", "text": "x", "chat": 99},
        {"kind": "say", "text": "x", "reply_to": 99},
        {"kind": "say", "text": 7},
        {"kind": "say", "chat": "1"},
        {"kind": "edit", "message": 99, "text": "x"},
        {"kind": "press", "message": 99, "data": "x"},
        {"kind": "press", "message": True},
    ],
)
async def test_what_cannot_be_done_is_said(visitor: Visitor, what: dict[str, Any]) -> None:
    """A sentence for the page, and the server goes on."""
    answer = await visitor.act(**what)
    assert answer.status_code == 400
    assert answer.text
    assert (await visitor.act("say", text="still here")).status_code == 200


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
fields = st.sampled_from(
    ["kind", "chat", "user", "message", "reply_to", "text", "data", "names", "as_files", "act"]
)


@given(st.dictionaries(fields, json_values | st.sampled_from(sorted(ACTS))))
def test_reading_an_act_trusts_nothing(values: dict[str, Any]) -> None:
    """Any JSON is an act with the right types, or is refused."""
    try:
        act = read_act("application/json", json.dumps(values).encode())
    except BadAct:
        return
    assert type(act.chat) is int
    assert type(act.text) is str


async def test_an_upload_that_is_too_large_is_refused(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More files than an album has."""
    assert (await visitor.upload([f"{n}.png" for n in range(11)])).status_code == 400
    assert chat(visitor, ADA) == []


async def test_a_page_that_leaves_ends_its_stream(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left behind for it, and the next one is served."""
    monkeypatch.setattr(webapi, "QUIET", 0.0)
    monkeypatch.setattr(webapi, "LOOK_EVERY", 0.01)
    async with events(visitor) as seen:
        await seen.until("user:1")
    assert (await visitor.act("say", text="still here")).status_code == 200
