"""Last words on their way to the chat: rendered before the transaction, with long code as files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.transcript import Answer
from daemon.chat import steps
from daemon.chat.drafts import MOST_AT_ONCE, WORDLESS, Words, keep_words
from daemon.spool import Spool
from daemon.store.db import Database, open_database
from daemon.telegram.render import MOST_CODE, answer, file_name
from tests.daemon.chat.turnbench import bench_with

LINES = "".join(f"\tprint({number:04})\n" for number in range(1000))
LONG = f"Here it *is*:\n\n```python\n{LINES}```\n\nThat is all."


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "famulus.db") as opened:
        yield opened


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def test_very_long_code_goes_as_a_file_below_its_beginning(spool: Spool) -> None:
    """With its tabs; the text says how much of it there is, and where."""
    message, file = keep_words(spool, Words(LONG))
    text = message.params["text"]
    assert text.startswith("Here it is:\n\n    print(0000)\n")
    assert text.endswith("… the whole of it, 1,000 lines: code.py (below)\n\nThat is all.")
    assert (file.method, file.file_name) == ("sendDocument", "code.py")
    assert file.file is not None
    with spool.open(file.file) as kept:
        assert kept.read().decode() == LINES


def test_code_of_a_few_messages_stays_in_them(spool: Spool) -> None:
    source = f"```\n{'x' * MOST_CODE}\n```"
    assert {draft.method for draft in keep_words(spool, Words(source))} == {"sendMessage"}


def test_code_that_the_disk_does_not_take_is_in_messages(tmp_path: Path) -> None:
    """All of it; and what was kept before is removed."""
    spool = Spool(tmp_path / "spool", most_bytes=len(LINES) + 100)
    drafts = keep_words(spool, Words(f"{LONG}\n\n```\n{LINES}```"))
    assert {draft.method for draft in drafts} == {"sendMessage"}
    assert list(spool.path.iterdir()) == []
    assert sum(draft.params["text"].count("print(") for draft in drafts) == 2000


@pytest.mark.parametrize(
    ("language", "before", "name"),
    [
        ("python", 0, "code.py"),
        ("Python", 1, "code-2.py"),
        ("toml", 0, "code.toml"),
        ("", 0, "code.txt"),
        ("c++", 0, "code.cpp"),
        ("../../x", 0, "code.txt"),
        ("x" * 30, 0, "code.txt"),
    ],
)
def test_files_of_code_are_named_after_their_language(
    language: str, before: int, name: str
) -> None:
    assert file_name(language, before) == name


def test_our_line_above_an_answer_is_no_markdown() -> None:
    """A task's name may hold anything."""
    (part,), _ = answer("# Done", "[*a* [b](http://c.d)]")
    assert part["text"] == "[*a* [b](http://c.d)]\nDone"
    assert [each["type"] for each in part["entities"]] == ["bold"]


def test_an_answer_without_words_says_so(spool: Spool) -> None:
    """Somebody waits for it."""
    (draft,) = keep_words(spool, Words(" \n"))
    assert draft.params["text"] == WORDLESS


def test_a_table_is_rich_only_if_the_owner_says_so(spool: Spool) -> None:
    """And has its plain form with it."""
    words = Words("|a|\n|-|\n|b|")
    (plain,), (rich,) = keep_words(spool, words), keep_words(spool, words, richly=True)
    assert plain.method == "sendMessage"
    assert rich.method == "sendRichMessage"
    assert rich.params == {"rich_message": {"markdown": words.markdown}}
    assert rich.instead == (plain.params,)


async def test_a_long_answer_is_queued_with_its_file(database: Database, tmp_path: Path) -> None:
    """Made in a thread, and kept before its row."""
    assert len(LONG) > MOST_AT_ONCE
    bench = await bench_with(database, tmp_path, Answer(LONG))
    await bench.say("write it")
    async with bench.running():
        await bench.answered(2)
    queued = await bench.all("SELECT method, file, file_name FROM outbox ORDER BY id")
    assert [row[0] for row in queued] == ["sendMessage", "sendDocument"]
    assert [path.name for path in bench.spool.path.iterdir()] == [queued[1][1]]


async def test_a_file_that_was_not_queued_is_removed(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the transaction failed of."""
    bench = await bench_with(database, tmp_path, Answer(LONG))
    turn = await bench.say("write it")

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(steps, "end", broken)
    with pytest.raises(RuntimeError, match="a fault"):
        await bench.runner.run(turn)
    assert list(bench.spool.path.iterdir()) == []
