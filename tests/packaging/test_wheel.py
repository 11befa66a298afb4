"""The wheel is built, installed beside nothing but the runtime lock, and run.

The environment that it is installed into is new, with one kind of shortcut: what the lock names is
linked from the environment that the tests run in, instead of being downloaded again. Packages that
only the tests need are not linked, so an import of one of them fails here as it would on an
owner's machine.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from attrs import frozen
from packaging.requirements import Requirement

# Data that the checkout keeps in its root, where people look for it, and the wheel in a package.
MOVED = {
    "daemon/data/config.toml.example": "config.toml.example",
    "executor/data/firejail.profile": "firejail.profile",
}

PACKAGES = ("daemon", "executor", "agent")

# Seconds for any one command; the slowest, a play, takes a few.
LIMIT = 120


@frozen
class Installed:
    """A new environment that holds the wheel."""

    folder: Path
    packages: Path

    def famulus(self, *arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
        """Runs the installed command with an environment that knows nothing of the checkout."""
        return subprocess.run(
            [self.folder / "bin" / "famulus", *arguments],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(home), "LANG": "C.UTF-8"},
            cwd=home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as `make wheel` builds it."""
    folder = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, root)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(root: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel and what requirements.lock names, in an environment of their own."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / version / "site-packages"
    for name in _locked(root / "requirements.lock"):
        _link(metadata.distribution(name), packages)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet")
    _run(*pip, "--no-index", "--no-deps", "--disable-pip-version-check", wheel)
    return Installed(folder, packages)


def _run(*command: str | Path) -> None:
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def _locked(lock: Path) -> list[str]:
    """Names of the packages that a lock holds for this Python."""
    lines = [line for line in lock.read_text(encoding="utf-8").splitlines() if "==" in line]
    requirements = [Requirement(line.removesuffix("\\")) for line in lines]
    return [r.name for r in requirements if r.marker is None or r.marker.evaluate()]


def _link(distribution: metadata.Distribution, into: Path) -> None:
    """Links each file or folder that a distribution has at the top of site-packages."""
    tops = {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}
    for top in tops:
        source, link = Path(str(distribution.locate_file(top))).resolve(), into / top
        if not link.exists():
            link.symlink_to(source)


def test_wheel_holds_all_code_and_data(root: Path, tracked: list[Path], wheel: Path) -> None:
    """Every file of the three packages is inside, and so is what lies in the root."""
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {path.as_posix() for path in tracked if path.parts[0] in PACKAGES} | set(MOVED)
    assert sorted(expected - names) == []
    for inside, outside in MOVED.items():
        assert zipfile.ZipFile(wheel).read(inside) == (root / outside).read_bytes()


def test_wheel_holds_nothing_else(wheel: Path) -> None:
    """Three packages and the metadata: no test, no script, no byte code."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    (info,) = tops - set(PACKAGES)
    assert info.endswith(".dist-info")
    assert f"{info}/licenses/LICENSE" in names
    assert [name for name in names if name.endswith(".pyc")] == []


def test_version_is_told(root: Path, installed: Installed, tmp_path: Path) -> None:
    """The command, the metadata and pyproject.toml agree."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    done = installed.famulus("--version", home=tmp_path)
    assert done.stdout == f"famulus {project['version']}\n"
    assert list(installed.packages.glob(f"famulus-{project['version']}.dist-info"))


def test_installed_code_is_its_own(root: Path, installed: Installed, tmp_path: Path) -> None:
    """What runs is the wheel, not the checkout that the tests run in."""
    code = "import agent, daemon, executor as e; print(agent.__file__, daemon.__file__, e.__file__)"
    done = subprocess.run(
        [installed.folder / "bin" / "python", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    for file in done.stdout.split():
        assert Path(file).is_relative_to(installed.packages)


def test_example_configuration_is_checked(installed: Installed, tmp_path: Path) -> None:
    """The example in the wheel is good as it stands once the token is there."""
    example = installed.famulus("config", "example", home=tmp_path)
    file = tmp_path / "config.toml"
    token = tmp_path / "token"
    token.write_text("1:token")
    token.chmod(0o600)
    by_file = f'{{ file = "{token}" }}'
    file.write_text(example.stdout.replace('{ env = "FAMULUS_TELEGRAM_TOKEN" }', by_file))
    checked = installed.famulus("config", "check", "--config", str(file), home=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_demo_is_played(installed: Installed, tmp_path: Path) -> None:
    """The main job runs from the wheel: servers, daemon and model are all inside it."""
    played = installed.famulus("demo", "--play", "main", home=tmp_path)
    assert played.returncode == 0, played.stdout + played.stderr
