"""What is measured is what an installation runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.bench.installed import FOUND_BY_CHANCE
from tests.bench.subjects import INSTALLED, ROOT

SUBJECT = """\
import sys, httpx
print(sys.argv[1:], [name for name in {names} if sys.modules.get(name)])
"""


def test_a_subject_sees_no_package_that_only_tests_need(tmp_path: Path) -> None:
    """Not even where the tools for tests have brought it; and its arguments arrive."""
    (tmp_path / "subject.py").write_text(SUBJECT.format(names=FOUND_BY_CHANCE))
    done = subprocess.run(
        [sys.executable, *INSTALLED, "subject", "one", "two"],
        cwd=ROOT,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "['one', 'two'] []\n"


def test_what_is_hidden_is_no_dependency() -> None:
    """Or the figures would be of a program that nobody has."""
    locked = (ROOT / "requirements.lock").read_text()
    assert not [name for name in FOUND_BY_CHANCE if re.search(rf"(?m)^{name}==", locked)]
