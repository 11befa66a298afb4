"""Finding firejail.profile: in the source tree it lies at the top, in a wheel beside this file."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent


def load() -> str:
    """Give the profile's text. Raises FileNotFoundError if the installation lacks it."""
    for place in (_HERE / "data" / "firejail.profile", _HERE.parent / "firejail.profile"):
        if place.is_file():
            return place.read_text()
    raise FileNotFoundError(f"firejail.profile is neither in {_HERE / 'data'} nor beside executor/")
