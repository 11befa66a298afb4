"""The set-up decides by what it finds, and finds out without doing anything twice."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

import debian
import editable
import prepare
import pytest
from console import PrepareError

COMPLETE = {
    "root": True,
    "apt": True,
    "firejail": True,
    "user_namespaces": True,
    "system_python": True,
    "matplotlib": True,
    "ensurepip": True,
    "certificates": True,
    "executor_user": True,
}

# Stands in for apt-get: `download NAME` leaves a package in the working directory.
APT = """#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in
    download) shift; for name; do echo "$name" > "$name.deb"; done ;;
    update) exit "${APT_STATUS:-0}" ;;
    esac
    shift
done
"""

# Stands in for `dpkg-deb -x PACKAGE FOLDER`.
DPKG = """#!/bin/sh
case $2 in
*python3-pip-whl.deb) mkdir -p "$3/usr/share/python-wheels"
    : > "$3/usr/share/python-wheels/pip-1-py3-none-any.whl" ;;
*ca-certificates.deb) mkdir -p "$3/usr/share/ca-certificates/mozilla"
    echo one > "$3/usr/share/ca-certificates/mozilla/a.crt"
    echo two > "$3/usr/share/ca-certificates/mozilla/b.crt" ;;
esac
"""


@pytest.fixture
def fake_debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts an apt-get and a dpkg-deb of our own before the system's."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in {"apt-get": APT, "dpkg-deb": DPKG}.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    return tmp_path / "fetched"


def host(*absent: str) -> prepare.Host:
    """A host that has everything but what is named."""
    return prepare.Host(**{**COMPLETE, **dict.fromkeys(absent, False)})


@pytest.mark.parametrize(
    ("absent", "made", "packages"),
    [
        ((), False, ()),
        (("system_python",), True, ("python3",)),
        (("ensurepip",), False, ("python3-venv",)),
        (("ensurepip", "certificates"), False, ("python3-venv", "ca-certificates")),
        (("ensurepip", "certificates"), True, ()),
    ],
)
def test_only_what_is_missing_is_asked_for(
    absent: tuple[str, ...], made: bool, packages: tuple[str, ...]
) -> None:
    """An environment that is made no longer needs what makes one."""
    assert prepare.missing_packages(host(*absent), "run", made=made) == packages


def test_firejail_is_for_hosts_without_user_namespaces_and_for_tests() -> None:
    """It is set-uid root, so a host that isolates without it is spared it."""
    for purpose, absent, packages in (
        ("run", ("firejail",), ()),
        ("run", ("firejail", "user_namespaces"), ("firejail",)),
        ("run", ("user_namespaces",), ()),
        ("test", ("firejail",), ("firejail",)),
        ("wheel", ("firejail", "user_namespaces"), ()),
    ):
        assert prepare.missing_packages(host(*absent), purpose, made=True) == packages


def test_matplotlib_is_for_tests_where_apt_can_install_it() -> None:
    """It is large: the demo goes without, and nobody is told to install it."""
    lacking = host("matplotlib")
    assert prepare.missing_packages(lacking, "test", made=True) == ("python3-matplotlib",)
    assert prepare.missing_packages(lacking, "run", made=True) == ()
    for absent in ("root", "apt"):
        assert prepare.missing_packages(host("matplotlib", absent), "test", made=True) == ()


def test_a_wheel_needs_only_what_makes_an_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a server the commands of the README install the rest: no account is made here."""
    bare = host(*COMPLETE.keys() - {"root", "apt"})
    packages = ("python3-venv", "ca-certificates")
    assert prepare.missing_packages(bare, "wheel", made=False) == packages
    made: list[str] = []
    monkeypatch.setattr(debian, "add_user", lambda name, _home: made.append(name))
    monkeypatch.setattr(debian, "install", lambda _packages: None)
    prepare.prepare_host(bare, "wheel", packages)
    assert made == []
    prepare.prepare_host(bare, "run", packages)
    assert made == [prepare.EXECUTOR_USER]


def test_the_oracles_get_nothing_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Their environment is for programs of others, which want other packages than we do."""
    bare = host(*COMPLETE.keys() - {"root", "apt", "ensurepip", "certificates"})
    assert prepare.missing_packages(bare, "oracles", made=False) == ()
    installed: list[list[str]] = []
    monkeypatch.setattr(prepare, "pip", lambda _target, arguments: installed.append(arguments))
    prepare.install_lock(prepare.Target(tmp_path, "oracles"), "requirements-oracles.lock")
    ((*_, lock),) = installed
    assert lock == str(prepare.ROOT / "requirements-oracles.lock")


def test_user_namespaces_are_tried_and_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By making one; without the program that could, there are none."""
    for status, found in (("0", True), ("1", False)):
        for name in ("setpriv", "unshare"):
            (tmp_path / name).write_text(f"#!/bin/sh\nexit {status}\n")
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        assert prepare.has_user_namespaces() is found
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert not prepare.has_user_namespaces()


@pytest.mark.parametrize(
    ("absent", "said"),
    [
        (("user_namespaces",), "code tools off"),
        ((), "the tests of its stack are skipped"),
    ],
)
def test_ordinary_user_is_shown_the_apt_line(
    absent: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is installed, and it is no error: the rest goes on."""
    other = host("root", "executor_user", *absent)
    prepare.prepare_host(other, "test", ("firejail", "python3-venv"))
    shown = capsys.readouterr().out
    assert "sudo apt-get install --yes --no-install-recommends firejail python3-venv" in shown
    assert said in shown


@pytest.mark.parametrize("version", [(3, 9), (3, 10), (3, 14)])
def test_other_pythons_are_refused(version: tuple[int, int]) -> None:
    """The message names those that will do."""
    with pytest.raises(PrepareError, match=r"3\.11, 3\.12 and 3\.13 can"):
        prepare.check_version(version)


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13)])
def test_these_pythons_will_do(version: tuple[int, int]) -> None:
    """From the one of Debian 12 to the newest."""
    prepare.check_version(version)


def test_stamp_changes_with_each_of_its_causes() -> None:
    """Another lock, another Python or another place means another environment."""
    stamps = {
        prepare.stamp_of([b"a", b"b"], "3.11", Path("/x")),
        prepare.stamp_of([b"ab", b""], "3.11", Path("/x")),
        prepare.stamp_of([b"a", b"b"], "3.12", Path("/x")),
        prepare.stamp_of([b"a", b"b"], "3.11", Path("/y")),
    }
    assert len(stamps) == 4


def test_environment_is_ready_only_with_every_stamp(tmp_path: Path) -> None:
    """An environment half filled, or filled from an older lock, is renewed."""
    target = prepare.Target(tmp_path / "venv", "test")
    assert not prepare.ready(target)
    _make_environment(target.venv)
    for lock in target.locks:
        assert not prepare.ready(target)
        target.stamp(lock).write_text(prepare.wanted_stamp(lock))
    assert prepare.ready(target)
    target.stamp(target.locks[0]).write_text("of an older lock")
    assert not prepare.ready(target)


def _make_environment(venv: Path) -> None:
    """As much of an environment as is looked at."""
    minor = prepare.sys.version_info.minor
    (venv / "lib" / f"python3.{minor}" / "site-packages" / "pip").mkdir(parents=True)
    (venv / "bin").mkdir()
    (venv / "bin" / "python").touch()


def test_pip_is_fetched_without_rights(fake_debian: Path) -> None:
    """Its wheel and the certificates lie below the folder that was named, and nowhere else."""
    found = debian.fetch(["python3-pip-whl", "ca-certificates"], fake_debian)
    assert found.is_relative_to(fake_debian)
    assert debian.find_wheel(found) == found / debian.WHEELS / "pip-1-py3-none-any.whl"
    assert debian.certificate_bundle(found) == "one\ntwo\n"


def test_failure_to_fetch_names_the_remedy(
    fake_debian: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a network or a mirror, only the owner of the machine can help."""
    monkeypatch.setenv("APT_STATUS", "100")
    with pytest.raises(PrepareError, match="have python3-venv installed"):
        debian.fetch(["python3-pip-whl"], fake_debian)


def test_certificates_may_be_named_by_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable counts only if the file is there."""
    monkeypatch.setattr(debian, "SYSTEM_CERTIFICATES", tmp_path / "absent")
    bundle = tmp_path / "bundle"
    assert not debian.has_certificates({})
    assert not debian.has_certificates({"PIP_CERT": ""})
    assert not debian.has_certificates({"PIP_CERT": str(bundle)})
    bundle.touch()
    assert debian.has_certificates({"PIP_CERT": str(bundle)})


def test_editable_wheel_points_at_the_checkout(root: Path, tmp_path: Path) -> None:
    """It carries the path, the command, and the version and needs of pyproject.toml."""
    with zipfile.ZipFile(editable.write_wheel(root, tmp_path)) as wheel:
        files = {name.split("/")[-1]: wheel.read(name).decode() for name in wheel.namelist()}
    assert files["famulus.pth"] == f"{root}\n"
    assert "famulus = daemon.cli:main" in files["entry_points.txt"]
    assert "Requires-Dist: trio>=" in files["METADATA"]


def test_editable_wheel_records_true_digests(root: Path, tmp_path: Path) -> None:
    """Installers check them, and refuse a file that is not listed."""
    with zipfile.ZipFile(editable.write_wheel(root, tmp_path)) as wheel:
        contents = {name: wheel.read(name) for name in wheel.namelist()}
    (record,) = [text for name, text in contents.items() if name.endswith("/RECORD")]
    rows = [line.split(",") for line in record.decode().splitlines()]
    assert {row[0] for row in rows} == set(contents)
    for name, digest, _ in rows[:-1]:
        expected = base64.urlsafe_b64encode(hashlib.sha256(contents[name]).digest())
        assert digest == f"sha256={expected.decode().rstrip('=')}"
