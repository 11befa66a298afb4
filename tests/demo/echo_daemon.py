"""A stand-in for the daemon: the smallest bot, on the standard library, that the demo can start.

It repeats every message. Some messages make it misbehave, as a daemon might.
"""

from __future__ import annotations

import json
import signal
import sys
import tomllib
import urllib.request
from pathlib import Path
from typing import Any


def main() -> None:
    config = tomllib.loads(Path(sys.argv[1]).read_text())
    token = Path(config["telegram"]["token"]["file"]).read_text().strip()
    base = f"{config['telegram']['api_base_url']}/bot{token}"

    def call(method: str, **params: Any) -> Any:
        request = urllib.request.Request(
            f"{base}/{method}", json.dumps(params).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["result"]

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    sys.stderr.write('event="executor refuses" cause="no sandbox" remedy="build one"\n')
    offset = 0
    while True:
        for update in call("getUpdates", offset=offset, timeout=50):
            offset = update["update_id"] + 1
            answer(call, update)


def answer(call: Any, update: dict[str, Any]) -> None:
    if "callback_query" in update:
        call("sendMessage", chat_id=1, text=f"pressed {update['callback_query']['data']}")
        return
    text = update["message"]["text"]
    if text == "die":
        sys.stderr.write("famous last words\n")
        sys.exit(3)
    if text == "be silent":
        return
    if text == "edit":
        sent = call("sendMessage", chat_id=1, text="first")
        call("editMessageText", chat_id=1, message_id=sent["message_id"], text="second")
        return
    if text == "ask":
        keys = {"inline_keyboard": [[{"text": "Yes", "callback_data": "yes!"}]]}
        call("sendMessage", chat_id=1, text="Sure?", reply_markup=keys)
        return
    if text.startswith("send "):
        call("sendDocument", chat_id=1, document=text.removeprefix("send "), caption="here")
        return
    call("sendMessage", chat_id=1, text=f"echo: {text}")


if __name__ == "__main__":
    main()
