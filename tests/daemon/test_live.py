"""The real daemon shows its answers while they are written, and can be stopped in the middle."""

from __future__ import annotations

import itertools
import time

from daemon.demo.botapi import BotApiServer
from daemon.demo.faults import Fault
from daemon.demo.replies import ChatRequest, Item, Reply
from daemon.telegram.show import PATIENCE
from tests.harness.rig import Rig, open_rig

GROUP = -5
IN_GROUP = {"allowed_chats": [GROUP], "groups": [{"chat": GROUP, "answer": "all"}]}
WORDS = "One two three four five six seven eight nine ten eleven twelve."


def story(request: ChatRequest) -> Item:
    """A slow story, and quick answers to all else."""
    return Reply(WORDS, chunks=12, pause=0.25) if "story" in request.user_text else "quick"


def last_text(bot: BotApiServer, chat: int) -> str:
    texts = bot.texts(chat)
    return texts[-1] if texts else ""


async def ask(rig: Rig, text: str) -> None:
    rig.model.script = story
    await rig.start()
    rig.bot.user_says(text, user_id=1)


async def test_a_private_chat_sees_drafts_that_grow() -> None:
    """Each draft is more of the answer, a second apart, under one number; then it is a message."""
    async with open_rig() as rig:
        await ask(rig, "a story")
        await rig.bot.wait_for(lambda bot: bot.texts(1) == [WORDS])
        drafts = rig.bot.drafts
        assert len(drafts) >= 2
        assert len({draft.draft_id for draft in drafts}) == 1
        assert all(draft.text and WORDS.startswith(draft.text) for draft in drafts)
        times = [draft.at for draft in drafts]
        assert all(b - a > 0.95 for a, b in itertools.pairwise(times))
        assert rig.bot.chat(1)[0].chat.draft is None
        assert rig.bot.count("sendMessage") == 1
        assert rig.bot.violations == []


async def test_a_quick_answer_is_not_shown_before_it_is_there() -> None:
    """Neither a draft nor "typing" comes before an answer that takes no time."""
    async with open_rig() as rig:
        await ask(rig, "warm up")  # the first turn loads what turns need
        await rig.bot.wait_for(lambda bot: bot.texts(1) == ["quick"])
        shown = len(rig.bot.drafts), len(rig.bot.actions)
        for _ in range(5):
            before, began = len(rig.bot.texts(1)), time.monotonic()
            rig.bot.user_says("again", user_id=1)
            await rig.bot.wait_for(lambda bot, n=before: len(bot.texts(1)) > n)
            if time.monotonic() - began < PATIENCE:  # a machine that is busy may take longer
                assert (len(rig.bot.drafts), len(rig.bot.actions)) == shown
            shown = len(rig.bot.drafts), len(rig.bot.actions)


async def test_the_stop_button_ends_the_turn_and_keeps_what_was_said() -> None:
    """The words stand in the chat and in the transcript, and the lane is free again."""
    async with open_rig() as rig:
        await ask(rig, "a story")
        draft = await rig.bot.wait_for(lambda bot: len(bot.drafts) > 1 and bot.drafts[-1])
        rig.bot.press_stop(draft)
        await rig.bot.wait_for(lambda bot: last_text(bot, 1).endswith("\n\nStopped."))
        said = last_text(rig.bot, 1).removesuffix("\n\nStopped.")
        assert said.startswith(draft.text)
        assert WORDS.startswith(said)
        rig.bot.press_stop(draft)  # of a turn that is over, so it is nobody's
        rig.bot.user_says("and now?", user_id=1)
        await rig.bot.wait_for(lambda bot: last_text(bot, 1) == "quick")
        history = [str(each.get("content")) for each in rig.model.requests[-1].messages]
        assert any(said in each and "stopped" in each for each in history)
        assert rig.value("SELECT count(*) FROM inbox WHERE outcome = 'stopped before'") == 1
        assert rig.bot.violations == []


async def test_stop_in_a_group_leaves_one_finished_message() -> None:
    """The message that grew becomes what was said, with the word that it was stopped."""
    async with open_rig((), telegram=IN_GROUP) as rig:
        rig.model.script = story
        await rig.start()
        rig.bot.user_says("a story", chat_id=GROUP, user_id=1)
        await rig.bot.wait_for(lambda bot: bot.texts(GROUP))
        rig.bot.user_says("/stop", chat_id=GROUP, user_id=1)
        await rig.bot.wait_for(lambda bot: last_text(bot, GROUP).endswith("Stopped."))
        assert len(rig.bot.texts(GROUP)) == 1
        assert await rig.stop() == 0
        assert rig.bot.sent[-1].text == last_text(rig.bot, GROUP), "nothing was shown after it"


async def test_what_a_server_refuses_is_not_offered_again() -> None:
    """First the Stop button is left away, then drafts are; the answer comes all the same."""
    async with open_rig() as rig:
        rig.bot.faults.add(Fault(method="sendMessageDraft", status=400, times=2))
        await ask(rig, "a story")
        await rig.bot.wait_for(lambda bot: bot.texts(1) == [WORDS])
        calls = [call.params for call in rig.bot.calls if call.method == "sendMessageDraft"]
        assert [bool(params.get("can_stop")) for params in calls] == [True, False]
        assert rig.bot.count("sendMessage") == 1
        assert rig.bot.sent[-1].method == "editMessageText", "the answer took the message's place"


async def test_under_429_previews_are_what_is_dropped() -> None:
    """A chat that takes no drafts for now still gets its answer, once, as soon as it may."""
    async with open_rig() as rig:
        rig.bot.faults.add(Fault(method="sendMessageDraft", status=429, retry_after=2, times=-1))
        await ask(rig, "a story")
        await rig.bot.wait_for(lambda bot: bot.texts(1) == [WORDS])
        assert rig.bot.drafts == []
        assert rig.bot.count("sendMessageDraft") <= 3
        assert rig.bot.count("sendMessage") == 1


async def test_off_shows_typing_alone() -> None:
    """With streaming off the chat sees that something happens, and nothing of it."""
    async with open_rig((1,), telegram={"streaming": "off"}) as rig:
        await ask(rig, "a story")
        await rig.bot.wait_for(lambda bot: bot.texts(1) == [WORDS])
        assert rig.bot.drafts == []
        assert {action.action for action in rig.bot.actions} == {"typing"}
