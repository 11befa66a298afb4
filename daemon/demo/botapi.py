"""A Telegram Bot API server for one bot, faithful where a bot can notice.

The parts: `http` carries bytes and misbehaves on demand, `forms` and `params` read and check a
call, `world` is what Telegram knows, `sending`, `editing`, `service` and `polling` are the methods,
`faults` decides which calls go wrong. This file joins them and is the side that tests drive:

    async with open_demo_servers() as demo:
        bot = demo.bot
        bot.user_says("hello")                       # user 1 in the private chat 1
        await bot.wait_for(lambda bot: bot.texts(1) == ["hi"])
        bot.faults.add(Fault(method="sendMessage", status=429, retry_after=2))
        bot.press(bot.chat(1)[-1], "approve:7")
        assert bot.violations == []

`sent` lists, in order, everything that the chats showed because of the bot; `calls` lists every
call that arrived, refused ones too; `violations` lists calls that the reference does not allow
(unknown parameters, wrong types, a method not played here), which are also refused with 400, and
entities that the server drops or clips in silence.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn, TypeVar
from urllib.parse import unquote

import trio

from daemon.demo import editing, sending, service
from daemon.demo.calls import Action, ApiError, Call, Draft, Sent, Violation
from daemon.demo.faults import Fault, Faults
from daemon.demo.forms import FormError, read_form
from daemon.demo.http import Answer, Request, Response, serve
from daemon.demo.params import BadParameter, method_names, read_params
from daemon.demo.polling import WEBHOOK_SET, Polling
from daemon.demo.text import carelessness
from daemon.demo.world import Chat, Message, Wire, World

T = TypeVar("T")

DEMO_TOKEN = "1000000001:AAFamulusDemoTokenNotASecret0000000"  # noqa: S105 (opens nothing)
TOKEN = re.compile(r"[0-9]+:[A-Za-z0-9_-]{24,}")

METHODS: dict[str, Callable[[World, Call], Any]] = {
    "getMe": service.get_me,
    "getChat": service.get_chat,
    "getChatAdministrators": service.get_chat_administrators,
    "getFile": service.get_file,
    "sendChatAction": service.send_chat_action,
    "answerCallbackQuery": service.answer_callback_query,
    "setMyCommands": service.set_my_commands,
    "getMyCommands": service.get_my_commands,
    "deleteMyCommands": service.delete_my_commands,
    "setWebhook": service.set_webhook,
    "deleteWebhook": service.delete_webhook,
    "getWebhookInfo": service.get_webhook_info,
    "sendMessage": sending.send_message,
    "sendRichMessage": sending.send_rich_message,
    "sendMessageDraft": sending.send_message_draft,
    "sendPhoto": sending.send_photo,
    "sendDocument": sending.send_document,
    "sendAnimation": sending.send_animation,
    "sendVideo": sending.send_video,
    "sendAudio": sending.send_audio,
    "sendVoice": sending.send_voice,
    "sendMediaGroup": sending.send_media_group,
    "forwardMessage": sending.forward_message,
    "forwardMessages": sending.forward_messages,
    "copyMessage": sending.copy_message,
    "editMessageText": editing.edit_message_text,
    "editMessageCaption": editing.edit_message_caption,
    "editMessageReplyMarkup": editing.edit_message_reply_markup,
    "deleteMessage": editing.delete_message,
    "deleteMessages": editing.delete_messages,
    "setMessageReaction": editing.set_message_reaction,
}


class BotApiServer:
    """The server: run `serve` in a nursery, then drive it with the synchronous methods."""

    def __init__(self, token: str = DEMO_TOKEN) -> None:
        self.token = token
        self.base_url = ""
        self.faults = Faults()
        bot_id = int(token.partition(":")[0])
        bot: Wire = {"id": bot_id, "is_bot": True, "first_name": "Famulus"}
        bot |= {"username": "famulus_demo_bot", "can_join_groups": True}
        bot |= {"can_read_all_group_messages": False, "supports_inline_queries": False}
        self.world = World(bot)
        self._polling = Polling(self.world)
        self._next_query = 4_000_000_000

    async def serve(
        self,
        *,
        port: int = 0,
        task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
    ) -> NoReturn:
        """Serve until cancelled; reports the base URL, also kept in `base_url`."""
        async with trio.open_nursery() as nursery:
            self.base_url = await nursery.start(partial(serve, self._handle, port=port))
            task_status.started(self.base_url)
        raise AssertionError("a server ends only by cancellation")

    # What happened.

    @property
    def sent(self) -> list[Sent]:
        """Everything that chats showed because of the bot, oldest first."""
        return self.world.sent

    @property
    def drafts(self) -> list[Draft]:
        """Every preview that was shown."""
        return self.world.drafts

    @property
    def actions(self) -> list[Action]:
        """Every "typing" and the like that was shown."""
        return self.world.actions

    @property
    def calls(self) -> list[Call]:
        """Every call that arrived with the right token."""
        return self.world.calls

    @property
    def violations(self) -> list[Violation]:
        """The calls that the reference does not allow."""
        return self.world.violations

    def count(self, method: str) -> int:
        """Count the calls of a method so far."""
        return sum(call.method == method for call in self.world.calls)

    def chat(self, chat_id: int) -> list[Message]:
        """Give the messages that a chat shows now, those of people too, oldest first."""
        chat = self.world.chats.get(chat_id)
        return list(chat.messages.values()) if chat else []

    def texts(self, chat_id: int) -> list[str]:
        """Give the texts of the bot's messages that a chat shows now."""
        return [message.text for message in self.chat(chat_id) if message.from_bot]

    async def wait_for(self, look: Callable[[BotApiServer], T], timeout: float = 20.0) -> T:
        """Return the first true value of `look(self)`, looked at after every call.

        Raises NeverHappened, with an account of the last calls, after `timeout` seconds.
        """
        return await self.world.changes.wait_for(lambda: look(self), timeout, self.account)

    def account(self) -> str:
        """Say in a few lines what happened last, for a test that failed."""
        calls = [f"  {c.method} -> {c.status or '...'} {str(c.params)[:200]}" for c in self.calls]
        wrong = [f"  violation: {v.method} {v.parameter}: {v.problem}" for v in self.violations]
        return "\n".join([*calls[-15:], *wrong[-5:], f"  {len(self.world.updates)} updates wait"])

    # What people do.

    def push_update(self, update: dict[str, Any]) -> int:
        """Queue an update as it is, whatever kinds are allowed. Returns its number."""
        update_id = self.world.updates.push(update)
        self._polling.wake()
        return update_id

    def user_says(
        self,
        text: str | None,
        *,
        chat_id: int | None = None,
        user_id: int = 1,
        chat_type: str | None = None,
        message_thread_id: int | None = None,
        **extra: Any,  # noqa: ANN401 (further fields of a Message)
    ) -> int:
        """Put a person's message into a chat and queue its update.

        Without `chat_id` it is the person's private chat. `extra` are further Message fields, such
        as `reply_to_message` or `media_group_id`. Returns the update's number, 0 when the bot asked
        not to be told of messages.
        """
        chat = self.world.open_chat(user_id if chat_id is None else chat_id, chat_type)
        content = {**_spoken(text), **extra}
        if message_thread_id is not None:
            chat.threads.add(message_thread_id)
            content |= {"message_thread_id": message_thread_id, "is_topic_message": True}
        message = chat.add(self.world.user(user_id), content)
        return self._queue("message", message.wire())

    def user_sends_file(
        self,
        data: bytes,
        name: str,
        *,
        caption: str = "",
        user_id: int = 1,
        **extra: Any,  # noqa: ANN401
    ) -> int:
        """Put a person's document into a chat; more arguments as for `user_says`."""
        stored = self.world.add_file(data, name)
        document = {**stored.wire(), "file_name": name, "mime_type": stored.mime_type}
        if caption:
            extra["caption"] = caption
        return self.user_says(None, user_id=user_id, document=document, **extra)

    def user_edits(self, message: Message, text: str, **extra: Any) -> int:  # noqa: ANN401 (as above)
        """Change a person's message; the entities of the old words go with them."""
        kept = {k: v for k, v in message.content.items() if k != "entities"}
        message.content = {**kept, **_spoken(text), **extra, "edit_date": message.date}
        return self.push_edit(message)

    def push_edit(self, message: Message) -> int:
        """Tell the bot that a person's message has changed; it reads as it is now."""
        return self._queue("edited_message", message.wire())

    def press(self, message: Message | Sent, data: str, *, user_id: int | None = None) -> int:
        """Press a button of a message; `data` may be forged, as in real life."""
        shown = self.world.chats[message.chat_id].messages.get(message.message_id)
        where = {"id": message.chat_id, "type": "private"}
        gone = {"chat": where, "message_id": message.message_id, "date": 0}
        self._next_query += 1
        query = str(self._next_query)
        self.world.open_queries.add(query)
        body: Wire = {"id": query, "from": self.world.user(user_id or abs(message.chat_id))}
        body |= {"message": shown.wire() if shown else gone, "data": data, "chat_instance": "1"}
        return self._queue("callback_query", body)

    def press_stop(self, draft: Draft) -> int:
        """Press the Stop button of a draft, which may be gone by now. Raises if it had none."""
        if not draft.can_stop:
            raise ValueError("this draft has no Stop button")
        chat = self.world.chats[draft.chat_id]
        if chat.draft is not None and not chat.draft.keep_on_stop:
            chat.draft = None
        body: Wire = {"chat": chat.wire(), "draft_id": draft.draft_id}
        if draft.thread is not None:
            body["message_thread_id"] = draft.thread
        return self._queue("stopped_message_generation", body)

    def block(self, chat_id: int, *, blocked: bool = True) -> int:
        """Block the bot (or throw it out of a group), or let it in again."""
        chat = self.world.open_chat(chat_id)
        chat.blocked = blocked
        states = ["member", "kicked"] if blocked else ["kicked", "member"]
        old, new = ({"user": self.world.bot, "status": s, "until_date": 0} for s in states)
        body: Wire = {"chat": chat.wire(), "from": self.world.user(abs(chat_id))}
        body |= {"date": int(time.time()), "old_chat_member": old, "new_chat_member": new}
        return self._queue("my_chat_member", body)

    def open_chat(self, chat_id: int, kind: str | None = None, *, is_forum: bool = False) -> Chat:
        """Make a chat known in which nobody has said anything yet."""
        return self.world.open_chat(chat_id, kind, is_forum=is_forum)

    def add_file(self, data: bytes, name: str = "") -> str:
        """Keep a file and give its file id, for `user_says(None, photo=[...])` and the like."""
        return self.world.add_file(data, name).file_id

    def _queue(self, kind: str, body: Wire) -> int:
        return self.push_update({kind: body}) if self.world.updates.allows(kind) else 0

    # What the bot does.

    async def _handle(self, request: Request) -> Answer:
        _, _, path = unquote(request.path).partition("/")
        prefix, _, rest = path.partition("/")
        if prefix == "file":
            prefix, _, rest = rest.partition("/")
            return self._refused(prefix) or self._download(rest)
        return self._refused(prefix) or await self._call(request, rest)

    def _refused(self, prefix: str) -> Response | None:
        token = prefix.removeprefix("bot")
        if token == self.token and prefix != token:
            return None
        known = TOKEN.fullmatch(token) and prefix != token
        return _refusal(ApiError(401, "Unauthorized") if known else ApiError(404, "Not Found"))

    def _download(self, path: str) -> Response:
        for stored in self.world.files.values():
            if stored.path == path:
                return Response(200, stored.data, "application/octet-stream")
        return _refusal(ApiError(404, "Not Found"))

    async def _call(self, request: Request, name: str) -> Answer:
        method = method_names().get(name.lower())
        if method is None:
            return _refusal(ApiError(404, "Not Found: method not found"))
        call = Call(method, {}, time.monotonic())
        self.calls.append(call)
        try:
            answer = await self._answer(request, call)
        except ApiError as error:
            answer = _refusal(error)
        finally:
            self.world.changes.tell()
        call.status = answer.status if isinstance(answer, Response) else 0
        self.world.changes.tell()
        return answer

    async def _answer(self, request: Request, call: Call) -> Answer:
        if (early := self.faults.take(call, in_body=True)) is not None:
            self.world.changes.tell()
            await early.interrupt(request)
        wrong = await self._read(request, call)
        fault = self.faults.take(call)
        self.world.changes.tell()
        if fault is not None and not fault.after_effect:
            await fault.wait(request)
            if (answer := fault.answer()) is not None:
                return answer
        if wrong is not None:
            raise wrong
        if fault is not None and fault.after_effect:
            return await self._answer_falsely(request, call, fault)
        return _result(await self._perform(request, call))

    async def _answer_falsely(self, request: Request, call: Call, fault: Fault) -> Answer:
        """Let the call have its effect, and the fault decide what the bot hears of it."""
        call.status_if_done = 0 if fault.cut or fault.reset else fault.status or 200
        result = await self._perform(request, call)
        self.world.changes.tell()
        await fault.wait(request)
        return fault.answer() or _result(result)

    async def _read(self, request: Request, call: Call) -> ApiError | None:
        """Fill in the call's parameters; gives the refusal if they are not right."""
        body = await request.body()
        try:
            form = read_form(request.headers.get("content-type", ""), request.query, body)
        except FormError as error:
            self.violations.append(Violation(call.method, "", str(error)))
            return ApiError(error.status, str(error))
        call.params, call.files = form.values, form.files
        try:
            call.params = read_params(call.method, form)
        except BadParameter as error:
            self.violations.append(Violation(call.method, error.name, error.problem))
            return ApiError(400, f"Bad Request: {error}")
        return None

    async def _perform(self, request: Request, call: Call) -> Any:  # noqa: ANN401 (any JSON)
        if call.method == "getUpdates":
            self.world.changes.tell()
            return await self._polling.get_updates(call, request)
        if call.method not in METHODS:
            self.violations.append(Violation(call.method, "", "not played by this server"))
            raise ApiError(400, f"Bad Request: this server does not play {call.method}")
        self._note_carelessness(call)
        result = METHODS[call.method](self.world, call)
        if call.method == "setWebhook" and self.world.webhook.url:
            self._polling.conflict(WEBHOOK_SET)
        return result

    def _note_carelessness(self, call: Call) -> None:
        for text, entities in (("text", "entities"), ("caption", "caption_entities")):
            given = call.params.get(entities)
            if given and (problem := carelessness(call.params.get(text, ""), given)):
                self.violations.append(Violation(call.method, entities, problem))


def _spoken(text: str | None) -> Wire:
    """Give the text field of a person's message, a command marked as one."""
    if text is None:
        return {}
    if not text.startswith("/"):
        return {"text": text}
    length = len(text.split(maxsplit=1)[0])
    return {"text": text, "entities": [{"type": "bot_command", "offset": 0, "length": length}]}


def _json(value: Any) -> bytes:  # noqa: ANN401 (any JSON)
    # Escaped, as the official server does it: half a character passes, for what reads it to mend.
    return json.dumps(value, separators=(",", ":")).encode()


def _result(result: Any) -> Response:  # noqa: ANN401 (any JSON)
    return Response(200, _json({"ok": True, "result": result}))


def _refusal(error: ApiError) -> Response:
    headers: tuple[tuple[str, str], ...] = ()
    if error.parameters and "retry_after" in error.parameters:
        headers = (("retry-after", str(error.parameters["retry_after"])),)
    return Response(error.code, _json(error.wire()), headers=headers)
