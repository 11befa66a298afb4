"""Putting a skill in place: copied beside its place, checked there, and renamed into it.

What is given may come from anywhere. So an archive is never unpacked by its own words: only plain
files and directories are taken, under names that stay within, up to a size and a number.
"""

from __future__ import annotations

import lzma
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, ClassVar, Final

from attrs import define, frozen

from agent.skills import PAGE, SHIPPED, Skill, SkillError, read_skill
from daemon.errors import FamulusError

MAX_BYTES: Final = 20 * 1024 * 1024
MAX_FILES: Final = 500
EXECUTABLE: Final = 0o111

# What the readers of archives raise; a RuntimeError is of zip files that are encrypted.
_BROKEN: Final = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(EOFError, RuntimeError),
)


class NotPut(FamulusError):
    """The skill was not put in place, or not taken away; nothing has changed."""

    exit_code: ClassVar[int] = 1


@frozen
class Item:
    """A file of a skill: its name below the folder, whether it may be run, and how to read it."""

    name: str
    runs: bool
    source: IO[bytes]


def put(source: Path, own: Path, *, replace: bool = False) -> Skill:
    """Copy the skill at `source`, a folder or an archive of one, to `own`. Raises NotPut."""
    try:
        _make(own)
        with tempfile.TemporaryDirectory(prefix=".adding-", dir=own) as aside:
            skill = _copied(source, Path(aside))
            _rename(skill.folder, own / skill.name, replace=replace)
    except OSError as error:
        raise NotPut(f"{error.filename or own}: {error.strerror}", "") from error
    except (SkillError, *_BROKEN) as error:
        raise NotPut(f"{source} makes no skill: {error}", "") from error
    return read_skill(own / skill.name)


def _make(own: Path) -> None:
    """Make the directory and its parent for all to read, whatever the umask of who types."""
    made = [path for path in (own.parent, own) if not path.exists()]
    own.mkdir(parents=True, exist_ok=True)
    for path in made:
        path.chmod(0o755)


def take_away(name: str, own: Path) -> None:
    """Remove the owner's skill of this name. Raises NotPut."""
    place = own / name
    try:
        if not _is_plain(name) or not (place / PAGE).is_file():
            raise NotPut(f"no skill {name!r:.80} is yours", _about_shipped(name))
        if place.is_symlink():  # which is no skill, but one way to have tried
            place.unlink()
        else:
            shutil.rmtree(place)
    except OSError as error:
        raise NotPut(f"{error.filename}: {error.strerror}", "") from error


def _about_shipped(name: str) -> str:
    if not (SHIPPED / name / PAGE).is_file():
        return "famulus skills list names them"
    return "it comes along; one of yours with its name would take its place"


def _is_plain(name: str) -> bool:
    """Whether this names something in a directory, and not the directory or what is above it."""
    return name not in {"", ".", ".."} and PurePosixPath(name).name == name and "\0" not in name


def _rename(folder: Path, place: Path, *, replace: bool) -> None:
    """Put `folder` in its place; what was there goes with the temporary directory, or back."""
    if not place.exists():
        folder.rename(place)
        return
    if not replace:
        raise NotPut(f"{place} is there already", "say --replace to put this in its place")
    former = place.rename(folder.with_name(".replaced"))
    try:
        folder.rename(place)
    except OSError:
        former.rename(place)
        raise


def _copied(source: Path, aside: Path) -> Skill:
    """The skill as a copy of ours in `aside`, checked."""
    folder = aside / "unnamed"
    copy = _Copy(folder)
    for item in _items(source):
        copy.take(item)
    if not (folder / PAGE).is_file():
        raise SkillError(f"there is no {PAGE} in it, nor in the one folder that it holds")
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    named = folder.rename(aside / _name_of(source, folder))
    return read_skill(named)


def _name_of(source: Path, folder: Path) -> str:
    """A folder's own name; an archive is named by what is in it."""
    from agent import frontmatter  # noqa: PLC0415 -- for archives

    if source.is_dir():
        return source.resolve().name
    text = (folder / PAGE).read_text(encoding="utf-8", errors="replace")
    try:
        name = frontmatter.read(text).fields.get("name", "")
    except frontmatter.BadFrontMatter as error:
        raise SkillError(f"{PAGE}: {error}") from error
    if not isinstance(name, str) or not _is_plain(name) or name[0] == ".":
        raise SkillError("its name is none")
    return name


@define
class _Copy:
    """Writes files below `folder`, up to the limits."""

    folder: Path
    files: int = 0
    room: int = MAX_BYTES

    def take(self, item: Item) -> None:
        self.files += 1
        if self.files > MAX_FILES:
            raise SkillError(f"it has more than {MAX_FILES} files")
        path = self.folder / _safe(item.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        data = item.source.read(self.room + 1)
        self.room -= len(data)
        if self.room < 0:
            raise SkillError(f"it is larger than {MAX_BYTES} bytes")
        path.write_bytes(data)
        path.chmod(0o755 if item.runs else 0o644)


def _safe(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        raise SkillError(f"{name!r:.100} would lead out of it")
    return path


# --- What is given ---


def _items(source: Path) -> Iterator[Item]:
    if source.is_dir():
        return _from_folder(source)
    if zipfile.is_zipfile(source):
        return _within(_from_zip(source))
    return _within(_from_tar(source))


def _within(items: Iterator[Item]) -> Iterator[Item]:
    """The same, without the folder that archives of one folder begin with."""
    top: str | None = None
    for item in items:
        parts = PurePosixPath(item.name).parts
        if top is None:
            top = parts[0] if len(parts) > 1 else ""
        if top and (parts[0] != top or len(parts) == 1):
            raise SkillError("it has to hold one folder, or the files of one")
        yield Item("/".join(parts[1:]), item.runs, item.source) if top else item


def _from_folder(source: Path) -> Iterator[Item]:
    for top, folders, names in os.walk(source):
        folders[:] = sorted(name for name in folders if name != ".git")
        links = [name for name in folders if Path(top, name).is_symlink()]
        for name in sorted([*names, *links]):
            path = Path(top, name)
            found = path.lstat()
            if not stat.S_ISREG(found.st_mode):
                raise SkillError(f"{path} is no plain file")
            with path.open("rb") as file:
                runs = bool(found.st_mode & EXECUTABLE)
                yield Item(path.relative_to(source).as_posix(), runs, file)


def _from_zip(source: Path) -> Iterator[Item]:
    with zipfile.ZipFile(source) as archive:
        for info in archive.infolist():
            mode = info.external_attr >> 16
            if info.is_dir():
                continue
            if mode and stat.S_IFMT(mode) not in {0, stat.S_IFREG}:
                raise SkillError(f"{info.filename!r:.100} is no plain file")
            with archive.open(info) as file:
                yield Item(info.filename, bool(mode & EXECUTABLE), file)


def _from_tar(source: Path) -> Iterator[Item]:
    with tarfile.open(source) as archive:
        for member in archive:
            if member.isdir():
                continue
            file = archive.extractfile(member) if member.isreg() else None
            if file is None:
                raise SkillError(f"{member.name!r:.100} is no plain file")
            with file:
                yield Item(member.name.removeprefix("./"), bool(member.mode & EXECUTABLE), file)
