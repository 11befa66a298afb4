"""The halves of the suite: nothing is left out, nothing is run twice, and no failure is lost."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest
from attrs import astuple

from tests.harness import ledger
from tests.harness.halves import APART, FIRST, INTERRUPTED, LAST, TESTS, Parts, divide, run, verdict
from tests.harness.ledger import Entry


def test_every_test_is_in_one_part() -> None:
    """Also those in a folder that is new; what wants programs of others is in none."""
    parts: list[Path] = [*chain(*astuple(divide()))]
    apart = [TESTS / name for name in APART]
    for file in TESTS.rglob("test_*.py"):
        above = {file, *file.parents}
        holders = [path for path in [*parts, *apart] if path in above]
        assert len(holders) == 1, f"{file} is in {holders}"


def test_what_is_named_is_there() -> None:
    """A name of what was moved or removed would do nothing, and nobody would see it."""
    assert all((TESTS / name).is_dir() for name in [*FIRST, *LAST, *APART])


@pytest.mark.parametrize(
    ("codes", "expected"),
    [([0, 0, 0], 0), ([0, 5, 0], 0), ([5, 5, 5], 5), ([0, 1, 0], 1), ([5, 0, 1], 1), ([2, 0], 2)],
)
def test_one_failure_fails_the_run(codes: list[int], expected: int) -> None:
    """A part from which nothing was chosen is no failure, unless that is all of them."""
    assert verdict(codes) == expected


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pytest without its plugins, which take longer to import than these tests."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


@pytest.mark.usefixtures("bare")
def test_both_halves_run_and_are_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What fails in the second is shown and counts, and the last part runs all the same."""
    parts = made(tmp_path, "pass", "assert 0, 'bees'", "assert 0, 'seas'")
    assert run(parts, alone(tmp_path)) == 1
    out = capfd.readouterr().out
    assert out.index("1 passed") < out.index("bees") < out.index("seas")


@pytest.mark.usefixtures("bare")
def test_who_is_told_to_end_interrupts_both_halves(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """So that each ends what it has started; the last part is not begun."""
    end = "import os, signal, time; os.kill(os.getppid(), signal.SIGTERM); time.sleep(600)"
    parts = made(tmp_path, end, "import time; time.sleep(600)", "assert 0, 'begun'")
    assert run(parts, alone(tmp_path)) == INTERRUPTED
    assert "begun" not in capfd.readouterr().out


def made(folder: Path, *bodies: str) -> Parts:
    """A test for each part."""
    files = [folder / f"test_{number}.py" for number in range(len(bodies))]
    for file, body in zip(files, bodies, strict=True):
        file.write_text(f"def test_it(): {body}\n", encoding="ascii")
    first, second, last = ((file,) for file in files)
    return Parts(first, second, last)


def alone(folder: Path) -> list[str]:
    """Options by which pytest takes nothing from the checkout."""
    return ["-c", "/dev/null", "--rootdir", str(folder)]


def test_what_a_half_noted_is_left_to_the_last_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By way of a folder; the same call of both halves is there once."""
    monkeypatch.setenv(ledger.FOLDER, str(tmp_path))
    here, there = Entry("sendMessage", {"chat_id": 1}), Entry("getMe", {})
    monkeypatch.setattr(ledger, "_entries", {"here": here})
    ledger.leave()
    (left,) = tmp_path.iterdir()
    monkeypatch.setattr(ledger, "_entries", {})
    left.with_name("1.jsonl").write_text('{"method": "getMe", "params": {}}\n', encoding="ascii")
    left.with_name("2.jsonl").write_text('{"method": "getMe", "params": {}}\n', encoding="ascii")
    assert sorted(ledger.noted(), key=str) == sorted([here, there], key=str)
