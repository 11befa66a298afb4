"""A Debian trixie in a folder, with Famulus installed in it as the README says.

The system is made by debootstrap, through `scripts/debian-root`, once a run: a minute. With
FAMULUS_SYSTEM_BASE=FOLDER it is kept there for the next run. Packages of Python are downloaded by
the host's pip, however that is set up, and checked against the locks; in the new system pip finds
them in a folder, so that nothing there has to reach a network.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from packaging.markers import Marker

ROOT = Path(__file__).resolve().parents[2]
SUITE = "trixie"
PYTHON = "3.13"
# What the rigs need in it: an init, what the README installs, the kernel of the emulated machine.
PACKAGES = (
    "apparmor",
    "ca-certificates",
    "dbus",
    "firejail",
    "linux-image-cloud-" + {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "none"),
    "procps",
    "python3-venv",
    "systemd",
    "systemd-sysv",
)
# Seconds for the slowest single command, debootstrap on a slow line.
LIMIT = 900
# What `scripts/debian-root` exits with when there is no mirror to make a system from.
NO_MIRROR = 3

# What is typed where the README asks for secrets.
TOKEN = "1:a-token-that-nobody-takes"
MODEL_KEY = "a-key-for-no-model"

PIP_CONF = "[global]\nno-index = true\nfind-links = /wheels\ndisable-pip-version-check = true\n"


class Unreachable(Exception):
    """The mirror of Debian's packages cannot be had from here."""


def run(*command: str | Path, typed: str = "", **options: object) -> str:
    """Run a command and give its output, both streams; what it said is in the failure.

    `typed` is all that it reads from its standard input.
    """
    done = _run(*command, typed=typed, **options)
    assert done.returncode == 0, f"{command}: {done.stdout}"
    return done.stdout


def _run(
    *command: str | Path, typed: str = "", **options: object
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command],
        input=typed,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
        check=False,
        **options,
    )


def make_base(folder: Path) -> None:
    """Make the system in `folder`, unless it is there. Raises Unreachable."""
    command = (ROOT / "scripts" / "debian-root", "--base", folder, SUITE, ",".join(PACKAGES))
    done = _run(*command)
    if done.returncode == NO_MIRROR:
        raise Unreachable(done.stdout.strip())
    assert done.returncode == 0, f"{command}: {done.stdout}"


def copy_of(base: Path, folder: Path) -> Path:
    """A copy of a system: cheap where the file system shares blocks."""
    run("cp", "-a", "--reflink=auto", base, folder)
    return folder


def give_wheels(root: Path) -> None:
    """Put what the locks name into /wheels of the system, and tell its pip."""
    lock = root / "root" / "requirements.lock"
    lock.write_text("".join(for_its_python((ROOT / "requirements-test.lock").read_text())))
    tags = [f"manylinux_2_{n}_{platform.machine()}" for n in (28, 17, 12, 5)]
    run(
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"),
        *("--only-binary=:all:", f"--python-version={PYTHON}", "--implementation=cp"),
        *(f"--platform={tag}" for tag in tags),
        *("--requirement", lock, "--dest", root / "wheels"),
    )
    (root / "etc" / "pip.conf").write_text(PIP_CONF)


def for_its_python(lock: str) -> list[str]:
    """The lines of a lock that count there, without markers: pip judges those by the host's."""
    kept, counts = [], True
    for line in lock.splitlines(keepends=True):
        name, found, marker = line.partition(" ; ")
        if "==" in line:
            there = {"python_version": PYTHON, "python_full_version": f"{PYTHON}.0"}
            counts = not found or Marker(marker.rstrip(" \\\n")).evaluate(there)
        kept += [f"{name} \\\n" if found else line] if counts else []
    return kept


def give_checkout(root: Path) -> Path:
    """Copy what git tracks, as it is on disk, to /root/famulus of the system."""
    names = run("git", "-C", ROOT, "ls-files", "-z").split("\0")[:-1]
    checkout = root / "root" / "famulus"
    for name in names:
        if (ROOT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, checkout / name)
    return checkout


def chroot(root: Path, script: str, typed: str = "") -> str:
    """Run a script in the system, with /proc and /dev, as root. Leaves no mount behind.

    By bash, which is root's shell there; `typed` is what somebody enters at its questions.
    """
    inside = "mount -t proc proc $0/proc && mount --rbind /dev $0/dev && exec chroot $0 bash -euxc"
    words = ("unshare", "--mount", "--propagation", "private", "sh", "-euc")
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
    return run(*words, f'{inside} "$1"', root, script, typed=typed, env=environment)


def readme_commands(heading: str, language: str = "sh") -> list[str]:
    """The fenced blocks of a language in a section of the README, in order; not of those in it."""
    text = (ROOT / "README.md").read_text()
    _before, found, after = text.partition(f"# {heading}\n")
    assert found, f"the README has no section {heading}"
    section = re.split(r"^##+ ", after, flags=re.MULTILINE)[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)


def install(root: Path, configuration: str) -> None:
    """Do what the README says under "On a server", up to the start.

    The checkout stays, for what it says of other stacks. What is needed no more is removed, since
    copies are made of the system.
    """
    give_wheels(root)
    give_checkout(root)
    commands, _start = readme_commands("On a server")
    in_checkout(root, commands)
    (root / "etc" / "famulus.toml").write_text(configuration)
    (secrets,) = readme_commands("On a server", "bash")
    in_checkout(root, secrets, typed=f"{TOKEN}\n{MODEL_KEY}\n")
    in_checkout(root, "apt-get clean")
    for unneeded in (root / "wheels", root / "root" / "famulus" / ".venv"):
        shutil.rmtree(unneeded)


def in_checkout(root: Path, script: str, typed: str = "") -> str:
    """Run a script in the system as the README's reader does: as root, in the checkout."""
    return chroot(root, f"cd /root/famulus\n{script}", typed)


def configuration(extra: Iterable[str] = ()) -> str:
    """What the README says to write, with an address where no Telegram is."""
    (block,) = readme_commands("On a server", "toml")
    lines = block.splitlines()
    at = lines.index("[telegram]")
    lines.insert(at + 1, 'api_base_url = "http://127.0.0.1:9"')
    lines.insert(lines.index("[model]") + 1, 'name = "none"\nbase_url = "http://127.0.0.1:9/v1"')
    return "\n".join([*lines, *extra]) + "\n"
