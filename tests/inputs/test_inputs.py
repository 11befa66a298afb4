"""docs/inputs.md says what the daemon does with each kind of message that people can send."""

from __future__ import annotations

import pytest

from daemon.demo.people import Person
from daemon.demo.replies import text_of
from tests.executor import harness
from tests.harness.rig import open_rig
from tests.inputs import table
from tests.inputs.cases import CASES, answered


async def test_the_table_is_what_the_daemon_does() -> None:
    """Every kind is sent to the real daemon; `python -m tests.inputs` writes what came of it."""
    assert (await table.text()).splitlines() == table.PATH.read_text("utf-8").splitlines()


def test_every_case_is_there_once() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert {case.setting for case in CASES} == set(table.SETTINGS)


@pytest.fixture
def sandbox() -> None:
    """Skip where this host cannot isolate jobs, with the executor's own reason."""
    with harness.place() as where, harness.executor(where):
        pass


@pytest.mark.executor
async def test_files_lie_in_the_real_workspace_where_jobs_find_them(sandbox: None) -> None:
    """A job reads what was sent; a second file of the name lies beside the first."""
    async with open_rig(with_executor=True) as rig:
        await rig.start()
        ada = Person(rig.bot, 1)
        ada.sends_document(b"first words", "notes.txt", caption="hello")
        await answered(rig, ada)
        ada.sends_document(
            b"second words", "notes.txt", caption="$ cat inbox/notes.txt inbox/notes-2.txt"
        )
        shown = await answered(rig, ada, 2)
        assert "first wordssecond words" in shown.text
        assert [row[0] for row in rig.rows("SELECT path FROM attachments ORDER BY id")] == [
            "inbox/notes.txt",
            "inbox/notes-2.txt",
        ]
        assert "inbox/notes.txt]" in text_of(rig.model.requests[0].messages[-1])
        await rig.stop()
        assert not any((rig.place.state / "spool").iterdir())
