"""What no file of the project may say, and what its locks must."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Hosts of package indexes and mirrors. They are the business of the machine that installs: its
# owner may use a mirror, and a lock that named an address would go round it. In pieces, since this
# file is looked through too.
INDEXES = tuple(
    ".".join(parts)
    for parts in [
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("deb", "debian", "org"),
        ("security", "debian", "org"),
    ]
)

# Places of machines that this is developed on, in pieces for the same reason.
PLACES = (r"(?<![\w.~])/" + "work/", r"/opt/" + "pypi", r"\.py" + "env/", r"/home/runner" + "/")

# Groups of pyproject.toml that each lock covers; "" stands for the program's own dependencies.
GROUPS = {
    "requirements.lock": ("",),
    "requirements-test.lock": ("", "test", "lint", "build"),
    "requirements-oracles.lock": ("oracles",),
}
LOCKS = tuple(GROUPS)


def read_pins(path: Path) -> dict[str, list[Requirement]]:
    """A lock's requirements by name; a name has several where Pythons need different pins."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    pins: dict[str, list[Requirement]] = {}
    for line in filter(None, text.splitlines()):
        requirement = Requirement(line.split(" --hash=")[0])
        pins.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return pins


def version_of(requirement: Requirement) -> str:
    """The one version that a pin allows."""
    (specifier,) = requirement.specifier
    assert specifier.operator == "=="
    return specifier.version


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, object]:
    """pyproject.toml as a dictionary."""
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


def test_no_file_names_an_index(root: Path, tracked: list[Path]) -> None:
    """Packages come from whatever index this machine is set to use."""
    found = [
        (str(path), index)
        for path in tracked
        for index in INDEXES
        if index in (root / path).read_text(encoding="utf-8", errors="replace")
    ]
    assert found == []


def test_no_file_names_a_developers_machine(root: Path, tracked: list[Path]) -> None:
    """A path that is only there has no place in what others clone."""
    places = re.compile("|".join(PLACES))
    found = [
        (str(path), match.group())
        for path in tracked
        if (match := places.search((root / path).read_text(encoding="utf-8", errors="replace")))
    ]
    assert found == []


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_pins_by_hash_and_names_no_place(root: Path, lock: str) -> None:
    """Every line is a pin with hashes; there is no option, address or path among them."""
    text = (root / lock).read_text(encoding="utf-8").replace("\\\n", " ")
    pin = re.compile(r"[\w.-]+==[\w.+!]+( ; [^;]+?)?( +--hash=sha256:[0-9a-f]{64})+")
    assert [line for line in text.splitlines() if not pin.fullmatch(line)] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_satisfies_the_project(root: Path, project: dict, lock: str) -> None:
    """A dependency that was added or raised without `make lock` is noticed here."""
    groups = {"": project["project"]["dependencies"], **project["dependency-groups"]}
    needs = [need for group in GROUPS[lock] for need in groups[group]]
    pins = read_pins(root / lock)
    for need in map(Requirement, needs):
        (pin,) = pins[canonicalize_name(need.name)]
        assert need.specifier.contains(version_of(pin)), need


def test_test_lock_holds_the_runtime_lock(root: Path) -> None:
    """The tests run against the versions that owners run."""
    tested = read_pins(root / "requirements-test.lock")
    for name, pins in read_pins(root / "requirements.lock").items():
        assert [str(pin) for pin in tested[name]] == [str(pin) for pin in pins]
