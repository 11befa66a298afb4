"""The rules of a Chat Completions request, as OpenAI enforces them.

Pure: `check_request` gives the first thing that is wrong, as the text and parameter of the refusal.
The rule that matters most to an agent: an assistant message with tool calls is followed by exactly
one tool message for each call, before anything else, and a tool message stands nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from attrs import frozen

FUNCTION_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
ROLES = ("system", "developer", "user", "assistant", "tool")
KNOWN = frozenset(
    [
        "messages",
        "model",
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "metadata",
        "modalities",
        "moderation",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
        "web_search_options",
    ]
)
MAX_TOOLS = 128
# The types of parts, and where each has what it is.
TEXT = {"text": "text"}
SHOWABLE = {**TEXT, "image_url": "image_url", "file": "file"}
_DATA = re.compile(
    r"data:(image/(png|jpeg|gif|webp)|application/pdf);base64,"
    r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
)
MAX_TEMPERATURE = 2


@frozen
class Fault400:
    """A refusal: the sentence, and the parameter it is about."""

    text: str
    param: str


def check_request(body: dict[str, Any]) -> Fault400 | None:
    """Give the first thing that is wrong with a request, None when it is in order."""
    unknown = [name for name in body if name not in KNOWN]
    if unknown:
        return Fault400(f"Unrecognized request argument supplied: {unknown[0]}", unknown[0])
    if not isinstance(body.get("model"), str) or not body["model"]:
        return Fault400("you must provide a model parameter", "model")
    return _check_options(body) or _check_tools(body) or check_messages(body.get("messages"))


def _check_options(body: dict[str, Any]) -> Fault400 | None:
    if not isinstance(body.get("stream", False), bool | None):
        return Fault400("Invalid type for 'stream': expected a boolean", "stream")
    if body.get("stream_options") is not None and not body.get("stream"):
        return Fault400(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            "stream_options",
        )
    temperature = body.get("temperature")
    if temperature is not None and not 0 <= temperature <= MAX_TEMPERATURE:
        return Fault400(f"Invalid 'temperature': {temperature} is not in 0 to 2.", "temperature")
    return None


def _check_tools(body: dict[str, Any]) -> Fault400 | None:
    tools = body.get("tools")
    if tools is None:
        for name in ("tool_choice", "parallel_tool_calls"):
            if body.get(name) is not None:
                return Fault400(f"'{name}' is only allowed when 'tools' are specified.", name)
        return None
    if not isinstance(tools, list) or not 1 <= len(tools) <= MAX_TOOLS:
        return Fault400("Invalid 'tools': expected an array of 1 to 128 tools.", "tools")
    for index, tool in enumerate(tools):
        if problem := _tool_problem(tool):
            return Fault400(f"Invalid 'tools[{index}]': {problem}", f"tools[{index}]")
    names = [tool["function"]["name"] for tool in tools]
    if len(set(names)) < len(names):
        return Fault400("Invalid 'tools': two tools have the same name.", "tools")
    return None


def _tool_problem(tool: Any) -> str:  # noqa: ANN401 (what came over the wire)
    if not isinstance(tool, dict) or tool.get("type") != "function":
        return "expected an object of type 'function'."
    function = tool.get("function")
    if not isinstance(function, dict) or not _is_name(function.get("name")):
        return "'function.name' does not match ^[a-zA-Z0-9_-]{1,64}$."
    schema = function.get("parameters", {"type": "object", "properties": {}})
    if not isinstance(schema, dict) or schema.get("type") != "object":
        return "'function.parameters' must be a JSON schema of type 'object'."
    return _strict_problem(schema) if function.get("strict") else ""


def _strict_problem(schema: dict[str, Any]) -> str:
    """Strict functions need every property required and no others, at every level."""
    if schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            return "in strict mode 'additionalProperties' is required to be false."
        if set(schema.get("required", ())) != set(schema.get("properties", ())):
            return "in strict mode 'required' has to name every key in properties."
    inner = [*schema.get("properties", {}).values(), schema.get("items"), *schema.get("anyOf", ())]
    for part in inner:
        if isinstance(part, dict) and (problem := _strict_problem(part)):
            return problem
    return ""


def _is_name(value: object) -> bool:
    return isinstance(value, str) and FUNCTION_NAME.fullmatch(value) is not None


def check_messages(messages: Any) -> Fault400 | None:  # noqa: ANN401 (what came over the wire)
    """Check every message by itself, then the order of calls and results."""
    if not isinstance(messages, list) or not messages:
        return Fault400(
            "Invalid 'messages': expected an array with at least one message.", "messages"
        )
    for index, message in enumerate(messages):
        if problem := _message_problem(message):
            return Fault400(f"Invalid 'messages[{index}]': {problem}", f"messages.[{index}]")
    return _check_order(messages)


def _message_problem(message: Any) -> str:  # noqa: ANN401
    if not isinstance(message, dict):
        return "expected an object."
    role = message.get("role")
    if role not in ROLES:
        return f"role {role!r} is not one of {', '.join(ROLES)}."
    if role == "assistant":
        return _assistant_problem(message)
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        return "a message with role 'tool' needs a 'tool_call_id'."
    return _content_problem(message.get("content"), SHOWABLE if role == "user" else TEXT)


def _content_problem(content: Any, kinds: Mapping[str, str] = TEXT) -> str:  # noqa: ANN401
    if isinstance(content, str):
        return ""
    if not isinstance(content, list) or not content:
        return "'content' must be a string or an array of parts."
    return next((problem for part in content if (problem := _part_problem(part, kinds))), "")


def _part_problem(part: Any, kinds: Mapping[str, str]) -> str:  # noqa: ANN401
    """Pictures and files are for the user's messages, and are there as what they say they are."""
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        return "every part of 'content' needs a 'type'."
    key = kinds.get(part["type"])
    if key is None:
        return f"a part of type {part['type']!r} is not one of {', '.join(kinds)}."
    if key == "text":
        return "" if isinstance(part.get("text"), str) else "a text part needs a 'text'."
    inner = part.get(key)
    name = "url" if key == "image_url" else "file_data"
    data = inner.get(name) if isinstance(inner, dict) else None
    return "" if isinstance(data, str) and _DATA.match(data) else f"'{key}' is no data URL."


def _assistant_problem(message: dict[str, Any]) -> str:
    calls = message.get("tool_calls")
    if calls is None:
        return _content_problem(message.get("content"))
    if not isinstance(calls, list) or not calls:
        return "'tool_calls' must not be empty."
    if any(not _is_call(call) for call in calls):
        return "a tool call needs 'id', 'type' and 'function' with 'name' and 'arguments'."
    if len({call["id"] for call in calls}) < len(calls):
        return "two tool calls have the same 'id'."
    content = message.get("content")
    return "" if content is None else _content_problem(content)


def _is_call(call: Any) -> bool:  # noqa: ANN401
    if not isinstance(call, dict) or call.get("type") != "function" or not call.get("id"):
        return False
    function = call.get("function")
    return (
        isinstance(function, dict)
        and _is_name(function.get("name"))
        and isinstance(function.get("arguments"), str)
    )


def _check_order(messages: list[dict[str, Any]]) -> Fault400 | None:
    """Check that every call has its one result, right after the message that made it."""
    open_calls: set[str] = set()
    for index, message in enumerate(messages):
        where = f"messages.[{index}].role"
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                return Fault400(_ORPHAN_RESULT, where)
            open_calls.remove(message["tool_call_id"])
            continue
        if open_calls:
            return Fault400(_MISSING_RESULT + ", ".join(sorted(open_calls)), where)
        open_calls = {call["id"] for call in message.get("tool_calls") or ()}
    return (
        Fault400(_MISSING_RESULT + ", ".join(sorted(open_calls)), "messages")
        if open_calls
        else None
    )


_ORPHAN_RESULT = (
    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message "
    "with 'tool_calls'."
)
_MISSING_RESULT = (
    "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
    "'tool_call_id'. The following tool_call_ids did not have response messages: "
)
