"""Attack 14g: a job that tries to change the skills that its owner has given it to read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks import snippets
from tests.attacks.stacks import Target
from tests.executor import harness

pytestmark = pytest.mark.executor


@pytest.mark.attack("14g")
async def test_skills_are_read_and_not_changed(target: Target) -> None:
    """Files and folders that every account may write to are as they were after all attempts."""
    top = Path(target.running.settings.skills)
    if target.stack.isolation == "firejail" and not harness.IS_ROOT:
        pytest.skip("firejail has a /tmp of its own, where these skills are")
    page = f"{top}/tried/SKILL.md"
    code = snippets.python(
        f"top, page = {str(top)!r}, {page!r}\n"
        "print(open(page).read())\n"
        "attempt('write', lambda: open(page, 'w').write('changed'))\n"
        "attempt('append', lambda: open(page, 'a').write('changed'))\n"
        "attempt('truncate', lambda: os.truncate(page, 0))\n"
        "attempt('remove', lambda: os.unlink(page))\n"
        "attempt('rename', lambda: os.rename(page, page + '.old'))\n"
        "attempt('move away', lambda: os.rename(top + '/tried', top + '/other'))\n"
        "attempt('make', lambda: os.mkdir(top + '/mine'))\n"
        "attempt('new', lambda: open(top + '/tried/new.py', 'w').write('x'))\n"
        "attempt('link', lambda: os.symlink('/etc', top + '/tried/etc'))\n"
        "attempt('hard link', lambda: os.link(page, 'mine.md'))\n"
        "open('mine.md', 'w').write('changed')\n"
        "attempt('replace', lambda: os.replace('mine.md', page))\n"
        "call('mount', 0, top.encode(), 0, 32 | 4096, 0)\n"
        "attempt('write again', lambda: open(page, 'w').write('changed'))\n"
    )
    result = await target.python(code)
    assert b"the skill as it was" in result.stdout, result
    assert snippets.done(result) == []
    assert _all(top) == {"tried": "", "tried/SKILL.md": "the skill as it was"}


def _all(top: Path) -> dict[str, str]:
    """Every name below a directory, and the text of what is a file."""
    return {
        str(path.relative_to(top)): path.read_text() if path.is_file() else ""
        for path in top.rglob("*")
    }
