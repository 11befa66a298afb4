"""The executor process: `python -m executor --settings-fd N [--user NAME]`."""

from __future__ import annotations

import sys

from executor import start

if __name__ == "__main__":
    sys.exit(start.main())
