"""`famulus skills`: what an owner types, on real folders and archives."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import cli, config, skill_files
from daemon.skill_files import NotPut, put

PAGE = "---\nname: {0}\ndescription: What {0} is for.\n---\nDo it so.\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration with a directory of the owner's."""
    path = tmp_path / "config.toml"
    text = config.example().replace('# dir = "/etc/famulus-', f'dir = "{tmp_path}/own/')
    path.write_text(text.replace("/var/lib/famulus", str(tmp_path / "state"), 1))
    return path


def skills(file: Path, action: str, *arguments: object) -> int:
    return cli.main(["skills", action, "--config", str(file), *map(str, arguments)])


def folder(top: Path, name: str = "pdf") -> Path:
    made = top / name
    (made / "scripts").mkdir(parents=True)
    (made / "SKILL.md").write_text(PAGE.format(name))
    (made / "scripts" / "run.sh").write_text("echo")
    (made / "scripts" / "run.sh").chmod(0o775)
    return made


def names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def own(tmp_path: Path) -> Path:
    return tmp_path / "own" / "agent" / "skills"


def test_a_skill_is_added_listed_shown_and_removed(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shipped ones are listed with it; its files keep whether they may be run, and no more."""
    source = folder(tmp_path)
    before = os.umask(0o077)
    try:
        assert skills(file, "add", source) == 0
    finally:
        os.umask(before)
    place = own(tmp_path) / "pdf"
    assert f"pdf is in place: {place}" in capsys.readouterr().out
    assert stat.S_IMODE((place / "scripts" / "run.sh").stat().st_mode) == 0o755
    assert stat.S_IMODE((place / "SKILL.md").stat().st_mode) == 0o644
    for made in (place / "scripts", place, place.parent, place.parent.parent):
        assert stat.S_IMODE(made.stat().st_mode) == 0o755
    assert names_in(own(tmp_path)) == ["pdf"]
    assert skills(file, "list") == 0
    listed = capsys.readouterr().out
    assert "specialists" not in listed  # of which there are none
    assert "web-research" in listed
    assert "What pdf is for." in listed
    assert skills(file, "show", "pdf") == 0
    shown = capsys.readouterr().out
    assert "Do it so.\n" in shown
    assert "file: scripts/run.sh\n" in shown
    assert skills(file, "remove", "pdf") == 0
    assert names_in(own(tmp_path)) == []
    assert skills(file, "show", "pdf") == 1


def test_one_that_is_there_is_replaced_only_when_asked(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = folder(tmp_path)
    assert skills(file, "add", source) == 0
    (source / "scripts" / "run.sh").unlink()
    assert skills(file, "add", source) == 1
    assert "--replace" in capsys.readouterr().err
    assert skills(file, "add", source, "--replace") == 0
    assert not (own(tmp_path) / "pdf" / "scripts").exists()
    assert names_in(own(tmp_path)) == ["pdf"]


def test_check_says_what_is_wrong_and_fails(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Skills and specialists alike; without a fault it succeeds."""
    assert skills(file, "check") == 0
    (own(tmp_path) / "bad").mkdir(parents=True)
    (own(tmp_path) / "bad" / "SKILL.md").write_text("no front matter")
    agents = tmp_path / "own" / "agent" / "agents"
    agents.mkdir()
    (agents / "odd.md").write_text("---\nname: odd\n---\n")
    capsys.readouterr()
    assert skills(file, "check") == 1
    out = capsys.readouterr().out
    assert "warning: skill bad is left out: SKILL.md: line 1" in out
    assert "warning: specialist odd is left out: it has no description" in out
    assert skills(file, "list") == 0
    assert "warning: skill bad" in capsys.readouterr().out


def test_what_comes_along_cannot_be_removed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("web-research", "../../own", "none", "."):
        assert skills(file, "remove", name) == 1
    assert "it comes along" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", ".", "..", "a/..", "/"])
def test_no_name_removes_more_than_a_skill(tmp_path: Path, name: str) -> None:
    """Not the directory of all skills nor the one above, though a page lies there by mistake."""
    skills_of_mine = tmp_path / "agent" / "skills"
    folder(skills_of_mine, "a")
    for where in (skills_of_mine, skills_of_mine.parent):
        (where / "SKILL.md").write_text(PAGE.format("a"))
    with pytest.raises(NotPut, match="is yours"):
        skill_files.take_away(name, skills_of_mine)
    assert (skills_of_mine / "a" / "SKILL.md").exists()
    assert (skills_of_mine.parent / "SKILL.md").exists()


def test_a_link_is_removed_and_not_what_it_leads_to(tmp_path: Path) -> None:
    """It is no skill, but somebody may have tried that way."""
    mine = tmp_path / "skills"
    mine.mkdir()
    (mine / "pdf").symlink_to(folder(tmp_path))
    skill_files.take_away("pdf", mine)
    assert names_in(mine) == []
    assert (tmp_path / "pdf" / "SKILL.md").exists()


def test_without_a_directory_of_ones_own_nothing_is_added(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The refusal says which key to set."""
    path = tmp_path / "config.toml"
    path.write_text(config.example())
    assert skills(path, "add", folder(tmp_path)) == 1
    assert "[agent] dir" in capsys.readouterr().err


def test_a_directory_within_the_workspaces_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """There a chat could write its own skills."""
    path = tmp_path / "config.toml"
    text = config.example().replace("# dir = ", "dir = ")
    path.write_text(text.replace("/etc/famulus-agent", "/var/lib/famulus-exec/house-1/a", 1))
    assert skills(path, "list") == 78
    assert "agent.dir: expected a directory that no chat can write to" in capsys.readouterr().err


# --- Archives ---


def tar_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("top", ["", "pdf/", "pdf-1.0/"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_holds_a_folder_or_its_files(tmp_path: Path, top: str, kind: str) -> None:
    """Named by what its page says: releases are packed in folders with a version."""
    page, other = PAGE.format("pdf").encode(), b"x"
    path = tmp_path / f"it.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{top}SKILL.md", page)
            archive.writestr(f"{top}a/b.txt", other)
    else:
        tar_of(path, (member(f"{top}SKILL.md"), page), (member(f"{top}a/b.txt"), other))
    skill = put(path, tmp_path / "skills")
    assert skill.folder == tmp_path / "skills" / "pdf"
    assert (skill.folder / "a" / "b.txt").read_text() == "x"


@pytest.mark.parametrize(
    "bad",
    [
        member("pdf/../../out"),
        member("/out"),
        member("pdf/link", tarfile.SYMTYPE, "/etc/passwd"),
        member("pdf/hard", tarfile.LNKTYPE, "pdf/SKILL.md"),
        member("pdf/pipe", tarfile.FIFOTYPE),
        member("other/file"),
        member("loose"),
    ],
    ids=lambda info: info.name,
)
def test_an_archive_that_would_do_more_is_refused(tmp_path: Path, bad: tarfile.TarInfo) -> None:
    """Whole: nothing of it is left."""
    page = PAGE.format("pdf").encode()
    path = tar_of(tmp_path / "it.tar.gz", (member("pdf/SKILL.md"), page), (bad, b""))
    with pytest.raises(NotPut):
        put(path, tmp_path / "skills")
    assert names_in(tmp_path / "skills") == []
    assert not (tmp_path / "out").exists()


def test_too_much_is_refused_before_it_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bomb of zeros, and more files than a skill has."""
    page = PAGE.format("pdf")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("SKILL.md", page)
        archive.writestr("zeros", b"\0" * (skill_files.MAX_BYTES + 1))
    with pytest.raises(NotPut, match="larger than"):
        put(tmp_path / "bomb.zip", tmp_path / "skills")
    monkeypatch.setattr(skill_files, "MAX_FILES", 3)
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        archive.writestr("SKILL.md", page)
        for number in range(3):
            archive.writestr(str(number), "")
    with pytest.raises(NotPut, match="more than 3 files"):
        put(tmp_path / "many.zip", tmp_path / "skills")


def test_a_folder_with_a_link_is_refused(tmp_path: Path) -> None:
    """To a file or to a directory: what it leads to is not the skill's."""
    for number, target in enumerate(("/etc/passwd", "/etc")):
        source = folder(tmp_path / str(number))
        (source / "link").symlink_to(target)
        with pytest.raises(NotPut, match="no plain file"):
            put(source, tmp_path / "skills")


@given(data=st.binary(max_size=300))
def test_what_is_no_archive_makes_no_skill(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    """Any bytes, also those that begin as one does."""
    where = tmp_path_factory.mktemp("bytes")
    for number, start in enumerate(
        (b"", b"PK\x03\x04", b"\x1f\x8b\x08\x00", b"BZh9", b"\xfd7zXZ\x00")
    ):
        path = where / str(number)
        path.write_bytes(start + data)
        with pytest.raises(NotPut):
            put(path, where / "skills")
