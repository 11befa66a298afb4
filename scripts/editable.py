"""Writes a wheel that makes an environment import a checkout in place.

This is what `pip install --editable` would build (PEP 660): a `.pth` file that names the checkout,
and the metadata by which `famulus` becomes a command and has a version. Written here, in a few
lines, it needs no build backend in an environment that only runs the program.
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_wheel(root: Path, folder: Path) -> Path:
    """Writes the wheel for the project at `root` into `folder` and returns its path."""
    import tomllib  # noqa: PLC0415  (absent before 3.11, where a clear refusal comes first)

    with (root / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    stem = f"{project['name']}-{project['version']}"
    wheel = folder / f"{stem}-py3-none-any.whl"
    files = contents(project, root)
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr(f"{stem}.dist-info/RECORD", record(files, stem))
    return wheel


def contents(project: Mapping[str, Any], root: Path) -> dict[str, str]:
    """The wheel's files but for its record: path to text."""
    name, version = project["name"], project["version"]
    info = f"{name}-{version}.dist-info"
    scripts = "".join(f"{key} = {entry}\n" for key, entry in project["scripts"].items())
    needs = "".join(f"Requires-Dist: {need}\n" for need in project["dependencies"])
    return {
        f"{name}.pth": f"{root}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{scripts}",
    }


def record(files: Mapping[str, str], stem: str) -> str:
    """The list of files with their digests, in the form that installers check."""
    lines = []
    for name, text in files.items():
        digest = hashlib.sha256(text.encode()).digest()
        encoded = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        lines.append(f"{name},sha256={encoded},{len(text.encode())}\n")
    return "".join([*lines, f"{stem}.dist-info/RECORD,,\n"])
