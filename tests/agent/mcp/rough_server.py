"""A server with bad manners, in the standard library alone. `python rough_server.py MODE`.

It tells on standard error what it is about to do, and what it hears.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

MODE = sys.argv[1]
SLEEPER = (
    "import signal, os\nos.setsid()\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nsignal.pause()"
)


def say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def mark(text: str) -> None:
    sys.stderr.write(f"mark {text}\n")
    sys.stderr.flush()


def answer(request: int, result: object) -> None:
    say({"jsonrpc": "2.0", "id": request, "result": result})


def text(request: int, words: str) -> None:
    more = {"resultType": "complete"} if MODE == "modern" else {}
    answer(request, {"content": [{"type": "text", "text": words}], **more})


def tool(name: str) -> dict[str, Any]:
    return {"name": name, "description": name, "inputSchema": {"type": "object"}}


def call(request: int, name: str) -> None:  # noqa: C901, PLR0912  (a table)
    match name:
        case "echo":
            text(request, "echo")
        case "garbage":
            sys.stdout.write("Starting up ...\n\n{not json}\n[]\n")
            text(request, "after garbage")
        case "noise":
            while True:
                sys.stdout.write("noise\n" * 1000)
        case "huge":
            text(request, "x" * 9_000_000)
        case "dense":
            answer(request, {"content": [{"type": "text", "text": "x"}] * 20_000})
        case "endless":
            while True:
                sys.stdout.write("x" * 100_000)
        case "die":
            sys.stderr.write("my last words\n")
            sys.stderr.flush()
            os._exit(3)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            mark("begun")
        case "freeze":
            mark("begun")
            time.sleep(1000)
        case "child":
            child = subprocess.Popen([sys.executable, "-S", "-c", SLEEPER], start_new_session=True)
            text(request, str(child.pid))
        case "env":
            text(request, json.dumps(dict(os.environ)))
        case "malformed":
            answer(request, {"content": "no list"})
        case "word":
            answer(request, "no object")
        case "half":
            line = json.dumps({"jsonrpc": "2.0", "id": request, "result": {"content": []}})
            part = r'{"type": "text", "text": "cut \ud83d"}'
            sys.stdout.write(line.replace("[]", f"[{part}]") + "\n")
            sys.stdout.flush()
        case "beg":
            text(request, "please")
            beg()
        case "error":
            error = {"code": -32000, "message": "out of paper"}
            say({"jsonrpc": "2.0", "id": request, "error": error})


def beg() -> None:
    """Ask for one thing after another, and listen to no answer."""
    mark("begging")
    for number in range(1_000_000):
        say({"jsonrpc": "2.0", "id": number, "method": "ping"})


def listed(cursor: str | None) -> dict[str, Any]:
    names = ["echo", "garbage", "huge", "dense", "endless", "die", "killed", "hang", "freeze"]
    names += ["child", "env", "malformed", "error", "noise", "word", "half", "beg"]
    if MODE == "modern":
        cache = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
        return {"tools": [tool(name) for name in names], **cache}
    if MODE != "pages":
        return {"tools": [tool(name) for name in names]}
    at = int(cursor or 0)
    page: dict[str, Any] = {"tools": [{**tool(names[at]), "outputSchema": {"type": "object"}}]}
    return page if at == len(names) - 1 else {**page, "nextCursor": str(at + 1)}


def begin(request: int, version: str) -> None:
    info = {"name": "rough", "version": "1"}
    capabilities = {"tools": {"listChanged": True}}
    answer(request, {"protocolVersion": version, "capabilities": capabilities, "serverInfo": info})


def refuse(request: int) -> None:
    """As a server that knows only what has replaced the handshake."""
    data = {"supported": ["2026-07-28"], "requested": "2025-11-25"}
    error = {"code": -32022, "message": "unsupported version", "data": data}
    say({"jsonrpc": "2.0", "id": request, "error": error})


def discovered(request: int) -> None:
    cache = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
    answer(request, {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, **cache})


def hear(message: dict[str, Any]) -> None:
    match message["method"]:
        case "initialize" if MODE == "modern":
            refuse(message["id"])
        case "server/discover":
            discovered(message["id"])
        case "initialize":
            begin(message["id"], message["params"]["protocolVersion"])
        case "tools/list":
            answer(message["id"], listed((message.get("params") or {}).get("cursor")))
        case "tools/call":
            call(message["id"], message["params"]["name"])
        case "ping":
            answer(message["id"], {})
        case "notifications/cancelled":
            mark("cancelled")


def main() -> None:
    mark(f"pid {os.getpid()}")
    if MODE == "mute":
        time.sleep(1000)
    if MODE == "broken":
        sys.exit("no such thing as this server")
    for line in sys.stdin:
        hear(json.loads(line))
    if MODE == "stubborn":
        time.sleep(1000)


main()
