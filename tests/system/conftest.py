"""The systems that the rigs run in, and what a host must have for each of them.

All of it is slow and wants root, and some of it debootstrap, systemd-nspawn, an emulator or
buildah: where one is missing, the tests are skipped with the command that installs it.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import debian

# Programs, and the Debian packages that they come from.
PACKAGES = {
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "debugfs": "e2fsprogs",
    "qemu-system-x86_64": "qemu-system-x86",
    "systemd-nspawn": "systemd-container",
}


def need(*programs: str) -> None:
    """Skip the test unless this is root and the programs are there."""
    if os.getuid() != 0:
        pytest.skip("only root can make and boot a system")
    missing = [PACKAGES[name] for name in programs if shutil.which(name) is None]
    if missing:
        pytest.skip(f"missing: apt-get install --no-install-recommends {' '.join(missing)}")


# Asked for before the systems are made, which takes minutes.


@pytest.fixture(scope="session")
def nspawn() -> None:
    need("debootstrap", "systemd-nspawn")


@pytest.fixture(scope="session")
def emulator() -> None:
    if platform.machine() != "x86_64":
        pytest.skip("the machine that is emulated is an x86_64, and its kernel this host's")
    need("debootstrap", "qemu-system-x86_64", "debugfs")


@pytest.fixture(scope="session")
def builder() -> None:
    need("debootstrap", "buildah")


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """A folder for systems, on a disk: pytest's own may be in memory. Removed in the end."""
    path = Path(tempfile.mkdtemp(prefix="famulus-system-", dir="/var/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def base(place: Path) -> Path:
    """A bare Debian; FAMULUS_SYSTEM_BASE names a folder in which it is kept between runs."""
    folder = Path(os.environ.get("FAMULUS_SYSTEM_BASE") or place / "base")
    try:
        debian.make_base(folder)
    except debian.Unreachable as error:
        pytest.skip(f"no Debian can be made here: {error}")
    return folder


@pytest.fixture(scope="session")
def installed(place: Path, base: Path) -> Path:
    """A Debian with Famulus as the README installs it. To be copied, not to be changed."""
    root = debian.copy_of(base, place / "installed")
    debian.install(root, debian.configuration())
    return root
