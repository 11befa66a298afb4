"""The chat page in a browser: the real daemon behind it, and what a newcomer does first.

The demo is a process of its own, so the browser's driver, which brings an asyncio loop, has this
one's main thread to itself while these tests run. They need a Chromium of the system.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
URL = re.compile(r"http://127\.0\.0\.1:\d+/\S+/")
# Milliseconds; generous, because they only end tests that have failed.
PATIENCE = 20_000
START_SECONDS = 40

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A demo that runs, and the address of its page."""
    screen = tmp_path_factory.mktemp("demo") / "screen"
    with screen.open("wb") as out:
        command = [sys.executable, "-u", "-m", "daemon", "demo", "--web"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        demo = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out)
    try:
        yield _address(demo, screen)
    finally:
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(30) == 0


def _address(demo: subprocess.Popen[bytes], screen: Path) -> str:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and demo.poll() is None:
        if found := URL.search(screen.read_text()):
            return found[0]
        time.sleep(0.05)
    raise AssertionError(f"the demo did not start:\n{screen.read_text()}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, without its own sandbox where root runs it: there it has none."""
    args = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=args)
        yield found
        found.close()


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """The page with Ada's chat open, and no word in the browser's console."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    opened, complaints = context.new_page(), list[str]()
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda said: complaints.append(said.text))
    opened.goto(url)
    expect(opened.locator("[aria-current] .row-title")).to_have_text("Ada")
    yield opened
    context.close()
    assert complaints == []


def say(page: Page, text: str) -> None:
    page.get_by_role("textbox", name="Message").fill(text)
    page.keyboard.press("Enter")


def replies(page: Page) -> Locator:
    """The bot's messages."""
    return page.locator(".message.in .bubble")


def runs_code(page: Page) -> bool:
    return "runs in a sandbox" in (page.locator("#about").text_content() or "")


def test_a_message_is_sent_and_answered(page: Page) -> None:
    """Typed, sent with Enter, shown on the right, and answered on the left."""
    say(page, "what is 17 * (3 + 4)?")
    expect(page.locator(".message.out .words").last).to_have_text("what is 17 * (3 + 4)?")
    expect(replies(page).last).to_contain_text("17 * (3 + 4) = 119")
    expect(page.get_by_role("textbox", name="Message")).to_have_value("")


def test_text_is_shown_as_text(page: Page) -> None:
    """What looks like markup runs nowhere."""
    say(page, "<img src=x onerror=alert(1)> & <b>bold</b>")
    expect(page.locator(".message.out .words").last).to_have_text(
        "<img src=x onerror=alert(1)> & <b>bold</b>"
    )
    assert page.locator(".messages img[src=x], .messages b").count() == 0


def test_a_plot_arrives_as_a_picture(page: Page) -> None:
    """And is shown large when it is pressed, and small again by Escape."""
    if not runs_code(page):
        pytest.skip("no sandbox works on this host")
    say(page, "plot a sine")
    picture = page.locator(".message.in .picture img").last
    expect(picture).to_be_visible()
    page.wait_for_function(
        "() => [...document.querySelectorAll('.picture img')].pop().naturalWidth > 300"
    )
    picture.click()
    expect(page.get_by_role("dialog", name="Picture")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Picture")).to_be_hidden()


def test_a_file_comes_as_one_that_can_be_saved(page: Page) -> None:
    """Under its name, with what is in it."""
    if not runs_code(page):
        pytest.skip("no sandbox works on this host")
    say(page, "make a file hello.txt and send it")
    link = page.locator(".message.in .file").last
    expect(link).to_contain_text("hello.txt")
    with page.expect_download() as waited:
        link.click()
    assert waited.value.suggested_filename == "hello.txt"
    assert waited.value.path().read_text()


def test_code_is_shown_as_code(page: Page) -> None:
    """A block with a button that copies it."""
    if not runs_code(page):
        pytest.skip("no sandbox works on this host")
    say(page, "run python: print(sum(range(10)))")
    expect(page.locator(".message.in .pre code").last).to_have_text(re.compile(r"45\n?"))
    expect(page.get_by_role("button", name="Copy the code").last).to_be_visible()


def test_a_table_is_shown_as_one(page: Page) -> None:
    """It comes as a rich message, with what is in its cells."""
    say(page, "Prices:\n\n| what | cost |\n|---|---|\n| **tea** | 3 |")
    table = page.locator(".message.in table").last
    expect(table.locator("th")).to_have_text(["what", "cost"])
    expect(table.locator("td strong")).to_have_text("tea")


def test_what_cannot_be_sent_is_said_before(page: Page, tmp_path: Path) -> None:
    """An empty file is not taken, and the rest of what was chosen is."""
    (tmp_path / "empty.txt").touch()
    (tmp_path / "full.txt").write_text("words")
    page.locator("#files").set_input_files([tmp_path / "empty.txt", tmp_path / "full.txt"])
    expect(page.locator("#toast")).to_contain_text("empty.txt is empty")
    expect(page.locator(".thumb-name")).to_have_text(["full.txt"])


def test_an_album_is_uploaded(page: Page, tmp_path: Path) -> None:
    """Two pictures together, seen before they are sent, and one message for the eye."""
    picture = tmp_path / "picture.png"
    page.locator(".side").screenshot(path=picture)
    page.locator("#files").set_input_files([picture, picture])
    expect(page.locator(".thumb img")).to_have_count(2)
    say(page, "two of a kind")
    album = page.locator(".message.out .album").last
    expect(album.locator("img")).to_have_count(2)
    expect(page.locator(".message.out .words").last).to_have_text("two of a kind")
    expect(page.locator(".thumb")).to_have_count(0)


def test_what_asks_is_answered_by_a_button(page: Page) -> None:
    """The question has buttons; pressing one ends it, and the question says how."""
    say(page, "post http://127.0.0.1:9/: hello")
    question = page.locator(".message.in", has_text="http_client").last
    question.locator("button.key", has_text="Deny").click()
    expect(question.locator("button.key")).to_have_count(0)


def test_an_answer_comes_as_it_is_written_and_can_be_stopped(page: Page) -> None:
    """A draft with a Stop button; after it the draft is gone, and what was said stays."""
    say(page, "tell me a long story")
    draft = page.locator(".message.draft")
    expect(draft).to_contain_text("Long ago")
    draft.get_by_role("button", name="Stop").click()
    expect(draft).to_have_count(0)
    expect(replies(page).last).to_contain_text("The famulus and the lamp")
    expect(replies(page).last).not_to_contain_text("the end of the story")


def test_stop_is_a_command_as_well(page: Page) -> None:
    """In the middle of a turn, from the menu of commands."""
    if not runs_code(page):
        pytest.skip("no sandbox works on this host")
    say(page, "loop forever")
    expect(page.locator("#head-state")).to_contain_text("…")
    page.get_by_role("button", name="Commands").click()
    page.locator("#commands").get_by_role("button", name="/stop").click()
    expect(replies(page).last).to_contain_text(re.compile("[Ss]top"))


def test_two_people_and_a_group(page: Page) -> None:
    """Ben's chat has nothing of Ada's, and in the group either can speak."""
    say(page, "my name is Ada")
    expect(replies(page).last).to_contain_text("Nice to meet you, Ada")
    page.get_by_role("navigation", name="Chats").get_by_text("Ben").click()
    expect(page.locator(".message")).to_have_count(0)
    expect(page.locator("#welcome")).to_contain_text("Hello, Ben")
    page.get_by_role("navigation", name="Chats").get_by_text("Garden Club").click()
    page.get_by_role("radio", name="Ben").click()
    say(page, "@famulus_demo_bot what is 6 * 7?")
    expect(page.locator(".message.out .bubble").last).to_contain_text("6 * 7")
    expect(replies(page).last).to_contain_text("42")
    page.get_by_role("radio", name="Ada").click()
    expect(page.locator(".message.out")).to_have_count(0)
    expect(page.locator(".who").first).to_have_text("Ben")


def test_a_reply_and_a_correction(page: Page) -> None:
    """Reply to what was said; correct one's own last words with the arrow key."""
    say(page, "what is 1 + 1?")
    expect(replies(page).last).to_contain_text("1 + 1 = 2")
    page.locator(".message.in").last.hover()
    page.locator(".message.in").last.get_by_role("button", name="Reply").click()
    say(page, "what is 2 + 2?")
    expect(page.locator(".message.out .quoted").last).to_contain_text("1 + 1 = 2")
    expect(replies(page).last).to_contain_text("2 + 2 = 4")
    page.keyboard.press("ArrowUp")
    page.get_by_role("textbox", name="Message").fill("what is 2 + 3?")
    page.keyboard.press("Enter")
    expect(page.locator(".message.out .bubble").last).to_contain_text("edited")


def test_a_killed_daemon_goes_on_where_it_was(page: Page) -> None:
    """In the middle of an answer: it comes back by itself, and the whole answer arrives once."""
    say(page, "tell me a long story")
    expect(page.locator(".message.draft")).to_contain_text("Long ago")
    page.get_by_role("button", name="kill -9 the daemon").click()
    expect(page.locator("#head-state")).to_contain_text("starting again")
    ends = page.locator(".message.in .bubble", has_text="the end of the story")
    before = ends.count()
    expect(ends).to_have_count(before + 1)
    say(page, "what is 2 * 21?")
    expect(replies(page).last).to_contain_text("2 * 21 = 42")
    expect(ends).to_have_count(before + 1)


def test_what_was_there_before_is_not_new(page: Page) -> None:
    """A page that is loaded again counts as unread what comes from then on."""
    say(page, "what is 3 + 4?")
    expect(replies(page).last).to_contain_text("3 + 4 = 7")
    page.get_by_role("navigation", name="Chats").get_by_text("Ben").click()
    page.reload()
    expect(page.locator("[aria-current] .row-title")).to_have_text("Ben")
    expect(page.locator(".badge")).to_have_count(0)


def test_everything_can_be_reached_without_a_mouse(page: Page) -> None:
    """From the list of chats by Tab and Enter; every control has a name."""
    page.keyboard.press("Shift+Tab")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, a, input, textarea")]
          .filter((e) => e.checkVisibility() && !(e.ariaLabel || e.textContent.trim()))
          .map((e) => e.outerHTML)"""
    )
    assert nameless == []
    page.locator(".chat-row").first.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("[aria-current] .row-title")).to_have_text("Ben")
    expect(page.get_by_role("textbox", name="Message")).to_be_focused()


def test_it_fits_a_phone(browser: Browser, url: str) -> None:
    """One column: the list, then a chat, and back; nothing is wider than the screen."""
    context = browser.new_context(
        viewport={"width": 360, "height": 700}, has_touch=True, reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto(url)
    page.get_by_role("navigation", name="Chats").get_by_text("Garden Club").click()
    expect(page.get_by_role("textbox", name="Message")).to_be_visible()
    wide = page.evaluate("() => document.documentElement.scrollWidth > innerWidth")
    assert not wide
    page.get_by_role("button", name="All chats").click()
    expect(page.get_by_role("navigation", name="Chats")).to_be_visible()
    context.close()
