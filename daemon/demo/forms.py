"""The request forms that the Bot API accepts, read as the official server reads them.

Parameters may come in the query, as a JSON object, as a url-encoded form, or as multipart with
files. All of it becomes one `Form`: text stays text (the type of a parameter is decided later, by
the method it is for), values of a JSON body keep their JSON type. Pure functions over bytes.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qsl

from attrs import field, frozen

# The official server's limit for all parameters of a call together, files excepted.
MAX_PARAMETER_BYTES = 1 << 20


_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class FormError(Exception):
    """The body cannot be read. `status` and the text are what the client is told."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@frozen
class Upload:
    """A file that came with the call."""

    filename: str
    content_type: str
    data: bytes = field(repr=False)


@frozen
class Form:
    """The parameters of one call by name, and its files by the name of their part."""

    values: dict[str, Any] = field(factory=dict)
    files: dict[str, Upload] = field(factory=dict)


def read_form(content_type: str, query: str, body: bytes) -> Form:
    """Read the parameters of a call. Later ones win over earlier ones of the same name."""
    form = Form(dict(_pairs(query)))
    kind, _, options = content_type.partition(";")
    kind = kind.strip().lower()
    if not body:
        return form
    if kind == "application/json":
        form.values.update(_json_object(body))
    elif kind == "application/x-www-form-urlencoded":
        form.values.update(_pairs(_text(body)))
    elif kind == "multipart/form-data":
        _read_parts(form, body, _boundary(options))
    return form


def _text(raw: bytes) -> str:
    if len(raw) > MAX_PARAMETER_BYTES:
        raise FormError(413, "Request Entity Too Large: too much parameters")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise FormError(400, "Bad Request: strings must be encoded in UTF-8") from None


def _pairs(text: str) -> list[tuple[str, str]]:
    return parse_qsl(text, keep_blank_values=True) if text else []


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(_text(body))
    except (ValueError, RecursionError) as error:
        raise FormError(400, f"Bad Request: can't parse JSON: {error}") from None
    if not isinstance(value, dict):
        raise FormError(400, "Bad Request: JSON object expected")
    if _SURROGATE.search(body):
        _refuse_surrogates(value)
    return value


def _refuse_surrogates(value: dict[str, Any]) -> None:
    """Refuse half a character, which JSON's escapes can name and UTF-8 cannot carry."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise FormError(400, "Bad Request: strings must be encoded in UTF-8") from None


def _options(text: str) -> dict[str, str]:
    """Read `name="value"; other=value`, as it stands after a header's main value."""
    found: dict[str, str] = {}
    for option in text.split(";"):
        key, equals, value = option.strip().partition("=")
        if equals:
            found[key.strip().lower()] = value.strip().removeprefix('"').removesuffix('"')
    return found


def _boundary(options: str) -> bytes:
    boundary = _options(options).get("boundary", "")
    if not boundary:
        raise FormError(400, "Bad Request: boundary not found")
    return b"--" + boundary.encode("latin-1", "replace")


def _read_parts(form: Form, body: bytes, boundary: bytes) -> None:
    # A leading line break makes the first boundary look like every other one.
    pieces = (b"\r\n" + body).split(b"\r\n" + boundary)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):  # noqa: PLR2004 (what is before, a part)
        raise FormError(400, "Bad Request: unexpected end of the multipart body")
    for piece in pieces[1:-1]:
        _read_part(form, piece)


def _read_part(form: Form, piece: bytes) -> None:
    head, blank, data = piece.partition(b"\r\n\r\n")
    if not blank:
        raise FormError(400, "Bad Request: can't parse form data headers")
    headers = _part_headers(head)
    options = _options(headers.get("content-disposition", "").partition(";")[2])
    name = options.get("name", "")
    if not name:
        raise FormError(400, "Bad Request: field name in multipart/form-data not found")
    if "filename" in options:
        kind = headers.get("content-type", "application/octet-stream")
        form.files[name] = Upload(options["filename"], kind, data)
    else:
        form.values[name] = _text(data)


def _part_headers(head: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in head.decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return headers
