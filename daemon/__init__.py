"""The program that talks to Telegram and to models, and keeps what was said."""

import sys

# Both import click, and what prints in colours, for command lines that nobody calls here. Without
# those modules they do without: 20 ms of every start and 2 MB.
for _name in ("httpx._main", "httpx2._main"):
    sys.modules.setdefault(_name, None)  # type: ignore[arg-type]
