"""The Bot API server, as a bot and as a test see it."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import cache
from typing import Any

import httpx
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.demo.botapi import METHODS, BotApiServer
from daemon.demo.calls import ApiError, Call, Violation
from daemon.demo.changes import NeverHappened
from daemon.demo.editing import NOT_MODIFIED
from daemon.demo.faults import Fault
from daemon.demo.forms import Upload
from daemon.demo.params import _data, _fields_of, params_of
from daemon.demo.world import ACTION_SECONDS, DRAFT_SECONDS
from tests.demo.bots import Bot


async def test_a_wrong_token_is_refused_like_the_real_one(bot: Bot) -> None:
    """A token of the right form is unauthorized, anything else is not found."""
    for token, code in (("123456:" + "A" * 35, 401), ("nonsense", 404)):
        for path in (f"/bot{token}/getMe", f"/file/bot{token}/x"):
            assert (await bot.http.get(path)).status_code == code
    assert (await bot.http.get("/")).status_code == 404
    assert (await bot.http.get(f"/bot{bot.server.token}/getYou")).status_code == 404


async def test_method_names_do_not_mind_the_case(bot: Bot) -> None:
    """The official server accepts getme."""
    assert (await bot.ok("getme"))["is_bot"] is True


async def test_a_conversation(bot: Bot) -> None:
    """A message of a person comes as an update, the answer shows in the chat."""
    update_id = bot.server.user_says("hello", user_id=5)
    (update,) = await bot.ok("getUpdates")
    assert update["update_id"] == update_id
    assert update["message"]["from"]["id"] == update["message"]["chat"]["id"] == 5
    await bot.ok("sendMessage", chat_id=5, text="hi")
    assert bot.server.texts(5) == ["hi"]
    assert [m.text for m in bot.server.chat(5)] == ["hello", "hi"]
    (sent,) = bot.server.sent
    assert (sent.method, sent.chat_id, sent.message_id, sent.text) == ("sendMessage", 5, 2, "hi")
    assert sent.status == 200


async def test_wrong_calls_are_refused_and_recorded(bot: Bot) -> None:
    """Every violation of the reference is a 400 and stays on record."""
    bot.server.user_says("hello")
    code, text = await bot.refused("sendMessage", chat_id=1, text="hi", reply_to_message_id=1)
    assert code == 400
    assert "reply_to_message_id" in text
    assert bot.server.violations == [
        Violation("sendMessage", "reply_to_message_id", "sendMessage has no such parameter")
    ]
    await bot.refused("banChatMember", chat_id=1, user_id=2)
    assert bot.server.violations[-1].method == "banChatMember"


async def test_broken_json_is_a_400(bot: Bot) -> None:
    """A body that is no JSON is refused in words."""
    url = f"/bot{bot.server.token}/sendMessage"
    answer = await bot.http.post(url, content=b"{", headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["ok"]) == (400, False)


async def test_refusals_have_the_official_words(bot: Bot) -> None:
    """Texts that clients look at are those of the official server."""
    bot.server.user_says("hello")
    assert await bot.refused("sendMessage", chat_id=2, text="x") == (
        400,
        "Bad Request: chat not found",
    )
    assert await bot.refused("sendMessage", chat_id=1, text=" ") == (
        400,
        "Bad Request: message text is empty",
    )
    assert await bot.refused("sendMessage", chat_id=1, text="x" * 4097) == (
        400,
        "Bad Request: message is too long",
    )
    bot.server.block(1)
    assert await bot.refused("sendMessage", chat_id=1, text="x") == (
        403,
        "Forbidden: bot was blocked by the user",
    )


async def test_an_edit_changes_what_the_chat_shows(bot: Bot) -> None:
    """An edit shows in the chat; the same edit again is "not modified"."""
    bot.server.user_says("hello")
    sent = await bot.ok("sendMessage", chat_id=1, text="draft")
    where = {"chat_id": 1, "message_id": sent["message_id"]}
    await bot.ok("editMessageText", **where, text="final")
    assert bot.server.texts(1) == ["final"]
    assert await bot.refused("editMessageText", **where, text="final") == (400, NOT_MODIFIED)
    assert (await bot.refused("editMessageText", chat_id=1, message_id=1, text="x"))[1].endswith(
        "message can't be edited"
    )
    await bot.ok("deleteMessage", **where)
    assert bot.server.texts(1) == []
    assert (await bot.refused("editMessageText", **where, text="x"))[1].endswith(
        "to edit not found"
    )


async def test_buttons(bot: Bot) -> None:
    """A pressed button is a callback query that can be answered once."""
    bot.server.user_says("hello")
    keyboard = {"inline_keyboard": [[{"text": "Yes", "callback_data": "y:1"}]]}
    await bot.ok("sendMessage", chat_id=1, text="Sure?", reply_markup=keyboard)
    question = bot.server.chat(1)[-1]
    assert [b["text"] for b in question.buttons] == ["Yes"]
    bot.server.press(question, "y:1")
    query = (await bot.ok("getUpdates"))[-1]["callback_query"]
    assert (query["data"], query["from"]["id"]) == ("y:1", 1)
    await bot.ok("answerCallbackQuery", callback_query_id=query["id"], text="done")
    assert bot.server.world.answers[query["id"]]["text"] == "done"
    assert (await bot.refused("answerCallbackQuery", callback_query_id=query["id"]))[0] == 400
    await bot.ok("editMessageReplyMarkup", chat_id=1, message_id=question.message_id)
    assert question.buttons == []
    data = {"inline_keyboard": [[{"text": "x", "callback_data": "x" * 65}]]}
    assert (await bot.refused("sendMessage", chat_id=1, text="x", reply_markup=data))[0] == 400


async def test_a_button_of_a_deleted_message_is_inaccessible(bot: Bot) -> None:
    """Its message comes with the date 0."""
    bot.server.user_says("hello")
    sent = await bot.ok("sendMessage", chat_id=1, text="x")
    gone = bot.server.chat(1)[-1]
    await bot.ok("deleteMessage", chat_id=1, message_id=sent["message_id"])
    bot.server.press(gone, "x")
    assert (await bot.ok("getUpdates"))[-1]["callback_query"]["message"]["date"] == 0


async def test_drafts_are_for_private_chats(bot: Bot) -> None:
    """A draft is a preview without a number; groups have none; Stop is an update."""
    bot.server.user_says("hello")
    bot.server.user_says("hello", chat_id=-100)
    await bot.ok("sendMessageDraft", chat_id=1, draft_id=7, text="thin", can_stop=True)
    assert [d.text for d in bot.server.drafts] == ["thin"]
    assert bot.server.sent == []
    assert (await bot.refused("sendMessageDraft", chat_id=-100, draft_id=7, text="x"))[0] == 400
    assert (await bot.refused("sendMessageDraft", chat_id=1, draft_id=0, text="x"))[0] == 400
    bot.server.press_stop(bot.server.drafts[0])
    stopped = (await bot.ok("getUpdates"))[-1]["stopped_message_generation"]
    assert stopped["draft_id"] == 7


async def test_a_draft_fades_and_gives_way_to_a_message(bot: Bot) -> None:
    """It is shown for half a minute, or until the bot's next message; so is "typing", for 5 s."""
    bot.server.user_says("hi")
    await bot.ok("sendChatAction", chat_id=1, action="typing")
    await bot.ok("sendMessageDraft", chat_id=1, draft_id=7, text="thin")
    chat, now = bot.server.chat(1)[0].chat, bot.server.drafts[0].at
    assert chat.shown_draft(now + DRAFT_SECONDS - 1) is bot.server.drafts[0]
    assert chat.shown_draft(now + DRAFT_SECONDS) is None
    assert chat.shown_action(now) == "typing"
    assert chat.shown_action(now + ACTION_SECONDS) == ""
    with pytest.raises(ValueError, match="no Stop button"):
        bot.server.press_stop(bot.server.drafts[0])
    await bot.ok("sendMessage", chat_id=1, text="thin ice")
    assert (chat.shown_draft(now), chat.shown_action(now)) == (None, "")


async def test_topics(bot: Bot) -> None:
    """A topic must exist, and the General topic must be left out."""
    bot.server.open_chat(-100, is_forum=True)
    bot.server.user_says("in a topic", chat_id=-100, message_thread_id=9)
    sent = await bot.ok("sendMessage", chat_id=-100, message_thread_id=9, text="there")
    assert sent["message_thread_id"] == 9
    for thread in (1, 10):
        refused = await bot.refused("sendMessage", chat_id=-100, message_thread_id=thread, text="x")
        assert refused == (400, "Bad Request: message thread not found")


async def test_replies(bot: Bot) -> None:
    """A reply names its message, and must find it unless told otherwise."""
    bot.server.user_says("hello")
    sent = await bot.ok("sendMessage", chat_id=1, text="a", reply_parameters={"message_id": 1})
    assert sent["reply_to_message"]["text"] == "hello"
    wanted = {"message_id": 99}
    assert (await bot.refused("sendMessage", chat_id=1, text="a", reply_parameters=wanted))[
        0
    ] == 400
    wanted = {"message_id": 99, "allow_sending_without_reply": True}
    await bot.ok("sendMessage", chat_id=1, text="a", reply_parameters=wanted)


async def test_files_come(bot: Bot) -> None:
    """A person's file is an update with an id, getFile gives a path, the path the bytes."""
    bot.server.user_sends_file(b"\x00\x01", "a.bin", caption="look")
    message = (await bot.ok("getUpdates"))[0]["message"]
    assert (message["caption"], message["document"]["file_name"]) == ("look", "a.bin")
    found = await bot.ok("getFile", file_id=message["document"]["file_id"])
    answer = await bot.http.get(f"/file/bot{bot.server.token}/{found['file_path']}")
    assert answer.content == b"\x00\x01"
    assert (await bot.http.get(f"/file/bot{bot.server.token}/no")).status_code == 404
    assert (await bot.refused("getFile", file_id="no"))[1] == "Bad Request: invalid file_id"


async def test_files_go_by_multipart(bot: Bot) -> None:
    """Documents, photos and albums are uploaded, and can be sent again by id."""
    bot.server.user_says("hello")
    url = f"/bot{bot.server.token}/"
    files = {"document": ("r.txt", b"report", "text/plain")}
    sent = (await bot.http.post(f"{url}sendDocument", data={"chat_id": "1"}, files=files)).json()
    file_id = sent["result"]["document"]["file_id"]
    assert bot.server.world.files[file_id].data == b"report"
    await bot.ok("sendDocument", chat_id=1, document=file_id, caption="again")
    media = [
        {"type": "photo", "media": "attach://one", "caption": "1"},
        {"type": "photo", "media": "attach://two"},
    ]
    album = await bot.http.post(
        f"{url}sendMediaGroup",
        data={"chat_id": "1", "media": json.dumps(media)},
        files={"one": ("1.png", b"1"), "two": ("2.png", b"2")},
    )
    groups = {message["media_group_id"] for message in album.json()["result"]}
    assert len(groups) == 1
    assert bot.server.texts(1) == ["", "again", "1", ""]
    assert (await bot.refused("sendPhoto", chat_id=1, photo="attach://no"))[0] == 400


@pytest.mark.parametrize("kind", ["animation", "video", "audio", "voice"])
async def test_films_and_sounds_go_as_such(bot: Bot, kind: str) -> None:
    """Each by its own method; a chat's message has the file in the field of that name."""
    bot.server.user_says("hello")
    method = f"send{kind.capitalize()}"
    answer = await bot.http.post(
        f"/bot{bot.server.token}/{method}", data={"chat_id": "1"}, files={kind: ("f", b"bytes")}
    )
    assert answer.json()["result"][kind]["file_size"] == 5
    (message,) = (message for message in bot.server.chat(1) if message.from_bot)
    assert (message.file_kind, message.file["file_size"]) == (kind, 5)
    assert bot.server.violations == []


async def test_kinds_that_do_not_go_together_are_no_album(bot: Bot) -> None:
    """Pictures and films do; a document stands with documents."""
    bot.server.user_says("hello")
    file_id = bot.server.add_file(b"x")
    for kinds, status in ((("photo", "video"), 0), (("photo", "document"), 400)):
        media = [{"type": kind, "media": file_id} for kind in kinds]
        if status:
            refused = await bot.refused("sendMediaGroup", chat_id=1, media=media)
            assert refused[0] == status
        else:
            assert len(await bot.ok("sendMediaGroup", chat_id=1, media=media)) == len(kinds)


async def test_an_upload_over_the_limit(bot: Bot) -> None:
    """A photo has its own limit."""
    bot.server.user_says("hello")
    big = {"photo": ("p.png", bytes(11 * 1024 * 1024))}
    answer = await bot.http.post(
        f"/bot{bot.server.token}/sendPhoto", data={"chat_id": "1"}, files=big
    )
    assert (answer.status_code, "too big for a photo" in answer.text) == (400, True)


async def test_forwards_and_copies(bot: Bot) -> None:
    """A forward names its origin, a copy does not."""
    bot.server.user_says("original", user_id=1)
    bot.server.user_says("hello", user_id=2)
    origin = {"chat_id": 2, "from_chat_id": 1, "message_id": 1}
    assert (await bot.ok("forwardMessage", **origin))["forward_origin"]["sender_user"]["id"] == 1
    await bot.ok("copyMessage", **origin)
    assert bot.server.texts(2) == ["original", "original"]


async def test_commands_and_reactions(bot: Bot) -> None:
    """The menu is kept per scope; a reaction stands at its message."""
    bot.server.user_says("/start now")
    assert (await bot.ok("getUpdates"))[0]["message"]["entities"][0]["length"] == 6
    menu = [{"command": "stop", "description": "Stop"}]
    await bot.ok("setMyCommands", commands=menu)
    assert await bot.ok("getMyCommands") == menu
    assert await bot.ok("getMyCommands", scope={"type": "all_group_chats"}) == []
    bad = [{"command": "Stop!", "description": "x"}]
    assert (await bot.refused("setMyCommands", commands=bad))[0] == 400
    thumb = [{"type": "emoji", "emoji": "\N{THUMBS UP SIGN}"}]
    await bot.ok("setMessageReaction", chat_id=1, message_id=1, reaction=thumb)
    assert list(bot.server.chat(1)[0].reaction) == thumb


async def test_faults_hit_only_their_calls(bot: Bot) -> None:
    """A fault is for a method and a chat, and is used up."""
    for user in (1, 2):
        bot.server.user_says("hello", user_id=user)
    fault = Fault(method="sendMessage", chat_id=1, status=429, retry_after=3)
    bot.server.faults.add(fault)
    await bot.ok("sendMessage", chat_id=2, text="x")
    answer = await bot.call("sendMessage", chat_id=1, text="x")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")
    assert answer.json()["parameters"] == {"retry_after": 3}
    await bot.ok("sendMessage", chat_id=1, text="x")
    assert fault.used == 1


async def test_the_two_ways_a_connection_is_cut(bot: Bot) -> None:
    """Cut before: nothing is shown. Cut after: it is shown, and the bot cannot know."""
    bot.server.user_says("hello")
    for fault, shown in ((Fault.cut_before(), []), (Fault.cut_after("sendMessage"), ["x"])):
        bot.server.faults.add(fault)
        with pytest.raises(httpx.RemoteProtocolError):
            await bot.call("sendMessage", chat_id=1, text="x")
        assert bot.server.texts(1) == shown
    assert [s.status for s in bot.server.sent] == [0]
    bot.server.faults.add(Fault.cut_before(reset=True))
    with pytest.raises(httpx.ReadError):
        await bot.call("sendMessage", chat_id=1, text="x")


async def test_an_html_502_and_a_500_after_the_effect(bot: Bot) -> None:
    """Servers in front of the real one answer HTML; an error may come after the effect."""
    bot.server.user_says("hello")
    bot.server.faults.add(Fault.bad_gateway())
    answer = await bot.call("sendMessage", chat_id=1, text="x")
    assert (answer.status_code, answer.text[:6]) == (502, "<html>")
    bot.server.faults.add(Fault(status=500, after_effect=True))
    assert (await bot.refused("sendMessage", chat_id=1, text="x"))[0] == 500
    assert bot.server.texts(1) == ["x"]
    assert bot.server.sent[-1].status == 500


async def test_a_stall_lasts_until_it_is_released(bot: Bot) -> None:
    """A stalled call is answered as usual once released."""
    bot.server.user_says("hello")
    stall = bot.server.faults.add(Fault.stalled("sendMessage"))
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send() -> None:
            await bot.ok("sendMessage", chat_id=1, text="late")

        await bot.server.wait_for(lambda _server: stall.used)
        assert bot.server.texts(1) == []
        stall.release()
        await bot.server.wait_for(lambda server: server.texts(1) == ["late"])


async def test_waiting_in_vain_tells_what_was_seen(bot: Bot) -> None:
    """A wait that fails says what happened in its place."""
    await bot.ok("getMe")
    with pytest.raises(NeverHappened, match="getMe -> 200"):
        await bot.server.wait_for(lambda server: server.sent, timeout=0.01)


async def test_what_the_server_puts_right_in_silence_is_on_record(bot: Bot) -> None:
    """Entities that are dropped or clipped do not fail the call, but a test can see them."""
    bot.server.user_says("hello")
    bold = {"type": "bold", "offset": 0, "length": 1}
    for entities in ([bold] * 101, [{**bold, "length": 9}]):
        await bot.ok("sendMessage", chat_id=1, text="short", entities=entities)
        assert bot.server.violations.pop().parameter == "entities"
    await bot.ok("sendMessage", chat_id=1, text="short", entities=[bold])
    assert bot.server.violations == []


async def test_half_a_character_is_refused(bot: Bot) -> None:
    """JSON can name a lone surrogate; text cannot hold one."""
    bot.server.user_says("hello")
    url = f"/bot{bot.server.token}/sendMessage"
    for text, status in ((b"\\ud83d", 400), (b"\\ud83d\\ude00", 200)):
        body = b'{"chat_id": 1, "text": "' + text + b'"}'
        answer = await bot.http.post(
            url, content=body, headers={"content-type": "application/json"}
        )
        assert answer.status_code == status


def values_of(types: tuple[str, ...]) -> st.SearchStrategy[Any]:
    """Make values of a parameter's types, as deep as a bot would go."""
    return st.one_of([values_of_one(name) for name in types])


@cache
def values_of_one(name: str) -> st.SearchStrategy[Any]:
    if name.startswith("[]"):
        return st.lists(values_of_one(name[2:]), max_size=3)
    if name in SIMPLE_VALUES:
        return SIMPLE_VALUES[name]
    line = _data()["types"][name]
    if line.startswith("="):
        return st.deferred(lambda: values_of(tuple(line[1:].split("|"))))
    fields = {
        f.name: st.deferred(lambda types=f.types: values_of(types))
        for f in _fields_of(name).values()
    }
    needed = {f.name: fields[f.name] for f in _fields_of(name).values() if f.required}
    other = {f: fields[f] for f in list(fields)[:6] if f not in needed}
    return st.fixed_dictionaries(needed, optional=other)


SIMPLE_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "int": st.sampled_from([-100, 0, 1, 2, 7, 10**18]),
    "float": st.floats(),
    "bool": st.booleans(),
    "str": st.sampled_from(["", "x", "<b>x</b>", "HTML", "attach://f", "typing", "y" * 5000]),
    "InputFile": st.just("attach://f"),
}


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), st.sampled_from(sorted(METHODS)))
def test_no_call_breaks_the_server(data: st.DataObject, method: str) -> None:
    """Any call that keeps to the reference has a result or a refusal, which JSON can carry."""
    server = BotApiServer()
    server.user_says("hello")
    server.user_says("hello", chat_id=-100, message_thread_id=7)
    given_params = {
        p.name: data.draw(values_of(p.types), label=p.name)
        for p in params_of(method).values()
        if p.required or data.draw(st.booleans())
    }
    call = Call(method, given_params, 0.0, {"f": Upload("f", "text/plain", b"x")})
    with suppress(ApiError):
        json.dumps(METHODS[method](server.world, call))
    json.dumps([message.wire() for message in server.chat(1)])
