"""Write docs/inputs.md: `python -m tests.inputs`."""

from __future__ import annotations

import sys

import trio

from tests.inputs import table


def main() -> None:
    table.PATH.write_text(trio.run(table.text), encoding="utf-8")
    sys.stdout.write(f"{table.PATH} is written.\n")


if __name__ == "__main__":
    main()
