"""The version, as pyproject.toml has it. A constant: asking the metadata costs 30 ms at start."""

from typing import Final

VERSION: Final = "0.1.0"
