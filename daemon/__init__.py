"""The program that talks to Telegram and to models, and keeps what was said."""

import sys

# What HTTP libraries import only if they can: click, and what prints in colours, for command lines
# that nobody calls here; and HTTP/2, which nobody speaks. 25 ms of every start or more, and 2 MB.
for _name in ("httpx._main", "httpcore._async.http2", "httpcore._sync.http2"):
    sys.modules.setdefault(_name, None)  # type: ignore[arg-type]
    sys.modules.setdefault(_name.replace(".", "2.", 1), None)  # type: ignore[arg-type]
