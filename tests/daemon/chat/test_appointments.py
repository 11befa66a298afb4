"""/tasks and its buttons, by the real router: what is scheduled is shown, run, paused, deleted."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from attrs import evolve

from agent.ports import Subtask
from agent.transcript import Answer, CallRequest
from daemon.chat import menus, tasks
from daemon.chat.appointments import MOST, MOST_OF_PROMPT
from daemon.schedule import advancing, booking, telling
from daemon.schedule.deciding import Arrival
from daemon.schedule.recurrence import Interval, Once, Recurrence
from daemon.store import children, jobs, journal, occurrences, people, turnrow, turns
from daemon.store.db import open_database
from daemon.store.values import Place
from tests.daemon.chat.taskchats import (
    BOT,
    HOUR,
    NOW,
    PAUSED_BY_ADA,
    PLAN,
    Chats,
    named,
)


@pytest.fixture
async def chats(tmp_path: Path) -> AsyncIterator[Chats]:
    async with open_database(tmp_path / "famulus.db") as database:
        yield Chats(database)


# --- The list ---


async def test_nothing_is_scheduled(chats: Chats) -> None:
    """One sentence, without buttons."""
    assert await chats.say("/tasks") == tasks.NOTHING
    assert await chats.labels() == []


async def test_a_job_is_listed_with_its_rule_and_its_next_time(chats: Chats) -> None:
    """And has one button, which bears its name."""
    job = await chats.add()
    assert await chats.say("/tasks") == f"Scheduled (1):\n1. {telling.line(job)}"
    assert await chats.labels() == [["1. stretch"]]


async def test_what_is_under_way_in_the_background_is_on_the_same_page(chats: Chats) -> None:
    """Before the jobs; stopping it leaves them there."""

    def spawn(db: sqlite3.Connection) -> int:
        here = people.ensure_session(db, Place("telegram", BOT, "1"), NOW)
        turn = turns.create(db, here, text="work", asked_at=1.0, now=NOW)
        answer = Answer("", (CallRequest("", "spawn", "{}"),))
        (call,) = journal.add_answer(db, turn.id, answer, NOW)
        return children.begin(db, turn.id, call.id, Subtask("do it", "brew"), NOW).id

    task = await chats.do(spawn)
    await chats.add()
    text = await chats.say("/tasks")
    assert text.startswith("Under way in the background:\n- brew: about to go on\n\nScheduled (1)")
    assert await chats.labels() == [["Stop: brew"], ["1. stretch"]]
    assert await chats.press("Stop: brew") == "Stopped."
    assert (await chats.do(lambda db: turnrow.get(db, task))).state == "ended"
    assert (await chats.page())[0].startswith("Scheduled (1)")


async def test_many_jobs_are_on_several_pages(chats: Chats) -> None:
    """Numbered through; from a job one comes back to the page that it was on."""
    for number in range(2 * MOST + 1):
        await chats.add(named(f"job {number}"))
    assert (await chats.say("/tasks")).startswith(f"Scheduled ({2 * MOST + 1}, 1 to {MOST}):")
    assert (await chats.labels())[-1] == ["More"]
    await chats.press("More")
    text, _ = await chats.page()
    assert f"{MOST + 1} to {2 * MOST}" in text
    assert (await chats.labels())[-1] == ["Back", "More"]
    await chats.press(f"{MOST + 2}. job {MOST + 1}")
    await chats.press("Back")
    assert (await chats.page())[0] == text
    await chats.press("More")
    assert await chats.labels() == [[f"{2 * MOST + 1}. job {2 * MOST}"], ["Back"]]
    await chats.press("Back")
    assert (await chats.page())[0] == text


async def test_a_page_that_has_become_empty_is_the_last_one(chats: Chats) -> None:
    """Its only job was deleted."""
    for number in range(MOST + 1):
        await chats.add(named(f"job {number}"))
    await chats.say("/tasks")
    await chats.press("More")
    await chats.press(f"{MOST + 1}. job {MOST}")
    await chats.press("Delete")
    assert await chats.press("Delete it") == "Deleted."
    text, _ = await chats.page()
    assert text.startswith(f"Scheduled ({MOST}):")
    assert ["More"] not in await chats.labels()
    assert ["Back"] not in await chats.labels()


async def test_a_list_that_is_cut_says_so(chats: Chats, monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be more than are looked up."""
    monkeypatch.setattr(booking, "MOST_LISTED", 2)
    for _ in range(2):
        await chats.add()
    assert (await chats.say("/tasks")).startswith("Scheduled (the first 2):")


async def test_labels_and_data_fit_into_buttons(chats: Chats) -> None:
    """However long a name is, and whatever is in it."""
    names = ["x" * 60, "word " * 12, "\u202eevil\u200b" * 6, "😀" * 60, "a\nb"]
    for name in names:
        await chats.add(named(name))
    text = await chats.say("/tasks")
    assert len(text) <= 4096
    for label, data in await chats.buttons():
        assert 0 < len(label) <= menus.ROW
        assert "\u202e" not in label
        assert 1 <= len(data.encode()) <= 64


# --- One of them ---


async def test_the_page_of_a_job_tells_all_about_it(chats: Chats) -> None:
    """Its prompt, what it may use, its next three times and its last five runs."""
    more = evolve(PLAN, silent=True, model="small", tools=("web_fetch",), tokens=5000)
    job = await chats.add(more)

    def run_and_end(db: sqlite3.Connection) -> list[str]:
        for number in range(7):
            occurrences.miss(db, job, Arrival(NOW - number), f"reason {number}", NOW)
        return [telling.run(each, PLAN.zone) for each in occurrences.history(db, job.id, 5)]

    runs = await chats.do(run_and_end)
    await chats.say("/tasks")
    assert await chats.press("1. stretch") == ""
    text, _ = await chats.page()
    assert text.startswith(
        f"stretch\n{telling.rule(job)}\nNext: {', '.join(telling.coming(job))}\n"
    )
    assert len(telling.coming(job)) == 3
    for line in ("You hear of it only when", "small", "web_fetch", "5,000", job.ref):
        assert line in text
    assert "What is to be done:\ntell me to stretch" in text
    assert "\n".join(["Last runs:", *(f"- {run}" for run in runs)]) in text
    assert text.count("reason") == 5
    assert await chats.labels() == [["Run now", "Pause", "Delete"], ["Back"]]


async def test_a_job_that_comes_once_tells_its_time_once(chats: Chats) -> None:
    """Its rule is that time."""
    once = evolve(PLAN, recurrence=Recurrence(Once(NOW + HOUR)), missed="once")
    job = await chats.add(once)
    text = await chats.say(f"/tasks {job.ref}")
    assert "Next:" not in text
    assert telling.rule(job) in text


async def test_a_long_prompt_is_cut_on_its_page(chats: Chats) -> None:
    """The page stays one message, with what comes below it."""
    job = await chats.add(evolve(PLAN, prompt="p" * 8000))
    text = await chats.say(f"/tasks {job.ref}")
    assert text.count("p" * MOST_OF_PROMPT) == 1
    assert "p" * (MOST_OF_PROMPT + 1) not in text
    assert job.ref in text


async def test_a_job_is_named_by_its_id(chats: Chats) -> None:
    """In whatever case; another word shows the list, below a sentence."""
    job = await chats.add()
    assert (await chats.say(f"/tasks {job.ref.upper()}")).startswith("stretch\n")
    text = await chats.say("/tasks nonsense")
    assert text.startswith("There is no scheduled prompt 'nonsense' here")
    assert "\n\nScheduled (1)" in text
    assert await chats.labels() == [["1. stretch"]]


async def test_a_job_is_begun_at_once(chats: Chats) -> None:
    """By two presses; a further one while it runs begins nothing."""
    job = await chats.add()
    await chats.say("/tasks")
    await chats.press("1. stretch")
    assert await chats.press("Run now") == "It is begun."
    assert chats.scheduled == 1
    assert chats.router.lanes.board.waiting == 1
    assert "by hand" in (await chats.page())[0]
    assert await chats.press("Run now") == "'stretch' is running already."
    assert (await chats.labels())[0] == ["Run now", "Pause", "Delete"]
    (turn,) = await chats.do(lambda db: occurrences.open_turns(db, job.id))
    assert (await chats.do(lambda db: turnrow.get(db, turn))).cause == "schedule"
    await chats.press("Back")
    assert "; running now" in (await chats.page())[0]


async def test_the_old_button_of_a_page_does_nothing_more(chats: Chats) -> None:
    """Two presses of one button are one."""
    job = await chats.add()
    await chats.say(f"/tasks {job.ref}")
    data = dict(await chats.buttons())
    await chats.press_data(data["Run now"])
    assert await chats.press_data(data["Run now"]) == "This was answered already."
    assert await chats.press_data(data["Pause"]) == "This was answered already."
    assert await chats.state(job) == "active"


async def test_a_job_is_paused_and_goes_on(chats: Chats) -> None:
    """The page and the list say that it is, and by whom."""
    job = await chats.add()
    await chats.say(f"/tasks {job.ref}")
    assert await chats.press("Pause") == "It is paused."
    assert chats.scheduled == 1
    assert f"It is paused: {PAUSED_BY_ADA}." in (await chats.page())[0]
    assert (await chats.labels())[0] == ["Run now", "Resume", "Delete"]
    assert "stretch: " in (text := await chats.say("/tasks"))
    assert f"; paused: {PAUSED_BY_ADA}" in text
    await chats.press("1. stretch")
    answer = await chats.press("Resume")
    assert answer == f"It goes on; {telling.when(await chats.job(job))}."
    assert chats.scheduled == 2
    assert await chats.state(job) == "active"
    assert (await chats.labels())[0] == ["Run now", "Pause", "Delete"]


async def test_a_job_that_is_paused_keeps_the_reason(chats: Chats) -> None:
    """Whoever pauses it again has seen an old page."""
    job = await chats.add()
    await chats.say(f"/tasks {job.ref}")
    why, ref = advancing.TOO_OFTEN, job.id
    await chats.do(lambda db: jobs.set_state(db, ref, "paused", why, NOW + HOUR, NOW))
    assert await chats.press("Pause") == "It is paused already."
    assert f"It is paused: {why}." in (await chats.page())[0]


async def test_a_paused_job_can_be_run_by_hand(chats: Chats) -> None:
    """It stays paused."""
    job = await chats.add()
    await chats.say(f"/tasks {job.ref}")
    await chats.press("Pause")
    assert await chats.press("Run now") == "It is begun."
    assert await chats.state(job) == "paused"


async def test_what_has_no_time_left_does_not_go_on(chats: Chats) -> None:
    """It says so, and stays as it is."""
    job = await chats.add(evolve(PLAN, recurrence=Recurrence(Interval(HOUR, NOW), until=NOW - 1)))
    await chats.say(f"/tasks {job.ref}")
    await chats.press("Pause")
    assert (await chats.press("Resume")).startswith("No time is left for 'stretch'")
    assert await chats.state(job) == "paused"


async def test_a_job_is_deleted_when_that_is_confirmed(chats: Chats) -> None:
    """By the second press, not by the first; what runs of it is ended."""
    job = await chats.add()
    await chats.say(f"/tasks {job.ref}")
    await chats.press("Run now")
    (turn,) = await chats.do(lambda db: occurrences.open_turns(db, job.id))
    assert await chats.press("Delete") == ""
    assert (await chats.page())[0].startswith("Shall I delete 'stretch'?")
    assert await chats.press("Keep it") == "It is kept."
    assert await chats.state(job) == "active"
    await chats.press("Delete")
    before = chats.scheduled
    assert await chats.press("Delete it") == "Deleted."
    assert chats.scheduled == before + 1
    assert (await chats.page())[0] == tasks.NOTHING
    assert await chats.do(lambda db: jobs.find(db, job.ref)) is None
    assert (await chats.do(lambda db: turnrow.get(db, turn))).state == "ended"
    assert chats.router.lanes.board.waiting == 0


@pytest.mark.parametrize("label", ["Run now", "Pause", "Delete", "Resume", "Delete it", "Keep it"])
async def test_a_job_that_is_gone_is_answered_with_the_list(chats: Chats, label: str) -> None:
    """Somebody else has deleted it meanwhile."""
    job, other = await chats.add(), await chats.add(named("other"))
    await chats.say(f"/tasks {job.ref}")
    if label == "Resume":
        await chats.press("Pause")
    if label.endswith("it"):
        await chats.press("Delete")
    await chats.do(lambda db: booking.delete(db, job, NOW))
    before = chats.scheduled
    assert await chats.press(label) == tasks.GONE
    assert (await chats.page())[0] == f"Scheduled (1):\n1. {telling.line(other)}"
    assert chats.scheduled == before


async def test_a_job_is_not_taken_for_one_that_is_called_like_it(chats: Chats) -> None:
    """A button is of one job, whatever others are named."""
    job = await chats.add()
    other = await chats.add(named(job.ref))
    await chats.say(f"/tasks {job.ref}")
    await chats.do(lambda db: booking.delete(db, job, NOW))
    assert await chats.press("Pause") == tasks.GONE
    assert await chats.state(other) == "active"


async def test_a_job_that_has_ended_can_be_looked_at_and_forgotten(chats: Chats) -> None:
    """It is not on the list; what its old page offered says that it has ended."""
    job = await chats.add()
    await chats.say(f"/tasks {job.ref}")
    await chats.do(lambda db: booking.call_off(db, job, "done", NOW))
    assert await chats.press("Run now") == "'stretch' has ended (done); make a new one."
    assert "It is ended: done." in (await chats.page())[0]
    assert await chats.labels() == [["Delete"], ["Back"]]
    await chats.press("Delete")
    assert await chats.press("Delete it") == "Deleted."
    assert await chats.do(lambda db: jobs.find(db, job.ref)) is None
