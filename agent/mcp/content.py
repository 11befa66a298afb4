"""What a tool call brought, as text for the model and files for the chat. Pure.

It works on the protocol's own JSON (a `tools/call` result), which the package has checked.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from attrs import define, field

from agent.ports import OutFile, ToolOutcome

MAX_FILES = 10
MAX_NAME = 60  # characters of a file's name, the last ones
_UNFIT = re.compile(r"[^\w.-]+")
PIECE = 1024 * 1024  # letters of base64 that are decoded in one step, in some milliseconds

ENDINGS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/svg+xml": "svg",
    "audio/wav": "wav",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg",
    "application/pdf": "pdf",
    "application/json": "json",
    "application/zip": "zip",
    "text/plain": "txt",
    "text/html": "html",
    "text/csv": "csv",
}


def outcome(result: Mapping[str, Any], tool: str) -> ToolOutcome:
    """The result of a call; files that bring no name of their own are called after the tool."""
    reader = _Reader(_file_name(tool) or "file")
    lines = [line for part in result.get("content") or () for line in reader.read(part)]
    structured = result.get("structuredContent")
    if structured is not None and not reader.text:
        lines.append(json.dumps(structured, ensure_ascii=False))
    failed = bool(result.get("isError"))
    text = "\n".join(lines) or ("the server gave no reason" if failed else "(no output)")
    return ToolOutcome(f"Error: {text}" if failed else text, failed, tuple(reader.files))


def has_files(result: Mapping[str, Any]) -> bool:
    """Whether there is anything in it that has to be decoded."""
    return any(
        part.get("type") in {"image", "audio", "resource"} for part in result.get("content") or ()
    )


@define
class _Reader:
    """Reads the parts of one result, in order."""

    stem: str
    text: bool = False  # whether there was any
    files: list[OutFile] = field(factory=list)

    def read(self, part: Mapping[str, Any]) -> Iterator[str]:
        """The lines that a part is to the model."""
        match part.get("type"):
            case "text":
                self.text = True
                yield part["text"]
            case "image" | "audio" as kind:
                yield self._keep(part["data"], part.get("mimeType", ""), kind, "")
            case "resource":
                yield from self._resource(part["resource"])
            case "resource_link":
                about = " ".join(filter(None, (part.get("name"), part.get("description"))))
                yield f"[link to {part['uri']}: {about}]"
            case other:
                yield f"[a part of the unknown kind {other!r:.40} was left out]"

    def _resource(self, resource: Mapping[str, Any]) -> Iterator[str]:
        uri = resource["uri"]
        if "text" in resource:
            self.text = True
            yield f"[{uri}]"
            yield resource["text"]
        else:
            kind = resource.get("mimeType") or "application/octet-stream"
            yield f"[{uri}] {self._keep(resource['blob'], kind, 'file', _last_part(uri))}"

    def _keep(self, data: str, mime: str, kind: str, name: str) -> str:
        """Keep a file for the chat, and name it to the model."""
        if len(self.files) >= MAX_FILES:
            return f"[{kind} left out: a call may bring {MAX_FILES} files]"
        try:
            content = _decoded(data)
        except (binascii.Error, ValueError):
            return f"[{kind} left out: it is not valid base64]"
        ending = ENDINGS.get(mime.partition(";")[0].strip().lower(), "bin")
        name = name or f"{self.stem}-{len(self.files) + 1}.{ending}"
        self.files.append(OutFile(name, content))
        return f"[{kind} {name}, {mime or 'of an unknown type'}, {len(content)} bytes]"


def _decoded(data: str) -> bytes:
    """The bytes of base64, in steps between which other threads run. Raises ValueError."""
    pieces = (data[start : start + PIECE] for start in range(0, len(data), PIECE))
    decoded = [base64.b64decode(piece, validate=True) for piece in pieces]
    if any(len(piece) < PIECE // 4 * 3 for piece in decoded[:-1]):
        raise ValueError("it has an end in the middle")
    return b"".join(decoded)


def _last_part(uri: str) -> str:
    """A file's name from the end of a URI; '' if there is none."""
    try:
        return _file_name(unquote(PurePosixPath(urlsplit(uri).path).name))
    except ValueError:
        return ""


def _file_name(text: str) -> str:
    """`text` as a name of one word: it is repeated beside the result, outside of its mark."""
    return _UNFIT.sub("_", text).strip("._")[-MAX_NAME:]
