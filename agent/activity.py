"""What a tool is doing, in one short line for the person who waits: pure.

The model's arguments are not shown: a line names at most a host or a file, never what is sent to
it, and nothing that could be a key, a query or a text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from agent.transcript import CallRequest

LONGEST: Final = 56  # characters of a line
LONGEST_NAME: Final = 32  # characters of a file's, a host's or a tool's name

Arguments: TypeAlias = Mapping[str, Any]
Line: TypeAlias = str | Callable[[Arguments], str]


def _file(verb: str) -> Line:
    return lambda arguments: f"{verb} {_name(arguments.get('path')) or 'a file'}"


def _page(arguments: Arguments) -> str:
    return f"reading {_host(arguments.get('url')) or 'a page'}"


def _request(arguments: Arguments) -> str:
    reads = str(arguments.get("method", "GET")).upper() in {"GET", "HEAD"}
    host = _host(arguments.get("url")) or "a server"
    return f"reading {host}" if reads else f"sending to {host}"


def _specialist(arguments: Arguments) -> str:
    return f"asking {_plain(arguments.get('agent')) or 'a specialist'}"


LINES: Final[Mapping[str, Line]] = {
    "apply_patch": "changing files",
    "ask_user": "asking",
    "bash": "running a command",
    "calculate_expression": "calculating",
    "cancel_scheduled_prompt": "changing the schedule",
    "chat_memory_info": "looking back",
    "chat_memory_trim": "tidying up",
    "current_datetime": "looking at the clock",
    "delegate": _specialist,
    "delete_scheduled_prompt": "changing the schedule",
    "edit_file": _file("changing"),
    "glob": "looking for files",
    "grep": "searching files",
    "http_client": _request,
    "kv_memory": "using notes",
    "list_dir": "looking at files",
    "list_scheduled_prompts": "looking at the schedule",
    "memory_search": "searching memory",
    "python_environment_info": "looking at Python's packages",
    "python_execute": "running Python",
    "read_file": _file("reading"),
    "read_skill": "reading a skill",
    "schedule_prompt": "scheduling",
    "send_file": _file("sending"),
    "spawn": "beginning a task",
    "speak": "recording a voice message",
    "transcribe_audio": _file("listening to"),
    "view_file": _file("looking at"),
    "web_fetch": _page,
    "web_search": "searching the web",
    "write_file": _file("writing"),
}


def line(request: CallRequest) -> str:
    """What a call does, such as `reading example.org ...`; never more than `LONGEST` characters."""
    known = LINES.get(request.name)
    if known is None:
        words = f"using {_plain(request.name.partition('__')[0]) or 'a tool'}"
    else:
        words = known if isinstance(known, str) else known(_arguments(request.arguments))
    return f"{words[: LONGEST - 4]} ..."


def _arguments(text: str) -> Arguments:
    """The arguments as far as they can be read; none of them is believed to be of any type."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _host(url: object) -> str:
    """The server that an address names, without name, password, path or query."""
    try:
        host = urlsplit(url).hostname if isinstance(url, str) else None
    except ValueError:
        return ""
    return _plain(host) if host and host.isascii() else ""


def _name(path: object) -> str:
    return _plain(path.rstrip("/").rpartition("/")[2]) if isinstance(path, str) else ""


def _plain(name: object) -> str:
    """A name as it may stand in a line: printable, without blanks, and not too long."""
    text = name if isinstance(name, str) else ""
    if len(text) > LONGEST_NAME:
        text = f"{text[: LONGEST_NAME - 1]}…"
    return text if text.isprintable() and " " not in text else ""
