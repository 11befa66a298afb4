"""Where a model is, and what it is asked: plain values, for whoever makes a model or asks one."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from typing import Any

from attrs import field, frozen

from agent.cookies import Jar
from agent.parameters import Parameters


@frozen
class ModelOptions:
    """Where the model is, what is asked of it, and how long to wait for it; times are seconds."""

    base_url: str
    name: str
    api_key: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None  # shared with the program's other clients; None: its own
    connect_timeout: float = 10.0
    read_timeout: float = 120.0  # between two chunks
    # For one attempt as a whole. Turns have a far shorter one of their own; what is asked beside
    # them has none, and some servers keep a connection alive for ever that brings no answer.
    answer_timeout: float = 1800.0
    max_attempts: int = 4
    provider: str = "openai"
    parameters: Parameters = field(factory=Parameters)
    context_window: int = 0  # tokens; 0: what the provider says
    transcription: str = ""  # the model that writes down recordings, '' for none
    speech: str = ""  # the model that speaks, '' for none
    speech_voice: str = ""
    # Whether it takes them: "yes", "no", or what is known of it.
    images: str = "auto"
    documents: str = "auto"


@frozen
class Request:
    """What a model is asked, and who watches the answer grow.

    `on_text` is called with the text so far, whole, whenever some has come; it begins anew with
    each attempt. A model that may not call is shown the tools all the same: they are a part of what
    its provider has cached. `jar` has the cookies of the conversation, and takes in those that
    come. A wait of more than `patience` seconds between two attempts is not waited for.
    """

    messages: Sequence[dict[str, Any]]
    tools: Sequence[dict[str, Any]]
    on_text: Callable[[str], None] | None = None
    may_call: bool = True
    jar: Jar | None = None
    patience: float = float("inf")
