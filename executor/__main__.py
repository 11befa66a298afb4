"""The executor process: `python -m executor --settings-fd N [--user NAME]`.

The spawner is forked here, before anything else is imported, and so stays small; the rest is in
`executor.start`. If the start is refused, this process ends, the spawner reads end-of-file in
place of its first order, and ends too.
"""

from __future__ import annotations

import sys

from executor import spawner


def main() -> int:
    orders = spawner.fork_spawner()
    from executor import start  # noqa: PLC0415 - not before the fork

    return start.main(orders)


if __name__ == "__main__":
    sys.exit(main())
