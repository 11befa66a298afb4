"""Skills: found, checked against the format, summarised, and read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import skills
from agent.skills import SHIPPED, Skill, SkillError, load_skills, read_file, read_skill
from agent.tools.registry import Registry, ToolError
from agent.tools.skills import skill_tools
from agent.transcript import CallRequest


def make(root: Path, name: str, head: str = "", body: str = "Do it so.") -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    head = head or f"name: {name}\ndescription: What {name} is for.\n"
    (folder / "SKILL.md").write_text(f"---\n{head}---\n{body}\n")
    return folder


def test_the_shipped_skills_are_in_order() -> None:
    """All three are found, without a warning or a remark, and are short enough to be read whole."""
    found, warnings = load_skills(SHIPPED)
    assert [skill.name for skill in found] == ["data-and-plots", "memory-keeping", "web-research"]
    assert warnings == ()
    assert [remark for skill in found for remark in skill.remarks] == []
    assert all(len(skills.page(skill.folder).body) < 5_000 for skill in found)


def test_all_fields_of_the_format_are_read(tmp_path: Path) -> None:
    """The optional ones too; a key that the format does not know is a remark, and no refusal."""
    head = (
        "name: pdf-2\ndescription: >\n  Reads PDF files.\n  Fills forms.\nlicense: MIT\n"
        "compatibility: needs poppler\nmetadata:\n  version: '1.0'\n"
        "allowed-tools: bash read_file\nversion: 3\n"
    )
    skill = read_skill(make(tmp_path, "pdf-2", head))
    assert skill.description == "Reads PDF files. Fills forms."
    assert (skill.license, skill.compatibility) == ("MIT", "needs poppler")
    assert (skill.allowed_tools, skill.metadata) == (("bash", "read_file"), {"version": "1.0"})
    assert skill.remarks == ("the key version is not of the format, and means nothing here",)


@pytest.mark.parametrize(
    ("head", "why"),
    [
        ("name: other\ndescription: x\n", "is not that of its folder"),
        ("name: it\n", "no description"),
        (f"name: it\ndescription: {'x' * 1025}\n", "longer than 1024"),
        (f"name: it\ndescription: x\ncompatibility: {'x' * 501}\n", "longer than 500"),
        ("name: it\ndescription: [a, b]\n", "has to be a text"),
        ("name: it\ndescription: x\nmetadata: words\n", "map of texts"),
        ("name: it\ndescription: x\nmetadata:\n  a: [b]\n", "map of texts"),
        ("name: it\ndescription: a: b\n", "in quotes"),
    ],
)
def test_a_broken_skill_is_left_out_with_a_warning(tmp_path: Path, head: str, why: str) -> None:
    """The others are there all the same."""
    make(tmp_path, "it", head)
    make(tmp_path, "good")
    (tmp_path / "empty").mkdir()
    found, warnings = load_skills(tmp_path)
    assert [skill.name for skill in found] == ["good"]
    assert (
        warnings[0]
        == "skill empty is left out: 'SKILL.md' cannot be read: No such file or directory"
    )
    assert warnings[1].startswith("skill it is left out: ")
    assert why in warnings[1]


@given(st.text(st.sampled_from("aZ9-_. é"), max_size=70))
def test_a_name_is_lowercase_words_joined_by_hyphens(name: str) -> None:
    """No other name makes a skill, whatever its folder is called."""
    fine = len(name) <= 64 and all(
        part and part.isascii() and part.isalnum() and part == part.lower()
        for part in name.split("-")
    )
    fields = {"name": name, "description": "x"}
    folder = Path("/skills", name) if name else Path("/skills/x")
    try:
        skills.skill_of(folder, fields)
    except SkillError:
        assert not fine
    else:
        assert fine


def test_the_owners_skill_replaces_a_shipped_one(tmp_path: Path) -> None:
    """Of the same name; one that is broken does not."""
    make(tmp_path / "shipped", "a")
    make(tmp_path / "shipped", "b")
    make(tmp_path / "own", "a", "name: a\ndescription: Mine.\n")
    make(tmp_path / "own", "b", "name: b\n")
    found, warnings = load_skills(tmp_path / "shipped", tmp_path / "own", tmp_path / "none")
    assert [skill.description for skill in found] == ["Mine.", "What b is for."]
    assert len(warnings) == 1


def test_what_anybody_could_have_written_is_not_read(tmp_path: Path) -> None:
    """What is open to every account, above a skill, within it or itself; and a link to one."""
    make(tmp_path / "elsewhere", "linked")
    for name in ("own", "open"):
        make(tmp_path / name, "a")
    (tmp_path / "own" / "linked").symlink_to(tmp_path / "elsewhere" / "linked")
    (tmp_path / "own" / "a").chmod(0o777)
    (tmp_path / "open").chmod(0o777)
    make(tmp_path / "own", "file").joinpath("run.py").touch()
    (tmp_path / "own" / "file" / "run.py").chmod(0o666)
    make(tmp_path / "own", "below").joinpath("scripts").mkdir()
    (tmp_path / "own" / "below" / "scripts").chmod(0o777)
    make(tmp_path / "within" / "skills", "a")
    (tmp_path / "within").chmod(0o777)
    found, warnings = load_skills(*(tmp_path / name for name in ("own", "open", "within/skills")))
    assert found == ()
    assert len(warnings) == 6
    assert sum("everybody may write to" in warning for warning in warnings) == 5


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look everywhere")
def test_what_may_not_be_looked_at_is_a_warning(tmp_path: Path) -> None:
    """A directory whose names can be read and no more; the daemon starts all the same."""
    make(tmp_path / "own", "a")
    (tmp_path / "own").chmod(0o644)
    found, warnings = load_skills(tmp_path / "own", SHIPPED)
    (tmp_path / "own").chmod(0o755)
    assert len(found) == 3
    assert warnings == (f"{tmp_path / 'own'} is left out: Permission denied",)


def test_a_file_that_was_opened_to_all_since_is_not_read(tmp_path: Path) -> None:
    """The check at the start was of then."""
    folder = make(tmp_path, "a")
    (folder / "SKILL.md").chmod(0o666)
    with pytest.raises(SkillError, match="everybody may write to it; chmod o-w"):
        skills.page(folder)


def test_files_are_read_within_the_folder_only(tmp_path: Path) -> None:
    """Neither by .., an absolute path or a link, nor what is no file, too long, or no text."""
    folder = make(tmp_path, "a")
    (tmp_path / "secret").write_text("secret")
    (folder / "scripts").mkdir()
    (folder / "scripts" / "run.py").write_text("print(1)")
    (folder / "out").symlink_to(tmp_path / "secret")
    (folder / "up").symlink_to(tmp_path)
    (folder / "long").write_text("x" * 100)
    (folder / "binary").write_bytes(b"\xff\x00")
    os.mkfifo(folder / "pipe")
    assert read_file(folder, "scripts/run.py") == "print(1)"
    wrong = ["../secret", str(tmp_path / "secret"), "out", "up/secret", "scripts", "pipe", "none"]
    for name in [*wrong, "binary", "a\0b", ""]:
        with pytest.raises(SkillError):
            read_file(folder, name)
    with pytest.raises(SkillError, match="longer than 99 bytes"):
        read_file(folder, "long", 99)
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").touch()
    assert skills.files_of(read_skill(folder)) == ["binary", "long", "pipe", "scripts/run.py"]


@given(st.lists(st.text("ab ", min_size=1, max_size=1024), max_size=40))
def test_the_summary_keeps_to_its_budget_and_names_every_skill(descriptions: list[str]) -> None:
    """What does not fit is named without its description, as far as names fit."""
    some = [Skill(f"s{n}", text, Path("/x")) for n, text in enumerate(descriptions)]
    text = skills.summary(some)
    assert (text == "") == (not some)
    assert len(text) <= 2 * skills.SUMMARY_CHARS + len(skills.HEADING)
    assert all(skill.name in text for skill in some)


async def test_read_skill_gives_the_page_and_names_its_files(tmp_path: Path) -> None:
    """Where jobs can read them it says where they are."""
    folder = make(tmp_path, "a", body="Step one.")
    (folder / "table.csv").write_text("1,2")
    known = {"a": read_skill(folder)}
    (read,) = skill_tools(known)
    assert await read.function(name="a") == "Step one.\n\n[Its files, by read_skill: table.csv]"
    assert await read.function(name="a", file="table.csv") == "1,2"
    (read,) = skill_tools(known, tmp_path)
    assert f"code finds them in {folder}" in str(await read.function(name="a"))


async def test_a_long_file_is_read_in_parts(tmp_path: Path) -> None:
    """Nothing of it is left out, and no part is cut by what a result may have."""
    folder = make(tmp_path, "a")
    text = "".join(f"line {number}\n" for number in range(10_000))
    (folder / "long.md").write_text(text)
    tools = Registry.of(skill_tools({"a": read_skill(folder)}))

    async def part(number: int) -> str:
        arguments = f'{{"name": "a", "file": "long.md", "part": {number}}}'
        return (await tools.run(CallRequest("1", "read_skill", arguments))).text

    pieces = [await part(number) for number in (1, 2, 3)]
    assert [piece[-13:] for piece in pieces] == [f"[part {number} of 3]" for number in (1, 2, 3)]
    assert "".join(piece[:-15] for piece in pieces) == text
    for number in (0, 4):
        assert await part(number) == f"Error: there is no part {number}: the last one is 3"


async def test_read_skill_says_what_it_cannot_read(tmp_path: Path) -> None:
    """An unknown name gets the known ones, a wrong file the reason; without skills, no tool."""
    known = {"a": read_skill(make(tmp_path, "a"))}
    (read,) = skill_tools(known)
    with pytest.raises(ToolError, match="there is no skill 'b'; there are: a"):
        await read.function(name="b")
    outcome = await Registry.of([read]).run(
        CallRequest("1", "read_skill", '{"name": "a", "file": "../../etc/passwd"}')
    )
    assert (outcome.failed, outcome.text) == (
        True,
        "Error: '../../etc/passwd' is not within the skill",
    )
    arguments = '{"name": "a", "file": "\\ud800"}'
    outcome = await Registry.of([read]).run(CallRequest("1", "read_skill", arguments))
    assert "cannot be read: No such file" in outcome.text
    assert skill_tools({}) == []
