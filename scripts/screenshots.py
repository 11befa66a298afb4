"""Take the pictures of the chat page that are in docs/: `make screenshots`.

The demo runs as for anybody, a browser of the system talks to it, and what is seen is written down.
Needs a Chromium, and a sandbox that works, for the plot.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from playwright.sync_api import expect, sync_playwright

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT: Final = Path(__file__).parents[1]
URL: Final = re.compile(r"http://127\.0\.0\.1:\d+/\S+/")
PATIENCE: Final = 30_000  # milliseconds
STORY: Final = "tell me a long story"


@contextmanager
def demo() -> Iterator[str]:
    """A demo that runs, and the address of its page."""
    command = [sys.executable, "-u", "-m", "daemon", "demo", "--web"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE) as process:
        try:
            yield address(process)
        finally:
            process.terminate()


def address(process: subprocess.Popen[bytes]) -> str:
    """Where the demo says that its page is."""
    assert process.stdout is not None  # noqa: S101 -- it is a pipe
    for line in process.stdout:
        if found := URL.search(line.decode()):
            return found[0]
    sys.exit("the demo did not start; see what it says: make demo WEB=1")


def say(page: Page, text: str, answer: str = "") -> None:
    """Say something, and wait for what the answer has to contain."""
    page.get_by_role("textbox", name="Message").fill(text)
    page.keyboard.press("Enter")
    if answer:
        expect(page.locator(".message.in:not(.draft)").last).to_contain_text(answer)


def desk(browser: Browser, url: str, to: Path) -> None:
    """A plot, and an answer that is being written, at a desk."""
    page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
    page.goto(url)
    group(page)
    page.locator(".chat-row", has_text="Ada").click()
    say(page, "what is 17 * (3 + 4)?", "119")
    say(page, "plot a sine", "drawn")
    say(page, STORY)
    expect(page.locator(".message.draft")).to_contain_text("famulus,")
    still(page)
    page.screenshot(path=to)
    page.close()


def group(page: Page) -> None:
    """Something in the group, for the list of chats."""
    page.locator(".chat-row", has_text="Garden Club").click()
    page.get_by_role("radio", name="Ben").click()
    say(page, "@famulus_demo_bot what is 12 * 12?", "144")


def phone(browser: Browser, url: str, to: Path) -> None:
    """A question with its buttons, on a phone."""
    page = browser.new_page(
        viewport={"width": 390, "height": 760},
        color_scheme="dark",
        device_scale_factor=1.5,
    )
    page.goto(url)
    page.locator(".chat-row", has_text="Ben").click()
    say(page, "my name is Ben", "Nice to meet you, Ben")
    say(page, "post https://example.org/: hello", "http_client")
    still(page)
    page.screenshot(path=to)
    page.close()


def still(page: Page) -> None:
    """Let pictures be there, and what moves come to rest."""
    page.wait_for_function("() => [...document.images].every((image) => image.complete)")
    page.mouse.move(2, 2)
    time.sleep(0.5)


def main() -> None:
    """Take both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=ROOT / "docs", help="the directory")
    to = parser.parse_args().to
    chromium = shutil.which("chromium") or sys.exit("no Chromium: apt-get install chromium")
    expect.set_options(timeout=PATIENCE)
    args = ["--no-sandbox"] if os.geteuid() == 0 else []
    with demo() as url, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=args)
        desk(browser, url, to / "chat-page.png")
        phone(browser, url, to / "chat-phone.png")
        browser.close()


if __name__ == "__main__":
    main()
