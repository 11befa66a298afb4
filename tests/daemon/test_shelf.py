"""The skills and specialists on hand, and what is said of those that are broken."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from agent.budget import FREE, Budget, Price, Tariff
from daemon.shelf import Holding, Shelf, look, remarks

AGENT = "---\nname: {0}\ndescription: Does {0}.\n---\nYou do it.\n"


def put_agent(top: Path, name: str, text: str = AGENT) -> None:
    (top / "agents").mkdir(parents=True, exist_ok=True)
    (top / "agents" / f"{name}.md").write_text(text.format(name))


def test_what_is_found_is_told_in_one_line(tmp_path: Path) -> None:
    """With how many are left out, if any are."""
    put_agent(tmp_path, "scout")
    assert look(tmp_path).line() == "3 skills, 1 specialist"
    put_agent(tmp_path, "odd", "no front matter")
    line = look(tmp_path).line()
    assert line == "3 skills, 1 specialist; 1 left out: see `famulus skills check`"


def test_the_prompt_names_what_there_is_and_nothing_else(tmp_path: Path) -> None:
    """No heading stands over an empty list."""
    assert Holding().sections() == []
    assert len(look(None).sections()) == 1
    put_agent(tmp_path, "scout")
    skills, specialists = look(tmp_path).sections()
    assert "- web-research: " in skills
    assert specialists.endswith("- scout: Does scout.")


async def test_a_new_look_finds_what_has_changed_and_logs_what_is_broken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after `famulus skills add`, or SIGHUP."""
    shelf = Shelf(tmp_path)
    await shelf.load()
    assert list(shelf.holding.skills) == ["data-and-plots", "memory-keeping", "web-research"]
    broken = tmp_path / "skills" / "broken"
    broken.mkdir(parents=True)
    put_agent(tmp_path, "scout")
    await shelf.load()
    assert list(shelf.holding.specialists) == ["scout"]
    assert len(shelf.holding.warnings) == 1
    assert "skill broken is left out" in capsys.readouterr().err


def test_what_prices_and_budgets_do_not_allow_is_said(tmp_path: Path) -> None:
    """Before a task fails for it; what is in order is not spoken of."""
    front = "---\nname: {name}\ndescription: Does.\n{more}---\nYou do it.\n"
    wants = {
        "dear": "model: unpriced\n",
        "fine": "model: priced\nlimits:\n  tokens: 5000\n",
        "greedy": "limits:\n  tokens: 9001\n",
        "modest": "limits:\n  tokens: 1000\n",
    }
    for name, more in wants.items():
        put_agent(tmp_path, name, front.format(name=name, more=more))
    found = look(tmp_path).specialists.values()
    budget = Budget(turn_tokens=9000, user_day_money=1.0, answer_tokens=1000)
    unlimited = attrs.evolve(FREE.budget, answer_tokens=999)
    said = list(remarks(found, Tariff((Price(model="priced", input=1, output=1),), budget)))
    assert [line.split(":")[0] for line in said] == [
        *("specialist dear", "specialist greedy", "specialist modest")
    ]
    assert "'unpriced' has no price" in said[0]
    assert "budget.turn_tokens (9000)" in said[1]
    assert "budget.answer_tokens (1000)" in said[2]
    assert list(remarks(found, attrs.evolve(FREE, budget=unlimited))) == []
